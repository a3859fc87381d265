import { describe, expect, test } from "bun:test";
import { EVERY_DEVICE, InFlight } from "../../../src/core/registrar/in_flight.ts";
import { PbxModel } from "./pbx_model.ts";
import { accepted, answer, contactsOf, headers, register, registered, type RegisterText, Rig } from "./rig.ts";

const AOR = "alice@example.org";

describe("R-17 two REGISTERs at the PBX at the same time end in the state of the later one", () => {
  const add: RegisterText = { callId: "one", cseq: 1, expires: 600 };
  const remove: RegisterText = { callId: "two", cseq: 1, expires: 0 };
  const wildcard: RegisterText = { callId: "two", cseq: 1, contacts: ["*"], expires: 0 };
  const otherAdd: RegisterText = {
    callId: "two",
    cseq: 1,
    expires: 300,
    contacts: ["<sip:alice@192.0.2.7:5060>;q=0.5"],
  };
  const cases: [string, RegisterText, RegisterText, number][] = [
    ["add, then remove", add, remove, 0],
    ["add, then wildcard", add, wildcard, 0],
    ["remove, then add", remove, add, 600],
    ["wildcard, then add", wildcard, add, 600],
    ["add, then add with another expiry", add, otherAdd, 300],
    ["the other way round", otherAdd, add, 600],
  ];
  for (const mode of ["aor", "contact", "mirror"] as const) {
    for (const [name, first, second, seconds] of cases) {
      for (const isKnown of [false, true]) {
        for (const order of [[0, 1], [1, 0]]) {
          test(`R-17 ${mode}: ${name}, ${isKnown ? "known" : "new"} device, answers ${order}`, () => {
            const rig = new Rig({ pbx: { mode } });
            const pbx = new PbxModel();
            const phone = rig.phone("192.0.2.7");
            const through = (text: RegisterText) => {
              rig.receive(phone, register(phone, text));
              return pbx.take(rig.one(rig.pbx), rig.clock.nowMs);
            };
            if (isKnown) rig.fromPbx(through({ callId: "zero" }));
            rig.pass(1000);
            const answers = [through(first), through(second)];
            for (const n of order) rig.fromPbx(answers[n]!);
            const contacts = rig.core.usrloc.find(AOR)?.contacts ?? [];
            expect(contacts.map((contact) => (contact.expiresAtMs - rig.clock.nowMs) / 1000)).toEqual(
              seconds === 0 ? [] : [seconds],
            );
            // Whatever is left to do at the PBX is done, and then both agree.
            for (const wire of rig.take(rig.pbx)) rig.fromPbx(pbx.take(wire, rig.clock.nowMs));
            expect(pbx.live(AOR, rig.clock.nowMs)).toHaveLength(seconds === 0 ? 0 : 1);
            const aor = rig.core.usrloc.find(AOR);
            expect(aor?.upstream.state).toBe(seconds === 0 ? undefined : "registered");
            const held = seconds === 0 || mode === "mirror" ? seconds : 3600;
            if (aor !== undefined && mode === "aor") {
              expect((aor.upstream.expiresAtMs - rig.clock.nowMs) / 1000).toBe(held);
            }
            expect(rig.core.usrloc.aorCount).toBe(seconds === 0 ? 0 : 1);
          });
        }
      }
    }
  }

  test("R-17 the last device leaves while another one comes: the PBX is not left without", () => {
    for (const order of [[0, 1], [1, 0]]) {
      const rig = new Rig();
      const pbx = new PbxModel();
      const [old, fresh] = [rig.phone("192.0.2.7"), rig.phone("192.0.2.8")];
      rig.receive(old, register(old));
      rig.fromPbx(pbx.take(rig.one(rig.pbx), rig.clock.nowMs));
      rig.receive(fresh, register(fresh));
      const first = pbx.take(rig.one(rig.pbx), rig.clock.nowMs);
      rig.receive(old, register(old, { cseq: 2, expires: 0 }));
      const wire = rig.one(rig.pbx);
      expect(headers(wire, "Contact")[0]).toEndWith(";expires=3600");
      const answers = [first, pbx.take(wire, rig.clock.nowMs)];
      for (const n of order) rig.fromPbx(answers[n]!);
      expect(contactsOf(rig)).toEqual(["sip:alice@192.0.2.8:5060"]);
      expect(pbx.live(AOR, rig.clock.nowMs)).toHaveLength(1);
      expect(rig.take(rig.pbx)).toEqual([]);
    }
  });

  test("R-17 and if that other one is refused, the binding is ended", () => {
    for (const order of [[0, 1], [1, 0]]) {
      const rig = new Rig();
      const pbx = new PbxModel();
      const [old, fresh] = [rig.phone("192.0.2.7"), rig.phone("192.0.2.8")];
      rig.receive(old, register(old));
      rig.fromPbx(pbx.take(rig.one(rig.pbx), rig.clock.nowMs));
      rig.receive(fresh, register(fresh));
      const refusal = answer(rig.one(rig.pbx), "403 Forbidden");
      rig.receive(old, register(old, { cseq: 2, expires: 0 }));
      const answers = [refusal, pbx.take(rig.one(rig.pbx), rig.clock.nowMs)];
      for (const n of order) rig.fromPbx(answers[n]!);
      for (const wire of rig.take(rig.pbx)) rig.fromPbx(pbx.take(wire, rig.clock.nowMs));
      expect(pbx.live(AOR, rig.clock.nowMs)).toEqual([]);
      expect(rig.core.usrloc.aorCount).toBe(0);
    }
  });

  test("R-17 the last answer leaves nobody: the binding is ended, though a later one had told its expiry", () => {
    const rig = new Rig();
    const pbx = new PbxModel();
    const [one, two] = [rig.phone("192.0.2.7"), rig.phone("192.0.2.8")];
    const answers = [register(one), register(one, { cseq: 2, expires: 0 }), register(two, { expires: 0 })].map(
      (wire, i) => {
        rig.receive(i < 2 ? one : two, wire);
        return pbx.take(rig.one(rig.pbx), rig.clock.nowMs);
      },
    );
    for (const n of [2, 0, 1]) rig.fromPbx(answers[n]!);
    for (const wire of rig.take(rig.pbx)) rig.fromPbx(pbx.take(wire, rig.clock.nowMs));
    expect(pbx.live(AOR, rig.clock.nowMs)).toEqual([]);
    expect(rig.core.usrloc.aorCount).toBe(0);
  });

  test("R-17 a short expiry or a removal does not cut what another device asks for right now", () => {
    for (const [text, asked] of [[{ expires: 60 }, 600], [{ expires: 0 }, 600], [{ expires: 900 }, 900]] as const) {
      const rig = new Rig({ pbx: { expires: 60_000 } });
      const [one, two] = [rig.phone("192.0.2.7"), rig.phone("192.0.2.8")];
      rig.receive(one, register(one, { expires: 600 }));
      rig.one(rig.pbx);
      rig.receive(two, register(two, text));
      expect(headers(rig.one(rig.pbx), "Contact")[0]).toEndWith(`;expires=${asked}`);
    }
  });

  test("R-17 an overtaken REGISTER brings no call to the phone", () => {
    const rig = new Rig();
    const phone = rig.phone("192.0.2.7");
    rig.receive(phone, register(phone, add));
    const first = rig.one(rig.pbx);
    rig.receive(phone, register(phone, remove));
    rig.fromPbx(accepted(rig.one(rig.pbx)));
    rig.events.length = 0;
    rig.fromPbx(accepted(first));
    expect(rig.events).toEqual([]);
    expect(headers(rig.take(phone)[1]!, "Contact")).toEqual([]);
  });

  test("R-17 nothing is remembered once the last answer is there, whatever it was", () => {
    const rig = new Rig();
    const phone = rig.phone("192.0.2.7");
    for (let cseq = 1; cseq <= 3; cseq++) rig.receive(phone, register(phone, { cseq }));
    const [first, second] = rig.take(rig.pbx);
    rig.fromPbx(accepted(first!));
    rig.fromPbx(answer(second!, "401 Unauthorized"));
    rig.pass(40_000);
    const inner = rig.core as unknown as { writer: { inFlight: InFlight } };
    expect(inner.writer.inFlight.size).toBe(0);
  });
});

describe("R-17 InFlight", () => {
  test("R-17 an order is overtaken by a later one of the same device, or of all of them", () => {
    const inFlight = new InFlight();
    const [first, second, third] = [1, 2, 3].map(() => inFlight.begin("a", new Map([["x", 60]])));
    inFlight.settle("a", "d1", second!);
    expect(inFlight.isOvertaken("a", "d1", first!)).toBe(true);
    expect(inFlight.isOvertaken("a", "d2", first!)).toBe(false);
    expect(inFlight.isOvertaken("b", "d1", first!)).toBe(false);
    expect(inFlight.isOvertaken("a", "d1", third!)).toBe(false);
    inFlight.settle("a", EVERY_DEVICE, second!);
    expect(inFlight.isOvertaken("a", "d2", first!)).toBe(true);
    expect(inFlight.isOvertaken("a", "d2", third!)).toBe(false);
  });

  test("R-17 what it adds is known until it is answered", () => {
    const inFlight = new InFlight();
    const order = inFlight.begin("a", new Map([["x", 60], ["y", 600]]));
    const other = inFlight.begin("a", new Map([["y", 70]]));
    expect([inFlight.askedFor("a", "y"), inFlight.askedFor("a", "z"), inFlight.askedFor("b", "x")]).toEqual([
      600,
      0,
      0,
    ]);
    inFlight.end("a", order);
    expect(inFlight.askedFor("a", "y")).toBe(70);
    inFlight.end("a", other);
    expect(inFlight.askedFor("a", "y")).toBe(0);
    expect(inFlight.size).toBe(0);
  });

  test("R-17 the upstream expiry is that of the latest", () => {
    const inFlight = new InFlight();
    const [first, second] = [inFlight.begin("a", new Map()), inFlight.begin("a", new Map())];
    expect(inFlight.takesUpstream("a", second)).toBe(true);
    expect(inFlight.takesUpstream("a", first)).toBe(false);
    inFlight.end("a", second);
    expect(inFlight.takesUpstream("a", first)).toBe(false);
    inFlight.end("a", first);
    expect(inFlight.takesUpstream("a", first)).toBe(true);
  });
});

test("R-17 a device that was removed by hand while its refresh is at the PBX comes back with it", () => {
  const rig = new Rig();
  const phone = rig.phone("192.0.2.7");
  registered(rig, phone);
  rig.receive(phone, register(phone, { cseq: 2 }));
  const upstream = rig.one(rig.pbx);
  rig.core.usrloc.remove(rig.core.usrloc.find(AOR)!.contacts[0]!, "control");
  rig.fromPbx(accepted(upstream));
  expect(contactsOf(rig)).toHaveLength(1);
  expect(rig.take(rig.pbx)).toEqual([]);
});
