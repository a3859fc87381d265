/**
 * Server transactions (RFC 3261 §17.2 with RFC 6026). This file owns all their transitions.
 *
 *   INVITE      proceeding ─1xx→ proceeding ─2xx→ accepted ─L→ terminated
 *               proceeding ─3xx..6xx→ completed ─ACK→ confirmed ─I→ terminated     completed ─H→ terminated
 *   non-INVITE  trying ─1xx→ proceeding ─final→ completed ─J→ terminated            trying ─final→ completed
 *               trying ─3.5 s→ proceeding: 100 is sent (RFC 4320 §4.1)
 */
import type { Flow } from "../sip/flow.ts";
import { requestHash, statelessTag } from "../sip/hash.ts";
import type { Message } from "../sip/message.ts";
import { reasonPhrase } from "../sip/reason.ts";
import { receivedVia, responseTo } from "../sip/response.ts";
import type { Due, Lingering } from "./deadline.ts";
import { LATEST_MS, type Schedule, T1_MS, T2_MS, TIMEOUT_MS, type TransactionPort, TRYING_MS } from "./timers.ts";

export type ServerState = "trying" | "proceeding" | "accepted" | "completed" | "confirmed" | "terminated";

/** The owner of the request, which answers it. */
export interface ServerOwner {
  /** The caller cancelled this INVITE (the CANCEL itself is answered already). */
  onCancel(cancel: Message): void;
  /** A non-INVITE has waited for 28 s. Answer it now: its sender stops listening at 32 s. */
  onLate?(): void;
}

/** What it needs of the table that holds it. */
export interface ServerTable {
  readonly port: TransactionPort;
  readonly schedule: Schedule;
  /** Where a response goes now (§18.2.2); null: nowhere. */
  wayBack(request: Message | null, flow: Flow | null): Flow | null;
  /** The flow that the phone has registered since; null: it is still where it was. */
  newerFlow(request: Message | null, flow: Flow): Flow | null;
  removeServer(transaction: ServerTransaction): void;
  /** It has its final response, or ended without one; told once or more. Strangers are counted until then. */
  strangerAnswered(transaction: ServerTransaction): void;
  /** Its first 2xx went to the caller, whose ACK is on its way. */
  onAccepted(transaction: ServerTransaction): void;
}

export class ServerTransaction implements Due, Lingering {
  dueMs = 0;
  heapSlot = -1;
  state: ServerState;
  owner: ServerOwner | null = null;
  /** It came from a stranger, and has no final response yet. */
  isStranger = false;
  /** To tag of the responses made here; one per transaction (§8.2.6.2). */
  toTag = "";
  /** The corrected top Via value of responses and of the forwarded request; empty once {@link request} is released. */
  viaText: string;
  /** When the request came first. */
  readonly arrivedAtMs: number;
  /** Status of the last response sent, 0 if none. */
  status = 0;
  private lastResponse = "";
  private intervalMs = T1_MS;
  private timeoutAtMs = 0;
  private replyFlow: Flow | null;
  /** Of Call-ID and CSeq number, which its ACK has too. */
  readonly requestHash: number;

  constructor(
    private readonly table: ServerTable,
    readonly key: string,
    /** Released when the transaction completes: ask nothing of it after the final response. */
    public request: Message,
    readonly flow: Flow,
    readonly isInvite: boolean,
  ) {
    this.state = isInvite ? "proceeding" : "trying";
    this.viaText = receivedVia(request, flow);
    this.replyFlow = flow;
    this.arrivedAtMs = table.schedule.clock.nowMs;
    this.requestHash = requestHash(request);
  }

  /**
   * False for another request with the branch of this one: some UAs have one branch for all they send. While an INVITE
   * waits for its answer, RFC 3261 §17.2.3 alone counts: a second one would take the CANCEL and the ACK of the first.
   */
  isSameRequest(request: Message): boolean {
    return (this.isInvite && this.isPending) || requestHash(request) === this.requestHash;
  }

  /** True while a CANCEL or a final response can still make a difference. */
  get isPending(): boolean {
    return this.state === "trying" || this.state === "proceeding";
  }

  /**
   * Sends a response made here. Nothing happens after a final one.
   * @param lines further header lines with their CRLF
   * @param reason `""`: the standard phrase
   */
  respond(status: number, reason = "", lines = "", isDurable = false): void {
    if (!this.isPending) return;
    if (this.toTag === "" && status > 100) this.toTag = this.table.port.token(10);
    const phrase = reason === "" ? reasonPhrase(status) : reason;
    const wire = responseTo(this.request, status, phrase, this.viaText, status === 100 ? "" : this.toTag, lines);
    this.relay(status, wire, isDurable);
  }

  /**
   * Answers a stranger and keeps no state (§8.2.7). If the request comes again, it gets the same answer with the same To
   * tag. Its ACK is a stray. Nothing is repeated, as the source address may be forged.
   */
  respondOnce(status: number, reason = "", lines = ""): void {
    if (!this.isPending) return;
    const phrase = reason === "" ? reasonPhrase(status) : reason;
    this.toTag = statelessTag(this.request);
    this.status = status;
    this.send(responseTo(this.request, status, phrase, this.viaText, this.toTag, lines), false);
    this.table.schedule.deadlines.cancel(this);
    this.terminate();
  }

  /**
   * Sends a response that is built already (a branch's, with our Via taken off). A 2xx to an INVITE passes also
   * after the first one (RFC 6026 §7.1); nothing else passes after a final response.
   */
  relay(status: number, wire: string, isDurable = false): void {
    if (this.state === "accepted" && status >= 200 && status < 300) return this.send(wire, isDurable);
    if (!this.isPending) return;
    this.status = status;
    this.send(wire, isDurable);
    if (status < 200) {
      this.state = "proceeding";
      this.lastResponse = wire;
      return;
    }
    this.table.strangerAnswered(this);
    const now = this.table.schedule.clock.nowMs;
    if (this.isInvite && status < 300) {
      this.state = "accepted";
      this.lastResponse = "";
      this.table.onAccepted(this);
      // Further 2xx find a connection that was lost by its request.
      if (!this.flow.isReliable) this.release();
      this.table.schedule.longLinger.add(this, now);
      return;
    }
    this.lastResponse = wire;
    this.state = "completed";
    if (this.isInvite) {
      this.timeoutAtMs = now + TIMEOUT_MS;
      this.table.schedule.deadlines.set(this, this.flow.isReliable ? this.timeoutAtMs : now + this.intervalMs);
      return;
    }
    this.owner = null;
    this.release();
    this.table.schedule.deadlines.cancel(this);
    // Timer J is 0 over a reliable transport.
    if (this.flow.isReliable) this.terminate();
    else this.table.schedule.longLinger.add(this, now);
  }

  /** Lets go of the request: for the 32 s that follow, the response alone is kept. */
  private release(): void {
    this.request = RELEASED;
    this.viaText = "";
  }

  /**
   * Its owner has taken the request. A non-INVITE without an answer gets 100 when its sender's Timer E has reached T2
   * (RFC 4320 §4.1 forbids it before).
   */
  onTaken(): void {
    if (this.state !== "trying") return;
    const { deadlines, clock } = this.table.schedule;
    this.timeoutAtMs = clock.nowMs + LATEST_MS;
    deadlines.set(this, clock.nowMs + TRYING_MS);
  }

  /** The request came again: the last response goes out again; 2xx are the phone's to repeat (RFC 6026). */
  onRetransmission(): void {
    if (this.lastResponse !== "") this.send(this.lastResponse, false);
  }

  /** ACK for our non-2xx final. */
  onAck(): void {
    if (this.state !== "completed") return;
    this.state = "confirmed";
    this.lastResponse = "";
    this.release();
    this.owner = null;
    this.table.schedule.deadlines.cancel(this);
    // Timer I absorbs further ACKs.
    if (this.flow.isReliable) this.terminate();
    else this.table.schedule.shortLinger.add(this, this.table.schedule.clock.nowMs);
  }

  /** Timers G and H; without INVITE the time for a 100, and for the last word. */
  onDue(nowMs: number): void {
    if (!this.isInvite) {
      if (nowMs >= this.timeoutAtMs) return this.owner?.onLate?.();
      this.table.schedule.deadlines.set(this, this.timeoutAtMs);
      // A 100 is not worth a new connection.
      return this.flow.state === "closed" ? undefined : this.respond(100);
    }
    if (nowMs >= this.timeoutAtMs) return this.terminate();
    this.send(this.lastResponse, false);
    this.intervalMs = Math.min(this.intervalMs * 2, T2_MS);
    this.table.schedule.deadlines.set(this, Math.min(nowMs + this.intervalMs, this.timeoutAtMs));
  }

  /** Timers I, J, L. */
  onLingerEnd(): void {
    this.terminate();
  }

  /** It only absorbs repetitions by now. */
  get isSpare(): boolean {
    return true;
  }

  private terminate(): void {
    this.state = "terminated";
    this.table.strangerAnswered(this);
    this.owner = null;
    this.lastResponse = "";
    this.table.removeServer(this);
  }

  private send(wire: string, isDurable: boolean): void {
    const request = this.request === RELEASED ? null : this.request;
    const flow = this.table.newerFlow(request, this.flow) ??
      (this.replyFlow = this.table.wayBack(request, this.replyFlow));
    if (flow === null) return this.table.port.count("rejected_total", "reply_without_flow");
    if (isDurable) this.table.port.sendDurable(flow, wire);
    else this.table.port.send(flow, wire);
  }
}

/** Stands in place of a request that was let go. */
export const RELEASED: Message = undefined as unknown as Message;
