/** W-22: what a call leaves behind for people. */
import { expect, test } from "bun:test";
import { appendAddress, removeBranch } from "../../../src/core/silo/by_hand.ts";
import { renderLadder } from "../../../src/observe/ladder.ts";
import type { CallRecord } from "../../../src/core/silo/record.ts";
import { World } from "../../sim/world.ts";

/** `event from→to label` of every line. */
function lines(record: CallRecord): string[] {
  return record.timeline.map(({ event, from, to, label }) =>
    [event, from === undefined ? "" : `${from}→${to}`, label ?? ""].filter((part) => part !== "").join(" ")
  );
}

test("W-22 the timeline of a woken call tells everything, in order, with latencies and the outcome in words", () => {
  const w = new World();
  w.awake("alice");
  w.asleep("alice", { wakeMs: 2000, answerMs: 1000 });
  const call = w.pbx.call("alice", { from: '"Bob" <sip:bob@example.org>' });
  w.advance(5000);
  call.hangUp();
  w.advance(100);
  const record = w.core.silo.allRecords()[0]!;
  expect(lines(record)).toEqual([
    "invite PBX→latefork INVITE",
    "response latefork→PBX 100",
    "branch latefork→alice/1 INVITE",
    "push latefork→push acme push call",
    "push_result push acme→latefork accepted",
    "response alice/1→latefork 180",
    "response latefork→PBX 180",
    "register alice/2→latefork REGISTER",
    "branch latefork→alice/2 INVITE (late)",
    "response alice/2→latefork 180",
    "response latefork→PBX 180",
    "response alice/2→latefork 200",
    "response latefork→PBX 200",
    "cancel latefork→alice/1 CANCEL",
    "end",
    "ack PBX→latefork ACK",
    "ack latefork→alice/2 ACK",
    "response alice/1→latefork 487",
    "bye PBX→latefork BYE",
    "bye latefork→alice/2 BYE",
  ]);
  const times = record.timeline.map((entry) => entry.tMs);
  expect([...times].sort((a, b) => a - b)).toEqual(times);
  expect(record).toMatchObject({
    callId: call.callId,
    aor: "alice@pbx.example.org",
    from: '"Bob" <sip:bob@example.org>',
    state: "ended",
    result: "answered",
    status: 200,
    outcome: "answered by alice/2 after 3.096 s",
    parties: ["PBX", "latefork", "alice/1", "alice/2", "push acme"],
  });
  expect(record.branches.map(({ party, state, status, late }) => [party, state, status, late])).toEqual([
    ["alice/1", "cancelled", 487, false],
    ["alice/2", "answered", 200, true],
  ]);
  expect(record.wakes.map(({ party, state, pushMs }) => [party, state, pushMs])).toEqual([[
    "alice/2",
    "registered",
    30,
  ]]);
  expect(record.wakes[0]!.wakeMs).toBeCloseTo(80 + 2000 + 5 + 1, 0);
  const notes = record.timeline.map((entry) => entry.note ?? "").join("\n");
  expect(notes).toContain("woke after 2.086 s");
  expect(notes).toContain("1 ms after its REGISTER");
  const ladder = renderLadder(record);
  expect(ladder).toContain("answered by alice/2 after 3.096 s");
  expect(ladder).toContain("INVITE (late)");
  expect(ladder.split("\n").length).toBeGreaterThan(15);
});

test("W-22 how a call ended is said in words", () => {
  const outcomes: [string, string, (w: World) => void][] = [
    ["cancelled", "caller gave up after", (w) => {
      w.asleep("alice", { wakeMs: null });
      const call = w.pbx.call("alice");
      w.in(1000, () => call.cancel());
    }],
    ["unreachable", "nobody woke up (480)", (w) => {
      w.asleep("alice", { wakeMs: null });
      w.pbx.call("alice");
    }],
    ["unreachable", "no device could be reached or woken (480)", (w) => {
      w.asleep("alice", { push: null });
      w.pbx.call("alice");
    }],
    ["failed", "not answered (500) after 0.110 s: alice/1 said 503", (w) => {
      w.awake("alice", { decline: { afterMs: 100, status: 503 } });
      w.pbx.call("alice");
    }],
    ["cancelled", "answered elsewhere after", (w) => {
      w.awake("alice");
      const call = w.pbx.call("alice");
      w.in(1000, () => call.cancel('Reason: SIP;cause=200;text="Call completed elsewhere"\r\n'));
    }],
    ["unreachable", "nobody could be woken (480): wrong project", (w) => {
      w.asleep("alice");
      w.push.fate = "refuse";
      w.pbx.call("alice");
    }],
    ["unreachable", "nobody woke up (480)", (w) => {
      w.asleep("alice", { wakeMs: null });
      w.asleep("alice", { push: null });
      w.pbx.call("alice");
    }],
    ["declined", "declined by alice/1 (486)", (w) => {
      w.awake("alice", { decline: { afterMs: 100, status: 486 } });
      w.pbx.call("alice");
    }],
    ["declined", "declined by alice/1 (480)", (w) => {
      w.awake("alice", { decline: { afterMs: 100, status: 480 } });
      w.asleep("alice", { wakeMs: null });
      w.pbx.call("alice");
    }],
    ["cancelled", "Ended by hand (480)", (w) => {
      w.asleep("alice", { wakeMs: null });
      w.pbx.call("alice");
      w.advance(100);
      w.turn(() => w.openCalls("alice")[0]!.end("Ended by hand"));
    }],
    ["timeout", "nobody answered within 120.000 s", (w) => {
      w.awake("alice");
      w.pbx.call("alice");
    }],
  ];
  for (const [result, words, story] of outcomes) {
    const w = new World();
    story(w);
    w.advance(130_000);
    const record = w.core.silo.allRecords()[0]!;
    expect(record.result as string).toBe(result);
    expect(record.outcome).toContain(words);
    expect(w.port.counters.get("calls_total:" + result)).toBe(1);
  }
});

test("W-22 a refused push, a device without a way to it and an expired wake are in it", () => {
  const w = new World();
  const refused = w.asleep("alice");
  w.asleep("alice", { push: null });
  w.asleep("alice", { wakeMs: null });
  w.push.fates.set(refused.prid, "refuse");
  w.pbx.call("alice");
  w.advance(40_000);
  const record = w.core.silo.allRecords()[0]!;
  expect(record.wakes.map(({ party, state }) => [party, state])).toEqual([
    ["alice/1", "refused"],
    ["alice/3", "expired"],
  ]);
  const text = JSON.stringify(record.timeline);
  expect(text).toContain("wrong project");
  expect(text).toContain("alice/2: no connection and no push token");
  expect(text).toContain("alice/3 did not wake up");
});

test("W-22 a device that leaves, and an earlier push that fails, are told where they end a wait", () => {
  const w = new World();
  w.asleep("alice", { wakeMs: null });
  w.pbx.call("alice");
  w.advance(100);
  w.turn(() => w.core.usrloc.remove(w.core.usrloc.find("alice@pbx.example.org")!.contacts[0]!, "control"));
  w.advance(100);
  const [record] = w.core.silo.allRecords();
  expect(record!.timeline.map(({ note }) => note)).toContain("alice/1 is no longer registered");
  expect(record!.outcome).toBe("nobody could be woken (480): device is no longer registered");

  const other = new World();
  const b = other.asleep("alice", { wakeMs: null });
  other.push.fates.set(b.prid, "refuse");
  other.pbx.call("alice");
  other.advance(10);
  other.push.fates.set(b.prid, "limit");
  const second = other.pbx.call("alice");
  other.advance(500);
  const shared = other.core.silo.allRecords().find(({ callId }) => callId === second.callId)!;
  expect(shared.timeline.map(({ note }) => note)).toContain("alice/1: the earlier push failed, wrong project");
});

test("W-22 what a phone says after the end is in the record too, also when nobody looked in between", () => {
  const w = new World();
  const a = w.awake("alice");
  const call = w.pbx.call("alice");
  w.advance(1000);
  a.path.latencyMs = [200, 200]; // its 487 comes after the caller's
  call.cancel();
  w.advance(100_000);
  const record = w.core.silo.allRecords()[0]!;
  expect(record.branches.map(({ state, status }) => [state, status])).toEqual([["cancelled", 487]]);
  expect(lines(record).at(-1)).toBe("response alice/1→latefork 487");
});

test("W-22 a device that wakes when the call is over stands in the ladder once, with how long it took", () => {
  const w = new World();
  const b = w.asleep("alice", { wakeMs: 8000 });
  const call = w.pbx.call("alice");
  w.advance(1000);
  call.cancel();
  w.advance(10_000);
  b.register();
  w.advance(1000);
  const [record] = w.core.silo.allRecords();
  expect(record!.timeline.filter(({ event }) => event === "register").map(({ note }) => note)).toEqual([
    "woke after 8.086 s, when the call was over",
  ]);
  expect(record!.wakes.map(({ state, wakeMs }) => [state, Math.round(wakeMs!)])).toEqual([["cancelled", 8086]]);
});

test("W-22 a device that wakes after its window, into a call that goes on, is told to have come late", () => {
  const w = new World();
  w.awake("alice");
  const b = w.asleep("alice", { wakeMs: 40_000 });
  w.pbx.call("alice");
  w.advance(41_000);
  expect(b.call.state).toBe("ringing");
  const [record] = w.core.silo.allRecords();
  const woke = "woke after 40.086 s, later than wake.window";
  expect(record!.timeline.find(({ event }) => event === "register")!.note).toBe(woke);
  expect(record!.wakes.map(({ state, reason }) => [state, reason])).toEqual([["registered", woke]]);
});

test("W-22 a CANCEL stands where it left, before the 487 that answers it", () => {
  const w = new World();
  w.awake("alice");
  const call = w.pbx.call("alice");
  w.advance(1000);
  call.cancel();
  w.advance(1000);
  const record = w.core.silo.allRecords()[0]!;
  expect(lines(record).slice(-6)).toEqual([
    "response latefork→PBX 180",
    "cancel PBX→latefork CANCEL",
    "cancel latefork→alice/1 CANCEL",
    "response alice/1→latefork 487",
    "response latefork→PBX 487",
    "end",
  ]);
});

test("W-22 a phone that was never heard of has no CANCEL in the ladder until it rings", () => {
  const w = new World();
  const a = w.awake("alice", { push: null, ringMs: 3000 });
  const call = w.pbx.call("alice");
  w.advance(1000);
  call.cancel();
  w.advance(500);
  const record = w.core.silo.allRecords()[0]!;
  expect(lines(record)).not.toContain("cancel latefork→alice/1 CANCEL");
  expect(record.timeline.map(({ note }) => note)).toContain(
    "alice/1 has said nothing yet: its CANCEL goes when it does",
  );
  w.advance(3000);
  expect(a.call.state).toBe("cancelled");
  expect(lines(record).slice(-2)).toEqual(["cancel latefork→alice/1 CANCEL", "response alice/1→latefork 487"]);
});

test("W-22 wake.ring_timeout and a branch taken out by hand are told with their CANCEL, once", () => {
  const w = new World();
  w.awake("alice");
  w.awake("alice");
  w.pbx.call("alice");
  w.advance(1000);
  w.turn(() => removeBranch(w.openCalls("alice")[0]!, 1));
  w.advance(120_000);
  const record = w.core.silo.allRecords()[0]!;
  const cancels = record.timeline.filter(({ event }) => event === "cancel");
  expect(cancels.map(({ tMs, to, note }) => [Math.floor(tMs), to, note])).toEqual([
    [999, undefined, "alice/1 removed by hand"],
    [999, "alice/1", undefined],
    [120_000, "alice/2", "nobody answered within 120.000 s"],
  ]);
});

test("W-22 W-12 two phones answer: ACK and BYE of each dialog stand in its own column", () => {
  const w = new World({ config: (config) => config.wake.single_answer = false });
  w.awake("alice", { answerMs: 100 });
  w.awake("alice", { answerMs: 100 });
  w.pbx.call("alice");
  w.advance(1000);
  const record = w.core.silo.allRecords()[0]!;
  const told = lines(record).filter((line) => /^(ack|bye) latefork/.test(line));
  expect(told).toEqual([
    "ack latefork→alice/1 ACK",
    "ack latefork→alice/2 ACK",
    "bye latefork→alice/2 BYE",
  ]);
});

test.each([false, true])(
  "W-22 W-21 fork legs of one Call-ID: ACK and BYE (by the phone: %p) are told of their own",
  (isByPhone) => {
    const w = new World({ config: (config) => config.pbx!.mode = "mirror" });
    const a = w.awake("alice", { answerMs: 500 });
    w.awake("alice");
    const [first, second] = w.pbx.callAll("alice");
    w.advance(1000);
    second!.cancel();
    w.advance(500);
    if (isByPhone) a.call.hangUp();
    else first!.hangUp();
    w.advance(500);
    const records = w.core.silo.allRecords();
    const [from, to] = isByPhone ? ["alice/1", "PBX"] : ["PBX", "alice/1"];
    expect(lines(records.find(({ status }) => status === 200)!).slice(-4)).toEqual([
      "ack PBX→latefork ACK",
      "ack latefork→alice/1 ACK",
      `bye ${from}→latefork BYE`,
      `bye latefork→${to} BYE`,
    ]);
    expect(lines(records.find(({ status }) => status === 487)!).filter((line) => /^(ack|bye)/.test(line))).toEqual([]);
  },
);

test("W-22 W-18 ACK and BYE of a phone that was added by its address come from the caller's side", () => {
  const w = new World();
  w.asleep("alice", { wakeMs: null });
  const call = w.pbx.call("alice");
  const door = w.phone("door", { transport: "udp", push: null, answerMs: 300 });
  const link = door.connect();
  w.advance(100);
  const [open] = w.openCalls("alice");
  w.turn(() => appendAddress(open!, "sip:door@192.0.2.99", link, w.core.dialogs.addressToken(link, call.callId)));
  w.advance(1000);
  call.hangUp();
  w.advance(100);
  expect(lines(w.core.silo.allRecords()[0]!).slice(-4)).toEqual([
    "ack PBX→latefork ACK",
    "ack latefork→alice/2 ACK",
    "bye PBX→latefork BYE",
    "bye latefork→alice/2 BYE",
  ]);
});

test("W-22 trace.calls ended calls are kept, the newest first", () => {
  const w = new World({ config: (config) => config.trace.calls = 3 });
  w.awake("alice", { decline: { afterMs: 10, status: 486 } });
  const ids = [1, 2, 3, 4, 5].map(() => {
    const call = w.pbx.call("alice");
    w.advance(100);
    return call.callId;
  });
  w.advance(100_000);
  expect(w.core.silo.allRecords().map((record) => record.callId)).toEqual(ids.slice(2).reverse());
});

test("W-22 a phone that never stops sending 1xx fills no memory", () => {
  const w = new World();
  const a = w.awake("alice");
  w.pbx.call("alice");
  w.advance(100);
  for (let i = 0; i < 2000; i++) {
    a.call.incoming.respond(180);
    w.advance(1);
  }
  const record = w.core.silo.allRecords()[0]!;
  expect(record.timeline.length).toBeLessThan(500);
  const late = w.awake("alice", { answerMs: 20 });
  w.advance(100);
  expect(record.timeline.some(({ to }) => to === "alice/2")).toBe(true);
  expect(late.call.state).toBe("confirmed");
  const end = lines(record).indexOf("end");
  expect(record.timeline[end - 1]!.note).toMatch(/^\d+ lines were left out$/);
});
