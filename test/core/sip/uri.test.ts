/** What is not in RFC 3261's tables of examples; those are in `test/torture/own_cases.test.ts`. */
import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import {
  aorOf,
  canonicalUser,
  isSipScheme,
  lowerCase,
  parseUri,
  parseUriAt,
  type Uri,
  uriParam,
  urisEqual,
  withoutHeaders,
} from "../../../src/core/sip/uri.ts";

describe("F-02 a URI is taken apart as RFC 3261 §25.1 builds it", () => {
  const cases: [text: string, parts: Partial<Uri>][] = [
    ["SIP:Alice@EXAMPLE.org", { scheme: "sip", user: "Alice", host: "example.org", port: 0, params: "", headers: "" }],
    ["sip:user;par=u%40example.net@host", { user: "user;par=u%40example.net", host: "host", params: "" }],
    // The first "@" ends the user part: no other may stand in a URI, so what follows cannot name another host.
    ["sip:a?b@host", { user: "a?b", host: "host", headers: "" }],
    ["sip:example.org?x@evil", { user: "example.org?x", host: "evil", headers: "" }],
    ["sip:example.org;a=b@evil", { user: "example.org;a=b", host: "evil" }],
    ["sip:a:b:c@host", { user: "a", password: "b:c" }],
    ["sip:a:@host", { user: "a", password: "" }],
    ["sip:%00%00@host", { user: "%00%00" }],
    ["sip:[::1]", { host: "[::1]", port: 0 }],
    ["sip:a@[2001:DB8:::1]:65535;lr?x=y", {
      host: "[2001:db8:::1]",
      port: 65535,
      params: ";lr",
      headers: "x=y",
    }],
    ["sip:a@[::ffff:192.0.2.1]", { host: "[::ffff:192.0.2.1]" }],
    ["sip:a@host:05060", { port: 5060 }],
    ["sip:a@my_host-1.example.", { host: "my_host-1.example." }],
    ["sip:a@b;x=[::1]:5060;y?z=?&w=/", { params: ";x=[::1]:5060;y", headers: "z=?&w=/" }],
    ["sip:\xc3\xa4@host", { user: "\xc3\xa4" }],
    ["tel:+1-201-555-0123;phone-context=x", { scheme: "tel", user: "", host: "", params: "" }],
    ["URN:uuid:1", { scheme: "urn" }],
    ["h.323+x-1:y", { scheme: "h.323+x-1" }],
  ];
  for (const [text, parts] of cases) {
    test(text, () => expect(parseUri(text)).toMatchObject({ text, ...parts }));
  }

  const refused = [
    "sip:a@b?",
    "sip:a:%4@b",
    "sip:a%@b",
    "sip::pw@b",
    "sip:a@b@c",
    "sip:a@b:",
    "sip:a@b:5060x",
    "sip:a@[::1",
    "sip:a@[]",
    "sip:a@[::g]",
    "sip:a@[::1]x",
    "sip:a@b/c",
    "sip:a@b%20",
    "si p:a@b",
    "-x:y",
    "+x:y",
    "s\xefp:a@b",
    'sip:a"@b',
    "sip:a\x7f@b",
    "sip:a@b\0",
  ];
  for (const text of refused) {
    test(`refuses ${JSON.stringify(text)}`, () => expect(parseUri(text)).toBeNull());
  }

  test("the same in the middle of any text", () => {
    const piece = fc.constantFrom(
      "sip:",
      "a",
      "@",
      ":",
      "5060",
      ";",
      "?",
      "=",
      "%41",
      "%",
      "[",
      "]",
      "::1",
      ".",
      "/",
      " ",
      ">",
    );
    const any = fc.array(piece, { maxLength: 8 }).map((pieces) => pieces.join(""));
    const known = fc.constantFrom(...cases.map(([text]) => text), ...refused, "sip:a@b:", "sip:a", "sip:a@b:65535");
    fc.assert(
      fc.property(any, fc.oneof(any, known), any, (before, text, behind) => {
        const inPlace = parseUriAt(before + text + behind, before.length, before.length + text.length);
        expect(partsOf(inPlace)).toEqual(partsOf(parseUri(text)));
      }),
      { numRuns: 5000 },
    );
  });

  test("each character where it may stand", () => {
    const readable = (write: (char: string) => string) =>
      Array.from({ length: 256 }, (_, code) => String.fromCharCode(code)).filter((char) =>
        parseUri(write(char)) !== null
      )
        .join("");
    const digits = "0123456789";
    const upper = "ABCDEFGHIJKLMNOPQRSTUVWXYZ";
    const alphanumeric = digits + upper + "abcdefghijklmnopqrstuvwxyz";
    const sorted = (chars: string) => [...chars].sort().join("");
    expect(readable((char) => `x${char}:y`)).toBe(sorted(alphanumeric + "+-.:"));
    expect(readable((char) => `${char}x:y`)).toBe(sorted(alphanumeric.slice(10)));
    expect(readable((char) => `sip:a@b${char}c`)).toBe(sorted(alphanumeric + "-._;?"));
    expect(readable((char) => `sip:a@[::${char}]`)).toBe(sorted(digits + "ABCDEFabcdef:."));
    expect(readable((char) => `sip:a%4${char}@b`)).toBe(sorted(digits + "ABCDEFabcdef"));
    expect(readable((char) => `sip:a%${char}4@b`)).toBe(sorted(digits + "ABCDEFabcdef"));
    expect(readable((char) => `sip:a@b:5${char}`)).toBe(sorted(digits + ";"));
    const notAllowed = (char: string) => char <= " " || '"<>\x7f'.includes(char);
    for (let code = 0; code < 256; code++) {
      const char = String.fromCharCode(code);
      for (const text of [`sip:a@b;x=${char}y`, `tel:${char}1`]) expect(parseUri(text) === null).toBe(notAllowed(char));
    }
  });

  test("parameters by name in any case, the headers part can be taken off", () => {
    const uri = parseUri("sip:a@b;Transport=TCP;lr;x=?y=%3Bz")!;
    expect([uriParam(uri, "transport"), uriParam(uri, "lr"), uriParam(uri, "x"), uriParam(uri, "y")])
      .toEqual(["TCP", "", "", undefined]);
    expect(withoutHeaders(uri)).toBe("sip:a@b;Transport=TCP;lr;x=");
    expect(withoutHeaders(parseUri("sip:a?b@c")!)).toBe("sip:a?b@c");
    expect(withoutHeaders(parseUri("tel:1?2")!)).toBe("tel:1?2");
    expect(uriParam(parseUri("sip:a@b")!, "lr")).toBeUndefined();
    expect(["sip:a", "sips:a", "tel:1"].map((text) => isSipScheme(parseUri(text)!))).toEqual([true, true, false]);
  });
});

describe("R-12 canonical users and addresses of record", () => {
  const cases: [user: string, canonical: string][] = [
    ["alice", "alice"],
    ["%61lice", "alice"],
    ["%41%7a%30", "Az0"],
    ["%2d%5F%2e%21%7E%2a%27%28%29", "-_.!~*'()"],
    ["%3b%3B%40%25%2f", "%3B%3B%40%25%2F"],
    ["%00a", "%00a"],
    ["%c3%A4", "%C3%A4"],
    ["%2561", "%2561"],
  ];
  for (const [user, canonical] of cases) {
    test(`${user} is ${canonical}`, () => {
      expect(canonicalUser(user)).toBe(canonical);
      expect(canonicalUser(canonical)).toBe(canonical);
    });
  }

  test("an AoR is user and host, or another domain, or the host alone", () => {
    const uri = parseUri("sip:%62ob:pw@Example.ORG:5070;x=y")!;
    expect([aorOf(uri), aorOf(uri, "other.net"), aorOf(parseUri("sip:Example.ORG")!)])
      .toEqual(["bob@example.org", "bob@other.net", "example.org"]);
  });

  test("lower case costs nothing where there is nothing to do", () => {
    expect(["abc", "aBc", "\xc4", "", "AZ", "@["].map(lowerCase)).toEqual(["abc", "abc", "\xc4", "", "az", "@["]);
  });
});

describe("R-12 equality", () => {
  const isEqual = (a: string, b: string) => urisEqual(parseUri(a)!, parseUri(b)!);
  const cases: [a: string, b: string, equal: boolean][] = [
    ["tel:+1", "tel:+1", true],
    ["tel:+1", "tel:+2", false],
    ["sip:a@b;ttl=1", "sip:a@b", false],
    ["sip:a@b;x=1", "sip:a@b;y=1", true],
    ["sip:a@b?x=A", "sip:a@b?x=a", false],
    ["sip:a@b;method=INVITE", "sip:a@b", false],
    ["sip:a@b;lr", "sip:a@b;lr=on", false],
    ["sip:a@b;x=%41", "sip:a@b;x=a", true],
    ["sip:a:p@b", "sip:a:P@b", false],
    ["sip:a:%70@b", "sip:a:p@b", true],
    ["sip:a@b?x=1&y=2", "sip:a@b?Y=2&X=1", true],
    ["sip:a@b?x=1", "sip:a@b?x=1&y=2", false],
    ["sip:a@b?x", "sip:a@b?X", true],
    ["sip:a@b:5060", "sip:a@b:5061", false],
    ["sip:a@[::1]", "sip:a@[::2]", false],
  ];
  for (const [a, b, equal] of cases) {
    test(`${a} ${equal ? "is" : "is not"} ${b}`, () => {
      expect([isEqual(a, b), isEqual(b, a)]).toEqual([equal, equal]);
    });
  }

  const word = fc.string({ unit: fc.constantFrom(..."abYZ09-_.!~*'()"), minLength: 1, maxLength: 8 });
  const name = fc.constantFrom("transport", "user", "ttl", "method", "maddr", "lr", "x", "y");
  const params = fc.uniqueArray(fc.tuple(name, fc.option(word)), { selector: ([key]) => key, maxLength: 5 });
  const write = (user: string, list: [string, string | null][]) =>
    `sip:${user}@example.org${list.map(([key, value]) => `;${key}${value === null ? "" : `=${value}`}`).join("")}`;

  test("does not see escapes of unreserved characters, the order of parameters, or their case", () => {
    fc.assert(
      fc.property(word, params, fc.infiniteStream(fc.boolean()), (user, list, coin) => {
        const flip = () => coin.next().value as boolean;
        const escape = (text: string) =>
          [...text].map((char) => flip() ? "%" + char.charCodeAt(0).toString(16).padStart(2, "0") : char).join("");
        const other = list.map(([key, value]): [string, string | null] => [
          flip() ? key.toUpperCase() : key,
          value === null ? null : escape(flip() ? value.toUpperCase() : value),
        ]).reverse();
        expect(isEqual(write(user, list), write(escape(user), other))).toBe(true);
        expect(isEqual(write(escape(user), other), write(user, list))).toBe(true);
        expect(aorOf(parseUri(write(escape(user), other))!)).toBe(user + "@example.org");
      }),
    );
  });

  test("is the same from both sides", () => {
    fc.assert(
      fc.property(word, params, params, (user, a, b) => {
        expect(isEqual(write(user, a), write(user, b))).toBe(isEqual(write(user, b), write(user, a)));
      }),
    );
  });
});

/** What can be asked of a URI, wherever it stands. */
function partsOf(uri: Uri | null): Uri | null {
  if (uri === null) return null;
  const { text, scheme, user, password, host, port, params, headers, isCanonical } = uri;
  return { text, scheme, user, password, host, port, params, headers, isCanonical };
}
