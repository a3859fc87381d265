/**
 * The network between latefork and everybody else: UDP 5-tuples that lose, repeat and reorder, and connections that
 * deliver in order until they close. A link is a `Flow` to latefork and a wire to its peer. Knows no SIP.
 */
import type { Flow, FlowState, Listener, Transport } from "../../src/core/sip/flow.ts";
import type { Agenda } from "./agenda.ts";
import type { Prng } from "./prng.ts";

/** How good the way to a host is. */
export interface Path {
  /** One way, ms, drawn evenly for each message; UDP may overtake. */
  latencyMs: readonly [number, number];
  /** Of UDP, 0..1. */
  loss: number;
  duplicate: number;
}

/** Anybody latefork talks to. */
export interface Host {
  readonly name: string;
  readonly path: Path;
  onMessage(link: Link, text: string): void;
  onLinkClosed(link: Link): void;
}

/** One message that was sent, for assertions on raw text and for the story told when a test fails. */
export interface Packet {
  atMs: number;
  /** `→ alice`: from latefork. */
  isFromCore: boolean;
  peer: string;
  link: Link;
  text: string;
  fate: "sent" | "lost" | "dead";
}

export class Link implements Flow {
  state: FlowState = "open";
  lastHeardMs = 0;
  readonly key: string;
  readonly isReliable: boolean;
  /** Port that latefork's side of a connection has, which its peer sees; over UDP that of the listener. */
  readonly localPort: number;
  /** False: the peer is silently gone, packets vanish both ways and nobody is told. */
  isUp = true;
  /** In-order delivery of connections. */
  toCoreMs = 0;
  toPeerMs = 0;
  isClosedByPeer = false;

  constructor(
    readonly id: number,
    readonly transport: Transport,
    readonly listener: Listener,
    readonly remoteAddress: string,
    readonly remotePort: number,
    readonly peer: Host | null,
  ) {
    this.isReliable = transport !== "udp";
    this.localPort = this.isReliable ? 40_000 + id % 20_000 : listener.port;
    const local = `${listener.address}:${listener.port}`;
    this.key = `${transport}|${local}|${remoteAddress}:${remotePort}`;
  }
}

/** Where the network hands over to latefork. */
export interface CoreSide {
  readonly nowMs: number;
  receive(link: Link, text: string): void;
  closed(link: Link, reason: string): void;
}

/** Addresses latefork listens on. */
export const LISTENERS: Record<"udp" | "tcp", Listener> = {
  udp: { transport: "udp", address: "10.0.0.5", port: 5060, advertised: "10.0.0.5:5060" },
  tcp: { transport: "tcp", address: "10.0.0.5", port: 5060, advertised: "10.0.0.5:5060" },
};

export class Net {
  readonly packets: Packet[] = [];
  /** Told of everything sent, for those that want to meddle. */
  onPacket: (packet: Packet) => void = () => {};
  /** A link is closed this long before latefork's core is told. */
  closeGapMs = 0;
  private readonly udpLinks = new Map<string, Link>();
  private readonly connections = new Set<Link>();
  /** Who is found at an address. */
  private readonly servers = new Map<string, Host>();
  private linkCount = 0;

  constructor(private readonly agenda: Agenda, private readonly prng: Prng, private readonly core: CoreSide) {}

  /** The UDP link of a host at an address; the same object for the same address. */
  udp(host: Host | null, address: string, port: number): Link {
    const key = address + ":" + port;
    let link = this.udpLinks.get(key);
    if (link === undefined) {
      link = new Link(++this.linkCount, "udp", LISTENERS.udp, address, port, host);
      this.udpLinks.set(key, link);
    }
    return link;
  }

  connect(host: Host | null, address: string, port: number): Link {
    const link = new Link(++this.linkCount, "tcp", LISTENERS.tcp, address, port, host);
    this.connections.add(link);
    return link;
  }

  /** A host that is there without having said anything (the PBX). */
  listen(host: Host, address: string, port: number): void {
    this.servers.set(address + ":" + port, host);
  }

  /** `TransactionPort.flowTo`. */
  flowTo(transport: Transport, address: string, port: number): Link | null {
    if (transport === "udp") return this.udp(this.servers.get(address + ":" + port) ?? null, address, port);
    if (transport !== "tcp") return null;
    for (const link of this.connections) {
      if (link.state === "open" && link.remoteAddress === address && link.remotePort === port) return link;
    }
    const link = this.connect(this.servers.get(address + ":" + port) ?? null, address, port);
    if (link.peer === null) {
      link.state = "connecting";
      this.agenda.add(this.core.nowMs + 20, () => this.closeNow(link, "connection refused"), true);
    }
    return link;
  }

  /** A message of a host to latefork. */
  toCore(link: Link, text: string): void {
    this.carry(link, text, false);
  }

  /** A message of latefork. The caller has seen that the link is not closed. */
  toPeer(link: Link, text: string): void {
    this.carry(link, text, true);
  }

  /** The peer closes its connection: latefork hears of it behind everything sent before. */
  close(link: Link): void {
    if (!link.isReliable || link.isClosedByPeer || link.state === "closed") return;
    link.isClosedByPeer = true;
    const atMs = Math.max(link.toCoreMs, this.core.nowMs + this.latency(link));
    this.agenda.add(atMs, () => this.closeNow(link, "connection closed by the peer"), true);
  }

  /** Latefork closes a connection: its own core is told as of an input that comes later, the peer behind what was sent. */
  closeFromCore(link: Link, reason: string): void {
    if (!link.isReliable || link.state === "closed") return;
    link.state = "closed";
    this.connections.delete(link);
    this.agenda.add(this.core.nowMs, () => this.core.closed(link, reason), true);
    if (!link.isUp || link.isClosedByPeer) return;
    const atMs = Math.max(link.toPeerMs, this.core.nowMs + this.latency(link));
    this.agenda.add(atMs, () => link.peer?.onLinkClosed(link), true);
  }

  /** Latefork finds out (keepalive) that a silent connection is dead. */
  detectDead(link: Link): void {
    if (link.isReliable && link.state !== "closed") this.closeNow(link, "keepalive timeout");
  }

  private closeNow(link: Link, reason: string): void {
    if (link.state === "closed") return;
    link.state = "closed";
    this.connections.delete(link);
    if (link.isUp && !link.isClosedByPeer) link.peer?.onLinkClosed(link);
    if (this.closeGapMs === 0) this.core.closed(link, reason);
    else this.agenda.add(this.core.nowMs + this.closeGapMs, () => this.core.closed(link, reason), true);
  }

  private carry(link: Link, text: string, isFromCore: boolean): void {
    const { nowMs } = this.core;
    const peer = link.peer?.name ?? link.remoteAddress + ":" + link.remotePort;
    const packet: Packet = { atMs: nowMs, isFromCore, peer, link, text, fate: "sent" };
    this.packets.push(packet);
    this.onPacket(packet);
    if (link.peer === null || !link.isUp || link.isClosedByPeer || link.state === "closed") {
      packet.fate = "dead";
      return;
    }
    if (link.isReliable) {
      const atMs = Math.max(isFromCore ? link.toPeerMs : link.toCoreMs, nowMs + this.latency(link));
      if (isFromCore) link.toPeerMs = atMs;
      else link.toCoreMs = atMs;
      this.agenda.add(atMs, () => this.arrive(link, text, isFromCore), true);
      return;
    }
    const { loss, duplicate } = link.peer.path;
    if (this.prng.chance(loss)) {
      packet.fate = "lost";
      return;
    }
    const copies = this.prng.chance(duplicate) ? 2 : 1;
    for (let i = 0; i < copies; i++) {
      this.agenda.add(nowMs + this.latency(link), () => this.arrive(link, text, isFromCore), true);
    }
  }

  private arrive(link: Link, text: string, isFromCore: boolean): void {
    if (!link.isUp || link.state === "closed") return;
    if (isFromCore) {
      if (!link.isClosedByPeer) link.peer!.onMessage(link, text);
      return;
    }
    link.lastHeardMs = this.core.nowMs;
    this.core.receive(link, text);
  }

  private latency(link: Link): number {
    const range = link.peer?.path.latencyMs ?? [1, 1];
    return range[0] === range[1] ? range[0] : this.prng.between(range[0], range[1]);
  }
}
