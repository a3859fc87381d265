/** W-03: a push for a live device that is not heard of. */
import { expect, test } from "bun:test";
import type { PhoneOptions } from "../../sim/phone.ts";
import { World } from "../../sim/world.ts";

test("W-03 a live mobile device without a 1xx gets a push after wake.hedge, exactly then", () => {
  const w = new World();
  const a = w.awake("alice");
  a.sleep("silent"); // a frozen app behind an open connection
  const startMs = w.nowMs;
  w.pbx.call("alice");
  w.advance(1500);
  expect(w.push.orders.length).toBe(0);
  w.advance(1);
  expect(w.push.orders.map((push) => push.atMs - startMs)).toEqual([1500.5]);
  w.advance(3000);
  expect(a.pushes.length).toBe(1);
  expect(a.calls.length).toBe(1);
});

test("W-03 wake.hedge 0 pushes at once, together with the INVITE", () => {
  const w = new World({ config: (config) => config.wake.hedge = 0 });
  w.awake("alice");
  w.pbx.call("alice");
  w.advance(1);
  expect(w.push.of("call").length).toBe(1);
});

const calm: [string, PhoneOptions][] = [
  ["100", { tries: true, ringMs: null }],
  ["180", { ringMs: 1400 }],
  ["486", { ringMs: null, decline: { afterMs: 100, status: 486 } }],
];
test.each(calm)("W-03 a %s before that takes the hedge back", (_, options) => {
  const w = new World();
  const a = w.awake("alice", options);
  w.asleep("alice", { wakeMs: null }); // keeps the call open
  w.pbx.call("alice");
  w.advance(20_000);
  expect(w.push.of("call").filter((order) => order.prid === a.prid)).toEqual([]);
});

test("W-03 a desk phone is never pushed", () => {
  const w = new World();
  const a = w.awake("alice", { push: null });
  a.sleep("silent");
  w.pbx.call("alice");
  w.advance(10_000);
  expect(w.push.orders.length).toBe(0);
});

test("W-03 a REGISTER in between shows that the app is awake", () => {
  const w = new World();
  const a = w.awake("alice", { ringMs: 2000 });
  w.pbx.call("alice");
  w.advance(1000);
  a.register();
  w.advance(4000);
  expect(w.push.orders.length).toBe(0);
});

test("W-07 W-22 a phone that rings after all is waited for no longer, and nobody says that it did not wake up", () => {
  const w = new World();
  w.awake("alice", { ringMs: 2000, decline: { afterMs: 40_000, status: 500 } });
  const call = w.pbx.call("alice");
  w.advance(3000);
  expect(w.push.of("call").length).toBe(1);
  expect(w.openCalls("alice")[0]!.isHeld).toBe(false);
  w.advance(50_000);
  expect(call.status).toBe(500);
  const [record] = w.core.silo.allRecords();
  expect(record!.wakes.map(({ state, reason }) => [state, reason])).toEqual([[
    "cancelled",
    "rang without registering",
  ]]);
  expect(record!.timeline.map(({ note }) => note ?? "").join()).not.toContain("did not wake up");
  expect(w.push.of("cancel")).toEqual([]);
});

test("W-07 W-06 a phone that was pushed and rings is given its window to come back when its connection breaks", () => {
  const w = new World();
  const a = w.awake("alice", { ringMs: 2000 });
  const call = w.pbx.call("alice");
  w.advance(5000);
  a.sleep();
  w.advance(1000);
  expect(call.status).toBe(0);
  a.habits.answerMs = 100;
  a.wake();
  w.advance(3000);
  expect(call.status).toBe(200);
});

test.each(
  [
    ["at once", 120_000, 0, 30_000],
    ["late in the call, of which 10 s are left", 30_000, 20_000, 10_000],
  ] as const,
)("P-03 a call push %s lives for what is left of its window", (_, ringTimeoutMs, closesMs, ttlMs) => {
  const w = new World({ config: (config) => config.wake.ring_timeout = ringTimeoutMs });
  const a = w.awake("alice", { wakeMs: null });
  if (closesMs === 0) a.sleep();
  w.settle();
  w.pbx.call("alice");
  w.advance(1);
  if (closesMs > 0) w.in(closesMs - 5, () => a.sleep());
  w.advance(closesMs + 100);
  const [order] = w.push.of("call");
  expect(Math.abs(order!.ttlMs - ttlMs)).toBeLessThan(2);
});

test("W-03 the end of the call takes the hedge back", () => {
  const w = new World();
  const a = w.awake("alice");
  a.sleep("silent");
  const call = w.pbx.call("alice");
  w.advance(1000);
  call.cancel();
  w.advance(60_000);
  expect(w.push.orders).toEqual([]);
  expect(call.status).toBe(487);
});
