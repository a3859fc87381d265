import { describe, expect, test } from "bun:test";
import { accepted, headers, register, registered, type RegisterText, Rig, statusLine, type TestFlow } from "../rig.ts";

const ROUTES = ["<sip:edge.pbx.example;lr>, <sip:core.pbx.example;lr>", "<sip:far.pbx.example;lr>"];
const LINES = [
  `Service-Route: ${ROUTES[0]}`,
  `sErVice-route : ${ROUTES[1]}`,
  "P-ASSOCIATED-URI: <tel:+1555>",
  "X-Other: 1",
];

/** A REGISTER that goes to the PBX, whose 200 has these lines too. */
function through(rig: Rig, phone: TestFlow, text: RegisterText, lines: string[]): string {
  rig.receive(phone, register(phone, text));
  rig.fromPbx(accepted(rig.one(rig.pbx), undefined, lines));
  return rig.one(phone);
}

function absorbed(rig: Rig, phone: TestFlow, cseq: number): string {
  rig.receive(phone, register(phone, { expires: 60, cseq }));
  expect(rig.take(rig.pbx)).toEqual([]);
  const reply = rig.one(phone);
  expect(statusLine(reply)).toBe("SIP/2.0 200 OK");
  return reply;
}

function said(reply: string): string[] {
  return [...headers(reply, "Service-Route"), ...headers(reply, "P-Associated-URI"), ...headers(reply, "X-Other")];
}

describe("R-01 R-05 a phone whose refresh is absorbed hears what the PBX said to it last", () => {
  for (const mode of ["aor", "contact"] as const) {
    test(`R-05 ${mode}: Service-Route (RFC 3608) and P-Associated-URI, line by line, and nothing else`, () => {
      const rig = new Rig({ pbx: { mode } });
      const phone = rig.phone("192.0.2.7");
      through(rig, phone, { expires: 60 }, LINES);
      for (const cseq of [2, 3]) expect(said(absorbed(rig, phone, cseq))).toEqual([...ROUTES, "<tel:+1555>"]);
      // The other device of the user has it from the same PBX.
      const other = rig.phone("192.0.2.8");
      through(rig, other, { expires: 60 }, LINES.slice(0, 1));
      expect(said(absorbed(rig, other, 2))).toEqual([ROUTES[0]!]);
    });
  }

  test("R-05 what the next 2xx of the PBX does not say any more is forgotten; one of its own REGISTERs forgets nothing", () => {
    const rig = new Rig({ pbx: { trusts_us: true } });
    const phone = rig.phone("192.0.2.7");
    through(rig, phone, { expires: 3600 }, LINES);
    while (rig.sent.length === 0) rig.pass(rig.core.schedule.nextMs - rig.clock.nowMs);
    rig.fromPbx(accepted(rig.one(rig.pbx)));
    expect(said(absorbed(rig, phone, 2))).toEqual([...ROUTES, "<tel:+1555>"]);
    through(rig, phone, { expires: 60, contacts: ["<sip:alice@192.0.2.7:5060>;x=1"], cseq: 1000 }, []);
    rig.receive(phone, register(phone, { expires: 60, contacts: ["<sip:alice@192.0.2.7:5060>;x=1"], cseq: 1001 }));
    expect(said(rig.one(phone))).toEqual([]);
  });

  test("R-05 a folded line is said in one, and what is longer than 2 kB is not kept", () => {
    const rig = new Rig();
    const phone = rig.phone("192.0.2.7");
    through(rig, phone, { expires: 60 }, [`Service-Route: <sip:a;lr>,\r\n <sip:b;lr>`]);
    expect(said(absorbed(rig, phone, 2))).toEqual(["<sip:a;lr>, <sip:b;lr>"]);
    const other = rig.phone("192.0.2.8");
    through(rig, other, { expires: 60 }, [`Service-Route: <sip:${"a".repeat(2048)};lr>`, ...LINES]);
    expect(said(absorbed(rig, other, 2))).toEqual([]);
  });

  test("R-08 they go with the last device", () => {
    const rig = new Rig();
    const phone = rig.phone("192.0.2.7");
    through(rig, phone, { expires: 600 }, LINES);
    registered(rig, phone, { expires: 0, cseq: 2 });
    expect(rig.core.usrloc.aorCount).toBe(0);
    registered(rig, phone, { expires: 60, cseq: 3 });
    expect(said(absorbed(rig, phone, 4))).toEqual([]);
  });
});
