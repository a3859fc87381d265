import { expect, test } from "bun:test";
import fc from "fast-check";
import { DeadlineHeap } from "../../../src/core/htable/deadline_heap.ts";

test("S-03 the heap gives its items in order of expiry after any puts, moves and removals", () => {
  const step = fc.record({ index: fc.nat(39), expiresAtMs: fc.nat(50), isRemoval: fc.boolean() });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 200, size: "max" }), (steps) => {
      const heap = new DeadlineHeap<{ expiresAtMs: number; heapIndex: number }>();
      const items = Array.from({ length: 40 }, () => ({ expiresAtMs: 0, heapIndex: -1 }));
      const inside = new Set<number>();
      for (const { index, expiresAtMs, isRemoval } of steps) {
        if (isRemoval) {
          heap.remove(items[index]!);
          inside.delete(index);
        } else {
          items[index]!.expiresAtMs = expiresAtMs;
          heap.update(items[index]!);
          inside.add(index);
        }
        expect(heap.size).toBe(inside.size);
      }
      const expected = [...inside].map((index) => items[index]!.expiresAtMs).sort((a, b) => a - b);
      const given: number[] = [];
      for (let top = heap.peek(); top !== undefined; top = heap.peek()) {
        given.push(top.expiresAtMs);
        heap.remove(top);
      }
      expect(given).toEqual(expected);
      expect(items.every((item) => item.heapIndex === -1)).toBe(true);
    }),
  );
});
