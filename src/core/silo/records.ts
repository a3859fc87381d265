/**
 * The records that are kept of calls that are over (`trace.calls`). Calls that were refused at once leave one, too (W-08,
 * W-20, O-04): people ask why a phone did not ring. A flood of refusals costs one record for each AoR and reason in
 * {@link AGAIN_MS}, and pushes out no record of a call that rang or woke a phone.
 */
import type { Clock } from "../clock.ts";
import type { Message } from "../sip/message.ts";
import type { CallRecord } from "./record.ts";
import { Story } from "./story.ts";

/** A call for the same AoR, refused for the same reason within this, is only counted. */
const AGAIN_MS = 10_000;

/** `unknown`: no device is registered under that name; a scan of numbers makes many of these. `limit`: there is one. */
export type RefusalKind = "limit" | "unknown";

/** A call that is refused before any device is asked. */
export interface RefusedCall {
  readonly kind: RefusalKind;
  readonly aor: string;
  /** Final status the caller got. */
  readonly status: number;
  /** In words; also what tells reasons apart. */
  readonly why: string;
}

/** What is kept of refused calls: one record for each reason within {@link AGAIN_MS}. */
class RefusalRecord {
  private again = 0;

  constructor(readonly record: CallRecord, readonly key: string, private readonly outcome: string) {}

  /** One more of the same. */
  countAgain(): void {
    this.again++;
    const words = `${this.outcome}, and ${this.again} more within ${AGAIN_MS / 1000} s`;
    this.record.outcome = words;
    this.record.timeline.at(-1)!.note = words;
  }
}

export class Records {
  /** Of calls that were more than a refusal, in the order they ended. */
  private readonly ended = new Map<string, CallRecord>();
  /** Of refused calls. Oldest first. */
  private readonly refused = new Map<string, CallRecord>();
  /** Oldest first. Each kind has its own half of the room. */
  private readonly kept: Record<RefusalKind, Set<RefusalRecord>> = { limit: new Set(), unknown: new Set() };
  /** By status, AoR and reason. */
  private readonly newest = new Map<string, RefusalRecord>();

  constructor(private readonly clock: Clock) {}

  find(id: string): CallRecord | undefined {
    return this.ended.get(id) ?? this.refused.get(id);
  }

  /** Newest first. */
  get all(): CallRecord[] {
    const all = [...this.ended.values(), ...this.refused.values()];
    return all.reverse().sort((a, b) => b.endedAtMs - a.endedAtMs);
  }

  /** @param room how many records are kept in all; a reload may have made it smaller */
  add(record: CallRecord, room: number): void {
    this.ended.set(record.id, record);
    this.trimEnded(room);
  }

  forget(id: string): void {
    this.ended.delete(id);
  }

  /**
   * @param newId makes the id of a new record
   * @param room how many records are kept in all; those of refused calls have a quarter of it
   * @returns the record if it is a new one; null: it was only counted
   */
  addRefused(
    request: Message,
    { kind, aor, status, why }: RefusedCall,
    callerParty: string,
    newId: () => string,
    room: number,
  ): CallRecord | null {
    const key = `${status} ${aor} ${why}`;
    const known = this.newest.get(key);
    if (known !== undefined && this.clock.nowMs - known.record.startedAtMs < AGAIN_MS) {
      known.countAgain();
      return null;
    }
    if (room < 4) return null;
    const outcome = `${why} (${status})`;
    const story = new Story(newId(), request, aor, callerParty, this.clock);
    story.end(status, "refused", outcome);
    const refusal = new RefusalRecord(story.record, key, outcome);
    this.newest.set(key, refusal);
    this.kept[kind].add(refusal);
    this.refused.set(story.record.id, story.record);
    this.trimRefused(this.kept[kind], Math.max(1, room >> 3));
    this.trimEnded(room);
    return story.record;
  }

  private trimEnded(room: number): void {
    const left = Math.max(0, room - this.refused.size);
    for (const id of this.ended.keys()) {
      if (this.ended.size <= left) return;
      this.ended.delete(id);
    }
  }

  private trimRefused(kept: Set<RefusalRecord>, room: number): void {
    for (const refused of kept) {
      if (kept.size <= room) return;
      kept.delete(refused);
      this.refused.delete(refused.record.id);
      if (this.newest.get(refused.key) === refused) this.newest.delete(refused.key);
    }
  }
}
