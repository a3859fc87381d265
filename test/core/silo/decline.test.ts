/** W-14 to W-16: who may end a call by declining, and which response the caller gets. */
import { expect, test } from "bun:test";
import { bestOutcome } from "../../../src/core/proxy/best.ts";
import { World } from "../../sim/world.ts";

const policies: ["device" | "all", number, boolean][] = [
  ["device", 486, false],
  ["device", 603, false],
  ["device", 480, false],
  ["device", 600, true],
  ["device", 607, true],
  ["all", 486, false],
  ["all", 603, true],
  ["all", 600, true],
];
test.each(policies)("W-14 decline %s: a %i from one device ends the call: %p", (decline, status, isEnd) => {
  const w = new World({ config: (config) => config.wake.decline = decline });
  const ringing = w.awake("alice");
  w.awake("alice", { decline: { afterMs: 500, status } });
  const waking = w.asleep("alice", { wakeMs: 3000 });
  const call = w.pbx.call("alice");
  w.advance(1000);
  expect(call.finals.map((final) => final.status)).toEqual(isEnd ? [status] : []);
  expect(ringing.call.state).toBe(isEnd ? "cancelled" : "ringing");
  w.advance(5000);
  // After the end no late branch is added.
  expect(waking.calls.length).toBe(isEnd ? 0 : 1);
  expect(w.push.of("cancel").map((order) => order.reason)).toEqual(isEnd ? ["declined"] : []);
  expect(w.core.silo.allRecords()[0]!.result).toBe(isEnd ? "declined" : "");
});

test("W-14 a 6xx ends the call within 100 ms although another phone does not answer its CANCEL", () => {
  const w = new World();
  const deaf = w.awake("alice");
  w.awake("alice", { decline: { afterMs: 500, status: 600 } });
  const call = w.pbx.call("alice");
  w.advance(400);
  deaf.sleep("silent");
  w.advance(300);
  expect(call.finals.map((final) => final.status)).toEqual([600]);
});

const best: [number[], number][] = [
  [[486, 480], 486],
  [[480, 486], 486],
  [[404, 486], 486],
  [[503, 486], 486],
  [[500, 404], 404],
  [[302, 486], 302],
  [[603, 486], 603],
  [[486, 603], 603],
  [[415, 486], 415],
  [[401, 486], 401],
  [[503], 500],
];
test.each(best)("W-15 of %p the caller gets %i", (statuses, expected) => {
  const w = new World();
  for (const [i, status] of statuses.entries()) w.awake("alice", { decline: { afterMs: 100 + i * 100, status } });
  const call = w.pbx.call("alice");
  w.advance(5000);
  expect(call.finals.map((final) => final.status)).toEqual([expected]);
  expect(w.core.silo.allRecords()[0]!.status).toBe(expected);
});

test("W-15 a 408 or 503 made here never beats a phone's own word", () => {
  for (const own of [408, 477, 503]) {
    for (const status of [300, 404, 480, 486, 500, 504, 603]) {
      const local = { status: own, response: null };
      const real = { status, response: {} as never };
      expect([bestOutcome([local, real]), bestOutcome([real, local])]).toEqual([real, real]);
    }
  }
  const w = new World();
  const gone = w.awake("alice", { transport: "udp", push: null });
  gone.sleep("silent");
  w.awake("alice", { decline: { afterMs: 500, status: 500 } });
  const call = w.pbx.call("alice");
  w.advance(40_000);
  expect(call.finals.map((final) => final.status)).toEqual([500]);
});

test("W-15 a phone whose connection breaks is 480, never our own 503", () => {
  const w = new World();
  const a = w.awake("alice", { push: null });
  const call = w.pbx.call("alice");
  w.advance(500);
  a.sleep("close");
  w.advance(100);
  expect(call.finals.map((final) => final.status)).toEqual([480]);
});

test("W-15 the challenges of all branches go along", () => {
  const w = new World();
  const phones = [w.awake("alice", { ringMs: null }), w.awake("alice", { ringMs: null })];
  const call = w.pbx.call("alice");
  w.advance(100);
  phones[0]!.call.decline(401, 'WWW-Authenticate: Digest realm="one", nonce="1"\r\n');
  phones[1]!.call.decline(407, 'Proxy-Authenticate: Digest realm="two", nonce="2"\r\n');
  w.advance(100);
  expect(call.status).toBe(401);
  const { message } = call.finals[0]!;
  expect(message.valueOf("www-authenticate")).toBe('Digest realm="one", nonce="1"');
  expect(message.valueOf("proxy-authenticate")).toBe('Digest realm="two", nonce="2"');
});

test("W-16 early media of every phone passes (early_media: all is what this version has)", () => {
  const w = new World({ config: (config) => config.wake.early_media = "all" });
  const phones = [w.awake("alice", { ringMs: null }), w.awake("alice", { ringMs: null })];
  const call = w.pbx.call("alice");
  w.advance(100);
  for (const phone of phones) {
    phone.call.incoming.respond(183, phone.contactLine(phone.link!) + "Content-Type: application/sdp\r\n", "v=0\r\n");
  }
  w.advance(100);
  const early = call.responses.filter((response) => response.status === 183);
  expect(early.map((response) => response.body)).toEqual(["v=0\r\n", "v=0\r\n"]);
  expect(new Set(early.map((response) => response.to.tag)).size).toBe(2);
});

test("RFC 3261 §16.8 a phone that rings beyond Timer C is cancelled, and a straggling 1xx does not revive it", () => {
  const w = new World({ config: (config) => config.wake.ring_timeout = 600_000 });
  const a = w.awake("alice", { push: null });
  const call = w.pbx.call("alice");
  w.advance(186_000);
  expect(a.call.state).toBe("cancelled");
  expect(call.finals.map((final) => final.status)).toEqual([408]);
});

test("RFC 3261 §16.8 after Timer C a straggling 1xx does not bring the branch back: the call ends with the others", () => {
  const w = new World({ config: (config) => config.wake.ring_timeout = 600_000 });
  const deaf = w.awake("alice", { push: null });
  const other = w.awake("alice", { push: null });
  const call = w.pbx.call("alice");
  w.advance(100_000);
  other.call.incoming.respond(180); // its Timer C begins anew
  deaf.isAsleep = true; // the CANCEL does not get through
  w.advance(86_000);
  expect(w.openCalls("alice")[0]!.fork.branches.map((branch) => branch.state)).toEqual(["failed", "ringing"]);
  deaf.isAsleep = false;
  deaf.call.incoming.respond(180);
  w.advance(100_000);
  expect(call.finals.map((final) => final.status)).toEqual([408]);
});
