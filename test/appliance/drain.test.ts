/** The order of a drain, in virtual time: what it waits for, for how long, and what it says of it. */
import { expect, test } from "bun:test";
import { Drain } from "../../src/appliance/drain.ts";
import type { Owed } from "../../src/core/transaction/table.ts";

const NOTHING: Owed = { calls: 0, acks: 0, cancels: 0, requests: 0 };

class Scene {
  nowMs = 1000;
  owed: Owed = { ...NOTHING };
  /** Requests that came after the lingering began. */
  newRequests = 0;
  isEnded = false;
  isOver = false;
  readonly said: string[] = [];
  readonly drain = new Drain({
    nowMs: () => this.nowMs,
    owed: (untilMs = Infinity) => {
      return { ...this.owed, requests: this.owed.requests + (untilMs === Infinity ? this.newRequests : 0) };
    },
    endCalls: () => this.isEnded = true,
    say: (level, message) => this.said.push(`${level} ${message}`),
  });

  async begin(): Promise<void> {
    this.drain.begin().then(() => this.isOver = true);
    await Promise.resolve();
  }

  /** Lets time pass as the appliance does: it looks as soon as it is due. */
  async pass(ms: number): Promise<void> {
    const untilMs = this.nowMs + ms;
    while (this.drain.nextMs <= untilMs) {
      this.nowMs = this.drain.nextMs;
      this.drain.look();
      await Promise.resolve();
    }
    this.nowMs = untilMs;
  }
}

test("O-04 with nothing owed a drain is over at once, without a word", async () => {
  const scene = new Scene();
  await scene.begin();
  expect([scene.isOver, scene.said, scene.drain.nextMs]).toEqual([true, [], Infinity]);
});

test("O-04 a drain waits for open calls, then for what is on its way, and says for what", async () => {
  const scene = new Scene();
  scene.owed = { calls: 2, acks: 1, cancels: 0, requests: 0 };
  await scene.begin();
  expect(scene.drain.waitsFor()).toBe("2 calls open, 1 ACK to pass");
  await scene.pass(20_000);
  scene.owed = { calls: 0, acks: 2, cancels: 1, requests: 1 };
  await scene.pass(1000);
  expect([scene.isOver, scene.isEnded]).toEqual([false, false]);
  scene.owed = { ...NOTHING };
  await scene.pass(40);
  expect(scene.isOver).toBe(true);
  expect(scene.said).toEqual([
    "info Draining: waits for 2 calls open, 1 ACK to pass",
    "info Draining: lingers for 2 ACKs to pass, 1 phone to hear that a call is over, 1 request in flight, 32 s at most",
  ]);
});

test("O-04 calls that are still open after 30 s are ended, and what that takes is waited for", async () => {
  const scene = new Scene();
  scene.owed.calls = 1;
  await scene.begin();
  await scene.pass(29_980);
  expect(scene.isEnded).toBe(false);
  await scene.pass(20);
  expect([scene.isEnded, scene.isOver]).toEqual([true, false]);
  scene.owed = { ...NOTHING, acks: 1 };
  await scene.pass(100);
  expect(scene.isOver).toBe(false);
  scene.owed = { ...NOTHING };
  await scene.pass(20);
  expect(scene.isOver).toBe(true);
});

test("O-04 what never comes is given up after 64·T1, in words", async () => {
  const scene = new Scene();
  scene.owed.acks = 1;
  await scene.begin();
  await scene.pass(31_999);
  expect(scene.isOver).toBe(false);
  await scene.pass(21);
  expect(scene.isOver).toBe(true);
  expect(scene.said.at(-1)).toBe("warn Draining: gave up on 1 ACK to pass");
});

test("O-04 on a busy box, where a request is always on its way, those that came first are waited for and no more", async () => {
  const scene = new Scene();
  scene.owed.requests = 1;
  scene.newRequests = 3;
  await scene.begin();
  await scene.pass(5000);
  expect(scene.isOver).toBe(false);
  scene.owed.requests = 0;
  await scene.pass(980);
  expect(scene.isOver).toBe(false);
  await scene.pass(60);
  expect(scene.isOver).toBe(true);
});

test("O-04 whoever asks again waits for the same end", async () => {
  const scene = new Scene();
  scene.owed.calls = 1;
  await scene.begin();
  let again = false;
  scene.drain.begin().then(() => again = true);
  scene.owed = { ...NOTHING };
  await scene.pass(20);
  expect([scene.isOver, again]).toEqual([true, true]);
});
