/** The relay's contract: what a push is, and what its service may say. Pure types; the backends are beside it. */
import type { PushKeys } from "../usrloc/model.ts";

/** Why a push is sent: `event` of the webhook body. */
export type PushEvent = "call" | "message" | "refresh" | "cancel" | "missed" | "test";

/** Why a call a device was woken for is over: `reason` of a `cancel` push. */
export type CancelReason = "answered_elsewhere" | "caller_gave_up" | "declined" | "timeout";

export interface PushRequest {
  /** Unique, made by the caller: comes back with the verdict, and is the `uuid` of the payload. */
  readonly uuid: string;
  readonly event: PushEvent;
  readonly provider: string;
  readonly param: string;
  readonly prid: string;
  /** Of a Web Push subscription, where they are known: the payload is encrypted for them. */
  readonly keys?: PushKeys | undefined;
  readonly aor: string;
  /** Contact id. */
  readonly device: string;
  /** Call-ID of the INVITE, to the byte; empty for `refresh` and `test`. */
  readonly callId: string;
  readonly fromUri: string;
  readonly fromName: string;
  readonly toUri: string;
  /** After this long the push is of no use: TTL for the service, and the bound for retries. */
  readonly ttlMs: number;
  readonly reason?: CancelReason;
}

/**
 * `accepted`: the service took it. `dead`: the token is dead, forget it. `refused`: the service says no and will
 * say no again (wrong project, no backend, 4xx). `failed`: it could not be delivered inside the window.
 */
export type PushOutcome = "accepted" | "dead" | "refused" | "failed";

export interface PushVerdict {
  readonly uuid: string;
  readonly provider: string;
  readonly outcome: PushOutcome;
  /** HTTP status of the last answer, 0 if none came. */
  readonly status: number;
  /** In words, for people: what the service said and what to do about it. */
  readonly reason: string;
  /** First attempt to verdict. */
  readonly ms: number;
  readonly attempts: number;
  /** Of `dead`, where the service says it: since when, ms since the epoch. A token registered later is not meant (P-04). */
  readonly deadSinceMs?: number;
}
