import { describe, expect, test } from "bun:test";
import { parseMessage } from "../../../src/core/sip/message.ts";
import { receivedVia, responseTo, withoutTopVia } from "../../../src/core/sip/response.ts";
import type { Flow } from "../../../src/core/sip/flow.ts";
import { flowOf, invite, LINES, parsed, text } from "./sample.ts";

describe("F-01 the top Via as received (RFC 3261 §18.2.1, RFC 3581 §4)", () => {
  const v6: Partial<Flow> = { remoteAddress: "2001:db8::9" };
  const cases: [name: string, via: string, expected: string, flow?: Partial<Flow>][] = [
    ["same address: untouched", "203.0.113.9:5070;branch=z", "203.0.113.9:5070;branch=z"],
    ["another address", "192.0.2.1;branch=z", "192.0.2.1;branch=z;received=203.0.113.9"],
    ["a name is another address", "phone.example;branch=z", "phone.example;branch=z;received=203.0.113.9"],
    [
      "rport is filled where it stands",
      "192.0.2.1;rport;branch=z",
      "192.0.2.1;rport=40000;branch=z;received=203.0.113.9",
    ],
    ["rport: received even if it is the same", "203.0.113.9;rport", "203.0.113.9;rport=40000;received=203.0.113.9"],
    ["a claimed rport is replaced", "192.0.2.1;rport=1;x", "192.0.2.1;rport=40000;x;received=203.0.113.9"],
    ["a claimed received is replaced", "192.0.2.1;received=10.0.0.1;x", "192.0.2.1;x;received=203.0.113.9"],
    ["as long as the true one", "192.0.2.1;received=203.0.113.8", "192.0.2.1;received=203.0.113.9"],
    ["claimed twice", "192.0.2.1;received=a;received=b", "192.0.2.1;received=203.0.113.9"],
    ["claimed where nothing is to be said", "203.0.113.9;received=10.0.0.1;x", "203.0.113.9;x"],
    ["claimed without a value", "203.0.113.9;received;x", "203.0.113.9;x"],
    [
      "white space around",
      "192.0.2.1 ; RPort ; Received = a ; x = y",
      "192.0.2.1 ; RPort=40000; x = y;received=203.0.113.9",
    ],
    [
      "quotes are not looked into",
      '192.0.2.1;x=";rport;received=a"',
      '192.0.2.1;x=";rport;received=a";received=203.0.113.9',
    ],
    ["names that only begin so", "203.0.113.9;rportx=1;xreceived=2", "203.0.113.9;rportx=1;xreceived=2"],
    ["IPv6 is compared without brackets", "[2001:db8::9];branch=z", "[2001:db8::9];branch=z", v6],
    ["IPv6 is written without brackets", "[2001:db8::8];rport", "[2001:db8::8];rport=40000;received=2001:db8::9", v6],
  ];
  for (const [name, via, expected, flow = {}] of cases) {
    for (const rest of ["", ", SIP/2.0/TCP b;received=x;rport"]) {
      test(name + (rest === "" ? "" : ", more Vias behind it"), () => {
        const message = parsed(invite([`Via: SIP/2.0/UDP ${via}${rest}`]));
        expect(receivedVia(message, flowOf(flow))).toBe("SIP/2.0/UDP " + expected);
      });
    }
  }

  test("X-06 white space without end does not hold it up", () => {
    const blank = " ".repeat(200_000);
    const message = parsed(invite([`Via: SIP/2.0/UDP a;x="${blank}";rport`]));
    expect(receivedVia(message, flowOf())).toBe(`SIP/2.0/UDP a;x="${blank}";rport=40000;received=203.0.113.9`);
  });
});

describe("F-01 a response made here (RFC 3261 §8.2.6)", () => {
  const VIA = "SIP/2.0/UDP 192.0.2.1;received=203.0.113.9";
  const answer = (raw: string, status = 486, toTag = "t1", lines = "", body = "") =>
    responseTo(parseMessage(raw), status, "Some Reason", VIA, toTag, lines, body);

  test("repeats Via, From, To, Call-ID and CSeq as they came, in their order, and nothing else", () => {
    const raw = text("INVITE sip:a@b SIP/2.0", [
      "X-Before: x",
      "cseq:  7\r\n  INVITE",
      "f  : \xe4 <sip:bob@example.org>;tag=f1",
      "v: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bKa",
      "t:sip:alice@example.org;x",
      "Via: SIP/2.0/UDP b ,SIP/2.0/UDP c",
      "i: c1",
      "VIA: SIP/2.0/TCP d",
      "Contact: <sip:bob@192.0.2.1>",
      "Record-Route: <sip:p;lr>",
      "Timestamp: 54",
      "Content-Length: 4",
    ], "body");
    expect(answer(raw)).toBe(text("SIP/2.0 486 Some Reason", [
      "cseq:  7\r\n  INVITE",
      "f  : \xe4 <sip:bob@example.org>;tag=f1",
      "Via: " + VIA,
      "t:sip:alice@example.org;x;tag=t1",
      "Via: SIP/2.0/UDP b ,SIP/2.0/UDP c",
      "i: c1",
      "VIA: SIP/2.0/TCP d",
      "Content-Length: 0",
    ]));
  });

  test("keeps the Vias behind the top one in the same line", () => {
    const raw = invite(["Via: SIP/2.0/UDP a;branch=z9hG4bKa ,\r\n SIP/2.0/TCP b , SIP/2.0/UDP c"]);
    expect(answer(raw)).toInclude(`\r\nVia: ${VIA} ,\r\n SIP/2.0/TCP b , SIP/2.0/UDP c\r\nFrom`);
  });

  test("keeps 34 Vias in their order", () => {
    const vias = Array.from({ length: 34 }, (_, i) => `${"vV"[i % 2]}ia: SIP/2.0/UDP h${i}`);
    const lines = answer(invite(["Via: SIP/2.0/UDP top"]).replace("Max-", vias.join("\r\n") + "\r\nMax-")).split(
      "\r\n",
    );
    expect(lines.slice(1, 36)).toEqual(["Via: " + VIA, ...vias]);
  });

  test("gets a To tag unless there is one", () => {
    expect(answer(invite())).toInclude("\r\nTo: <sip:alice@example.org>;tag=t1\r\n");
    expect(answer(invite(["To: <sip:alice@example.org>;tag=own"]))).toInclude(
      "\r\nTo: <sip:alice@example.org>;tag=own\r\n",
    );
    expect(answer(invite(), 100, "")).toInclude("\r\nTo: <sip:alice@example.org>\r\n");
  });

  test("never gets a second tag where To cannot be read", () => {
    expect(answer(invite(["To: <sip:a b@c>;tag=own"]), 400)).toInclude("\r\nTo: <sip:a b@c>;tag=own\r\n");
  });

  for (
    const [status, hasTimestamp, hasRecordRoute] of [
      [100, true, false],
      [101, false, true],
      [180, false, true],
      [200, false, true],
      [299, false, true],
      [300, false, false],
      [486, false, false],
    ] as const
  ) {
    test(`${status} ${hasTimestamp ? "has" : "has no"} Timestamp, ${hasRecordRoute ? "has" : "has no"} Record-Route`, () => {
      const routes = ["Record-Route: <sip:p1;lr>,<sip:p2;lr>", "record-route: <sip:p3;lr>"];
      const wire = answer(invite([...routes, "Timestamp: 54.0"]), status);
      expect(wire.includes("Timestamp: 54.0\r\n")).toBe(hasTimestamp);
      expect(wire.includes(routes.join("\r\n") + "\r\n")).toBe(hasRecordRoute);
    });
  }

  test("to a REGISTER has no Record-Route: no dialog comes of it", () => {
    const raw = text("REGISTER sip:b SIP/2.0", [...LINES.slice(0, -1), "CSeq: 1 REGISTER", "Record-Route: <sip:p>"]);
    expect(answer(raw, 200)).not.toInclude("Record-Route");
  });

  test("carries further lines and a body with its length", () => {
    const wire = answer(invite(), 200, "t1", "Contact: <sip:us>\r\nContent-Type: text/plain\r\n", "\xe4\0\r\n");
    expect(wire).toEndWith("Contact: <sip:us>\r\nContent-Type: text/plain\r\nContent-Length: 4\r\n\r\n\xe4\0\r\n");
    expect(parseMessage(wire).problem).toBeNull();
  });

  test("F-08 to a request whose headers break off repeats whole lines only", () => {
    const broken = answer(text("INVITE sip:a@b SIP/2.0", [...LINES, "no colon here", "Via: behind"], "body"), 400);
    expect(broken).toBe(text("SIP/2.0 400 Some Reason", [
      "Via: " + VIA,
      "From: Bob <sip:bob@example.org>;tag=f1",
      "To: <sip:alice@example.org>;tag=t1",
      "Call-ID: c1@192.0.2.1",
      "CSeq: 7 INVITE",
      "Content-Length: 0",
    ]));
  });
});

describe("F-02 a response on its way back loses its top Via and nothing else (RFC 3261 §16.7)", () => {
  const US = "SIP/2.0/UDP us;branch=z9hG4bKus";
  const cases: [name: string, lines: string[], left: string[] | null][] = [
    ["a line of its own", [`Via: ${US}`, "Via: SIP/2.0/UDP a"], ["Via: SIP/2.0/UDP a"]],
    ["compact, folded", [`v\t:\r\n ${US}`, "VIA:SIP/2.0/UDP a"], ["VIA:SIP/2.0/UDP a"]],
    ["joined with the next", [`Via: ${US} ,\r\n SIP/2.0/UDP a,SIP/2.0/UDP b`], ["Via: SIP/2.0/UDP a,SIP/2.0/UDP b"]],
    ["empty elements between", [`Via: ${US},, ,SIP/2.0/UDP a`], ["Via: SIP/2.0/UDP a"]],
    ["a comma and nothing behind it", [`Via: ${US} , `, "Via: SIP/2.0/UDP a"], ["Via: SIP/2.0/UDP a"]],
    ["the only one", [`Via: ${US}`], null],
    ["the only one, a comma behind it", [`Via: ${US},`], null],
  ];
  for (const [name, lines, left] of cases) {
    test(name, () => {
      const answer = (vias: string[]) => text("SIP/2.0 200 OK", ["X: y", ...vias, ...LINES.slice(1)], "body");
      const edit = withoutTopVia(parsed(answer(lines)));
      expect(edit?.build() ?? null).toBe(left === null ? null : answer(left));
    });
  }
});
