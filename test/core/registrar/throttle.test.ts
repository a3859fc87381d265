import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { Challenged, marginMs } from "../../../src/core/registrar/throttle.ts";
import { PbxModel } from "./pbx_model.ts";
import {
  accepted,
  answer,
  contactsOf,
  headers,
  register,
  registered,
  type RegisterText,
  Rig,
  statusLine,
  type TestFlow,
} from "./rig.ts";

const AOR = "alice@example.org";
const THROTTLED = ["aor", "contact"] as const;

/** A REGISTER that must be answered without the PBX. */
function absorbed(rig: Rig, flow: TestFlow, text: RegisterText): string {
  rig.receive(flow, register(flow, text));
  expect(rig.sent.filter((sent) => sent.flow === rig.pbx)).toEqual([]);
  return rig.one(flow);
}

/** A REGISTER that must reach the PBX; what the PBX got. */
function forwarded(rig: Rig, flow: TestFlow, text: RegisterText): string {
  rig.receive(flow, register(flow, text));
  return rig.one(rig.pbx);
}

describe("R-05 throttling", () => {
  for (const mode of THROTTLED) {
    test(`R-05 ${mode}: a refresh is answered here as long as the PBX's binding outlives what the phone is granted`, () => {
      const rig = new Rig({ pbx: { mode, expires: 3_600_000 } });
      const phone = rig.phone("192.0.2.7");
      registered(rig, phone, { expires: 60 });
      let cseq = 1;
      // margin = max(10 s, 10 %) = 10 s: absorbed while at least 70 s are left.
      for (let passed = 50; 3600 - passed >= 70; passed += 50) {
        rig.pass(50_000);
        const reply = absorbed(rig, phone, { expires: 60, cseq: ++cseq });
        expect(statusLine(reply)).toBe("SIP/2.0 200 OK");
        expect(headers(reply, "Contact")).toEqual(["<sip:alice@192.0.2.7:5060>;expires=60"]);
      }
      rig.pass(50_000);
      const upstream = forwarded(rig, phone, { expires: 60, cseq: ++cseq });
      expect(headers(upstream, "Contact")[0]).toEndWith(";expires=3600");
      rig.fromPbx(accepted(upstream));
      rig.one(phone);
      absorbed(rig, phone, { expires: 60, cseq: ++cseq });
      expect(contactsOf(rig)).toHaveLength(1);
    });

    test(`R-05 ${mode}: the rule holds to the millisecond for every expiry (the margin is 10 %, at least 10 s)`, () => {
      for (const granted of [60, 99, 100, 101, 600, 1200]) {
        for (const [slackMs, isAbsorbed] of [[0, true], [-1, false]] as const) {
          const rig = new Rig({ pbx: { mode, expires: 7_200_000 } });
          const phone = rig.phone("192.0.2.7");
          registered(rig, phone, { expires: 7200 });
          rig.pass(7_200_000 - granted * 1000 - marginMs(granted) - slackMs);
          const text = { expires: granted, cseq: 2 };
          if (isAbsorbed) absorbed(rig, phone, text);
          else forwarded(rig, phone, text);
        }
      }
    });

    const cases: [name: string, text: RegisterText][] = [
      ["a changed Contact", { contacts: ["<sip:alice@192.0.2.7:5060>;x=1"], cseq: 2 }],
      ["a new device", { contacts: ['<sip:alice@192.0.2.7:5060>;+sip.instance="<urn:uuid:2>"'], cseq: 2 }],
      ["a de-registration of the last device", { expires: 0, cseq: 2 }],
      ["the wildcard", { contacts: ["*"], expires: 0, cseq: 2 }],
      ["a fetch", { contacts: [], cseq: 2 }],
      ["an expiry the binding does not outlive", { expires: 7200, cseq: 2 }],
      ["a Path that was not there", { lines: ["Path: <sip:edge.example.org;lr>"], cseq: 2 }],
    ];
    for (const [name, text] of cases) {
      test(`R-05 ${mode}: ${name} is forwarded`, () => {
        const rig = new Rig({ pbx: { mode } });
        const phone = rig.phone("192.0.2.7");
        registered(rig, phone, { expires: 600 });
        forwarded(rig, phone, { expires: 600, ...text });
      });
    }

    test(`R-05 ${mode}: old credentials in a refresh are no reason to ask the PBX, the answer to a relayed challenge is`, () => {
      const rig = new Rig({ pbx: { mode } });
      const phone = rig.phone("192.0.2.7");
      const credentials = [
        'Authorization: Digest username="alice", realm="pbx", nonce="n1", uri="sip:example.org", response="0"',
      ];
      registered(rig, phone, { expires: 600, lines: credentials });
      absorbed(rig, phone, { expires: 600, cseq: 2, lines: credentials });
      // A move is challenged; its answer comes over a flow we trust by then.
      const upstream = forwarded(rig, phone, { expires: 600, cseq: 3, contacts: ["<sip:alice@192.0.2.7:5060>;x=1"] });
      rig.fromPbx(answer(upstream, "401 Unauthorized", ['WWW-Authenticate: Digest realm="pbx", nonce="n2"']));
      rig.one(phone);
      forwarded(rig, phone, { expires: 600, cseq: 4, lines: credentials });
    });
  }

  test("R-05 mirror: every REGISTER is forwarded", () => {
    const rig = new Rig({ pbx: { mode: "mirror" } });
    const phone = rig.phone("192.0.2.7");
    registered(rig, phone, { expires: 600 });
    forwarded(rig, phone, { expires: 600, cseq: 2 });
  });

  test("R-05 aor: a second device with a short expiry does not make the first one's refresh unsafe", () => {
    const rig = new Rig({ pbx: { expires: 600_000 } });
    registered(rig, rig.phone("192.0.2.7"), { expires: 600 });
    rig.pass(300_000);
    registered(rig, rig.phone("192.0.2.8"), { expires: 60 });
    // The second REGISTER extended the PBX's binding to 600 s from then; 540 is not outlived with its margin.
    absorbed(rig, rig.phone("192.0.2.7"), { expires: 540, cseq: 2 });
    rig.pass(1);
    forwarded(rig, rig.phone("192.0.2.7"), { expires: 546, cseq: 3 });
  });

  test("R-05 a PBX that grants less than it was asked is asked again in time", () => {
    const rig = new Rig();
    const phone = rig.phone("192.0.2.7");
    const upstream = forwarded(rig, phone, { expires: 600 });
    rig.fromPbx(accepted(upstream).replace(/;expires=3600/, ";expires=120"));
    expect(headers(rig.one(phone), "Contact")[0]).toEndWith(";expires=120");
    rig.pass(10_000);
    absorbed(rig, phone, { expires: 60, cseq: 2 });
    forwarded(rig, phone, { expires: 120, cseq: 3 });
  });

  test("R-05 while a REGISTER of the AoR is at the PBX nothing is absorbed: the answer may change everything", () => {
    const rig = new Rig();
    registered(rig, rig.phone("192.0.2.7"), { expires: 60 });
    forwarded(rig, rig.phone("192.0.2.8"), { expires: 0 });
    forwarded(rig, rig.phone("192.0.2.7"), { expires: 60, cseq: 2 });
  });

  test("R-05 what is remembered of relayed challenges is bounded, the oldest goes", () => {
    const challenged = new Challenged(3);
    for (const callId of ["a", "b", "c", "a", "d"]) challenged.add(callId);
    expect(challenged.size).toBe(3);
    expect(["a", "b", "c", "d"].map((callId) => challenged.take(callId))).toEqual([true, false, true, true]);
    expect(challenged.take("a")).toBe(false);
  });
});

describe("R-06 an absorbed REGISTER is authentic", () => {
  for (const mode of THROTTLED) {
    const foreign: [name: string, flow: (rig: Rig) => TestFlow, text: RegisterText][] = [
      ["another address", (rig) => rig.phone("198.51.100.66"), { cseq: 2 }],
      ["another port", (rig) => rig.phone("192.0.2.7", 5061), { cseq: 2 }],
      ["a connection", (rig) => rig.phone("192.0.2.7", 5060, "tcp"), { cseq: 2 }],
      ["the same source with another Call-ID", (rig) => rig.phone("192.0.2.7"), { cseq: 2, callId: "guessed" }],
      ["the same source with the same CSeq", (rig) => rig.phone("192.0.2.7"), { cseq: 1, branch: "z9hG4bKother" }],
    ];
    for (const [name, flowOf, text] of foreign) {
      test(`R-06 ${mode}: from ${name} it goes to the PBX, and nothing changes before its 2xx`, () => {
        const rig = new Rig({ pbx: { mode } });
        const phone = rig.phone("192.0.2.7");
        registered(rig, phone, { expires: 60 });
        const before = JSON.stringify(contactsOf(rig));
        const flow = flowOf(rig);
        forwarded(rig, flow, { expires: 60, contacts: ["<sip:alice@192.0.2.7:5060>"], ...text });
        expect(JSON.stringify(contactsOf(rig))).toBe(before);
        expect(rig.sent.filter((sent) => sent.flow === flow)).toEqual([]);
      });
    }
  }

  test("R-06 over the very connection the PBX accepted, a refresh is absorbed, and resumes calls like any other", () => {
    const rig = new Rig();
    const phone = rig.phone("192.0.2.7", 40_000, "tcp");
    registered(rig, phone, { expires: 60, contacts: ["<sip:alice@10.1.1.1;transport=tcp>"] });
    absorbed(rig, phone, { expires: 60, contacts: ["<sip:alice@10.1.1.1;transport=tcp>"], cseq: 2, callId: "another" });
  });

  test("R-06 an address set by hand proves nobody: who registers over a connection to it goes to the PBX", () => {
    for (const isKnown of [false, true]) {
      const rig = new Rig({ pbx: { trusts_us: true } });
      if (isKnown) registered(rig, rig.phone("192.0.2.8"), { expires: 60, contacts: ["<sip:alice@192.0.2.8>"] });
      const flow = rig.phone("192.0.2.7", 5060, "tcp");
      const aor = rig.core.usrloc.ensure(AOR, "alice", "example.org", rig.core.writer.aorId(AOR));
      const known = rig.core.usrloc.find(AOR)!.contacts[0] ?? null;
      rig.setByHand(aor, known, "sip:alice@192.0.2.7:5060", flow);
      while (rig.sent.every((sent) => sent.flow !== rig.pbx)) rig.pass(rig.core.schedule.nextMs - rig.clock.nowMs);
      rig.fromPbx(accepted(rig.one(rig.pbx)));
      expect(aor.upstream.state).toBe("registered");
      forwarded(rig, flow, { expires: 60, contacts: ["<sip:alice@192.0.2.7:5060>"] });
    }
  });

  test("R-18 after a restart the flow is not proven any more: the next refresh goes to the PBX", () => {
    const rig = new Rig();
    const phone = rig.phone("192.0.2.7");
    registered(rig, phone, { expires: 60 });
    const contact = rig.core.usrloc.find(AOR)!.contacts[0]!;
    rig.core.usrloc.flowClosed(phone);
    expect(contact.flow).toBeNull();
    forwarded(rig, phone, { expires: 60, cseq: 2 });
  });
});

test("R-05 R-06 random schedules: at every absorbed 200 the PBX's binding outlives the grant, and no foreign flow is ever answered 2xx without the PBX", () => {
  const phoneStep = fc.record({
    phone: fc.integer({ min: 0, max: 3 }),
    isForeign: fc.boolean(),
    expires: fc.constantFrom(0, 60, 61, 120, 300, 900, 3600),
    pass: fc.constantFrom(0, 1, 5_000, 59_000, 200_000, 900_000),
    grant: fc.constantFrom(60, 90, 600, 3600),
  });
  fc.assert(
    fc.property(fc.constantFrom(...THROTTLED), fc.array(phoneStep, { maxLength: 40 }), (mode, steps) => {
      const rig = new Rig({ pbx: { mode, expires: 900_000 } });
      const pbx = new PbxModel();
      const cseqs = [0, 0, 0, 0];
      const answerAll = () => {
        while (rig.sent.some((sent) => sent.flow === rig.pbx)) {
          const at = rig.sent.findIndex((sent) => sent.flow === rig.pbx);
          const [sent] = rig.sent.splice(at, 1);
          rig.fromPbx(pbx.take(sent!.wire, rig.clock.nowMs));
        }
      };
      for (const { phone, isForeign, expires, pass, grant } of steps) {
        rig.pass(pass);
        answerAll();
        rig.sent.length = 0;
        pbx.policy.maxExpires = grant;
        const home = rig.phone(`192.0.2.${phone}`);
        const flow = isForeign ? rig.phone("203.0.113.9", 6000 + phone) : home;
        rig.receive(
          flow,
          register(flow, {
            expires,
            callId: `c${phone}`,
            cseq: ++cseqs[phone]!,
            contacts: [`<sip:alice@192.0.2.${phone}:5060>;+sip.instance="<urn:uuid:${phone}>"`],
          }),
        );
        const wasForwarded = rig.sent.some((sent) => sent.flow === rig.pbx);
        const reply = rig.sent.find((sent) => sent.flow === flow);
        if (reply !== undefined && statusLine(reply.wire).includes(" 200 ")) {
          expect(wasForwarded).toBe(false);
          const contact = rig.core.usrloc.find(AOR)!.contacts.find(({ instance }) => instance === `urn:uuid:${phone}`)!;
          expect(contact.flow).toBe(flow);
          const longest = Math.max(...pbx.live(AOR, rig.clock.nowMs).map(([, atMs]) => atMs));
          expect(longest).toBeGreaterThan(contact.expiresAtMs);
        }
        answerAll();
        rig.sent.length = 0;
      }
    }),
    { numRuns: 300 },
  );
});
