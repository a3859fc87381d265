import { expect, test } from "bun:test";
import { renderTrace, TraceRing } from "../../src/observe/trace.ts";

const FLOW = { key: "f" };

function message(callId: string, to: string, body = ""): string {
  return `INVITE sip:x@pbx SIP/2.0\r\nTo: <sip:${to}>\r\nCall-ID: ${callId}\r\n\r\n${body}`;
}

test("O-07 the ring keeps the newest messages, oldest first", () => {
  const ring = new TraceRing(3);
  for (let i = 0; i < 5; i++) ring.add(i, i % 2 === 0, { key: "f" + i }, message("c" + i, "a@b"));
  expect(ring.find().map(({ atMs, direction, flow, callId }) => [atMs, direction, flow, callId])).toEqual([
    [2, "in", "f2", "c2"],
    [3, "out", "f3", "c3"],
    [4, "in", "f4", "c4"],
  ]);
});

test("O-07 large messages make room in bytes, too, and every one that is kept is whole", () => {
  const ring = new TraceRing(40);
  for (let i = 0; i < 200; i++) ring.add(i, true, FLOW, message("c" + i, "a@b", String(i).repeat(2500 + i % 7)));
  const kept = ring.find();
  expect(kept.length).toBeGreaterThan(5);
  expect(kept.length).toBeLessThan(12);
  expect(kept.at(-1)!.atMs).toBe(199);
  kept.forEach(({ atMs, message: text }, n) => {
    expect(atMs).toBe(kept[0]!.atMs + n);
    expect(text).toBe(message("c" + atMs, "a@b", String(atMs).repeat(2500 + atMs % 7)));
  });
});

test("O-07 a message larger than the whole ring loses its end, and bytes above 0x7f survive", () => {
  const ring = new TraceRing(3);
  ring.add(1, true, FLOW, message("one", "a@b"));
  ring.add(2, true, FLOW, message("two", "a@b", "\xe4".repeat(70_000)));
  expect(ring.size).toBe(1);
  expect(ring.find()[0]!.message).toBe(message("two", "a@b", "\xe4".repeat(70_000)).slice(0, 65_536));
  ring.add(3, true, FLOW, message("three", "a@b"));
  expect(ring.find().map(({ callId }) => callId)).toEqual(["three"]);
});

test("O-07 a ring of no messages keeps none", () => {
  const ring = new TraceRing(0);
  ring.add(1, true, FLOW, message("c", "a@b"));
  expect(ring.find()).toEqual([]);
});

test("O-07 messages are found by Call-ID, also in its short form", () => {
  const ring = new TraceRing(10);
  ring.add(1, true, FLOW, message("one", "a@b"));
  ring.add(2, true, FLOW, "BYE sip:x SIP/2.0\r\ni : two\r\n\r\nCall-ID: one\r\n");
  expect(ring.find({ callId: "one" }).map(({ atMs }) => atMs)).toEqual([1]);
  expect(ring.find({ callId: "two" }).map(({ atMs }) => atMs)).toEqual([2]);
});

test("O-07 the filter for an AoR finds whole dialogs, and no longer names", () => {
  const ring = new TraceRing(10);
  ring.add(1, true, FLOW, message("one", "Alice@Example.org;user=phone"));
  ring.add(2, true, FLOW, "ACK sip:device@192.0.2.1 SIP/2.0\r\nCall-ID: one\r\n\r\n");
  ring.add(3, true, FLOW, message("two", "alice@example.organic"));
  ring.add(4, true, FLOW, message("three", "malice@example.org"));
  ring.add(5, true, FLOW, message("four", "bob@example.org", "sip:alice@example.org"));
  expect(ring.find({ aor: "alice@example.org" }).map(({ atMs }) => atMs)).toEqual([1, 2]);
});

test("O-07 a limit keeps the newest", () => {
  const ring = new TraceRing(10);
  for (let i = 0; i < 5; i++) ring.add(i, true, FLOW, message("c", "a@b"));
  expect(ring.find({ limit: 2 }).map(({ atMs }) => atMs)).toEqual([3, 4]);
});

test("X-04 credentials are masked in the trace, and names with them if privacy asks for it", () => {
  const ring = new TraceRing(10);
  ring.add(
    1,
    true,
    FLOW,
    'REGISTER sip:x SIP/2.0\r\nTo: "Bob" <sip:bob@h>\r\nAuthorization: Digest username="bob", response="abc"\r\nCall-ID: 1\r\n\r\n',
  );
  const full = ring.find()[0]!.message;
  expect(full).toContain("\r\nAuthorization: Digest ***\r\nCall-ID: 1\r\n");
  expect(full).toContain('"Bob" <sip:bob@h>');
  expect(ring.find({ isPrivate: true })[0]!.message).toContain('"***" <sip:b***@h>');
});

test("O-07 the text form cannot move the cursor", () => {
  const text = renderTrace([
    { at: "2026-01-02T03:04:05.678Z", direction: "in", flow: "udp|a|b", message: "OPTIONS x\r\nA: \u001b[2J\r\n\r\n" },
    { at: "2026-01-02T03:04:05.679Z", direction: "out", flow: "udp|a|b", message: "SIP/2.0 200 OK\r\n\r\n" },
  ]);
  expect(text).toBe(
    "2026-01-02T03:04:05.678Z  received from udp|a|b\nOPTIONS x\nA: \ufffd[2J\n\n" +
      "2026-01-02T03:04:05.679Z  sent to udp|a|b\nSIP/2.0 200 OK\n",
  );
});
