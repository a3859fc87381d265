/** W-04, W-05, W-21: who joins an open call when a device registers. */
import { expect, test } from "bun:test";
import { parseMessage } from "../../../src/core/sip/message.ts";
import { DOMAIN } from "../../sim/pbx.ts";
import type { Phone } from "../../sim/phone.ts";
import { World } from "../../sim/world.ts";

/** Different INVITEs (by branch) that left towards a phone. */
function invitesTo(w: World, phone: Phone): Set<string> {
  return new Set(w.sent(phone, "INVITE").map((text) => parseMessage(text).via!.branch));
}

test("W-04 the INVITE leaves in the turn in which the PBX accepts the REGISTER", () => {
  const w = new World();
  const b = w.asleep("alice", { wakeMs: 3000 });
  w.pbx.call("alice");
  w.until(() => b.calls.length === 1);
  const accepted = w.pbx.accepted.at(-1)!.atMs + 0.5;
  const at = (start: string) =>
    w.net.packets.findLast((packet) => packet.isFromCore && packet.peer === b.name && packet.text.startsWith(start))!
      .atMs;
  expect([at("INVITE"), at("SIP/2.0 200")]).toEqual([accepted, accepted]);
});

test("W-04 a REGISTER that the PBX challenges or refuses adds nobody", () => {
  const w = new World({ pbx: { isChallenging: true } });
  w.asleep("alice", { wakeMs: null });
  w.pbx.call("alice");
  const thief = w.phone("alice", { password: "guessed" });
  thief.register();
  w.advance(2000);
  expect(thief.registrations.map(([status]) => status)).toEqual([401]);
  expect(thief.calls.length).toBe(0);
  w.pbx.refusesWith = 403;
  const b = w.phone("alice");
  b.register();
  w.advance(2000);
  expect(b.calls.length).toBe(0);
  w.pbx.refusesWith = 0;
  b.register();
  w.advance(2000);
  expect(invitesTo(w, b).size).toBe(1);
});

/** When the PBX answers the REGISTER of the device, in a world without a call. */
function registerTimes(): { w: World; b: Phone; answerMs: number } {
  const w = new World({ pbx: { answerMs: 10 } });
  const b = w.asleep("alice", { answerMs: 200 });
  b.wake();
  w.until(() => w.pbx.accepted.length === 2);
  return { w, b, answerMs: w.pbx.accepted[1]!.atMs };
}

const offsets = [-50, -16, -15.5, -15, -10.5, -10, -1, -0.5, -0.1, 0, 0.1, 0.5, 1, 4.9, 5, 5.1, 6, 50];
test.each(offsets)("W-01 W-04 an INVITE %f ms after the 2xx to the REGISTER is never lost", (offsetMs) => {
  const { answerMs } = registerTimes();
  for (const isFirst of [true, false]) {
    const w = new World({ pbx: { answerMs: 10 } });
    const b = w.asleep("alice", { answerMs: 200, wakeMs: null });
    // At offset 0 both reach latefork in the same turn, in the order in which they were planned.
    const place = () => w.agenda.add(answerMs + offsetMs, () => w.pbx.call("alice"));
    if (isFirst) place();
    b.wake();
    if (!isFirst) {
      w.until(() => w.sent(w.pbx, "REGISTER").length === 2);
      if (answerMs + offsetMs >= w.nowMs) {
        w.advance(6);
        place();
      } else continue;
    }
    w.advance(2000);
    expect(invitesTo(w, b).size).toBe(1);
    expect(b.call.state).toBe("confirmed");
    expect(w.pbx.calls[0]!.status).toBe(200);
  }
});

test("W-04 every open call of the AoR gets the device, not the first one", () => {
  const w = new World();
  w.awake("alice");
  const calls = [1, 2, 3].map(() => w.pbx.call("alice"));
  w.advance(1000);
  const b = w.phone("alice");
  b.register();
  w.settle();
  expect(b.calls.map((call) => call.invite.callId).sort()).toEqual(calls.map((call) => call.callId).sort());
});

test("W-04 over UDP, a phone that thaws on its old flow gets the INVITE at once, not with the next repetition", () => {
  const w = new World();
  const b = w.awake("alice", { transport: "udp", wakeMs: null });
  w.advance(100_000);
  b.sleep("silent");
  w.pbx.call("alice");
  w.advance(9000);
  b.thaw();
  w.until(() => b.isRegistered && b.registrations.length === 2);
  w.advance(1);
  expect(b.calls.length).toBe(1);
  expect(invitesTo(w, b).size).toBe(1);
});

test("W-05 a burst of REGISTERs of one device gives one INVITE", () => {
  for (const transport of ["tcp", "udp"] as const) {
    const w = new World();
    w.asleep("alice", { wakeMs: null });
    w.pbx.call("alice");
    w.advance(100);
    const b = w.phone("alice", { transport, ringMs: 300 });
    for (const callId of ["one", "two", "three"]) b.register({ callId });
    w.advance(200);
    expect(b.registrations.map(([status]) => status)).toEqual([200, 200, 200]);
    expect(w.sent(b, "INVITE").length).toBe(1);
  }
});

test("W-05 the same Contact on a new connection gets a new branch, and the old one is given up", () => {
  const w = new World();
  const b = w.awake("alice", { ringMs: 500 });
  const call = w.pbx.call("alice");
  w.advance(100);
  const [old] = b.calls;
  const uri = b.contactUri(b.link!);
  b.connect();
  b.register();
  w.advance(50);
  expect(b.contactUri(b.link!)).toBe(uri);
  expect(invitesTo(w, b).size).toBe(2);
  expect(b.call.incoming.link).toBe(b.link!);
  expect(w.openCalls("alice")[0]!.fork.branches.map((branch) => branch.isLive)).toEqual([false, true]);
  w.advance(1000);
  // It heard both: the 180 to the old one is answered with a CANCEL.
  expect(old!.state).toBe("cancelled");
  expect(b.call.state).toBe("ringing");
  b.call.answer();
  w.settle();
  expect(call.finals.map((final) => final.status)).toEqual([200]);
});

test("W-05 a phone that rings already is not asked again over its new flow", () => {
  const w = new World();
  const b = w.awake("alice");
  w.pbx.call("alice");
  w.advance(100);
  b.connect();
  b.register();
  w.advance(1000);
  expect(invitesTo(w, b).size).toBe(1);
  expect(b.call.state).toBe("ringing");
});

test.each([486, 600, 603, 480])("W-05 a device that declined with %i is not asked again", (status) => {
  const w = new World();
  const a = w.awake("alice", { decline: { afterMs: 50, status } });
  w.asleep("alice", { wakeMs: null });
  w.pbx.call("alice");
  w.advance(1000);
  a.register();
  a.connect();
  a.register();
  w.advance(1000);
  expect(invitesTo(w, a).size).toBe(1);
});

test("W-05 a dead connection falls back to push, and the device is tried again when it registers", () => {
  const w = new World();
  const b = w.awake("alice", { ringMs: null });
  const call = w.pbx.call("alice");
  w.advance(300);
  b.sleep("close");
  w.advance(10);
  expect(w.push.of("call").map((order) => order.prid)).toEqual([b.prid]);
  expect(call.status).toBe(0);
  b.habits.ringMs = 20;
  w.advance(3000);
  expect(invitesTo(w, b).size).toBe(2);
  expect(call.statuses).toEqual([100, 180]);
});

test("W-06 it has no longer than the call", () => {
  const w = new World({ config: (config) => config.wake.ring_timeout = 20_000 });
  const b = w.asleep("alice");
  w.pbx.call("alice");
  w.advance(3000);
  b.sleep();
  w.advance(1000);
  const notes = w.core.silo.allRecords()[0]!.timeline.map(({ note }) => note);
  expect(notes).toContain("alice/1 has 16.995 s to come back");
});

test("W-05 W-14 what is said over a branch that was replaced ends no call", () => {
  const w = new World();
  const a = w.awake("alice", { ringMs: null, push: null });
  const call = w.pbx.call("alice");
  w.advance(100);
  a.connect();
  a.register();
  w.advance(100);
  expect(a.calls.length).toBe(2);
  a.calls[0]!.decline(600);
  w.advance(500);
  expect(call.status).toBe(0);
  a.calls[1]!.answer();
  w.advance(100);
  expect(call.status).toBe(200);
});

test("W-06 a woken phone whose connection breaks while it rings has the rest of its window to come back", () => {
  const w = new World();
  const b = w.asleep("alice");
  const call = w.pbx.call("alice");
  w.advance(3000);
  b.sleep();
  w.advance(2000);
  expect(call.status).toBe(0);
  b.habits.answerMs = 500;
  b.wake();
  w.advance(2000);
  expect(call.status).toBe(200);
  expect(w.push.of("call").length).toBe(1);
  const [record] = w.core.silo.allRecords();
  const notes = record!.timeline.map(({ note }) => note);
  expect(notes).toContain("alice/1 has 26.995 s to come back");
  expect(notes).toContain("came back");
  expect(record!.wakes.map(({ state }) => state)).toEqual(["registered"]);
});

test.each(
  [
    ["stays away: 480 at the end of its window", 3000, 30_000],
    ["left after its window: 480 at once", 40_000, 40_005],
  ] as const,
)("W-06 W-07 a woken phone whose connection breaks %s", (_, sleepsMs, endsMs) => {
  const w = new World();
  const b = w.asleep("alice");
  const call = w.pbx.call("alice");
  w.in(sleepsMs, () => b.sleep());
  w.advance(60_000);
  expect(call.finals.map(({ status }) => status)).toEqual([480]);
  expect(Math.abs(call.finalAfterMs - endsMs)).toBeLessThan(2);
});

test("W-05 a UDP device that never answered (408 made here) is tried again when it registers", () => {
  const w = new World();
  w.awake("alice"); // rings, and keeps the call open
  const b = w.awake("alice", { transport: "udp", push: null });
  b.sleep("silent");
  w.pbx.call("alice");
  w.advance(40_000);
  expect(w.openCalls("alice")[0]!.fork.branches.map((branch) => branch.status)).toEqual([180, 408]);
  b.thaw();
  w.advance(1000);
  expect(b.call.state).toBe("ringing");
});

test("W-05 a REGISTER whose connection is gone before the PBX accepts it does not end the wait", () => {
  const w = new World({ pbx: { answerMs: 200 } });
  const b = w.asleep("alice", { wakeMs: null });
  const call = w.pbx.call("alice");
  w.advance(100);
  b.wake();
  w.advance(100);
  w.net.close(b.link!);
  w.advance(1000);
  expect(call.status).toBe(0);
  b.register();
  w.advance(1000);
  expect(b.call.state).toBe("ringing");
});

test("W-21 two callers held for one AoR are both resumed by one REGISTER", () => {
  const w = new World();
  const b = w.asleep("alice", { wakeMs: 4000 });
  const calls = [w.pbx.call("alice", { from: "<sip:bob@example.org>" }), w.pbx.call("alice", { from: "<sip:eve@x>" })];
  w.advance(3000);
  expect(calls.map((call) => call.statuses)).toEqual([[100], [100]]);
  w.advance(2000);
  expect(w.pbx.accepted.length).toBe(2);
  expect(calls.map((call) => call.statuses)).toEqual([[100, 180], [100, 180]]);
  expect(b.calls.map((call) => call.invite.callId).sort()).toEqual(calls.map((call) => call.callId).sort());
});

test.each(["mirror", "contact"] as const)(
  "W-21 mode %s: a fork leg for a device that is gone rings nobody else",
  (mode) => {
    const w = new World({ config: (config) => config.pbx!.mode = mode });
    const [gone, other] = [w.awake("alice"), w.awake("alice")];
    const uris = [...w.pbx.contacts.get("alice")!];
    w.turn(() => w.core.usrloc.remove(w.core.usrloc.find(`alice@${DOMAIN}`)!.contacts[0]!, "evicted"));
    w.settle();
    // The PBX missed that it is gone.
    w.pbx.contacts.set("alice", uris);
    const calls = w.pbx.callAll("alice");
    w.advance(200);
    expect(calls.map(({ status }) => status)).toEqual([480, 0]);
    expect([gone.calls.length, other.calls.length]).toEqual([0, 1]);
    expect(w.core.silo.allRecords().map(({ outcome }) => outcome)).toContain(
      "the device that the PBX called is not registered any more (480)",
    );
  },
);

test("R-07 an id of another installation in mode aor is a call for the user all the same", () => {
  const w = new World();
  const a = w.awake("alice");
  w.pbx.invite(`sip:alice@10.0.0.5:5060;lf=0123456789abcdef01`, "alice");
  w.advance(200);
  expect(a.call.state).toBe("ringing");
});

test("W-21 in mirror mode each fork leg of the PBX reaches its own device only", () => {
  const w = new World({ config: (config) => config.pbx!.mode = "mirror" });
  const a = w.awake("alice");
  const b = w.asleep("alice", { wakeMs: 1000 });
  const legs = w.pbx.callAll("alice");
  expect(legs.length).toBe(2);
  w.advance(5000);
  expect([invitesTo(w, a).size, invitesTo(w, b).size]).toEqual([1, 1]);
  expect(w.push.of("call").map((order) => order.prid)).toEqual([b.prid]);
  expect(legs.map((leg) => leg.statuses)).toEqual([[100, 180], [100, 180]]);
  a.register();
  w.advance(1000);
  expect([invitesTo(w, a).size, invitesTo(w, b).size]).toEqual([1, 1]);
});
