/**
 * So many a second and no more: what comes due for thousands at one moment, as after a restart, is spread instead of
 * flooding its receiver. Gives times; must not know what is done then.
 */

export class SendRate {
  private freeMs = 0;

  /**
   * @param eachMs between one and the next, as long as there are more
   * @param burst so many may go at once after a pause
   */
  constructor(private readonly eachMs: number, private readonly burst: number) {}

  /** A place in the row. @returns when it may be used, ms: now, or later if many have come before */
  take(nowMs: number): number {
    const atMs = Math.max(nowMs, this.freeMs - (this.burst - 1) * this.eachMs);
    this.freeMs = Math.max(this.freeMs, nowMs) + this.eachMs;
    return atMs;
  }
}
