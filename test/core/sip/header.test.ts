import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import * as header from "../../../src/core/sip/header.ts";

const names: [name: string, id: number][] = [
  ["Via", header.VIA],
  ["v", header.VIA],
  ["From", header.FROM],
  ["f", header.FROM],
  ["To", header.TO],
  ["t", header.TO],
  ["Call-ID", header.CALL_ID],
  ["i", header.CALL_ID],
  ["CSeq", header.CSEQ],
  ["Contact", header.CONTACT],
  ["m", header.CONTACT],
  ["Max-Forwards", header.MAX_FORWARDS],
  ["Content-Length", header.CONTENT_LENGTH],
  ["l", header.CONTENT_LENGTH],
  ["Expires", header.EXPIRES],
  ["Route", header.ROUTE],
  ["Record-Route", header.RECORD_ROUTE],
  ["Path", header.PATH],
  ["Authorization", header.AUTHORIZATION],
  ["Proxy-Authorization", header.PROXY_AUTHORIZATION],
  ["WWW-Authenticate", header.WWW_AUTHENTICATE],
  ["Proxy-Authenticate", header.PROXY_AUTHENTICATE],
  ["Require", header.REQUIRE],
  ["Proxy-Require", header.PROXY_REQUIRE],
  ["Supported", header.SUPPORTED],
  ["k", header.SUPPORTED],
  ["Unsupported", header.UNSUPPORTED],
  ["User-Agent", header.USER_AGENT],
  ["Content-Type", header.CONTENT_TYPE],
  ["c", header.CONTENT_TYPE],
  ["Min-Expires", header.MIN_EXPIRES],
  ["Retry-After", header.RETRY_AFTER],
  ["Reason", header.REASON],
  ["Timestamp", header.TIMESTAMP],
  ["Max-Breadth", header.MAX_BREADTH],
  ["Feature-Caps", header.FEATURE_CAPS],
  ["Replaces", header.REPLACES],
  ["Server", header.SERVER],
  ["Date", header.DATE],
  ["Service-Route", header.SERVICE_ROUTE],
];

describe("F-02 header names", () => {
  for (const [name, id] of names) {
    test(`${name} in any case and at any place`, () => {
      for (const spelled of [name, name.toLowerCase(), name.toUpperCase()]) {
        expect(header.headerId(`..${spelled}..`, 2, 2 + spelled.length)).toBe(id);
      }
    });
  }

  test("every id has its own number, and every name its own place in the table", () => {
    const ids = Object.values(header).filter((value) => typeof value === "number");
    expect(new Set(ids).size).toBe(ids.length);
    expect(new Set(names.map(([, id]) => id)).size).toBe(ids.length - 1);
  });

  test("any other name is none of ours", () => {
    const known = new Set(names.map(([name]) => name.toLowerCase()));
    fc.assert(
      fc.property(fc.string({ unit: "binary-ascii", maxLength: 15 }), (name) => {
        fc.pre(!known.has(name.toLowerCase()));
        expect(header.headerId(name, 0, name.length)).toBe(header.OTHER);
      }),
    );
    // One letter wrong at each place: the table compares to the letter.
    for (const [name] of names) {
      for (let at = 0; at < name.length; at++) {
        for (const put of ["", "~", "\x0d", "@"]) {
          const other = name.slice(0, at) + put + name.slice(at + 1);
          if (!known.has(other.toLowerCase())) expect(header.headerId(other, 0, other.length)).toBe(header.OTHER);
        }
      }
    }
  });
});
