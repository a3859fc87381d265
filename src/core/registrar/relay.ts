/**
 * One REGISTER on its way to the PBX and back: the phone's request with our Contact, the PBX's answer
 * with the phone's. Nothing is written before the 2xx.
 */
import { addLength, type Edit } from "../sip/edit.ts";
import type { Flow } from "../sip/flow.ts";
import { forwardEdit } from "../sip/forward.ts";
import {
  AUTHORIZATION,
  CONTACT,
  EXPIRES,
  PATH,
  PROXY_AUTHENTICATE,
  PROXY_AUTHORIZATION,
  WWW_AUTHENTICATE,
} from "../sip/header.ts";
import type { Message } from "../sip/message.ts";
import { withoutTopVia } from "../sip/response.ts";
import type { ClientFailure, ClientOwner } from "../transaction/client.ts";
import type { ServerTransaction } from "../transaction/server.ts";
import type { Doubt } from "./doubt.ts";
import type { MidRegistrar } from "./mid_registrar.ts";
import type { PushOffer } from "./push_support.ts";
import type { RegisterRequest } from "./register.ts";
import { repeatedLines } from "./repeated_lines.ts";
import { grantOf } from "./upstream_contact.ts";
import type { UpstreamPlan } from "./upstream_plan.ts";

/** What a 2xx grants, in seconds. */
export interface Grants {
  /** To each of the phone's contacts; 0: it is not registered. */
  phone: number[];
  /** To our Contact for each of them. */
  each: number[];
  /** To us; 0: the PBX holds nothing of what was asked. */
  upstream: number;
  /** What is said again whenever we answer in the PBX's place. */
  lines: string;
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
    /** What the phone is told if it is granted long enough (P-02). */
    private readonly offers: readonly PushOffer[],
    private readonly doubt: Doubt | null,
  ) {}

  onResponse(response: Message): void {
    const status = response.status;
    if (status === 100) return;
    if (status < 500) this.registrar.keeper.pbxAnswered();
    if (status < 200) return; // RFC 4320 §4.1: no 1xx but our own 100
    const edit = withoutTopVia(response);
    if (edit === null) return this.onUnusable();
    if (this.server.flow.isReliable) addLength(edit, response);
    this.tellOfAuth(response);
    if (status < 300) this.onAccepted(response, edit);
    else {
      const isChallenge = status === 401 || status === 407;
      if (isChallenge) this.registrar.onChallenged(this.request);
      this.doubt?.lift();
      this.registrar.count(isChallenge ? "challenged" : "rejected", this.request, status);
      this.server.relay(status, edit.build());
    }
    this.registrar.over(this.request, this.order, this.doubt);
  }

  /** what the PBX says of the password, if there was one. */
  private tellOfAuth(response: Message): void {
    const { request } = this.server;
    if (!request.has(AUTHORIZATION) && !request.has(PROXY_AUTHORIZATION)) return;
    const { status } = response;
    if (status < 300) this.registrar.onAuthResult(this.flow, true);
    else if (status === 403 || ((status === 401 || status === 407) && !isStale(response))) {
      this.registrar.onAuthResult(this.flow, false);
    }
  }

  onFailure(failure: ClientFailure): void {
    this.registrar.count(failure === "timeout" ? "pbx_timeout" : "pbx_unreachable", this.request, 0);
    // RFC 4320 §4.2: no 408 to a non-INVITE.
    if (failure === "timeout") this.server.respond(504, "PBX did not answer");
    else this.server.respond(503, "PBX not reachable", "Retry-After: 10\r\n");
    this.registrar.over(this.request, this.order, this.doubt);
  }

  /** The answer has lost the phone's Via: it cannot be relayed, and what cannot be said is not written. */
  private onUnusable(): void {
    this.registrar.count("pbx_unusable", this.request, 502);
    this.server.respond(502, "The PBX answered without our Via");
    this.registrar.over(this.request, this.order, this.doubt);
  }

  private onAccepted(response: Message, edit: Edit): void {
    const { registrar, request, plan, order, arrivedAtMs } = this;
    const grants = this.grants(response);
    if (registrar.isFull(request)) {
      registrar.takeBack(request, plan, grants, order, arrivedAtMs);
      registrar.count("rejected", request, 403);
      return this.server.respond(403, "Too many devices");
    }
    const applied = registrar.accept(request, grants, this.flow, order, arrivedAtMs);
    registrar.ledger.noteDropped(response, request.aorKey, order, this.upstreamFlow);
    this.replaceContacts(edit, response, registrar.replyLines(request, applied.listed, this.offers));
    this.server.relay(response.status, edit.build(), true);
    registrar.resume(applied, arrivedAtMs, grants.upstream);
  }

  /** Seconds for each of the phone's contacts, out of whatever form the reply has. */
  private grants(response: Message): Grants {
    const { request, plan } = this;
    const grantFor = (i: number) => grantOf(response, request.user, plan.ids[i]!, this.upstreamFlow);
    const each = request.contacts.map(() => 0);
    let upstream = 0;
    let isListed = true;
    const phone = request.contacts.map((wanted, i) => {
      if (wanted.expires === 0) return 0;
      const grant = grantFor(i);
      isListed &&= grant.isListed;
      const granted = grant.expires ?? plan.asked[i]!;
      each[i] = granted;
      upstream = Math.max(upstream, granted);
      if (this.registrar.mode === "mirror") return granted;
      const asked = this.registrar.planner.asked(wanted);
      // where we refresh the PBX's binding ourselves the phone may sleep as long as it asks to.
      return granted > 0 && this.registrar.keeper.isKeeping(request.user, plan.ids[i]!)
        ? asked
        : Math.min(asked, granted);
    });
    // One device of several went: the PBX extended our Contact for the others.
    if (plan.contradicted !== null) upstream = grantFor(0).expires ?? plan.contradicted;
    if (!isListed) this.registrar.onContactMissing(request);
    return { phone, each, upstream, lines: repeatedLines(response) };
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
    if (at < 0) edit.insert(response.bodyStart - 2, lines);
  }
}

/** RFC 3261 §22.4: the nonce was old, which says nothing of the password. */
function isStale(challenge: Message): boolean {
  const values = [...challenge.values(WWW_AUTHENTICATE), ...challenge.values(PROXY_AUTHENTICATE)];
  return values.some((value) => /\bstale\s*=\s*"?true\b/i.test(value));
}

/**
 * The REGISTER as the PBX gets it: our Contact in place of the phone's, everything else as it came. Path is the
 * way from us to the phone: a PBX that followed it would pass us by.
 */
export function upstreamRegister(
  request: Message,
  plan: UpstreamPlan,
  via: string,
  receivedVia: string,
  routesToDrop: number,
  isStream: boolean,
  caps: string,
): string {
  const edit = forwardEdit(request, { uri: null, via, receivedVia, recordRoute: [], routesToDrop, route: "" });
  if (isStream) addLength(edit, request);
  for (let n = request.find(PATH); n >= 0; n = request.find(PATH, n + 1)) edit.removeLine(request, n);
  if (caps !== "") edit.insert(request.bodyStart - 2, caps);
  if (plan.contactLines === "") return edit.build();
  let isFirst = true;
  for (let n = request.find(CONTACT); n >= 0; n = request.find(CONTACT, n + 1)) {
    if (isFirst) edit.replace(request.lineStart(n), request.lineEnd(n), plan.contactLines);
    else edit.removeLine(request, n);
    isFirst = false;
  }
  if (plan.contradicted !== null) {
    for (let n = request.find(EXPIRES); n >= 0; n = request.find(EXPIRES, n + 1)) {
      edit.replace(request.valueStart(n), request.valueEnd(n), String(plan.contradicted));
    }
  }
  return edit.build();
}
