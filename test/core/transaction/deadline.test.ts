import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { Deadlines, type Due, LingerQueue } from "../../../src/core/transaction/deadline.ts";
import { Schedule, T1_MS, T4_MS, TIMEOUT_MS, TIMER_C_MS } from "../../../src/core/transaction/timers.ts";

class Item implements Due {
  dueMs = 0;
  heapSlot = -1;
  constructor(readonly name: number, private readonly ran: (item: Item, nowMs: number) => void) {}
  onDue(nowMs: number): void {
    expect(this.heapSlot).toBe(-1);
    this.ran(this, nowMs);
  }
}

describe("F-05 deadlines", () => {
  test("do what a sorted list does", () => {
    const act = fc.oneof(
      fc.record({ set: fc.nat(15), ms: fc.nat(100) }),
      fc.record({ cancel: fc.nat(15) }),
      fc.record({ run: fc.nat(60) }),
    );
    fc.assert(
      fc.property(fc.array(act, { maxLength: 120 }), (acts) => {
        const deadlines = new Deadlines();
        const list = new Map<number, number>();
        let nowMs = 0;
        const ran: Item[] = [];
        const items = Array.from({ length: 16 }, (_, i) => new Item(i, (item) => void ran.push(item)));
        for (const one of acts) {
          if ("set" in one) {
            deadlines.set(items[one.set]!, nowMs + one.ms);
            list.set(one.set, nowMs + one.ms);
          } else if ("cancel" in one) {
            deadlines.cancel(items[one.cancel]!);
            list.delete(one.cancel);
          } else {
            nowMs += one.run;
            ran.length = 0;
            deadlines.run(nowMs);
            const due = [...list].filter(([, ms]) => ms <= nowMs);
            for (const [name] of due) list.delete(name);
            expect(ran.map(({ dueMs }) => dueMs)).toEqual(due.map(([, ms]) => ms).sort((a, b) => a - b));
            expect(new Set(ran.map(({ name }) => name))).toEqual(new Set(due.map(([name]) => name)));
          }
          expect(deadlines.size).toBe(list.size);
          expect(deadlines.nextMs).toBe(Math.min(Infinity, ...list.values()));
          for (const item of items) expect(item.heapSlot >= 0).toBe(list.has(item.name));
        }
      }),
      { numRuns: 500 },
    );
  });

  test("set, moved and cancelled from within a run count at once", () => {
    const deadlines = new Deadlines();
    const ran: string[] = [];
    const c = new Item(3, () => ran.push("c"));
    const d = new Item(4, (_, nowMs) => ran.push(`d at ${nowMs}`));
    const b = new Item(2, () => ran.push("b"));
    const a = new Item(1, () => {
      ran.push("a");
      deadlines.cancel(b);
      deadlines.set(c, 50);
      deadlines.set(d, 5);
    });
    deadlines.set(a, 1);
    deadlines.set(b, 2);
    deadlines.set(c, 3);
    deadlines.run(10);
    expect([ran, deadlines.nextMs, deadlines.size]).toEqual([["a", "d at 10"], 50, 1]);
  });

  test("the last one cancelled from within a run", () => {
    const deadlines = new Deadlines();
    const other = new Item(2, () => {});
    deadlines.set(new Item(1, () => deadlines.cancel(other)), 1);
    deadlines.set(other, 2);
    deadlines.run(10);
    expect(deadlines.size).toBe(0);
  });

  test("what sets itself for the past again and again does not hold a run up", () => {
    const deadlines = new Deadlines();
    let count = 0;
    const restless = new Item(1, (item) => {
      count++;
      deadlines.set(item, 0);
    });
    deadlines.set(restless, 0);
    deadlines.set(new Item(2, () => {}), 99);
    deadlines.run(10);
    expect([count, deadlines.nextMs]).toEqual([2, 0]);
  });

  test("an empty one has none", () => {
    const deadlines = new Deadlines();
    deadlines.cancel(new Item(1, () => {}));
    deadlines.run(1e15);
    expect([deadlines.size, deadlines.nextMs]).toEqual([0, Infinity]);
  });
});

describe("F-05 linger queues", () => {
  test("let go in order, each exactly when its time is over", () => {
    fc.assert(
      fc.property(fc.array(fc.record({ waitMs: fc.nat(30), count: fc.nat(400) }), { maxLength: 40 }), (steps) => {
        const queue = new LingerQueue(50);
        const list: { dueMs: number; name: number }[] = [];
        let nowMs = 0;
        let names = 0;
        const ended: number[] = [];
        for (const { waitMs, count } of steps) {
          nowMs += waitMs;
          queue.run(nowMs);
          const due = list.filter(({ dueMs }) => dueMs <= nowMs);
          list.splice(0, due.length);
          expect(ended.splice(0)).toEqual(due.map(({ name }) => name));
          for (let i = 0; i < count; i++) {
            const name = names++;
            queue.add({ onLingerEnd: () => void ended.push(name) }, nowMs);
            list.push({ dueMs: nowMs + 50, name });
          }
          expect([queue.size, queue.nextMs]).toEqual([list.length, list[0]?.dueMs ?? Infinity]);
        }
      }),
      { numRuns: 50 },
    );
  });

  test("what is added while one runs waits its own time", () => {
    const queue = new LingerQueue(50);
    const ended: number[] = [];
    queue.add(
      { onLingerEnd: (nowMs) => queue.add({ onLingerEnd: (laterMs) => ended.push(nowMs, laterMs) }, nowMs) },
      0,
    );
    queue.run(50);
    expect([ended, queue.size, queue.nextMs]).toEqual([[], 1, 100]);
    queue.run(100);
    expect([ended, queue.size]).toEqual([[50, 100], 0]);
  });

  test("N-04 the places of those that ended are given back", () => {
    const queue = new LingerQueue(50);
    for (let nowMs = 0; nowMs < 20_000; nowMs++) {
      queue.run(nowMs);
      queue.add({ onLingerEnd: () => {} }, nowMs);
      expect(queue["items"].length).toBeLessThan(2100);
      expect(queue["dues"].length).toBe(queue["items"].length);
    }
    expect(queue.size).toBe(50);
  });
});

describe("F-05 the schedule", () => {
  test("has the values of RFC 3261 §17", () => {
    expect([T1_MS, T4_MS, TIMEOUT_MS]).toEqual([500, 5000, 32_000]);
    expect(TIMER_C_MS).toBeGreaterThan(180_000);
  });

  test("tells the earliest of all its deadlines and runs each at its time", () => {
    const clock = { nowMs: 0 };
    const schedule = new Schedule(clock);
    const ran: string[] = [];
    expect(schedule.nextMs).toBe(Infinity);
    schedule.longLinger.add({ onLingerEnd: () => ran.push("long") }, 0);
    expect(schedule.nextMs).toBe(TIMEOUT_MS);
    schedule.shortLinger.add({ onLingerEnd: () => ran.push("short") }, 0);
    expect(schedule.nextMs).toBe(T4_MS);
    schedule.deadlines.set(new Item(1, () => ran.push("due")), 10);
    while (schedule.nextMs < Infinity) {
      clock.nowMs = schedule.nextMs;
      schedule.run();
      ran.push(String(clock.nowMs));
    }
    expect(ran).toEqual(["due", "10", "short", "5000", "long", "32000"]);
  });
});
