/** RFC 3261 §17 timer values, in ms, and the queues of those that only wait. */
import type { Clock } from "../clock.ts";
import type { Flow, Listener, Transport } from "../sip/flow.ts";
import type { Port } from "../port.ts";
import { Deadlines, LingerQueue } from "./deadline.ts";

export const T1_MS = 500;
export const T2_MS = 4000;
export const T4_MS = 5000;
/** Timers B, D, F, H, J, L, M. */
export const TIMEOUT_MS = 64 * T1_MS;
/** When Timer E has reached T2: not before then may a non-INVITE be answered 100 (RFC 4320 §4.1). */
export const TRYING_MS = 7 * T1_MS;
/**
 * How long an answer to a non-INVITE is of use (RFC 4320 §4.2, W-17). Its sender's Timer F is 64·T1, and began before the
 * request reached us.
 */
export const LATEST_MS = 28_000;
/** Timer C (§16.6 step 11): more than three minutes. */
export const TIMER_C_MS = 185_000;

/** What the transaction layer needs of the world. */
export interface TransactionPort extends Port {
  /**
   * A flow to an address: the open connection to it, or a new one; a UDP flow out of `via`'s socket where given.
   * @returns null if no listener of this transport and family exists
   */
  flowTo(transport: Transport, address: string, port: number, via?: Listener): Flow | null;
  /** Closes a connection at once; nothing happens to a UDP flow. That it closed comes back as an input. */
  closeFlow(flow: Flow, reason: string): void;
}

/** All timers of the pure core, one place to ask for the next deadline. */
export class Schedule {
  readonly deadlines = new Deadlines();
  /** Timers I and K. */
  readonly shortLinger = new LingerQueue(T4_MS);
  /** Timers D, J, L, M and tombstones. */
  readonly longLinger = new LingerQueue(TIMEOUT_MS);

  constructor(readonly clock: Clock) {}

  /** Ends up to so many that only wait, oldest first. */
  endOldest(count: number): void {
    const { nowMs } = this.clock;
    const ended = this.shortLinger.endOldest(count, nowMs);
    if (ended < count) this.longLinger.endOldest(count - ended, nowMs);
  }

  get nextMs(): number {
    return Math.min(this.deadlines.nextMs, this.shortLinger.nextMs, this.longLinger.nextMs);
  }

  /** Runs everything that is due by the clock. */
  run(): void {
    const now = this.clock.nowMs;
    this.shortLinger.run(now);
    this.longLinger.run(now);
    this.deadlines.run(now);
  }
}
