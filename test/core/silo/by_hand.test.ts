/** W-18, W-20: calls changed through the control port, and their limits. */
import { expect, test } from "bun:test";
import { appendAddress, appendDevice, removeBranch } from "../../../src/core/silo/by_hand.ts";
import { MAX_DEVICES } from "../../../src/core/silo/settings.ts";
import { DOMAIN } from "../../sim/pbx.ts";
import { World } from "../../sim/world.ts";

const ALICE = `alice@${DOMAIN}`;

test("W-18 a call is listed, and one more device is added to it by hand", () => {
  const w = new World({ config: (config) => config.pbx!.mode = "mirror" });
  const a = w.awake("alice");
  const other = w.awake("alice");
  // The PBX called one device only: the other one is added by hand.
  const call = w.pbx.call("alice");
  w.advance(100);
  const [open] = w.openCalls("alice");
  expect(w.core.silo.openByAor().get(ALICE)!.map((held) => held.record.callId)).toEqual([call.callId]);
  const contact = w.core.usrloc.find(ALICE)!.contacts[1]!;
  expect(w.turn(() => appendDevice(open!, contact))).toBe(true);
  expect(w.turn(() => appendDevice(open!, contact))).toBe(false);
  w.advance(100);
  expect([a.call.state, other.call.state]).toEqual(["ringing", "ringing"]);
});

test("W-18 a branch to an address of one's own choice joins, and its dialog finds back", () => {
  const w = new World();
  w.asleep("alice", { wakeMs: null });
  const call = w.pbx.call("alice");
  const door = w.phone("door", { transport: "udp", push: null, answerMs: 300 });
  const link = door.connect();
  w.advance(100);
  const [open] = w.openCalls("alice");
  const token = w.core.dialogs.addressToken(link, call.callId);
  w.turn(() => appendAddress(open!, "sip:door@192.0.2.99", link, token));
  w.advance(1000);
  expect(door.call.state).toBe("confirmed");
  call.hangUp();
  w.advance(100);
  expect(door.call.state).toBe("ended");
});

test("W-18 an append to all calls of an AoR adds every live device once", () => {
  const w = new World();
  w.asleep("alice", { wakeMs: null });
  w.pbx.call("alice");
  w.pbx.call("alice");
  w.advance(100);
  const append = () => w.turn(() => w.core.silo.appendAll(w.core.usrloc.find(ALICE)!));
  expect(append()).toEqual({ calls: 2, branches: 0 });
  const b = w.awake("alice");
  expect(append()).toEqual({ calls: 2, branches: 0 });
  expect(b.calls.length).toBe(2);
});

test("W-18 a branch is taken out of a call, and the call goes on without it", () => {
  const w = new World();
  const phones = [w.awake("alice"), w.awake("alice")];
  const call = w.pbx.call("alice");
  w.advance(100);
  const [open] = w.openCalls("alice");
  expect(w.turn(() => removeBranch(open!, 1))).toBe(true);
  expect(w.turn(() => removeBranch(open!, 1))).toBe(false);
  expect(w.turn(() => removeBranch(open!, 9))).toBe(false);
  w.advance(100);
  expect(phones.map((phone) => phone.call.state)).toEqual(["cancelled", "ringing"]);
  expect(call.status).toBe(0);
  w.turn(() => removeBranch(open!, 2));
  w.advance(200);
  expect(call.finals.map((final) => final.status)).toEqual([480]);
});

test("W-18 W-03 a device that was taken out is not pushed when its hedge would be due", () => {
  const w = new World();
  w.awake("alice", { ringMs: null });
  w.awake("alice");
  w.pbx.call("alice");
  w.advance(100);
  w.turn(() => removeBranch(w.openCalls("alice")[0]!, 1));
  w.advance(5000);
  expect(w.push.orders).toEqual([]);
});

test("W-18 P-06 a device that is taken out while it is woken is waited for no longer, and told so", () => {
  const w = new World();
  const a = w.awake("alice", { transport: "udp", wakeMs: null });
  a.sleep();
  w.advance(100_000);
  const call = w.pbx.call("alice");
  w.advance(1000);
  w.turn(() => removeBranch(w.openCalls("alice")[0]!, 1));
  w.advance(100);
  expect(call.status).toBe(480);
  expect(w.push.of("cancel").map(({ prid }) => prid)).toEqual([a.prid]);
  const [record] = w.core.silo.allRecords();
  expect(record!.wakes.map(({ state, reason }) => [state, reason])).toEqual([["cancelled", "removed by hand"]]);
});

test("W-18 P-06 one with a VoIP token is not told: iOS would show the call once more", () => {
  const w = new World();
  const push = { provider: "apns", param: "T.org.example.voip" };
  const a = w.awake("alice", { transport: "udp", wakeMs: null, push });
  a.sleep();
  w.advance(100_000);
  w.pbx.call("alice");
  w.advance(1000);
  w.turn(() => removeBranch(w.openCalls("alice")[0]!, 1));
  w.advance(1000);
  expect(w.push.orders.map(({ order }) => order.event)).toEqual(["call"]);
});

test("W-18 W-05 a device that declined gets no branch by hand", () => {
  const w = new World();
  w.awake("alice", { decline: { afterMs: 20, status: 486 } });
  w.awake("alice");
  w.pbx.call("alice");
  w.advance(100);
  const aor = w.core.usrloc.find(ALICE)!;
  expect(w.turn(() => appendDevice(w.openCalls("alice")[0]!, aor.contacts[0]!))).toBe(false);
  expect(w.turn(() => w.core.silo.appendAll(aor))).toEqual({ calls: 1, branches: 0 });
});

test("W-18 a call is ended by hand: its phones stop ringing, its wakes end", () => {
  const w = new World();
  const a = w.awake("alice");
  const b = w.asleep("alice", { wakeMs: null });
  const call = w.pbx.call("alice");
  w.advance(1000);
  w.turn(() => w.openCalls("alice")[0]!.end("Ended by the administrator"));
  w.advance(200);
  expect(call.finals.map((final) => final.status)).toEqual([480]);
  expect(a.call.state).toBe("cancelled");
  expect(w.push.of("cancel").map((order) => order.prid)).toEqual([b.prid]);
  expect(w.core.silo.allRecords()[0]!.outcome).toContain("Ended by the administrator");
});

test("W-18 nothing is added to a call that is ending", () => {
  const w = new World();
  const a = w.awake("alice");
  const call = w.pbx.call("alice");
  w.advance(1000);
  a.sleep("silent");
  call.cancel();
  w.advance(50);
  const [open] = w.openCalls("alice");
  expect(call.status).toBe(0);
  const door = w.phone("door", { transport: "udp", push: null });
  const link = door.connect();
  w.turn(() => appendAddress(open!, "sip:door@192.0.2.99", link, w.core.dialogs.addressToken(link, call.callId)));
  w.turn(() => open!.end("too late"));
  w.advance(1000);
  expect(door.calls.length).toBe(0);
  expect(call.finals.map((final) => final.status)).toEqual([487]);
  expect(w.core.silo.allRecords()[0]!.outcome).toContain("caller gave up");
});

test("W-20 too many open calls: 503 with Retry-After and a metric", () => {
  const w = new World({ config: (config) => config.limits.calls = 2 });
  w.asleep("alice", { wakeMs: null });
  const calls = [1, 2, 3].map(() => w.pbx.call("alice"));
  w.advance(100);
  expect(calls.map((call) => call.status)).toEqual([0, 0, 503]);
  expect(Number(calls[2]!.finals[0]!.message.valueOf("retry-after"))).toBeGreaterThan(0);
  expect(w.port.counters.get("rejected_total:calls_limit")).toBe(1);
  calls[0]!.cancel();
  w.advance(100);
  const next = w.pbx.call("alice");
  w.advance(100);
  expect(next.status).toBe(0);
});

test("W-20 too many calls for one AoR: 486 and a metric; another AoR is not concerned", () => {
  const w = new World({ config: (config) => config.limits.calls_per_aor = 2 });
  w.asleep("alice", { wakeMs: null });
  w.asleep("carol", { wakeMs: null });
  const calls = [1, 2, 3].map(() => w.pbx.call("alice"));
  const other = w.pbx.call("carol");
  w.advance(100);
  expect([...calls, other].map((call) => call.status)).toEqual([0, 0, 486, 0]);
  expect(w.port.counters.get("rejected_total:calls_per_aor_limit")).toBe(1);
});

test("W-20 a call forks to 32 devices at most, and a failed branch frees its place", () => {
  const w = new World({ config: (config) => config.registration.max_contacts = 100 });
  const phones = Array.from({ length: MAX_DEVICES + 2 }, () => w.awake("alice", { push: null }));
  w.pbx.call("alice");
  w.advance(100);
  const invited = () => phones.filter((phone) => phone.calls.length > 0).length;
  expect(invited()).toBe(MAX_DEVICES);
  expect(w.port.counters.get("rejected_total:devices_per_call_limit")).toBe(2);
  const notes = w.core.silo.allRecords()[0]!.timeline.map(({ note }) => note ?? "");
  expect(notes.filter((note) => note.endsWith("is not asked: 32 are already")).length).toBe(2);
  const last = phones.at(-1)!;
  last.register();
  w.advance(100);
  expect(last.calls.length).toBe(0);
  phones[0]!.call.decline(486);
  w.advance(100);
  last.register();
  w.advance(100);
  expect(last.call.state).toBe("ringing");
  expect(invited()).toBe(MAX_DEVICES + 1);
});
