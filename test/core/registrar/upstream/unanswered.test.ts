import { describe, expect, test } from "bun:test";
import { UnansweredRegisters } from "../../../../src/core/registrar/upstream/unanswered.ts";
import { PbxModel } from "../pbx_model.ts";
import { answer, headers, register, registered, type RegisterText, Rig, statusLine, type TestFlow } from "../rig.ts";

const AOR = "alice@example.org";
const MODES = ["aor", "contact"] as const;

/** What ends or shortens what the PBX holds for a phone that asked for two hours. */
const LESS: [name: string, text: RegisterText][] = [
  ["a removal", { expires: 0, cseq: 2 }],
  ["a wildcard", { expires: 0, cseq: 2, contacts: ["*"] }],
  ["a shorter expiry", { expires: 60, cseq: 2, lines: ["X: 1"] }],
];

function world(mode: (typeof MODES)[number], pbx = new PbxModel()): { rig: Rig; phone: TestFlow; pbx: PbxModel } {
  const rig = new Rig({ pbx: { mode, expires: 600_000 } });
  const phone = rig.phone("192.0.2.7");
  rig.receive(phone, register(phone, { expires: 7200 }));
  rig.fromPbx(pbx.take(rig.one(rig.pbx), rig.clock.nowMs));
  rig.one(phone);
  return { rig, phone, pbx };
}

/** True if a REGISTER is answered here. */
function isAbsorbed(rig: Rig, phone: TestFlow, cseq: number): boolean {
  rig.receive(phone, register(phone, { expires: 300, cseq }));
  return rig.take(rig.pbx).length === 0 && statusLine(rig.one(phone)) === "SIP/2.0 200 OK";
}

describe("R-05 while the PBX's answer to less is not known, no more is believed of it", () => {
  for (const mode of MODES) {
    for (const [name, text] of LESS) {
      // A shorter expiry would be absorbed, were it not the answer to a challenge.
      const send = (rig: Rig, phone: TestFlow): string => {
        if (text.expires !== 0) {
          rig.receive(phone, register(phone, { expires: 7200, cseq: 2, callId: "other" }));
          rig.fromPbx(answer(rig.one(rig.pbx), "401 Unauthorized", ['WWW-Authenticate: Digest realm="r", nonce="n"']));
          rig.one(phone);
          rig.receive(phone, register(phone, { ...text, callId: "other", cseq: 3 }));
        } else rig.receive(phone, register(phone, text));
        return rig.one(rig.pbx);
      };

      test(`R-05 ${mode}: ${name} that the PBX never answers: the phone's next REGISTER goes there`, () => {
        const { rig, phone } = world(mode);
        send(rig, phone);
        rig.pass(33_000);
        rig.take(rig.pbx);
        expect(statusLine(rig.take(phone).at(-1)!)).toStartWith("SIP/2.0 504");
        expect(rig.core.usrloc.find(AOR)!.contacts).toHaveLength(1);
        // A shorter grant than was believed in is no reason to ask as long as it lasts.
        const isStillHeld = text.expires !== 0;
        expect(isAbsorbed(rig, phone, 10)).toBe(isStillHeld);
        if (!isStillHeld) return;
        rig.pass(300_000);
        expect(isAbsorbed(rig, phone, 11)).toBe(false);
      });

      test(`R-05 ${mode}: ${name} that the PBX refuses: all is as it was`, () => {
        const { rig, phone } = world(mode);
        const before = { ...rig.core.usrloc.find(AOR)!.upstream };
        const wire = send(rig, phone);
        expect(headers(wire, "CSeq")[0]).toEndWith("REGISTER");
        rig.fromPbx(answer(wire, "403 Forbidden"));
        rig.take(phone);
        expect(rig.core.usrloc.find(AOR)!.upstream).toEqual(before);
        rig.pass(400_000);
        expect(isAbsorbed(rig, phone, 10)).toBe(true);
      });
    }

    test(`R-17 ${mode}: of two at the PBX whose answers cross, what the later one was granted counts`, () => {
      // In mode aor the second one asks for no less than the first one does right now: another device may have sent it.
      for (const [expires, granted] of [[[7200, 60], mode === "aor" ? 7200 : 600], [[60, 7200], 7200]] as const) {
        for (const order of [[0, 1], [1, 0]]) {
          const rig = new Rig({ pbx: { mode, expires: 600_000 } });
          const pbx = new PbxModel();
          const phone = rig.phone("192.0.2.7");
          const answers = expires.map((seconds, i) => {
            rig.receive(phone, register(phone, { expires: seconds, cseq: i + 1 }));
            return pbx.take(rig.one(rig.pbx), rig.clock.nowMs);
          });
          for (const n of order) rig.fromPbx(answers[n]!);
          rig.take(phone);
          const { upstreamEndsMs } = rig.outlookOf(rig.core.usrloc.find(AOR)!.contacts[0]!);
          expect(upstreamEndsMs - rig.clock.nowMs).toBe(granted * 1000);
        }
      }
    });

    test(`R-17 ${mode}: a removal behind a refresh is in doubt, whatever the refresh was granted, if the PBX is told of it`, () => {
      const { rig, phone, pbx } = world(mode);
      rig.receive(
        phone,
        register(phone, { expires: 7200, cseq: 2, lines: ["X: 1"], contacts: ["<sip:alice@192.0.2.7:5060>;x=1"] }),
      );
      const refreshed = pbx.take(rig.one(rig.pbx), rig.clock.nowMs);
      rig.receive(phone, register(phone, { expires: 0, cseq: 3 }));
      const asked = Number(/expires=(\d+)/.exec(headers(rig.one(rig.pbx), "Contact")[0]!)![1]);
      expect(asked).toBe(mode === "aor" ? 7200 : 0);
      rig.fromPbx(refreshed);
      const contact = rig.core.usrloc.find(AOR)!.contacts[0]!;
      expect(rig.outlookOf(contact).upstreamEndsMs).toBe(rig.clock.nowMs + asked * 1000);
      expect(contact.aor.upstream.provenMs).toBeUndefined();
    });
  }

  test("R-08 the last of an AoR that leaves is in doubt, but not forgotten before the PBX has said so", () => {
    const { rig, phone } = world("aor");
    rig.receive(phone, register(phone, { expires: 0, cseq: 2 }));
    expect(rig.core.usrloc.find(AOR)!.contacts).toHaveLength(1);
    rig.fromPbx(answer(rig.one(rig.pbx), "500 Error"));
    rig.one(phone);
    expect(rig.core.usrloc.find(AOR)!.upstream.state).toBe("registered");
    registered(rig, phone, { expires: 0, cseq: 3 });
    expect(rig.core.usrloc.aorCount).toBe(0);
  });

  test("R-08 what may be there all the same is ended when its device expires", () => {
    for (const mode of MODES) {
      const { rig, phone } = world(mode);
      registered(rig, phone, { expires: 300, cseq: 2, contacts: ["<sip:alice@192.0.2.7:5060>;x=1"] });
      rig.receive(phone, register(phone, { expires: 0, cseq: 3 }));
      rig.pass(33_000);
      rig.sent.length = 0;
      rig.pass(300_000 - 33_000);
      expect(headers(rig.take(rig.pbx)[0]!, "Contact")[0]).toEndWith(";expires=0");
    }
  });

  test("R-05 R-09 a PBX that was away may have lost all: nobody is answered in its place before it has granted anew", () => {
    for (const mode of MODES) {
      const rig = new Rig({ pbx: { mode, trusts_us: true, expires: 3_600_000, qualify: 30_000 } });
      const pbx = new PbxModel();
      const phones = [rig.phone("192.0.2.7"), rig.phone("192.0.2.8")];
      /** Everything the PBX gets is answered, if it is there. */
      const settle = (isThere: boolean): number => {
        let registers = 0;
        for (const wire of rig.take(rig.pbx)) {
          if (wire.startsWith("REGISTER")) registers++;
          if (isThere) {
            rig.fromPbx(wire.startsWith("REGISTER") ? pbx.take(wire, rig.clock.nowMs) : answer(wire, "200 OK"));
          }
        }
        return registers;
      };
      const ask = (phone: TestFlow, cseq: number): number => {
        rig.receive(
          phone,
          register(phone, { expires: 600, cseq, callId: phone.key, user: phone === phones[0] ? "alice" : "bob" }),
        );
        return settle(true);
      };
      for (const phone of phones) expect(ask(phone, 1)).toBe(1);
      for (const phone of phones) expect(ask(phone, 2)).toBe(0);
      rig.pass(0);
      settle(true);
      for (let ms = 0; ms < 70_000; ms += 1000) {
        rig.pass(1000);
        settle(false);
      }
      for (const phone of phones) rig.take(phone);
      expect(rig.logText).toContain("The PBX does not answer");
      pbx.bindings.clear();
      for (let ms = 0; !rig.logText.includes("answers again"); ms += 100) {
        rig.pass(100);
        settle(true);
      }
      // The one asks by itself, the other one's binding is renewed by us.
      expect(ask(phones[0]!, 3)).toBe(1);
      expect(ask(phones[0]!, 4)).toBe(0);
      let renewed = 0;
      for (let ms = 0; ms < 6000; ms += 100) {
        rig.pass(100);
        renewed += settle(true);
      }
      expect(renewed).toBe(1);
      expect(ask(phones[1]!, 3)).toBe(0);
      for (const key of [AOR, "bob@example.org"]) expect(pbx.live(key, rig.clock.nowMs)).toHaveLength(1);
    }
  });

  test("R-14 a question puts nothing in doubt, nor does who asks for more", () => {
    for (const mode of MODES) {
      const { rig, phone } = world(mode);
      const { changeCount } = rig;
      rig.receive(phone, register(phone, { contacts: [], cseq: 2 }));
      rig.receive(phone, register(phone, { expires: 9000, cseq: 3 }));
      expect(rig.changeCount).toBe(changeCount);
    }
  });

  test("R-17 R-18 what is granted first is believed only as far as what was asked behind it, also of somebody new", () => {
    // In mode aor the PBX is asked for no less than before, as another device may be the one that needs it.
    const rig = new Rig({ pbx: { mode: "contact", expires: 60_000 } });
    const pbx = new PbxModel();
    const phone = rig.phone("192.0.2.7");
    rig.receive(phone, register(phone, { expires: 7200 }));
    const granted = pbx.take(rig.one(rig.pbx), rig.clock.nowMs);
    rig.receive(phone, register(phone, { expires: 300, cseq: 2 }));
    expect(headers(rig.one(rig.pbx), "Contact")[0]).toEndWith(";expires=300");
    rig.fromPbx(granted);
    const contact = rig.core.usrloc.find(AOR)!.contacts[0]!;
    expect(contact.upstreamEndsMs).toBe(rig.clock.nowMs + 300_000);
  });

  test("R-17 R-02 an answer from before another device came does not tell that the PBX dropped it", () => {
    const rig = new Rig({ pbx: { mode: "contact", expires: 60_000 } });
    const pbx = new PbxModel();
    const answers = [7, 8].map((host) => {
      const phone = rig.phone(`192.0.2.${host}`);
      rig.receive(phone, register(phone, { expires: 600, callId: phone.key }));
      return pbx.take(rig.one(rig.pbx), rig.clock.nowMs);
    });
    expect(answers.map((text) => headers(text, "Contact").length)).toEqual([1, 2]);
    for (const text of answers.toReversed()) rig.fromPbx(text);
    const contacts = rig.core.usrloc.find(AOR)!.contacts;
    expect(contacts.map(({ isDropped }) => isDropped)).toEqual([false, false]);
    expect(rig.logText).not.toContain("dropped");
  });

  test("R-17 nothing is remembered once all are answered", () => {
    const rig = new Rig();
    const doubts = new UnansweredRegisters(rig.core.usrloc);
    registered(rig, rig.phone("192.0.2.7"), { expires: 7200 });
    const aor = rig.core.usrloc.find(AOR)!;
    const asked = new Map([[aor.id, 60]]);
    const [first, second] = [1, 2].map((order) => doubts.begin(AOR, order, asked, true, rig.clock.nowMs - order));
    expect([doubts.size, aor.contacts[0]!.isRegistered]).toEqual([1, true]);
    doubts.end(AOR, 2, second!);
    doubts.end(AOR, 1, first!);
    expect(doubts.size).toBe(0);
  });
});
