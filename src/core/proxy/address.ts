/** What names us: the hosts and ports that are ours. */
import type { Listener, Transport } from "../sip/flow.ts";
import { bareHost, splitHostPort } from "../sip/host.ts";
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

/**
 * A host as a key for comparison: lower case, without brackets, an IPv6 address in the one form all its spellings
 * share, an IPv4 address in IPv6 clothes as IPv4 (RFC 5118 §4.8, RFC 5952).
 */
export function hostKey(host: string): string {
  if (!host.includes(":")) return host.charCodeAt(host.length - 1) === 46 ? host.slice(0, -1) : host;
  const address = bareHost(host).toLowerCase();
  const gap = address.indexOf("::");
  const head = gap < 0 ? address : address.slice(0, gap);
  const groups = wordsOf(head);
  if (gap >= 0) {
    const tail = wordsOf(address.slice(gap + 2));
    while (groups.length + tail.length < 8) groups.push("0");
    groups.push(...tail);
  }
  const isMapped = groups.length === 8 && groups[5] === "ffff" && groups.slice(0, 5).every((group) => group === "0");
  if (!isMapped) return groups.join(":");
  const [high, low] = [parseInt(groups[6]!, 16), parseInt(groups[7]!, 16)];
  return (high >> 8) + "." + (high & 255) + "." + (low >> 8) + "." + (low & 255);
}

/** The 16-bit groups of a part of an IPv6 address, in hex without leading zeros; a dotted quad makes two. */
function wordsOf(text: string): string[] {
  const words: string[] = [];
  for (const group of text.split(":")) {
    if (group === "") continue;
    if (group.includes(".")) {
      const [a = 0, b = 0, c = 0, d = 0] = group.split(".").map(Number);
      words.push(((a << 8) | b).toString(16), ((c << 8) | d).toString(16));
    } else words.push(group.replace(/^0+(?=.)/, ""));
  }
  return words;
}

/** The port a URI means (RFC 3261 §19.1.2). */
export function portOf(uri: Uri): number {
  if (uri.port !== 0) return uri.port;
  const isTls = uri.scheme === "sips" || uriParam(uri, "transport")?.toLowerCase() === "tls";
  return defaultPort(isTls ? "tls" : "udp");
}

function defaultPort(transport: Transport): number {
  return transport === "tls" || transport === "wss" ? 5061 : 5060;
}
