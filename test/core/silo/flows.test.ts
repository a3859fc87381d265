/** a phone with several flows (RFC 5626) is one device in a call, asked over one of them at a time. */
import { describe, expect, test } from "bun:test";
import { appendDevice } from "../../../src/core/silo/by_hand.ts";
import { parseMessage } from "../../../src/core/sip/message.ts";
import type { Link } from "../../sim/net.ts";
import type { Phone, PhoneOptions } from "../../sim/phone.ts";
import { World } from "../../sim/world.ts";

const INSTANCE = "urn:uuid:one-phone";

/** The two flows of one phone, the older one first; each is a phone of its own to the simulation. */
function flows(w: World, options: PhoneOptions = {}): [Phone, Phone] {
  const push = options.push === null ? null : { provider: "acme", prid: "token-of-both" };
  const one = w.awake("alice", { ...options, instance: INSTANCE, regId: 1, push });
  w.advance(1000);
  const two = w.awake("alice", { ...options, instance: INSTANCE, regId: 2, push });
  return [one, two];
}

/** INVITEs (by branch) that left over each of the flows. */
function invites(w: World, phones: readonly Phone[]): number[] {
  return phones.map((phone) => new Set(w.sent(phone, "INVITE").map((text) => parseMessage(text).via!.branch)).size);
}

const notes = (w: World) => w.core.silo.allRecords()[0]!.timeline.map(({ note }) => note).filter(Boolean);

describe("R-15 a call to a phone with several flows", () => {
  test("R-15 rings over the newest live one alone", () => {
    const w = new World();
    const both = flows(w);
    w.pbx.call("alice");
    w.advance(1000);
    expect(invites(w, both)).toEqual([0, 1]);
    const [record] = w.core.silo.allRecords();
    expect(record!.parties).toEqual(["PBX", "latefork", "alice/1"]);
    // A refresh makes the other one the newest.
    w.pbx.calls[0]!.cancel();
    w.advance(1000);
    both[0].register();
    w.settle();
    w.pbx.call("alice");
    w.advance(1000);
    expect(invites(w, both)).toEqual([1, 1]);
  });

  test("R-15 over the one that is live, where the newest is closed, and without a push", () => {
    const w = new World();
    const [one, two] = flows(w);
    two.sleep();
    w.settle();
    w.pbx.call("alice");
    w.advance(1000);
    expect(invites(w, [one, two])).toEqual([1, 0]);
    expect(w.push.orders).toEqual([]);
  });

  test("R-15 over a live one before a silent one, which is newer", () => {
    const w = new World({ config: (config) => config.wake.idle = 20_000 });
    const [one, two] = flows(w, { transport: "udp" });
    w.advance(19_500);
    one.register();
    w.settle();
    two.register();
    w.settle();
    w.advance(15_000);
    const contacts = w.core.usrloc.find("alice@pbx.example.org")!.contacts;
    // Heard of without a REGISTER, as by a keepalive.
    (contacts[0]!.flow as Link).lastHeardMs = w.nowMs + 6000;
    w.advance(6000);
    w.pbx.call("alice");
    w.advance(100);
    expect(invites(w, [one, two])).toEqual([1, 0]);
  });

  test("R-15 the next one is asked when the connection closes under the INVITE, and no push is sent", () => {
    const w = new World();
    const [one, two] = flows(w, { ringMs: null });
    w.pbx.call("alice");
    w.advance(500);
    two.sleep("close");
    w.advance(500);
    expect(invites(w, [one, two])).toEqual([1, 1]);
    expect(w.push.orders).toEqual([]);
    one.call.answer();
    w.advance(100);
    expect(w.pbx.calls[0]!.status).toBe(200);
  });

  test("R-15 the next one is asked when nothing is heard until Timer B", () => {
    const w = new World();
    const [one, two] = flows(w, { ringMs: null, transport: "udp", push: null });
    two.sleep("silent");
    one.register();
    one.habits.answerMs = 100;
    w.settle();
    two.register(); // lost: the phone is gone
    w.pbx.call("alice");
    w.advance(100);
    expect(invites(w, [one, two]).reduce((a, b) => a + b)).toBe(1);
    w.advance(33_000);
    expect(w.pbx.calls[0]!.status).toBe(200);
  });

  test("R-15 W-07 when all of them fail, the phone is pushed; when it has no token, the call ends at once", () => {
    for (const isPushable of [true, false]) {
      const w = new World();
      const both = flows(w, { ringMs: null, wakeMs: null, push: isPushable ? undefined : null });
      w.pbx.call("alice");
      w.advance(200);
      both[1].sleep("close");
      w.advance(200);
      both[0].sleep("close");
      w.advance(200);
      expect([isPushable, ...invites(w, both)]).toEqual([isPushable, 1, 1]);
      expect(w.push.of("call").length).toBe(isPushable ? 1 : 0);
      expect(w.pbx.calls[0]!.status).toBe(isPushable ? 0 : 480);
    }
  });

  test("R-15 W-05 a flow that takes nothing more (T-04) fails at once, and what is said over the next one counts", () => {
    const w = new World();
    const [one, two] = flows(w, { ringMs: null, push: null });
    const { send } = w.port;
    w.port.send = (flow, wire) => flow !== two.link && send.call(w.port, flow, wire);
    w.pbx.call("alice");
    w.advance(100);
    expect(invites(w, [one, two])).toEqual([1, 0]);
    one.register();
    w.settle();
    expect(notes(w)).toContain("has the INVITE");
    one.call.decline(486);
    w.advance(100);
    expect(w.pbx.calls[0]!.status).toBe(486);
  });

  test("R-15 the next one is asked also if the contact of the first was removed meanwhile", () => {
    const w = new World();
    const [one, two] = flows(w, { ringMs: null });
    w.pbx.call("alice");
    w.advance(100);
    const contacts = w.core.usrloc.find("alice@pbx.example.org")!.contacts;
    w.turn(() => w.core.usrloc.remove(contacts[1]!, "evicted"));
    two.sleep();
    w.advance(100);
    expect(invites(w, [one, two])).toEqual([1, 1]);
    expect(w.pbx.calls[0]!.status).toBe(0);
  });

  test("R-15 what the phone itself says is final: no other flow is tried", () => {
    for (const status of [486, 404, 500]) {
      const w = new World();
      const both = flows(w, { decline: { afterMs: 50, status } });
      w.pbx.call("alice");
      w.advance(1000);
      expect([status, ...invites(w, both), w.pbx.calls[0]!.status]).toEqual([status, 0, 1, status]);
    }
  });

  test("R-15 430 of an edge proxy: the next flow is tried, and the caller never sees a 430", () => {
    const w = new World();
    const [one, two] = flows(w, { decline: { afterMs: 50, status: 430 }, push: null });
    w.pbx.call("alice");
    w.advance(1000);
    expect(invites(w, [one, two])).toEqual([1, 1]);
    expect(w.pbx.calls[0]!.status).toBe(480);
    one.habits.decline = null;
    one.habits.answerMs = 100;
    w.pbx.call("alice");
    w.advance(1000);
    expect(w.pbx.calls[1]!.status).toBe(200);
  });

  test("R-15 P-07 asleep: one push, and when it wakes and registers both flows, one INVITE", () => {
    const w = new World();
    const both = flows(w, { wakeMs: 1000, answerMs: 500 });
    for (const flow of both) flow.sleep();
    w.settle();
    w.pbx.call("alice");
    w.advance(5000);
    expect(w.push.of("call").length).toBe(1);
    expect(both.map((flow) => flow.isRegistered)).toEqual([true, true]);
    expect(invites(w, both).reduce((a, b) => a + b)).toBe(1);
    expect(w.pbx.calls[0]!.status).toBe(200);
    expect(w.push.of("cancel")).toEqual([]);
  });

  test("R-15 P-06 asleep, and the call is answered elsewhere: one cancel push", () => {
    const w = new World();
    const both = flows(w, { wakeMs: null });
    for (const flow of both) flow.sleep();
    w.settle();
    w.awake("alice", { push: null, answerMs: 300 });
    w.pbx.call("alice");
    w.advance(2000);
    expect([w.push.of("call").length, w.push.of("cancel").length]).toEqual([1, 1]);
  });
});

describe("R-15 W-03 W-07 the token stands in the Contact of the other flow alone", () => {
  /** An awake flow without a token, and one with it whose connection is closed. */
  function tokenElsewhere(w: World): [Phone, Phone] {
    const one = w.awake("alice", { instance: INSTANCE, regId: 1, push: null, ringMs: null });
    w.advance(1000);
    const push = { provider: "acme", prid: "token-of-both" };
    return [one, w.asleep("alice", { instance: INSTANCE, regId: 2, push, wakeMs: null })];
  }

  test("R-15 W-03 a silent phone is pushed by it after wake.hedge", () => {
    const w = new World();
    const [one] = tokenElsewhere(w);
    w.pbx.call("alice");
    w.advance(1600);
    expect(w.push.of("call").map(({ prid }) => prid)).toEqual(["token-of-both"]);
    expect(w.sent(one, "INVITE").length).toBe(1);
  });

  test("R-15 W-07 a refusal of its push ends the wait, and stands in the ladder", () => {
    const w = new World();
    const [one] = tokenElsewhere(w);
    w.push.fate = "refuse";
    const call = w.pbx.call("alice");
    w.advance(200);
    one.sleep();
    w.advance(200);
    expect(call.status).toBe(480);
    const [record] = w.core.silo.allRecords();
    expect(record!.timeline.map(({ label }) => label)).toContain("refused 403");
  });
});

test("R-15 W-22 who answered over another flow is called by the name of its column", () => {
  const w = new World();
  const push = { provider: "acme", prid: "token-of-both" };
  w.awake("alice", { instance: INSTANCE, regId: 1, push, answerMs: 500 });
  w.advance(1000);
  const two = w.awake("alice", { instance: INSTANCE, regId: 2, push, ringMs: null });
  w.pbx.call("alice");
  w.advance(200);
  two.sleep();
  w.advance(3000);
  const [record] = w.core.silo.allRecords();
  expect(record!.outcome).toStartWith("answered by alice/1 after");
  expect(record!.branches.map(({ party }) => party)).toEqual(["alice/1", "alice/1"]);
});

test("R-15 P-04 a dead token is dead for every flow that has it: the next call pushes nobody", () => {
  const w = new World();
  for (const flow of flows(w)) flow.sleep();
  w.settle();
  w.push.fate = "dead";
  const [first, second] = [1, 2].map(() => {
    const call = w.pbx.call("alice");
    w.advance(1000);
    return call;
  });
  expect([first!.status, second!.status]).toEqual([480, 480]);
  expect(w.push.of("call").length).toBe(1);
});

test("R-15 P-04 a flow that was registered after the push keeps its token", () => {
  const w = new World();
  const [one, two] = flows(w, { wakeMs: null });
  for (const flow of [one, two]) flow.sleep();
  w.settle();
  w.push.fate = "dead";
  w.push.verdictMs = 2000;
  w.pbx.call("alice");
  w.advance(1000);
  one.wake();
  w.advance(2000);
  const contacts = w.core.usrloc.find("alice@pbx.example.org")!.contacts;
  expect(contacts.map(({ regId, push }) => [regId, push!.tokenState])).toEqual([[1, "unknown"]]);
});

describe("R-15 W-05 a flow is registered while another one has the INVITE", () => {
  test("R-15 it stays with the first, and the hedge goes on", () => {
    const w = new World();
    const [one, two] = flows(w, { ringMs: null, wakeMs: null });
    w.pbx.call("alice");
    w.advance(100);
    one.register();
    w.settle();
    expect(invites(w, [one, two])).toEqual([0, 1]);
    expect(notes(w)).toContain("has the INVITE over another flow");
    w.advance(2000);
    // Nothing was heard over the flow of the INVITE: W-03.
    expect(w.push.of("call").length).toBe(1);
  });

  test("R-15 it takes over once the phone was pushed because the first is silent", () => {
    const w = new World();
    const [one, two] = flows(w, { ringMs: null, wakeMs: null });
    w.pbx.call("alice");
    w.advance(2000);
    expect(w.push.of("call").length).toBe(1);
    one.register();
    w.settle();
    expect(invites(w, [one, two])).toEqual([1, 1]);
    const [call] = w.openCalls("alice");
    expect(call!.fork.branches.filter((branch) => branch.isLive).length).toBe(1);
  });

  test("R-15 a desk phone without a token too, after the time of the hedge", () => {
    const w = new World();
    const [one, two] = flows(w, { ringMs: null, push: null });
    w.pbx.call("alice");
    w.advance(1400);
    one.register();
    w.settle();
    expect(invites(w, [one, two])).toEqual([0, 1]);
    w.advance(200);
    one.register();
    w.settle();
    expect(invites(w, [one, two])).toEqual([1, 1]);
  });

  test("R-15 it stays with a phone that is trying, ringing, or has said no", () => {
    for (
      const habits of [
        { tries: true, ringMs: null },
        { ringMs: 20 },
        { decline: { afterMs: 20, status: 486 } },
        { decline: { afterMs: 20, status: 500 } },
      ]
    ) {
      const w = new World();
      const [one, two] = flows(w, habits);
      w.awake("alice", { push: null });
      w.pbx.call("alice");
      w.advance(3000);
      one.register();
      w.settle();
      expect([habits, ...invites(w, [one, two])]).toEqual([habits, 0, 1]);
    }
  });

  test("R-15 W-18 by hand: a second branch to the same phone is not made", () => {
    const w = new World();
    const both = flows(w);
    w.pbx.call("alice");
    w.advance(100);
    const aor = w.core.usrloc.find("alice@pbx.example.org")!;
    expect(w.turn(() => w.core.silo.appendAll(aor))).toEqual({ calls: 1, branches: 0 });
    for (const contact of aor.contacts) {
      expect(w.turn(() => appendDevice(w.openCalls("alice")[0]!, contact))).toBe(false);
    }
    expect(invites(w, both)).toEqual([0, 1]);
  });
});

describe("R-15 W-07 a flow leaves while the phone is being woken", () => {
  test("R-15 the wake goes on for the sake of the other, and ends with it", () => {
    const w = new World();
    const both = flows(w, { wakeMs: null });
    for (const flow of both) flow.sleep();
    w.settle();
    w.pbx.call("alice");
    w.advance(100);
    const [one, two] = w.core.usrloc.find("alice@pbx.example.org")!.contacts;
    w.turn(() => w.core.usrloc.remove(two!, "control"));
    expect(w.openCalls("alice")[0]!.isHeld).toBe(true);
    w.turn(() => w.core.usrloc.remove(one!, "control"));
    w.advance(200);
    expect(w.pbx.calls[0]!.status).toBe(480);
  });

  test("R-15 the hedge of a phone whose flow was de-registered pushes it all the same", () => {
    const w = new World();
    const [one, two] = flows(w, { ringMs: null, wakeMs: null });
    w.pbx.call("alice");
    w.advance(100);
    const contacts = w.core.usrloc.find("alice@pbx.example.org")!.contacts;
    expect([one.number, two.number]).toEqual([1, 2]);
    w.turn(() => w.core.usrloc.remove(contacts[1]!, "control"));
    w.advance(2000);
    expect(w.push.of("call").map(({ device }) => device)).toEqual([contacts[0]!.id]);
  });
});

describe("R-15 requests that are no calls", () => {
  test("R-15 BYE finds the phone over its other flow, once the one of the call is closed", () => {
    const w = new World();
    const [one, two] = flows(w, { answerMs: 100 });
    const call = w.pbx.call("alice");
    w.advance(1000);
    expect(two.call.state).toBe("confirmed");
    two.sleep("close");
    w.settle();
    call.hangUp();
    w.advance(1000);
    expect(w.sent(one, "BYE").length).toBe(1);
  });
});
