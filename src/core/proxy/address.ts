/** What names us: the hosts and ports that are ours. */
import type { Listener } from "../sip/flow.ts";
import { defaultPort, hostKey, splitHostPort } from "../sip/host.ts";
import { type Uri, uriParam } from "../sip/uri.ts";

/** The addresses and names that are ours. */
export class OwnAddresses {
  private readonly listeners: Listener[] = [];
  private readonly names = new Set<string>();
  private readonly hosts = new Set<string>();

  /** Adds a listener and what it advertises. */
  add(listener: Listener): void {
    this.listeners.push(listener);
    this.addName(listener.address, listener.port);
    const [host, port] = splitHostPort(listener.advertised);
    this.addName(host, port === 0 ? defaultPort(listener.transport) : port);
    // Its URIs say transport=ws, which tells nobody of TLS.
    if (port === 0 && listener.transport === "wss") this.addName(host, defaultPort("ws"));
  }

  /** True if host and port of the URI are one of our listeners'. */
  isUs(uri: Uri): boolean {
    return this.names.has(hostKey(uri.host) + ":" + portOf(uri));
  }

  /** True if the host is ours, whatever the port. */
  isOurHost(host: string): boolean {
    return this.hosts.has(hostKey(host));
  }

  /** The listener of a local address, undefined if there is none now. */
  listenerAt(transport: string, address: string, port: number): Listener | undefined {
    return this.listeners.find((listener) =>
      listener.transport === transport && listener.port === port && hostKey(listener.address) === hostKey(address)
    );
  }

  private addName(host: string, port: number): void {
    const key = hostKey(host);
    this.names.add(key + ":" + port);
    this.hosts.add(key);
  }
}

/** The port a URI means (RFC 3261 §19.1.2). */
export function portOf(uri: Uri): number {
  if (uri.port !== 0) return uri.port;
  const isTls = uri.scheme === "sips" || uriParam(uri, "transport")?.toLowerCase() === "tls";
  return defaultPort(isTls ? "tls" : "udp");
}
