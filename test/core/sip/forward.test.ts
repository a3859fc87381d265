import { describe, expect, test } from "bun:test";
import {
  ackForFailure,
  cancelFor,
  forwardedRequest,
  type Forwarding,
  inDialogRequest,
  linesOf,
} from "../../../src/core/sip/forward.ts";
import { ROUTE } from "../../../src/core/sip/header.ts";
import { invite, LINES, parsed, response, text } from "./sample.ts";

const HOW: Forwarding = {
  uri: null,
  via: "SIP/2.0/UDP us;branch=z9hG4bKus",
  receivedVia: LINES[0]!.slice(5),
  recordRoute: [],
  routesToDrop: 0,
  route: "",
};
const START = "INVITE sip:alice@example.org SIP/2.0";

describe("F-01 a forwarded request (RFC 3261 §16.6)", () => {
  const forward = (raw: string, how: Partial<Forwarding> = {}) => forwardedRequest(parsed(raw), { ...HOW, ...how });
  const OURS = "Via: " + HOW.via;

  test("gets our Via on top and one hop less, and nothing else", () => {
    const [via, , ...rest] = LINES;
    expect(forward(invite([], "body"))).toBe(text(START, [OURS, via!, "Max-Forwards: 69", ...rest], "body"));
  });

  test("gets a new Request-URI", () => {
    expect(forward(invite(), { uri: "sip:alice@10.0.0.1;ob" })).toStartWith("INVITE sip:alice@10.0.0.1;ob SIP/2.0\r\n");
  });

  for (
    const [came, goes] of [["1", "0"], ["0068", "67"], ["70", "69"], ["255", "254"], ["256", "254"], ["65535", "254"]]
  ) {
    test(`Max-Forwards ${came} goes on as ${goes}`, () => {
      expect(forward(invite([`Max-Forwards: ${came}`]))).toInclude(`\r\nMax-Forwards: ${goes}\r\n`);
    });
  }

  test("gets Max-Forwards 70 where there was none", () => {
    const lines = LINES.filter((line) => !line.startsWith("Max"));
    expect(forward(text(START, lines))).toBe(text(START, ["Max-Forwards: 70", OURS, ...lines]));
  });

  test("the Via it came with says where it came from, also where a claim of the same length stood", () => {
    const raw = invite(["Via: SIP/2.0/UDP a;received=10.0.0.1 , SIP/2.0/UDP b;received=10.0.0.1"]);
    expect(forward(raw, { receivedVia: "SIP/2.0/UDP a;received=10.0.0.2" }))
      .toInclude("\r\nVia: SIP/2.0/UDP a;received=10.0.0.2 , SIP/2.0/UDP b;received=10.0.0.1\r\n");
  });

  test("our Record-Route and a Path stand above those that were there, wherever they stood", () => {
    const above = ["Record-Route: <sip:p1;lr>", "Route: <sip:r1;lr>"];
    const wire = forward(text(START, [...above, ...LINES]), {
      recordRoute: ["<sip:us1;lr>", "<sip:us2;lr>"],
      route: "<sip:path;lr>",
    });
    const [via, , ...rest] = LINES;
    expect(wire).toBe(text(START, [
      "Record-Route: <sip:us1;lr>",
      "Record-Route: <sip:us2;lr>",
      "Record-Route: <sip:p1;lr>",
      "Route: <sip:path;lr>",
      "Route: <sip:r1;lr>",
      OURS,
      via!,
      "Max-Forwards: 69",
      ...rest,
    ]));
  });

  test("our Record-Route and a Path stand above our Via where there were none, or only below the Vias", () => {
    const lines = [...LINES, "Record-Route: <sip:p1;lr>", "Route: <sip:r1;lr>"];
    expect(forward(text(START, lines), { recordRoute: ["<sip:us;lr>"], route: "<sip:path;lr>" }))
      .toStartWith(text(START, ["Record-Route: <sip:us;lr>", "Route: <sip:path;lr>", OURS, LINES[0]!]).slice(0, -2));
  });

  test("loses our Route elements, also where Route is the first line", () => {
    const raw = text(START, ["Route: <sip:us;lr>,<sip:us2;lr>", "Route: <sip:us3;lr> , <sip:next>", ...LINES]);
    const goes = forward(raw, { routesToDrop: 3 });
    expect(goes).toStartWith(text(START, ["Route: <sip:next>", OURS]).slice(0, -2));
    expect(forward(raw, { routesToDrop: 4 })).not.toInclude("Route");
  });
});

describe("F-01 what follows a request we sent", () => {
  const sent = parsed(text("INVITE sip:alice@10.0.0.1;ob SIP/2.0", [
    "Via: SIP/2.0/UDP us;branch=z9hG4bKus;rport,SIP/2.0/UDP a",
    "Via: SIP/2.0/UDP b",
    "Route: <sip:path;lr>",
    "Contact: <sip:bob@192.0.2.1>",
    "route: <sip:r2>",
    "Max-Forwards: 3",
    "f: \xe4 <sip:bob@example.org>;tag=f1",
    "To: <sip:alice@example.org>",
    "Call-ID: c1",
    "CSeq: 7 INVITE",
  ], "body"));
  const derived = (method: string, to: string, ...more: string[]) =>
    text(`${method} sip:alice@10.0.0.1;ob SIP/2.0`, [
      "Via: SIP/2.0/UDP us;branch=z9hG4bKus;rport",
      "Route: <sip:path;lr>",
      "route: <sip:r2>",
      "Max-Forwards: 70",
      "f: \xe4 <sip:bob@example.org>;tag=f1",
      to,
      "Call-ID: c1",
      `CSeq: 7 ${method}`,
      ...more,
      "Content-Length: 0",
    ]);

  test("ACK of a failure has our Via alone, the Route, and the To of the response (§17.1.1.3)", () => {
    const busy = parsed(response("486 Busy", ["To: <sip:alice@example.org>\r\n ;tag=t1"]));
    expect(ackForFailure(sent, busy)).toBe(derived("ACK", "To: <sip:alice@example.org> ;tag=t1"));
  });

  test("CANCEL is like its INVITE, the To without tag (§9.1)", () => {
    const reason = 'Reason: SIP;cause=200;text="Call completed elsewhere"';
    expect(cancelFor(sent, reason + "\r\n")).toBe(derived("CANCEL", "To: <sip:alice@example.org>", reason));
    expect(cancelFor(sent, "")).toBe(derived("CANCEL", "To: <sip:alice@example.org>"));
  });

  test("the lines of a header are verbatim, wherever they stand", () => {
    const top = parsed(text(START, ["Route: <sip:a>", "Route: <sip:b>", ...LINES]));
    expect(linesOf(top, ROUTE)).toBe("Route: <sip:a>\r\nRoute: <sip:b>\r\n");
    expect(linesOf(sent, ROUTE)).toBe("Route: <sip:path;lr>\r\nroute: <sip:r2>\r\n");
  });
});

describe("W-12 ACK and BYE in the caller's place (RFC 3261 §12.1.2, §12.2.1.1)", () => {
  const VIA = "SIP/2.0/UDP us;branch=z9hG4bKnew";
  const OURS = ["Record-Route: <sip:us;lr>", "Record-Route: <sip:pbx2;lr>, <sip:pbx1;lr>"];
  const sent = parsed(invite([...OURS, "Route: <sip:path;lr>"]));
  const answer = (...lines: string[]) =>
    parsed(response("200 OK", ["To: <sip:alice@example.org>;tag=t1", "Contact: <sip:alice@10.0.0.1;ob>", ...lines]));
  const expected = (method: string, cseq: number, ...route: string[]) =>
    text(`${method} sip:alice@10.0.0.1;ob SIP/2.0`, [
      "Via: " + VIA,
      ...route,
      "Max-Forwards: 70",
      "From: Bob <sip:bob@example.org>;tag=f1",
      "To: <sip:alice@example.org>;tag=t1",
      "Call-ID: c1@192.0.2.1",
      `CSeq: ${cseq} ${method}`,
      "Content-Length: 0",
    ]);

  test("go to the phone's Contact; ACK has the INVITE's number, BYE the next", () => {
    expect(inDialogRequest(sent, answer(...OURS), "ACK", VIA)).toBe(expected("ACK", 7));
    expect(inDialogRequest(sent, answer(...OURS), "BYE", VIA)).toBe(expected("BYE", 8));
  });

  test("follow the proxies between us and the phone, nearest first, and none on the caller's side", () => {
    const beyond = ["Record-Route: <sip:edge2;lr>, <sip:edge1;lr>", "Record-Route: <sip:gate;lr>", ...OURS];
    expect(inDialogRequest(sent, answer(...beyond), "BYE", VIA))
      .toBe(expected("BYE", 8, "Route: <sip:gate;lr>, <sip:edge1;lr>, <sip:edge2;lr>"));
  });

  test("go straight to the phone where it forgot the Record-Routes or wrote them wrong", () => {
    expect(inDialogRequest(sent, answer(), "ACK", VIA)).toBe(expected("ACK", 7));
    expect(inDialogRequest(sent, answer("Record-Route: <sip:us;lr"), "ACK", VIA)).toBe(expected("ACK", 7));
  });

  test("go straight to the phone where the caller's Record-Route cannot be read, and CSeq stays below 2^31", () => {
    const damaged = parsed(invite(['Record-Route: "open', "CSeq: 2147483647 INVITE"]));
    const sent = damaged.raw.slice(damaged.headersStart);
    const answered = parsed("SIP/2.0 200 OK\r\nContact: <sip:x@y>\r\n" + sent);
    const wire = inDialogRequest(damaged, answered, "BYE", VIA)!;
    expect(wire).toStartWith(`BYE sip:x@y SIP/2.0\r\nVia: ${VIA}\r\nMax-Forwards`);
    expect(wire).toInclude("\r\nCSeq: 2147483647 BYE\r\n");
  });

  const contacts: [contact: string, target: string | null][] = [
    ['"a <b> c" <sip:x@y;lr>;expires=1', "sip:x@y;lr"],
    ["sip:x@y;expires=1", "sip:x@y"],
    ["<sip:x@y?Route=z>", "sip:x@y"],
    ["<sip:x@y>, <sip:z>", "sip:x@y"],
    ["<sip:x@y", null],
    ["*", null],
    ["", null],
  ];
  for (const [contact, target] of contacts) {
    test(`Contact: ${contact} is ${target ?? "no target"}`, () => {
      const wire = inDialogRequest(sent, parsed(response("200 OK", ["Contact: " + contact])), "ACK", VIA);
      expect(wire?.slice(4, wire.indexOf(" SIP/2.0")) ?? null).toBe(target);
    });
  }

  test("cannot be made without a Contact", () => {
    expect(inDialogRequest(sent, parsed(response("200 OK")), "ACK", VIA)).toBeNull();
  });
});
