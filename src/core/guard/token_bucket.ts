/** A rate with what was saved while it was not used. Knows no clock. */
import type { Rate } from "./allowance.ts";

/** So much is saved at most: a rate that is shared by all must not let seconds of a flood through at once. */
const BURST_MS = 2000;

export class TokenBucket {
  private perMs!: number;
  private burst!: number;
  private tokens = Infinity;
  private atMs = -Infinity;

  constructor(rate: Rate) {
    this.configure(rate);
  }

  configure({ count, per_ms }: Rate): void {
    this.perMs = count / per_ms;
    this.burst = Math.max(1, this.perMs * BURST_MS);
    this.tokens = Math.min(this.tokens, this.burst);
  }

  /** Takes one; false if there is none. */
  take(nowMs: number): boolean {
    if (nowMs > this.atMs) {
      this.tokens = Math.min(this.burst, this.tokens + (nowMs - this.atMs) * this.perMs);
      this.atMs = nowMs;
    }
    if (this.tokens < 1) return false;
    this.tokens--;
    return true;
  }
}
