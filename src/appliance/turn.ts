/**
 * The loop turn. All inputs at hand run to their end. Then what may leave at once leaves, the store commits, what promised
 * durability leaves, and one timer is set for the earliest deadline. Owns the clock and that timer.
 */
import type { Clock } from "../core/clock.ts";

/** What a turn does at its end, in this order. */
export interface TurnWork {
  /** Runs everything due by the clock. */
  runDue(): void;
  /** Gives the queued sends to the kernel. */
  flush(): void;
  /** Commits the store, then sends what waited for it. */
  commit(): void;
  /** Earliest deadline of anything, ms of the clock. */
  nextMs(): number;
  /** About once a second. */
  tick(nowMs: number): void;
  /** An input or the end of a turn threw. It is counted and logged, and goes no further. */
  onFault(error: unknown): void;
  /** How late the timer fired, seconds. */
  onLag(seconds: number): void;
}

const TICK_MS = 1000;

export class Turn implements Clock {
  nowMs: number;
  private readonly epochMs: number;
  /** Counts the turns. */
  number = 0;
  private isOpen = false;
  private isAgain = false;
  private timer: ReturnType<typeof setTimeout> | null = null;
  private armedForMs = Infinity;
  private nextTickMs = 0;
  private isStopped = false;
  /** Told when the open turn has committed. */
  private waiting: (() => void)[] = [];
  private readonly close = () => this.end();

  constructor(private readonly work: TurnWork) {
    // Anchored once: a router's clock jumps when NTP arrives, and that must not expire all phones.
    this.epochMs = Date.now() - performance.now();
    this.nowMs = this.epochMs + performance.now();
    this.nextTickMs = this.nowMs + TICK_MS;
  }

  /** The clock at this moment, where `nowMs` stands still within a turn. */
  readMs(): number {
    return this.epochMs + performance.now();
  }

  /** Opens a turn if none is open: sets the clock, and schedules the end of the turn behind all input at hand. */
  enter(): void {
    if (this.isOpen) return;
    this.isOpen = true;
    this.number++;
    this.nowMs = this.epochMs + performance.now();
    setImmediate(this.close);
  }

  /** Resolves when the open turn has ended: the store has committed what it changed, or has failed and says so. */
  committed(): Promise<void> {
    this.enter();
    return new Promise((resolve) => this.waiting.push(resolve));
  }

  /** Asked for at the end of a turn: another one follows at once, behind the input at hand. */
  again(): void {
    this.isAgain = true;
  }

  /** Runs one input in a turn. What it throws goes no further. */
  run(input: () => void): void {
    this.enter();
    try {
      input();
    } catch (error) {
      this.work.onFault(error);
    }
  }

  stop(): void {
    this.isStopped = true;
    if (this.timer !== null) clearTimeout(this.timer);
  }

  private end(): void {
    this.isOpen = false;
    if (this.isStopped) return;
    this.nowMs = this.epochMs + performance.now();
    this.guarded(() => this.work.runDue());
    if (this.nowMs >= this.nextTickMs) {
      this.nextTickMs = this.nowMs + TICK_MS;
      this.guarded(() => this.work.tick(this.nowMs));
    }
    this.guarded(() => this.work.flush());
    this.guarded(() => this.work.commit());
    if (this.waiting.length > 0) { for (const resolve of this.waiting.splice(0)) resolve(); }
    if (this.isAgain) {
      this.isAgain = false;
      this.enter();
    } else this.arm();
  }

  private guarded(part: () => void): void {
    try {
      part();
    } catch (error) {
      this.work.onFault(error);
    }
  }

  /** A timer that is set for an earlier time stays. It will find nothing due and set the next: cheaper than moving it. */
  private arm(): void {
    const nextMs = Math.min(this.work.nextMs(), this.nextTickMs);
    if (nextMs >= this.armedForMs) return;
    if (this.timer !== null) clearTimeout(this.timer);
    this.armedForMs = nextMs;
    this.timer = setTimeout(() => {
      this.timer = null;
      this.armedForMs = Infinity;
      this.enter();
      this.work.onLag(Math.max(0, this.nowMs - nextMs) / 1000);
    }, Math.max(0, Math.ceil(nextMs - this.nowMs)));
  }
}
