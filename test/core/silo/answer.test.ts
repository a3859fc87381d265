/** W-11, W-12: who answers first, and what becomes of the others. */
import { expect, test } from "bun:test";
import { World } from "../../sim/world.ts";

const ELSEWHERE = 'SIP;cause=200;text="Call completed elsewhere"';

test("W-11 A rings, B wakes and answers: A is cancelled with Reason SIP;cause=200", () => {
  const w = new World();
  const a = w.awake("alice");
  const b = w.asleep("alice", { wakeMs: 2000, answerMs: 1000 });
  const call = w.pbx.call("alice");
  w.advance(5000);
  expect(b.call.state).toBe("confirmed");
  expect(a.call.state).toBe("cancelled");
  expect(w.sent(a, "CANCEL").length).toBe(1);
  expect(w.sent(a, "CANCEL")[0]).toContain(`\r\nReason: ${ELSEWHERE}\r\n`);
  expect(call.finals.map((final) => final.status)).toEqual([200]);
  w.advance(60_000);
  a.register();
  w.advance(100);
  expect(a.calls.length).toBe(1);
});

test("W-11 the caller's Reason goes along to every branch", () => {
  const w = new World();
  const phones = [w.awake("alice"), w.awake("alice")];
  const call = w.pbx.call("alice");
  w.advance(1000);
  call.cancel('Reason: SIP;cause=200;text="Call completed elsewhere"\r\nReason: Q.850;cause=26\r\n');
  w.advance(1000);
  for (const phone of phones) {
    expect(phone.call.cancel!.valueOf("reason")).toBe(ELSEWHERE);
    expect(w.sent(phone, "CANCEL")[0]).toContain("\r\nReason: Q.850;cause=26\r\n");
  }
});

test.each(["tcp", "udp"] as const)(
  "W-11 a loser without a 1xx gets its CANCEL on its first 1xx, 25 s later, over %s",
  (transport) => {
    const w = new World();
    const slow = w.awake("alice", { transport, ringMs: 26_000 });
    w.awake("alice", { answerMs: 1000 });
    w.pbx.call("alice");
    w.advance(20_000);
    expect(w.sent(slow, "CANCEL")).toEqual([]);
    w.advance(10_000);
    expect(slow.call.state).toBe("cancelled");
    expect(slow.call.cancel!.valueOf("reason")).toBe(ELSEWHERE);
    w.advance(70_000);
    expect(Object.values(w.dust()).every((left) => left === 0)).toBe(true);
  },
);

test("W-11 the losing INVITE is not repeated any more, and a loser never heard of leaves nothing behind", () => {
  const w = new World();
  const deaf = w.awake("alice", { transport: "udp", push: null });
  deaf.sleep("silent");
  w.awake("alice", { answerMs: 1000 });
  w.pbx.call("alice");
  w.advance(1200);
  const before = w.sent(deaf, "INVITE").length;
  w.advance(100_000);
  expect(w.sent(deaf, "INVITE").length).toBe(before);
  expect(Object.values(w.dust()).every((left) => left === 0)).toBe(true);
});

test("W-11 devices that still sleep are told by a cancel push that the call was answered elsewhere", () => {
  const w = new World();
  w.awake("alice", { answerMs: 1000 });
  const b = w.asleep("alice", { wakeMs: null });
  w.pbx.call("alice");
  w.advance(2000);
  expect(w.push.of("cancel").map((order) => [order.prid, order.reason])).toEqual([[b.prid, "answered_elsewhere"]]);
});

test("W-12 single_answer: false: a later 2xx is relayed to the caller, who ends it", () => {
  const w = new World({ config: (config) => config.wake.single_answer = false });
  const phones = [w.awake("alice", { answerMs: 1000 }), w.awake("alice", { answerMs: 1003 })];
  const call = w.pbx.call("alice");
  w.advance(5000);
  expect(call.finals.map((final) => final.status)).toEqual([200, 200]);
  expect(new Set(call.finals.map((final) => final.toTag)).size).toBe(2);
  expect(phones.map((phone) => [phone.call.acks, phone.call.byes])).toEqual([[1, 0], [1, 1]]);
});

test("W-12 the later 2xx is acknowledged and ended by us, once, and the caller sees one answer", () => {
  const w = new World();
  const phones = [
    w.awake("alice", { answerMs: 1000 }),
    w.awake("alice", { answerMs: 1003, transport: "udp" }),
  ];
  const call = w.pbx.call("alice");
  w.advance(5000);
  expect(call.finals.map((final) => final.status)).toEqual([200]);
  expect(phones[0]!.call.state).toBe("confirmed");
  expect(phones[1]!.call.byes).toBe(1);
  expect(phones[1]!.call.acks).toBeGreaterThanOrEqual(1);
  expect(w.sent(phones[1]!, "BYE").length).toBe(1);
  expect(w.core.silo.allRecords()[0]!.timeline.map((entry) => entry.note ?? "")).toContain(
    "answered too late: ended by latefork",
  );
});

test("W-12 a repeated 2xx of the winner is passed until its ACK comes", () => {
  const w = new World();
  const a = w.awake("alice", { transport: "udp", push: null, answerMs: 100 });
  const call = w.pbx.call("alice");
  w.until(() => call.status === 200);
  const { path } = a;
  path.loss = 1; // the ACK is lost
  w.advance(300);
  path.loss = 0;
  w.advance(2000);
  expect(a.call.state).toBe("confirmed");
  expect(call.statuses.filter((status) => status === 200).length).toBe(2);
  expect(call.finals.length).toBe(1);
});

test("W-12 a 2xx after the 408 of a phone that was never heard of is acknowledged and ended by us", () => {
  for (const transport of ["tcp", "udp"] as const) {
    const w = new World();
    const a = w.awake("alice", { transport, push: null, ringMs: null, answerMs: 40_000 });
    const call = w.pbx.call("alice");
    w.advance(35_000);
    expect(call.finals.map((final) => final.status)).toEqual([408]);
    w.advance(10_000);
    expect([a.call.byes, a.call.state]).toEqual([1, "ended"]);
    w.advance(100_000);
    expect(call.finals.length).toBe(1);
    expect(Object.values(w.dust()).every((left) => left === 0)).toBe(true);
  }
});

test("W-11 a phone that rings only after its 408 gets its CANCEL", () => {
  const w = new World();
  const a = w.awake("alice", { push: null, ringMs: 40_000 });
  const call = w.pbx.call("alice");
  w.advance(45_000);
  expect(call.finals.map((final) => final.status)).toEqual([408]);
  expect(a.call.state).toBe("cancelled");
});

test("W-15 a phone's own word after our 408 counts as long as the call is open", () => {
  const w = new World();
  w.awake("alice", { push: null, ringMs: null, decline: { afterMs: 35_000, status: 486 } });
  const other = w.awake("alice", { push: null });
  const call = w.pbx.call("alice");
  w.advance(36_000);
  expect(call.status).toBe(0);
  other.call.decline(404);
  w.advance(100);
  expect(call.finals.map((final) => final.status)).toEqual([486]);
});
