/**
 * Calls that were refused before anybody could be asked (W-08, W-20, O-04): their records, so that whoever asks why a
 * phone did not ring finds an answer. A flood of them costs one record for each AoR and reason in {@link AGAIN_MS}, fills
 * no memory, and pushes out no record of a call that was more than that. Knows no calls.
 */
import type { Clock } from "../clock.ts";
import type { Message } from "../sip/message.ts";
import type { CallRecord } from "./record.ts";
import { Story } from "./story.ts";

/** A call for the same AoR, refused for the same reason within this, is only counted. */
const AGAIN_MS = 10_000;

/** `unknown`: nobody is registered under that name; a scan of numbers makes many of these. `limit`: somebody is. */
export type RefusalKind = "limit" | "unknown";

/** A refused call. */
export interface Refusal {
  readonly kind: RefusalKind;
  readonly aor: string;
  /** Final status the caller got. */
  readonly status: number;
  /** In words; also what tells reasons apart. */
  readonly why: string;
}

class Refused {
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

export class Refusals {
  private readonly byId = new Map<string, CallRecord>();
  /** Oldest first. Each kind has its own half of the room. */
  private readonly kept: Record<RefusalKind, Set<Refused>> = { limit: new Set(), unknown: new Set() };
  /** By status, AoR and reason. */
  private readonly newest = new Map<string, Refused>();

  constructor(private readonly clock: Clock) {}

  get size(): number {
    return this.byId.size;
  }

  /** Oldest first. */
  get records(): Iterable<CallRecord> {
    return this.byId.values();
  }

  find(id: string): CallRecord | undefined {
    return this.byId.get(id);
  }

  /**
   * @param newId makes the id of a new record
   * @param room how many records of refused calls are kept
   * @returns the record if it is a new one; null: it was only counted
   */
  add(
    request: Message,
    { kind, aor, status, why }: Refusal,
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
    if (room === 0) return null;
    const outcome = `${why} (${status})`;
    const story = new Story(newId(), request, aor, callerParty, this.clock);
    story.refused(status, outcome);
    const refused = new Refused(story.record, key, outcome);
    this.newest.set(key, refused);
    this.kept[kind].add(refused);
    this.byId.set(story.record.id, story.record);
    this.trim(this.kept[kind], Math.max(1, room >> 1));
    return story.record;
  }

  private trim(kept: Set<Refused>, room: number): void {
    for (const refused of kept) {
      if (kept.size <= room) return;
      kept.delete(refused);
      this.byId.delete(refused.record.id);
      if (this.newest.get(refused.key) === refused) this.newest.delete(refused.key);
    }
  }
}
