/**
 * The clock that stored times are written in. The appliance sets its clock by the machine's once, at start. The machine's
 * clock may be set later, by NTP, or stand still while a virtual machine is suspended. So the store notes the distance of
 * the two, and at the next start moves the stored times by it. Knows no clock itself.
 */
import type { LoadResult, SqliteStore } from "./sqlite.ts";

/** Name in `meta`: how far the machine's clock is ahead of the stored times' clock, in ms. */
const META_KEY = "clock_ahead_ms";
/** A smaller distance is neither written to the disk nor taken for a clock that ran backwards. */
const SLACK_MS = 5000;

/** How the times of a store relate to the clock of this start. */
export interface ClockShift {
  /** To be added to every stored time; 0: nothing to do. */
  readonly shiftMs: number;
  /** The machine's clock is behind what was stored: how long we were away is unknown. */
  readonly isBehind: boolean;
}

/** Notes how far the machine's clock is ahead of ours. @returns by how many ms more than noted before; 0: nothing new */
export function noteClock(store: SqliteStore, aheadMs: number): number {
  const byMs = Math.round(aheadMs) - noted(store);
  if (Math.abs(byMs) < SLACK_MS) return 0;
  store.setMeta(META_KEY, String(Math.round(aheadMs)));
  return byMs;
}

/** How far stored times are from the appliance's clock, which reads `nowMs` and was just set by the machine's. */
export function clockShift(store: SqliteStore, nowMs: number): ClockShift {
  const aheadMs = noted(store);
  // A machine without a battery clock starts in the past. Then we count as away for no time.
  const newestMs = store.newestAfter(nowMs - aheadMs + SLACK_MS);
  return newestMs === 0 ? { shiftMs: aheadMs, isBehind: false } : { shiftMs: nowMs - newestMs, isBehind: true };
}

/**
 * Moves all that `load(nowMs - shiftMs)` gave to the new clock. If how long we were away is unknown, what the PBX granted
 * counts as unproven. The owner saves everything anew, together with the note that all is in the new clock.
 */
export function moveTimes(store: SqliteStore, loaded: LoadResult, { shiftMs, isBehind }: ClockShift): void {
  for (const contact of loaded.contacts) {
    contact.expiresAtMs += shiftMs;
    contact.registeredAtMs += shiftMs;
    if (contact.push !== null) contact.push.registeredAtMs += shiftMs;
    if (contact.upstreamEndsMs !== 0) contact.upstreamEndsMs += shiftMs;
  }
  for (const { upstream } of loaded.aors) {
    if (upstream.expiresAtMs !== 0) upstream.expiresAtMs += shiftMs;
    if (isBehind) upstream.provenMs = 0;
  }
  for (const item of loaded.htableItems) {
    item.expiresAtMs += shiftMs;
    store.changed(item.table, item.key, item.value, item.expiresAtMs);
  }
  store.setMeta(META_KEY, "0");
}

function noted(store: SqliteStore): number {
  return Number(store.meta(META_KEY) ?? 0) || 0;
}
