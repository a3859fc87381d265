/** P-06: what devices hear by push when a call is over that they never got: a cancel, and a missed call where the config wants it. */
import { expect, test } from "bun:test";
import type { PhoneOptions } from "../../sim/phone.ts";
import type { PushFate } from "../../sim/push_service.ts";
import { World } from "../../sim/world.ts";
import { loadConfig } from "../../../src/config/load.ts";

const DAY_MS = 86_400_000;
const KEYS = { p256dh: "BPoint", auth: "secret" };

function missing(): World {
  return new World({ config: (config) => config.push.missed = true });
}

/** Events after the call push, by token. */
function afterwards(w: World): string[] {
  return w.push.orders.map(({ order }) => order).filter(({ event }) => event !== "call")
    .map(({ event, prid, reason = "" }) => `${event} ${prid} ${reason}`.trim());
}

const ASLEEP: PhoneOptions = { wakeMs: null, push: { provider: "acme", prid: "a" } };

test("P-06 a device that did not wake within its window is told when the call ends, as its app may show it", () => {
  const w = new World();
  w.asleep("alice", ASLEEP);
  const awake = w.awake("alice", { answerMs: 40_000 });
  w.pbx.call("alice");
  w.advance(35_000);
  expect(afterwards(w)).toEqual([]);
  w.advance(10_000);
  expect(awake.call.state).toBe("confirmed");
  expect(afterwards(w)).toEqual(["cancel a answered_elsewhere"]);
});

test("P-06 nobody woke up: a cancel push with the 480", () => {
  const w = new World();
  w.asleep("alice", ASLEEP);
  const call = w.pbx.call("alice");
  w.advance(31_000);
  expect(call.status).toBe(480);
  expect(afterwards(w)).toEqual(["cancel a timeout"]);
});

test("P-06 a missed call is pushed where push.missed wants it, with a day to live, and stands in the ladder", () => {
  for (const isWanted of [true, false]) {
    const w = isWanted ? missing() : new World();
    w.asleep("alice", ASLEEP);
    const call = w.pbx.call("alice");
    w.advance(1000);
    call.cancel();
    w.advance(1000);
    expect(afterwards(w)).toEqual(["cancel a caller_gave_up", ...(isWanted ? ["missed a"] : [])]);
    const labels = w.core.silo.allRecords()[0]!.timeline.map(({ label }) => label);
    expect(labels.includes("push missed")).toBe(isWanted);
    if (!isWanted) continue;
    const [order] = w.push.of("missed");
    expect(order).toMatchObject({ callId: call.callId, ttlMs: DAY_MS, fromUri: expect.stringMatching(/^sip:/) });
    const uuids = w.push.orders.map(({ order }) => order.uuid);
    expect(new Set(uuids).size).toBe(3);
  }
});

test.each([
  ['Reason: SIP;cause=200;text="Call completed elsewhere"', true],
  ["Reason: Q.850 ; cause=26", true],
  ['reason: Q.850;cause=16, SIP ;text="x;cause=1"; Cause=200', true],
  ['Reason: SIP;text="cause=200";cause=487', false],
  ["Reason: Q.850;cause=16", false],
  ["Reason: Q.850;cause=200", false],
  ["X-Reason: SIP;cause=200", false],
])("P-06 the PBX cancels with %s: somebody else answered %p", (line, isElsewhere) => {
  const w = missing();
  w.asleep("alice", ASLEEP);
  const call = w.pbx.call("alice");
  w.advance(1000);
  call.cancel(line + "\r\n");
  w.advance(1000);
  const seen = isElsewhere ? ["cancel a answered_elsewhere"] : ["cancel a caller_gave_up", "missed a"];
  expect(afterwards(w)).toEqual(seen);
});

const ENDS: [how: string, isMissed: boolean, run: (w: World) => void][] = [
  ["the caller gave up", true, (w) => {
    const call = w.pbx.call("alice");
    w.advance(1000);
    call.cancel();
  }],
  ["nobody woke up", true, (w) => void w.pbx.call("alice")],
  ["it was answered elsewhere", false, (w) => {
    w.awake("alice", { answerMs: 1000 });
    w.pbx.call("alice");
  }],
  ["somebody declined for all", false, (w) => {
    w.awake("alice", { decline: { afterMs: 1000, status: 600 } });
    w.pbx.call("alice");
  }],
];
test.each(ENDS)("P-06 %s: missed %p", (_how, isMissed, run) => {
  const w = missing();
  w.asleep("alice", ASLEEP);
  run(w);
  w.advance(40_000);
  expect(w.push.of("missed").length).toBe(isMissed ? 1 : 0);
});

test("P-06 a device that got the call knows by itself what it missed, and one that cannot be pushed hears nothing", () => {
  const w = missing();
  w.asleep("alice", { wakeMs: 1000, push: { provider: "acme", prid: "rang" } });
  w.asleep("alice", { ...ASLEEP, push: { provider: "acme", prid: "refused" } });
  w.asleep("alice", ASLEEP);
  w.awake("alice");
  w.push.fates.set("refused", "refuse");
  const call = w.pbx.call("alice");
  w.advance(5000);
  call.cancel();
  w.advance(1000);
  expect(w.push.of("missed").map(({ prid }) => prid)).toEqual(["a"]);
});

test("P-06 a phone that got INVITE and push, and rings without registering, needs no word by push", () => {
  const w = missing();
  const phone = w.awake("alice", { transport: "udp", wakeMs: null });
  w.advance(100_000);
  const call = w.pbx.call("alice");
  w.advance(1000);
  expect([w.push.of("call").length, phone.call.state]).toEqual([1, "ringing"]);
  call.cancel();
  w.advance(1000);
  expect(afterwards(w)).toEqual([]);
});

test("P-06 P-07 a call that was not pushed for itself is told as missed, and not as cancelled", () => {
  const w = missing();
  w.asleep("alice", ASLEEP);
  const calls = [w.pbx.call("alice")];
  w.advance(10);
  w.push.fate = "limit" as PushFate;
  calls.push(w.pbx.call("alice"));
  w.advance(40_000);
  expect(calls.map(({ status }) => status)).toEqual([480, 480]);
  expect(w.push.of("cancel").map(({ callId }) => callId)).toEqual([calls[0]!.callId]);
  expect(w.push.of("missed").map(({ callId }) => callId)).toEqual(calls.map(({ callId }) => callId));
});

const VOIP = "TEAM123456.org.example.app.voip";
const TOKENS: [what: string, push: NonNullable<PhoneOptions["push"]>, hasKeys: boolean, events: string[]][] = [
  ["a webhook's", { provider: "acme", prid: "t" }, false, ["cancel", "missed"]],
  ["FCM's", { provider: "fcm", param: "project", prid: "t" }, false, ["cancel", "missed"]],
  ["a VoIP token", { provider: "apns", param: VOIP, prid: "t" }, false, []],
  ["a VoIP token of a development build", { provider: "apns.dev", param: VOIP, prid: "t" }, false, []],
  ["both tokens of an iPhone", { provider: "apns", param: `${VOIP}&remote`, prid: "a:remote&b:voip" }, false, [
    "missed",
  ]],
  ["two VoIP tokens", { provider: "apns", param: VOIP, prid: "b:voip" }, false, []],
  // The alert takes the place of the call's: a silent push that crossed it could take it away again.
  ["an alert token", { provider: "apns", param: "TEAM123456.org.example.app", prid: "t" }, false, ["missed"]],
  ["a subscription without keys", { provider: "webpush", prid: "https://p/1" }, false, ["cancel"]],
  ["a subscription with keys", { provider: "webpush", prid: "https://p/1" }, true, ["cancel", "missed"]],
  ["a UnifiedPush endpoint without keys", { provider: "unifiedpush", prid: "https://p/1" }, false, ["cancel"]],
];
test.each(TOKENS)("P-06 the end of a call, for %s: never a VoIP push, nothing that cannot say what it is", (
  _what,
  push,
  hasKeys,
  events,
) => {
  const w = missing();
  w.asleep("alice", { wakeMs: null, push });
  if (hasKeys) { for (const aor of w.core.usrloc.all()) aor.contacts[0]!.push!.keys = KEYS; }
  const call = w.pbx.call("alice");
  w.advance(1000);
  call.cancel();
  w.advance(1000);
  expect(w.push.orders.slice(1).map(({ order }) => order.event)).toEqual(events as never);
});

/** A world whose provider `acme` is a sender that has nothing for these events. */
function withoutWords(events: string): World {
  const { config: written } = loadConfig(
    `security: { trust: [10.0.0.0/8] }\npush: { http: { acme: { url: "http://a.example", json: {}, events: ${events} } } }`,
  );
  return new World({
    config: (config) => {
      config.push.missed = true;
      config.push.http = written!.push.http;
    },
  });
}

test.each<[events: string, told: string[]]>([
  ["{ cancel: null }", ["missed a"]],
  ["{ missed: null }", ["cancel a caller_gave_up"]],
  ["{ cancel: null, missed: null }", []],
  ["{}", ["cancel a caller_gave_up", "missed a"]],
])("P-06 P-10 with %s nothing is pushed that the service has no words for", (events, told) => {
  const w = withoutWords(events);
  w.asleep("alice", ASLEEP);
  const call = w.pbx.call("alice");
  w.advance(1000);
  call.cancel();
  w.advance(1000);
  expect(afterwards(w)).toEqual(told);
  const labels = w.core.silo.allRecords()[0]!.timeline.map(({ label }) => label);
  expect(labels.filter((label) => label === "push cancel" || label === "push missed").length).toBe(told.length);
});

test.each<[events: string, invites: number]>([["{ cancel: null }", 1], ["{}", 0]])(
  "W-13 P-10 with %s a phone that comes too late gets %i INVITE, and CANCEL",
  (events, invites) => {
    const w = withoutWords(events);
    const b = w.asleep("alice", { wakeMs: 5000, push: { provider: "acme", prid: "a" }, ringMs: 30 });
    const call = w.pbx.call("alice");
    w.advance(1000);
    call.cancel();
    w.advance(10_000);
    expect(b.calls.map(({ state }) => state)).toEqual(Array(invites).fill("cancelled"));
  },
);
