/** What the silo is told from the config, what it asks of the world, and what its calls ask of it. */
import type { Reach } from "../proxy/device_flows.ts";
import type { Dialogs } from "../proxy/dialog.ts";
import type { Transactions } from "../transaction/table.ts";
import type { TransactionPort } from "../transaction/timers.ts";
import type { Contact } from "../usrloc/contact.ts";
import type { PushPort } from "../usrloc/push_order.ts";
import type { Usrloc } from "../usrloc/usrloc.ts";

export interface SiloSettings {
  /** How long a wake may take (`wake.window`). */
  readonly windowMs: number;
  /** A call ends without an answer at the latest after this (`wake.ring_timeout`). */
  readonly ringTimeoutMs: number;
  /** A live mobile device without a 1xx gets a push after this; 0: at once (`wake.hedge`). */
  readonly hedgeMs: number;
  /** Silence after which a UDP flow is unknown (`wake.idle`). */
  readonly idleMs: number;
  /** Methods that wake a phone where not all do (`wake.methods`), in upper case. */
  readonly wakeMethods: ReadonlySet<string>;
  readonly progress: "none" | "180" | "183" | "110";
  readonly delayedCancel: "auto" | "true" | "false";
  /** A device that was pushed in vain hears by push of the call it missed (`push.missed`). */
  readonly tellsMissed: boolean;
  /** Providers (`pn-provider`) whose service has nothing for the end of a call, or for a missed one (`push.http`). */
  readonly untold: Readonly<Record<"cancel" | "missed", ReadonlySet<string>>>;
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

/** What the push services answer comes back through `Silo.pushReported`. */
export interface SiloPort extends TransactionPort, PushPort {}

/** The silo, as its calls and their devices see it. */
export interface CallHome {
  readonly port: SiloPort;
  readonly table: Transactions;
  readonly usrloc: Usrloc;
  readonly dialogs: Dialogs;
  readonly settings: SiloSettings;
  readonly reach: Reach;
  /** P-07: finds a push of another call that may still wake the device, and sees to it that it is not taken back. */
  shareWake(contact: Contact): boolean;
  /** A call pushed a device: the service's answer is for that call. */
  onPushed(uuid: string, callId: string): void;
  /** The final response of a call went to the caller. */
  onCallEnded(callId: string): void;
}
