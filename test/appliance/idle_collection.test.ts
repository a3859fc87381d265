import { expect, test } from "bun:test";
import { IdleCollection } from "../../src/appliance/idle_collection.ts";

const MIB = 1024 * 1024;

class World {
  mib = 60;
  nowMs = 1_000_000;
  messages = 0;
  readonly told: unknown[] = [];
  readonly collection = new IdleCollection({
    residentBytes: () => this.mib * MIB,
    readMs: () => this.nowMs,
    collect: () => {
      this.mib = 80;
      this.nowMs += 42;
    },
    log: (_, fields) => this.told.push(fields),
  });

  pass(seconds: number, load: { openCalls?: number; tombstones?: number; perSecond?: number } = {}): void {
    for (let i = 0; i < seconds; i++) {
      this.nowMs += 1000;
      this.messages += load.perSecond ?? 0;
      this.collection.tick(this.nowMs, { openCalls: 0, tombstones: 0, messages: this.messages, ...load });
    }
  }
}

test("N-04 after a burst memory is given back once, when nothing is open any more, and the pause is told", () => {
  const world = new World();
  world.pass(10);
  world.mib = 300;
  world.pass(30, { openCalls: 1 });
  world.pass(30, { tombstones: 1 });
  world.pass(30, { perSecond: 100 });
  world.pass(2);
  expect(world.told).toEqual([]);
  world.pass(2);
  expect(world.told).toEqual([{ freed_mib: 220, resident_mib: 80, pause_ms: 42 }]);
  world.pass(600);
  expect(world.told).toHaveLength(1);
});

test("N-04 a few messages do not hold it up, and less than what is worth a pause is left", () => {
  const world = new World();
  world.pass(10, { perSecond: 5 });
  world.mib = 90;
  world.pass(600, { perSecond: 5 });
  expect(world.told).toEqual([]);
  world.mib = 93;
  world.pass(1, { perSecond: 5 });
  expect(world.told).toHaveLength(1);
});

test("N-04 what the kernel gets back after a collection is not held against the next burst", () => {
  const world = new World();
  world.pass(5);
  world.mib = 300;
  world.pass(40);
  expect(world.told).toHaveLength(1);
  world.mib = 61;
  world.pass(40);
  world.mib = 95;
  world.pass(1);
  expect(world.told).toHaveLength(2);
});

test("N-04 two collections are half a minute apart, however much there is", () => {
  const world = new World();
  world.pass(5);
  for (const mib of [300, 300]) {
    world.mib = mib;
    world.pass(15);
  }
  expect(world.told).toHaveLength(1);
  world.pass(20);
  expect(world.told).toHaveLength(2);
});
