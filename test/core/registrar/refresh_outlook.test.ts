import { expect, test } from "bun:test";
import { accepted, answer, headers, register, registered, Rig, type RigOptions } from "./rig.ts";

const AOR = "alice@example.org";
const PUSHABLE = "<sip:alice@192.0.2.7:5060;pn-provider=acme;pn-prid=tok>";
const CREDENTIALS = { credentials: new Map([["alice", { username: "alice", password: "wonder", ha1s: [] }]]) };

function asleep(options: RigOptions, contact = PUSHABLE): Rig {
  const rig = new Rig(options);
  const phone = rig.phone("192.0.2.7", 40_000, "tcp");
  registered(rig, phone, { contacts: [contact], expires: 3600 });
  rig.close(phone);
  return rig;
}

function untilAsked(rig: Rig): void {
  while (rig.sent.length === 0) rig.pass(Math.max(1, rig.core.schedule.nextMs - rig.clock.nowMs));
}

function states(rig: Rig): Record<string, number> {
  return Object.fromEntries([...rig.upstreamStates()].filter(([, count]) => count > 0));
}

const cases: [name: string, options: RigOptions, contact: string, by: string, next: string, why: string][] = [
  ["credentials", { secrets: CREDENTIALS }, PUSHABLE, "latefork", "our REGISTER", "pbx.credentials_file has alice"],
  ["trust", { pbx: { trusts_us: true } }, PUSHABLE, "latefork", "our REGISTER", "pbx.trusts_us"],
  [
    "a token alone",
    {},
    PUSHABLE,
    "push",
    "refresh push",
    "pbx.credentials_file does not have alice: its phone is woken",
  ],
  ["mirror", { pbx: { mode: "mirror" } }, PUSHABLE, "push", "refresh push", "mode mirror leaves it to the phones"],
  [
    "neither",
    {},
    "<sip:alice@192.0.2.7>",
    "phone",
    "the phone's own REGISTER",
    "pbx.credentials_file does not have alice: only its phone can, which has no push token",
  ],
];
for (const [name, options, contact, by, next, why] of cases) {
  test(`R-09 with ${name} it is told who refreshes, what comes next, when and why`, () => {
    const rig = asleep(options, contact);
    const outlook = rig.outlookOf(rig.core.usrloc.find(AOR)!.contacts[0]!);
    expect(outlook).toMatchObject({ refreshedBy: by, isAtRisk: false, lastFailure: "" });
    expect(outlook.next).toContain(next);
    expect(outlook.why).toContain(why);
    expect(outlook.nextMs).toBeGreaterThan(rig.clock.nowMs + 2_000_000);
    expect(outlook.upstreamEndsMs).toBe(rig.clock.nowMs + 3_600_000);
    expect(rig.outlookOfAor(rig.core.usrloc.find(AOR)!)).toEqual(outlook);
    expect(states(rig)).toEqual({ registered: 1 });
  });
}

test("R-09 a refresh push that was not answered, a refresh that failed, a binding that lapsed: told, and counted", () => {
  const pushed = asleep({});
  pushed.pass(3_490_000);
  const [contact] = pushed.core.usrloc.find(AOR)!.contacts;
  expect(pushed.outlookOf(contact!)).toMatchObject({
    isAtRisk: true,
    lastFailure: "a refresh push was not answered",
    next: "refresh push 3",
  });
  expect(states(pushed)).toEqual({ at_risk: 1 });

  const failing = asleep({ pbx: { trusts_us: true } });
  failing.pass(2_600_000);
  untilAsked(failing);
  failing.fromPbx(answer(failing.one(failing.pbx), "403 Forbidden"));
  expect(failing.outlookOf(failing.core.usrloc.find(AOR)!.contacts[0]!)).toMatchObject({
    refreshedBy: "push",
    why: "the PBX refuses our own REGISTER: its phone is woken to refresh by itself",
    lastFailure: "the PBX answered 403",
  });
  expect(states(failing)).toEqual({ failing: 1 });

  const lapsed = asleep({}, "<sip:alice@192.0.2.7>");
  lapsed.pass(1);
  const other = lapsed.phone("192.0.2.8");
  lapsed.receive(other, register(other, { expires: 3600 }));
  lapsed.fromPbx(accepted(lapsed.one(lapsed.pbx)).replace(/;expires=\d+/, ";expires=60"));
  lapsed.pass(61_000);
  expect(lapsed.outlookOf(lapsed.core.usrloc.find(AOR)!.contacts[0]!).isAtRisk).toBe(true);
  expect(states(lapsed)).toEqual({ lapsed: 1 });
});

test("R-09 both sides are told: who brings the phone's next REGISTER and when, and what the PBX holds", () => {
  const kept = asleep({ pbx: { trusts_us: true } });
  const ofKept = () => kept.outlookOf(kept.core.usrloc.find(AOR)!.contacts[0]!);
  const endsMs = kept.clock.nowMs + 3_600_000;
  expect(ofKept()).toMatchObject({
    refreshedBy: "latefork",
    held: "registered",
    phone: { by: "push", nextMs: endsMs - 130_000, lastFailure: "" },
  });
  expect(ofKept().nextMs).toBeLessThan(endsMs - 130_000);

  const desk = asleep({}, "<sip:alice@192.0.2.7>");
  expect(desk.outlookOf(desk.core.usrloc.find(AOR)!.contacts[0]!)).toMatchObject({
    held: "registered",
    phone: { by: "phone", nextMs: endsMs, lastFailure: "" },
  });

  const silent = asleep({});
  const ofSilent = () => silent.outlookOf(silent.core.usrloc.find(AOR)!.contacts[0]!);
  silent.pass(3_490_000);
  expect(ofSilent().phone).toMatchObject({ by: "push", lastFailure: "a refresh push was not answered" });
  // Too late for one more: it comes by itself, or not at all.
  silent.pass(109_000);
  expect(ofSilent().phone).toMatchObject({ by: "phone", nextMs: endsMs });
});

test("R-09 registrar mode: there is no PBX to keep", () => {
  const rig = new Rig({ pbx: false, trust: ["192.0.2.0/24"] });
  const phone = rig.phone("192.0.2.7", 40_000, "tcp");
  rig.receive(phone, register(phone, { contacts: [PUSHABLE], expires: 3600 }));
  const outlook = rig.outlookOf(rig.core.usrloc.find(AOR)!.contacts[0]!);
  expect(outlook).toMatchObject({
    refreshedBy: "push",
    why: "its phone is woken to refresh by itself",
    upstreamEndsMs: 0,
    held: "none",
  });
  expect(states(rig)).toEqual({ none: 1 });
});

test("R-09 a device set by hand is registered at the PBX where that is ours to do", () => {
  const rig = new Rig({ pbx: { trusts_us: true } });
  const flow = rig.phone("192.0.2.7");
  const aor = rig.core.usrloc.ensure(AOR, "alice", "example.org", rig.core.writer.aorId(AOR));
  rig.setByHand(aor, null, "sip:alice@192.0.2.7", flow);
  untilAsked(rig);
  rig.fromPbx(accepted(rig.one(rig.pbx)));
  expect(aor.upstream).toMatchObject({ state: "registered", expiresAtMs: rig.clock.nowMs + 3_600_000 });
});

test("R-04 R-09 a PBX that keeps one Contact drops the other device's: told once, shown, and not fought over", () => {
  for (const mode of ["contact", "mirror"] as const) {
    const rig = new Rig({ pbx: { mode, trusts_us: true } });
    const [first, second] = [rig.phone("192.0.2.7"), rig.phone("192.0.2.8")];
    const { upstream } = registered(rig, first, { expires: 3600 });
    registered(rig, second, { expires: 3600 });
    const outlooks = () => rig.core.usrloc.find(AOR)!.contacts.map((contact) => rig.outlookOf(contact));
    expect(outlooks().map(({ isAtRisk }) => isAtRisk)).toEqual([true, false]);
    expect(outlooks()[0]!.lastFailure).toContain("dropped its Contact");
    expect(states(rig)).toEqual({ at_risk: 1 });
    registered(rig, second, {
      expires: 3600,
      cseq: 2,
      lines: ["X-Again: 1"],
      contacts: ["<sip:alice@192.0.2.8:5060>;x=1"],
    });
    expect(rig.logged.filter(({ message }) => message.includes("max_contacts"))).toHaveLength(1);
    rig.pass(60_000);
    expect(rig.take(rig.pbx)).toEqual([]);
    // A PBX with room lists both.
    rig.receive(first, register(first, { expires: 3600, cseq: 2, contacts: ["<sip:alice@192.0.2.7:5060>;x=1"] }));
    const again = rig.one(rig.pbx);
    const theirs = [...rig.core.usrloc.find(AOR)!.contacts].map(({ id }) =>
      headers(upstream, "Contact")[0]!.replace(/lf=[a-z0-9]+/, `lf=${id}`)
    );
    rig.fromPbx(accepted(again, theirs));
    expect(outlooks().map(({ isAtRisk }) => isAtRisk)).toEqual([false, false]);
  }
});

test("R-02 two devices that take each other's place all day are one warning, until the PBX has room for both", () => {
  const rig = new Rig({ pbx: { mode: "contact" } });
  const phones = [rig.phone("192.0.2.7"), rig.phone("192.0.2.8")];
  const warnings = () =>
    rig.logged.filter(({ level, message }) => level === "warn" && message.includes("max_contacts"));
  let cseq = 0;
  const refresh = (phone: (typeof phones)[number], listsAll = false) => {
    rig.receive(phone, register(phone, { expires: 3600, cseq: ++cseq, lines: ["X: 1"] }));
    const wire = rig.one(rig.pbx);
    const [own] = headers(wire, "Contact");
    const ids = rig.core.usrloc.find(AOR)?.contacts.map(({ id }) => id) ?? [];
    const all = ids.map((id) => own!.replace(/lf=[a-z0-9]+/, `lf=${id}`));
    rig.fromPbx(accepted(wire, listsAll ? all : undefined));
    rig.take(phone);
  };
  for (let n = 0; n < 20; n++) for (const phone of phones) refresh(phone);
  expect(warnings()).toHaveLength(1);
  refresh(phones[0]!, true);
  for (let n = 0; n < 5; n++) for (const phone of phones) refresh(phone);
  expect(warnings()).toHaveLength(2);
});

test("R-02 a 2xx that lists nothing of ours, or a late one, accuses nobody", () => {
  const rig = new Rig({ pbx: { mode: "contact" } });
  registered(rig, rig.phone("192.0.2.7"), { expires: 3600 });
  const second = rig.phone("192.0.2.8");
  rig.receive(second, register(second, { expires: 3600 }));
  rig.fromPbx(answer(rig.one(rig.pbx), "200 OK", ["Expires: 3600"]));
  const third = rig.phone("192.0.2.9");
  const fourth = rig.phone("192.0.2.10");
  rig.receive(third, register(third, { expires: 3600 }));
  const late = rig.one(rig.pbx);
  rig.receive(fourth, register(fourth, { expires: 3600 }));
  rig.one(rig.pbx);
  rig.fromPbx(accepted(late));
  expect(rig.logText).not.toContain("max_contacts");
});

test("R-05 contact: a device whose Contact the PBX dropped is not answered here: its next REGISTER goes there", () => {
  const rig = new Rig({ pbx: { mode: "contact" } });
  const [first, second] = [rig.phone("192.0.2.7"), rig.phone("192.0.2.8")];
  registered(rig, first, { expires: 600 });
  registered(rig, second, { expires: 600 });
  const ofFirst = () => rig.outlookOf(rig.core.usrloc.find(AOR)!.contacts[0]!);
  expect(ofFirst()).toMatchObject({ isAtRisk: true, upstreamEndsMs: 0, held: "dropped" });
  rig.receive(second, register(second, { expires: 600, cseq: 2 }));
  expect(rig.take(rig.pbx)).toEqual([]);
  rig.take(second);

  rig.receive(first, register(first, { expires: 600, cseq: 2 }));
  // Another REGISTER is on its way: the answer lists what it may, the PBX holds what it grants.
  rig.receive(second, register(second, { expires: 600, cseq: 3 }));
  const [upstream] = rig.take(rig.pbx);
  rig.fromPbx(accepted(upstream!));
  expect(ofFirst()).toMatchObject({ isAtRisk: false, upstreamEndsMs: rig.clock.nowMs + 3_600_000 });
  rig.take(first);
  rig.take(rig.pbx);
});
