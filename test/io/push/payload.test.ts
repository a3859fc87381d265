import { expect, test } from "bun:test";
import { decodeSipText, MAX_BODY_BYTES, webhookBody } from "../../../src/io/push/payload.ts";
import { pushRequest } from "./virtual_world.ts";

const sentAtMs = Date.parse("2026-01-02T03:04:05.678Z");
const latin1 = (text: string): string => Buffer.from(text, "utf8").toString("latin1");
const parse = (body: string | null): Record<string, unknown> => JSON.parse(body!);

test("P-03 the body has the fields of the interface, in their order", () => {
  const body = webhookBody(pushRequest({ uuid: "u", device: "d", callId: 'c"1' }), sentAtMs, 30_000);
  expect(body).toBe(
    '{"event":"call","aor":"alice@example.org","device":"d","provider":"acme","param":"org.example.phone",' +
      '"prid":"token-1","call_id":"c\\"1","uuid":"u","from_uri":"sip:bob@example.org","from_name":"Bob",' +
      '"to_uri":"sip:alice@example.org","sent_at":"2026-01-02T03:04:05.678Z","ttl":30}',
  );
});

test("P-06 a cancel push says why", () => {
  const cancel = pushRequest({ event: "cancel", reason: "answered_elsewhere" });
  expect(parse(webhookBody(cancel, sentAtMs, 1000)).reason).toBe("answered_elsewhere");
});

test.each([[30_000, 30], [29_750, 30], [1, 1], [0, 0], [-5, 0]])("P-03 %d ms left are a ttl of %d", (leftMs, ttl) => {
  expect(parse(webhookBody(pushRequest(), sentAtMs, leftMs)).ttl).toBe(ttl);
});

test.each([
  ["JSON", '"},{"x":"'],
  ["control characters", "a\x00b\r\nc\x1b[31m\x7f"],
  ["backslashes", "\\u0000\\"],
  ["emoji", "👩‍👩‍👧 Bob"],
  ["Cyrillic", "Борис"],
  ["script", "</script><!--"],
  ["prototype words", "__proto__"],
])("P-03 a hostile name arrives as it is: %s", (_name, fromName) => {
  const fields = parse(webhookBody(pushRequest({ fromName: latin1(fromName) }), sentAtMs, 1000));
  expect(fields.from_name).toBe(fromName);
  expect(Object.keys(fields).length).toBe(13);
});

test.each([
  ["ASCII", "x".repeat(6144)],
  ["emoji", "👩‍👩‍👧".repeat(700)],
  ["control characters", "\x01".repeat(6144)],
  ["quotes", '"'.repeat(6144)],
  ["three-byte characters", "語".repeat(2000)],
])("P-03 a name of 6 KB is cut between code points: %s", (_name, fromName) => {
  const body = webhookBody(pushRequest({ fromName: latin1(fromName) }), sentAtMs, 1000);
  const name = parse(body).from_name as string;
  expect(Buffer.byteLength(body!)).toBeLessThanOrEqual(MAX_BODY_BYTES);
  expect(Buffer.byteLength(body!)).toBeGreaterThan(MAX_BODY_BYTES - 7);
  expect(fromName.startsWith(name)).toBe(true);
  expect(name.isWellFormed()).toBe(true);
});

test("P-03 where a short name does not suffice the caller's URI gives way, never token or Call-ID", () => {
  const request = pushRequest({
    fromUri: `sip:${"b".repeat(5000)}@x`,
    callId: "c".repeat(2000),
    prid: "t".repeat(1000),
  });
  const fields = parse(webhookBody(request, sentAtMs, 1000));
  expect(fields).toMatchObject({ from_uri: "", from_name: "Bob", call_id: request.callId, prid: request.prid });
  expect(fields.to_uri).toBe(request.toUri);
});

test("P-03 a token and Call-ID that cannot fit make no body", () => {
  expect(webhookBody(pushRequest({ callId: "c".repeat(5000) }), sentAtMs, 1000)).toBeNull();
});

test.each([
  ["plain", "plain"],
  ["\xc3\xa9", "é"],
  ["\xf0\x9f\x98\x80", "😀"],
  ["caf\xe9", "café"],
  ["\xc3", "Ã"],
  ["\xed\xa0\x80", "\xed\xa0\x80"],
  ["\xef\xbb\xbfx", "\ufeffx"],
  ["Борис", "Борис"],
])("P-03 SIP text %j is read as Unicode", (wire, text) => {
  expect(decodeSipText(wire)).toBe(text);
});
