/** The relay's contract: what a push is, and what its service may say. Pure types; the backends are beside it. */
import type { PushOrder } from "../../core/usrloc/push_order.ts";

/** Why a push is sent: `event` of the webhook body. The pure parts order all but `test`, which an admin sends. */
export type PushEvent = PushOrder["event"] | "test";

/** An order of the pure parts, or a test. `uuid` is also that of the payload; `ttlMs` bounds the retries, too. */
export interface PushRequest extends Omit<PushOrder, "event"> {
  readonly event: PushEvent;
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
  /** Of `dead`, where the service says it: since when, ms by the clock of `PushWorld.now`. A token registered later is not meant (P-04). */
  readonly deadSinceMs?: number;
  /** Of `refused`: by our own limit (P-07). The service was not asked, and an earlier push may wake the device. */
  readonly isRateLimited?: boolean;
}
