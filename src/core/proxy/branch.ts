/**
 * One branch of a fork: a client transaction, its Timer C, and its cancellation (RFC 3261 §16.6 to §16.10).
 *
 *   trying ─1xx→ ringing ─2xx→ answered          trying, ringing ─3xx..6xx→ failed (or declined)
 *   trying, ringing ─we cancel→ cancelled        trying, ringing ─timeout, flow lost→ failed (local)
 */
import type { Flow } from "../sip/flow.ts";
import { cancelFor } from "../sip/forward.ts";
import { type Message, parseSent } from "../sip/message.ts";
import type { ClientFailure, ClientOwner, ClientTransaction } from "../transaction/client.ts";
import type { Due } from "../transaction/deadline.ts";
import { TIMEOUT_MS, TIMER_C_MS } from "../transaction/timers.ts";
import type { Transactions } from "../transaction/table.ts";

export type BranchState = "trying" | "ringing" | "answered" | "failed" | "declined" | "cancelled";

/** Where a branch goes. */
export interface Target {
  /** Request-URI; null keeps the request's own. */
  readonly uri: string | null;
  readonly flow: Flow;
  /** Route value to put on top (a stored Path); empty if none. */
  readonly route: string;
  /** Flow token of the device behind it, empty towards the PBX. */
  readonly token: string;
  /** Contact id, or empty. */
  readonly contactId: string;
}

/** The fork, as its branches see it. */
export interface BranchOwner {
  /** Every 1xx, 100 included (it is not to be passed on). */
  onBranchProvisional(branch: Branch, response: Message): void;
  /** Each 2xx; `isFirst`: not a repetition. */
  onBranchAnswered(branch: Branch, response: Message, isFirst: boolean): void;
  /** Final non-2xx, local failure, or the end of a cancelled branch. */
  onBranchEnded(branch: Branch, response: Message | null): void;
  /** Its CANCEL leaves, which may be long after {@link Branch.cancel}. */
  onBranchCancelSent(branch: Branch): void;
}

export class Branch implements ClientOwner, Due {
  dueMs = 0;
  heapSlot = -1;
  state: BranchState = "trying";
  /** Last status seen, 0 before the first; what we made up for local failures. */
  status = 0;
  /** True if the final status was made here. */
  isLocal = false;
  /** True when its transaction is over. */
  isEnded = false;
  final: Message | null = null;
  /** True if it was added after the call was over: repeated until its phone is heard of, then cancelled (W-13). */
  isGhost = false;
  /** True once its CANCEL went: not before a first 1xx (RFC 3261 §9.1). */
  isCancelSent = false;
  /** True once we ended a dialog of it ourselves (W-12). */
  isHungUp = false;
  private client: ClientTransaction | null = null;
  private cancelLines: string | null = null;

  constructor(
    private readonly table: Transactions,
    private readonly owner: BranchOwner,
    /** Number in the fork, from 1. */
    readonly number: number,
    readonly target: Target,
    readonly isLate: boolean,
  ) {}

  /** True while it may still be answered. */
  get isLive(): boolean {
    return this.state === "trying" || this.state === "ringing";
  }

  /** True once it lost or timed out: if its phone is heard of after all, it has to stop ringing (W-11). */
  get isGivenUp(): boolean {
    return !this.isLive && this.state !== "answered";
  }

  /** True once any response came, 100 included. */
  get isHeardOf(): boolean {
    return this.final !== null || (this.client !== null && this.client.hasProvisional);
  }

  /** The request as sent; empty before {@link send}. */
  get wire(): string {
    return this.client?.wire ?? "";
  }

  send(wire: string, method: string, branch: string): void {
    // A flow that cannot take it ends the transaction before send returns, so the branch may be over here already.
    this.client = this.table.send(wire, method, branch, this.target.flow, this);
  }

  /** Fails before anything is sent (Max-Breadth). */
  refuse(status: number): void {
    this.status = status;
    this.state = "failed";
    this.end(null);
  }

  /** Its 2xx cannot be passed on: the fork has ended its dialog, the branch counts as failed. */
  spoil(): void {
    this.isHungUp = true;
    this.status = 502;
    this.state = "failed";
    this.owner.onBranchEnded(this, null);
  }

  /**
   * The device was just heard of on this flow: an unanswered INVITE goes again now, as its next retransmission may be 16 s
   * away.
   */
  nudge(): void {
    if (this.state === "trying") this.client?.nudge();
  }

  /** Cancels the branch; the CANCEL goes when RFC 3261 §9.1 allows. `lines`: a Reason header line, or nothing. */
  cancel(lines: string): void {
    if (!this.isLive) return;
    this.state = "cancelled";
    this.cancelLines = lines;
    if (this.client === null) return this.end(null);
    if (!this.client.isInvite) return;
    if (this.client.hasProvisional) this.sendCancel();
    else if (!this.isGhost) this.client.quiet();
  }

  /** It was not heard of in the time its phone had to wake up: it fails now, as it would by Timer B. */
  lapse(): void {
    if (this.state === "trying" && !this.isHeardOf) this.client?.lapse();
  }

  onResponse(response: Message): void {
    const status = response.status;
    if (status < 200) {
      // Also after Timer C: a straggler does not bring it back.
      if (!this.isLive) return this.sendCancel();
      if (status === 100) {
        if (this.heapSlot < 0) this.watch(TIMER_C_MS);
        return this.owner.onBranchProvisional(this, response);
      }
      this.status = status;
      this.state = "ringing";
      this.watch(TIMER_C_MS);
      return this.owner.onBranchProvisional(this, response);
    }
    this.table.schedule.deadlines.cancel(this);
    if (status < 300) {
      if (this.isHungUp) return this.owner.onBranchAnswered(this, response, false);
      const isFirst = this.state !== "answered";
      this.state = "answered";
      this.status = status;
      if (isFirst) this.isEnded = true;
      return this.owner.onBranchAnswered(this, response, isFirst);
    }
    // The answer to Timer C's CANCEL says nothing new.
    if (this.isEnded && this.isCancelSent) return;
    this.status = status;
    this.final = response;
    this.isLocal = false;
    if (this.state !== "cancelled") this.state = isDecline(status) ? "declined" : "failed";
    // After our own 408 a late answer of the phone still counts while the call is open.
    this.isEnded = true;
    this.owner.onBranchEnded(this, response);
  }

  onFailure(failure: ClientFailure): void {
    this.table.schedule.deadlines.cancel(this);
    this.isLocal = true;
    this.status = failure === "timeout" ? 408 : 503;
    if (this.state !== "cancelled") this.state = "failed";
    this.end(null);
  }

  /** Timer C, or a cancelled phone that never said 487. */
  onDue(): void {
    if (this.isLive) {
      this.isLocal = true;
      this.status = 408;
      this.state = "failed";
      this.sendCancel();
      return this.end(null);
    }
    this.client?.abandon();
    this.end(null);
  }

  private sendCancel(): void {
    const client = this.client;
    // §9.1: only an INVITE is cancelled, also after its phone answered too late.
    if (client === null || !client.isInvite || this.isCancelSent) return;
    this.isCancelSent = true;
    this.owner.onBranchCancelSent(this);
    const invite = parseSent(client.wire);
    const branch = invite.via!.branch;
    this.table.send(cancelFor(invite, this.cancelLines ?? ""), "CANCEL", branch, this.target.flow, null);
    this.watch(TIMEOUT_MS);
  }

  private watch(afterMs: number): void {
    this.table.schedule.deadlines.set(this, this.table.schedule.clock.nowMs + afterMs);
  }

  private end(response: Message | null): void {
    if (this.isEnded) return;
    this.isEnded = true;
    this.owner.onBranchEnded(this, response);
  }
}

/** 486, 600, 603, and a 480 that a phone sent: its user does not want this call (W-05). */
function isDecline(status: number): boolean {
  return status === 486 || status === 600 || status === 603 || status === 480 || status === 607;
}
