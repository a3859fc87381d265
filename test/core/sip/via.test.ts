import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { parseVia, Via, viaValue } from "../../../src/core/sip/via.ts";
import { flowOf } from "./sample.ts";

const read = (text: string) => parseVia(text, 0, text.length);

describe("F-02 Via is read as RFC 3261 §20.42 spells it", () => {
  const cases: [text: string, parts: Partial<Via>][] = [
    ["SIP/2.0/UDP a;branch=z9hG4bKx", { transport: "UDP", host: "a", port: 0, branch: "z9hg4bkx", isListHead: false }],
    ["SIP/2.0/tls A.Example:5061", { transport: "TLS", host: "a.example", port: 5061, branch: "" }],
    ["sip / 2.0 / WSS\t[2001:DB8::1] : 443 ; Branch = z", {
      transport: "WSS",
      host: "[2001:db8::1]",
      port: 443,
      branch: "z",
    }],
    ["SIP\r\n /\r\n 2.0\r\n / UDP\r\n a\r\n :\r\n 5060\r\n ;\r\n rport", { host: "a", port: 5060, rport: 0 }],
    ["SIP/9.0/UDP a:59", { port: 59 }],
    ["SIP/7.0/X-New a", { transport: "X-NEW", host: "a" }],
    ["SIP/2.0/UDP a;rport=65535;received=[::1]", { rport: 65535, received: "[::1]" }],
    ["SIP/2.0/UDP a;received", { received: "" }],
    ["SIP/2.0/UDP a;ttl=1;maddr=b;x", { rport: undefined, received: undefined }],
    ['SIP/2.0/UDP a;x=",",SIP/2.0/UDP b;branch=c', { host: "a", branch: "", isListHead: true }],
    ["SIP/2.0/UDP a , SIP/2.0/UDP b", { start: 0, end: 13, isListHead: true }],
  ];
  for (const [text, parts] of cases) {
    test(JSON.stringify(text), () => expect(read(text)).toMatchObject(parts));
  }

  const refused = [
    "",
    "SIP/2.0/UDP",
    "SIP/2.0/UDP ",
    "SIP/2.0/ a",
    "SIP/2.0 a",
    "SIP2.0/UDP a",
    "HTTP/2.0/UDP a",
    "/2.0/UDP a",
    "SIP/2.0/UDPa",
    "SIP/2.0/U@P a",
    "SIP/2.0/UDP ;branch=x",
    "SIP/2.0/UDP :5060",
    "SIP/2.0/UDP a:",
    "SIP/2.0/UDP a:0",
    "SIP/2.0/UDP a:5:",
    "SIP/2:0/UDP a",
    "SIP/2.0/UDP a:65536",
    "SIP/2.0/UDP a b",
    "SIP/2.0/UDP a:5060 b",
    "SIP/2.0/UDP [::1",
    "SIP/2.0/UDP [::1]x",
    "SIP/2.0/UDP a;branch",
    "SIP/2.0/UDP a;rport=x",
    "SIP/2.0/UDP a;rport=65536",
    "SIP/2.0/UDP a;",
    "SIP/2.0/UDP a;;x",
    "SIP/2.0/UDP a;=x",
    'SIP/2.0/UDP a;x="',
    'SIP/2.0/UDP a;x=<">',
    "SIP/2.0/UDP a;x=<",
    ",SIP/2.0/UDP a",
  ];
  for (const text of refused) {
    test(`refuses ${JSON.stringify(text)}`, () => expect(read(text)).toBeNull());
  }

  test("sent-by is host and port as they stand", () => {
    expect([read("SIP/2.0/UDP A:5060")!.sentBy, read("SIP/2.0/UDP A")!.sentBy]).toEqual(["a:5060", "a"]);
  });

  test("the same in the middle of any text", () => {
    const piece = fc.constantFrom(
      "SIP",
      "/",
      "2.0",
      "UDP",
      " ",
      "a",
      "[",
      "::1",
      "]",
      ":",
      "5060",
      ";",
      "branch=",
      "rport",
      '"',
      ",",
      "<",
      ">",
    );
    const any = fc.array(piece, { maxLength: 8 }).map((pieces) => pieces.join(""));
    const known = fc.constantFrom(...cases.map(([text]) => text), ...refused);
    fc.assert(
      fc.property(any, fc.oneof(any, known), any, (before, text, behind) => {
        const inPlace = parseVia(before + text + behind, before.length, before.length + text.length);
        const alone = read(text);
        // Positions are those in the whole text; of what is absent there are none.
        const moved = (via: Via, by: number) => ({
          texts: [via.transport, via.host, via.branch, via.received, via.sentBy],
          numbers: [via.port, via.rport, via.start - by, via.end - by, via.isListHead],
          ...(via.branchEnd > 0 ? { branchStart: via.branchStart - by, branchEnd: via.branchEnd - by } : {}),
          ...(via.rportEnd > 0 ? { rportNameEnd: via.rportNameEnd - by, rportEnd: via.rportEnd - by } : {}),
        });
        expect(inPlace && moved(inPlace, before.length)).toEqual(alone && moved(alone, 0));
      }),
      { numRuns: 5000 },
    );
  });

  test("nothing is read beyond the bounds given", () => {
    const text = "v: SIP/2.0/UDP a;branch=b\r\nX: ;rport";
    expect(parseVia(text, 3, 25)).toMatchObject({ start: 3, end: 25, branch: "b", rport: undefined });
    expect(parseVia(text, 3, 11)).toBeNull();
    expect(parseVia("SIP/2.0", 0, 2)).toBeNull();
  });
});

test("F-01 our Via asks for rport where the answer must find its way back by it (RFC 3581)", () => {
  expect(viaValue(flowOf(), "z9hG4bKx")).toBe("SIP/2.0/UDP us.example.org:5060;branch=z9hG4bKx;rport");
  for (const transport of ["tcp", "tls", "ws", "wss"] as const) {
    expect(viaValue(flowOf({ transport }), "z9hG4bKx")).toBe(
      `SIP/2.0/${transport.toUpperCase()} us.example.org:5060;branch=z9hG4bKx`,
    );
  }
});
