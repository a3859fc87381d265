/** What names us: the hosts and ports that are ours. */
import type { Listener, Transport } from "../sip/flow.ts";
import type { Message } from "../sip/message.ts";
import { bareHost, splitHostPort } from "../sip/host.ts";
import { type Uri, uriParam } from "../sip/uri.ts";

/** The addresses and names that are ours. */
export class OwnAddresses {
  private readonly names = new Set<string>();
  private readonly hosts = new Set<string>();

  /** Adds a listener and what it advertises. */
  add(listener: Listener): void {
    this.names.add(listener.address + ":" + listener.port);
    this.hosts.add(listener.address);
    const [host, port] = splitHostPort(listener.advertised);
    this.names.add(host + ":" + (port === 0 ? defaultPort(listener.transport) : port));
    this.hosts.add(host);
  }

  /** True if host and port of the URI are one of our listeners'. */
  isUs(uri: Uri): boolean {
    const port = uri.port !== 0
      ? uri.port
      : defaultPort(uriParam(uri, "transport") === "tls" || uri.scheme === "sips" ? "tls" : "udp");
    return this.names.has(bareHost(uri.host) + ":" + port);
  }

  /** True if the host is ours, whatever the port. */
  isOurHost(host: string): boolean {
    return this.hosts.has(bareHost(host));
  }

  /** True if a Via's sent-by is ours. */
  isOurVia(message: Message): boolean {
    const via = message.via;
    return via !== null && this.names.has(bareHost(via.host) + ":" + (via.port === 0 ? 5060 : via.port));
  }
}

function defaultPort(transport: Transport): number {
  return transport === "tls" || transport === "wss" ? 5061 : 5060;
}
