import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import {
  CALL_ID,
  CONTACT,
  CSEQ,
  FROM,
  MAX_FORWARDS,
  ROUTE,
  SUPPORTED,
  TO,
  USER_AGENT,
  VIA,
} from "../../../src/core/sip/header.ts";
import { parseMessage, parseSent } from "../../../src/core/sip/message.ts";
import { ALL_BYTES, invite, LINES, parsed, response, text } from "./sample.ts";

describe("F-08 a malformed message is refused in words", () => {
  const start = "INVITE sip:alice@example.org SIP/2.0";
  const cases: [name: string, raw: string, status: number, words: RegExp][] = [
    ["LF alone behind the start line", text(start, LINES).replace("\r\n", "\n"), 400, /start line ends without CR/],
    ["a first character that is LF", "\n" + invite(), 400, /start line ends without CR/],
    ["an empty start line", "\r\n" + invite(), 400, /Malformed request line/],
    ["LF alone inside a fold", invite(["X: a\n b"]), 400, /header line ends without CR/],
    ["LF alone in a reason phrase", response("200 OK\nX: y"), 400, /start line ends without CR/],
    // pjsip and chan_sip end a line at CR: what hides behind it would be a header to them and none to us.
    ["CR alone in a header line", invite(["X: a\rContact: <sip:evil>"]), 400, /header line holds a CR/],
    ["CR alone at the end of a header line", invite(["X: a\r"]), 400, /header line holds a CR/],
    ["CR alone inside a fold", invite(["X: a\r b"]), 400, /header line holds a CR/],
    ["CR alone behind a fold", invite(["X: a\r\n b\rc"]), 400, /header line holds a CR/],
    ["CR alone in a reason phrase", response("200 OK\rX: y"), 400, /status line/],
    ["CR alone in a request line", text("INVITE sip:a@b\rx SIP/2.0", LINES), 400, /Request-URI/],
    ["a fold as the first header line", text(start, [" X: y", ...LINES]), 400, /Malformed header line/],
    ["two From headers", invite(["f: <sip:x@y>"]), 400, /More than one f header/],
    ["white space in a Call-ID", invite(["Call-ID: a b"]), 400, /Malformed Call-ID "a b"/],
    ["a fold in a Call-ID", invite(["Call-ID: a\r\n b"]), 400, /Malformed Call-ID "a\.\. b"/],
    ["a Request-URI with an empty headers part", text("INVITE sip:a@b? SIP/2.0", LINES), 400, /Malformed Request-URI/],
    ["a start line of one word", text("INVITE", LINES), 400, /Malformed request line/],
    ["a start line of two words", text("INVITE sip:a@b", LINES), 400, /Malformed request line/],
    ["SIPS/2.0 for a version", text("INVITE sip:a@b SIPS/2.0", LINES), 400, /Malformed request line/],
    ["a line behind the limit", invite(Array.from({ length: 260 }, () => "X: y")), 413, /More than 256 header lines/],
  ];
  for (const [name, raw, status, words] of cases) {
    test(name, () => {
      const { problem } = parseMessage(raw);
      expect(problem?.text).toMatch(words);
      expect(problem?.status).toBe(status as 400);
    });
  }

  test("the words stay short and printable, whatever stood in the message", () => {
    const long = "9".repeat(5000);
    const bad = ALL_BYTES.slice(0, -1).replace("\r", "");
    for (
      const raw of [
        text(`INVITE sip:a@b SIP/${long}.0`, LINES),
        text(`${"A".repeat(5000)} sip:a@b SIP/2.0`, LINES),
        invite([`CSeq: 1 ${"A".repeat(5000)}`]),
        invite([`CSeq: ${long} INVITE`]),
        invite([`Via: ${bad}`]),
        invite([`Call-ID: ${bad}`]),
        invite([`Content-Length: ${bad}`]),
        invite([bad]),
        text(bad, LINES),
        text(`SIP/2.0 ${bad}`, LINES),
      ]
    ) {
      const { problem } = parseMessage(raw);
      expect(problem!.text.length).toBeLessThan(200);
      expect(problem!.text).toMatch(/^[\x20-\x7e]+$/);
    }
  });

  test("the first of two problems is named, and a wrong version before all", () => {
    expect(parseMessage(invite(["CSeq: x", "Call-ID: "])).problem?.text).toMatch(/Call-ID is empty/);
    const missing = text("INVITE sip:a@b SIP/3.0", ["Via: nonsense"]);
    expect(parseMessage(missing).problem?.status).toBe(505);
    expect(parseMessage(text("INVITE sip:a@b SIP/2.0", [])).problem?.text).toBe("Missing Via, From, To, Call-ID, CSeq");
  });

  // A response is never answered, so what is meant as one must never be taken for a request.
  for (const first of ["SIP/3.0 200 OK", "SIP/2.0", "SIP/2.0\t200 OK", "sip/2.0200 OK", "SIP/2.0  200 OK", "SIP/x"]) {
    test(`"${first.replace("\t", "\\t")}" is a malformed response, not a request`, () => {
      const message = parseMessage(text(first, LINES));
      expect(message.isRequest).toBe(false);
      expect(message.problem?.text).toMatch(/Malformed status line/);
    });
  }
});

describe("F-08 of a broken message what could be read can be asked", () => {
  test("the lines before the broken one are whole, what follows is nobody's", () => {
    for (const broken of ["no colon here", ": no name", "X: bare\nLF", "X Y: z"]) {
      const message = parseMessage(invite([broken, "Y: behind"], "body"));
      expect(message.problem?.status).toBe(400);
      expect(message.count).toBe(LINES.length);
      const all = Array.from(
        { length: message.count },
        (_, n) => message.raw.slice(message.lineStart(n), message.lineEnd(n)),
      );
      expect(all).toEqual(LINES.map((line) => line + "\r\n"));
      expect(message.body).toBe("");
    }
  });

  test("a message cut off in its last line keeps the lines before it", () => {
    const message = parseMessage(text("INVITE sip:a@b SIP/2.0", LINES).slice(0, -8));
    expect(message.problem?.text).toMatch(/does not end/);
    expect(message.count).toBe(LINES.length - 1);
    expect(message.raw.slice(message.lineStart(4), message.lineEnd(4))).toBe(LINES[4] + "\r\n");
  });

  test("a malformed From or To is asked without harm", () => {
    const message = parseMessage(invite(['From: "open <sip:a@b>', "To: <sip:a@b"]));
    expect([message.from.tag, message.to.tag, message.from.uri]).toEqual(["", "", null]);
  });

  test("a message without line end", () => {
    const message = parseMessage("INVITE sip:a@b SIP/2.0");
    expect([message.count, message.body, message.has(VIA)]).toEqual([0, "", false]);
  });
});

describe("F-02 headers are read as RFC 3261 §7.3 spells them", () => {
  const spellings: [line: string, id: number, value: string][] = [
    ["Subject : lunch", 0, "lunch"],
    ["SUPPORTED:a", SUPPORTED, "a"],
    ["k\t \t:   a \t", SUPPORTED, "a"],
    ["Supported:\r\n a", SUPPORTED, "a"],
    ["Supported: a\r\n \r\n\tb", SUPPORTED, "a b"],
    ["Supported: a  \r\n\t\t b", SUPPORTED, "a b"],
    ["Supported: a  b", SUPPORTED, "a  b"],
    ["Supported: a\r\n ", SUPPORTED, "a"],
    ["Supported:", SUPPORTED, ""],
    ["Supported: \t ", SUPPORTED, ""],
    ["m: <sip:a@b>", CONTACT, "<sip:a@b>"],
    ["User-Agent: \xc3\xa4\0\xff\x7f;", USER_AGENT, "\xc3\xa4\0\xff\x7f;"],
  ];
  for (const [line, id, value] of spellings) {
    test(JSON.stringify(line), () => {
      const message = parsed(invite([line]));
      const n = message.count - 1;
      expect([message.idAt(n), message.valueAt(n)]).toEqual([id, value]);
      expect(message.raw.slice(message.lineStart(n), message.lineEnd(n))).toBe(line + "\r\n");
    });
  }

  test("lines are found by id in their order, and by name in any case", () => {
    const message = parsed(invite(["Route: <sip:a;lr>", "X-Odd  : 1", "x-odd: 2", "Route: <sip:b;lr>, <sip:c>"]));
    const first = message.find(ROUTE);
    expect(first).toBe(LINES.length);
    expect(message.find(ROUTE, first + 1)).toBe(first + 3);
    expect(message.find(ROUTE, first + 4)).toBe(-1);
    expect(message.values(ROUTE)).toEqual(["<sip:a;lr>", "<sip:b;lr>, <sip:c>"]);
    expect(message.list(ROUTE)).toEqual(["<sip:a;lr>", "<sip:b;lr>", "<sip:c>"]);
    expect(message.valueOf("x-odd")).toBe("1");
    expect(message.valueOf("x-od")).toBeUndefined();
    expect(message.value(CONTACT)).toBeUndefined();
    expect(message.values(CONTACT)).toEqual([]);
    expect(message.list(CONTACT)).toEqual([]);
    expect([message.has(ROUTE), message.has(CONTACT)]).toEqual([true, false]);
  });

  test("an element with an open quote or bracket makes its whole list malformed", () => {
    expect(parsed(invite(["Route: <sip:a>", "Route: <sip:b"])).list(ROUTE)).toBeNull();
    expect(parsed(invite(['Contact: "a <sip:a>'])).list(CONTACT)).toBeNull();
  });

  test("34 Vias, one a line and all in one line", () => {
    const values = Array.from({ length: 34 }, (_, i) => `SIP/2.0/UDP h${i};branch=z9hG4bK${i}`);
    const names = ["v", "V", "Via", "VIA", "vIA"];
    const lines = values.map((value, i) => `${names[i % names.length]}: ${value}`);
    const apart = parsed(text("INVITE sip:a@b SIP/2.0", [...lines, ...LINES.slice(1)]));
    expect(apart.values(VIA)).toEqual(values);
    const joined = parsed(invite([`Via: ${values.join(" ,\r\n  ")}`]));
    expect(joined.list(VIA)).toEqual(values);
    expect(joined.via).toMatchObject({ host: "h0", isListHead: true });
  });

  test("all of RFC 3261 §20's compact forms", () => {
    const long = invite(["Supported: x", "Contact: <sip:a@b>", "Content-Type: text/plain", "Content-Length: 0"]);
    const compact = long.replace("Via:", "v:").replace("From:", "f:").replace("To:", "t:").replace("Call-ID:", "i:")
      .replace("Supported:", "k:").replace("Contact:", "m:").replace("Content-Type:", "c:")
      .replace("Content-Length:", "l:");
    const [a, b] = [parsed(long), parsed(compact)];
    for (let n = 0; n < a.count; n++) expect([b.idAt(n), b.valueAt(n)]).toEqual([a.idAt(n), a.valueAt(n)]);
  });

  test("the lowest and the highest numbers there are", () => {
    const lowest = parsed(invite(["CSeq: 0 INVITE", "Max-Forwards: 0", "Content-Length: 0"], "cut"));
    expect([lowest.cseq, lowest.body]).toEqual([0, ""]);
    expect(parsed(invite(["CSeq: 2147483647 INVITE"])).cseq).toBe(2147483647);
    expect(parseMessage(invite(["CSeq: 2147483648 INVITE"])).problem).not.toBeNull();
    expect(parseMessage(invite(["Content-Length: 0", "l: 5"], "12345")).problem).not.toBeNull();
    expect(parsed(invite(["Content-Length: 2", "l: 2"], "12")).body).toBe("12");
    for (const status of [100, 699]) expect(parsed(response(`${status} Words`)).status).toBe(status);
    for (const status of ["099", "700", "1000", "20", "20 0"]) {
      expect(parseMessage(response(`${status} Words`))).toMatchObject({ isRequest: false, problem: { status: 400 } });
    }
    expect(parsed(response("180")).status).toBe(180);
  });

  test("a header is found on the first line too", () => {
    const message = parsed(
      text("INVITE sip:a@b SIP/2.0", ["From: <sip:x@y>;tag=1", ...LINES.filter((line) => line[0] !== "F")]),
    );
    expect([message.value(FROM), message.from.tag, message.valueOf("from")]).toEqual([
      "<sip:x@y>;tag=1",
      "1",
      "<sip:x@y>;tag=1",
    ]);
  });

  test("a value is compared without cutting it out", () => {
    const message = parsed(invite(["User-Agent:  Phone \t", "Supported:"]));
    expect(["Phone", "Phon", "Phones", "phone", ""].map((text) => message.isValue(USER_AGENT, text)))
      .toEqual([true, false, false, false, false]);
    expect([message.isValue(SUPPORTED, ""), message.isValue(CONTACT, "")]).toEqual([true, false]);
  });

  test("the method of CSeq is its own word", () => {
    expect(parsed(response("200 OK", ["CSeq: 1 BYE"])).cseqMethod).toBe("BYE");
    for (const method of ["INVITEX", "INVIT", "invite"]) {
      expect(parseMessage(invite([`CSeq: 1 ${method}`])).problem?.text).toMatch(/does not match/);
    }
    for (const cseq of ["1", "INVITE", "1 INV ITE", "1 IN(VITE", "1INVITE"]) {
      expect(parseMessage(invite([`CSeq: ${cseq}`])).problem?.text).toMatch(/Malformed CSeq/);
    }
  });

  test("what a request and a response say", () => {
    const request = parsed(invite([], "body"));
    expect(request).toMatchObject({ method: "INVITE", status: 0, cseq: 7, cseqMethod: "INVITE", isRequest: true });
    expect(request.raw.slice(request.uriStart, request.uriEnd)).toBe("sip:alice@example.org");
    expect([request.callId, request.from.tag, request.to.tag, request.body]).toEqual([
      "c1@192.0.2.1",
      "f1",
      "",
      "body",
    ]);
    const answer = parsed(response("486 Busy \xe4 Here", ["To: <sip:alice@example.org>;tag=t1"]));
    expect(answer).toMatchObject({ method: "", status: 486, isRequest: false, uri: null });
    expect([answer.to.tag, answer.to.uriText]).toEqual(["t1", "sip:alice@example.org"]);
  });

  test("X-01 bytes beyond Content-Length: cut off of a datagram; elsewhere they are no message that we would send on", () => {
    const raw = invite(["Content-Length: 2"], "abcd");
    expect(parseMessage(raw, true)).toMatchObject({ raw: raw.slice(0, -2), problem: null });
    expect(parseMessage(raw, false).problem?.text).toBe("Content-Length is 2, but 4 bytes follow");
  });
});

describe("X-01 limits", () => {
  test("as many header lines as allowed are read, one more is 413", () => {
    const raw = invite();
    expect(parseMessage(raw, true, { maxHeaders: LINES.length }).problem).toBeNull();
    expect(parseMessage(raw, true, { maxHeaders: LINES.length - 1 }).problem).toEqual({
      status: 413,
      text: `More than ${LINES.length - 1} header lines`,
    });
  });

  test("the index of a message never holds more lines than allowed", () => {
    const message = parseMessage(invite(Array.from({ length: 9000 }, () => "X: y")));
    expect(message.count).toBe(256);
    expect(message.via).not.toBeNull();
  });

  test("a request we sent is read to its end though our lines came on top of a full one", () => {
    const full = text("INVITE sip:a@b SIP/2.0", [...Array.from({ length: 260 }, () => "X: y"), ...LINES]);
    expect(parseMessage(full).problem?.status).toBe(413);
    expect(parseSent(full)).toMatchObject({ problem: null, cseq: 7 });
  });

  // Each was a search that began again at every character: 60 kB then took seconds, here it would take minutes.
  test("no white space, however long, is looked at more than a few times", () => {
    const blank = " ".repeat(200_000);
    const message = parsed(
      invite([`X: a${blank}b\r\n c`, `To: "${blank}"\r\n <sip:a@b>`, `From: <sip:a@b>;x="${blank}"`]),
    );
    expect(message.valueOf("x")).toBe(`a${blank}b c`);
    expect(message.to.uriText).toBe("sip:a@b");
  });
});

describe("F-08 any input gives a message or a problem", () => {
  const seeds = [
    invite(["Contact: <sip:bob@192.0.2.1>", "Content-Length: 4", "Route: <sip:a;lr>,\r\n <sip:b>"], "v=0\n"),
    invite(["Via: SIP/2.0/UDP [2001:db8::1]:5060 ; rport ; branch = z9hG4bKx , SIP/2.0/TCP b"]),
    response("200 OK", ['To: "A, B" <sip:a;b@c;d?e=f>;tag=1;x="y;z"']),
  ];
  const readAll = (raw: string) => {
    for (const isDatagram of [true, false]) {
      const message = parseMessage(raw, isDatagram);
      let end = message.headersStart;
      for (let n = 0; n < message.count; n++) {
        expect(message.lineStart(n)).toBe(end);
        expect(message.valueStart(n)).toBeGreaterThan(message.lineStart(n));
        expect(message.valueEnd(n)).toBeGreaterThanOrEqual(message.valueStart(n));
        end = message.lineEnd(n);
        expect(message.raw.slice(end - 2, end)).toBe("\r\n");
        expect(message.valueAt(n)).not.toInclude("\n");
      }
      for (const id of [VIA, FROM, TO, CALL_ID, CSEQ, ROUTE, CONTACT, MAX_FORWARDS]) {
        expect(message.values(id).length).toBe(message.has(id) ? message.values(id).length : 0);
        message.list(id);
      }
      if (message.problem !== null) continue;
      expect(message.raw.slice(0, message.bodyStart) + message.body).toBe(message.raw);
      expect([message.from.uri, message.to.uri, message.via]).not.toContain(null);
      expect(message.isRequest).toBe(message.uri !== null);
    }
  };

  test("cut off at every byte", () => {
    for (const seed of seeds) {
      for (let length = 0; length < seed.length; length++) readAll(seed.slice(0, length));
    }
  });

  test("with every byte replaced, doubled or dropped", () => {
    for (const seed of seeds) {
      for (let at = 0; at < seed.length; at++) {
        for (const put of ["", "\0", "\n", "\r\n", "\r\n ", '"', "<", ",", ";", ":", "\xff", seed[at]! + seed[at]!]) {
          readAll(seed.slice(0, at) + put + seed.slice(at + 1));
        }
      }
    }
  });

  test("random bytes, alone and behind a good start", () => {
    const bytes = fc.uint8Array({ maxLength: 300 }).map((array) => Buffer.from(array).toString("latin1"));
    fc.assert(
      fc.property(bytes, fc.nat(200), (noise, at) => {
        readAll(noise);
        readAll(seeds[0]!.slice(0, at) + noise);
      }),
      { numRuns: 1000 },
    );
  });
});
