/**
 * The clock that stored times are written in. The appliance sets its clock by the machine's once, at start; a machine's
 * is set later, when NTP arrives, or stands still while a virtual machine is suspended. So the store notes how far apart
 * the two are, and what was stored is moved to the clock of the next start. Knows no clock itself.
 */
import type { LoadResult, SqliteStore } from "./sqlite.ts";

/** Name in `meta`: how far the machine's clock is ahead of the one of the stored times, ms. */
const META_KEY = "clock_ahead_ms";
/** Less is not worth a row on the disk, nor a second look at a clock that seems to have run backwards. */
const SLACK_MS = 5000;

/** How the times of a store relate to the clock of this start. */
export interface ClockShift {
  /** To be added to every stored time; 0: nothing to do. */
  readonly shiftMs: number;
  /** The machine's clock is behind what was stored, so nobody knows how long we were away. */
  readonly isBehind: boolean;
}

/** Notes how far the machine's clock is ahead of ours. @returns by how many ms more than noted before; 0: nothing new */
export function noteClock(store: SqliteStore, aheadMs: number): number {
  const byMs = Math.round(aheadMs) - noted(store);
  if (Math.abs(byMs) < SLACK_MS) return 0;
  store.setMeta(META_KEY, String(Math.round(aheadMs)));
  return byMs;
}

/** How far stored times are from the clock that says `nowMs`, which has just been set by the machine's. */
export function clockShift(store: SqliteStore, nowMs: number): ClockShift {
  const aheadMs = noted(store);
  // A machine without a clock of its own starts in the past: we were away for no time at least.
  const newestMs = store.newestAfter(nowMs - aheadMs + SLACK_MS);
  return newestMs === 0 ? { shiftMs: aheadMs, isBehind: false } : { shiftMs: nowMs - newestMs, isBehind: true };
}

/**
 * Moves all that `load(nowMs - shiftMs)` gave to the new clock. What the PBX granted is proven no longer if nobody knows how
 * long we were away. The owner saves everything anew, which the note that all is in the new clock goes with.
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
