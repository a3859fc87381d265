/**
 * Timers as data: a heap of things that are due, and queues for the many that wait one fixed time. No clock is read here:
 * the owner asks for the next deadline and says when it has come.
 */

/** Something that is due at a time. One deadline per object: a state machine keeps its earliest timer here. */
export interface Due {
  dueMs: number;
  /** Place in the heap; -1 when not set. Owned by {@link Deadlines}. */
  heapSlot: number;
  /** The deadline has passed; the object is out of the heap and may set itself again. */
  onDue(nowMs: number): void;
}

/** A binary heap with removal: set, move and cancel are O(log n), the next deadline O(1). */
export class Deadlines {
  private readonly heap: Due[] = [];

  get size(): number {
    return this.heap.length;
  }

  /** The earliest deadline, `Infinity` if there is none. */
  get nextMs(): number {
    return this.heap.length > 0 ? this.heap[0]!.dueMs : Infinity;
  }

  /** Sets or moves the deadline of `item`. */
  set(item: Due, dueMs: number): void {
    const slot = item.heapSlot;
    if (slot < 0) {
      item.dueMs = dueMs;
      this.heap.push(item);
      this.up(this.heap.length - 1, item);
    } else {
      const isEarlier = dueMs < item.dueMs;
      item.dueMs = dueMs;
      if (isEarlier) this.up(slot, item);
      else this.down(slot, item);
    }
  }

  /** Takes `item` out; nothing happens if it is not set. */
  cancel(item: Due): void {
    const slot = item.heapSlot;
    if (slot < 0) return;
    item.heapSlot = -1;
    const last = this.heap.pop()!;
    if (last === item) return;
    if (slot > 0 && last.dueMs < this.heap[(slot - 1) >> 1]!.dueMs) this.up(slot, last);
    else this.down(slot, last);
  }

  /**
   * Calls what is due by `nowMs`, in order of time: at most as many as were set when it began, so that one which sets
   * itself for the past again and again cannot hold the loop.
   */
  run(nowMs: number): void {
    let left = this.heap.length;
    while (left-- > 0 && this.heap.length > 0 && this.heap[0]!.dueMs <= nowMs) {
      const item = this.heap[0]!;
      this.cancel(item);
      item.onDue(nowMs);
    }
  }

  private up(slot: number, item: Due): void {
    const heap = this.heap;
    while (slot > 0) {
      const parentSlot = (slot - 1) >> 1;
      const parent = heap[parentSlot]!;
      if (parent.dueMs <= item.dueMs) break;
      heap[slot] = parent;
      parent.heapSlot = slot;
      slot = parentSlot;
    }
    heap[slot] = item;
    item.heapSlot = slot;
  }

  private down(slot: number, item: Due): void {
    const heap = this.heap;
    const length = heap.length;
    for (;;) {
      let childSlot = 2 * slot + 1;
      if (childSlot >= length) break;
      if (childSlot + 1 < length && heap[childSlot + 1]!.dueMs < heap[childSlot]!.dueMs) childSlot++;
      const child = heap[childSlot]!;
      if (child.dueMs >= item.dueMs) break;
      heap[slot] = child;
      child.heapSlot = slot;
      slot = childSlot;
    }
    heap[slot] = item;
    item.heapSlot = slot;
  }
}

/** Something that waits out a fixed time (timers D, I, J, K, L, M) and then ends. */
export interface Lingering {
  /** True if it may end early where there are too many. */
  readonly isSpare?: boolean;
  onLingerEnd(nowMs: number): void;
}

/** First in, first out: everything waits equally long, so no heap is needed. */
export class LingerQueue {
  private items: (Lingering | null)[] = [];
  private dues: number[] = [];
  private head = 0;
  /** What lies before it has been looked at by {@link endOldest}. */
  private spareHead = 0;

  constructor(readonly durationMs: number) {}

  get size(): number {
    return this.items.length - this.head;
  }

  get nextMs(): number {
    return this.head < this.items.length ? this.dues[this.head]! : Infinity;
  }

  add(item: Lingering, nowMs: number): void {
    this.items.push(item);
    this.dues.push(nowMs + this.durationMs);
  }

  /**
   * Ends the oldest that are spare before their time.
   * @param count how many
   * @returns how many there were
   */
  endOldest(count: number, nowMs: number): number {
    let ended = 0;
    for (let at = Math.max(this.head, this.spareHead); at < this.items.length && ended < count; at++) {
      this.spareHead = at + 1;
      const item = this.items[at]!;
      if (item.isSpare !== true) continue;
      this.items[at] = null;
      ended++;
      item.onLingerEnd(nowMs);
    }
    return ended;
  }

  run(nowMs: number): void {
    while (this.head < this.items.length && this.dues[this.head]! <= nowMs) {
      const item = this.items[this.head]!;
      this.items[this.head++] = null;
      item?.onLingerEnd(nowMs);
    }
    if (this.head > 1024 && this.head * 2 > this.items.length) {
      this.items = this.items.slice(this.head);
      this.dues = this.dues.slice(this.head);
      this.spareHead = Math.max(0, this.spareHead - this.head);
      this.head = 0;
    }
  }
}
