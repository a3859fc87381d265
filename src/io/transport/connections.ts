/**
 * The connections of all stream transports: framing of what comes in, the bounded queue of what goes out, limits, idle
 * and half-open detection, and telling the sink. Must not know how a connection is made (accept.ts, dial.ts, tls.ts).
 *
 * State of a connection:
 * | from       | on                                                          | to     |
 * | ---------- | ----------------------------------------------------------- | ------ |
 * | connecting | opened: TCP is there, and with TLS its handshake done       | open   |
 * | connecting | refused, no handshake, timeout, queue full, too many, stop  | closed |
 * | open       | peer closed, reset, dead, or not SIP                        | closed |
 * | open       | queue full (slow reader), idle, stop                        | closed |
 *
 * A WebSocket connection is `open` before its upgrade, too: the core hears of a flow only by its first message.
 */
import { LineBudget } from "../../core/guard/line_budget.ts";
import type { Flow, FlowState, Listener, Transport } from "../../core/sip/flow.ts";
import { StreamFramer } from "../../core/sip/framing.ts";
import { hostPort } from "../../core/sip/host.ts";
import { flowKey } from "./address.ts";
import { readLatin1, writeLatin1 } from "./latin1.ts";
import { isResponseText, nextFlowId, type TransportContext } from "./sink.ts";
import { clientOf } from "./forwarded.ts";
import { GOING_AWAY, type WebFrame, type WebSocketFramer } from "./websocket.ts";

/** What a connection needs of its socket; Bun's sockets have it, with TLS and without. */
export interface ByteStream {
  /** Takes what fits and returns how many bytes that were; negative if the stream is gone. Does not keep the bytes. */
  write(bytes: Uint8Array): number;
  /** Closes after what was written has left. */
  end(): void;
  /** Closes at once. */
  terminate(): void;
}

/** With more bytes waiting no ping is answered: the queue would take half a million answers of two bytes. */
const MAX_QUEUED_FOR_PONG = 4096;
/**
 * We ping a WebSocket that was silent for so long: web servers in between close what is silent for a minute, a page
 * cannot ping by itself. Who sends nothing at all until the next is due is gone.
 */
const WEB_PING_MS = 50_000;

/** Bytes encoded for one write. */
const scratch = Buffer.allocUnsafeSlow(64 * 1024);

/** One connection, in either direction. Only {@link Connections} changes it. */
export class StreamFlow implements Flow {
  readonly id = nextFlowId();
  readonly transport: Transport;
  readonly isReliable = true;
  readonly listener: Listener;
  /** The address of the proxy in front of us until it has told the client's. The sink hears of the flow only after that. */
  remoteAddress: string;
  remotePort: number;
  readonly isInbound: boolean;
  state: FlowState;
  lastHeardMs = 0;
  /** When it was accepted or dialled, then when it opened. */
  sinceMs: number;
  /** How many owners need it to stay though it is silent; see `Transports.pin`. */
  pins = 0;
  stream: ByteStream | null = null;
  /** Null once it is closed: others keep the flow, and half a message with it would stay as long. Null of WebSockets. */
  framer: StreamFramer | null = null;
  /** The same of a WebSocket. */
  web: WebSocketFramer | null = null;
  /** When the last byte of a WebSocket came, and when we pinged it since then (0: we did not). */
  webHeardMs = 0;
  webPingedMs = 0;
  // Messages to write. Those before `head` are gone, and of the one at `head` the first `headOffset` characters.
  readonly queue: string[] = [];
  head = 0;
  headOffset = 0;
  queuedBytes = 0;
  isDirty = false;
  /** Its handshake has begun, and it is our turn: the time that takes is not the peer's. */
  waitsForUs = false;
  /** Why it closes at the next flush; empty if it does not. */
  endReason = "";
  registered: object | undefined = undefined;
  /** Of {@link heldBytes}, what the sum of all connections has. */
  countedBytes = 0;

  constructor(
    context: TransportContext,
    listener: Listener,
    address: string,
    port: number,
    isInbound: boolean,
    web: WebSocketFramer | null,
  ) {
    this.transport = listener.transport;
    this.listener = listener;
    this.remoteAddress = address;
    this.remotePort = port;
    this.isInbound = isInbound;
    this.state = "connecting";
    this.sinceMs = context.now();
    if (web === null) this.framer = new StreamFramer(context.limits);
    else this.web = web;
  }

  /** Bytes of an unfinished message that are held. */
  get heldBytes(): number {
    return (this.framer ?? this.web)?.heldBytes ?? 0;
  }

  get key(): string {
    const { address, port } = this.listener;
    return flowKey(this.transport, address, port, this.remoteAddress, this.remotePort);
  }
}

/** See the file header. */
export class Connections {
  private readonly context: TransportContext;
  private readonly openFlows = new Set<StreamFlow>();
  private readonly byRemote = new Map<string, StreamFlow>();
  private readonly perSource = new Map<string, number>();
  private dirty: StreamFlow[] = [];
  private unfinishedBytes = 0;
  /** Accepted and not open yet. */
  private handshaking = 0;
  private readonly lines: LineBudget;
  private readonly handshakeLines: LineBudget;

  constructor(context: TransportContext) {
    this.context = context;
    const log: TransportContext["log"] = (level, message, fields) => context.log(level, message, fields);
    this.lines = new LineBudget(log, "connections");
    this.handshakeLines = new LineBudget(log, "TLS handshakes");
  }

  get size(): number {
    return this.openFlows.size;
  }

  flows(): Iterable<StreamFlow> {
    return this.openFlows;
  }

  /** The live connection to a remote address and port, from `listener` if one is given. */
  find(transport: Transport, address: string, port: number, listener?: Listener): StreamFlow | null {
    const flow = this.byRemote.get(remoteKey(transport, address, port));
    if (flow === undefined || flow.endReason !== "") return null;
    return listener === undefined || flow.listener.address === listener.address ? flow : null;
  }

  /**
   * Takes a connection in; null (and a warning) if a limit of X-01 forbids it. Where there are too many in all, the one
   * without a registration that was silent longest makes room: a full table keeps no phone out.
   */
  admit(
    listener: Listener,
    address: string,
    port: number,
    isInbound: boolean,
    web: WebSocketFramer | null = null,
  ): StreamFlow | null {
    const { limits, counts } = this.context;
    if (isInbound && !this.isWelcome(address)) return null;
    if (isInbound && this.handshaking >= limits.maxHandshakes && !this.endOldestHandshake()) {
      counts.refusedTotal++;
      this.tell("Refused a connection: too many TLS handshakes", address, limits.maxHandshakes);
      return null;
    }
    if (this.openFlows.size >= limits.maxConnections && !this.makeRoom()) {
      counts.refusedTotal++;
      this.tell("Refused a connection: too many connections", address, limits.maxConnections);
      return null;
    }
    const flow = new StreamFlow(this.context, listener, address, port, isInbound, web);
    this.openFlows.add(flow);
    this.byRemote.set(remoteKey(flow.transport, address, port), flow);
    if (isInbound) {
      this.handshaking++;
      this.countSource(address, 1);
    }
    return flow;
  }

  /**
   * A proxy in front of us said whose connection it is.
   * @returns false if that source gets none: the connection is closed then
   */
  isFrom(flow: StreamFlow, address: string, port: number): boolean {
    if (flow.state === "closed") return false;
    if (!this.isWelcome(address)) {
      this.close(flow, "Its source gets no connection");
      return false;
    }
    this.forgetRemote(flow);
    this.countSource(flow.remoteAddress, -1);
    flow.remoteAddress = address;
    flow.remotePort = port;
    this.byRemote.set(remoteKey(flow.transport, address, port), flow);
    this.countSource(address, 1);
    return true;
  }

  /** The stream of an admitted connection is there: what was queued meanwhile leaves. */
  opened(flow: StreamFlow, stream: ByteStream): void {
    if (flow.state !== "connecting") {
      stream.terminate();
      return;
    }
    if (flow.isInbound) this.handshaking--;
    flow.state = "open";
    flow.stream = stream;
    flow.sinceMs = this.context.now();
    this.writeNow(flow);
  }

  /** Bytes came in. */
  received(flow: StreamFlow, bytes: Buffer): void {
    if (flow.state !== "open" || flow.endReason !== "") return;
    const context = this.context;
    const counts = context.counts[flow.transport];
    const frames: readonly WebFrame[] = flow.web === null
      ? flow.framer!.feed(readLatin1(bytes))
      : this.feedWeb(flow, flow.web, bytes);
    if (isClosed(flow)) return;
    this.countUnfinished(flow, flow.heldBytes);
    if (this.unfinishedBytes > context.limits.maxUnfinishedBytes) this.endMostUnfinished();
    if (frames.length === 0 || isClosed(flow)) return;
    for (const frame of frames) {
      switch (frame.kind) {
        case "message":
          flow.lastHeardMs = context.now();
          if (isResponseText(frame.text)) counts.responsesIn++;
          else counts.requestsIn++;
          context.sink.message(flow, frame.text);
          break;
        case "ping":
          flow.lastHeardMs = context.now();
          counts.keepalivesIn++;
          if (!context.admitsKeepalive(flow.remoteAddress, flow.pins > 0)) {
            if (flow.pins === 0) this.endAtFlush(flow, "Too many keepalives");
            break;
          }
          // A peer with so much to read needs no pong to know that we live, and pings cost it nothing.
          if (flow.queuedBytes < MAX_QUEUED_FOR_PONG) this.enqueue(flow, frame.pong ?? "\r\n");
          break;
        case "malformed":
          flow.lastHeardMs = context.now();
          counts.malformedIn++;
          this.endAtFlush(flow, `Malformed stream: ${frame.problem.reason}`);
          context.sink.malformed(flow, frame.text, frame.problem);
          break;
        case "reply":
          this.enqueue(flow, frame.text);
          if (frame.end !== "") this.endAtFlush(flow, frame.end);
          break;
      }
      // Any of these may have overrun the queue, or ended the connection.
      if (isClosed(flow) || flow.endReason !== "") break;
    }
    context.onInput();
  }

  /** The peer or the kernel closed the connection; an input, so the sink is told at once. */
  lost(flow: StreamFlow, reason: string): void {
    if (flow.state === "connecting") this.context.counts.failedHandshakes++;
    if (!this.remove(flow)) return;
    this.context.sink.closed(flow, reason);
    this.context.onInput();
  }

  /** Closes a connection from our side. The sink hears of it in this turn, after the call that led here has returned. */
  close(flow: StreamFlow, reason: string): void {
    const { stream } = flow;
    if (!this.remove(flow)) return;
    stream?.terminate();
    this.tellLater(flow, reason);
  }

  /** Queues one message; false if the connection is closed or has just been closed because its queue is full (T-04). */
  send(flow: StreamFlow, wire: string): boolean {
    if (flow.state === "closed") return false;
    if (!this.enqueue(flow, flow.web === null ? wire : flow.web.frame(wire))) return false;
    const counts = this.context.counts[flow.transport];
    if (isResponseText(wire)) counts.responsesOut++;
    else counts.requestsOut++;
    return true;
  }

  /** Writes what was queued since the last flush, and closes what was to be closed then. */
  flush(): void {
    if (this.dirty.length === 0) return;
    const dirty = this.dirty;
    this.dirty = [];
    for (const flow of dirty) {
      flow.isDirty = false;
      if (flow.state !== "open") continue;
      if (flow.endReason !== "" && flow.web !== null) append(flow, flow.web.closing(flow.endReason));
      this.writeNow(flow);
      const { stream } = flow;
      if (flow.endReason !== "" && this.remove(flow)) {
        stream?.end();
        this.tellLater(flow, flow.endReason);
      }
    }
  }

  /** The stream takes bytes again. */
  drained(flow: StreamFlow): void {
    if (flow.state === "open") this.writeNow(flow);
  }

  /** Closes connections that did not open, did not speak, or fell silent within their limit. */
  tick(nowMs: number): void {
    const { connectTimeoutMs, firstMessageTimeoutMs, handshakeTimeoutMs, idleTimeoutMs } = this.context.limits;
    for (const flow of this.openFlows) {
      const ageMs = nowMs - flow.sinceMs;
      if (flow.state === "connecting") {
        if (flow.isInbound && !flow.waitsForUs && ageMs >= handshakeTimeoutMs) this.failHandshake(flow, "timed out");
        else if (!flow.isInbound && ageMs >= connectTimeoutMs) this.close(flow, "Cannot connect: timed out");
      } else if (flow.isInbound && flow.lastHeardMs === 0 && ageMs >= firstMessageTimeoutMs) {
        this.close(flow, "Nothing was heard since it opened");
      } else if (flow.pins === 0 && nowMs - usedMs(flow) >= idleTimeoutMs) {
        this.close(flow, "Idle");
      } else if (flow.web !== null && flow.web.isUpgraded) this.tickWeb(flow, flow.web, nowMs);
    }
  }

  /** What must come before the first byte of SIP did not; `reason` in words. */
  failHandshake(flow: StreamFlow, reason: string, what = "TLS handshake failed"): void {
    if (flow.state !== "connecting") return;
    this.context.counts.failedHandshakes++;
    const remote = hostPort(flow.remoteAddress, flow.remotePort);
    // A port scanner fails it, which is only worth an info. We ourselves dial the PBX alone: that is a warning.
    this.handshakeLines.tell(flow.isInbound ? "info" : "warn", what, { remote, reason }, this.context.now());
    this.close(flow, `${what}: ${reason}`);
  }

  /** Writes what it can and closes all; the sink hears nothing. */
  stop(): void {
    this.flush();
    for (const flow of [...this.openFlows]) {
      const { stream } = flow;
      if (flow.web !== null && flow.state === "open") {
        append(flow, flow.web.closing("", GOING_AWAY));
        this.writeNow(flow);
      }
      this.remove(flow);
      stream?.end();
    }
  }

  private feedWeb(flow: StreamFlow, web: WebSocketFramer, bytes: Buffer): readonly WebFrame[] {
    flow.webHeardMs = this.context.now();
    flow.webPingedMs = 0;
    const wasUpgraded = web.isUpgraded;
    const frames = web.feed(bytes);
    if (wasUpgraded || web.forwardedFor === "") return frames;
    // A web server in front of us says whose connection it is, once.
    const source = clientOf(web.forwardedFor, flow.remoteAddress, this.context.isProxy);
    web.forwardedFor = "";
    return source === "" || this.isFrom(flow, source, flow.remotePort) ? frames : [];
  }

  private tickWeb(flow: StreamFlow, web: WebSocketFramer, nowMs: number): void {
    if (flow.webPingedMs === 0) {
      if (nowMs - flow.webHeardMs < WEB_PING_MS) return;
      flow.webPingedMs = nowMs;
      this.enqueue(flow, web.ping());
      this.context.onInput();
    } else if (nowMs - flow.webPingedMs >= WEB_PING_MS) this.close(flow, "No answer to a ping");
  }

  /** True if this source may have one connection more. */
  private isWelcome(address: string): boolean {
    const { limits, counts } = this.context;
    // Without a line in the log: the ban had one, and a scanner comes often.
    if (this.context.isRefused(address)) {
      counts.refusedSources++;
      return false;
    }
    const source = this.context.sourceOf(address);
    const ofSource = this.perSource.get(source) ?? 0;
    if (ofSource < limits.maxConnectionsPerSource || this.context.isExempt(address)) return true;
    counts.refusedPerSource++;
    this.tell("Refused a connection: too many from its source", source, limits.maxConnectionsPerSource);
    return false;
  }

  /**
   * Who opens a connection and then keeps us waiting makes room for the next one, the oldest first: whoever opens thousands
   * keeps nobody out. False if all wait for us: they are served in the order they came.
   */
  private endOldestHandshake(): boolean {
    for (const flow of this.openFlows) {
      if (flow.state !== "connecting" || !flow.isInbound || flow.waitsForUs) continue;
      if (this.context.isExempt(flow.remoteAddress)) continue;
      this.failHandshake(flow, "too slow, others need the room");
      return true;
    }
    return false;
  }

  /** Makes room for one. @returns false if all are needed: the PBX's, our own to others, those of registered phones */
  private makeRoom(): boolean {
    let victim: StreamFlow | null = null;
    for (const flow of this.openFlows) {
      if (!flow.isInbound || flow.pins > 0) continue;
      if (victim !== null && usedMs(flow) >= usedMs(victim)) continue;
      if (!this.context.isExempt(flow.remoteAddress)) victim = flow;
    }
    if (victim === null) return false;
    this.context.counts.madeRoom++;
    this.tell("Closed a connection: too many connections", victim.remoteAddress, this.context.limits.maxConnections);
    this.close(victim, "Made room for another connection");
    return true;
  }

  /** It may close within the very bytes that it was given: what was never added is not taken off. */
  private countUnfinished(flow: StreamFlow, held: number): void {
    this.unfinishedBytes += held - flow.countedBytes;
    flow.countedBytes = held;
  }

  /** Bounds the unfinished messages of all connections together: the stranger with the largest is closed. */
  private endMostUnfinished(): void {
    let victim: StreamFlow | null = null;
    let most = 0;
    for (const flow of this.openFlows) {
      const held = flow.heldBytes;
      if (held <= most || flow.pins > 0 || this.context.isExempt(flow.remoteAddress)) continue;
      victim = flow;
      most = held;
    }
    if (victim === null) return;
    this.tell("Closed a connection: too much of unfinished messages", victim.remoteAddress, most);
    this.close(victim, "Too much of unfinished messages");
  }

  /** Bounded: every connection that is opened could cause a line of the log. */
  private tell(message: string, remote: string, limit: number): void {
    this.lines.tell("warn", message, { remote, limit }, this.context.now());
  }

  private enqueue(flow: StreamFlow, wire: string): boolean {
    if (flow.state === "closed") return false;
    if (flow.queuedBytes + wire.length > this.context.limits.maxQueuedBytes) {
      // The batch of one turn may still fit the kernel's buffer: only what is left makes a slow reader.
      this.writeNow(flow);
      if (isClosed(flow)) return false;
      if (flow.queuedBytes + wire.length > this.context.limits.maxQueuedBytes) {
        this.context.counts.slowReaders++;
        this.close(flow, flow.state === "open" ? "Its peer does not read" : "Too much was queued while connecting");
        return false;
      }
    }
    append(flow, wire);
    this.markDirty(flow);
    return true;
  }

  private endAtFlush(flow: StreamFlow, reason: string): void {
    flow.endReason = reason;
    this.markDirty(flow);
  }

  private markDirty(flow: StreamFlow): void {
    if (flow.isDirty) return;
    flow.isDirty = true;
    this.dirty.push(flow);
  }

  private writeNow(flow: StreamFlow): void {
    const { queue } = flow;
    const stream = flow.state === "open" ? flow.stream : null;
    while (stream !== null && flow.head < queue.length) {
      const filled = fillScratch(flow);
      const written = stream.write(filled === scratch.length ? scratch : scratch.subarray(0, filled));
      if (written < 0) {
        this.close(flow, "Connection lost");
        return;
      }
      advance(flow, written);
      if (written < filled) break;
    }
    if (flow.head === queue.length) {
      queue.length = 0;
      flow.head = 0;
    } else if (flow.head > 1024) {
      queue.splice(0, flow.head);
      flow.head = 0;
    }
  }

  private remove(flow: StreamFlow): boolean {
    if (flow.state === "closed") return false;
    if (flow.state === "connecting" && flow.isInbound) this.handshaking--;
    flow.state = "closed";
    this.countUnfinished(flow, 0);
    flow.framer = null;
    flow.web = null;
    flow.stream = null;
    flow.queue.length = 0;
    flow.head = 0;
    flow.headOffset = 0;
    flow.queuedBytes = 0;
    this.openFlows.delete(flow);
    this.forgetRemote(flow);
    if (flow.isInbound) this.countSource(flow.remoteAddress, -1);
    return true;
  }

  private forgetRemote(flow: StreamFlow): void {
    const remote = remoteKey(flow.transport, flow.remoteAddress, flow.remotePort);
    if (this.byRemote.get(remote) === flow) this.byRemote.delete(remote);
  }

  private countSource(address: string, by: 1 | -1): void {
    const source = this.context.sourceOf(address);
    const count = (this.perSource.get(source) ?? 0) + by;
    if (count <= 0) this.perSource.delete(source);
    else this.perSource.set(source, count);
  }

  private tellLater(flow: StreamFlow, reason: string): void {
    queueMicrotask(() => {
      this.context.sink.closed(flow, reason);
      this.context.onInput();
    });
  }
}

function remoteKey(transport: Transport, address: string, port: number): string {
  return transport + " " + hostPort(address, port);
}

/** When the connection was last of use. */
function usedMs(flow: StreamFlow): number {
  return Math.max(flow.lastHeardMs, flow.sinceMs);
}

/** A function of its own: the compiler takes a state that was compared once for one that does not change. */
function isClosed(flow: StreamFlow): boolean {
  return flow.state === "closed";
}

function append(flow: StreamFlow, text: string): void {
  if (text === "") return;
  flow.queue.push(text);
  flow.queuedBytes += text.length;
}

/** Encodes the front of a queue and returns how many bytes that are; nothing is taken off. */
function fillScratch(flow: StreamFlow): number {
  let used = 0;
  let offset = flow.headOffset;
  for (let at = flow.head; at < flow.queue.length && used < scratch.length; at++) {
    const wire = flow.queue[at]!;
    const room = scratch.length - used;
    const piece = offset === 0 && wire.length <= room ? wire : wire.slice(offset, offset + room);
    writeLatin1(scratch, piece, used);
    used += piece.length;
    offset = 0;
  }
  return used;
}

/** Takes so many bytes off the front of a queue. */
function advance(flow: StreamFlow, bytes: number): void {
  flow.queuedBytes -= bytes;
  let left = bytes;
  while (left > 0) {
    const rest = flow.queue[flow.head]!.length - flow.headOffset;
    if (left < rest) {
      flow.headOffset += left;
      return;
    }
    left -= rest;
    flow.headOffset = 0;
    flow.queue[flow.head] = "";
    flow.head++;
  }
}
