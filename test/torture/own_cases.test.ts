/** Messages of our own that parsers get wrong: what is refused with which words, what must be let through. */
import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { CALL_ID, CONTACT, SUPPORTED, USER_AGENT, VIA } from "../../src/core/sip/header.ts";
import { type Message, parseMessage } from "../../src/core/sip/message.ts";
import { parseNameAddr } from "../../src/core/sip/name_addr.ts";
import { aorOf, parseUri, urisEqual } from "../../src/core/sip/uri.ts";

const VIA_LINE = "Via: SIP/2.0/UDP 192.0.2.1:5070;branch=z9hG4bK1;rport";
const HEADERS = {
  "Via": VIA_LINE.slice(5),
  "Max-Forwards": "70",
  "From": "Bob <sip:bob@example.org>;tag=1",
  "To": "<sip:alice@example.org>",
  "Call-ID": "a@b",
  "CSeq": "1 INVITE",
  "Content-Length": "0",
};

/** A request with some headers changed; null leaves one out. `start` and `rest` stand before and behind the headers. */
function request(
  changed: Record<string, string | null> = {},
  start = "INVITE sip:alice@example.org SIP/2.0",
  rest = "",
): string {
  const lines = Object.entries({ ...HEADERS, ...changed }).filter(([, value]) => value !== null);
  return `${start}\r\n${lines.map(([name, value]) => `${name}: ${value}\r\n`).join("")}\r\n${rest}`;
}

function response(start: string): string {
  return request({}, start);
}

describe("F-08 is refused with the status and the reason", () => {
  const cases: { name: string; raw: string; status?: number; text: RegExp }[] = [
    { name: "no line end at all", raw: "INVITE sip:a@b SIP/2.0", text: /No line end/ },
    { name: "no empty line", raw: request().slice(0, -2), text: /does not end/ },
    {
      name: "a header line that ends with LF alone",
      raw: request().replace("Max-Forwards: 70\r\n", "Max-Forwards: 70\n"),
      text: /without CR/,
    },
    {
      name: "a header line without colon",
      raw: request({ "X": "y" }).replace("X: y", "X y"),
      text: /Malformed header line "X y"/,
    },
    {
      name: "a header line without name",
      raw: request({ "X": "y" }).replace("X: y", ": y"),
      text: /Malformed header line/,
    },
    { name: "a space in a header name", raw: request({ "X Y": "z" }), text: /Malformed header line/ },
    {
      name: "257 header lines",
      raw: request({}, undefined).replace("\r\n\r\n", "\r\n" + "X: y\r\n".repeat(250) + "\r\n"),
      status: 413,
      text: /More than 256/,
    },
    { name: "another version", raw: request({}, "INVITE sip:a@b SIP/3.0"), status: 505, text: /SIP\/3\.0/ },
    { name: "no version", raw: request({}, "INVITE sip:a@b"), text: /Malformed request line/ },
    { name: "HTTP", raw: request({}, "GET / HTTP/1.1"), text: /Malformed request line/ },
    { name: "an empty method", raw: request({}, " sip:a@b SIP/2.0"), text: /Malformed request line/ },
    { name: "a method that is no token", raw: request({}, "INV(TE sip:a@b SIP/2.0"), text: /Malformed request line/ },
    {
      name: "a Request-URI without scheme",
      raw: request({}, "INVITE alice@example.org SIP/2.0"),
      text: /Malformed Request-URI/,
    },
    {
      name: "a Request-URI without host",
      raw: request({}, "INVITE sip:alice@ SIP/2.0"),
      text: /Malformed Request-URI/,
    },
    { name: "port 0", raw: request({}, "INVITE sip:a@b:0 SIP/2.0"), text: /Malformed Request-URI/ },
    { name: "port 65536", raw: request({}, "INVITE sip:a@b:65536 SIP/2.0"), text: /Malformed Request-URI/ },
    { name: "an open IPv6 reference", raw: request({}, "INVITE sip:a@[::1 SIP/2.0"), text: /Malformed Request-URI/ },
    { name: "a NUL in the Request-URI", raw: request({}, "INVITE sip:a\0@b SIP/2.0"), text: /Malformed Request-URI/ },
    {
      name: "half an escape in the Request-URI",
      raw: request({}, "INVITE sip:a%4@b SIP/2.0"),
      text: /Malformed Request-URI/,
    },
    {
      name: "a Route hidden in the Request-URI",
      raw: request({}, "INVITE sip:a@b?Route=%3Csip:evil%3E SIP/2.0"),
      text: /headers part/,
    },
    { name: "a CSeq of 2^31", raw: request({ "CSeq": "2147483648 INVITE" }), text: /Malformed CSeq/ },
    { name: "a negative CSeq", raw: request({ "CSeq": "-1 INVITE" }), text: /Malformed CSeq/ },
    { name: "a CSeq without method", raw: request({ "CSeq": "1" }), text: /Malformed CSeq/ },
    { name: "a CSeq of another method", raw: request({ "CSeq": "1 BYE" }), text: /does not match/ },
    { name: "a CSeq of the method in another case", raw: request({ "CSeq": "1 invite" }), text: /does not match/ },
    { name: "an empty Call-ID", raw: request({ "Call-ID": "" }), text: /Call-ID is empty/ },
    { name: "two Call-IDs, one compact", raw: request({ "i": "c" }), text: /More than one i header/ },
    { name: "two different lengths, one compact", raw: request({ "l": "5" }), text: /Content-Length/ },
    { name: "a length with a sign", raw: request({ "Content-Length": "+0" }), text: /Malformed Content-Length/ },
    {
      name: "a length of 2^64",
      raw: request({ "Content-Length": "18446744073709551616" }),
      text: /Malformed Content-Length/,
    },
    {
      name: "a length beyond the datagram",
      raw: request({ "Content-Length": "5" }, undefined, "abcd"),
      text: /4 bytes follow/,
    },
    { name: "Max-Forwards that is no number", raw: request({ "Max-Forwards": "70x" }), text: /Malformed Max-Forwards/ },
    { name: "a Via without sent-by", raw: request({ "Via": "SIP/2.0/UDP" }), text: /Malformed Via/ },
    {
      name: "a Via with a port that is no number",
      raw: request({ "Via": "SIP/2.0/UDP a:b;branch=c" }),
      text: /Malformed Via/,
    },
    { name: "an open quote in Via", raw: request({ "Via": 'SIP/2.0/UDP a;x="b' }), text: /Malformed Via/ },
    {
      name: "an open quote in From",
      raw: request({ "From": '"Bob <sip:bob@example.org>;tag=1' }),
      text: /Malformed From/,
    },
    { name: "an open bracket in To", raw: request({ "To": "<sip:alice@example.org" }), text: /Malformed To/ },
    { name: "an empty To", raw: request({ "To": "" }), text: /Malformed To/ },
    {
      name: "a comma in a display name without quotes",
      raw: request({ "To": "Bell, A <sip:alice@example.org>" }),
      text: /Malformed To/,
    },
    {
      name: "words behind the address in To",
      raw: request({ "To": "<sip:alice@example.org> x" }),
      text: /Malformed To/,
    },
    { name: "a status of two digits", raw: response("SIP/2.0 20 OK"), text: /Malformed status line/ },
    { name: "a status of four digits", raw: response("SIP/2.0 2000 OK"), text: /Malformed status line/ },
    { name: "a status above 699", raw: response("SIP/2.0 700 No"), text: /Malformed status line/ },
    { name: "a status that is no number", raw: response("SIP/2.0 2x0 OK"), text: /Malformed status line/ },
    ...["Via", "From", "To", "Call-ID", "CSeq"].map((name) => (
      { name: `no ${name}`, raw: request({ [name]: null }), text: new RegExp(`Missing ${name}`) }
    )),
  ];
  for (const { name, raw, status = 400, text } of cases) {
    test(name, () => {
      const { problem } = parseMessage(raw);
      expect(problem?.status).toBe(status as 400);
      expect(problem?.text).toMatch(text);
      // The words go into a log line and a reason phrase.
      expect(problem?.text).not.toMatch(/[\r\n\0]/);
    });
  }
});

describe("F-02 is let through and read right", () => {
  const cases: { name: string; raw: string; claim: (message: Message) => void }[] = [
    {
      name: "folded lines",
      raw: request({ "User-Agent": "a\r\n b\r\n\t c" }),
      claim: (message) => expect(message.value(USER_AGENT)).toBe("a b c"),
    },
    {
      name: "a fold right behind the colon",
      raw: request({ "Call-ID": "\r\n a@b" }),
      claim: (message) => expect(message.callId).toBe("a@b"),
    },
    {
      name: "white space before the colon",
      raw: request().replace("To:", "To \t :"),
      claim: (message) => expect(message.to.uri?.user).toBe("alice"),
    },
    {
      name: "no white space behind the colon",
      raw: request().replaceAll(": ", ":"),
      claim: (message) => expect(message.callId).toBe("a@b"),
    },
    {
      name: "header names in any case",
      raw: request({ "Call-ID": null, "cALL-iD": "c" }),
      claim: (message) => expect(message.callId).toBe("c"),
    },
    {
      name: "compact forms",
      raw: request({
        "Via": null,
        "From": null,
        "To": null,
        "Call-ID": null,
        "v": HEADERS["Via"],
        "f": HEADERS["From"],
        "t": HEADERS["To"],
        "i": "c",
        "k": "path",
        "m": "<sip:x@y>",
      }),
      claim: (message) =>
        expect([message.callId, message.value(SUPPORTED), message.value(CONTACT)]).toEqual(["c", "path", "<sip:x@y>"]),
    },
    {
      name: "an empty header",
      raw: request({ "Supported": "" }),
      claim: (message) => expect(message.value(SUPPORTED)).toBe(""),
    },
    { name: "the same length twice", raw: request({ "l": "0" }), claim: (message) => expect(message.body).toBe("") },
    {
      name: "bytes behind the length of a datagram are cut off",
      raw: request({ "Content-Length": "2" }, undefined, "abcd"),
      claim: (message) => expect(message.body).toBe("ab"),
    },
    {
      name: "no length: the datagram's end is the body's",
      raw: request({ "Content-Length": null }, undefined, "abcd"),
      claim: (message) => expect(message.body).toBe("abcd"),
    },
    {
      name: "the highest CSeq",
      raw: request({ "CSeq": "2147483647   INVITE" }),
      claim: (message) => expect(message.cseq).toBe(2147483647),
    },
    {
      name: "no Max-Forwards",
      raw: request({ "Max-Forwards": null }),
      claim: (message) => expect(message.problem).toBeNull(),
    },
    {
      name: "two Vias in one line, a comma in quotes between them",
      raw: request({ "Via": 'SIP/2.0/TCP a;x=",";branch=z9hG4bK2 , SIP/2.0/UDP b' }),
      claim: (message) => {
        expect(message.list(VIA)).toEqual(['SIP/2.0/TCP a;x=",";branch=z9hG4bK2', "SIP/2.0/UDP b"]);
        expect(message.via).toMatchObject({ transport: "TCP", host: "a", branch: "z9hg4bk2", isListHead: true });
      },
    },
    {
      name: "a Via of an IPv6 reference with a port",
      raw: request({ "Via": "SIP/2.0/WSS [2001:DB8::1]:5081;rport;branch=z9hG4bKx" }),
      claim: (message) => expect(message.via).toMatchObject({ host: "[2001:db8::1]", port: 5081, rport: 0 }),
    },
    {
      name: "brackets, commas, semicolons and escaped quotes in a display name",
      raw: request({ "To": '"A \\"<sip:x@y>\\", B; C" <sip:alice@example.org;a=b>;tag=9' }),
      claim: (message) => {
        expect(message.to.uriText).toBe("sip:alice@example.org;a=b");
        expect(message.to.tag).toBe("9");
        expect(message.to.display).toBe('"A \\"<sip:x@y>\\", B; C"');
      },
    },
    {
      name: "without brackets the parameters are the header's",
      raw: request({ "To": "sip:alice@example.org;tag=9" }),
      claim: (message) => expect(message.to).toMatchObject({ uriText: "sip:alice@example.org", tag: "9" }),
    },
    {
      name: "a tag in quotes is not taken from a parameter that only ends so",
      raw: request({ "To": "<sip:a@b>;x-tag=1;tag=2" }),
      claim: (message) => expect(message.to.tag).toBe("2"),
    },
    {
      name: "UTF-8 and NUL in unknown headers",
      raw: request({ "X": "\xc3\xa4\0\xff" }),
      claim: (message) => expect(message.valueOf("x")).toBe("\xc3\xa4\0\xff"),
    },
    {
      name: "a tel: Request-URI",
      raw: request({}, "INVITE tel:+15551234 SIP/2.0"),
      claim: (message) => expect(message.uri?.scheme).toBe("tel"),
    },
    {
      name: "an unknown method",
      raw: request({ "CSeq": "1 FOO" }, "FOO sip:a@b SIP/2.0"),
      claim: (message) => expect(message.method).toBe("FOO"),
    },
    {
      name: "the version in any case (RFC 3261 §7.1)",
      raw: request({}, "INVITE sip:a@b sip/2.0"),
      claim: (message) => expect(message.method).toBe("INVITE"),
    },
    {
      name: "a response without reason phrase",
      raw: response("SIP/2.0 180 "),
      claim: (message) => expect(message.status).toBe(180),
    },
    {
      name: "a response without the space before it",
      raw: response("SIP/2.0 180"),
      claim: (message) => expect(message.status).toBe(180),
    },
    {
      name: "a response with a version in another case",
      raw: response("sip/2.0 180 Ringing"),
      claim: (message) => expect(message.status).toBe(180),
    },
    {
      name: "a header named like a member of every object",
      raw: request({ "constructor": "x", "__proto__x": "y" }),
      claim: (message) => expect(message.valueOf("constructor")).toBe("x"),
    },
  ];
  for (const { name, raw, claim } of cases) {
    test(name, () => {
      const message = parseMessage(raw);
      expect(message.problem).toBeNull();
      claim(message);
    });
  }

  test("a body of every byte there is", () => {
    const body = Array.from({ length: 256 }, (_, code) => String.fromCharCode(code)).join("");
    const message = parseMessage(request({ "Content-Length": "256" }, undefined, body));
    expect(message.problem).toBeNull();
    expect(message.body).toBe(body);
  });
});

describe("R-12 URIs are compared by RFC 3261 §19.1.4", () => {
  const equal: [string, string][] = [
    ["sip:%61lice@atlanta.com;transport=TCP", "sip:alice@AtLanTa.CoM;Transport=tcp"],
    ["sip:carol@chicago.com", "sip:carol@chicago.com;newparam=5"],
    ["sip:carol@chicago.com", "sip:carol@chicago.com;security=on"],
    ["sip:carol@chicago.com;newparam=5", "sip:carol@chicago.com;security=on"],
    [
      "sip:biloxi.com;transport=tcp;method=REGISTER?to=sip:bob%40biloxi.com",
      "sip:biloxi.com;method=REGISTER;transport=tcp?to=sip:bob%40biloxi.com",
    ],
    [
      "sip:alice@atlanta.com?subject=project%20x&priority=urgent",
      "sip:alice@atlanta.com?priority=urgent&subject=project%20x",
    ],
    ["SIP:bob@example.org", "sip:bob@example.org"],
    ["sip:a%3bb@example.org", "sip:a%3Bb@example.org"],
  ];
  const different: [string, string][] = [
    ["SIP:ALICE@AtLanTa.CoM;Transport=udp", "sip:alice@AtLanTa.CoM;Transport=UDP"],
    ["sip:bob@biloxi.com", "sip:bob@biloxi.com:5060"],
    ["sip:bob@biloxi.com", "sip:bob@biloxi.com;transport=udp"],
    ["sip:bob@biloxi.com", "sip:bob@biloxi.com:6000;transport=tcp"],
    ["sip:carol@chicago.com", "sip:carol@chicago.com?Subject=next%20meeting"],
    ["sip:bob@phone21.boxesbybob.com", "sip:bob@192.0.2.4"],
    ["sip:carol@chicago.com;security=on", "sip:carol@chicago.com;security=off"],
    ["sip:bob@example.org", "sips:bob@example.org"],
    ["sip:bob@example.org", "sip:bob:secret@example.org"],
    ["sip:bob@example.org", "sip:bob@example.org;user=phone"],
    ["sip:bob@example.org", "sip:bob@example.org;maddr=192.0.2.1"],
    ["sip:a%00@example.org", "sip:a%00%00@example.org"],
    ["sip:a%3Bb@example.org", "sip:a%2Cb@example.org"],
    ["sip:bob@example.org", "sip:bob@example.org.evil.org"],
  ];
  for (const [pairs, isEqual] of [[equal, true], [different, false]] as const) {
    for (const [a, b] of pairs) {
      test(`${a} ${isEqual ? "is" : "is not"} ${b}`, () => {
        const [left, right] = [parseUri(a)!, parseUri(b)!];
        expect([urisEqual(left, right), urisEqual(right, left)]).toEqual([isEqual, isEqual]);
        expect(urisEqual(left, left)).toBe(true);
      });
    }
  }

  const parts: [string, Record<string, string | number>][] = [
    ["sip:alice", { user: "", host: "alice" }],
    ["sip:alice:secretword@atlanta.com;transport=tcp", {
      user: "alice",
      password: "secretword",
      params: ";transport=tcp",
    }],
    ["sip:+1-212-555-1212:1234@gateway.com;user=phone", { user: "+1-212-555-1212", password: "1234" }],
    ["sip:alice;day=tuesday@atlanta.com", { user: "alice;day=tuesday", params: "" }],
    ["sip:who?me,/$&=+@example.org:5070;lr", { user: "who?me,/$&=+", host: "example.org", port: 5070, params: ";lr" }],
    ["sip:a.b~(c)?d@example.org", { user: "a.b~(c)?d", host: "example.org", headers: "" }],
    ["sip:example.org?to=alice%40atlanta.com", { user: "", host: "example.org", headers: "to=alice%40atlanta.com" }],
    ["sips:[2001:db8::10]:5070", { scheme: "sips", host: "[2001:db8::10]", port: 5070 }],
    ["tel:+1;phone-context=x@y", { scheme: "tel" }],
  ];
  for (const [text, fields] of parts) {
    test(`reads ${text}`, () => expect(parseUri(text)).toMatchObject(fields));
  }

  const refused = [
    "",
    ":",
    "sip",
    "sip:",
    "sip:@host",
    "sip:a@",
    "sip:a b@c",
    "sip:a@b:x",
    "sip:a@b:99999",
    "sip:a@b c",
    "sip:a@[1.2.3.4]",
    "sip:a@b>",
    "<sip:a@b>",
    "1x:y",
    "sip:a%zz@b",
    "sip:a@b;c\r\nRoute: x",
  ];
  for (const text of refused) {
    test(`does not read ${JSON.stringify(text)}`, () => expect(parseUri(text)).toBeNull());
  }

  test("an AoR is the same however it is escaped, and never cut at an escaped NUL", () => {
    expect(aorOf(parseUri("sip:%61lice@EXAMPLE.org:5070;x")!)).toBe("alice@example.org");
    expect(aorOf(parseUri("sip:a%00b@example.org")!)).toBe("a%00b@example.org");
  });
});

describe("F-08 any input", () => {
  const seeds = [
    request(),
    request({ "Via": 'SIP/2.0/TCP a;x=",", SIP/2.0/UDP b', "Content-Length": "4" }, undefined, "v=0\n"),
    response("SIP/2.0 200 OK"),
    request(
      { "To": '"A, B" <sip:a;b@[::1]:5060;c="d"?e=f>;tag=1', "CSeq": "1 REGISTER", "Contact": "*" },
      "REGISTER sip:b SIP/2.0",
    ),
  ];
  const piece = fc.oneof(
    fc.constantFrom(
      "\r\n",
      "\n",
      "\r",
      " ",
      "\t",
      '"',
      "\\",
      "<",
      ">",
      ",",
      ";",
      ":",
      "@",
      "=",
      "[",
      "]",
      "?",
      "%",
      "\0",
      "\xff",
      "Via: ",
      "\r\n\r\n",
    ),
    fc.string({ unit: "binary-ascii", maxLength: 5 }),
  );
  const change = fc.record({ at: fc.nat(500), cut: fc.nat(12), insert: piece });

  test("changed at random, a message is read or refused, never thrown at", () => {
    fc.assert(
      fc.property(fc.constantFrom(...seeds), fc.array(change, { minLength: 1, maxLength: 6 }), (seed, changes) => {
        let raw = seed;
        for (const { at, cut, insert } of changes) raw = raw.slice(0, at) + insert + raw.slice(at + cut);
        fc.pre(raw !== "");
        for (const isDatagram of [true, false]) {
          const message = parseMessage(raw, isDatagram);
          expect(raw.startsWith(message.raw)).toBe(true);
          for (let n = 0; n < message.count; n++) message.valueAt(n);
          if (message.problem !== null) continue;
          expect(message.via).not.toBeNull();
          expect(message.callId).toBe(message.value(CALL_ID) ?? "");
          expect(message.to.uri).not.toBeNull();
          expect(message.from.uri).not.toBeNull();
          if (message.isRequest) expect(message.uri).not.toBeNull();
        }
      }),
      { numRuns: 3000 },
    );
  });

  test("any text is read or refused as an address and as a URI", () => {
    fc.assert(
      fc.property(fc.array(piece, { maxLength: 30 }), (pieces) => {
        const text = pieces.join("");
        const address = parseNameAddr(text);
        if (address !== null) expect(text).toContain(address.uriText);
        const uri = parseUri(`sip:${text}`);
        if (uri === null) return;
        expect(urisEqual(uri, parseUri(`sip:${text}`)!)).toBe(true);
        expect(uri.host).not.toBe("");
      }),
      { numRuns: 2000 },
    );
  });

  test("work does not grow faster than the message", () => {
    // Each of these made some parser quadratic; ten thousand repetitions would then not come back.
    const long = 10_000;
    for (
      const raw of [
        request({ "X": '"'.repeat(long) }),
        request({ "To": "<".repeat(long) }),
        request({ "To": `"${"\\".repeat(long)}` }),
        request({ "Via": `SIP/2.0/UDP a${";x".repeat(long)}` }),
        request({ "Via": `SIP/2.0/UDP a${",".repeat(long)}` }),
        request({ "X": "\r\n ".repeat(long) + "y" }),
        request({}, `INVITE sip:${"%41".repeat(long)}@b${";a=b".repeat(long)} SIP/2.0`),
      ]
    ) {
      const message = parseMessage(raw);
      for (let n = 0; n < message.count; n++) message.valueAt(n);
      message.list(VIA);
    }
  });
});
