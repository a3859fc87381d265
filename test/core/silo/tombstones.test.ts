/** how many ended calls are remembered for what may still come of them. */
import { expect, test } from "bun:test";
import { World } from "../../sim/world.ts";

const LIMIT = 100;

test("X-01 beyond limits.transactions ended calls are forgotten early, the oldest first", () => {
  const w = new World({ config: (config) => config.limits.transactions = LIMIT });
  w.awake("alice", { answerMs: 10 });
  let most = 0;
  for (let i = 0; i < 150; i++) {
    w.pbx.call("alice");
    w.advance(50);
    most = Math.max(most, w.core.silo.tombstoneCount);
  }
  expect(most).toBeLessThan(LIMIT);
  expect(w.core.table.serverCount + w.core.table.clientCount).toBeLessThanOrEqual(LIMIT + 2);
  expect(w.pbx.calls.map(({ finals }) => finals.map(({ status }) => status))).toEqual(Array(150).fill([200]));
});

test("W-13 a call that still owes a device its CANCEL is remembered all the same", () => {
  const w = new World({ config: (config) => config.limits.transactions = LIMIT });
  const slow = w.asleep("bob", {
    wakeMs: 20_000,
    push: { provider: "apns", param: "T.org.example.phone.voip", prid: "t" },
  });
  w.awake("alice", { answerMs: 10 });
  const given = w.pbx.call("bob");
  w.advance(1000);
  given.cancel();
  w.advance(1000);
  for (let i = 0; i < 100; i++) {
    w.pbx.call("alice");
    w.advance(50);
  }
  w.advance(20_000);
  expect(slow.calls.map(({ state }) => state)).toEqual(["cancelled"]);
});
