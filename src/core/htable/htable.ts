/**
 * One named table of text values that expire (S-03). Owns expiry and the size bound. Knows no clock (`nowMs` is a
 * parameter) and no disk: the store listens to its changes.
 */
import { DeadlineHeap, type Expiring } from "./deadline_heap.ts";

/** One table of the config's `htables`. */
export interface HtableDefinition {
  /** How long a value lives unless its writer says otherwise, in ms; 0 = for ever. */
  ttl: number;
  /** Most entries it holds, at least 1; beyond it the entry written longest ago goes. */
  max: number;
  /** Whether the entries outlive a restart: only such a table tells its listener. */
  persist: boolean;
}

/** Told of every change of a persisted table, within the call that made it. Must not call the table. */
export interface HtableListener {
  /** `expiresAtMs`: ms since the epoch, `Infinity` for never. */
  changed(table: string, key: string, value: string, expiresAtMs: number): void;
  /** Deleted, expired or evicted. */
  removed(table: string, key: string): void;
}

/** What reads give. `expiresAtMs`: ms since the epoch, `Infinity` for never. */
export interface HtableItem {
  key: string;
  value: string;
  expiresAtMs: number;
}

interface Entry extends Expiring {
  readonly key: string;
  value: string;
}

/**
 * A table. An entry is gone once `expiresAtMs <= nowMs`: reads hide it from that moment; `expire` frees it.
 * No method throws, for any input.
 */
export class Htable {
  readonly name: string;
  readonly ttlMs: number;
  readonly max: number;
  readonly isPersisted: boolean;
  /** Entries dropped alive to keep the bound, since the start. */
  evictions = 0;
  // In the order of the last write: the first key is the one to evict.
  private readonly entries = new Map<string, Entry>();
  private readonly deadlines = new DeadlineHeap<Entry>();
  private readonly listener: HtableListener | null;

  constructor(name: string, definition: HtableDefinition, listener: HtableListener | null = null) {
    this.name = name;
    this.ttlMs = definition.ttl;
    this.max = Math.max(1, definition.max);
    this.isPersisted = definition.persist;
    this.listener = definition.persist ? listener : null;
  }

  /** The value, or undefined if there is none or it has expired. */
  get(key: string, nowMs: number): string | undefined {
    return this.live(key, nowMs)?.value;
  }

  /** The value with its expiry. */
  item(key: string, nowMs: number): HtableItem | undefined {
    const entry = this.live(key, nowMs);
    return entry && { key: entry.key, value: entry.value, expiresAtMs: entry.expiresAtMs };
  }

  /**
   * Writes the value and makes the entry the youngest.
   * @param ttlMs undefined: the table's; 0 or not finite: for ever; negative: gone at once.
   */
  set(key: string, value: string, ttlMs: number | undefined, nowMs: number): void {
    this.write(key, value, expiryMs(ttlMs ?? this.ttlMs, nowMs), nowMs);
  }

  /** Deletes the entry; says whether a live one was there. */
  delete(key: string, nowMs: number): boolean {
    const entry = this.entries.get(key);
    if (entry === undefined) return false;
    this.drop(entry);
    return entry.expiresAtMs > nowMs;
  }

  /**
   * Adds `by` to a whole number and gives the sum; an absent key counts as 0. The expiry of a live entry stays (a
   * counter covers a fixed window); `ttlMs` is for a new one, as in `set`.
   * @returns null, and nothing is changed, if the value is not a whole number or the sum cannot be held exactly.
   */
  incr(key: string, by: number, ttlMs: number | undefined, nowMs: number): number | null {
    const entry = this.live(key, nowMs);
    const sum = (entry === undefined ? 0 : wholeNumber(entry.value)) + by;
    if (!Number.isSafeInteger(sum)) return null;
    const expiresAtMs = entry === undefined ? expiryMs(ttlMs ?? this.ttlMs, nowMs) : entry.expiresAtMs;
    this.write(key, String(sum), expiresAtMs, nowMs);
    return sum;
  }

  /** The live entries, the one written longest ago first. */
  list(nowMs: number): HtableItem[] {
    const items: HtableItem[] = [];
    for (const { key, value, expiresAtMs } of this.entries.values()) {
      if (expiresAtMs > nowMs) items.push({ key, value, expiresAtMs });
    }
    return items;
  }

  /** Entries held, expired ones that `expire` has not freed yet included. */
  get size(): number {
    return this.entries.size;
  }

  /** When `expire` has work next, ms since the epoch; `Infinity` if never. */
  nextExpiryMs(): number {
    return this.deadlines.peek()?.expiresAtMs ?? Infinity;
  }

  /** Frees what has expired; says how many entries. */
  expire(nowMs: number): number {
    let count = 0;
    for (let top = this.deadlines.peek(); top !== undefined && top.expiresAtMs <= nowMs; count++) {
      this.drop(top);
      top = this.deadlines.peek();
    }
    return count;
  }

  /** Restores an entry that the store had before a restart. The listener hears only of entries that make room for it. */
  restore(item: HtableItem, nowMs: number): void {
    if (item.expiresAtMs <= nowMs) this.listener?.removed(this.name, item.key);
    else this.insert(item.key, item.value, item.expiresAtMs, nowMs);
  }

  private live(key: string, nowMs: number): Entry | undefined {
    const entry = this.entries.get(key);
    return entry !== undefined && entry.expiresAtMs > nowMs ? entry : undefined;
  }

  private write(key: string, value: string, expiresAtMs: number, nowMs: number): void {
    if (expiresAtMs <= nowMs) {
      const entry = this.entries.get(key);
      if (entry !== undefined) this.drop(entry);
      return;
    }
    this.insert(key, value, expiresAtMs, nowMs);
    this.listener?.changed(this.name, key, value, expiresAtMs);
  }

  private insert(key: string, value: string, expiresAtMs: number, nowMs: number): void {
    let entry = this.entries.get(key);
    if (entry === undefined) {
      if (this.entries.size >= this.max) this.makeRoom(nowMs);
      entry = { key, value, expiresAtMs, heapIndex: -1 };
    } else {
      this.entries.delete(key);
      entry.value = value;
      entry.expiresAtMs = expiresAtMs;
    }
    this.entries.set(key, entry);
    this.deadlines.update(entry);
  }

  private makeRoom(nowMs: number): void {
    if (this.expire(nowMs) > 0) return;
    for (const oldest of this.entries.values()) {
      this.evictions++;
      this.drop(oldest);
      return;
    }
  }

  private drop(entry: Entry): void {
    this.entries.delete(entry.key);
    this.deadlines.remove(entry);
    this.listener?.removed(this.name, entry.key);
  }
}

function expiryMs(ttlMs: number, nowMs: number): number {
  return ttlMs === 0 || !Number.isFinite(ttlMs) ? Infinity : nowMs + ttlMs;
}

/** NaN for anything but an optional minus and digits: `Number` alone takes "", " 1 ", "1e3" and "0x1". */
function wholeNumber(text: string): number {
  return /^-?\d{1,16}$/.test(text) ? Number(text) : NaN;
}
