/**
 * What one source may send: two token buckets, one for strangers and one for the flows of registered phones, and how
 * far beyond it the source goes. Knows no addresses and no clock.
 */

/** A rate as the config has it: `count` in `per_ms` milliseconds. */
export interface Rate {
  readonly count: number;
  readonly per_ms: number;
}

/** What a quiet source saves up in so long it may send at once: the REGISTERs of an office after a power cut. */
const BURST_MS = 10_000;
/** Registered phones may send so many times as much as strangers: a whole office may be behind one address. */
const REGISTERED_FACTOR = 5;
/** A flood: so many bursts are refused beyond what the rate lets pass meanwhile. */
const FLOOD_BURSTS = 2;

/** The numbers of one rate, worked out once. */
export class AllowanceRule {
  readonly perMs: number;
  /** Messages at once. */
  readonly burst: number;
  /** Refused messages that make a flood; they are forgotten at the rate itself. */
  readonly flood: number;

  constructor(rate: Rate) {
    this.perMs = rate.count / rate.per_ms;
    this.burst = Math.max(rate.count, this.perMs * BURST_MS);
    this.flood = this.burst * FLOOD_BURSTS;
  }
}

export type AllowanceVerdict = "pass" | "over" | "flood";

/** Where one source stands. A fresh one has everything saved. */
export class Allowance {
  private strangers: number;
  private registered: number;
  private excess = 0;

  constructor(rule: AllowanceRule, private atMs: number) {
    this.strangers = rule.burst;
    this.registered = rule.burst * REGISTERED_FACTOR;
  }

  /**
   * Takes one message off. `flood`: refused, and more was refused lately than any phone sends. It is returned once, and
   * again after as much more.
   */
  take(rule: AllowanceRule, isRegistered: boolean, nowMs: number): AllowanceVerdict {
    if (nowMs > this.atMs) this.refill(rule, nowMs);
    if (isRegistered) {
      if (this.registered >= 1) {
        this.registered--;
        return "pass";
      }
    } else if (this.strangers >= 1) {
      this.strangers--;
      return "pass";
    }
    if (++this.excess < rule.flood) return "over";
    this.excess = 0;
    return "flood";
  }

  private refill(rule: AllowanceRule, nowMs: number): void {
    const earned = (nowMs - this.atMs) * rule.perMs;
    this.atMs = nowMs;
    this.strangers = Math.min(rule.burst, this.strangers + earned);
    this.registered = Math.min(rule.burst * REGISTERED_FACTOR, this.registered + earned * REGISTERED_FACTOR);
    this.excess = Math.max(0, this.excess - earned);
  }
}
