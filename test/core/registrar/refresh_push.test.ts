import { describe, expect, test } from "bun:test";
import { coreSettings } from "../../../src/appliance/settings.ts";
import { isAtRisk } from "../../../src/core/registrar/refresh_push.ts";
import type { PushReport } from "../../../src/core/usrloc/push_order.ts";
import type { Contact } from "../../../src/core/usrloc/contact.ts";
import { accepted, headers, register, registered, type RegisterText, Rig, type RigOptions } from "./rig.ts";
import { storedContact } from "../usrloc/stored.ts";

const AOR = "alice@example.org";
const PUSHABLE = "<sip:alice@192.0.2.7:5060;pn-provider=acme;pn-param=p;pn-prid=tok>";

/** A phone that registered and fell asleep at once: its connection is gone. */
function asleep(expires: number, options: RigOptions = {}, contact = PUSHABLE): Rig {
  const rig = new Rig(options);
  const phone = rig.phone("192.0.2.7", 40_000, "tcp");
  rig.receive(phone, register(phone, { contacts: [contact], expires }));
  if (rig.pbx !== null && options.pbx !== false) rig.fromPbx(accepted(rig.one(rig.pbx)));
  rig.take(phone);
  rig.close(phone);
  return rig;
}

function device(rig: Rig, n = 0): Contact {
  return rig.core.usrloc.find(AOR)!.contacts[n]!;
}

/** Seconds before the earlier of both ends at which each refresh push left, until nothing comes any more. */
function pushesBeforeEnd(rig: Rig, ms: number): number[] {
  const { upstream, contacts } = rig.core.usrloc.find(AOR)!;
  const endMs = Math.min(contacts[0]!.expiresAtMs, upstream.expiresAtMs || Infinity);
  const seconds: number[] = [];
  const untilMs = rig.clock.nowMs + ms;
  while (rig.core.schedule.nextMs <= untilMs) {
    rig.pass(rig.core.schedule.nextMs - rig.clock.nowMs);
    for (const _ of rig.pushes.splice(0)) seconds.push(Math.round((endMs - rig.clock.nowMs) / 100) / 10);
    rig.sent.length = 0;
  }
  return seconds;
}

function text(rig: Rig): string {
  return rig.logged.map(({ level, message }) => `${level} ${message}`).join("\n");
}

describe("R-09 refresh pushes", () => {
  test("R-09 hundreds that are due in one moment go a hundred at once, then 200 a second, each device once", () => {
    const rig = new Rig({ maxBindings: 500 });
    for (let n = 0; n < 400; n++) {
      const phone = rig.phone("192.0.2.7", 40_000 + n, "tcp");
      registered(rig, phone, {
        user: `u${n}`,
        contacts: [`<sip:u${n}@192.0.2.7;pn-provider=acme;pn-prid=t${n}>`],
        expires: 600,
      });
      rig.close(phone);
    }
    rig.pass(470_000);
    expect(rig.pushes).toHaveLength(100);
    rig.pass(500);
    expect(rig.pushes).toHaveLength(200);
    rig.pass(1000);
    expect(new Set(rig.pushes.map(({ prid }) => prid)).size).toBe(400);
    expect(rig.pushes).toHaveLength(400);
  });

  for (const pbx of [{}, { mode: "contact" as const }, { mode: "mirror" as const }, false as const]) {
    const name = pbx === false ? "registrar mode" : `mode ${pbx.mode ?? "aor"}`;
    test(`R-09 ${name}: the first 130 s before the earlier end, repeated with less and less patience, at risk from the second`, () => {
      for (const expires of [300, 600, 3600]) {
        const rig = asleep(
          expires,
          pbx === false ? { pbx, trust: ["192.0.2.0/24"] } : { pbx: { ...pbx, expires: 300_000 } },
        );
        rig.pass((expires - 131) * 1000);
        expect(rig.pushes).toEqual([]);
        expect(isAtRisk(device(rig))).toBe(false);
        rig.pass(1000);
        expect(rig.pushes).toMatchObject([{
          event: "refresh",
          provider: "acme",
          param: "p",
          prid: "tok",
          aor: AOR,
          device: device(rig).id,
          callId: "",
          toUri: `sip:${AOR}`,
        }]);
        expect(rig.pushes[0]!.ttlMs).toBeGreaterThan(129_000);
        expect(isAtRisk(device(rig))).toBe(false);
        rig.pushes.length = 0;
        expect(pushesBeforeEnd(rig, 14_999)).toEqual([]);
        expect(pushesBeforeEnd(rig, 110_000)).toEqual([115, 85, 25]);
        expect(isAtRisk(device(rig))).toBe(true);
        expect(text(rig)).toContain("warn Device is at risk");
        // After the end nothing: RFC 8599 §5.5 forbids a push for a binding that has expired.
        rig.pass(10_000_000);
        expect(rig.pushes).toEqual([]);
        expect(rig.core.usrloc.aorCount).toBe(0);
      }
    });
  }

  test("R-09 push.refresh_before may ask for more, two minutes are never missed by rounding", () => {
    const rig = asleep(3600);
    rig.config.push.refresh_before = 600_000;
    rig.core.reconfigure(coreSettings(rig.config, rig.secrets));
    const phone = rig.phone("192.0.2.7", 40_001, "tcp");
    registered(rig, phone, { contacts: [PUSHABLE], expires: 3600, cseq: 2 });
    rig.close(phone);
    expect(pushesBeforeEnd(rig, 3_100_000)[0]).toBe(600);
  });

  test("R-09 the phone that answers is at risk no more, and pushed again before its next end alone", () => {
    const rig = asleep(600, { pbx: { expires: 600_000 } });
    rig.pass(490_000);
    expect(rig.pushes).toHaveLength(2);
    expect(isAtRisk(device(rig))).toBe(true);
    const phone = rig.phone("192.0.2.7", 40_001, "tcp");
    registered(rig, phone, { contacts: [PUSHABLE], expires: 600, cseq: 2 });
    expect(isAtRisk(device(rig))).toBe(false);
    rig.close(phone);
    rig.pushes.length = 0;
    rig.pass(469_000);
    expect(rig.pushes).toEqual([]);
    rig.pass(1_000);
    expect(rig.pushes).toHaveLength(1);
  });

  test("R-09 no push for who unregistered, was removed, has a dead token, no token, or is a desk phone by a rule", () => {
    const unregistered = asleep(600);
    const phone = unregistered.phone("192.0.2.7", 40_001, "tcp");
    registered(unregistered, phone, { contacts: [PUSHABLE], expires: 0, cseq: 2 });
    const removed = asleep(600);
    removed.core.usrloc.remove(device(removed), "control");
    const dead = asleep(600);
    const verdict: PushReport = { uuid: "u", outcome: "dead", status: 410, reason: "gone", ms: 1 };
    dead.pass(1000);
    dead.core.pushResult(verdict, device(dead).id, "tok", dead.clock.nowMs);
    const deadButThere = new Rig();
    const awake = deadButThere.phone("192.0.2.7", 40_000, "tcp");
    registered(deadButThere, awake, { contacts: [PUSHABLE], expires: 600 });
    deadButThere.pass(1000);
    deadButThere.core.pushResult(verdict, device(deadButThere).id, "tok", deadButThere.clock.nowMs);
    expect(device(deadButThere).push!.tokenState).toBe("dead");
    const desk = asleep(600, { devices: [{ user_agent: "", header: null, kind: "desk", push: null }] });
    expect(device(desk).kind).toBe("desk");
    for (const rig of [unregistered, removed, dead, deadButThere, desk, asleep(600, {}, "<sip:alice@192.0.2.7>")]) {
      rig.pass(700_000);
      expect(rig.pushes).toEqual([]);
    }
  });

  test("R-09 the token dies of the first refresh push: no second one, and the PBX is told", () => {
    const rig = asleep(600);
    rig.pass(470_000);
    const { device: id } = rig.pushes[0]!;
    rig.core.pushResult({ uuid: "u", outcome: "dead", status: 410, reason: "gone", ms: 9 }, id, "tok", rig.clock.nowMs);
    expect(headers(rig.one(rig.pbx), "Contact")[0]).toEndWith(";expires=0");
    rig.pass(700_000);
    expect(rig.pushes).toHaveLength(1);
  });

  test("R-09 no push to a phone that was heard of lately, whatever its transport; it may still refresh by itself", () => {
    for (const transport of ["udp", "tcp"] as const) {
      const rig = new Rig({ pbx: { expires: 600_000 } });
      const phone = rig.phone("192.0.2.7", 40_000, transport);
      registered(rig, phone, { contacts: [PUSHABLE], expires: 600 });
      for (let s = 0; s < 575; s += 25) {
        rig.pass(25_000);
        phone.lastHeardMs = rig.clock.nowMs;
      }
      expect(rig.pushes).toEqual([]);
      registered(rig, phone, { contacts: [PUSHABLE], expires: 600, cseq: 2 });
      phone.lastHeardMs = rig.clock.nowMs;
      rig.pass(400_000);
      expect(rig.pushes).toEqual([]);
    }
  });

  test("R-09 an open connection nobody was heard over is no sign of life: the phone is pushed 130 s before", () => {
    const rig = new Rig({ pbx: { expires: 600_000 } });
    const phone = rig.phone("192.0.2.7", 40_000, "tcp");
    registered(rig, phone, { contacts: [PUSHABLE], expires: 600 });
    expect(phone.state).toBe("open");
    expect(pushesBeforeEnd(rig, 590_000)).toEqual([130, 115, 85, 25]);
  });

  test("R-09 an app that fell asleep inside the last two minutes is pushed as soon as that shows", () => {
    const rig = new Rig({ pbx: { expires: 600_000 } });
    const phone = rig.phone("192.0.2.7", 40_000, "tcp");
    registered(rig, phone, { contacts: [PUSHABLE], expires: 600 });
    rig.pass(460_000);
    phone.lastHeardMs = rig.clock.nowMs;
    rig.pass(89_999);
    expect(rig.pushes).toEqual([]);
    rig.pass(1);
    expect(rig.pushes).toHaveLength(1);
  });

  test("R-09 whoever wakes itself (+sip.pnsreg) is pushed only if no REGISTER came by 120 s before the end", () => {
    const contact = `${PUSHABLE};+sip.pnsreg`;
    expect(pushesBeforeEnd(asleep(600, { pbx: { expires: 600_000 } }, contact), 590_000)[0]).toBe(120);
    const rig = asleep(600, { pbx: { expires: 600_000 } }, contact);
    rig.pass(475_000);
    const phone = rig.phone("192.0.2.7", 40_001, "tcp");
    registered(rig, phone, { contacts: [contact], expires: 600, cseq: 2 });
    rig.pass(400_000);
    expect(rig.pushes).toEqual([]);
  });

  test("R-09 a PBX that later grants less to another device: the first one is pushed before the earlier end", () => {
    const rig = asleep(3600);
    rig.pass(10_000);
    const other = rig.phone("192.0.2.8");
    rig.receive(other, register(other, { expires: 3600 }));
    rig.fromPbx(accepted(rig.one(rig.pbx)).replace(/;expires=\d+/, ";expires=400"));
    rig.pass(269_000);
    expect(rig.pushes).toEqual([]);
    rig.pass(1_000);
    expect(rig.pushes).toHaveLength(1);
  });

  test("R-09 another device of the AoR makes the PBX's binding last: no more pushes than needed, nobody at risk", () => {
    const rig = asleep(3600);
    const other = rig.phone("192.0.2.8");
    rig.receive(other, register(other, { expires: 3600 }));
    rig.fromPbx(accepted(rig.one(rig.pbx)).replace(/;expires=\d+/, ";expires=400"));
    rig.take(other);
    rig.pass(286_000);
    expect(isAtRisk(device(rig))).toBe(true);
    registered(rig, other, { expires: 3600, cseq: 2 });
    rig.pass(3_000_000);
    expect(rig.pushes).toHaveLength(2);
    expect(isAtRisk(device(rig))).toBe(false);
  });

  test("R-09 the PBX's binding lapsed, the phone's did not: it is pushed on, for only it can bring it back", () => {
    const rig = asleep(3600);
    rig.pass(10_000);
    const other = rig.phone("192.0.2.8");
    rig.receive(other, register(other, { expires: 3600 }));
    rig.fromPbx(accepted(rig.one(rig.pbx)).replace(/;expires=\d+/, ";expires=200"));
    rig.pass(1_200_000);
    const before = rig.pushes.length;
    rig.pass(1_200_000);
    expect(rig.pushes.length).toBeGreaterThan(before);
    expect(rig.pushes.length).toBeLessThan(20);
    for (const push of rig.pushes) expect(push.ttlMs).toBeGreaterThan(0);
    const phone = rig.phone("192.0.2.7", 40_001, "tcp");
    registered(rig, phone, { contacts: [PUSHABLE], expires: 1200, cseq: 2 });
    expect(rig.core.usrloc.find(AOR)!.upstream.expiresAtMs).toBeGreaterThan(rig.clock.nowMs);
  });

  test("R-09 where we refresh the PBX's binding ourselves the phone is pushed before its own end alone", () => {
    const rig = asleep(7200, { pbx: { trusts_us: true, expires: 600_000 } });
    for (let s = 0; s < 7190; s += 10) {
      rig.pass(10_000);
      for (const wire of rig.take(rig.pbx)) rig.fromPbx(accepted(wire));
      if (rig.pushes.length > 0) break;
    }
    expect(device(rig).expiresAtMs - rig.clock.nowMs).toBeLessThanOrEqual(130_000);
    expect(device(rig).expiresAtMs - rig.clock.nowMs).toBeGreaterThanOrEqual(120_000);
  });

  test("R-18 R-09 after a restart the refresh push is in time", () => {
    const rig = asleep(600, { pbx: { expires: 600_000 } });
    const again = new Rig({ nowMs: rig.clock.nowMs + 100_000 });
    const aors = [...rig.core.usrloc.all()];
    again.core.restore(
      aors,
      aors.flatMap((aor) => aor.contacts.map(storedContact)),
      () => null,
    );
    again.pass(369_000);
    expect(again.pushes).toEqual([]);
    again.pass(1_000);
    expect(again.pushes).toHaveLength(1);
  });
});

describe("R-09 a PBX that grants less than a refresh push needs", () => {
  function granted(seconds: number, options: RigOptions = {}, text: RegisterText = {}): Rig {
    const rig = new Rig(options);
    const phone = rig.phone("192.0.2.7", 40_000, "tcp");
    rig.receive(phone, register(phone, { contacts: [PUSHABLE], expires: 3600, ...text }));
    rig.fromPbx(accepted(rig.one(rig.pbx)).replace(/;expires=\d+/, `;expires=${seconds}`));
    rig.close(phone);
    return rig;
  }

  test("R-09 it is said at once, with what to change at the PBX", () => {
    for (const mode of ["aor", "contact", "mirror"] as const) {
      const rig = granted(120, { pbx: { mode } });
      const line = rig.logged.find(({ level }) => level === "warn")!;
      expect(line.message).toContain("grants only 120 s");
      expect(line.message).toContain("maximum_expiration");
      expect(line.message).toContain("pbx.credentials_file");
      expect(line.fields).toMatchObject({ aor: AOR });
      expect(rig.core.mid!.ledger.shortGrants.size).toBe(1);
    }
  });

  test("R-09 and not where it is enough, where we refresh ourselves, or where nobody can be woken", () => {
    for (
      const rig of [
        granted(191),
        granted(60, { pbx: { trusts_us: true } }),
        granted(60, { pbx: { mode: "mirror" } }, { expires: 60 }),
        granted(60, {}, { contacts: ["<sip:alice@192.0.2.7>"] }),
      ]
    ) {
      expect(rig.logged.filter(({ level }) => level === "warn")).toEqual([]);
      expect(rig.core.mid!.ledger.shortGrants.size).toBe(0);
    }
  });

  test("R-09 so it is where a push would follow each REGISTER at once: it is told wherever it is looked for", () => {
    for (const mode of ["aor", "contact", "mirror"] as const) {
      for (const seconds of [131, 150, 190]) {
        const rig = granted(seconds, { pbx: { mode } });
        const line = rig.logged.find(({ level }) => level === "warn")!;
        expect(line.message).toContain(
          `grants only ${seconds} s, a sleeping phone needs more than 190 s: raise its max`,
        );
        expect(rig.outlookOf(device(rig)).why).toContain(line.message);
      }
    }
  });

  test("R-09 where the PBX was asked for no more, the key to change is pbx.expires", () => {
    const rig = granted(150, { pbx: { expires: 150_000 } });
    expect(rig.logged.find(({ level }) => level === "warn")!.message).toContain("raise pbx.expires, or");
  });

  test("R-09 a phone that answers each push is pushed once in half of what it is granted, no more often", () => {
    for (const [seconds, each] of [[100, 50], [150, 75], [190, 95], [191, 61], [300, 170]] as const) {
      const rig = granted(seconds);
      const at: number[] = [];
      const startMs = rig.clock.nowMs;
      for (let cseq = 2; at.length < 4; cseq++) {
        while (rig.pushes.length === 0) rig.pass(500);
        rig.pushes.length = 0;
        at.push(Math.floor((rig.clock.nowMs - startMs) / 1000));
        const phone = rig.phone("192.0.2.7", 50_000 + cseq, "tcp");
        rig.take(rig.pbx);
        rig.receive(phone, register(phone, { contacts: [PUSHABLE], expires: 3600, cseq }));
        rig.fromPbx(accepted(rig.one(rig.pbx)).replace(/;expires=\d+/, `;expires=${seconds}`));
        rig.close(phone);
      }
      expect([seconds, at]).toEqual([seconds, [each, 2 * each, 3 * each, 4 * each]]);
    }
  });

  test("R-09 the phone is pushed half-way all the same", () => {
    const rig = granted(100);
    rig.pass(91_000);
    expect(rig.pushes).toHaveLength(2);
    expect(text(rig)).toContain("at risk");
  });

  test("R-09 the warning comes once, not with every REGISTER", () => {
    const rig = granted(120);
    for (let cseq = 2; cseq < 6; cseq++) {
      const phone = rig.phone("192.0.2.7", 40_000 + cseq, "tcp");
      rig.receive(phone, register(phone, { contacts: [PUSHABLE], expires: 3600, cseq }));
      rig.fromPbx(accepted(rig.one(rig.pbx)).replace(/;expires=\d+/, ";expires=120"));
      rig.pass(1000);
    }
    expect(rig.logged.filter(({ message }) => message.includes("grants only"))).toHaveLength(1);
  });
});
