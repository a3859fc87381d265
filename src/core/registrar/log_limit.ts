/** The same complaint about thousands of AoRs: the first few of a minute are told, the others are for who looks closer. */

/** Of one kind, in a minute. */
const MAX_LINES = 10;
const MINUTE_MS = 60_000;

export class LogLimit {
  private readonly counts = new Map<string, number>();
  private sinceMs = -Infinity;

  /** How the next line of this kind is to be logged, and what is to be said behind it. */
  next(kind: string, nowMs: number): { level: "warn" | "debug"; note: string } {
    if (nowMs - this.sinceMs >= MINUTE_MS) {
      this.sinceMs = nowMs;
      this.counts.clear();
    }
    const count = (this.counts.get(kind) ?? 0) + 1;
    this.counts.set(kind, count);
    const note = count === MAX_LINES ? " (if there are more within this minute, they are logged at level debug)" : "";
    return { level: count > MAX_LINES ? "debug" : "warn", note };
  }
}
