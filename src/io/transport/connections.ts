/**
 * The connections of all stream transports: framing of what comes in, the bounded queue of what goes out, limits, idle
 * and half-open detection, and telling the sink. Must not know how a connection is made (tcp.ts).
 *
 * State of a connection:
 * | from       | on                                         | to     |
 * | ---------- | ------------------------------------------ | ------ |
 * | connecting | opened                                     | open   |
 * | connecting | refused, connect timeout, queue full, stop | closed |
 * | open       | peer closed, reset, dead, or not SIP       | closed |
 * | open       | queue full (slow reader), idle, stop       | closed |
 */
import { LineBudget } from "../../core/guard/line_budget.ts";
import type { Flow, FlowState, Listener } from "../../core/sip/flow.ts";
import { StreamFramer } from "../../core/sip/framing.ts";
import { hostPort } from "../../core/sip/host.ts";
import { flowKey } from "./address.ts";
import { readLatin1, writeLatin1 } from "./latin1.ts";
import { isResponseText, nextFlowId, type TransportContext } from "./sink.ts";

/** What a connection needs of its socket; Bun's TCP sockets have it. */
export interface ByteStream {
  /** Takes what fits and returns how many bytes that were; negative if the stream is gone. Does not keep the bytes. */
  write(bytes: Uint8Array): number;
  /** Closes after what was written has left. */
  end(): void;
  /** Closes at once. */
  terminate(): void;
}

/** With more waiting to be written no ping is answered: of two bytes each the queue would take half a million. */
const MAX_QUEUED_FOR_PONG = 4096;
/** About connections that are refused or make room. */

/** Bytes encoded for one write. */
const scratch = Buffer.allocUnsafeSlow(64 * 1024);

/** One connection, in either direction. Only {@link Connections} changes it. */
export class TcpFlow implements Flow {
  readonly id = nextFlowId();
  readonly transport = "tcp";
  readonly isReliable = true;
  readonly listener: Listener;
  readonly remoteAddress: string;
  readonly remotePort: number;
  readonly isInbound: boolean;
  state: FlowState;
  lastHeardMs = 0;
  /** When it was accepted or dialled, then when it opened. */
  sinceMs: number;
  /** How many owners need it to stay though it is silent; see `Transports.pin`. */
  pins = 0;
  stream: ByteStream | null = null;
  /** Null once it is closed: others keep the flow, and half a message with it would stay as long. */
  framer: StreamFramer | null;
  // Messages to write: everything before #head is gone, and headOffset characters of the one at head are.
  readonly queue: string[] = [];
  head = 0;
  headOffset = 0;
  queuedBytes = 0;
  isDirty = false;
  /** Why it closes at the next flush; empty if it does not. */
  endReason = "";
  registered: object | undefined = undefined;

  constructor(context: TransportContext, listener: Listener, address: string, port: number, isInbound: boolean) {
    this.listener = listener;
    this.remoteAddress = address;
    this.remotePort = port;
    this.isInbound = isInbound;
    this.state = "connecting";
    this.sinceMs = context.now();
    this.framer = new StreamFramer(context.limits);
  }

  get key(): string {
    const { address, port } = this.listener;
    return flowKey(this.transport, address, port, this.remoteAddress, this.remotePort);
  }
}

/** See the file header. */
export class Connections {
  private readonly context: TransportContext;
  private readonly openFlows = new Set<TcpFlow>();
  private readonly byRemote = new Map<string, TcpFlow>();
  private readonly perSource = new Map<string, number>();
  private dirty: TcpFlow[] = [];
  private unfinishedBytes = 0;
  private readonly lines: LineBudget;

  constructor(context: TransportContext) {
    this.context = context;
    this.lines = new LineBudget((level, message, fields) => context.log(level, message, fields), "connections");
  }

  get size(): number {
    return this.openFlows.size;
  }

  flows(): Iterable<TcpFlow> {
    return this.openFlows;
  }

  /** The live connection to a remote address and port, from `listener` if one is given. */
  find(address: string, port: number, listener?: Listener): TcpFlow | null {
    const flow = this.byRemote.get(hostPort(address, port));
    if (flow === undefined || flow.endReason !== "") return null;
    return listener === undefined || flow.listener.address === listener.address ? flow : null;
  }

  /**
   * Takes a connection in; null (and a warning) if a limit of X-01 forbids it. Where there are too many in all, the one
   * that nobody registered over and that was silent longest makes room: who fills the table keeps nobody else out.
   */
  admit(listener: Listener, address: string, port: number, isInbound: boolean): TcpFlow | null {
    const { limits, counts } = this.context;
    const source = this.context.sourceOf(address);
    const ofSource = this.perSource.get(source) ?? 0;
    // Without a line in the log: who bans has told of it, and a scanner comes often.
    if (isInbound && this.context.isRefused(address)) {
      counts.refusedSources++;
      return null;
    }
    if (isInbound && ofSource >= limits.maxConnectionsPerSource && !this.context.isExempt(address)) {
      counts.refusedPerSource++;
      this.tell("Refused a connection: too many from its source", source, limits.maxConnectionsPerSource);
      return null;
    }
    if (this.openFlows.size >= limits.maxConnections && !this.makeRoom()) {
      counts.refusedTotal++;
      this.tell("Refused a connection: too many connections", address, limits.maxConnections);
      return null;
    }
    const flow = new TcpFlow(this.context, listener, address, port, isInbound);
    this.openFlows.add(flow);
    this.byRemote.set(hostPort(address, port), flow);
    if (isInbound) this.perSource.set(source, ofSource + 1);
    return flow;
  }

  /** The stream of an admitted connection is there: what was queued meanwhile leaves. */
  opened(flow: TcpFlow, stream: ByteStream): void {
    if (flow.state !== "connecting") {
      stream.terminate();
      return;
    }
    flow.state = "open";
    flow.stream = stream;
    flow.sinceMs = this.context.now();
    this.writeNow(flow);
  }

  /** Bytes came in. */
  received(flow: TcpFlow, bytes: Buffer): void {
    if (flow.state !== "open" || flow.endReason !== "") return;
    const context = this.context;
    const framer = flow.framer!;
    const heldBefore = framer.heldBytes;
    const frames = framer.feed(readLatin1(bytes));
    this.unfinishedBytes += framer.heldBytes - heldBefore;
    if (this.unfinishedBytes > context.limits.maxUnfinishedBytes) this.endMostUnfinished();
    if (frames.length === 0 || isClosed(flow)) return;
    flow.lastHeardMs = context.now();
    for (const frame of frames) {
      switch (frame.kind) {
        case "message":
          if (isResponseText(frame.text)) context.counts.tcp.responsesIn++;
          else context.counts.tcp.requestsIn++;
          context.sink.message(flow, frame.text);
          break;
        case "ping":
          context.counts.tcp.keepalivesIn++;
          // Whoever has so much to read needs no pong to know that we live, and pings cost a peer nothing.
          if (flow.queuedBytes < MAX_QUEUED_FOR_PONG) this.enqueue(flow, "\r\n");
          break;
        case "malformed":
          context.counts.tcp.malformedIn++;
          this.endAtFlush(flow, `Malformed stream: ${frame.problem.reason}`);
          context.sink.malformed(flow, frame.text, frame.problem);
          break;
      }
      // Any of these may have overrun the queue.
      if (isClosed(flow)) break;
    }
    context.onInput();
  }

  /** The peer or the kernel closed the connection; an input, so the sink is told at once. */
  lost(flow: TcpFlow, reason: string): void {
    if (!this.remove(flow)) return;
    this.context.sink.closed(flow, reason);
    this.context.onInput();
  }

  /** Closes a connection from our side. The sink hears of it in this turn, after the call that led here has returned. */
  close(flow: TcpFlow, reason: string): void {
    const { stream } = flow;
    if (!this.remove(flow)) return;
    stream?.terminate();
    this.tellLater(flow, reason);
  }

  /** Queues one message; false if the connection is closed or has just been closed because its queue is full (T-04). */
  send(flow: TcpFlow, wire: string): boolean {
    if (flow.state === "closed") return false;
    if (!this.enqueue(flow, wire)) return false;
    if (isResponseText(wire)) this.context.counts.tcp.responsesOut++;
    else this.context.counts.tcp.requestsOut++;
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
      this.writeNow(flow);
      const { stream } = flow;
      if (flow.endReason !== "" && this.remove(flow)) {
        stream?.end();
        this.tellLater(flow, flow.endReason);
      }
    }
  }

  /** The stream takes bytes again. */
  drained(flow: TcpFlow): void {
    if (flow.state === "open") this.writeNow(flow);
  }

  /** Closes what did not open, did not speak, or fell silent, each within its limit. */
  tick(nowMs: number): void {
    const { connectTimeoutMs, firstMessageTimeoutMs, idleTimeoutMs } = this.context.limits;
    for (const flow of this.openFlows) {
      const ageMs = nowMs - flow.sinceMs;
      if (flow.state === "connecting") {
        if (ageMs >= connectTimeoutMs) this.close(flow, "Cannot connect: timed out");
      } else if (flow.isInbound && flow.lastHeardMs === 0 && ageMs >= firstMessageTimeoutMs) {
        this.close(flow, "Nothing was heard since it opened");
      } else if (flow.pins === 0 && nowMs - usedMs(flow) >= idleTimeoutMs) {
        this.close(flow, "Idle");
      }
    }
  }

  /** Writes what it can and closes all; the sink hears nothing. */
  stop(): void {
    this.flush();
    for (const flow of [...this.openFlows]) {
      const { stream } = flow;
      this.remove(flow);
      stream?.end();
    }
  }

  /** False if all that are there are needed: the PBX's, ours to others, and those of registered phones. */
  private makeRoom(): boolean {
    let victim: TcpFlow | null = null;
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

  /** Half messages on many connections would take as much as all of them may: the largest of a stranger goes. */
  private endMostUnfinished(): void {
    let victim: TcpFlow | null = null;
    let most = 0;
    for (const flow of this.openFlows) {
      const held = flow.framer!.heldBytes;
      if (held <= most || flow.pins > 0 || this.context.isExempt(flow.remoteAddress)) continue;
      victim = flow;
      most = held;
    }
    if (victim === null) return;
    this.tell("Closed a connection: too much of unfinished messages", victim.remoteAddress, most);
    this.close(victim, "Too much of unfinished messages");
  }

  /** Whoever opens connections writes lines of the log with it. */
  private tell(message: string, remote: string, limit: number): void {
    this.lines.tell("warn", message, { remote, limit }, this.context.now());
  }

  private enqueue(flow: TcpFlow, wire: string): boolean {
    if (flow.state === "closed") return false;
    if (flow.queuedBytes + wire.length > this.context.limits.maxQueuedBytes) {
      // What waits may fit the kernel's buffer still: the batch of one turn is no slow reader.
      this.writeNow(flow);
      if (isClosed(flow)) return false;
      if (flow.queuedBytes + wire.length > this.context.limits.maxQueuedBytes) {
        this.context.counts.slowReaders++;
        this.close(flow, flow.state === "open" ? "Its peer does not read" : "Too much was queued while connecting");
        return false;
      }
    }
    flow.queue.push(wire);
    flow.queuedBytes += wire.length;
    this.markDirty(flow);
    return true;
  }

  private endAtFlush(flow: TcpFlow, reason: string): void {
    flow.endReason = reason;
    this.markDirty(flow);
  }

  private markDirty(flow: TcpFlow): void {
    if (flow.isDirty) return;
    flow.isDirty = true;
    this.dirty.push(flow);
  }

  private writeNow(flow: TcpFlow): void {
    const { stream, queue } = flow;
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

  private remove(flow: TcpFlow): boolean {
    if (flow.state === "closed") return false;
    flow.state = "closed";
    this.unfinishedBytes -= flow.framer?.heldBytes ?? 0;
    flow.framer = null;
    flow.stream = null;
    flow.queue.length = 0;
    flow.head = 0;
    flow.headOffset = 0;
    flow.queuedBytes = 0;
    this.openFlows.delete(flow);
    const remote = hostPort(flow.remoteAddress, flow.remotePort);
    if (this.byRemote.get(remote) === flow) this.byRemote.delete(remote);
    if (flow.isInbound) {
      const source = this.context.sourceOf(flow.remoteAddress);
      const left = (this.perSource.get(source) ?? 1) - 1;
      if (left <= 0) this.perSource.delete(source);
      else this.perSource.set(source, left);
    }
    return true;
  }

  private tellLater(flow: TcpFlow, reason: string): void {
    queueMicrotask(() => {
      this.context.sink.closed(flow, reason);
      this.context.onInput();
    });
  }
}

/** When the connection was last of use. */
function usedMs(flow: TcpFlow): number {
  return Math.max(flow.lastHeardMs, flow.sinceMs);
}

/** A call of its own because the compiler takes a state it has seen for a state that stays. */
function isClosed(flow: TcpFlow): boolean {
  return flow.state === "closed";
}

/** Encodes the front of a queue and returns how many bytes that are; nothing is taken off. */
function fillScratch(flow: TcpFlow): number {
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
function advance(flow: TcpFlow, bytes: number): void {
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
