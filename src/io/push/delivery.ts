/**
 * Owns the way of pushes to one backend: what is in flight, what waits, retries inside the window, time limits, and
 * the backend's health. It must not know what a push means or how its service is spoken to.
 *
 *   queued ──slot──▶ flying ──answer──▶ settled
 *      ▲                │ retry
 *      └──delay over── resting          any state ──window over, cancelled, stopped──▶ settled
 *
 * A job holds at most one timer: the end of its window while queued, the attempt's limit while flying, the next
 * attempt while resting.
 */
import { type AttemptAnswer, type PushBackend, retry } from "./backend.ts";
import { Health, type HostHealth } from "./health.ts";
import { canWait } from "./request.ts";
import type { PushOutcome, PushRequest, PushVerdict } from "./types.ts";
import type { PushWorld } from "./world.ts";

/** Bun's fetch runs 256 requests at a time in one process: one receiver that hangs must not take them all. */
export const MAX_IN_FLIGHT = 64;
/** Unfinished pushes of one backend: in flight, queued or resting. */
export const MAX_PENDING = 4096;
/** Refresh and missed-call pushes come in crowds and can wait: they get at most this share of both. */
export const CROWD_SHARE = 0.5;
/** Back-off after the n-th attempt: `BACKOFF_MS · 2^(n-1)`, at most `MAX_BACKOFF_MS`, of which a random quarter is taken off. */
export const BACKOFF_MS = 250;
export const MAX_BACKOFF_MS = 10_000;
/** A longer life than a day is no push; timers overflow at 24 days. */
const MAX_LIFE_MS = 86_400_000;
/** A push that lives longer (a missed call) is given up after this too: no one waits for it. */
export const MAX_WINDOW_MS = 300_000;

/** One entry of `GET /v1/push`. */
export interface BackendHealth {
  backend: string;
  provider: string;
  host: string;
  /** `unused`: nothing sent yet. `failing`: see `health.ts`. `broken`: it cannot send, see `last_error`. */
  state: "unused" | "ok" | "failing" | "broken";
  /** Pushes whose first attempt was made. */
  sent: number;
  accepted: number;
  dead: number;
  refused: number;
  failed: number;
  /** Of `failed`: turned away because too many were waiting. */
  overflowed: number;
  retries: number;
  last_error: string;
  /** First attempt to verdict of the last push. */
  last_ms: number;
  in_flight: number;
  waiting: number;
  /** Those that have spoken, where phones name them. */
  hosts: HostHealth[];
}

interface Job {
  readonly request: PushRequest;
  /** No attempt from then on. */
  readonly deadlineMs: number;
  /** The service may keep it until then. */
  readonly endsMs: number;
  readonly isCrowd: boolean;
  readonly done: (verdict: PushVerdict) => void;
  state: "queued" | "flying" | "resting" | "settled";
  isCancelled: boolean;
  startedAtMs: number;
  attempts: number;
  status: number;
  reason: string;
  deadSinceMs: number | undefined;
  cancelTimer: () => void;
}

interface Flight {
  readonly abort: AbortController;
  readonly isCrowd: boolean;
  cancelTimer: () => void;
}

const noTimer = (): void => {};

export class Delivery {
  readonly backend: PushBackend;
  private readonly world: PushWorld;
  private readonly jobs = new Map<string, Job>();
  private readonly queue = new Set<Job>();
  private readonly crowdQueue = new Set<Job>();
  private readonly flights = new Set<Flight>();
  private crowdJobs = 0;
  private crowdFlights = 0;
  private isStopped = false;
  private isRetired = false;
  private readonly healthCounts = new Health();
  private readonly totals = { sent: 0, accepted: 0, dead: 0, refused: 0, failed: 0, overflowed: 0, retries: 0 };
  private lastError = "";
  private lastMs = 0;

  constructor(backend: PushBackend, world: PushWorld) {
    this.backend = backend;
    this.world = world;
  }

  /** True while a push has no verdict yet. */
  get isBusy(): boolean {
    return this.jobs.size > 0 || this.flights.size > 0;
  }

  /** Sends within this call if there is room. `done` comes exactly once, and never within this call. */
  send(request: PushRequest, done: (verdict: PushVerdict) => void): void {
    const nowMs = this.world.now();
    const lifeMs = Number.isFinite(request.ttlMs) ? Math.min(Math.max(0, request.ttlMs), MAX_LIFE_MS) : 0;
    const windowMs = Math.min(lifeMs, MAX_WINDOW_MS);
    const job: Job = {
      request,
      deadlineMs: nowMs + windowMs,
      endsMs: nowMs + lifeMs,
      isCrowd: canWait(request.event),
      done,
      state: "queued",
      isCancelled: false,
      startedAtMs: nowMs,
      attempts: 0,
      status: 0,
      reason: "",
      deadSinceMs: undefined,
      cancelTimer: noTimer,
    };
    this.jobs.set(request.uuid, job);
    if (job.isCrowd) this.crowdJobs++;
    const problem = this.backend.problem();
    if (problem !== "") return this.settle(job, "refused", problem);
    if (windowMs === 0) return this.settle(job, "failed", "its window was over before it was sent");
    if (this.jobs.size > MAX_PENDING || (job.isCrowd && this.crowdJobs > MAX_PENDING * CROWD_SHARE)) {
      this.totals.overflowed++;
      return this.settle(job, "failed", `${this.jobs.size - 1} pushes to ${this.backend.host} are waiting already`);
    }
    this.enqueue(job);
  }

  /**
   * No further attempt for this push. One that is under way is left to finish, as the service may have it already:
   * its answer is then the verdict.
   *
   * @returns false if it has its verdict or was never here.
   */
  cancel(uuid: string): boolean {
    const job = this.jobs.get(uuid);
    if (job === undefined) return false;
    job.isCancelled = true;
    if (job.state !== "flying") this.settle(job, "failed", because(job, "cancelled"));
    return true;
  }

  health(): BackendHealth {
    const problem = this.backend.problem();
    const { sent, accepted, dead, refused, failed, overflowed, retries } = this.totals;
    return {
      backend: this.backend.name,
      provider: this.backend.provider,
      host: this.backend.host,
      state: problem !== "" ? "broken" : this.healthCounts.isFailing ? "failing" : sent === 0 ? "unused" : "ok",
      sent,
      accepted,
      dead,
      refused,
      failed,
      overflowed,
      retries,
      last_error: problem || this.lastError,
      last_ms: this.lastMs,
      in_flight: this.flights.size,
      waiting: [...this.jobs.values()].filter((job) => job.state !== "flying").length,
      hosts: this.healthCounts.hosts(),
    };
  }

  /** Another delivery takes its place: it ends when its pushes are done. */
  retire(): void {
    this.isRetired = true;
    this.endIfRetired();
  }

  /** Ends everything; pushes without a verdict fail. */
  stop(): void {
    this.isStopped = true;
    for (const job of [...this.jobs.values()]) this.settle(job, "failed", because(job, "latefork is stopping"));
    for (const flight of [...this.flights]) this.land(flight);
    this.backend.stop();
  }

  private enqueue(job: Job): void {
    job.state = "queued";
    (job.isCrowd ? this.crowdQueue : this.queue).add(job);
    this.fill();
    if (job.state !== "queued") return;
    job.cancelTimer = this.world.schedule(
      job.deadlineMs - this.world.now(),
      () => this.settle(job, "failed", because(job, "its window ended while it waited for its turn")),
    );
  }

  private fill(): void {
    while (!this.isStopped && this.flights.size < MAX_IN_FLIGHT) {
      const mayCrowd = this.crowdFlights < MAX_IN_FLIGHT * CROWD_SHARE;
      const job = first(this.queue) ?? (mayCrowd ? first(this.crowdQueue) : undefined);
      if (job === undefined) return;
      this.attempt(job);
    }
  }

  private attempt(job: Job): void {
    (job.isCrowd ? this.crowdQueue : this.queue).delete(job);
    job.cancelTimer();
    const nowMs = this.world.now();
    const leftMs = job.deadlineMs - nowMs;
    if (leftMs <= 0) return this.settle(job, "failed", because(job, "its window is over"));
    job.state = "flying";
    job.attempts++;
    if (job.attempts === 1) {
      job.startedAtMs = nowMs;
      this.totals.sent++;
    } else this.totals.retries++;
    const flight: Flight = { abort: new AbortController(), isCrowd: job.isCrowd, cancelTimer: noTimer };
    this.flights.add(flight);
    if (flight.isCrowd) this.crowdFlights++;

    let isAnswered = false;
    let draft: AttemptAnswer | null = null;
    const answer = (given: AttemptAnswer): void => {
      if (isAnswered) return;
      isAnswered = true;
      this.answered(job, given);
    };
    const limitMs = Math.min(this.backend.timeoutMs, leftMs);
    const expire = (): void => {
      this.land(flight);
      answer(draft ?? retry(`${this.backend.host} did not answer within ${seconds(limitMs)}`));
      this.fill();
    };
    flight.cancelTimer = this.world.schedule(limitMs, expire);
    const land = (): void => {
      this.land(flight);
      answer(retry(`${this.backend.name} ended without an answer`));
      this.fill();
    };
    this.backend.attempt(job.request, {
      leftMs: job.endsMs - nowMs,
      attempt: job.attempts,
      signal: flight.abort.signal,
      answer,
      draft: (given) => draft = given,
    }).then(land, land);
  }

  private land(flight: Flight): void {
    if (!this.flights.delete(flight)) return;
    if (flight.isCrowd) this.crowdFlights--;
    flight.cancelTimer();
    flight.abort.abort();
    this.endIfRetired();
  }

  private endIfRetired(): void {
    if (!this.isRetired || this.isBusy || this.isStopped) return;
    this.isStopped = true;
    this.backend.stop();
  }

  private answered(job: Job, answer: AttemptAnswer): void {
    if (job.state !== "flying") return;
    if (answer.status !== 0) job.status = answer.status;
    job.reason = answer.reason;
    job.deadSinceMs = answer.deadSinceMs;
    const { device, prid } = job.request;
    this.healthCounts.note(answer.host ?? this.backend.host, device || prid, answer);
    if (answer.kind !== "retry") return this.settle(job, answer.kind, answer.reason);
    this.lastError = answer.reason;
    if (job.isCancelled) return this.settle(job, "failed", because(job, "cancelled"));

    const fullMs = Math.min(MAX_BACKOFF_MS, BACKOFF_MS * 2 ** (job.attempts - 1));
    const backoffMs = fullMs * (1 - this.world.random() / 4);
    const delayMs = Math.max(backoffMs, answer.retryAfterMs);
    if (this.world.now() + delayMs >= job.deadlineMs) {
      const end = answer.retryAfterMs > backoffMs
        ? `it asks to wait ${seconds(answer.retryAfterMs)}, longer than the window`
        : "its window is over";
      return this.settle(job, "failed", because(job, end));
    }
    job.state = "resting";
    job.cancelTimer = this.world.schedule(delayMs, () => this.enqueue(job));
  }

  private settle(job: Job, outcome: PushOutcome, reason: string): void {
    if (job.state === "settled") return;
    if (job.state === "queued") (job.isCrowd ? this.crowdQueue : this.queue).delete(job);
    job.state = "settled";
    job.cancelTimer();
    this.jobs.delete(job.request.uuid);
    if (job.isCrowd) this.crowdJobs--;
    const ms = Math.max(0, this.world.now() - job.startedAtMs);
    this.totals[outcome]++;
    this.lastMs = ms;
    if (outcome === "refused" || (outcome === "failed" && !job.isCancelled)) this.lastError = reason;
    const { uuid, provider } = job.request;
    const verdict: PushVerdict = { uuid, provider, outcome, status: job.status, reason, ms, attempts: job.attempts };
    // The service's time is by the machines' clock and is compared with a time of ours.
    const aheadMs = this.world.systemNow() - this.world.now();
    const said = job.deadSinceMs === undefined ? verdict : { ...verdict, deadSinceMs: job.deadSinceMs - aheadMs };
    // The port's rule: an effect never re-enters, its result is a later input.
    queueMicrotask(() => job.done(said));
    this.endIfRetired();
  }
}

function because(job: Job, end: string): string {
  if (job.reason === "") return end;
  return `${job.reason}; ${end} after ${job.attempts} ${job.attempts === 1 ? "attempt" : "attempts"}`;
}

function seconds(ms: number): string {
  return `${Number((ms / 1000).toPrecision(3))} s`;
}

function first<T>(set: Set<T>): T | undefined {
  for (const item of set) return item;
  return undefined;
}
