import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import type { Contact } from "../../../src/core/usrloc/contact.ts";
import { storedContact } from "../usrloc/stored.ts";
import { register, type RegisterText, Rig, statusLine } from "./rig.ts";

const AOR = "alice@example.org";
const PUSH = "pn-provider=acme;pn-prid=";

function trusting(options = {}): Rig {
  return new Rig({ pbx: false, trust: ["192.0.2.0/24"], ...options });
}

/** Asked about every REGISTER though it fits none: so each Contact is read, whatever is known of it. */
const READING = { devices: [{ user_agent: "^nobody$", header: null, kind: "" as const, push: null }] };

function bindings(rig: Rig): Contact[] {
  return (rig.core.usrloc.find(AOR)?.contacts ?? []);
}

/** Registers twice, with something between; true if the second Contact was only compared. */
function isRepeated(first: string[], second: string[], between: (rig: Rig) => void = () => {}, options = {}): boolean {
  const rig = trusting(options);
  const phone = rig.phone("192.0.2.7");
  rig.receive(phone, register(phone, { contacts: first, expires: 600, cseq: 1 }));
  between(rig);
  // Changed behind its back: a reader would put it right.
  bindings(rig)[0]!.kind = "desk";
  rig.receive(phone, register(phone, { contacts: second, expires: 600, cseq: 2 }));
  return bindings(rig)[0]!.kind === "desk";
}

describe("N-01 a Contact that is repeated to the byte is not read again", () => {
  const contact = `<sip:alice@192.0.2.7;${PUSH}tok>;+sip.instance="<urn:uuid:1>"`;

  const cases: [string, string[], boolean][] = [
    ["the same", [contact], true],
    ["the same and an expires parameter", [`${contact};expires=300`], true],
    ["the same and an expires parameter in capitals", [`${contact};EXPIRES=300`], true],
    ["another token", [contact.replace("tok", "tux")], false],
    ["a longer token", [contact.replace("tok", "token")], false],
    ["another parameter behind", [`${contact};q=0.5`], false],
    ["an expires parameter that is no number", [`${contact};expires=soon`], false],
    ["an expires parameter and more behind", [`${contact};expires=300;q=0.5`], false],
    ["a display name", [`Alice ${contact}`], false],
    ["two of them", [contact, "<sip:alice@192.0.2.8>"], false],
    ["two of them in one line", [`${contact}, <sip:alice@192.0.2.8>`], false],
  ];
  test.each(cases)("N-01 %s", (_, second, expected) => {
    expect(isRepeated([contact], second)).toBe(expected);
  });

  test("N-01 with devices rules it is, as a rule may ask for any header", () => {
    expect(isRepeated([contact], [contact], undefined, READING)).toBe(false);
  });

  test("P-04 with a dead token it is, as it comes to life by being registered", () => {
    const die = (rig: Rig) => {
      bindings(rig)[0]!.push!.tokenState = "dead";
      rig.core.usrloc.touched(bindings(rig)[0]!);
    };
    expect(isRepeated([contact], [contact], die)).toBe(false);
  });

  test("W-18 after the control port changed the device it is, as the phone has the last word", () => {
    const change = (rig: Rig) => {
      const known = bindings(rig)[0]!;
      const { uri, params, flowKey } = known;
      rig.core.usrloc.save(known.aor, known, known.id, { ...known, uri, params, flowKey, kind: "desk" }, known.flow);
    };
    expect(isRepeated([contact], [contact], change)).toBe(false);
  });
});

test("N-01 any row of REGISTERs leaves the same, whether repeated Contacts are read or compared", () => {
  const uri = fc.constantFrom(
    "sip:alice@192.0.2.7",
    "sip:alice@192.0.2.7:5060",
    `sip:alice@192.0.2.7;${PUSH}a`,
    `sip:bob@192.0.2.8;${PUSH}b`,
  );
  const params = fc.constantFrom(
    "",
    `;+sip.instance="<urn:uuid:1>"`,
    `;+sip.instance="<urn:uuid:2>";reg-id=1`,
    ";q=0.5",
    ";expires=0",
    ";expires=90",
    ";expires=9;q=0.1",
  );
  const contact = fc.tuple(uri, params, params).map(([text, first, second]) => `<${text}>${first}${second}`);
  const step = fc.record({
    contacts: fc.array(contact, { minLength: 1, maxLength: 2 }),
    repeat: fc.integer({ min: 1, max: 3 }),
    expires: fc.constantFrom(undefined, 0, 60, 600),
    callId: fc.constantFrom("one", "two"),
    port: fc.constantFrom(5060, 5070),
    agent: fc.constantFrom("Phone/1", "Phone/2"),
    path: fc.constantFrom([], ["Path: <sip:edge;lr>"]),
    event: fc.constantFrom("none", "none", "dead", "later"),
  });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 12 }), (steps) => {
      const rigs = [trusting(), trusting(READING)] as const;
      let cseq = 0;
      for (const { contacts, repeat, expires, callId, port, agent, path, event } of steps) {
        for (let n = 0; n < repeat; n++) {
          cseq++;
          const text: RegisterText = {
            contacts,
            expires,
            callId,
            cseq,
            branch: `z9hG4bK${cseq}`,
            lines: [`User-Agent: ${agent}`, ...path],
          };
          const replies = rigs.map((rig) => {
            const phone = rig.phone("192.0.2.7", port);
            if (event === "later") rig.clock.nowMs += 40_000;
            for (const contact of bindings(rig)) {
              if (event !== "dead" || contact.push === null) continue;
              contact.push.tokenState = "dead";
              rig.core.usrloc.touched(contact);
            }
            rig.receive(phone, register(phone, text));
            return rig.one(phone);
          });
          expect(replies[0]).toBe(replies[1]);
          expect(bindings(rigs[0]).map(storedContact)).toEqual(bindings(rigs[1]).map(storedContact));
          expect(statusLine(replies[0]!)).toMatch(/^SIP\/2.0 [24]/);
        }
      }
    }),
    { numRuns: 300 },
  );
});
