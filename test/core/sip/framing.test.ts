import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { contentLength, type Frame, StreamFramer } from "../../../src/core/sip/framing.ts";

const LIMITS = { maxHeaderBytes: 4096, maxMessageBytes: 8192 };

function message(body: string, lengthHeader = `Content-Length: ${body.length}\r\n`): string {
  return `MESSAGE sip:a@example.org SIP/2.0\r\nCall-ID: 1\r\n${lengthHeader}\r\n${body}`;
}

/** Feeds a stream in pieces of the given sizes, the last piece being the rest. */
function frames(stream: string, sizes: Iterable<number> = [], limits = LIMITS): Frame[] {
  const framer = new StreamFramer(limits);
  const got: Frame[] = [];
  let at = 0;
  for (const size of sizes) {
    got.push(...framer.feed(stream.slice(at, at + size)));
    at += size;
  }
  got.push(...framer.feed(stream.slice(at)));
  return got;
}

function* ones(stream: string): Iterable<number> {
  for (let n = 0; n < stream.length; n++) yield 1;
}

function texts(got: Frame[]): string[] {
  return got.map((frame) => frame.kind === "message" ? frame.text : `<${frame.kind}>`);
}

function reasonOf(got: Frame[]): string {
  const last = got.at(-1)!;
  return last.kind === "malformed" ? `${last.problem.status} ${last.problem.reason}` : last.kind;
}

describe("T-02 messages are cut out by Content-Length", () => {
  const cases: [claim: string, lengthHeader: string][] = [
    ["long form", "Content-Length: 5\r\n"],
    ["compact form", "l: 5\r\n"],
    ["compact form in upper case", "L:5\r\n"],
    ["any case", "cOnTeNt-lEnGtH: 5\r\n"],
    ["blanks before the colon", "Content-Length  \t: 5\r\n"],
    ["blanks behind the value", "Content-Length: 5 \t \r\n"],
    ["folded value", "Content-Length:\r\n \t\r\n 5\r\n"],
    ["leading zeros", "Content-Length: 0005\r\n"],
    ["given twice with one value", "Content-Length: 5\r\nl: 05\r\n"],
    [
      "a header whose name starts alike",
      "Content-Length-Hint: 99\r\nLo: 7\r\nContent-Type: a/b\r\nContent-Length: 5\r\n",
    ],
    ["a continuation line that looks like the header", "X: y\r\n Content-Length: 99\r\nContent-Length: 5\r\n"],
  ];
  for (const [claim, header] of cases) {
    test(`T-02 ${claim}`, () => {
      const wire = message("hello", header);
      for (const sizes of [[], ones(wire + wire)]) expect(texts(frames(wire + wire, sizes))).toEqual([wire, wire]);
    });
  }

  test("T-02 a header section alone is a message if nothing announces a body", () => {
    const wire = message("", "");
    expect(texts(frames(wire + message("x")))).toEqual([wire, message("x")]);
  });

  test("T-02 a response is a message", () => {
    const wire = "SIP/2.0 180 \r\nl: 0\r\n\r\n";
    expect(texts(frames(wire))).toEqual([wire]);
  });

  test("T-02 bodies keep every byte, empty lines and what looks like a message", () => {
    const body = Array.from({ length: 256 }, (_, code) => String.fromCharCode(code)).join("") + "\r\n\r\n" +
      message("no");
    const wire = message(body);
    expect(texts(frames(wire, ones(wire)))).toEqual([wire]);
  });
});

describe("T-02 what cannot be cut ends the stream", () => {
  const cases: [claim: string, stream: string, reason: string][] = [
    [
      "no Content-Length though there is a body",
      message("x", "Content-Type: text/plain\r\n"),
      "400 Missing Content-Length",
    ],
    [
      "no Content-Length though there is a body, compact",
      message("x", "c: text/plain\r\n"),
      "400 Missing Content-Length",
    ],
    ["negative", message("x", "Content-Length: -999\r\n"), "400 Bad Content-Length"],
    ["empty", message("x", "Content-Length:\r\n"), "400 Bad Content-Length"],
    ["not a number", message("x", "Content-Length: 1x\r\n"), "400 Bad Content-Length"],
    ["a list", message("x", "Content-Length: 1, 1\r\n"), "400 Bad Content-Length"],
    ["a number in two lines", message("x", "Content-Length: 1\r\n 1\r\n"), "400 Bad Content-Length"],
    [
      "two that differ",
      message("x", "Content-Length: 1\r\nl: 2\r\n"),
      "400 Content-Length given twice with different values",
    ],
    ["larger than a message may be", message("x", "Content-Length: 9000\r\n"), "513 Message too large"],
    ["larger than a number can be", message("x", `l: ${"9".repeat(400)}\r\n`), "513 Message too large"],
    ["header section too large", message("", `X: ${"y".repeat(5000)}\r\n`), "513 Header section too large"],
    [
      "header section that never ends",
      `OPTIONS sip:a SIP/2.0\r\n${"X: y\r\n".repeat(1000)}`,
      "513 Header section too large",
    ],
    ["another protocol", "GET / HTTP/1.1\r\nHost: a\r\n\r\n", "400 Not a SIP message"],
    ["a TLS hello", "\x16\x03\x01\x02\x00\x01\x00", "400 Not a SIP message"],
    ["a start line of nothing", " \r\n\r\n", "400 Not a SIP message"],
  ];
  for (const [claim, stream, reason] of cases) {
    test(`T-02 ${claim}`, () => {
      for (const sizes of [[], ones(stream)]) expect(reasonOf(frames(message("before") + stream, sizes))).toBe(reason);
    });
  }

  test("T-02 the malformed frame shows the header section, so that it can be answered", () => {
    const wire = message("", "Content-Length: -1\r\n");
    const last = frames(wire + "rest", ones(wire)).at(-1)!;
    expect(last.kind === "malformed" && last.text).toBe(wire);
  });

  test("T-02 nothing comes after a malformed frame", () => {
    const framer = new StreamFramer(LIMITS);
    expect(framer.feed("\0").length).toBe(1);
    expect(framer.isDead).toBe(true);
    expect(framer.feed(message("x"))).toEqual([]);
  });

  test("T-02 random bytes never throw", () => {
    fc.assert(fc.property(fc.array(fc.string({ unit: "binary-ascii", maxLength: 40 })), (chunks) => {
      const framer = new StreamFramer(LIMITS);
      for (const chunk of chunks) framer.feed(chunk);
    }));
  });
});

describe("T-02 keepalives between messages (RFC 5626 §3.5.1)", () => {
  const cases: [claim: string, stream: string, frames: string[]][] = [
    ["a double CRLF is a ping", "\r\n\r\n", ["<ping>"]],
    ["two of them are two", "\r\n\r\n\r\n\r\n", ["<ping>", "<ping>"]],
    ["a single CRLF is skipped", "\r\n" + message("x"), [message("x")]],
    ["three CRLFs are a ping and one to skip", "\r\n\r\n\r\n" + message("x"), ["<ping>", message("x")]],
    ["a message ends what a CRLF began", `\r\n${message("x")}\r\n${message("y")}`, [message("x"), message("y")]],
    ["line feeds alone are skipped", `\n\n\r\r${message("x")}`, [message("x")]],
  ];
  for (const [claim, stream, expected] of cases) {
    test(`T-02 ${claim}`, () => {
      for (const sizes of [[], ones(stream)]) expect(texts(frames(stream, sizes))).toEqual(expected);
    });
  }
});

test("T-02 however a stream is torn, the frames are the same", () => {
  const bodies = fc.array(fc.oneof(fc.string({ unit: "binary-ascii", maxLength: 30 }), fc.constant("\r\n\r\n")), {
    maxLength: 6,
  });
  fc.assert(fc.property(bodies, fc.array(fc.integer({ min: 1, max: 40 })), fc.boolean(), (list, sizes, isBadAtEnd) => {
    const stream = list.map((body) => `\r\n\r\n${message(body)}`).join("\r\n") +
      (isBadAtEnd ? message("", "Content-Length: -1\r\n") : "");
    expect(frames(stream, sizes)).toEqual(frames(stream));
  }));
});

test("T-02 work and memory are linear in a stream that comes byte by byte", () => {
  const size = 2_000_000;
  const limits = { maxHeaderBytes: size, maxMessageBytes: size };
  const wire = message("b".repeat(size / 2), `X: ${"\r".repeat(size / 4)}\r\nContent-Length: ${size / 2}\r\n`);
  // Quadratic work would be some 10^12 steps here: the test would not end.
  expect(texts(frames(wire, ones(wire), limits))).toEqual([wire]);
});

test("T-02 an unfinished message is held within its limit", () => {
  const framer = new StreamFramer(LIMITS);
  framer.feed(message("", "Content-Length: 4000\r\n") + "b".repeat(3999));
  expect(framer.heldBytes).toBeLessThan(LIMITS.maxMessageBytes);
  expect(framer.feed("b").length).toBe(1);
  expect(framer.heldBytes).toBe(0);
});

test("T-02 the length of a header section is a number or a reason", () => {
  expect(contentLength("OPTIONS sip:a SIP/2.0\r\nl: 12\r\n\r\n")).toBe(12);
  expect(contentLength("no line end")).toBe(0);
  expect(contentLength("A\r\nl: 1")).toBe(1);
  expect(contentLength("A\r\nl 1\r\n\r\n")).toBe(0);
});
