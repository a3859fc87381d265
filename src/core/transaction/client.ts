/**
 * Client transactions (RFC 3261 §17.1 with RFC 6026). This file owns all their transitions.
 *
 *   INVITE      calling ─1xx→ proceeding ─2xx→ accepted ─M→ terminated     calling ─2xx→ accepted
 *               calling, proceeding ─3xx..6xx→ completed ─D→ terminated    calling ─B→ terminated
 *   non-INVITE  trying ─1xx→ proceeding ─final→ completed ─K→ terminated   trying, proceeding ─F→ terminated
 *
 * A failed flow terminates each one that has no final response yet. An INVITE that Timer B ended goes on listening for
 * another 64·T1: its phone may still be heard of, and must then stop ringing, or be hung up (W-11, W-12).
 */
import type { Flow } from "../sip/flow.ts";
import { ackForFailure } from "../sip/forward.ts";
import { type Message, parseSent } from "../sip/message.ts";
import type { Due, Lingering } from "./deadline.ts";
import { type Schedule, T1_MS, T2_MS, TIMEOUT_MS, type TransactionPort } from "./timers.ts";

export type ClientState = "calling" | "trying" | "proceeding" | "accepted" | "completed" | "terminated";

/** Why a transaction ended without a response. `timeout`: timers B and F. `transport`: the flow failed. */
export type ClientFailure = "timeout" | "transport";

/** The owner of the request. */
export interface ClientOwner {
  /** Each 1xx, the first final, and for an INVITE every further 2xx. */
  onResponse(response: Message, transaction: ClientTransaction): void;
  onFailure(failure: ClientFailure, transaction: ClientTransaction): void;
  /** True for an INVITE whose answer is not wanted any more: its phone is told as soon as it is heard of. */
  readonly isGivenUp?: boolean;
}

/** What it needs of the table that holds it. */
export interface ClientTable {
  readonly port: TransactionPort;
  readonly schedule: Schedule;
  removeClient(transaction: ClientTransaction): void;
  /** A request that left over a connection at `sentAtMs` was not answered in time. */
  onSilence(flow: Flow, sentAtMs: number): void;
}

export class ClientTransaction implements Due, Lingering {
  dueMs = 0;
  heapSlot = -1;
  state: ClientState;
  readonly isInvite: boolean;
  /** True once a provisional response came: from then on a CANCEL may go (§9.1). */
  hasProvisional = false;
  private intervalMs = T1_MS;
  private timeoutAtMs: number;
  private lastSentMs = 0;
  private isQuiet = false;
  /** True once Timer B fired and its owner was told. It only listens from then on. */
  private isLapsed = false;
  private ack = "";

  constructor(
    private readonly table: ClientTable,
    readonly key: string,
    readonly method: string,
    /** The request as sent. */
    readonly wire: string,
    readonly flow: Flow,
    public owner: ClientOwner | null,
  ) {
    this.isInvite = method === "INVITE";
    this.state = this.isInvite ? "calling" : "trying";
    this.timeoutAtMs = table.schedule.clock.nowMs + TIMEOUT_MS;
  }

  get isPending(): boolean {
    return this.state === "calling" || this.state === "trying" || this.state === "proceeding";
  }

  /** Sends the request. A flow that cannot take it fails the transaction before this returns. */
  start(): void {
    const { deadlines, clock } = this.table.schedule;
    this.lastSentMs = clock.nowMs;
    if (!this.table.port.send(this.flow, this.wire)) return this.fail("transport");
    deadlines.set(this, this.flow.isReliable ? this.timeoutAtMs : clock.nowMs + this.intervalMs);
  }

  /** Repeats an unanswered request at once, unless it went within the last T1; the intervals begin anew. */
  nudge(): void {
    const { deadlines, clock } = this.table.schedule;
    if ((this.state !== "calling" && this.state !== "trying") || this.flow.isReliable || this.isQuiet) return;
    if (clock.nowMs - this.lastSentMs < T1_MS) return;
    this.intervalMs = T1_MS;
    this.lastSentMs = clock.nowMs;
    if (!this.table.port.send(this.flow, this.wire)) return this.fail("transport");
    deadlines.set(this, Math.min(clock.nowMs + this.intervalMs, this.timeoutAtMs));
  }

  /** Stops repeating the request, but goes on listening: a branch that lost before its phone was heard of (W-11). */
  quiet(): void {
    this.isQuiet = true;
    this.timeoutAtMs = this.table.schedule.clock.nowMs + TIMEOUT_MS;
    if (this.state === "calling") this.table.schedule.deadlines.set(this, this.timeoutAtMs);
  }

  receive(response: Message): void {
    const status = response.status;
    if (this.isPending) {
      if (status < 200) return this.onProvisional(response);
      if (this.isInvite && status < 300) this.accept();
      else this.complete(response);
      this.owner?.onResponse(response, this);
      if (this.state === "completed") this.owner = null;
    } else if (this.state === "accepted") {
      if (status >= 200 && status < 300) this.owner?.onResponse(response, this);
    } else if (this.state === "completed" && this.ack !== "" && status >= 300) {
      this.table.port.send(this.flow, this.ack);
    }
  }

  private onProvisional(response: Message): void {
    if (this.isInvite) {
      // Timer B stops with the first 1xx; from here on Timer C, the branch's, watches.
      if (this.state === "calling") this.table.schedule.deadlines.cancel(this);
    } else this.intervalMs = T2_MS;
    this.state = "proceeding";
    this.hasProvisional = true;
    this.owner?.onResponse(response, this);
  }

  private accept(): void {
    this.state = "accepted";
    const { deadlines, longLinger, clock } = this.table.schedule;
    deadlines.cancel(this);
    longLinger.add(this, clock.nowMs); // Timer M
  }

  private complete(response: Message): void {
    const { deadlines, longLinger, shortLinger, clock } = this.table.schedule;
    this.state = "completed";
    deadlines.cancel(this);
    if (this.isInvite) {
      this.ack = ackForFailure(parseSent(this.wire), response);
      this.table.port.send(this.flow, this.ack);
    }
    if (this.flow.isReliable) this.terminate();
    else (this.isInvite ? longLinger : shortLinger).add(this, clock.nowMs); // Timers D, K
  }

  /** Its connection closed. */
  onFlowClosed(): void {
    if (this.isPending) this.fail("transport");
  }

  /** Ends it at once, without telling its owner (Timer C gave it up). */
  abandon(): void {
    this.owner = null;
    if (this.isPending) this.terminate();
  }

  /** Timers A, B, E, F. */
  onDue(nowMs: number): void {
    if (nowMs >= this.timeoutAtMs) return this.onTimeout();
    const { deadlines } = this.table.schedule;
    if (this.flow.isReliable || this.isQuiet) return deadlines.set(this, this.timeoutAtMs);
    this.lastSentMs = nowMs;
    if (!this.table.port.send(this.flow, this.wire)) return this.fail("transport");
    this.intervalMs = this.isInvite ? this.intervalMs * 2 : Math.min(this.intervalMs * 2, T2_MS);
    deadlines.set(this, Math.min(nowMs + this.intervalMs, this.timeoutAtMs));
  }

  /** Timers D, K, M. */
  onLingerEnd(): void {
    this.terminate();
  }

  private onTimeout(): void {
    const { flow, lastSentMs } = this;
    if (this.isInvite && !this.isLapsed) this.lapse();
    else this.fail("timeout");
    if (flow.isReliable) this.table.onSilence(flow, lastSentMs);
  }

  /** Timer B, or the end of the wait before it: the INVITE failed. What its phone says later is still taken. */
  lapse(): void {
    if (!this.isInvite || this.isLapsed || this.state !== "calling") return;
    this.isLapsed = true;
    this.quiet();
    this.owner?.onFailure("timeout", this);
  }

  private fail(failure: ClientFailure): void {
    this.terminate();
    const owner = this.owner;
    this.owner = null;
    if (!this.isLapsed) owner?.onFailure(failure, this);
  }

  /** It only absorbs repetitions by now. */
  get isSpare(): boolean {
    return true;
  }

  private terminate(): void {
    this.state = "terminated";
    this.table.schedule.deadlines.cancel(this);
    this.table.removeClient(this);
  }
}
