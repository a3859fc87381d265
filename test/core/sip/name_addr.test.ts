import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { type NameAddr, parseNameAddr, parseNameAddrAt, withoutTag } from "../../../src/core/sip/name_addr.ts";

describe("F-02 addresses are read as RFC 3261 §20.10 spells them", () => {
  const cases: [text: string, parts: Partial<NameAddr>][] = [
    ["<sip:a@b>", { display: "", uriText: "sip:a@b", params: "", tag: "" }],
    ["sip:a@b", { display: "", uriText: "sip:a@b", params: "" }],
    ["sip:a@b ; tag = 1 ;x", { uriText: "sip:a@b", params: "; tag = 1 ;x", tag: "1" }],
    ["sip:user;par=x@host", { uriText: "sip:user", params: ";par=x@host" }],
    ["sip:a@b;x=<y>", { uriText: "sip:a@b", params: ";x=<y>" }],
    ["<sip:a@b;transport=tcp?x=y>;tag=1", { uriText: "sip:a@b;transport=tcp?x=y", params: ";tag=1", tag: "1" }],
    ["Alice Liddell <sip:a@b>", { display: "Alice Liddell", uriText: "sip:a@b" }],
    ["caller<sip:a@b>", { display: "caller" }],
    ['"A \\" <sip:x@y>, ;z" <sip:a@b>', { display: '"A \\" <sip:x@y>, ;z"', uriText: "sip:a@b" }],
    ['""<sip:a@b>', { display: '""' }],
    ['  "A"\t<sip:a@b> ;TAG=t', { display: '"A"', tag: "t", params: ";TAG=t" }],
    ["<sip:a@b>;tag=1;x", { tag: "1" }],
    ['<sip:a@b>;tag="1;x"', { tag: '"1;x"' }],
    ["<sip:a@b>;tag= 1", { tag: "1" }],
    ["<sip:a@b>;tag=1 ", { tag: "1" }],
    ["<sip:a@b>;tag=!", { tag: "!" }],
    ["<sip:a@b>;x=1;tag=2", { tag: "2" }],
    ["<tel:+1;x=y>;tag", { uriText: "tel:+1;x=y", tag: "" }],
  ];
  for (const [text, parts] of cases) {
    test(text, () => expect(parseNameAddr(text)).toMatchObject(parts));
  }

  const refused = [
    "",
    " ",
    "*",
    "<>",
    "<sip:a@b",
    '"A <sip:a@b>',
    '"A" sip:a@b',
    '"A"',
    "A, B <sip:a@b>",
    'A "B" <sip:a@b>',
    "a@b <sip:a@b>",
    "sip:x > <sip:a@b>",
    "<sip:a@b> x",
    "<sip:a@b>,<sip:c@d>",
    "sip:a@b,sip:c@d",
    "sip:a@b?Route=x",
    "sip:a b@c",
    "< sip:a@b>",
    "alice",
    ";tag=1",
  ];
  for (const text of refused) {
    test(`refuses ${JSON.stringify(text)}`, () => expect(parseNameAddr(text)).toBeNull());
  }

  test("are the same in the middle of any text", () => {
    const piece = fc.constantFrom(
      '"',
      "<",
      ">",
      ";",
      ",",
      "\\",
      " ",
      "sip:a@b",
      "sip:[::1]:5",
      "tag=1",
      "x",
      "?",
      "@",
      ":",
      "%41",
    );
    const any = fc.array(piece, { maxLength: 8 }).map((pieces) => pieces.join(""));
    const known = fc.constantFrom(...cases.map(([text]) => text), ...refused);
    fc.assert(
      fc.property(any, fc.oneof(any, known), any, (before, text, behind) => {
        const inPlace = parseNameAddrAt(before + text + behind, before.length, before.length + text.length);
        expect(partsOf(inPlace)).toEqual(partsOf(parseNameAddr(text)));
      }),
      { numRuns: 5000 },
    );
  });

  test("what people are shown has no tag", () => {
    const shown = (text: string) => withoutTag(parseNameAddr(text)!);
    expect(shown('"A" <sip:a@b>;x=y;tag=1')).toBe('"A" <sip:a@b>;x=y');
    expect(shown("sip:a@b;tag=1")).toBe("<sip:a@b>");
  });
});

/** What can be asked of an address, wherever it stands. */
function partsOf(address: NameAddr | null): object | null {
  if (address === null) return null;
  const { display, uriText, uri, params, tag } = address;
  return { display, uriText, user: uri?.user, host: uri?.host, port: uri?.port, uriParams: uri?.params, params, tag };
}
