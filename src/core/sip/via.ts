/** One Via value (RFC 3261 §20.42, RFC 3581 rport). */
import { digits, elementEnd, equalsIgnoreCase, isTokenChar, nextParam, skipLws, trimLwsEnd } from "./scan.ts";
import type { Flow, Transport } from "./flow.ts";
import { bareHost } from "./host.ts";
import { lowerCaseAt } from "./uri.ts";

export class Via {
  /** Positions of this value in the message; `end` is before a comma or the line end. */
  start = 0;
  end = 0;
  /** Upper-case: `UDP`, `TCP`, ... */
  transport = "";
  /** 0 if absent. */
  port = 0;
  /** As the sender wrote it; `""` present without a value. */
  received: string | undefined = undefined;
  /** `undefined` absent, 0 present without a value. */
  rport: number | undefined = undefined;
  /** Where the name `rport` ends, and its parameter; 0 if it is absent, or there twice. */
  rportNameEnd = 0;
  rportEnd = 0;
  /** Where the host of sent-by stands. */
  hostStart = 0;
  hostEnd = 0;
  /** Where the value of `branch` stands; equal if absent. */
  branchStart = 0;
  branchEnd = 0;
  /** True if another Via value follows in the same line. */
  isListHead = false;
  private lowerBranch = "";

  constructor(private readonly raw: string) {}

  /** Lower-case host of sent-by; IPv6 references keep their brackets. */
  get host(): string {
    return lowerCaseAt(this.raw, this.hostStart, this.hostEnd);
  }

  /** Lower-case; empty if absent. Made on first use: an answer without a transaction needs none. */
  get branch(): string {
    return this.lowerBranch ||= lowerCaseAt(this.raw, this.branchStart, this.branchEnd);
  }

  /** `host:port` as the transaction key needs it (RFC 3261 §17.2.3). */
  get sentBy(): string {
    return this.port === 0 ? this.host : this.host + ":" + this.port;
  }
}

/**
 * True if a UDP sender is where its sent-by says, and asks for no answer to where it sent from (RFC 3581): it may send from
 * another port than it listens on, and no NAT is between.
 */
export function isAtSentBy(via: Via, flow: Flow): boolean {
  return !flow.isReliable && via.rport === undefined && bareHost(via.host) === flow.remoteAddress;
}

/** Parses the first Via value of `[start, lineEnd)`; null if malformed. LWS is tolerated wherever RFC 3261 §25.1 allows it. */
export function parseVia(raw: string, start: number, lineEnd: number): Via | null {
  const via = new Via(raw);
  const elementStop = elementEnd(raw, start, lineEnd);
  if (elementStop < 0) return null;
  via.isListHead = elementStop < lineEnd;
  const end = trimLwsEnd(raw, start, elementStop);
  via.start = start;
  via.end = end;
  let at = readProtocol(raw, start, end, via);
  if (at < 0) return null;
  at = readSentBy(raw, at, end, via);
  if (at < 0) return null;
  while (at < end) {
    const span = nextParam(raw, at, end);
    if (span === null || span.nameStart === span.nameEnd) return null;
    const { nameStart, nameEnd, valueStart, valueEnd } = span;
    const hasValue = valueStart >= 0;
    if (equalsIgnoreCase(raw, nameStart, nameEnd, "branch")) {
      if (!hasValue) return null;
      via.branchStart = valueStart;
      via.branchEnd = valueEnd;
    } else if (equalsIgnoreCase(raw, nameStart, nameEnd, "rport")) {
      const port = hasValue ? digits(raw, valueStart, valueEnd, 65535) : 0;
      if (port < 0) return null;
      const isFirst = via.rport === undefined;
      via.rport = port;
      via.rportNameEnd = isFirst ? nameEnd : 0;
      via.rportEnd = isFirst ? span.next : 0;
    } else if (equalsIgnoreCase(raw, nameStart, nameEnd, "received")) {
      via.received = hasValue ? raw.slice(valueStart, valueEnd) : "";
    }
    at = span.next;
  }
  return via;
}

function readProtocol(raw: string, start: number, end: number, via: Via): number {
  let at = start;
  if (raw.startsWith("SIP/2.0/", start)) at += 8;
  else {
    // wsinv: "SIP  / 2.0 / UDP"; another version is read too, or its 505 could not be sent (RFC 4475 §3.1.2.16)
    at = afterWord(raw, at, end, "sip");
    at = afterWord(raw, at, end, "/");
    while (
      at >= 0 && at < end && (raw.charCodeAt(at) === 46 || (raw.charCodeAt(at) >= 48 && raw.charCodeAt(at) <= 57))
    ) at++;
    at = afterWord(raw, at, end, "/");
    if (at < 0) return -1;
  }
  const transportStart = at;
  while (at < end && isTokenChar(raw.charCodeAt(at))) at++;
  if (at === transportStart) return -1;
  via.transport = transportAt(raw, transportStart, at);
  const hostStart = skipLws(raw, at, end);
  return hostStart === at ? -1 : hostStart;
}

/** Position after `word` and the white space around it; -1 if another word stands there. */
function afterWord(raw: string, at: number, end: number, word: string): number {
  if (at < 0) return -1;
  const start = skipLws(raw, at, end);
  if (!equalsIgnoreCase(raw, start, start + word.length, word)) return -1;
  return skipLws(raw, start + word.length, end);
}

function readSentBy(raw: string, start: number, end: number, via: Via): number {
  let at = start;
  if (raw.charCodeAt(at) === 91) {
    while (at < end && raw.charCodeAt(at) !== 93) at++;
    if (at >= end) return -1;
    at++;
  } else {
    while (at < end) {
      const code = raw.charCodeAt(at);
      if (code === 58 || code === 59 || code <= 32) break;
      at++;
    }
  }
  if (at === start) return -1;
  via.hostStart = start;
  via.hostEnd = at;
  at = skipLws(raw, at, end);
  if (raw.charCodeAt(at) === 58 && at < end) {
    at = skipLws(raw, at + 1, end);
    let stop = at;
    while (stop < end && raw.charCodeAt(stop) >= 48 && raw.charCodeAt(stop) <= 57) stop++;
    const port = digits(raw, at, stop, 65535);
    if (port <= 0) return -1;
    via.port = port;
    at = stop;
  }
  const next = skipLws(raw, at, end);
  return next === end || raw.charCodeAt(next) === 59 ? next : -1;
}

const PROTOCOL: Record<Transport, string> = { udp: "UDP", tcp: "TCP", tls: "TLS", ws: "WS", wss: "WSS" };
const TRANSPORTS = Object.values(PROTOCOL);

/** The common ones are constants: nothing is cut out for them. */
function transportAt(raw: string, start: number, end: number): string {
  for (const transport of TRANSPORTS) {
    if (transport.length === end - start && raw.startsWith(transport, start)) return transport;
  }
  return raw.slice(start, end).toUpperCase();
}

/** Value of our Via on a request that leaves over `flow`. `rport` so that the answer finds us behind a NAT (RFC 3581). */
export function viaValue(flow: Flow, branch: string): string {
  const end = flow.isReliable ? "" : ";rport";
  return "SIP/2.0/" + PROTOCOL[flow.transport] + " " + flow.listener.advertised + ";branch=" + branch + end;
}
