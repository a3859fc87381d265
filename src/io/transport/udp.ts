/**
 * One UDP socket on one local address: its flows, its reads, and its sends in batches. Keepalives and STUN are answered
 * here and never reach the sink. Must not know how a socket is chosen (transports.ts), nor what SIP means.
 */
import type { udp } from "bun";
import type { Flow, FlowState, Listener } from "../../core/sip/flow.ts";
import { hostPort } from "../../core/sip/host.ts";
import { flowKey, isIpv6 } from "./address.ts";
import { readLatin1, writeLatin1 } from "./latin1.ts";
import { openNative } from "./native.ts";
import { isResponseText, nextFlowId, type TransportContext } from "./sink.ts";
import { answerStun, isStun } from "./stun.ts";

/** Largest payload of a UDP datagram over IPv4. */
export const MAX_DATAGRAM_BYTES = 65_507;
/** RFC 3261 §18.1.1 asks for TCP from 1300 bytes on, as the path MTU is unknown; Ethernet fragments from 1472. */
const PATH_MTU_BYTES = 1400;
const RECEIVE_BUFFER_BYTES = 4 * 1024 * 1024;
const SEND_BUFFER_BYTES = 1024 * 1024;
/** Bun takes no more at once. */
const PACKETS_PER_CALL = 128;
/** How many unpinned flows are compared to find the one to evict, and how many are looked at in one tick. */
const EVICTION_SAMPLE = 16;
const SWEEP_PER_TICK = 512;
/** Messages are encoded here for one call. All sockets share it: the kernel has copied them when the call returns. */
const scratch = Buffer.allocUnsafeSlow(256 * 1024);

const CR = 13;
const LF = 10;

type FlowTableKey = number | string;
type Packet = Buffer | string | number;

/** The 5-tuple of one UDP peer. */
export class UdpFlow implements Flow {
  readonly id = nextFlowId();
  readonly remoteAddress: string;
  readonly remotePort: number;
  state: FlowState = "open";
  lastHeardMs = 0;
  /** When it was made: until something is heard over it, its age counts from here. */
  sinceMs = 0;
  /** How many owners (registered contacts) need the flow to stay known; see `Transports.pin`. */
  pins = 0;
  readonly socket: UdpSocket;
  hasWarnedOfMtu = false;
  registered: object | undefined = undefined;

  constructor(socket: UdpSocket, remoteAddress: string, remotePort: number) {
    this.socket = socket;
    this.remoteAddress = remoteAddress;
    this.remotePort = remotePort;
  }

  // There are as many flows as phones: values that are the same for all, or seldom asked for, are not kept.

  get transport(): "udp" {
    return "udp";
  }

  get isReliable(): false {
    return false;
  }

  get listener(): Listener {
    return this.socket.listener;
  }

  get key(): string {
    const { address, port } = this.listener;
    return flowKey("udp", address, port, this.remoteAddress, this.remotePort);
  }
}

/** See the file header. */
export class UdpSocket {
  readonly listener: Listener;
  /** What the kernel grants for datagrams not yet read; null if it could not be asked. */
  readonly receiveBufferBytes: number | null;
  readonly fd: number;
  private readonly context: TransportContext;
  private readonly socket: udp.Socket<"buffer">;
  private readonly flows = new Map<FlowTableKey, UdpFlow>();
  // Two hands that go round the table, as iterators that live on: a new iterator would step over all deleted entries
  // at the front each time.
  private evictionHand = this.flows.entries();
  private sweepHand = this.flows.entries();
  private pinnedFlows = 0;
  // The batch: three columns. Everything before `head` has left.
  private wires: (string | Buffer)[] = [];
  private ports: number[] = [];
  private addresses: string[] = [];
  private head = 0;
  private queuedBytes = 0;
  private readonly packets: Packet[] = [];
  private isOpen = true;

  /**
   * Binds to one address; port 0 takes a free one.
   * @param advertised gives `Listener.advertised` for the port that was bound
   * @throws the error of bind, with its code (EADDRINUSE, ...)
   */
  static async open(
    context: TransportContext,
    address: string,
    port: number,
    advertised: (port: number) => string,
  ): Promise<UdpSocket> {
    // Filled in before the loop can deliver anything: nothing is awaited after the bind.
    let owner: UdpSocket | null = null;
    const socket = await Bun.udpSocket({
      hostname: address,
      port,
      binaryType: "buffer",
      socket: {
        data(_socket, bytes, remotePort, remoteAddress) {
          owner?.receive(bytes, remotePort, remoteAddress);
        },
        drain() {
          owner?.flush();
        },
        error(...args: unknown[]) {
          // Bun's types say that the socket comes first; only the error comes.
          const error = args.find((arg) => arg instanceof Error) as (Error & { code?: string }) | undefined;
          // An error with a code is the kernel's and names no flow: the transactions find the silence. Others are the sink's.
          context.log(error?.code === undefined ? "error" : "debug", "UDP socket reported an error", {
            listener: `udp ${hostPort(address, port)}`,
            error: error?.stack ?? "unknown",
          });
        },
      },
    });
    owner = new UdpSocket(context, socket, {
      transport: "udp",
      address,
      port: socket.port,
      advertised: advertised(socket.port),
    });
    return owner;
  }

  private constructor(context: TransportContext, socket: udp.Socket<"buffer">, listener: Listener) {
    this.context = context;
    this.socket = socket;
    this.listener = listener;
    this.fd = (socket as unknown as { fd: number }).fd;
    const native = openNative();
    if (native === null) {
      this.receiveBufferBytes = null;
      context.log("warn", "Cannot raise the UDP receive buffer: no C library to ask", { listener: this.name() });
      return;
    }
    native.ignoreIcmpErrors(this.fd, isIpv6(listener.address));
    native.setSendBuffer(this.fd, SEND_BUFFER_BYTES);
    this.receiveBufferBytes = native.raiseReceiveBuffer(this.fd, RECEIVE_BUFFER_BYTES);
    if (this.receiveBufferBytes === null || this.receiveBufferBytes < RECEIVE_BUFFER_BYTES) {
      context.log("warn", "UDP receive buffer is small, bursts may be lost: raise net.core.rmem_max to 4194304", {
        listener: this.name(),
        bytes: this.receiveBufferBytes ?? 0,
      });
    }
  }

  /** Flows in the table. */
  get flowCount(): number {
    return this.flows.size;
  }

  /** True if a flow of it is pinned: a phone registered over it. */
  get isNeeded(): boolean {
    return this.pinnedFlows > 0;
  }

  /** The flow of a remote address (canonical) and port, made if there is none. */
  flow(remoteAddress: string, remotePort: number): UdpFlow {
    const key = tableKey(remoteAddress, remotePort);
    return this.flows.get(key) ?? this.makeFlow(key, remoteAddress, remotePort);
  }

  /** Keeps the flow in the table until it was unpinned as often. */
  pin(flow: UdpFlow): void {
    if (flow.pins++ > 0) return;
    const key = tableKey(flow.remoteAddress, flow.remotePort);
    // It may have been evicted since its message came.
    if (this.isOpen && !this.flows.has(key)) this.flows.set(key, flow);
    if (this.flows.get(key) === flow) this.pinnedFlows++;
  }

  unpin(flow: UdpFlow): void {
    if (flow.pins === 0 || --flow.pins > 0) return;
    if (this.flows.get(tableKey(flow.remoteAddress, flow.remotePort)) === flow) this.pinnedFlows--;
  }

  /** Queues one message for the next flush; false if it cannot be sent over UDP or the socket is closed. */
  send(flow: UdpFlow, wire: string): boolean {
    if (!this.isOpen || wire.length === 0 || wire.length > MAX_DATAGRAM_BYTES) return false;
    if (wire.length > PATH_MTU_BYTES && !flow.hasWarnedOfMtu && this.isKnown(flow)) {
      flow.hasWarnedOfMtu = true;
      this.context.log("warn", "Message is larger than the path MTU may be, sent over UDP as is", {
        flow: flow.key,
        bytes: wire.length,
      });
    }
    if (isResponseText(wire)) this.context.counts.udp.responsesOut++;
    else this.context.counts.udp.requestsOut++;
    this.enqueue(wire, flow.remotePort, flow.remoteAddress);
    return true;
  }

  /** Sends what is queued, as far as the kernel takes it; the rest stays for the next flush or drain. */
  flush(): void {
    let limit = PACKETS_PER_CALL;
    let lastRefused = -1;
    while (this.head < this.wires.length) {
      const count = this.encode(limit);
      let sent: number;
      try {
        sent = this.socket.sendMany(this.packets);
      } catch (error) {
        if (!this.isOpen) return;
        // Only the first packet of a call can make it throw. The refusal may belong to an earlier packet: try once more.
        const isEcho = (error as { code?: string }).code === "ECONNREFUSED" && lastRefused !== this.head;
        lastRefused = this.head;
        if (!isEcho) this.drop(error);
        // Few at a time while packets are refused: a row of bad ones must not be encoded again and again.
        limit = 2;
        continue;
      }
      for (let n = 0; n < sent; n++) this.shift();
      if (sent === 0) break;
      limit = sent === count ? Math.min(PACKETS_PER_CALL, limit * 4) : 2;
    }
    this.compact();
  }

  /** Forgets unpinned flows that were silent for too long. */
  tick(nowMs: number): void {
    for (let left = Math.min(SWEEP_PER_TICK, this.flows.size); left > 0; left--) {
      const next = this.sweepHand.next();
      if (next.done) {
        this.sweepHand = this.flows.entries();
        continue;
      }
      const [key, flow] = next.value;
      if (flow.pins === 0 && nowMs - usedMs(flow) > this.context.limits.idleTimeoutMs) this.flows.delete(key);
    }
  }

  /** Sends what it can and closes; every flow of the socket is closed with it. */
  close(): void {
    if (!this.isOpen) return;
    this.flush();
    this.isOpen = false;
    for (const flow of this.flows.values()) flow.state = "closed";
    this.flows.clear();
    this.socket.close();
  }

  /** One datagram, as the socket's callback gives it. */
  receive(bytes: Buffer, remotePort: number, remoteAddress: string): void {
    if (!this.isOpen || remotePort === 0) return;
    const first = bytes.length === 0 ? 0 : bytes[0]!;
    if (first === 0 || first === 1 || first === CR || first === LF) {
      if (this.answerKeepalive(bytes, remotePort, remoteAddress)) return;
    }
    const context = this.context;
    const key = tableKey(remoteAddress, remotePort);
    const flow = this.flows.get(key) ?? this.makeFlow(key, remoteAddress, remotePort);
    flow.lastHeardMs = context.now();
    const text = readLatin1(bytes, startOfMessage(bytes));
    if (text.length > context.limits.maxMessageBytes) {
      context.counts.udp.malformedIn++;
      const header = text.slice(0, context.limits.maxHeaderBytes);
      context.sink.malformed(flow, header, { status: 513, reason: "Message too large" });
    } else {
      if (isResponseText(text)) context.counts.udp.responsesIn++;
      else context.counts.udp.requestsIn++;
      context.sink.message(flow, text);
    }
    context.onInput();
  }

  /** True if the datagram was a keepalive or STUN. Unknown peers get their answer without a flow being made for them. */
  private answerKeepalive(bytes: Buffer, remotePort: number, remoteAddress: string): boolean {
    if (this.context.isRefused(remoteAddress)) return true;
    const isBinding = isStun(bytes);
    const isLineEnds = !isBinding && bytes.length > 0 && startOfMessage(bytes) === bytes.length;
    if (!isBinding && !isLineEnds && (bytes.length > 4 || !isAllZero(bytes))) return false;
    this.context.counts.udp.keepalivesIn++;
    this.context.onInput();
    const flow = this.flows.get(tableKey(remoteAddress, remotePort));
    if (!this.context.admitsKeepalive(remoteAddress, flow !== undefined && flow.pins > 0)) return true;
    if (isBinding) {
      const answer = answerStun(bytes, remoteAddress, remotePort);
      if (answer !== null) this.enqueue(answer, remotePort, remoteAddress);
      // RFC 5626 §3.5.1: a ping is a double CRLF; a single one is a pong, or an old phone's keepalive.
    } else if (isLineEnds && bytes.length >= 4) this.enqueue("\r\n", remotePort, remoteAddress);
    if (flow !== undefined) flow.lastHeardMs = this.context.now();
    return true;
  }

  private makeFlow(key: FlowTableKey, remoteAddress: string, remotePort: number): UdpFlow {
    // After flows were unpinned there may be several too many.
    while (this.flows.size - this.pinnedFlows >= this.context.limits.maxUdpFlows && this.evict());
    const flow = new UdpFlow(this, remoteAddress, remotePort);
    // Not lastHeardMs: over a flow put back after a restart nothing was heard yet.
    flow.sinceMs = this.context.now();
    this.flows.set(key, flow);
    return flow;
  }

  /**
   * Forgets the unpinned flow heard longest ago of the next few the hand comes to, in the order they were made. It stays
   * usable for its holders: an open transaction still answers over it.
   */
  private evict(): boolean {
    let victim: UdpFlow | null = null;
    let victimKey: FlowTableKey = "";
    let seen = 0;
    for (let left = this.flows.size + EVICTION_SAMPLE; left > 0 && seen < EVICTION_SAMPLE; left--) {
      const next = this.evictionHand.next();
      if (next.done) {
        this.evictionHand = this.flows.entries();
        if (victim !== null) break;
        continue;
      }
      const [key, flow] = next.value;
      if (flow.pins > 0) continue;
      seen++;
      if (victim === null || usedMs(flow) < usedMs(victim)) {
        victim = flow;
        victimKey = key;
      }
    }
    if (victim === null) return false;
    this.flows.delete(victimKey);
    this.context.counts.udpFlowsEvicted++;
    return true;
  }

  private enqueue(wire: string | Buffer, port: number, address: string): void {
    while (
      this.queuedBytes + wire.length > this.context.limits.maxUdpQueuedBytes && this.head < this.wires.length
    ) {
      this.shift();
      this.context.counts.udpDropped++;
    }
    if (this.head > 4096 && this.head * 2 > this.wires.length) this.compact();
    this.wires.push(wire);
    this.ports.push(port);
    this.addresses.push(address);
    this.queuedBytes += wire.length;
  }

  /** Fills `packets` with up to `limit` queued packets, as many as the scratch buffer holds, and returns how many. */
  private encode(limit: number): number {
    const packets = this.packets;
    const end = Math.min(this.wires.length, this.head + limit);
    let used = 0;
    let count = 0;
    for (let at = this.head; at < end; at++) {
      const wire = this.wires[at]!;
      if (used + wire.length > scratch.length) break;
      if (typeof wire === "string") {
        // latin1: bytes above 0x7f must survive, and Bun would send a string as UTF-8.
        writeLatin1(scratch, wire, used);
        packets[count * 3] = scratch.subarray(used, used + wire.length);
        used += wire.length;
      } else {
        packets[count * 3] = wire;
      }
      packets[count * 3 + 1] = this.ports[at]!;
      packets[count * 3 + 2] = this.addresses[at]!;
      count++;
    }
    packets.length = count * 3;
    return count;
  }

  private shift(): void {
    this.queuedBytes -= this.wires[this.head]!.length;
    this.wires[this.head] = "";
    this.head++;
  }

  /** True for a flow of a registered phone or the PBX. What goes to a stranger answers it: a failure needs no line in the log. */
  private isKnown(flow: UdpFlow): boolean {
    return flow.pins > 0 || this.context.isExempt(flow.remoteAddress);
  }

  private drop(error: unknown): void {
    this.context.counts.udpDropped++;
    this.context.log("debug", "Cannot send a datagram", {
      listener: this.name(),
      remote: hostPort(this.addresses[this.head]!, this.ports[this.head]!),
      error: (error as { code?: string }).code ?? String(error),
    });
    this.shift();
  }

  private compact(): void {
    if (this.head === 0) return;
    if (this.head === this.wires.length) {
      this.wires.length = 0;
      this.ports.length = 0;
      this.addresses.length = 0;
    } else {
      this.wires = this.wires.slice(this.head);
      this.ports = this.ports.slice(this.head);
      this.addresses = this.addresses.slice(this.head);
    }
    this.head = 0;
  }

  private name(): string {
    return `udp ${hostPort(this.listener.address, this.listener.port)}`;
  }
}

/** When the flow was last of use. */
function usedMs(flow: UdpFlow): number {
  return Math.max(flow.lastHeardMs, flow.sinceMs);
}

/** A number for IPv4, which costs a quarter of a joined string: four bytes of address and two of port fit 53 bits. */
function tableKey(address: string, port: number): FlowTableKey {
  let value = 0;
  let part = 0;
  for (let at = 0; at < address.length; at++) {
    const code = address.charCodeAt(at);
    if (code === 0x2e) {
      value = value * 256 + part;
      part = 0;
    } else if (code >= 0x30 && code <= 0x39) {
      part = part * 10 + code - 0x30;
    } else {
      return `${address} ${port}`;
    }
  }
  return (value * 256 + part) * 65536 + port;
}

/** Index of the first byte that is neither CR nor LF (RFC 3261 §7.5: they are ignored before a message). */
function startOfMessage(bytes: Buffer): number {
  let at = 0;
  while (at < bytes.length && (bytes[at] === CR || bytes[at] === LF)) at++;
  return at;
}

function isAllZero(bytes: Buffer): boolean {
  for (let at = 0; at < bytes.length; at++) if (bytes[at] !== 0) return false;
  return true;
}
