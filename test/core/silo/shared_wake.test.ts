/** P-07, W-07, W-21: a call for which no push may be sent any more shares the wake of an earlier one. */
import { expect, test } from "bun:test";
import type { PushFate } from "../../sim/push_service.ts";
import type { Phone, PhoneOptions } from "../../sim/phone.ts";
import { World } from "../../sim/world.ts";

const WINDOW_MS = 30_000;

/** A sleeping phone, pushed for one call; what comes of further pushes is told by `fate`. */
function called(options: PhoneOptions = {}, first: PushFate = "accept", fate: PushFate = "limit") {
  const w = new World();
  const phone = w.asleep("alice", { wakeMs: 5000, ringMs: 100, ...options });
  w.push.fates.set(phone.prid, first);
  const call = w.pbx.call("alice");
  w.advance(10);
  w.push.fates.set(phone.prid, fate);
  return { w, phone, call };
}

function statesOf(phone: Phone): string[] {
  return phone.calls.map((call) => call.state);
}

test("P-07 W-21 one over the limit, while its phone is being woken: one REGISTER brings both calls", () => {
  const { w, phone, call } = called({ answerMs: 1000 });
  w.advance(1000);
  const second = w.pbx.call("alice");
  w.advance(2000);
  expect(second.statuses).toEqual([100]);
  w.advance(5000);
  expect(statesOf(phone)).toEqual(["confirmed", "confirmed"]);
  expect([call.status, second.status]).toEqual([200, 200]);
  const [record] = w.core.silo.allRecords();
  expect(record!.timeline.find(({ event }) => event === "push_result")!.note).toBe(
    "rate limited; an earlier push may wake it yet",
  );
});

test("P-07 W-21 in the very turn of the first, before the service has said anything", () => {
  const { w, phone } = called();
  const second = w.pbx.call("alice");
  w.advance(7000);
  expect(statesOf(phone)).toEqual(["ringing", "ringing"]);
  expect(second.statuses).toEqual([100, 180]);
});

test("P-07 W-21 the caller of the first may have given up: the push wakes the phone all the same", () => {
  const { w, phone, call } = called();
  w.advance(1000);
  call.cancel();
  w.advance(500);
  const second = w.pbx.call("alice");
  w.advance(6000);
  expect(statesOf(phone)).toEqual(["ringing"]);
  expect(second.statuses).toEqual([100, 180]);
  second.cancel();
  w.advance(1000);
  // It was pushed for the first alone.
  expect(w.push.of("cancel").map((order) => order.callId)).toEqual([call.callId]);
});

test("P-07 W-07 nobody comes: 480 at the end of its own window", () => {
  const { w } = called({ wakeMs: null });
  w.advance(1000);
  const second = w.pbx.call("alice");
  w.advance(WINDOW_MS + 10);
  expect(second.finals.map((final) => final.status)).toEqual([480]);
  expect(second.finalAfterMs).toBeCloseTo(WINDOW_MS + 1, 3);
  // The phone was pushed for the first alone.
  expect(w.push.of("cancel").map((order) => order.callId).filter((id) => id === second.callId)).toEqual([]);
});

test.each(["refuse", "dead"] as const)("P-07 W-07 the push they share is answered %s: both end at once", (first) => {
  const { w, call } = called({}, first);
  const second = w.pbx.call("alice");
  w.advance(60);
  expect([call.status, second.status]).toEqual([480, 480]);
});

test("P-07 W-07 there is nothing to share once the phone has come and gone: 480 at once", () => {
  const { w, phone, call } = called();
  w.advance(6000);
  expect(statesOf(phone)).toEqual(["ringing"]);
  call.cancel();
  w.advance(500);
  phone.sleep("close");
  w.advance(1000);
  const second = w.pbx.call("alice");
  w.advance(100);
  expect(second.finals.map((final) => final.status)).toEqual([480]);
});

test.each<[string, number, PushFate]>([
  ["is older than the window", 31_000, "lost"],
  ["was refused", 1000, "refuse"],
])("P-07 W-07 there is nothing to share if the earlier push %s: 480 at once", (_name, waitMs, first) => {
  const { w } = called({ wakeMs: null }, first);
  w.advance(waitMs);
  const second = w.pbx.call("alice");
  w.advance(100);
  expect(second.finals.map((final) => final.status)).toEqual([480]);
});

test("P-07 P-04 a push that others count on is not taken back with its call", () => {
  for (const isShared of [false, true]) {
    const { w, call } = called({}, "mute");
    if (isShared) w.pbx.call("alice");
    w.advance(10);
    call.cancel();
    w.advance(10);
    expect(w.push.cancelled.length).toBe(isShared ? 0 : 1);
  }
});

test("W-13 a call that only shared a wake owes its phone no INVITE after the end", () => {
  const { w, phone, call } = called({ push: { provider: "apns", param: "T.org.example.voip", prid: "voip" } });
  w.advance(1000);
  const second = w.pbx.call("alice");
  w.advance(1000);
  call.cancel();
  second.cancel();
  w.advance(8000);
  expect(phone.calls.map(({ invite }) => invite.callId)).toEqual([call.callId]);
});
