import { describe, expect, test } from "bun:test";
import { contactsOf, register, registered, Rig, statusLine, type TestFlow } from "./rig.ts";

const ALICE = "alice@example.org";
const BOB = "bob@example.org";

const token = (user: string, prid = "X") => [`<sip:${user}@192.0.2.7;pn-provider=acme;pn-param=p;pn-prid=${prid}>`];

/** Every way a REGISTER is accepted: the three modes with a PBX, and registrar mode. */
const MODES = ["aor", "contact", "mirror", "registrar"] as const;

function rigOf(mode: (typeof MODES)[number]): Rig {
  return mode === "registrar" ? new Rig({ pbx: false, trust: ["0.0.0.0/0"] }) : new Rig({ pbx: { mode } });
}

let callCount = 0;

function accept(rig: Rig, flow: TestFlow, user: string, contacts = token(user)): void {
  const text = { user, contacts, callId: `c${++callCount}` };
  if (rig.core.mid !== null) return void registered(rig, flow, text);
  rig.receive(flow, register(flow, text));
  expect(statusLine(rig.one(flow))).toBe("SIP/2.0 200 OK");
}

const tokenState = (rig: Rig, aor: string) =>
  rig.core.usrloc.find(aor)?.contacts.map((contact) => contact.push?.tokenState) ?? [];

const moved = (rig: Rig) => rig.events.filter(({ type }) => type === "token_moved");

describe.each(MODES)("R-20 one token in two AoRs, %s", (mode) => {
  test("R-20 a live binding of another AoR stays as it is, over a connection and over UDP, heard of or silent", () => {
    for (const [transport, silentMs] of [["tcp", 0], ["tcp", 300_000], ["udp", 0], ["udp", 300_000]] as const) {
      const rig = rigOf(mode);
      const phone = rig.phone("192.0.2.7", 4001, transport);
      accept(rig, phone, "alice");
      rig.pass(silentMs);
      rig.take(rig.pbx);
      accept(rig, rig.phone("203.0.113.9", 4002, "tcp"), "bob");
      accept(rig, rig.phone("203.0.113.9", 4003), "carol");
      const what = `${transport} silent for ${silentMs} ms`;
      expect([what, contactsOf(rig), tokenState(rig, ALICE)]).toEqual([what, [
        "sip:alice@192.0.2.7;pn-provider=acme;pn-param=p;pn-prid=X",
      ], ["unknown"]]);
      expect([what, rig.core.usrloc.find(ALICE)!.contacts[0]!.flow]).toEqual([what, phone]);
      expect([what, moved(rig), rig.take(rig.pbx)]).toEqual([what, [], []]);
    }
  });

  test("R-20 an app with a connection for each of its accounts keeps them all, refresh after refresh", () => {
    const rig = rigOf(mode);
    const flows = ["alice", "bob", "carol"].map((user, n) => [user, rig.phone("192.0.2.7", 4001 + n, "tcp")] as const);
    for (let round = 0; round < 3; round++) {
      for (const [user, flow] of flows) accept(rig, flow, user);
      rig.pass(20_000);
    }
    for (const [user] of flows) expect([user, tokenState(rig, `${user}@example.org`)]).toEqual([user, ["unknown"]]);
    // Asleep, and awake again one after the other.
    for (const [, flow] of flows) rig.close(flow);
    flows.forEach(([user], n) => accept(rig, rig.phone("192.0.2.7", 4101 + n, "tcp"), user));
    for (const [user] of flows) expect([user, tokenState(rig, `${user}@example.org`)]).toEqual([user, ["unknown"]]);
  });

  test("R-20 of a lost binding the push alone is taken, and that is told; the binding and the PBX's stay", () => {
    const rig = rigOf(mode);
    const phone = rig.phone("192.0.2.7", 4001, "tcp");
    accept(rig, phone, "alice");
    rig.close(phone);
    rig.take(rig.pbx);
    rig.logged.length = 0;
    accept(rig, rig.phone("192.0.2.7", 4002, "tcp"), "bob");
    expect(contactsOf(rig)).toHaveLength(1);
    expect([tokenState(rig, ALICE), tokenState(rig, BOB)]).toEqual([["moved"], ["unknown"]]);
    expect(rig.take(rig.pbx)).toEqual([]);
    const device = rig.core.usrloc.find(ALICE)!.contacts[0]!.id;
    expect(moved(rig)).toEqual([{ type: "token_moved", aor: ALICE, device, to: BOB }]);
    expect(rig.logged.filter(({ level }) => level === "info").map(({ message, fields }) => [message, fields.aor]))
      .toContainEqual([`Its push token is ${BOB}'s now: the app registered as another user`, ALICE]);
    expect(rig.outlookOf(rig.core.usrloc.find(ALICE)!.contacts[0]!)).toMatchObject({
      refreshedBy: "phone",
      phone: { by: "phone", lastFailure: "its push token is another AoR's now" },
    });
  });

  test("R-20 its own phone brings the token back by registering again", () => {
    const rig = rigOf(mode);
    const phone = rig.phone("192.0.2.7", 4001, "tcp");
    accept(rig, phone, "alice");
    rig.close(phone);
    const other = rig.phone("192.0.2.7", 4002, "tcp");
    accept(rig, other, "bob");
    accept(rig, rig.phone("192.0.2.7", 4003, "tcp"), "alice");
    expect([tokenState(rig, ALICE), tokenState(rig, BOB)]).toEqual([["unknown"], ["unknown"]]);
    expect(contactsOf(rig)).toHaveLength(1);
  });
});

test("R-20 nothing is taken of an AoR's own devices, of another provider or parameter, or of a token set by hand", () => {
  const rig = new Rig();
  const first = rig.phone("192.0.2.7", 4001, "tcp");
  registered(rig, first, {
    user: "alice",
    contacts: ['<sip:a@192.0.2.7;pn-provider=acme;pn-param=p;pn-prid=X>;+sip.instance="<urn:1>"'],
  });
  rig.close(first);
  const device = rig.core.usrloc.find(ALICE)!.contacts[0]!;
  accept(rig, rig.phone("192.0.2.8", 1, "tcp"), "alice", [
    '<sip:b@192.0.2.8;pn-provider=acme;pn-param=p;pn-prid=X>;+sip.instance="<urn:2>"',
  ]);
  accept(rig, rig.phone("192.0.2.8", 2, "tcp"), "bob", [token("bob")[0]!.replace("acme", "fcm")]);
  accept(rig, rig.phone("192.0.2.8", 3, "tcp"), "carol", [token("carol")[0]!.replace("=p;", "=q;")]);
  expect(moved(rig)).toEqual([]);
  const lost = rig.phone("192.0.2.9", 4, "tcp");
  accept(rig, lost, "dave", token("dave", "Y"));
  rig.close(lost);
  const dave = rig.core.usrloc.find("dave@example.org")!.contacts[0]!;
  dave.push!.isByHand = true;
  accept(rig, rig.phone("192.0.2.8", 5, "tcp"), "erin", token("erin", "Y"));
  expect([dave.push!.tokenState, moved(rig)]).toEqual(["unknown", []]);
  expect(device.aor.key).toBe(ALICE);
});

test("R-20 P-04 a verdict about a push that was under way does not give the token back, nor does its death end the binding", () => {
  for (const outcome of ["accepted", "dead"] as const) {
    const rig = new Rig();
    const phone = rig.phone("192.0.2.7", 4001, "tcp");
    accept(rig, phone, "alice");
    rig.close(phone);
    const { id } = rig.core.usrloc.find(ALICE)!.contacts[0]!;
    accept(rig, rig.phone("192.0.2.7", 4002, "tcp"), "bob");
    rig.pass(1000);
    rig.core.pushResult({ uuid: "u", outcome, status: 200, reason: "", ms: 1 }, id, "X", rig.clock.nowMs);
    expect([outcome, tokenState(rig, ALICE), contactsOf(rig).length]).toEqual([outcome, ["moved"], 1]);
  }
});
