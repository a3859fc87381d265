/** W-05 a phone that comes back as another Contact: what was sent to the old one is nobody's. */
import { describe, expect, test } from "bun:test";
import { World } from "../../sim/world.ts";

/** A UDP phone that was silent for longer than `wake.idle`: it gets INVITE and push at once. */
function silent(w: World) {
  const phone = w.asleep("alice", { transport: "udp", wakeMs: null, answerMs: 300 });
  w.advance(91_000);
  return phone;
}

const labels = (w: World) => w.core.silo.allRecords()[0]!.timeline.map(({ label, note }) => label ?? note);

describe.each([
  ["before a repetition of the INVITE reached it", 100],
  ["behind its 404 to the old INVITE", 900],
])("W-05 a changed Contact on the same flow, %s", (_when, registerMs) => {
  test("W-05 is a new phone for the call: it gets the INVITE, and its 404 ends nothing", () => {
    const w = new World({ config: (config) => config.wake.single_answer = true });
    const phone = silent(w);
    const call = w.pbx.call("alice");
    w.advance(registerMs);
    const port = phone.link!.remotePort;
    // Its stack is up before its registration: it says 404 to what still comes for the old Contact.
    phone.link!.isUp = true;
    phone.isAsleep = false;
    phone.contactUser = "alice-anew";
    w.advance(registerMs === 900 ? 800 : 0);
    phone.restart();
    w.advance(5000);
    expect(phone.link!.remotePort).toBe(port);
    expect(call.finals.map(({ status }) => status)).toEqual([200]);
    expect(phone.call.invite.uri!.user).toBe(phone.contactUser);
    expect(phone.call.state).toBe("confirmed");
    expect(labels(w)).toContain("INVITE (late)");
    w.advance(100_000);
    expect(Object.values(w.dust()).every((left) => left === 0)).toBe(true);
  });
});

test("W-05 it rang, and started anew as another Contact: the new one rings, the old one is cancelled", () => {
  const w = new World();
  const phone = w.awake("alice", { transport: "udp" });
  const call = w.pbx.call("alice");
  w.advance(1000);
  expect(phone.call.state).toBe("ringing");
  phone.restart();
  phone.habits.answerMs = 500;
  w.advance(3000);
  expect(phone.calls.length).toBe(2);
  expect(phone.call.state).toBe("confirmed");
  expect(call.finals.map(({ status }) => status)).toEqual([200]);
});

test("W-05 it declined: as another Contact it is still the phone that declined", () => {
  const w = new World();
  const phone = w.awake("alice", { transport: "udp", decline: { afterMs: 200, status: 486 } });
  w.awake("alice");
  w.pbx.call("alice");
  w.advance(1000);
  phone.restart();
  w.advance(1000);
  expect(phone.calls.length).toBe(1);
});

test.each(["udp", "tcp"] as const)(
  "W-05 another host or port in the Contact, over the flow that has the INVITE, is the same phone (%s)",
  (transport) => {
    const w = new World();
    const phone = w.awake("alice", { transport });
    const call = w.pbx.call("alice");
    w.advance(1000);
    // What it learned from rport: its public address, in the middle of the ringing.
    phone.sentBy = () => "192.0.2.1:20001";
    phone.register();
    w.advance(1000);
    expect([phone.calls.length, phone.call.state, call.status]).toEqual([1, "ringing", 0]);
  },
);

test("W-05 a burst of REGISTERs of the new Contact gives one INVITE", () => {
  const w = new World();
  const phone = silent(w);
  w.pbx.call("alice");
  w.advance(100);
  phone.restart();
  for (let i = 0; i < 4; i++) phone.register();
  w.advance(2000);
  expect(phone.calls.map(({ invite }) => invite.uri!.user)).toEqual([phone.contactUser]);
});
