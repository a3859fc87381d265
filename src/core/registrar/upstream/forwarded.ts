/**
 * One REGISTER on its way to the PBX and back: the phone's request with our Contact, the PBX's answer
 * with the phone's. Nothing is written before the 2xx.
 */
import { addLength, type Edit } from "../../sip/edit.ts";
import type { Flow } from "../../sip/flow.ts";
import { forwardEdit } from "../../sip/forward.ts";
import { CONTACT, EXPIRES, PATH } from "../../sip/header.ts";
import type { Message } from "../../sip/message.ts";
import { withoutTopVia } from "../../sip/response.ts";
import type { ClientFailure, ClientOwner } from "../../transaction/client.ts";
import type { ServerTransaction } from "../../transaction/server.ts";
import type { Login } from "../logins.ts";
import type { PushOffer } from "../push_support.ts";
import type { RegisterRequest } from "../register.ts";
import { grantOf } from "./contact.ts";
import type { Grants } from "./ledger.ts";
import type { UpstreamPlan } from "./plan.ts";
import type { UpstreamPolicy } from "./policy.ts";
import { repeatedLines } from "./service_route.ts";
import type { UnansweredRegister } from "./unanswered.ts";

/** What is known of a REGISTER when it leaves for the PBX. */
export interface Forwarding {
  readonly server: ServerTransaction;
  /** The phone's flow. The transaction may answer over another one. */
  readonly flow: Flow;
  readonly upstreamFlow: Flow;
  readonly request: RegisterRequest;
  readonly plan: UpstreamPlan;
  /** Of its arrival. */
  readonly order: number;
  readonly arrivedAtMs: number;
  /** What the phone is told of push if it is granted long enough (P-02). */
  readonly offers: readonly PushOffer[];
  /** Null: it asks the PBX for nothing that could shorten what it holds. */
  readonly unanswered: UnansweredRegister | null;
  /** The credentials that go along. */
  readonly login: Login;
}

/** Why the PBX decided nothing. */
export type NoAnswer = "pbx_timeout" | "pbx_unreachable" | "pbx_unusable";

/** Who acts on what becomes of it. */
export interface ForwardedOwner {
  readonly policy: UpstreamPolicy;
  /** The PBX said something: it is there. */
  onPbxHeard(): void;
  /**
   * The PBX accepted.
   * @returns header lines for the 2xx to the phone, and what to do once that is on its way; null: it cannot be kept here
   */
  onAccepted(forwarding: Forwarding, grants: Grants, response: Message): Acceptance | null;
  /** The PBX refused, or asks for a password. */
  onRefused(forwarding: Forwarding, status: number): void;
  onNoAnswer(forwarding: Forwarding, why: NoAnswer, status: number): void;
  /** the 2xx does not list our Contact. */
  onContactMissing(request: RegisterRequest): void;
  /** what the PBX says of the password, if there was one; null: nothing. */
  onJudged(forwarding: Forwarding, response: Message | null): void;
  /** It was answered or failed, and what came of it is written. */
  onOver(forwarding: Forwarding): void;
}

export interface Acceptance {
  /** Contact and further lines, each with its CRLF. */
  readonly lines: string;
  /** Called when the 2xx is on its way: the devices join their calls (W-04). */
  readonly onRelayed: () => void;
}

export class ForwardedRegister implements ClientOwner {
  constructor(private readonly owner: ForwardedOwner, private readonly forwarding: Forwarding) {}

  onResponse(response: Message): void {
    const { status } = response;
    if (status === 100) return;
    const { owner, forwarding } = this;
    const { server } = forwarding;
    if (status < 500) owner.onPbxHeard();
    if (status < 200) return; // RFC 4320 §4.1: no 1xx but our own 100
    const edit = withoutTopVia(response);
    if (edit === null) {
      // The answer has lost the phone's Via: it cannot be relayed, and what cannot be said is not written.
      return this.fail("pbx_unusable", 502, "The PBX answered without our Via");
    }
    if (server.flow.isReliable) addLength(edit, response);
    owner.onJudged(forwarding, response);
    if (status < 300) this.accept(response, edit);
    else {
      forwarding.unanswered?.lift();
      owner.onRefused(forwarding, status);
      server.relay(status, edit.build());
    }
    owner.onOver(forwarding);
  }

  onFailure(failure: ClientFailure): void {
    // RFC 4320 §4.2: no 408 to a non-INVITE.
    if (failure === "timeout") this.fail("pbx_timeout", 504, "PBX did not answer");
    else this.fail("pbx_unreachable", 503, "PBX not reachable", "Retry-After: 10\r\n");
  }

  private fail(why: NoAnswer, status: number, reason: string, lines = ""): void {
    this.owner.onJudged(this.forwarding, null);
    this.owner.onNoAnswer(this.forwarding, why, status);
    this.forwarding.server.respond(status, reason, lines);
    this.owner.onOver(this.forwarding);
  }

  private accept(response: Message, edit: Edit): void {
    const { server } = this.forwarding;
    const acceptance = this.owner.onAccepted(this.forwarding, this.grants(response), response);
    if (acceptance === null) return server.respond(403, "Too many devices");
    replaceContacts(edit, response, acceptance.lines);
    server.relay(response.status, edit.build(), true);
    acceptance.onRelayed();
  }

  /** Seconds for each of the phone's contacts, out of whatever form the reply has. */
  private grants(response: Message): Grants {
    const { policy } = this.owner;
    const { request, plan, upstreamFlow } = this.forwarding;
    const grantFor = (i: number) => grantOf(response, request.user, plan.ids[i]!, upstreamFlow);
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
      if (policy.mode === "mirror") return granted;
      const asked = policy.asked(wanted);
      // where we renew the PBX's binding ourselves the phone may sleep as long as it asks to.
      return granted > 0 && policy.isRenewing(request.user, plan.ids[i]!) ? asked : Math.min(asked, granted);
    });
    // One device of several went: the PBX extended our Contact for the others.
    if (plan.contradicted !== null) upstream = grantFor(0).expires ?? plan.contradicted;
    if (!isListed) this.owner.onContactMissing(request);
    return { phone, each, upstream, lines: repeatedLines(response) };
  }
}

/** Our Contact in the PBX's answer becomes what the phone is told. */
function replaceContacts(edit: Edit, response: Message, lines: string): void {
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

/**
 * The REGISTER as the PBX gets it: our Contact in place of the phone's, everything else as it came. Path is the
 * way from us to the phone: a PBX that followed it would pass us by.
 * @param dropped header lines that do not go on: credentials that answer no challenge
 */
export function upstreamRegister(
  request: Message,
  plan: UpstreamPlan,
  via: string,
  receivedVia: string,
  routesToDrop: number,
  isStream: boolean,
  caps: string,
  dropped: readonly number[],
): string {
  const edit = forwardEdit(request, { uri: null, via, receivedVia, recordRoute: [], routesToDrop, route: "" });
  if (isStream) addLength(edit, request);
  for (let n = request.find(PATH); n >= 0; n = request.find(PATH, n + 1)) edit.removeLine(request, n);
  for (const n of dropped) edit.removeLine(request, n);
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
