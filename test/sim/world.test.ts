import { expect, test } from "bun:test";
import { World } from "./world.ts";

test("W-04 a sleeping phone is woken by push, registers over a new connection, and answers", () => {
  const w = new World();
  const b = w.phone("alice", { answerMs: 500 });
  b.register();
  w.settle();
  expect(b.registrations.map(([status]) => status)).toEqual([200]);
  b.sleep();
  w.settle();
  const call = w.pbx.call("alice");
  w.advance(10_000);
  expect(call.statuses).toEqual([100, 180, 200]);
  expect(b.call.state).toBe("confirmed");
  expect(w.push.of("call").map((order) => order.callId)).toEqual([call.callId]);
  call.hangUp();
  w.settle();
  expect(b.call.byes).toBe(1);
});

test("the same seed gives the same history, another seed another one", () => {
  const story = (seed: number) => {
    const w = new World({ seed, internet: { latencyMs: [2, 60], loss: 0.2, duplicate: 0.1 } });
    const b = w.phone("alice", { transport: "udp", answerMs: 500 });
    b.register();
    w.advance(5000);
    w.pbx.call("alice");
    w.advance(60_000);
    return w.story();
  };
  expect(story(7)).toBe(story(7));
  expect(story(7)).not.toBe(story(8));
});

test("R-01 a phone answers the challenge of the PBX, and nothing is written before the 200", () => {
  const w = new World({ pbx: { isChallenging: true } });
  const b = w.phone("alice", {});
  b.register();
  w.until(() => w.sent(b, "SIP/2.0 401").length === 1);
  expect(w.port.changes).toEqual([]);
  w.settle();
  expect(b.registrations.map(([status]) => status)).toEqual([200]);
  const wrong = w.phone("alice", { password: "wrong" });
  wrong.register();
  w.settle();
  expect(wrong.registrations.map(([status]) => status)).toEqual([401]);
  expect(w.port.changes.filter((change) => change.what === "saved").length).toBe(1);
});
