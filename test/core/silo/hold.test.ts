/** W-01, W-02, W-06 to W-09: what happens from the INVITE until somebody answers or nobody does. */
import { describe, expect, test } from "bun:test";
import type { Config } from "../../../src/config/schema.ts";
import { DOMAIN } from "../../sim/pbx.ts";
import { World } from "../../sim/world.ts";

const WINDOW_MS = 30_000;
/** Way of a packet between PBX and latefork, there and back. */
const LAN_MS = 1;

test("W-01 100 leaves first, and the call is in the silo before anything is sent to anyone", () => {
  const w = new World();
  const a = w.awake("alice");
  w.asleep("alice");
  const seen: [string, number][] = [];
  const { send, push } = w.port;
  w.port.send = (flow, wire) => {
    seen.push([wire.slice(0, 11), w.openCalls("alice").length]);
    return send.call(w.port, flow, wire);
  };
  w.port.push = (order) => {
    seen.push(["push", w.openCalls("alice").length]);
    push.call(w.port, order);
  };
  w.pbx.call("alice");
  w.until(() => a.calls.length === 1);
  expect(seen[0]![0]).toBe("SIP/2.0 100");
  expect(seen.slice(1)).toEqual([["INVITE sip:", 1], ["push", 1]]);
});

test("W-02 live devices get the INVITE and sleeping ones the push in the same turn, in parallel", () => {
  const w = new World();
  const phones = [w.awake("alice"), w.awake("alice", { transport: "udp" })];
  const sleepers = [w.asleep("alice"), w.asleep("alice")];
  const atMs = w.nowMs + LAN_MS / 2;
  w.pbx.call("alice");
  w.advance(20);
  for (const phone of phones) expect(phone.calls.length).toBe(1);
  const invites = w.net.packets.filter((packet) => packet.isFromCore && packet.text.startsWith("INVITE"));
  expect(invites.map((packet) => packet.atMs)).toEqual([atMs, atMs]);
  expect(w.push.orders.map((push) => [push.atMs, push.order.prid])).toEqual(
    sleepers.map((phone) => [atMs, phone.prid]),
  );
});

test.each([
  [89_000, 1, 0],
  [91_000, 1, 1],
])("W-02 a UDP flow silent for %i ms gets %i INVITE and %i push", (silentMs, invites, pushes) => {
  const w = new World();
  const b = w.awake("alice", { transport: "udp" });
  w.advance(silentMs);
  w.pbx.call("alice");
  w.advance(30);
  expect(w.sent(b, "INVITE").length).toBe(invites);
  expect(w.push.orders.length).toBe(pushes);
});

test("W-06 with everybody asleep the caller hears 100 and nothing else, however often it repeats the INVITE", () => {
  const w = new World();
  w.asleep("alice", { wakeMs: null });
  const call = w.pbx.call("alice");
  w.advance(WINDOW_MS - 100);
  expect(call.statuses).toEqual([100]);
  expect(w.openCalls("alice")[0]!.isHeld).toBe(true);
});

test("W-06 a branch that fails while a wake is pending does not end the call, and every reply passes", () => {
  const w = new World();
  w.awake("alice", { decline: { afterMs: 300, status: 486 } });
  const b = w.asleep("alice", { wakeMs: 4000, ringMs: 100, answerMs: 900 });
  const call = w.pbx.call("alice");
  w.advance(3000);
  expect(call.statuses).toEqual([100, 180]);
  w.advance(7000);
  expect(b.call.state).toBe("confirmed");
  expect(call.statuses).toEqual([100, 180, 180, 200]);
});

test("W-06 replies pass while a wake is pending: a live phone rings and answers", () => {
  const w = new World();
  w.awake("alice", { answerMs: 2000 });
  w.asleep("alice", { wakeMs: null });
  const call = w.pbx.call("alice");
  w.advance(1000);
  expect(call.statuses).toEqual([100, 180]);
  w.advance(1100);
  expect(call.statuses).toEqual([100, 180, 200]);
});

test("W-06 the hold lasts the whole window after a live phone's connection broke", () => {
  const w = new World();
  const a = w.awake("alice", { push: null });
  w.asleep("alice", { wakeMs: null });
  const call = w.pbx.call("alice");
  w.advance(500);
  a.sleep("close");
  w.advance(WINDOW_MS - 600);
  expect(call.status).toBe(0);
  w.advance(200);
  expect(call.finals.map((final) => final.status)).toEqual([480]);
});

test("W-07 nobody woke up: 480 at the end of the window, exactly then and exactly once", () => {
  const w = new World();
  w.asleep("alice", { wakeMs: null });
  const call = w.pbx.call("alice");
  w.advance(200_000);
  expect(call.finals.map((final) => final.status)).toEqual([480]);
  expect(call.finalAfterMs).toBeCloseTo(WINDOW_MS + LAN_MS, 3);
  expect(w.core.silo.allRecords()[0]!.result).toBe("unreachable");
  expect(Object.values(w.dust()).every((left) => left === 0)).toBe(true);
});

test.each(["refuse", "dead"] as const)("W-07 a push service that says %s ends the wait at once", (fate) => {
  const w = new World();
  const b = w.asleep("alice");
  w.push.fates.set(b.prid, fate);
  const call = w.pbx.call("alice");
  w.advance(60);
  expect(call.finals.map((final) => final.status)).toEqual([480]);
  expect(call.finalAfterMs).toBeCloseTo(w.push.verdictMs + LAN_MS, 3);
});

test.each(["fail", "mute", "lost"] as const)("W-07 a push that is %s holds the call for the window", (fate) => {
  const w = new World();
  w.push.fate = fate;
  w.asleep("alice");
  const call = w.pbx.call("alice");
  w.advance(WINDOW_MS - 100);
  expect(call.status).toBe(0);
  w.advance(200);
  expect(call.finals.map((final) => final.status)).toEqual([480]);
});

test("W-07 a device that leaves usrloc while it is woken is waited for no longer", () => {
  const w = new World();
  w.asleep("alice", { wakeMs: null });
  const call = w.pbx.call("alice");
  w.advance(1000);
  const [contact] = w.core.usrloc.find(`alice@${DOMAIN}`)!.contacts;
  w.turn(() => w.core.usrloc.remove(contact!, "control"));
  w.advance(10);
  expect(call.finals.map((final) => final.status)).toEqual([480]);
});

test("P-04 a push that is still being tried is taken back when its device registers or the call ends", () => {
  const w = new World();
  w.push.fate = "fail";
  const b = w.asleep("alice");
  w.asleep("alice");
  const call = w.pbx.call("alice");
  w.advance(1000);
  const [ofB, ofOther] = w.push.of("call");
  b.wake();
  w.advance(100);
  expect(w.push.cancelled).toEqual([ofB!.uuid]);
  call.cancel();
  w.advance(200);
  expect(w.push.cancelled).toEqual([ofB!.uuid, ofOther!.uuid]);
});

test("W-07 a verdict that never comes leaves nothing behind", () => {
  const w = new World();
  w.push.fate = "mute";
  w.asleep("alice");
  w.pbx.call("alice");
  w.advance(200_000);
  expect(Object.values(w.dust()).every((left) => left === 0)).toBe(true);
});

test("W-07 the refusal of one wake does not end the other", () => {
  const w = new World();
  const a = w.asleep("alice");
  const b = w.asleep("alice", { wakeMs: 5000, answerMs: 100 });
  w.push.fates.set(a.prid, "dead");
  const call = w.pbx.call("alice");
  w.advance(10_000);
  expect(call.status).toBe(200);
  expect(b.call.state).toBe("confirmed");
});

test("W-07 a call ends at once when the last device has decided", () => {
  const w = new World();
  w.awake("alice", { decline: { afterMs: 300, status: 486 } });
  w.asleep("alice", { wakeMs: 1000, decline: { afterMs: 2000, status: 480 } });
  const call = w.pbx.call("alice");
  w.until(() => call.status !== 0);
  expect(call.status).toBe(486);
  const decidedMs = w.net.packets.findLast((packet) => packet.text.startsWith("SIP/2.0 480"))!.atMs;
  expect(call.finals[0]!.atMs - decidedMs).toBeCloseTo(5 + LAN_MS / 2, 3);
});

test("W-07 a device that declines over a flow we were not sure of is waited for no longer", () => {
  const w = new World();
  w.awake("alice", { transport: "udp", ringMs: null, decline: { afterMs: 300, status: 486 } });
  w.advance(100_000);
  w.push.fate = "lost";
  const call = w.pbx.call("alice");
  w.advance(1000);
  expect(w.push.of("call").length).toBe(1);
  expect(call.finals.map((final) => final.status)).toEqual([486]);
});

test("W-07 wake.ring_timeout ends a call that only rings, once, and cancels its branches", () => {
  const w = new World();
  const a = w.awake("alice");
  const call = w.pbx.call("alice");
  w.advance(119_900);
  expect(call.status).toBe(0);
  w.advance(1000);
  expect(call.finals.map((final) => final.status)).toEqual([480]);
  expect(a.call.state).toBe("cancelled");
  expect(w.core.silo.allRecords()[0]!.result).toBe("timeout");
});

test("W-08 a user without a device that is live or pushable is 480 at once", () => {
  const w = new World();
  w.asleep("alice", { push: null });
  const call = w.pbx.call("alice");
  w.advance(10);
  expect([call.status, call.finalAfterMs]).toEqual([480, LAN_MS]);
});

test.each(
  [
    ["a UDP phone that sleeps behind a silent flow", "udp", 100_000],
    ["an app that is frozen behind an open connection", "tcp", 0],
  ] as const,
)("W-08 nobody woke up is 480 also for %s, which got the INVITE too", (_, transport, silentMs) => {
  const w = new World();
  const phone = w.awake("alice", { transport, ringMs: null, wakeMs: null });
  if (silentMs > 0) phone.sleep();
  w.advance(silentMs);
  const call = w.pbx.call("alice");
  w.advance(40_000);
  expect(call.status).toBe(480);
  expect(w.core.silo.allRecords()[0]!.outcome).toStartWith("nobody woke up (480)");
});

test("W-08 it is 480 at wake.ring_timeout, too, whatever a silent desk phone came to before", () => {
  const w = new World({ config: (config) => config.wake.window = config.wake.ring_timeout = 40_000 });
  w.awake("alice", { ringMs: null, push: null });
  w.asleep("alice", { wakeMs: null });
  w.awake("alice");
  const call = w.pbx.call("alice");
  w.advance(41_000);
  expect(call.status).toBe(480);
});

test("W-08 W-15 a desk phone that says nothing is 408: nobody tried to wake it", () => {
  const w = new World();
  w.awake("alice", { ringMs: null, push: null });
  const call = w.pbx.call("alice");
  w.advance(40_000);
  expect(call.status).toBe(408);
});

test("W-08 an AoR that never registered is 480 in front of a PBX and 404 in registrar mode", () => {
  const w = new World();
  const call = w.pbx.call("nobody");
  const r = new World({ mode: "registrar" });
  const local = r.caller().invite(`sip:nobody@${DOMAIN}`, "nobody");
  w.advance(10);
  r.advance(10);
  expect([call.status, local.status]).toEqual([480, 404]);
});

test("W-08 one device that cannot be reached at the first try does not end the call for the next one", () => {
  const w = new World();
  const a = w.awake("alice", { push: null });
  const b = w.awake("alice", { answerMs: 100 });
  // Its send queue is full: the flow takes nothing, and usrloc does not know yet.
  const { send } = w.port;
  w.port.send = (flow, wire) => flow !== a.link && send.call(w.port, flow, wire);
  const call = w.pbx.call("alice");
  w.advance(1000);
  expect(b.call.state).toBe("confirmed");
  expect(call.finals.map((final) => final.status)).toEqual([200]);
});

test.each(["180", "183", "110"] as const)("W-09 progress %s is said once while waking", (progress) => {
  const w = new World({ config: (config) => config.wake.progress = progress });
  w.asleep("alice", { wakeMs: 1000, ringMs: 50, answerMs: 200 });
  w.asleep("alice", { wakeMs: 1000, ringMs: 50 });
  const call = w.pbx.call("alice");
  w.advance(900);
  expect(call.statuses).toEqual([100, Number(progress)]);
  w.advance(1000);
  expect(call.statuses).toEqual([100, Number(progress), 180, 180, 200]);
});

test("W-09 progress is said when the first wake is a hedge, and not after a phone's own 180", () => {
  const w = new World({ config: (config) => config.wake.progress = "183" });
  const a = w.awake("alice");
  a.sleep("silent");
  const call = w.pbx.call("alice");
  w.advance(1400);
  expect(call.statuses).toEqual([100]);
  w.advance(200);
  expect(call.statuses).toEqual([100, 183]);

  w.awake("carol", { ringMs: 10 });
  w.awake("carol").sleep("silent");
  const ringing = w.pbx.call("carol");
  w.advance(1600);
  expect(w.push.of("call").length).toBe(2);
  expect(ringing.statuses).toEqual([100, 180]);
});

test("W-09 without wake.progress, and without a wake, nothing is said", () => {
  for (const progress of ["none", "180"] as const) {
    const w = new World({ config: (config) => config.wake.progress = progress });
    if (progress === "none") w.asleep("alice", { wakeMs: null });
    else w.awake("alice", { ringMs: null });
    const call = w.pbx.call("alice");
    w.advance(1000);
    expect(call.statuses).toEqual([100]);
  }
});

test.each(["reject", "evict"] as const)(
  "R-13 W-07 max_contacts 1, %s: the wake of a phone goes on when another one registers",
  (overflow) => {
    const w = new World({
      config: ({ registration }) => {
        registration.max_contacts = 1;
        registration.overflow = overflow;
      },
    });
    const first = w.asleep("alice", { wakeMs: null });
    const call = w.pbx.call("alice");
    w.advance(1000);
    expect(first.pushes.length).toBe(1);
    const second = w.phone("alice", { answerMs: 2000 });
    second.register();
    w.advance(500);
    expect([call.status, w.openCalls("alice")[0]!.isHeld]).toEqual([0, true]);
    expect(second.calls.length).toBe(overflow === "evict" ? 1 : 0);
    w.advance(2000);
    expect(call.status).toBe(overflow === "evict" ? 200 : 0);
    // The phone that made room is told nothing (P-02): what it had registered is gone.
    expect(first.pushes.map(({ event }) => event)).toEqual(["call"]);
  },
);

test("R-13 W-07 the phone that made room wakes all the same, and gets its branch", () => {
  const w = new World({ config: ({ registration }) => registration.max_contacts = 1 });
  const first = w.asleep("alice", { wakeMs: 3000, answerMs: 200 });
  const call = w.pbx.call("alice");
  w.advance(1000);
  const second = w.phone("alice");
  second.register();
  w.advance(3000);
  expect(first.call.state).toBe("confirmed");
  expect(second.call.state).toBe("cancelled");
  expect(call.finals.map(({ status }) => status)).toEqual([200]);
  expect(JSON.stringify(w.core.silo.allRecords()[0]!.timeline)).toContain("alice/1 made room for another device");
});

test.each([
  ["wakes within the window", 5000, [200], "answered"],
  ["sleeps on", null, [480], "unreachable"],
])(
  "W-07 a registration that lapses during its wake does not end the wake: the phone %s",
  (_what, wakeMs, finals, result) => {
    const w = new World();
    w.asleep("alice", { expires: 60, wakeMs, answerMs: 200 });
    w.advance(58_000);
    const call = w.pbx.call("alice");
    w.advance(4000);
    expect(w.core.usrloc.contactCount).toBe(0);
    expect([call.status, w.openCalls("alice").length]).toEqual([0, 1]);
    w.advance(WINDOW_MS);
    expect(call.finals.map(({ status }) => status)).toEqual(finals);
    expect(w.core.silo.allRecords()[0]!.result).toBe(result as "answered");
    expect(call.finalAfterMs).toBeLessThan(WINDOW_MS + 100);
    w.advance(100_000);
    expect(Object.values(w.dust()).every((left) => left === 0)).toBe(true);
  },
);

test("W-04 W-07 one REGISTER that takes a phone out and brings another: the call goes on with the other", () => {
  const w = new World();
  const old = w.asleep("alice", { instance: "", wakeMs: null });
  const call = w.pbx.call("alice");
  w.advance(1000);
  const app = w.phone("alice", { instance: "", answerMs: 500 });
  app.register({ alsoRemoves: `<${old.contactUri(old.link!)}>` });
  w.advance(2000);
  expect(app.calls.length).toBe(1);
  expect(call.finals.map(({ status }) => status)).toEqual([200]);
});

test("W-07 a phone that takes itself out ends its wake, at once", () => {
  const w = new World();
  const phone = w.asleep("alice", { wakeMs: null });
  const call = w.pbx.call("alice");
  w.advance(1000);
  phone.isAsleep = false;
  phone.deregister();
  w.advance(50);
  expect(call.finals.map(({ status }) => status)).toEqual([480]);
});

describe("W-07 a branch that was never heard of does not outlast the wake of its phone", () => {
  const short = { config: (config: Config) => config.wake.window = 4000 };

  test("W-07 W-08 a dead UDP address holds the call for wake.window, not until Timer B", () => {
    const w = new World(short);
    const phone = w.asleep("alice", { transport: "udp", wakeMs: null });
    w.advance(91_000);
    const call = w.pbx.call("alice");
    w.advance(3990);
    expect([call.status, w.sent(phone, "INVITE").length > 1]).toEqual([0, true]);
    w.advance(20);
    expect(call.finals.map(({ status }) => status)).toEqual([480]);
    expect(w.core.silo.allRecords()[0]!.outcome).toStartWith("nobody woke up (480)");
    const sent = w.sent(phone, "INVITE").length;
    w.advance(100_000);
    expect(w.sent(phone, "INVITE").length).toBe(sent);
    expect(Object.values(w.dust()).every((left) => left === 0)).toBe(true);
  });

  test("W-03 W-07 nor does a connection that is silently dead: hedge and window, then 480", () => {
    const w = new World(short);
    const phone = w.awake("alice", { wakeMs: null });
    phone.sleep("silent");
    const call = w.pbx.call("alice");
    w.advance(1500 + 4000 - 10);
    expect(call.status).toBe(0);
    w.advance(20);
    expect(call.finals.map(({ status }) => status)).toEqual([480]);
  });

  test("W-07 its phone comes later, while another rings: it gets the INVITE anew", () => {
    const w = new World(short);
    const phone = w.asleep("alice", { transport: "udp", wakeMs: null, answerMs: 300 });
    w.advance(91_000);
    w.awake("alice");
    const call = w.pbx.call("alice");
    w.advance(6000);
    expect(call.status).toBe(0);
    phone.thaw();
    w.advance(2000);
    expect([phone.calls.length, call.status]).toEqual([1, 200]);
  });

  test("W-07 a phone that said anything keeps its branch", () => {
    const w = new World(short);
    const phone = w.asleep("alice", { transport: "udp", wakeMs: null, tries: true, ringMs: null, answerMs: 10_000 });
    w.advance(91_000);
    const call = w.pbx.call("alice");
    w.advance(500);
    phone.isAsleep = false;
    phone.link!.isUp = true;
    w.advance(15_000);
    expect(call.finals.map(({ status }) => status)).toEqual([200]);
  });

  test("W-12 an answer that comes behind the 480 is hung up by us", () => {
    const w = new World(short);
    const phone = w.asleep("alice", { transport: "udp", wakeMs: null, ringMs: null });
    w.advance(91_000);
    const call = w.pbx.call("alice");
    w.advance(3000);
    phone.isAsleep = false;
    phone.link!.isUp = true;
    w.until(() => phone.calls.length === 1 || call.status !== 0);
    w.advance(2000);
    expect([call.finals.map(({ status }) => status), phone.calls.length]).toEqual([[480], 1]);
    phone.call.answer();
    w.advance(1000);
    expect([phone.call.byes, phone.call.state]).toEqual([1, "ended"]);
  });
});
