/** W-10, W-13, P-06: the caller gives up, before, while and after devices wake. */
import { expect, test } from "bun:test";
import type { Phone, PhoneOptions } from "../../sim/phone.ts";
import { World } from "../../sim/world.ts";

const VOIP = { provider: "apns", param: "TEAM123456.org.example.app.voip" };

function delayedCancel(value: "auto" | "true" | "false"): World {
  return new World({ config: (config) => config.wake.delayed_cancel = value });
}

/** What a phone has been through: INVITE, CANCEL with its Reason. */
function reasonOfCancel(phone: Phone): string | undefined {
  return phone.call.cancel?.valueOf("reason");
}

test("W-10 the caller hangs up while B wakes: 200 to the CANCEL, 487 at once, a cancel push, and B stays quiet", () => {
  const w = new World();
  const b = w.asleep("alice", { wakeMs: 3000 });
  const call = w.pbx.call("alice");
  w.advance(1000);
  const atMs = w.nowMs;
  call.cancel();
  w.settle();
  expect(call.finals.map((final) => [final.status, final.atMs - atMs])).toEqual([[487, 1]]);
  expect(w.sent(w.pbx, "SIP/2.0 200").filter((text) => text.includes("CANCEL")).length).toBe(1);
  expect(w.push.of("cancel").map((order) => [order.reason, order.callId, order.prid])).toEqual([
    ["caller_gave_up", call.callId, b.prid],
  ]);
  w.advance(10_000);
  expect(b.isRegistered).toBe(true);
  expect(b.calls.length).toBe(0);
  expect(call.finals.length).toBe(1);
});

test("P-03 P-06 pushes about a call carry the keys of the phone's subscription", () => {
  const w = new World();
  const keys = { p256dh: "BPoint", auth: "secret" };
  w.asleep("alice", { wakeMs: null, push: { provider: "webpush", prid: "https://p/1" } });
  for (const aor of w.core.usrloc.all()) aor.contacts[0]!.push!.keys = keys;
  const call = w.pbx.call("alice");
  w.advance(1000);
  call.cancel();
  w.settle();
  expect(w.push.orders.map(({ order }) => [order.event, order.keys])).toEqual([["call", keys], ["cancel", keys]]);
});

test("W-10 487 leaves when the branches have ended, before the 100 ms are over", () => {
  const w = new World();
  const a = w.awake("alice");
  const call = w.pbx.call("alice");
  w.advance(1000);
  const atMs = w.nowMs;
  call.cancel();
  w.advance(1000);
  expect(a.call.state).toBe("cancelled");
  // There and back between latefork and the phone, and the same with the PBX.
  expect(call.finals.map((final) => [final.status, final.atMs - atMs])).toEqual([[487, 11]]);
});

test("W-10 a phone that does not answer the CANCEL delays 487 by 100 ms and no more", () => {
  const w = new World();
  const a = w.awake("alice");
  const call = w.pbx.call("alice");
  w.advance(1000);
  a.sleep("silent");
  const atMs = w.nowMs;
  call.cancel();
  w.advance(1000);
  expect(call.finals.map((final) => [final.status, final.atMs - atMs])).toEqual([[487, 101]]);
});

test("W-10 CANCEL before the phone said anything: its CANCEL waits for the first 1xx, the caller's 487 does not", () => {
  const w = new World();
  const a = w.awake("alice", { ringMs: 5000 });
  const call = w.pbx.call("alice");
  w.advance(1000);
  call.cancel();
  w.advance(200);
  expect(call.status).toBe(487);
  expect(w.sent(a, "CANCEL")).toEqual([]);
  w.advance(5000);
  expect(a.call.state).toBe("cancelled");
});

test("W-10 RFC 5407 §3.1.2: a 2xx that crosses the CANCEL within 100 ms is the answer", () => {
  const w = new World();
  const a = w.awake("alice", { answerMs: 1000 });
  const call = w.pbx.call("alice");
  w.advance(1000);
  call.cancel();
  w.advance(2000);
  expect(call.finals.map((final) => final.status)).toEqual([200]);
  // The caller did not want it any more: it ends the call itself (RFC 3261 §15).
  expect([a.call.acks, a.call.byes]).toEqual([1, 1]);
  expect(w.core.silo.allRecords()[0]!.result).toBe("answered");
});

test("W-12 a 2xx that comes after 487 was sent is acknowledged each time and ended once by us", () => {
  const w = new World({ internet: { latencyMs: [80, 80] } });
  const a = w.awake("alice", { transport: "udp", push: null, answerMs: 1000 });
  const call = w.pbx.call("alice");
  w.advance(1040);
  call.cancel();
  w.until(() => call.status !== 0);
  expect(call.status).toBe(487);
  a.path.loss = 1; // the first ACK and BYE get lost: the phone repeats its 200
  w.advance(1200);
  a.path.loss = 0;
  w.advance(5000);
  expect(call.finals.map((final) => final.status)).toEqual([487]);
  expect(a.call.byes).toBe(1);
  expect(w.sent(a, "ACK").length).toBeGreaterThan(1);
  expect(new Set(w.sent(a, "BYE")).size).toBe(1);
  const [bye] = w.sent(a, "BYE");
  expect(bye).toContain(`\r\nCall-ID: ${call.callId}\r\n`);
  expect(bye).toContain(`\r\nCSeq: 2 BYE\r\n`);
  expect(bye).toContain(`;tag=${a.call.incoming.toTag}`);
  expect(bye).toContain(`;tag=${call.fromTag}`);
  const answers = w.net.packets.filter((packet) => packet.peer === a.name && packet.text.startsWith("SIP/2.0 200 OK"));
  const ofInvite = answers.filter((packet) => packet.fate === "sent" && packet.text.includes("INVITE"));
  expect(w.sent(a, "ACK").length).toBe(ofInvite.length);
});

test("W-10 a CANCEL in the very turn of the REGISTER leaves no phone ringing", () => {
  // The CANCEL meets the 2xx to the REGISTER, at every distance from it.
  for (let offsetMs = -8; offsetMs <= 8; offsetMs += 0.25) {
    const w = new World();
    const b = w.asleep("alice", { wakeMs: 1000 });
    const call = w.pbx.call("alice");
    const registeredMs = w.nowMs + 0.5 + w.push.deliveryMs + 1000 + 5 + 0.5;
    w.agenda.add(registeredMs + offsetMs, () => call.cancel());
    w.advance(60_000);
    expect(call.finals.map((final) => final.status)).toEqual([487]);
    expect(b.pending).toEqual([]);
    expect(w.dust()).toMatchObject({ openCalls: 0, clients: 0, servers: 0, deadlines: 0 });
  }
});

test("W-10 a second CANCEL, and one after the end, change nothing", () => {
  const w = new World();
  const b = w.awake("alice", { answerMs: 100 });
  const call = w.pbx.call("alice");
  w.until(() => call.status === 200);
  const cancel = w.net.packets.find((packet) => packet.text.startsWith("INVITE") && !packet.isFromCore)!.text
    .replace("INVITE", "CANCEL").replace("1 INVITE", "1 CANCEL");
  w.net.toCore(w.pbx.link, cancel);
  w.advance(1000);
  expect(b.call.state).toBe("confirmed");
  expect(b.call.cancel).toBe(null);
});

test("P-06 cancel pushes go to devices that were pushed and got no branch, never as a VoIP push", () => {
  const w = new World();
  const ringing = w.asleep("alice", { wakeMs: 500 });
  const sleeping = w.asleep("alice", { wakeMs: null });
  w.asleep("alice", { wakeMs: null, push: { ...VOIP, prid: "voip" } });
  const awake = w.awake("alice");
  const call = w.pbx.call("alice");
  w.advance(2000);
  expect(ringing.call.state).toBe("ringing");
  call.cancel();
  w.advance(1000);
  expect(w.push.of("call").length).toBe(3);
  expect(w.push.of("cancel").map((order) => order.prid)).toEqual([sleeping.prid]);
  expect(awake.call.state).toBe("cancelled");
});

test("P-06 a device whose INVITE went into the void gets the cancel push too", () => {
  const w = new World();
  const b = w.awake("alice", { transport: "udp", wakeMs: null });
  w.advance(100_000);
  b.sleep("silent");
  const call = w.pbx.call("alice");
  w.advance(1000);
  call.cancel();
  w.advance(1000);
  expect(w.push.of("cancel").map((order) => [order.prid, order.reason])).toEqual([[b.prid, "caller_gave_up"]]);
});

const policies: ["auto" | "true" | "false", PhoneOptions["push"], number][] = [
  ["auto", { ...VOIP, prid: "voip" }, 1],
  ["auto", { ...VOIP, param: VOIP.param + "&remote", prid: "aa:remote&bb:voip" }, 1],
  ["auto", { provider: "apns.dev", param: "org.example.app.voip.dev", prid: "voip" }, 1],
  ["auto", { provider: "apns", param: "TEAM123456.org.example.app", prid: "alert" }, 0],
  ["auto", { ...VOIP, prid: "aa:remote" }, 0],
  ["auto", undefined, 0],
  ["true", undefined, 1],
  ["false", { ...VOIP, prid: "voip" }, 0],
];
test.each(policies)(
  "W-13 delayed_cancel %s, token %o: a device that wakes too late gets %i INVITE",
  (value, push, n) => {
    const w = delayedCancel(value);
    const b = w.asleep("alice", { wakeMs: 5000, push, ringMs: 30 });
    const call = w.pbx.call("alice");
    w.advance(1000);
    call.cancel("Reason: Q.850;cause=16\r\n");
    w.advance(10_000);
    expect(b.calls.length).toBe(n);
    // P-06: every device but one with a VoIP token is told by push.
    const isVoip = (push?.param ?? "").includes(".voip") && push!.prid !== "aa:remote";
    expect(w.push.of("cancel").length).toBe(isVoip ? 0 : 1);
    if (n === 0) return;
    expect(b.call.state).toBe("cancelled");
    expect(b.call.invite.callId).toBe(call.callId);
    expect(reasonOfCancel(b)).toBe("Q.850;cause=16");
    expect(call.finals.map((final) => final.status)).toEqual([487]);
  },
);

test("W-13 after an answer elsewhere the CANCEL says so", () => {
  const w = delayedCancel("auto");
  w.awake("alice", { answerMs: 500 });
  const b = w.asleep("alice", { wakeMs: 5000, push: { ...VOIP, prid: "voip" } });
  w.pbx.call("alice");
  w.advance(10_000);
  expect(b.call.state).toBe("cancelled");
  expect(reasonOfCancel(b)).toBe('SIP;cause=200;text="Call completed elsewhere"');
});

test("W-13 a device that took part in the call is not rung again, and one that comes late only once", () => {
  const w = delayedCancel("true");
  const a = w.asleep("alice", { wakeMs: 500 });
  const b = w.asleep("alice", { wakeMs: 5000 });
  const call = w.pbx.call("alice");
  w.advance(2000);
  expect(a.call.state).toBe("ringing");
  call.cancel();
  w.advance(1000);
  a.register();
  w.advance(5000);
  b.register();
  w.advance(1000);
  expect([a.calls.length, b.calls.length]).toEqual([1, 1]);
});

test("W-13 a late device that answers before the CANCEL reaches it is hung up", () => {
  const w = delayedCancel("true");
  const b = w.asleep("alice", { wakeMs: 5000, ringMs: null, answerMs: 0 });
  const call = w.pbx.call("alice");
  w.advance(1000);
  call.cancel();
  w.advance(10_000);
  expect([b.call.acks, b.call.byes]).toEqual([1, 1]);
  expect(call.finals.map((final) => final.status)).toEqual([487]);
});

test("W-13 what a late device says never reaches the caller, also where somebody else answered", () => {
  const w = delayedCancel("true");
  w.awake("alice", { answerMs: 500 });
  const b = w.asleep("alice", { wakeMs: 5000, ringMs: null, answerMs: 0 });
  const call = w.pbx.call("alice");
  w.advance(10_000);
  expect([b.call.acks, b.call.byes]).toEqual([1, 1]);
  expect(call.finals.map((final) => final.status)).toEqual([200]);
});

test("W-13 a late INVITE that the network loses is repeated until its phone is heard of", () => {
  const w = delayedCancel("true");
  const b = w.asleep("alice", { transport: "udp", wakeMs: 5000 });
  w.advance(100_000);
  const call = w.pbx.call("alice");
  w.advance(1000);
  call.cancel();
  w.until(() => b.isRegistered && b.registrations.length === 2);
  b.path.loss = 1;
  w.advance(1000);
  b.path.loss = 0;
  w.advance(5000);
  expect(b.calls.map((call) => call.state)).toEqual(["cancelled"]);
});

test.each(["refuse", "dead"] as const)(
  "W-13 a push that is answered %s shows no call: its phone is owed none",
  (fate) => {
    const w = new World();
    const push = { provider: "apns", param: "T.org.example.voip" };
    // Its other device keeps a dead token's AoR.
    w.awake("alice", { push: null, ringMs: 20 });
    const b = w.asleep("alice", { push, wakeMs: null });
    w.push.fates.set(b.prid, fate);
    const call = w.pbx.call("alice");
    w.advance(1000);
    call.cancel();
    w.advance(1000);
    b.wake();
    w.advance(3000);
    expect(b.calls.length).toBe(0);
    expect(w.core.silo.allRecords()[0]!.timeline.filter(({ event }) => event === "register")).toEqual([]);
  },
);

test("W-13 a device that got the INVITE over the flow of its REGISTER, and said nothing to it, gets no other", () => {
  const w = new World();
  const push = { provider: "apns", param: "T.org.example.voip" };
  const b = w.asleep("alice", { push, ringMs: null });
  const call = w.pbx.call("alice");
  w.advance(2000);
  call.cancel();
  w.advance(1000);
  b.register();
  w.advance(1000);
  expect(b.calls.length).toBe(1);
});

test("W-13 a device whose connection is gone before the PBX accepts its REGISTER hears of the call when it comes again", () => {
  const w = new World({ pbx: { answerMs: 200 } });
  const push = { provider: "apns", param: "T.org.example.voip" };
  const b = w.asleep("alice", { push, wakeMs: null });
  const call = w.pbx.call("alice");
  w.advance(1000);
  call.cancel();
  w.advance(1000);
  b.wake();
  w.advance(100);
  w.net.close(b.link!);
  w.advance(1000);
  expect(b.calls.length).toBe(0);
  b.register();
  w.advance(1000);
  expect(b.calls.map(({ state }) => state)).toEqual(["cancelled"]);
});

test("W-13 a push that failed may have arrived all the same: its phone is told that the call is over", () => {
  const w = new World();
  const b = w.asleep("alice", { push: { provider: "apns", param: "T.org.example.voip" }, wakeMs: null });
  w.push.fate = "fail";
  const call = w.pbx.call("alice");
  w.advance(10_000);
  call.cancel();
  w.advance(1000);
  b.wake();
  w.advance(3000);
  expect(b.calls.map(({ state }) => state)).toEqual(["cancelled"]);
});

test("W-13 a device that registers between CANCEL and 487 is dealt with as one that came late", () => {
  const w = delayedCancel("true");
  const a = w.awake("alice");
  const b = w.asleep("alice", { wakeMs: null });
  const call = w.pbx.call("alice");
  w.advance(1000);
  a.sleep("silent"); // does not answer the CANCEL: 100 ms
  call.cancel();
  w.advance(10);
  b.wake();
  w.advance(60);
  expect([b.isRegistered, call.status]).toEqual([true, 0]);
  w.advance(2000);
  expect(call.finals.map((final) => final.status)).toEqual([487]);
  expect(b.calls.map((call) => call.state)).toEqual(["cancelled"]);
});
