/**
 * Owns one HTTP/2 connection: requests within its stream limit, PING, and its end. The one file that chooses the HTTP/2
 * client (node:http2, see README). It must not know what is sent, nor what comes after the connection.
 *
 *   connecting ──SETTINGS──▶ open ──told to leave──▶ retiring ──last stream ended──▶ closed
 *        └── error, time over, PING without answer (any state) ──────────────▶ closed
 */
import type { ClientHttp2Session, ClientHttp2Stream } from "node:http2";
import type { LookupFunction } from "node:net";
import { unreachable } from "./answer.ts";
import type { PushWorld } from "../world.ts";

/** A connection that is idle is asked this often whether it lives; NATs forget TCP after minutes. */
export const PING_EVERY_MS = 60_000;
/** While a request waits and nothing is heard for this long, a PING asks whether the connection lives. */
export const SILENCE_MS = 1000;
/** A PING without an answer for this long means that the connection is dead. */
export const PING_ANSWER_MS = 1500;
/** For DNS, TCP, TLS and SETTINGS together. */
export const CONNECT_MS = 3000;
/** So much of an answer's body is kept. */
const MAX_ANSWER_BYTES = 4096;
/** Streams at a time where the peer names no limit, or a higher one. */
const MAX_STREAMS = 1000;
/** RFC 9113 §7: REFUSED_STREAM, the peer did not process it; CANCEL, we need no answer. */
const REFUSED_STREAM = 7;
const CANCEL = 8;

export interface Http2Answer {
  readonly status: number;
  /** By lower-case name. */
  readonly headers: Readonly<Record<string, string>>;
  /** The first {@link MAX_ANSWER_BYTES} of it. */
  readonly body: string;
}

export interface Http2Post {
  readonly path: string;
  /** Lower-case names. */
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string | Uint8Array;
  /** Fires when the answer is not wanted any more. */
  readonly signal: AbortSignal;
  /** Status and headers are there, the body is not yet. */
  onStatus(answer: Http2Answer): void;
  /** Comes once. `answer` is null if there is none: `reason` says why, in words. */
  done(answer: Http2Answer | null, reason: string): void;
}

/** How the peer is reached. */
export interface Http2Peer {
  /** Scheme, host and port. */
  readonly origin: string;
  /** Certificates (PEM) to trust instead of the system's. */
  readonly ca?: string | undefined;
  /** Instead of the system's way from a name to addresses. */
  readonly lookup?: LookupFunction | undefined;
}

export type Http2World = Pick<PushWorld, "now" | "random" | "schedule">;

/** One request on its way. */
export class Exchange {
  connection: Http2Connection | null = null;
  stream: ClientHttp2Stream | null = null;
  sentAtMs = 0;
  resends = 0;
  wasRefused = false;

  constructor(readonly post: Http2Post) {}
}

export interface ConnectionEvents {
  /** A stream may have become free. */
  roomy(): void;
  /** GOAWAY: the peer wants no more requests on it. */
  leaving(): void;
  answered(): void;
  finished(exchange: Exchange, answer: Http2Answer | null, reason: string): void;
  closed(reason: string): void;
}

export class Http2Connection {
  state: "connecting" | "open" | "retiring" | "closed" = "connecting";
  /** It answered a request or a PING. */
  isProven = false;
  /** The peer speaks something else; known once it is closed. */
  isForeign = false;
  /** Last answer to a request. */
  answeredAtMs = 0;
  private heardAtMs = 0;
  private readonly origin: string;
  private readonly world: Http2World;
  private readonly events: ConnectionEvents;
  private readonly session: ClientHttp2Session;
  private readonly active = new Set<Exchange>();
  private error: unknown = null;
  private isPinging = false;
  private cancelConnect: () => void;
  private cancelPing = (): void => {};
  private cancelWatch: (() => void) | null = null;
  private cancelIdle = (): void => {};

  constructor({ origin, ca, lookup }: Http2Peer, world: Http2World, events: ConnectionEvents) {
    this.origin = origin;
    this.world = world;
    this.events = events;
    // Loaded when the first connection is opened: 6 to 9 MB that an appliance without APNs does not pay.
    const http2 = process.getBuiltinModule("node:http2");
    // Asked for explicitly: NODE_TLS_REJECT_UNAUTHORIZED=0 would switch the check off.
    this.session = http2.connect(origin, {
      ...(ca === undefined ? {} : { ca }),
      ...(lookup === undefined ? {} : { lookup }),
      rejectUnauthorized: true,
    });
    this.session.on("remoteSettings", () => this.settings());
    this.session.on("goaway", () => events.leaving());
    this.session.on("error", (error) => this.error ??= error);
    this.session.on("close", () => this.close(this.words()));
    const late = `${origin} did not open a connection within ${CONNECT_MS / 1000} s`;
    this.cancelConnect = world.schedule(CONNECT_MS, () => this.close(late));
  }

  /** Requests it takes now. */
  get room(): number {
    if (this.state !== "open") return 0;
    const limit = this.session.remoteSettings?.maxConcurrentStreams ?? MAX_STREAMS;
    return Math.min(limit, MAX_STREAMS) - this.active.size;
  }

  send(exchange: Exchange): void {
    const { post } = exchange;
    exchange.connection = this;
    exchange.sentAtMs = this.world.now();
    this.active.add(exchange);
    let stream: ClientHttp2Stream;
    try {
      const headers = { ":method": "POST", ":path": post.path, ...post.headers };
      stream = this.session.request(headers, { endStream: post.body.length === 0 });
    } catch (error) {
      // The session is on its way out, or a header cannot be sent: nothing left in either case.
      exchange.wasRefused = this.session.closed || this.session.destroyed;
      return queueMicrotask(() => this.finish(exchange, null, unreachable(this.origin, error)));
    }
    exchange.stream = stream;
    let head: Http2Answer | null = null;
    let body = "";
    stream.setEncoding("utf8");
    stream.on("response", (headers) => {
      head = { status: Number(headers[":status"]), headers: textHeaders(headers), body: "" };
      this.heard();
      this.answeredAtMs = this.world.now();
      post.onStatus(head);
    });
    stream.on("data", (text: string) => {
      if (body.length < MAX_ANSWER_BYTES) body = (body + text).slice(0, MAX_ANSWER_BYTES);
    });
    stream.on("end", () => {
      if (head !== null) this.finish(exchange, { ...head, body }, "");
    });
    // `close` follows and says what went wrong.
    stream.on("error", () => {});
    stream.on("close", () => {
      exchange.wasRefused = stream.rstCode === REFUSED_STREAM;
      const isGone = this.session.destroyed || this.error !== null;
      const lost = isGone ? this.words() : `${this.origin} ended the request without an answer`;
      this.finish(exchange, head === null ? null : { ...head, body }, lost);
    });
    // Bun would send an empty DATA frame that ends nothing: to servers it is part of a flood, and after a thousand they leave.
    if (post.body.length > 0) stream.end(post.body);
    this.watch();
  }

  /** The answer is not wanted any more. */
  cancel(exchange: Exchange): void {
    exchange.stream?.close(CANCEL);
    this.finish(exchange, null, "it was given up");
  }

  /** Takes no more requests, and closes after the last. */
  retire(): void {
    if (this.state !== "open" && this.state !== "connecting") return;
    this.state = "retiring";
    if (this.active.size === 0) this.close("");
  }

  close(reason: string): void {
    if (this.state === "closed") return;
    this.state = "closed";
    for (const cancel of [this.cancelConnect, this.cancelPing, this.cancelIdle]) cancel();
    this.cancelWatch?.();
    this.session.destroy();
    for (const exchange of [...this.active]) this.finish(exchange, null, reason);
    this.events.closed(reason);
  }

  private settings(): void {
    if (this.state === "connecting") {
      this.state = "open";
      this.cancelConnect();
      this.idle();
    }
    this.heardAtMs = this.world.now();
    this.events.roomy();
  }

  private heard(): void {
    this.heardAtMs = this.world.now();
    this.isProven = true;
    this.events.answered();
  }

  private finish(exchange: Exchange, answer: Http2Answer | null, reason: string): void {
    if (!this.active.delete(exchange)) return;
    exchange.connection = null;
    this.events.finished(exchange, answer, reason);
    if (this.state === "retiring" && this.active.size === 0) this.close("");
    this.events.roomy();
  }

  /** One timer for all requests: it asks for a sign of life when they wait and nothing is heard. */
  private watch(): void {
    if (this.cancelWatch !== null) return;
    this.cancelWatch = this.world.schedule(SILENCE_MS, () => {
      this.cancelWatch = null;
      if (this.active.size === 0 || this.state === "closed") return;
      if (this.world.now() - this.heardAtMs >= SILENCE_MS) this.ping();
      this.watch();
    });
  }

  private idle(): void {
    this.cancelIdle = this.world.schedule(PING_EVERY_MS, () => {
      this.ping();
      this.idle();
    });
  }

  private ping(): void {
    if (this.isPinging || this.state === "closed" || this.session.destroyed) return;
    this.isPinging = true;
    this.cancelPing = this.world.schedule(PING_ANSWER_MS, () => {
      this.close(`the connection to ${this.origin} was dead`);
    });
    this.session.ping((error) => {
      this.cancelPing();
      this.isPinging = false;
      if (error === null || error === undefined) this.heard();
    });
  }

  private words(): string {
    if (this.error === null) return `${this.origin} closed the connection`;
    const { code } = this.error as { code?: unknown };
    if (code === "ERR_HTTP2_ERROR" || String(code).endsWith("NO_APPLICATION_PROTOCOL")) {
      this.isForeign = this.heardAtMs === 0;
      return `${this.origin} does not speak HTTP/2`;
    }
    if (code === "ERR_HTTP2_SESSION_ERROR") return `${this.origin} closed the connection`;
    return unreachable(this.origin, this.error);
  }
}

function textHeaders(headers: Readonly<Record<string, unknown>>): Record<string, string> {
  const text: Record<string, string> = {};
  for (const [name, value] of Object.entries(headers)) {
    if (!name.startsWith(":") && value !== undefined) text[name] = String(value);
  }
  return text;
}
