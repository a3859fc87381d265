/**
 * A binary min-heap of things that expire. Every item knows its place, so moving or dropping one is O(log n) and the
 * heap is never longer than the number of items in it. Knows no clock and nothing of tables.
 */

/** What the heap needs of an item; the heap alone writes `heapIndex`. */
export interface Expiring {
  /** Sort key: ms since the epoch. Call `update` after changing it. */
  expiresAtMs: number;
  /** Place in the heap, -1 while not in it. */
  heapIndex: number;
}

/** Items ordered by `expiresAtMs`, soonest on top; equal times in no particular order. */
export class DeadlineHeap<T extends Expiring> {
  private readonly items: T[] = [];

  get size(): number {
    return this.items.length;
  }

  /** The item that expires first. */
  peek(): T | undefined {
    return this.items[0];
  }

  /** Puts the item in, or moves it to where its changed `expiresAtMs` belongs. */
  update(item: T): void {
    if (item.heapIndex < 0) {
      item.heapIndex = this.items.length;
      this.items.push(item);
    }
    if (!this.rise(item)) this.sink(item);
  }

  /** Takes the item out; does nothing if it is not in. */
  remove(item: T): void {
    const index = item.heapIndex;
    if (index < 0) return;
    item.heapIndex = -1;
    const last = this.items.pop()!;
    if (last === item) return;
    this.items[index] = last;
    last.heapIndex = index;
    if (!this.rise(last)) this.sink(last);
  }

  private rise(item: T): boolean {
    const items = this.items;
    const start = item.heapIndex;
    let index = start;
    while (index > 0) {
      const parentIndex = (index - 1) >> 1;
      const parent = items[parentIndex]!;
      if (parent.expiresAtMs <= item.expiresAtMs) break;
      items[index] = parent;
      parent.heapIndex = index;
      index = parentIndex;
    }
    items[index] = item;
    item.heapIndex = index;
    return index !== start;
  }

  private sink(item: T): void {
    const items = this.items;
    const length = items.length;
    let index = item.heapIndex;
    for (;;) {
      let childIndex = 2 * index + 1;
      if (childIndex >= length) break;
      const rightIndex = childIndex + 1;
      if (rightIndex < length && items[rightIndex]!.expiresAtMs < items[childIndex]!.expiresAtMs) {
        childIndex = rightIndex;
      }
      const child = items[childIndex]!;
      if (child.expiresAtMs >= item.expiresAtMs) break;
      items[index] = child;
      child.heapIndex = index;
      index = childIndex;
    }
    items[index] = item;
    item.heapIndex = index;
  }
}
