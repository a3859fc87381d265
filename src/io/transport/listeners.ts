/**
 * The addresses that are listened on: which hosts and ports of a URI are ours, and from which of them a remote address is
 * reached. Holds no sockets: their owner adds and removes the listeners.
 */
import type { Listener, Transport } from "../../core/sip/flow.ts";
import { bareHost, defaultPort, isLoopback, uriHost } from "../../core/sip/host.ts";
import { canonicalAddress, isIpv6, splitHostPort } from "./address.ts";
import { openNative } from "./native.ts";

/** A bound on what is remembered of the kernel's choice of a source. */
const MAX_ROUTES = 10_000;

export class Listeners {
  private opened: Listener[] = [];
  /** `transport host:port` of every listener and advertised name; port 0 where a URI may leave it out. */
  private readonly local = new Set<string>();
  private readonly routes = new Map<string, Listener | null>();

  /** In the order they were added. */
  all(): Listener[] {
    return [...this.opened];
  }

  find(transport: Transport, address: string, port: number): Listener | null {
    const canonical = canonicalAddress(address);
    return this.opened.find((listener) =>
      listener.transport === transport && listener.address === canonical && listener.port === port
    ) ?? null;
  }

  add(listener: Listener): void {
    this.opened.push(listener);
    this.routes.clear();
    const usual = defaultPort(listener.transport);
    this.addLocal(listener, listener.address, listener.port);
    if (listener.port === usual) this.addLocal(listener, listener.address, 0);
    const { host, port } = splitHostPort(listener.advertised);
    this.addLocal(listener, host, port);
    if (port === usual) this.addLocal(listener, host, 0);
    // Advertised without a port: peers may add the default port or ours.
    if (port === 0) {
      this.addLocal(listener, host, usual);
      this.addLocal(listener, host, listener.port);
    }
  }

  /** Its names may be those of others, too: they are told anew. */
  remove(gone: Listener): void {
    const left = this.opened.filter((listener) => listener !== gone);
    this.opened = [];
    this.local.clear();
    for (const listener of left) this.add(listener);
  }

  /**
   * True if a host and port of a URI, Route or Via are ours: an address listened on, or an advertised name.
   * @param port 0 if the text had none
   */
  isLocal(host: string, port: number, transport?: Transport): boolean {
    const name = splitHostPort(uriHost(bareHost(host))).host;
    if (transport !== undefined) return this.local.has(`${transport} ${name}:${port}`);
    return this.local.has(`any ${name}:${port}`);
  }

  /** The listener to reach a remote address from, remembered until {@link forgetRoutes}; null: none can. */
  routeTo(transport: Transport, remote: string): Listener | null {
    const key = `${transport} ${remote}`;
    const known = this.routes.get(key);
    if (known !== undefined) return known;
    const found = this.choose(transport, remote);
    if (this.routes.size >= MAX_ROUTES) this.routes.clear();
    this.routes.set(key, found);
    return found;
  }

  /** The machine's routes may have changed. */
  forgetRoutes(): void {
    this.routes.clear();
  }

  private choose(transport: Transport, remote: string): Listener | null {
    const candidates = this.opened.filter((listener) =>
      listener.transport === transport && isIpv6(listener.address) === isIpv6(remote)
    );
    const native = openNative();
    if (native !== null) {
      const preferred = native.sourceAddress(remote);
      const exact = candidates.find((listener) => listener.address === preferred);
      return exact ?? candidates.find((listener) => native.sourceAddress(remote, listener.address) !== null) ?? null;
    }
    return candidates.find((listener) => isLoopback(listener.address) === isLoopback(remote)) ?? null;
  }

  private addLocal(listener: Listener, host: string, port: number): void {
    this.local.add(`${listener.transport} ${host}:${port}`);
    this.local.add(`any ${host}:${port}`);
  }
}
