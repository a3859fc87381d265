/**
 * What the transports tell their owner, and what they need from it. Types and counters only.
 */
import type { Flow, Transport } from "../../core/sip/flow.ts";
import type { FramingProblem } from "../../core/sip/framing.ts";
import type { LogFields, LogLevel } from "../../core/port.ts";

/** What the owner hears. Every call is an input of its own and is never made from inside a call of the owner. */
export interface TransportSink {
  /** A complete message: latin1 text, one character a byte. The text may share memory with what was read with it: copy what is kept. */
  message(flow: Flow, text: string): void;
  /** A flow is gone for good; `reason` in words. Never told of UDP flows. */
  closed(flow: Flow, reason: string): void;
  /**
   * Something that cannot be cut into messages, or is too large. `text` is what there is of the header section. A
   * connection closes at the next flush after this, so an answer sent meanwhile still leaves.
   */
  malformed(flow: Flow, text: string, problem: FramingProblem): void;
}

/** Sizes in bytes, times in ms. */
export interface TransportLimits {
  readonly maxMessageBytes: number;
  readonly maxHeaderBytes: number;
  /** Connections in and out together. */
  readonly maxConnections: number;
  /** Accepted connections from one source. */
  readonly maxConnectionsPerSource: number;
  /** Bytes of unfinished messages that all connections together may hold. */
  readonly maxUnfinishedBytes: number;
  /** Bytes that may wait to be written to one connection before it is closed. */
  readonly maxQueuedBytes: number;
  /** Unpinned UDP flows per local address; those heard longest ago make room. */
  readonly maxUdpFlows: number;
  /** Bytes that may wait to be sent from one UDP socket before the oldest message is dropped. */
  readonly maxUdpQueuedBytes: number;
  readonly connectTimeoutMs: number;
  /** Accepted connections whose TLS handshake is not done, of all sources together. */
  readonly maxHandshakes: number;
  /** An accepted connection whose TLS handshake is not done by then is closed. */
  readonly handshakeTimeoutMs: number;
  /** A connection that was accepted and has not given a message or keepalive by then is closed. */
  readonly firstMessageTimeoutMs: number;
  /** An unpinned flow that was silent for so long is closed (connections) or forgotten (UDP). */
  readonly idleTimeoutMs: number;
}

export const DEFAULT_LIMITS: TransportLimits = {
  maxMessageBytes: 64 * 1024,
  maxHeaderBytes: 32 * 1024,
  maxConnections: 4096,
  maxConnectionsPerSource: 64,
  maxUnfinishedBytes: 32 * 1024 * 1024,
  maxQueuedBytes: 1024 * 1024,
  maxUdpFlows: 100_000,
  maxUdpQueuedBytes: 16 * 1024 * 1024,
  connectTimeoutMs: 5_000,
  maxHandshakes: 1000,
  handshakeTimeoutMs: 20_000,
  firstMessageTimeoutMs: 32_000,
  idleTimeoutMs: 600_000,
};

/** What every socket of this folder gets. */
export interface TransportContext {
  readonly sink: TransportSink;
  readonly limits: TransportLimits;
  readonly counts: TransportCounts;
  /** The appliance clock, in ms; changes once per turn. Never 0. */
  now(): number;
  /** Called whenever something was delivered or wants a flush, so that the owner can schedule the end of its turn. */
  onInput(): void;
  log(level: LogLevel, message: string, fields?: LogFields): void;
  /** True for sources that no limit per source applies to: the PBX. */
  isExempt(address: string): boolean;
  /** True for sources that get no connection and no answer to keepalives. */
  isRefused(address: string): boolean;
  /** False for a keepalive too many of its source; it counts as a message does. @param isPinned a phone registered over the flow */
  admitsKeepalive(address: string, isPinned: boolean): boolean;
  /** True for web servers and load balancers whose word on where a connection comes from is believed. */
  isProxy(address: string): boolean;
  /** The source an address belongs to, for limits per source: an IPv4 address, or a network of IPv6. */
  sourceOf(address: string): string;
}

/** One sample of a metric: the values of its labels in order, and the number. */
export type Sample = readonly [labels: readonly string[], value: number];

/** Messages of one transport. Fields, not a map: counted once per datagram. */
class MessageCounts {
  requestsIn = 0;
  responsesIn = 0;
  keepalivesIn = 0;
  malformedIn = 0;
  requestsOut = 0;
  responsesOut = 0;
}

/** In the order they are shown. */
export const TRANSPORTS: readonly Transport[] = ["udp", "tcp", "tls", "ws", "wss"];

/** Counters of all transports since start. */
export class TransportCounts {
  readonly udp = new MessageCounts();
  readonly tcp = new MessageCounts();
  readonly tls = new MessageCounts();
  readonly ws = new MessageCounts();
  readonly wss = new MessageCounts();
  /** Datagrams the kernel refused, or that were dropped because too many waited. */
  udpDropped = 0;
  /** Requests that came to `pbx.own_port`, where only answers are taken. */
  ownPortDropped = 0;
  /** UDP flows that made room for others. */
  udpFlowsEvicted = 0;
  /** Connections refused because there are too many in all, and too many of their source. */
  refusedTotal = 0;
  refusedPerSource = 0;
  /** Connections closed because another one needed the room. */
  madeRoom = 0;
  /** Connections of sources that are denied or banned. */
  refusedSources = 0;
  /** Connections that ended before their TLS handshake was done: nonsense, a certificate that is refused, too slow, too many. */
  failedHandshakes = 0;
  /** TLS handshakes done, in and out. */
  handshakes = 0;
  /** Connections closed because their peer did not read. */
  slowReaders = 0;

  /** `sip_messages_total{direction,transport,kind}` */
  messageSamples(): Sample[] {
    const samples: Sample[] = [];
    for (const transport of TRANSPORTS) {
      const counts = this[transport];
      samples.push([["in", transport, "request"], counts.requestsIn]);
      samples.push([["in", transport, "response"], counts.responsesIn]);
      samples.push([["in", transport, "keepalive"], counts.keepalivesIn]);
      samples.push([["in", transport, "malformed"], counts.malformedIn]);
      samples.push([["out", transport, "request"], counts.requestsOut]);
      samples.push([["out", transport, "response"], counts.responsesOut]);
    }
    return samples;
  }
}

/** A status line starts with `SIP/`, a request line with a method, which has no slash. */
export function isResponseText(text: string): boolean {
  return text.charCodeAt(3) === 0x2f && text.charCodeAt(0) === 0x53;
}

let lastFlowId = 0;

/** For `Flow.id`: unique in this process. */
export function nextFlowId(): number {
  return ++lastFlowId;
}
