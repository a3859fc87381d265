/**
 * One binding at the PBX that we renew ourselves.
 *
 *   waiting ─due→ asking ─2xx→ waiting (ok)      asking ─401, 407→ asking with credentials
 *   asking ─423→ asking for more                asking ─anything else, no answer→ waiting (failing, back-off)
 *   waiting ─due, no device can be reached or woken→ waiting (idle)
 */
import { MIN_EXPIRES } from "../../sip/header.ts";
import type { Message } from "../../sip/message.ts";
import type { ClientOwner } from "../../transaction/client.ts";
import type { Due } from "../../transaction/deadline.ts";
import type { Aor, Contact } from "../../usrloc/contact.ts";
import type { Usrloc } from "../../usrloc/usrloc.ts";
import type { Clock } from "../../clock.ts";
import { jitterMs } from "../jitter.ts";
import { isPushable } from "../refresh_push.ts";
import { expiresOf } from "../register.ts";
import { repeatedLines } from "./service_route.ts";
import { isPassing, retryAfterMs, UpstreamCredentials } from "./credentials.ts";
import { grantOf } from "./contact.ts";
import type { UpstreamLedger } from "./ledger.ts";
import type { UpstreamLink } from "./own_register.ts";

/** Back-off: 5 s → 10 min, with jitter. */
const FIRST_RETRY_MS = 5_000;
const LAST_RETRY_MS = 600_000;
const MAX_MIN_EXPIRES = 86_400 * 30;
/** How often an AoR without a reachable device is looked at again: a token may be set by hand. */
const IDLE_MS = 60_000;

/** What people are told of one binding. */
export interface RenewalState {
  /** `idle`: no device could be reached or woken, so nothing is refreshed. */
  state: "ok" | "failing" | "idle";
  /** When the next REGISTER of ours goes, ms. */
  nextMs: number;
  /** Why the last one failed, in words; empty if it did not. */
  reason: string;
}

/** `refused`: the PBX said no to us, which does not pass by itself. `busy`: it asks for patience. `unreachable`: no answer. */
type Failure = "none" | "refused" | "busy" | "unreachable";

/** What a renewal stands on, and what concerns all of them. */
export interface RenewalOwner {
  readonly link: UpstreamLink;
  readonly ledger: UpstreamLedger;
  readonly usrloc: Usrloc;
  readonly clock: Clock;
  readonly size: number;
  /** The time over which so many REGISTERs are spread, ms. */
  spreadMs(count: number): number;
  /** The PBX answers: renewals that failed because it did not are tried again soon. */
  pbxAnswered(): void;
  /** @returns true if it is the first: one line in the log tells of a PBX that is away, not thousands */
  noteUnreachable(renewal: Renewal): boolean;
  noteReachable(renewal: Renewal): void;
  /** A REGISTER of ours was answered or failed, and what came of it is written. */
  onAnswered(aorKey: string, order: number): void;
  forget(id: string, renewal: Renewal): void;
}

export class Renewal implements ClientOwner, Due {
  dueMs = 0;
  heapSlot = -1;
  failure: Failure = "none";
  private reason = "";
  private isIdle = false;
  private hasLapsed = false;
  /** Made with the first REGISTER: most bindings never need one. */
  private callId = "";
  private tag = "";
  private cseq = 0;
  /** Of the REGISTER at the PBX; 0: none is. */
  private order = 0;
  private asked = 0;
  private minExpires = 0;
  private retryMs = FIRST_RETRY_MS;
  private sentAtMs = 0;
  private readonly credentials: UpstreamCredentials;

  constructor(private readonly owner: RenewalOwner, readonly aorKey: string, private readonly id: string) {
    this.credentials = new UpstreamCredentials(owner.link);
  }

  state(): RenewalState {
    const state = this.failure !== "none" ? "failing" : this.isIdle ? "idle" : "ok";
    return { state, nextMs: this.dueMs, reason: this.reason };
  }

  /** Until a fifth of the binding is left, at least 10 s before its end where it lasts as long. */
  rest(): void {
    if (this.order !== 0) return; // at the PBX: its answer decides
    const { clock, ledger } = this.owner;
    const leftMs = ledger.contactEndsMs(this.aorKey, this.id) - clock.nowMs;
    // Nothing is known of it, or it lapsed while we were away: so it is for many.
    if (leftMs <= 0) return this.wait(1000 + this.jitter(this.owner.spreadMs(this.owner.size)));
    const restMs = Math.max(leftMs / 2, Math.min(leftMs * 0.8, leftMs - 10_000));
    this.wait(Math.max(1000, restMs - this.jitter(leftMs * 0.05)));
  }

  /** The PBX is back. */
  hurry(spreadMs: number): void {
    this.retryMs = FIRST_RETRY_MS;
    if (this.order === 0) this.wait(Math.min(this.jitter(spreadMs), Math.max(0, this.dueMs - this.owner.clock.nowMs)));
  }

  onDue(): void {
    const { link, ledger, usrloc } = this.owner;
    const aor = usrloc.find(this.aorKey);
    if (aor === undefined || !ledger.isWanted(aor, this.id) || !link.policy.canRenew(aor.user)) {
      return this.stop();
    }
    // A phone's own REGISTER is under way: it may make ours superfluous.
    if (link.inFlight.isBusy(this.aorKey)) return this.wait(2000);
    this.isIdle = !this.devices(aor).some((contact) => this.canRing(contact));
    if (this.isIdle) return this.wait(IDLE_MS);
    this.credentials.begin();
    this.send(aor);
  }

  /** The devices the binding is for. */
  private devices(aor: Aor): readonly Contact[] {
    return this.owner.link.policy.isOneForAll ? aor.contacts : aor.contacts.filter(({ id }) => id === this.id);
  }

  private canRing(contact: Contact): boolean {
    const { usrloc, link } = this.owner;
    return isPushable(contact) || usrloc.reachability(contact, link.policy.settings.idleMs) !== "lost";
  }

  private send(aor: Aor): void {
    const { link, clock } = this.owner;
    const flow = link.pbx.ownFlow();
    if (flow === null) return this.failed("unreachable", "the PBX is not reachable", 0);
    if (this.callId === "") {
      this.callId = link.port.token(20);
      this.tag = link.port.token(10);
    }
    this.asked = Math.max(link.policy.settings.upstreamExpires, this.minExpires);
    if (this.order === 0) this.order = link.inFlight.begin(this.aorKey, new Map([[this.id, this.asked]]));
    this.sentAtMs = clock.nowMs;
    link.send(this, {
      aor,
      id: this.id,
      flow,
      callId: this.callId,
      tag: this.tag,
      cseq: ++this.cseq,
      expires: this.asked,
      lines: this.credentials.lines(aor),
    });
  }

  onResponse(response: Message): void {
    const { status } = response;
    if (status < 200) return;
    const aor = this.owner.usrloc.find(this.aorKey);
    if (aor === undefined) return this.stop();
    if (status < 300) return this.onGranted(aor, response);
    if (status === 401 || status === 407) return this.onChallenge(aor, response);
    if (status === 423 && this.asksForMore(response)) return this.send(aor);
    this.failed(isPassing(status) ? "busy" : "refused", `the PBX answered ${status}`, retryAfterMs(response));
  }

  onFailure(): void {
    this.failed("unreachable", "the PBX did not answer", 0);
  }

  /** RFC 3261 §10.2.8 */
  private asksForMore(response: Message): boolean {
    const wanted = expiresOf(response.value(MIN_EXPIRES)) ?? 0;
    if (wanted <= this.asked || wanted > MAX_MIN_EXPIRES || !this.credentials.mayAnswer()) return false;
    this.minExpires = wanted;
    return true;
  }

  private onChallenge(aor: Aor, response: Message): void {
    const why = this.credentials.challenged(aor, response);
    if (why === "") this.send(aor);
    else this.failed("refused", why, 0);
  }

  private onGranted(aor: Aor, response: Message): void {
    const { link, ledger } = this.owner;
    const flow = link.pbx.flow();
    const granted = flow === null ? this.asked : grantOf(response, aor.user, this.id, flow).expires ?? this.asked;
    this.credentials.accepted();
    if (granted === 0) return this.failed("refused", "the PBX granted 0 seconds", 0);
    if (this.failure !== "none") {
      link.port.log("info", "The PBX's binding is refreshed again", { aor: aor.key });
    }
    this.owner.noteReachable(this);
    this.setFailure("none");
    this.reason = "";
    this.hasLapsed = false;
    this.retryMs = FIRST_RETRY_MS;
    link.port.count("registrations_total", "upstream_refreshed");
    // What this 2xx does not say may be said to phones alone.
    const lines = repeatedLines(response) || aor.upstream.lines;
    const { order, sentAtMs, callId, cseq } = this;
    ledger.writeOwn(aor, this.id, { granted, order, sentAtMs, callId, cseq, lines });
    if (flow !== null) ledger.noteDropped(response, aor.key, this.order, flow);
    this.over();
    this.rest();
    this.owner.pbxAnswered();
  }

  private failed(failure: Failure, why: string, atLeastMs: number): void {
    const { link, ledger, clock } = this.owner;
    const leftMs = ledger.contactEndsMs(this.aorKey, this.id) - clock.nowMs;
    this.complain(failure, why, leftMs);
    const wasRefused = this.failure === "refused";
    this.setFailure(failure);
    this.reason = why;
    link.port.count("registrations_total", "upstream_not_refreshed");
    this.over();
    this.wait(Math.max(this.retryMs, atLeastMs) + this.jitter(this.retryMs / 2));
    this.retryMs = Math.min(this.retryMs * 2, LAST_RETRY_MS);
    // What we cannot, the phones themselves can: they are asked by push before the binding ends.
    const aor = this.owner.usrloc.find(this.aorKey);
    if (failure !== "refused" || wasRefused || aor === undefined) return;
    for (const contact of this.devices(aor)) this.owner.usrloc.reschedule(contact);
  }

  /** Once when it begins, and once more when the binding is gone: an alarm, not a flood. */
  private complain(failure: Failure, why: string, leftMs: number): void {
    const { port } = this.owner.link;
    const isNews = failure === "unreachable"
      ? this.owner.noteUnreachable(this) && this.failure !== failure
      : this.failure !== failure;
    if (failure !== "unreachable") this.owner.noteReachable(this);
    const hasJustLapsed = leftMs <= 0 && !this.hasLapsed;
    this.hasLapsed ||= leftMs <= 0;
    const level = hasJustLapsed && failure === "refused" ? "error" : isNews ? "warn" : "debug";
    port.log(
      level,
      leftMs <= 0
        ? `Cannot refresh the PBX's binding, it has lapsed: ${why}`
        : `Cannot refresh the PBX's binding, ${Math.round(leftMs / 1000)} s left: ${why}`,
      { aor: this.aorKey },
    );
  }

  /** Its REGISTER was answered or failed. */
  private over(): void {
    if (this.order === 0) return;
    const { order } = this;
    this.order = 0;
    this.owner.onAnswered(this.aorKey, order);
  }

  private wait(ms: number): void {
    const { table } = this.owner.link;
    table.schedule.deadlines.set(this, table.schedule.clock.nowMs + ms);
  }

  private setFailure(failure: Failure): void {
    this.failure = failure;
    this.owner.link.policy.noteRefused(this.id, failure === "refused");
  }

  private stop(): void {
    this.over();
    this.owner.link.policy.noteRefused(this.id, false);
    this.owner.link.table.schedule.deadlines.cancel(this);
    this.owner.forget(this.id, this);
  }

  /** 0..max, so that thousands of bindings do not refresh in one moment. */
  private jitter(maxMs: number): number {
    return jitterMs(this.owner.link.port, maxMs);
  }
}
