/**
 * One REGISTER on its way to the PBX and back: the phone's request with our Contact, the PBX's answer
 * with the phone's. Nothing is written before the 2xx.
 */
import type { Edit } from "../sip/edit.ts";
import type { Flow } from "../sip/flow.ts";
import { forwardEdit } from "../sip/forward.ts";
import { CONTACT, EXPIRES } from "../sip/header.ts";
import type { Message } from "../sip/message.ts";
import { withoutTopVia } from "../sip/response.ts";
import type { ClientFailure, ClientOwner } from "../transaction/client.ts";
import type { ServerTransaction } from "../transaction/server.ts";
import type { MidRegistrar } from "./mid_registrar.ts";
import type { RegisterRequest } from "./register.ts";
import { grantOf } from "./upstream_contact.ts";

/** What the REGISTER means upstream. */
export interface UpstreamPlan {
  /** Contact header lines; empty: none (fetch), the wildcard as it came. */
  contactLines: string;
  /** Id of our Contact for each of the phone's contacts. */
  ids: string[];
  /** True if the Expires header contradicts our Contact: the phone removes one device of several. */
  expires: number | null;
}

export class RegisterRelay implements ClientOwner {
  constructor(
    private readonly registrar: MidRegistrar,
    private readonly server: ServerTransaction,
    private readonly flow: Flow,
    private readonly upstreamFlow: Flow,
    private readonly request: RegisterRequest,
    private readonly plan: UpstreamPlan,
    private readonly order: number,
    private readonly arrivedAtMs: number,
  ) {}

  onResponse(response: Message): void {
    const status = response.status;
    if (status === 100) return;
    if (status >= 200 && status < 300) return this.onAccepted(response);
    const edit = withoutTopVia(response);
    if (edit === null) return;
    if (status >= 300) {
      this.registrar.count(status === 401 || status === 407 ? "challenged" : "rejected", this.request, status);
    }
    this.server.relay(status, edit.build());
  }

  onFailure(failure: ClientFailure): void {
    this.registrar.count(failure === "timeout" ? "pbx_timeout" : "pbx_unreachable", this.request, 0);
    // RFC 4320 §4.2: no 408 to a non-INVITE.
    if (failure === "timeout") this.server.respond(504, "PBX did not answer");
    else this.server.respond(503, "PBX not reachable", "Retry-After: 10\r\n");
  }

  private onAccepted(response: Message): void {
    const { request } = this;
    const { applied, upstreamExpires } = this.registrar.accept(
      request,
      this.grants(response),
      this.flow,
      this.order,
      this.arrivedAtMs,
    );
    const edit = withoutTopVia(response);
    if (edit === null) return;
    this.replaceContacts(edit, response, this.registrar.replyContacts(request, applied.saved));
    this.server.relay(response.status, edit.build(), true);
    this.registrar.resume(applied, this.arrivedAtMs, upstreamExpires);
  }

  /** Seconds for each of the phone's contacts, out of whatever form the reply has. */
  private grants(response: Message): { phone: number[]; upstream: number } {
    let upstream = 0;
    let isListed = true;
    const phone = this.request.contacts.map((wanted, i) => {
      if (wanted.expires === 0) return 0;
      const grant = grantOf(response, this.request.user, this.plan.ids[i]!, this.upstreamFlow);
      isListed &&= grant.isListed;
      const asked = this.registrar.asked(wanted);
      const granted = grant.expires ?? asked;
      upstream = Math.max(upstream, granted);
      return this.registrar.settings.mode === "mirror" ? granted : Math.min(asked, granted);
    });
    if (upstream === 0 && this.plan.expires !== null) {
      // One device of several went: the PBX extended our Contact for the others.
      upstream = grantOf(response, this.request.user, this.plan.ids[0] ?? "", this.upstreamFlow).expires ??
        this.plan.expires;
    }
    if (!isListed) this.registrar.onContactMissing(this.request);
    return { phone, upstream };
  }

  private replaceContacts(edit: Edit, response: Message, lines: string): void {
    let at = -1;
    for (let n = 0; n < response.count; n++) {
      const id = response.idAt(n);
      // What the PBX said of its binding with us is not what the phone is granted.
      if (id !== CONTACT && id !== EXPIRES) continue;
      if (at < 0) {
        at = response.lineStart(n);
        edit.replace(at, response.lineEnd(n), lines);
      } else edit.removeLine(response, n);
    }
    if (at < 0 && lines !== "") edit.insert(response.bodyStart - 2, lines);
  }
}

/** The REGISTER as the PBX gets it: our Contact in place of the phone's, everything else as it came. */
export function upstreamRegister(
  request: Message,
  plan: UpstreamPlan,
  via: string,
  receivedVia: string,
  routesToDrop: number,
): string {
  const edit = forwardEdit(request, { uri: null, via, receivedVia, recordRoute: [], routesToDrop, route: "" });
  if (plan.contactLines === "") return edit.build();
  let isFirst = true;
  for (let n = request.find(CONTACT); n >= 0; n = request.find(CONTACT, n + 1)) {
    if (isFirst) edit.replace(request.lineStart(n), request.lineEnd(n), plan.contactLines);
    else edit.removeLine(request, n);
    isFirst = false;
  }
  const expires = request.find(EXPIRES);
  if (plan.expires !== null && expires >= 0) {
    edit.replace(request.valueStart(expires), request.valueEnd(expires), String(plan.expires));
  }
  return edit.build();
}
