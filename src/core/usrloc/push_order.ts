/** What the pure parts order when a device is to be pushed; the relay's request, field by field. Data only. */
import type { PushKeys } from "./model.ts";

/** The silo orders `call`, `cancel` and `missed`, the registrar `refresh`, the proxy `message`: a request inside a dialog. */
export interface PushOrder {
  /** Comes back with the verdict. */
  readonly uuid: string;
  readonly event: "call" | "cancel" | "missed" | "refresh" | "message";
  readonly provider: string;
  readonly param: string;
  readonly prid: string;
  /** Of a Web Push subscription, where they are known: the payload is encrypted for them. */
  readonly keys?: PushKeys | undefined;
  readonly aor: string;
  /** Contact id. */
  readonly device: string;
  /** Call-ID of the INVITE or of the dialog, to the byte; empty for `refresh`, as are the names of the caller. */
  readonly callId: string;
  readonly fromUri: string;
  readonly fromName: string;
  readonly toUri: string;
  /** Of `message`: the method of the request that waits, where it matters whether it is a MESSAGE, which people read. */
  readonly method?: string;
  /** After this long the push is of no use. */
  readonly ttlMs: number;
  /** Of `cancel`: why the call is over. */
  readonly reason?: "answered_elsewhere" | "caller_gave_up" | "declined" | "timeout";
}

/** The verdict on an order. */
export interface PushReport {
  readonly uuid: string;
  readonly outcome: "accepted" | "dead" | "refused" | "failed";
  /** HTTP status of the service, 0 if none came. */
  readonly status: number;
  /** In words. */
  readonly reason: string;
  /** First attempt to answer. */
  readonly ms: number;
  /** Of `refused`: by our own limit for the device (P-07), the service was not asked. */
  readonly isRateLimited?: boolean;
}

/** Takes orders: the relay. */
export interface PushPort {
  /** Starts a push; the verdict comes back as an input. */
  push(order: PushOrder): void;
  /** Takes a push back that waits for a retry. */
  cancelPush(uuid: string): void;
}
