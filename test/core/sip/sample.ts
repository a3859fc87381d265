/** Messages and flows for the tests of this folder. Everything here is well-formed; the tests break it. */
import { expect } from "bun:test";
import type { Flow } from "../../../src/core/sip/flow.ts";
import { type Message, parseMessage } from "../../../src/core/sip/message.ts";

/** The lines every request has, without their CRLF. */
export const LINES: readonly string[] = [
  "Via: SIP/2.0/UDP 192.0.2.1:5070;branch=z9hG4bKa",
  "Max-Forwards: 70",
  "From: Bob <sip:bob@example.org>;tag=f1",
  "To: <sip:alice@example.org>",
  "Call-ID: c1@192.0.2.1",
  "CSeq: 7 INVITE",
];

/** A message of a start line and header lines. */
export function text(start: string, lines: readonly string[], body = ""): string {
  return [start, ...lines].map((line) => line + "\r\n").join("") + "\r\n" + body;
}

/** An INVITE whose lines of the same name are replaced by `changed`; other lines of `changed` follow at the end. */
export function invite(changed: readonly string[] = [], body = ""): string {
  return text("INVITE sip:alice@example.org SIP/2.0", withLines(changed), body);
}

/** A response to that INVITE. */
export function response(start: string, changed: readonly string[] = [], body = ""): string {
  return text("SIP/2.0 " + start, withLines(changed), body);
}

function withLines(changed: readonly string[]): string[] {
  const nameOf = (line: string) => line.slice(0, line.indexOf(":"));
  const left = [...changed];
  const lines = LINES.flatMap((line) => {
    const own = left.filter((candidate) => nameOf(candidate) === nameOf(line));
    own.forEach((candidate) => left.splice(left.indexOf(candidate), 1));
    return own.length > 0 ? own : [line];
  });
  return [...lines, ...left];
}

/** Parses what must be well-formed. */
export function parsed(raw: string): Message {
  const message = parseMessage(raw);
  expect(message.problem).toBeNull();
  return message;
}

/** A UDP flow from 203.0.113.9:40000 unless told otherwise. */
export function flowOf(changed: Partial<Flow> = {}): Flow {
  const transport = changed.transport ?? "udp";
  return {
    id: 1,
    transport,
    isReliable: transport !== "udp",
    listener: { transport, address: "192.0.2.100", port: 5060, advertised: "us.example.org:5060" },
    remoteAddress: "203.0.113.9",
    remotePort: 40000,
    state: "open",
    lastHeardMs: 0,
    key: "",
    ...changed,
  };
}

/** One character for each byte there is, LF last so that it can be cut off. */
export const ALL_BYTES: string =
  Array.from({ length: 256 }, (_, code) => String.fromCharCode(code)).filter((char) => char !== "\n").join("") + "\n";
