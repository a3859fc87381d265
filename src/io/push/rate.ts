/**
 * Owns the push rate limit per device (P-07): which pushes count, and how many of them a minute. The counts lie in a table
 * that it is given, where an admin sees and changes them. It must know no clock and no verdicts.
 */
import { createHash } from "node:crypto";
import type { PushRequest } from "./types.ts";

/** Pushes of one event to one device within a minute. A `cancel` follows a push that was counted, a `test` is the admin's. */
export const CALL_PUSHES_PER_MINUTE = 10;
export const OTHER_PUSHES_PER_MINUTE = 30;
/** Devices and events counted at a time; beyond it the one pushed longest ago is forgotten. */
export const MAX_RATED_DEVICES = 10_000;
const WINDOW_MS = 60_000;

/** The part of an htable that is used. */
export interface RateTable {
  /** Adds to a counter that lives for `ttlMs` from its first count; null if what stands there is no number. */
  incr(key: string, by: number, ttlMs: number, nowMs: number): number | null;
}

export class DeviceRate {
  private readonly counts: RateTable;

  constructor(counts: RateTable) {
    this.counts = counts;
  }

  /** Counts a push; false if its device has had enough of this event within the minute. */
  take(request: PushRequest, nowMs: number): boolean {
    const { event } = request;
    if (event === "cancel" || event === "test") return true;
    const limit = event === "call" ? CALL_PUSHES_PER_MINUTE : OTHER_PUSHES_PER_MINUTE;
    const count = this.counts.incr(`${event}:${deviceOf(request)}`, 1, WINDOW_MS, nowMs);
    return count === null || count <= limit;
  }
}

/** A bare token (P-08) is known by its hash: keys of tables are shown. */
function deviceOf({ device, provider, prid }: PushRequest): string {
  if (device !== "") return device;
  return createHash("sha256").update(`${provider} ${prid}`, "latin1").digest("base64url").slice(0, 16);
}
