/**
 * Gives memory back after a burst: the runtime collects when memory is asked for, so an idle process keeps what a burst
 * took. A collection stops the loop for tens of ms, so it waits until no call is open and nothing is owed (N-04).
 */

/** What is looked at, once a second. */
export interface Load {
  readonly openCalls: number;
  /** Ended calls that still listen. */
  readonly tombstones: number;
  /** Messages since the start. */
  readonly messages: number;
}

export interface CollectionWorld {
  residentBytes(): number;
  /** A clock that runs within a turn, ms. */
  readMs(): number;
  collect(): void;
  log(message: string, fields: { freed_mib: number; resident_mib: number; pause_ms: number }): void;
}

const MIB = 1024 * 1024;
/** Memory that is worth a pause: resident now beyond what was left by the last collection. */
const WORTH_BYTES = 32 * MIB;
/** Fewer messages in a second: nobody is in a hurry. */
const QUIET_MESSAGES = 50;
/** For so long nothing may have gone on. */
const QUIET_MS = 3000;
/** Between two collections: what is live cannot be freed, however often one looks. */
const APART_MS = 30_000;

export class IdleCollection {
  private messages = 0;
  private busyAtMs = -Infinity;
  private collectedAtMs = -Infinity;
  private keptBytes = 0;

  constructor(private readonly world: CollectionWorld) {}

  /** About once a second. */
  tick(nowMs: number, load: Load): void {
    const messages = load.messages - this.messages;
    this.messages = load.messages;
    if (load.openCalls > 0 || load.tombstones > 0 || messages >= QUIET_MESSAGES) {
      this.busyAtMs = nowMs;
      return;
    }
    if (nowMs - this.busyAtMs < QUIET_MS || nowMs - this.collectedAtMs < APART_MS) return;
    const before = this.world.residentBytes();
    // What the process is when it has started is no burst.
    if (this.keptBytes === 0) this.keptBytes = before;
    // The kernel gets pages back for some seconds after a collection.
    else this.keptBytes = Math.min(this.keptBytes, before);
    if (before - this.keptBytes < WORTH_BYTES) return;
    const startedMs = this.world.readMs();
    this.world.collect();
    const pauseMs = this.world.readMs() - startedMs;
    const after = this.world.residentBytes();
    this.collectedAtMs = nowMs;
    this.keptBytes = after;
    this.world.log("Gave memory back after a burst", {
      freed_mib: Math.round((before - after) / MIB),
      resident_mib: Math.round(after / MIB),
      pause_ms: Math.round(pauseMs * 10) / 10,
    });
  }
}
