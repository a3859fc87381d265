import { heapStats } from "bun:jsc";
import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import * as scan from "../../../src/core/sip/scan.ts";

const any = fc.string({ unit: fc.constantFrom(...' \t\r\n"\\,;<>=ab'), maxLength: 30 });

describe("F-02 the characters of RFC 3261 §25.1", () => {
  test("a token is made of these and no others", () => {
    const token = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-.!%*_+`'~";
    const found = Array.from({ length: 256 }, (_, code) => code).filter(scan.isTokenChar);
    expect(String.fromCharCode(...found)).toBe([...token].sort().join(""));
    expect([scan.isTokenChar(NaN), scan.isTokenChar(256 + 97)]).toEqual([false, false]);
    expect([scan.isToken(token), scan.isToken(""), scan.isToken("a b"), scan.isToken("a\xe4")])
      .toEqual([true, false, false, false]);
  });

  test("white space is skipped from both sides, never beyond the bounds", () => {
    const found = Array.from({ length: 256 }, (_, code) => code).filter(scan.isLws);
    expect(found).toEqual([9, 10, 13, 32]);
    expect(scan.skipLws("  a ", 0, 4)).toBe(2);
    expect(scan.skipLws("    ", 0, 3)).toBe(3);
    expect(scan.trimLwsEnd(" a\r\n ", 0, 5)).toBe(2);
    expect(scan.trimLwsEnd("    ", 1, 4)).toBe(1);
  });

  test("words are compared without regard to case, but nothing else is folded", () => {
    expect(scan.equalsIgnoreCase("xSiPx", 1, 4, "sip")).toBe(true);
    expect(scan.equalsIgnoreCase("xSiPx", 1, 5, "sip")).toBe(false);
    expect(scan.equalsIgnoreCase("SI", 0, 2, "sip")).toBe(false);
    expect(scan.equalsIgnoreCase("\x13IP", 0, 3, "sip")).toBe(false);
    expect(scan.equalsIgnoreCase("[", 0, 1, "{")).toBe(false);
    expect(scan.equalsIgnoreCase("@", 0, 1, "`")).toBe(false);
  });
});

describe("F-02 quoted strings", () => {
  const cases: [text: string, end: number][] = [
    ['""', 2],
    ['"a"b', 3],
    ['"a\\"b"', 6],
    ['"a\\\\"b"', 5],
    ['"a', -1],
    ['"a\\"', -1],
    ['"', -1],
    ['"\\', -1],
  ];
  for (const [text, end] of cases) {
    test(`${text} ends at ${end}`, () => expect(scan.skipQuoted(text, 0, text.length)).toBe(end));
  }

  test("are unquoted, anything else stays", () => {
    expect(['"a\\"b"', '"a\\\\\\n"', '""', '"', "a", "", "'a'"].map(scan.unquote))
      .toEqual(['a"b', "a\\n", "", '"', "a", "", "'a'"]);
  });
});

describe("F-02 comma lists", () => {
  const cases: [text: string, elements: string[] | null][] = [
    ["", []],
    [" , ,, ", []],
    ["a", ["a"]],
    [" a , b,c ", ["a", "b", "c"]],
    ['"a,b" , c', ['"a,b"', "c"]],
    ["<a,b>;x , <c>", ["<a,b>;x", "<c>"]],
    ['<a",b>, c', ['<a",b>', "c"]],
    ['"<",a', ['"<"', "a"]],
    ['"a\\",b",c', ['"a\\",b"', "c"]],
    ["a>,b", ["a>", "b"]],
    ['a,"b', null],
    ["a,<b", null],
    ["a\r\n ,\r\n\tb", ["a", "b"]],
  ];
  for (const [text, elements] of cases) {
    test(JSON.stringify(text), () => expect(scan.splitList(text)).toEqual(elements));
  }

  test("joined and split again, elements are what they were", () => {
    const element = fc.oneof(
      fc.string({ unit: fc.constantFrom(..."ab;="), minLength: 1, maxLength: 5 }),
      any.map((inner) => `"${inner.replace(/[\\"]/g, "\\$&")}"`),
      any.map((inner) => `<${inner.replace(/[<>]/g, "")}>`),
    );
    const comma = fc.constantFrom(",", " ,", ",\r\n ", " , ,");
    fc.assert(
      fc.property(fc.array(element, { minLength: 1 }), comma, (elements, between) => {
        expect(scan.splitList(elements.join(between))).toEqual(elements);
      }),
    );
  });

  test("the next element that is not empty is looked for up to the end", () => {
    expect(scan.nextElement(" ,\t,\r\n a", 0, 8)).toBe(7);
    expect(scan.nextElement("a", 0, 1)).toBe(0);
    expect(scan.nextElement(", , a", 0, 4)).toBe(4);
  });
});

describe("F-02 parameters", () => {
  const list = ' ;A=1 ; b = "x;y=\\"" ;c;D= ;e=f=g ; a=2';
  const cases: [name: string, value: string | undefined][] = [
    ["a", "1"],
    ["b", '"x;y=\\""'],
    ["c", ""],
    ["d", ""],
    ["e", "f=g"],
    ["y", undefined],
    ["", undefined],
  ];
  for (const [name, value] of cases) {
    test(`"${name}" is ${value}`, () => expect(scan.paramOf(list, name)).toBe(value));
  }

  test("nothing is read behind an open quote, nor from what is no list", () => {
    expect(scan.paramOf(';a=1;b="x;c=2', "a")).toBe("1");
    expect(scan.paramOf(';a=1;b="x;c=2', "c")).toBeUndefined();
    expect(scan.paramOf("a=1", "a")).toBeUndefined();
    expect(scan.paramOf("xx;a=1;b=2", "b", 2, 6)).toBeUndefined();
    expect(scan.paramOf("xx;a=1;b=2", "a", 2, 6)).toBe("1");
    expect(scan.nextParam("", 0, 0)).toBeNull();
  });

  test("one is taken out wherever and how often it stands, the rest stays to the byte", () => {
    expect(scan.withoutParam(";a=1;b;a", "a")).toBe(";b");
    expect(scan.withoutParam(' ; x="a;a" ;A="1;2" ; c', "a")).toBe(' ; x="a;a" ; c');
    expect(scan.withoutParam(";aa;b", "a")).toBe(";aa;b");
    expect(scan.withoutParam("", "a")).toBe("");
    expect(scan.withoutParam(';a;b="', "a")).toBe(';b="');
  });
});

test("F-08 numbers are digits up to a bound, never wrapped", () => {
  const number = (text: string, max = 255) => scan.digits(text, 0, text.length, max);
  expect(["0", "0068", "255"].map((text) => number(text))).toEqual([0, 68, 255]);
  expect(["", "256", "-1", "+1", "1 ", "1e1", "\xb2", "9".repeat(400)].map((text) => number(text)))
    .toEqual(Array(8).fill(-1));
  expect(scan.digits("x42y", 1, 3, 99)).toBe(42);
});

test("a detached copy is the same text", () => {
  fc.assert(fc.property(fc.string({ unit: "binary" }), (text) => expect(scan.detached(text)).toBe(text)));
});

test("X-06 a detached copy lets go of the message it was cut from", () => {
  const heldBytes = (keep: (text: string) => string): number => {
    const kept: string[] = [];
    Bun.gc(true);
    const before = heapStats().extraMemorySize;
    for (let i = 0; i < 200; i++) {
      const message = Buffer.alloc(60_000, 120).toString("latin1");
      kept.push(keep(message.slice(100 + i, 140 + i)));
    }
    Bun.gc(true);
    const held = heapStats().extraMemorySize - before;
    expect(kept.every((text) => text.length === 40)).toBe(true);
    return held;
  };
  // The collector may find some of what other tests left in one of the rounds, but hardly in each.
  const rounds = (keep: (text: string) => string) => [1, 2, 3].map(() => heldBytes(keep));
  expect(Math.max(...rounds((text) => text))).toBeGreaterThan(10_000_000);
  expect(Math.min(...rounds(scan.detached).map(Math.abs))).toBeLessThan(1_000_000);
});

test("F-08 no text makes a scan throw, leave its bounds, or stand still", () => {
  fc.assert(
    fc.property(any, fc.nat(30), fc.nat(30), (text, a, b) => {
      const [start, end] = [Math.min(a, b, text.length), Math.min(Math.max(a, b), text.length)];
      for (const at of [scan.skipLws(text, start, end), scan.nextElement(text, start, end)]) {
        expect(at >= start && at <= end).toBe(true);
      }
      const stop = scan.elementEnd(text, start, end);
      expect(stop === -1 || (stop >= start && stop <= end)).toBe(true);
      for (let span = scan.nextParam(text, start, end), at = start; span !== null;) {
        expect(span.next > at && span.next <= end).toBe(true);
        expect(span.nameStart <= span.nameEnd).toBe(true);
        expect(span.valueStart <= span.valueEnd).toBe(true);
        at = span.next;
        span = scan.nextParam(text, at, end);
      }
      scan.unquote(text);
    }),
    { numRuns: 2000 },
  );
});
