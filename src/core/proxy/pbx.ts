/** The PBX as the proxy sees it: the addresses it is reached at, and the addresses its requests are believed from. */
import type { Flow, Listener, Transport } from "../sip/flow.ts";
import { parseUri, type Uri, uriParam } from "../sip/uri.ts";
import type { SilenceListener } from "../transaction/table.ts";
import type { TransactionPort } from "../transaction/timers.ts";
import { bareHost, hostKey } from "../sip/host.ts";
import { portOf } from "./address.ts";

/** One resolved address of the PBX. */
export interface PbxAddress {
  readonly transport: Transport;
  readonly address: string;
  readonly port: number;
  /** As configured: `sip:192.168.1.10:5060;transport=udp`. */
  readonly uri: string;
}

/** So many of our own addresses are remembered: providers give a new one every day. */
const MAX_SEEN_AT = 4;

export class Pbx implements SilenceListener {
  private addresses: readonly PbxAddress[] = [];
  private current: Flow | null = null;
  private ownListeners: readonly Listener[] = [];
  private currentOwn: Flow | null = null;
  /** Host names of the configured URIs. */
  private readonly names = new Set<string>();
  /** Our addresses as the PBX sees them, the newest last: a NAT may be between. */
  private readonly seenAt = new Set<string>();

  constructor(
    private readonly port: TransactionPort,
    /** True if requests from this IP address are the PBX's. */
    private readonly isTrusted: (address: string) => boolean,
    /** Our own REGISTERs leave from listeners of their own (`pbx.own_port`). */
    private readonly hasOwnPort = false,
  ) {}

  /** The listeners of `pbx.own_port`; told again when the machine has other addresses. */
  setOwnListeners(listeners: readonly Listener[]): void {
    this.ownListeners = listeners;
    this.currentOwn = null;
  }

  /** The addresses, in order of preference; told again when DNS says otherwise. */
  setAddresses(addresses: readonly PbxAddress[]): void {
    this.addresses = addresses;
    this.current = null;
    this.names.clear();
    for (const { uri } of addresses) this.names.add(hostKey(parseUri(uri)?.host ?? ""));
  }

  get preferred(): PbxAddress | null {
    return this.addresses[0] ?? null;
  }

  /** The way to the PBX; null if its name is not resolved or no listener fits. */
  flow(): Flow | null {
    if (this.current !== null && this.current.state !== "closed") return this.current;
    for (const { transport, address, port } of this.addresses) {
      this.current = this.port.flowTo(transport, address, port);
      if (this.current !== null) return this.current;
    }
    return null;
  }

  /**
   * The way to the PBX for our own REGISTERs. With `pbx.own_port` it trusts what comes from there, so nothing else takes
   * this way, and they take no other. Null: there is none.
   */
  ownFlow(): Flow | null {
    const main = this.flow();
    if (!this.hasOwnPort || main === null) return main;
    const { remoteAddress, remotePort, listener: { address } } = main;
    const own = this.currentOwn;
    const isThere = own !== null && own.state !== "closed" && own.listener.address === address &&
      own.remoteAddress === remoteAddress && own.remotePort === remotePort;
    if (isThere) return own;
    const via = this.ownListeners.find((listener) => listener.address === address);
    if (via === undefined || main.isReliable) return null;
    return this.currentOwn = this.port.flowTo("udp", remoteAddress, remotePort, via);
  }

  /** True if this is an address the PBX's requests come from. */
  isPbxAddress(address: string): boolean {
    for (const own of this.addresses) if (own.address === address) return true;
    return this.isTrusted(address);
  }

  /** True if the flow's peer is the very address and port that we send to: no phone can be there. */
  isPbxPeer(flow: Flow): boolean {
    for (const own of this.addresses) {
      if (own.port === flow.remotePort && own.address === flow.remoteAddress) return true;
    }
    return false;
  }

  /**
   * T-10: a request over a connection was not answered in time. If nothing else was heard over it either, it is dead,
   * though no close was reported. It is closed, and the next one opened at once: the PBX may want to call over it.
   */
  onSilence(flow: Flow, sentAtMs: number): void {
    if (flow.state === "closed" || flow.lastHeardMs > sentAtMs || !this.isOurConnection(flow)) return;
    this.port.log("warn", "Nothing is heard over the connection to the PBX: closed it, opening another", {
      flow: flow.key,
    });
    this.port.closeFlow(flow, "A request was not answered in time");
    if (this.current === flow) this.current = null;
    this.flow();
  }

  /** True for a connection that we opened to the PBX. */
  private isOurConnection(flow: Flow): boolean {
    if (!flow.isReliable) return false;
    return this.addresses.some(({ port }) => port === flow.remotePort) && this.isPbxAddress(flow.remoteAddress);
  }

  /**
   * True if the URI names the PBX.
   * @param isOurHost the host is ours as well: on one machine the port tells us apart
   */
  isNamedBy(uri: Uri, isOurHost: boolean): boolean {
    const host = hostKey(uri.host);
    if (isOurHost) return this.addresses.some((own) => hostKey(own.address) === host && own.port === portOf(uri));
    if (this.names.has(host) || this.addresses.some((own) => hostKey(own.address) === host)) return true;
    return this.isTrusted(bareHost(uri.host));
  }

  /** The PBX said in `received` of our Via where a request of ours came from (RFC 3261 §18.2.1). */
  heardOurAddress(received: string): void {
    const host = hostKey(received.toLowerCase());
    if (host === "" || this.seenAt.has(host)) return;
    this.seenAt.add(host);
    if (this.seenAt.size > MAX_SEEN_AT) this.seenAt.delete(this.seenAt.values().next().value!);
  }

  /** True for an address at which the PBX sees us. */
  seesUsAt(host: string): boolean {
    return this.seenAt.size > 0 && this.seenAt.has(hostKey(host));
  }

  /**
   * Where an in-dialog request to the PBX side goes: to the very address its URI names if that is one of the PBX's (a
   * cluster answers from any of its nodes), else to the PBX. Never to a third party (F-06). A connection is opened to
   * ports of the config alone: both sides of a call can write the URI, and other services of those hosts read text too.
   */
  flowTowards(uri: Uri): Flow | null {
    const main = this.flow();
    const host = this.hostOf(uri);
    if (host === "") return main;
    const transport = transportOf(uri);
    const port = portOf(uri);
    if (
      main !== null && main.remotePort === port && main.transport === transport && hostKey(main.remoteAddress) === host
    ) return main;
    if (transport !== "udp" && !this.addresses.some((own) => own.port === port)) return main;
    return this.port.flowTo(transport, host, port) ?? main;
  }

  /** The IP address a URI names if it is one of the PBX's; `""` if it is not. */
  private hostOf(uri: Uri): string {
    const host = bareHost(uri.host);
    if (host === "") return "";
    const key = hostKey(uri.host);
    for (const own of this.addresses) if (hostKey(own.address) === key) return own.address;
    return this.isTrusted(host) ? host : "";
  }
}

function transportOf(uri: Uri): Transport {
  const transport = uriParam(uri, "transport")?.toLowerCase();
  if (uri.scheme === "sips") return "tls";
  return transport === "tcp" || transport === "tls" || transport === "ws" ? transport : "udp";
}
