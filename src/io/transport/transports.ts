/**
 * All listeners and flows of the appliance behind one object: which socket a message leaves from, which addresses are
 * ours, what is counted. Sockets themselves are in udp.ts, accept.ts and dial.ts; no timers here, the owner calls `tick`.
 */
import type { ListenEntry } from "../../config/schema.ts";
import type { Flow, Listener, Transport } from "../../core/sip/flow.ts";
import { hostPort, uriHost } from "../../core/sip/host.ts";
import { Acceptor } from "./accept.ts";
import {
  canonicalAddress,
  isIpv6,
  isPort,
  isWildcard,
  machineAddresses,
  parseFlowKey,
  splitHostPort,
} from "./address.ts";
import { Connections, StreamFlow } from "./connections.ts";
import { connectionsFor, descriptorLimit } from "./descriptors.ts";
import { connectStream } from "./dial.ts";
import { Listeners } from "./listeners.ts";
import { type AddressedDatagram, openNative } from "./native.ts";
import {
  DEFAULT_LIMITS,
  type Sample,
  type TransportContext,
  TransportCounts,
  type TransportLimits,
  TRANSPORTS,
} from "./sink.ts";
import { OwnPort } from "./own_port.ts";
import { StrayDatagrams } from "./stray.ts";
import { type TlsPeer, TlsServer, type TlsSettings } from "./tls.ts";
import { UdpFlow, UdpSocket } from "./udp.ts";
import type { WebListener } from "./upgrade.ts";

/** One socket to open; `host` is an IP address, the wildcard means every address of its family. */
export type Listen = Pick<ListenEntry, "scheme" | "host" | "port" | "advertise"> & { readonly path?: string };

type NotRequired = "limits" | "counts" | "isExempt" | "isRefused" | "admitsKeepalive" | "isProxy" | "sourceOf";

/** What the appliance gives; see {@link TransportContext} for the functions. */
export interface TransportsOptions extends Omit<TransportContext, NotRequired> {
  readonly listen: readonly Listen[];
  /** Advertised where an entry says nothing; "" = the address listened on. */
  readonly advertise: string;
  readonly limits?: Partial<TransportLimits>;
  readonly isExempt?: (address: string) => boolean;
  readonly isRefused?: (address: string) => boolean;
  readonly admitsKeepalive?: (address: string, isPinned: boolean) => boolean;
  readonly isProxy?: (address: string) => boolean;
  /** Certificates of the tls and wss listeners; absent where there are none. */
  readonly tls?: TlsSettings;
  /** The peer at an address that we may dial by TLS: the PBX. Absent or null: there is none, and nothing is dialled. */
  readonly tlsPeer?: (address: string, port: number) => TlsPeer | null;
  /** Whether web pages of an origin may connect; absent: all of them. */
  readonly allowsOrigin?: (origin: string) => boolean;
  /** Absent: each address is a source of its own. */
  readonly sourceOf?: (address: string) => string;
  /** The addresses a wildcard stands for. */
  readonly addresses?: () => string[];
  /** Whether the machine has an address, however it came to it; absent: the kernel is asked. */
  readonly isLocalAddress?: (address: string) => boolean;
  /** File descriptors the process may have; absent: the kernel is asked. */
  readonly descriptors?: number;
  /** UDP port opened beside each UDP listener, for what only {@link Transports.ownListeners} name; absent or 0: none. */
  readonly ownPort?: number;
}

/** A wildcard UDP entry, whose sockets follow the addresses of the machine. */
interface WildcardUdp {
  readonly listen: Listen;
  readonly port: number;
  readonly stray: StrayDatagrams;
  /** Sockets are being opened for it; the stray socket is closed meanwhile. */
  isFollowing: boolean;
}

/** How often the machine is asked for new addresses, and how long the kernel's choice of a source is remembered. */
const ADDRESSES_CHECK_MS = 10_000;
/** How long the sockets of an address that the machine no longer has are kept: it often comes back. */
const GONE_ADDRESS_MS = 600_000;
/** Datagrams to addresses without a socket are looked for at flushes, not more often than this. */
const STRAY_CHECK_MS = 20;
/** Sockets opened for addresses found by stray datagrams (every address of 127/8 is local). */
const MAX_STRAY_SOCKETS = 64;

/** See the file header. */
export class Transports {
  readonly counts = new TransportCounts();
  private readonly options: TransportsOptions;
  /** Beyond it the kernel gives no descriptor, and a waiting connection would keep the loop busy in vain. */
  private readonly mostConnections: number;
  private readonly context: TransportContext;
  private readonly connections: Connections;
  private readonly udp: UdpSocket[] = [];
  private readonly udpByAddress = new Map<string, UdpSocket>();
  private readonly own: OwnPort;
  private readonly acceptors: Acceptor[] = [];
  private readonly tls: TlsServer;
  private readonly wildcards: WildcardUdp[] = [];
  private readonly listening = new Listeners();
  /** When an address of a wildcard was first missing, ms; an address that is there has no entry. */
  private readonly goneSinceMs = new Map<string, number>();
  private addressesCheckedMs = 0;
  private strayCheckedMs = 0;
  private straySockets = 0;
  private isStopped = false;

  constructor(options: TransportsOptions) {
    this.options = options;
    this.context = {
      sink: options.sink,
      limits: { ...DEFAULT_LIMITS },
      counts: this.counts,
      now: options.now,
      onInput: options.onInput,
      log: options.log,
      isExempt: options.isExempt ?? (() => false),
      isRefused: options.isRefused ?? (() => false),
      admitsKeepalive: options.admitsKeepalive ?? (() => true),
      isProxy: options.isProxy ?? (() => false),
      sourceOf: options.sourceOf ?? ((address) => address),
    };
    this.mostConnections = connectionsFor(options.descriptors ?? descriptorLimit());
    this.setLimits(options.limits ?? {});
    this.own = new OwnPort(options.ownPort ?? 0, this.context);
    this.connections = new Connections(this.context);
    this.tls = new TlsServer(this.context);
  }

  /**
   * Opens every listener.
   * @returns the listeners with their real ports, one for each local address a wildcard stands for
   * @throws Error that names the address and what to do; nothing is left open then
   */
  async start(): Promise<Listener[]> {
    try {
      this.takeFirstTls();
      for (const listen of this.options.listen) await this.open(listen);
    } catch (error) {
      this.stop();
      throw error;
    }
    this.addressesCheckedMs = this.context.now();
    const wanted = this.options.limits?.maxConnections ?? DEFAULT_LIMITS.maxConnections;
    if (this.mostConnections < wanted && this.acceptors.length > 0) {
      this.context.log("warn", "Fewer connections than limits.connections says: raise the limit of open files", {
        connections: this.mostConnections,
        wanted,
      });
    }
    return this.listeners();
  }

  /** Sends what is queued and closes everything; the sink hears nothing more. */
  stop(): void {
    if (this.isStopped) return;
    this.isStopped = true;
    for (const acceptor of this.acceptors) acceptor.close();
    for (const { stray } of this.wildcards) stray.close();
    this.connections.stop();
    for (const socket of this.udp) socket.close();
  }

  listeners(): Listener[] {
    return this.listening.all();
  }

  /** One for each address with a UDP listener: given to {@link flowTo} as `via`, it is left from. Empty without `ownPort`. */
  ownListeners(): readonly Listener[] {
    return this.own.listeners;
  }

  /** New limits, from now on; open connections stay. The limit of connections never exceeds the descriptors. */
  setLimits(limits: Partial<TransportLimits>): void {
    const maxConnections = Math.min(
      limits.maxConnections ?? this.context.limits.maxConnections,
      this.mostConnections,
    );
    Object.assign(this.context.limits, limits, { maxConnections });
  }

  /**
   * New certificates, for handshakes from now on; connections that are there stay (T-06).
   * @throws Error in words if one cannot be used; the old ones stay then
   */
  setTls(settings: TlsSettings): void {
    if (this.options.listen.some(({ scheme }) => hasTls(scheme))) this.tls.configure(settings);
  }

  private takeFirstTls(): void {
    const first = this.options.listen.find(({ scheme }) => hasTls(scheme));
    if (first === undefined) return;
    try {
      this.tls.configure(this.options.tls ?? { pairs: [], clientCa: "" });
    } catch (error) {
      throw new Error(`Cannot listen on ${urlOf(first, first.port)}: ${(error as Error).message}`);
    }
  }

  /** For the start tree (T-05): bytes of datagrams the kernel keeps for each UDP listener; null = could not be asked. */
  receiveBuffers(): { listener: Listener; bytes: number | null }[] {
    return this.udp.map((socket) => ({ listener: socket.listener, bytes: socket.receiveBufferBytes }));
  }

  /**
   * Queues one message (latin1 text) for the next flush.
   * @returns false if the flow is closed, its queue is full, or the message is too large for UDP
   */
  send(flow: Flow, wire: string): boolean {
    if (flow instanceof UdpFlow) return flow.socket.send(flow, wire);
    if (flow instanceof StreamFlow) return this.connections.send(flow, wire);
    return false;
  }

  /** Closes a connection at once; nothing happens to a UDP flow. The sink hears of it after this call has returned. */
  close(flow: Flow, reason: string): void {
    if (flow instanceof StreamFlow) this.connections.close(flow, reason);
  }

  /** Gives everything queued to the kernel. Called once at the end of a turn. */
  flush(): void {
    for (let at = 0; at < this.udp.length; at++) this.udp[at]!.flush();
    this.connections.flush();
    this.tls.flush();
    if (this.wildcards.length > 0) {
      const nowMs = this.context.now();
      if (nowMs - this.strayCheckedMs >= STRAY_CHECK_MS) this.takeStrays(nowMs);
    }
  }

  /** Idle, connect and half-open checks, new addresses of the machine. The owner calls it about once a second. */
  tick(nowMs: number): void {
    if (this.isStopped) return;
    this.connections.tick(nowMs);
    for (const socket of this.udp) socket.tick(nowMs);
    this.takeStrays(nowMs);
    if (nowMs - this.addressesCheckedMs < ADDRESSES_CHECK_MS) return;
    this.addressesCheckedMs = nowMs;
    this.listening.forgetRoutes();
    this.letGo(nowMs);
    for (const wildcard of this.wildcards) {
      const fresh = this.addressesOf(wildcard.listen.host).filter((address) =>
        !this.udpByAddress.has(hostPort(address, wildcard.port))
      );
      if (fresh.length > 0 && !wildcard.isFollowing) void this.follow(wildcard, fresh, []);
    }
  }

  /** Keeps a flow though it is silent or its table is full, for a registered contact; once for each owner. */
  pin(flow: Flow): void {
    if (flow instanceof UdpFlow) flow.socket.pin(flow);
    else if (flow instanceof StreamFlow) flow.pins++;
  }

  /** True if the flow is pinned: by a registered contact. */
  isPinned(flow: Flow): boolean {
    return (flow instanceof UdpFlow || flow instanceof StreamFlow) && flow.pins > 0;
  }

  /** Undoes one {@link pin}. */
  unpin(flow: Flow): void {
    if (flow instanceof UdpFlow) flow.socket.unpin(flow);
    else if (flow instanceof StreamFlow && flow.pins > 0) flow.pins--;
  }

  /**
   * The flow to a remote address: the one there is, or a new one.
   * @param via the listener to leave from; without it the kernel's choice of a source address decides
   * @returns null if there is no way: no listener of the family, no route, no IP address, a limit, a WebSocket (a browser
   *   does not listen), or TLS to a peer whose certificate we could not check
   */
  flowTo(transport: Transport, address: string, port: number, via?: Listener): Flow | null {
    const remote = canonicalAddress(address);
    if (this.isStopped || remote === null || isWildcard(remote) || !isPort(port)) return null;
    const wanted = via !== undefined && via.transport === transport ? via : undefined;
    if (transport !== "udp") {
      const found = this.connections.find(transport, remote, port, wanted);
      if (found !== null) return found;
      if (transport !== "tcp" && transport !== "tls") return null;
    }
    const peer = transport === "tls" ? this.options.tlsPeer?.(remote, port) ?? null : null;
    if (transport === "tls" && peer === null) return null;
    const listener = wanted ?? this.listening.routeTo(transport, remote);
    if (listener === null || isIpv6(listener.address) !== isIpv6(remote)) return null;
    if (transport !== "udp") return connectStream(this.connections, listener, remote, port, peer);
    return this.udpByAddress.get(hostPort(listener.address, listener.port))?.flow(remote, port) ?? null;
  }

  /** The flow a key of an earlier run names: UDP alone, and only if its listener is there still. */
  flowFromKey(key: string): Flow | null {
    const parsed = parseFlowKey(key);
    if (parsed === null || parsed.transport !== "udp") return null;
    if (isIpv6(parsed.local) !== isIpv6(parsed.remote)) return null;
    return this.udpByAddress.get(hostPort(parsed.local, parsed.localPort))?.flow(parsed.remote, parsed.remotePort) ??
      null;
  }

  listenerFor(transport: Transport, address: string, port: number): Listener | null {
    return this.listening.find(transport, address, port);
  }

  /** See {@link Listeners.isLocal}. */
  isLocal(host: string, port: number, transport?: Transport): boolean {
    return this.listening.isLocal(host, port, transport);
  }

  /** `sip_messages_total{direction,transport,kind}` */
  messageSamples(): Sample[] {
    return this.counts.messageSamples();
  }

  /** `sockets{transport,state}` */
  flowSamples(): Sample[] {
    let udpFlows = 0;
    for (const socket of this.udp) udpFlows += socket.flowCount;
    const samples: Sample[] = [[["udp", "open"], udpFlows]];
    for (const transport of TRANSPORTS) {
      if (transport === "udp") continue;
      let [connecting, open] = [0, 0];
      for (const flow of this.connections.flows()) {
        if (flow.transport !== transport) continue;
        if (flow.state === "connecting") connecting++;
        else open++;
      }
      samples.push([[transport, "connecting"], connecting], [[transport, "open"], open]);
    }
    return samples;
  }

  private async open(listen: Listen): Promise<void> {
    const host = canonicalAddress(listen.host);
    if (host === null) throw new Error(`Cannot listen on ${listen.scheme}://${listen.host}: expected an IP address`);
    const entry: Listen = { ...listen, host };
    if (entry.scheme === "udp") await this.openUdp(entry);
    else this.openStream(entry);
  }

  private async openUdp(listen: Listen): Promise<void> {
    if (!isWildcard(listen.host)) {
      await this.bindUdp(listen, listen.host, listen.port);
      return;
    }
    // Port 0: one port for all addresses. Without the C library the first address takes one, which the others may lack.
    let port = listen.port || (openNative()?.freeUdpPort(isIpv6(listen.host)) ?? 0);
    for (const address of this.addressesOf(listen.host)) {
      try {
        port = (await this.bindUdp(listen, address, port)).listener.port;
      } catch (error) {
        const { message, cause } = error as Error;
        if ((cause as { code?: string } | undefined)?.code !== "EADDRNOTAVAIL") throw error;
        // An address on its way (IPv6 duplicate detection) or gone meanwhile; the address check comes back to it.
        this.context.log("warn", message);
      }
    }
    if (!this.udp.some(({ listener }) => listener.port === port)) {
      throw new Error(`Cannot listen on ${urlOf(listen, 0)}: this machine has no such address`);
    }
    const stray = new StrayDatagrams(isIpv6(listen.host), port);
    this.wildcards.push({ listen, port, stray, isFollowing: false });
    this.openStray(stray);
  }

  private async bindUdp(listen: Listen, address: string, port: number): Promise<UdpSocket> {
    try {
      const socket = await UdpSocket.open(
        this.context,
        address,
        port,
        (real) => this.advertised(listen, address, real),
      );
      this.udp.push(socket);
      this.udpByAddress.set(hostPort(address, socket.listener.port), socket);
      this.listening.add(socket.listener);
      await this.openOwn(socket.listener);
      return socket;
    } catch (error) {
      throw bindError({ ...listen, host: address }, port, error);
    }
  }

  /** What leaves from `pbx.own_port` leaves from the address of a listener. No other way leads there. */
  private async openOwn(beside: Listener): Promise<void> {
    const socket = await this.own.open(beside);
    if (socket === null) return;
    this.udp.push(socket);
    this.udpByAddress.set(hostPort(socket.listener.address, socket.listener.port), socket);
  }

  private openStream(listen: Listen): void {
    let acceptor: Acceptor;
    const listenerAt = (address: string) => this.streamListener(listen, address, acceptor.port);
    try {
      acceptor = new Acceptor({
        connections: this.connections,
        context: this.context,
        address: listen.host,
        port: listen.port,
        listenerAt,
        tls: hasTls(listen.scheme) ? this.tls : null,
        web: this.webListener(listen),
      });
    } catch (error) {
      throw bindError(listen, listen.port, error);
    }
    this.acceptors.push(acceptor);
    for (const address of isWildcard(listen.host) ? this.addressesOf(listen.host) : [listen.host]) listenerAt(address);
  }

  /** The listener of a local address; a wildcard socket may be reached at one that was not there at start. */
  private streamListener(listen: Listen, address: string, port: number): Listener {
    const transport = listen.scheme;
    const known = this.listening.find(transport, address, port);
    if (known !== null) return known;
    const advertised = this.advertised(listen, address, port);
    const web = this.webListener(listen);
    const listener: Listener = web === null
      ? { transport, address, port, advertised }
      : { transport, address, port, advertised, path: web.path };
    this.listening.add(listener);
    return listener;
  }

  private webListener(listen: Listen): WebListener | null {
    if (listen.scheme !== "ws" && listen.scheme !== "wss") return null;
    return { path: listen.path || "/", allowsOrigin: this.options.allowsOrigin ?? (() => true) };
  }

  private addressesOf(wildcard: string): string[] {
    return (this.options.addresses ?? machineAddresses)().filter((address) => isIpv6(address) === isIpv6(wildcard));
  }

  private advertised(listen: Listen, address: string, port: number): string {
    const text = listen.advertise || this.options.advertise;
    if (text === "") return hostPort(address, port);
    const { host, port: advertisedPort } = splitHostPort(text);
    if (advertisedPort !== 0) return hostPort(host, advertisedPort);
    return uriHost(host);
  }

  /**
   * Closes what a wildcard opened for addresses that are long gone. Providers, containers and RFC 8981 give new ones every
   * day: in a year they would be hundreds of sockets. Phones that registered there keep theirs until they are gone too.
   */
  private letGo(nowMs: number): void {
    const isLocal = this.options.isLocalAddress ?? isLocalAddress;
    for (const { listen, port } of this.wildcards) {
      for (const socket of [...this.udp]) {
        const { listener } = socket;
        if (listener.port !== port || isIpv6(listener.address) !== isIpv6(listen.host)) continue;
        if (isLocal(listener.address)) {
          this.goneSinceMs.delete(listener.address);
          continue;
        }
        const sinceMs = this.goneSinceMs.get(listener.address) ?? nowMs;
        this.goneSinceMs.set(listener.address, sinceMs);
        if (nowMs - sinceMs < GONE_ADDRESS_MS || socket.isNeeded) continue;
        this.goneSinceMs.delete(listener.address);
        this.closeUdp(socket);
      }
    }
  }

  private closeUdp(socket: UdpSocket): void {
    const { address, port } = socket.listener;
    socket.close();
    this.udp.splice(this.udp.indexOf(socket), 1);
    this.udpByAddress.delete(hostPort(address, port));
    this.listening.remove(socket.listener);
    this.context.log("info", "Closed the listener of an address that the machine no longer has", {
      listener: `udp ${hostPort(address, port)}`,
    });
  }

  private openStray(stray: StrayDatagrams): void {
    const beside = this.udp.filter(({ listener }) => listener.port === stray.port).map((socket) => socket.fd);
    if (!stray.open(beside)) {
      this.context.log("debug", "Datagrams to addresses that come later are seen by the address check alone", {
        port: stray.port,
      });
    }
  }

  /** Opens sockets for local addresses that datagrams were sent to and that have none yet. */
  private takeStrays(nowMs: number): void {
    this.strayCheckedMs = nowMs;
    for (const wildcard of this.wildcards) {
      const datagrams = wildcard.stray.take();
      const addresses = [...new Set(datagrams.map((datagram) => datagram.localAddress))];
      const allowed = addresses.slice(0, MAX_STRAY_SOCKETS - this.straySockets);
      this.straySockets += allowed.length;
      if (allowed.length > 0) void this.follow(wildcard, allowed, datagrams);
    }
  }

  /** Binds further addresses of a wildcard and delivers what had come to them. */
  private async follow(wildcard: WildcardUdp, addresses: string[], datagrams: AddressedDatagram[]): Promise<void> {
    wildcard.isFollowing = true;
    // The kernel refuses an address while the wildcard socket holds its port.
    wildcard.stray.close();
    for (const address of addresses) {
      try {
        const known = this.udpByAddress.get(hostPort(address, wildcard.port));
        const socket = known ?? await this.bindUdp(wildcard.listen, address, wildcard.port);
        if (this.isStopped) return socket.close();
        for (const { localAddress, bytes, remotePort, remoteAddress } of datagrams) {
          if (localAddress === address) socket.receive(bytes, remotePort, remoteAddress);
        }
      } catch (error) {
        this.context.log("warn", error instanceof Error ? error.message : String(error));
      }
    }
    wildcard.isFollowing = false;
    if (!this.isStopped) this.openStray(wildcard.stray);
  }
}

/** True without the C library to ask the kernel with: nothing is closed then. */
function isLocalAddress(address: string): boolean {
  const native = openNative();
  return native === null || native.canBind(address);
}

function hasTls(scheme: Transport): boolean {
  return scheme === "tls" || scheme === "wss";
}

function urlOf(listen: Listen, port: number): string {
  return `${listen.scheme}://${hostPort(listen.host, port)}`;
}

function bindError(listen: Listen, port: number, error: unknown): Error {
  const code = (error as { code?: string }).code;
  const reason = code === "EADDRINUSE"
    ? "the address is in use by another program"
    : code === "EADDRNOTAVAIL"
    ? "it is no address of this machine"
    : code === "EACCES"
    ? "not allowed (ports below 1024 need root or CAP_NET_BIND_SERVICE)"
    : error instanceof Error
    ? error.message
    : String(error);
  return new Error(`Cannot listen on ${urlOf(listen, port)}: ${reason}`, { cause: error });
}
