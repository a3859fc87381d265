/**
 * An orderly end (O-04): open calls may end, then what is on its way may arrive. Owns how long it waits for each, and says
 * what it waits for. Closes nothing itself.
 *
 *   serving ─begin→ calls ─no call open, or 30 s→ lingering ─nothing owed, or 64·T1→ done
 */
import type { Owed } from "../core/transaction/table.ts";
import { T1_MS, TIMEOUT_MS } from "../core/transaction/timers.ts";

/** Open calls may take this long to end. */
const CALLS_MS = 30_000;
/** On a busy box some request is always on its way. When the older ones are done, a moment without any is awaited so long. */
const PAUSE_MS = 2 * T1_MS;
/** How often it looks: each time is a pass over all transactions. */
const LOOK_MS = 20;

/** What it needs of the core and of those who read. */
export interface DrainWorld {
  nowMs(): number;
  /** @param untilMs requests that came later are left out; absent: none are */
  owed(untilMs?: number): Owed;
  /** Ends the calls that are still open. */
  endCalls(): void;
  say(level: "info" | "warn", message: string): void;
}

export class Drain {
  private state: "serving" | "calls" | "lingering" | "done" = "serving";
  private callsUntilMs = Infinity;
  private lingerSinceMs = 0;
  private pauseUntilMs = Infinity;
  /** When {@link look} wants to be called; Infinity: there is nothing to wait for. */
  nextMs = Infinity;
  private readonly waiting: (() => void)[] = [];

  constructor(private readonly world: DrainWorld) {}

  /** Begins the drain, unless it has begun. Resolves when nothing is left to wait for. */
  begin(): Promise<void> {
    const over = new Promise<void>((resolve) => this.waiting.push(resolve));
    if (this.state === "serving") {
      this.state = "calls";
      this.callsUntilMs = this.world.nowMs() + CALLS_MS;
      const waits = this.waitsFor();
      if (waits !== "") this.world.say("info", `Draining: waits for ${waits}`);
    }
    this.look();
    return over;
  }

  /** What is waited for, in words: `1 call open, 2 ACKs to pass`; empty: nothing. */
  waitsFor(): string {
    return owedWords(this.world.owed());
  }

  /** Called in a turn, as soon as {@link nextMs} has come. */
  look(): void {
    if (this.state === "serving") return;
    const nowMs = this.world.nowMs();
    if (this.state === "calls") this.lookForCalls(nowMs);
    if (this.state === "lingering") this.linger(nowMs);
    this.nextMs = this.state === "done" ? Infinity : nowMs + LOOK_MS;
    if (this.state === "done") { for (const resolve of this.waiting.splice(0)) resolve(); }
  }

  private lookForCalls(nowMs: number): void {
    const { calls } = this.world.owed();
    if (calls > 0 && nowMs < this.callsUntilMs) return;
    if (calls > 0) {
      this.world.say("warn", `Draining: ends ${count(calls, "call")} still open after ${CALLS_MS / 1000} s`);
      this.world.endCalls();
    }
    this.state = "lingering";
    this.lingerSinceMs = nowMs;
    const waits = this.waitsFor();
    if (waits !== "") this.world.say("info", `Draining: lingers for ${waits}, ${TIMEOUT_MS / 1000} s at most`);
  }

  private linger(nowMs: number): void {
    if (nowMs - this.lingerSinceMs >= TIMEOUT_MS) {
      this.world.say("warn", `Draining: gave up on ${this.waitsFor()}`);
      this.state = "done";
      return;
    }
    if (owedWords(this.world.owed(this.lingerSinceMs)) !== "") return void (this.pauseUntilMs = Infinity);
    if (this.pauseUntilMs === Infinity) this.pauseUntilMs = nowMs + PAUSE_MS;
    if (nowMs >= this.pauseUntilMs || owedWords(this.world.owed()) === "") this.state = "done";
  }
}

function owedWords({ calls, acks, cancels, requests }: Owed): string {
  const parts = [
    calls === 0 ? "" : `${count(calls, "call")} open`,
    acks === 0 ? "" : `${count(acks, "ACK")} to pass`,
    cancels === 0 ? "" : `${count(cancels, "phone")} to hear that a call is over`,
    requests === 0 ? "" : `${count(requests, "request")} in flight`,
  ];
  return parts.filter((part) => part !== "").join(", ");
}

function count(number: number, what: string): string {
  return `${number} ${what}${number === 1 ? "" : "s"}`;
}
