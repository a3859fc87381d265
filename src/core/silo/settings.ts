/** What the silo is told from the config, and what it asks of the world. */
import type { TransactionPort } from "../transaction/timers.ts";
import type { PushPort } from "../usrloc/push_order.ts";

export interface SiloSettings {
  /** How long a wake may take (`wake.window`). */
  readonly windowMs: number;
  /** A call ends without an answer at the latest after this (`wake.ring_timeout`). */
  readonly ringTimeoutMs: number;
  /** A live mobile device without a 1xx gets a push after this; 0: at once (`wake.hedge`). */
  readonly hedgeMs: number;
  /** Silence after which a UDP flow is unknown (`wake.idle`). */
  readonly idleMs: number;
  readonly progress: "none" | "180" | "183" | "110";
  readonly delayedCancel: "auto" | "true" | "false";
  /** A device that was pushed in vain hears by push of the call it missed (`push.missed`). */
  readonly tellsMissed: boolean;
  readonly decline: "device" | "all";
  readonly isSingleAnswer: boolean;
  readonly maxCalls: number;
  readonly maxCallsPerAor: number;
  /** How many ended calls are kept for people (`trace.calls`). */
  readonly keptCalls: number;
  /** Column name of the calling side: `PBX`, or `caller` in registrar mode. */
  readonly callerParty: string;
}

/** Devices a call forks to at most (W-20). */
export const MAX_DEVICES = 32;

/** What came of it. */
export interface PushResult {
  readonly uuid: string;
  readonly outcome: "accepted" | "dead" | "refused" | "failed";
  readonly status: number;
  readonly reason: string;
  readonly ms: number;
  /** Of `refused`: by our own limit for the device (P-07), the service was not asked. */
  readonly isRateLimited?: boolean;
}

/** Verdicts of pushes come back through `Silo.pushResult`. */
export interface SiloPort extends TransactionPort, PushPort {}
