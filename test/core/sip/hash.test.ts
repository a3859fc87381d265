import { expect, test } from "bun:test";
import fc from "fast-check";
import { hashAt, hashOf, hashText, statelessTag } from "../../../src/core/sip/hash.ts";
import { parseMessage } from "../../../src/core/sip/message.ts";

test("F-01 the hash of a part is that of the part alone, and goes on from what came before", () => {
  const text = fc.string({ unit: "binary", maxLength: 20 });
  fc.assert(fc.property(text, text, text, (before, part, behind) => {
    expect(hashAt(before + part + behind, before.length, before.length + part.length)).toBe(hashOf(part));
    expect(hashOf(behind, hashOf(part))).toBe(hashOf(part + behind));
  }));
  expect([hashOf("") >>> 0, hashOf("a") >>> 0, hashOf("foobar") >>> 0]).toEqual([0x811c9dc5, 0xe40c292c, 0xbf9cf968]);
});

test("F-01 its text is a token of six characters, and every bit counts", () => {
  const texts = new Set<string>();
  for (let bit = 0; bit < 32; bit++) texts.add(hashText(1 << bit));
  expect([...texts].every((text) => /^[a-z0-5]{6}$/.test(text))).toBe(true);
  // The two highest bits share a place with the two lowest: 30 bits have room.
  expect(texts.size).toBe(30);
});

const request = (branch: string, callId: string, cseq: number) =>
  parseMessage(
    `OPTIONS sip:a@b SIP/2.0\r\nVia: SIP/2.0/UDP h${branch}\r\nFrom: <sip:a@b>;tag=1\r\nTo: <sip:a@b>\r\n` +
      `Call-ID: ${callId}\r\nCSeq: ${cseq} OPTIONS\r\n\r\n`,
  );

test("F-01 the tag of a stateless answer is the request's own: branch, Call-ID and CSeq", () => {
  const tags = [
    request(";branch=z9hG4bK1", "c", 1),
    request(";branch=z9hG4bK2", "c", 1),
    request(";branch=z9hG4bK1", "d", 1),
    request(";branch=z9hG4bK1", "c", 2),
    request("", "c", 1),
  ].map(statelessTag);
  expect(new Set(tags).size).toBe(5);
  expect(statelessTag(request(";branch=z9hG4bK1;rport", "c", 1))).toBe(tags[0]!);
});
