/** Hosts and ports as text of URIs, sent-by and config: brackets around IPv6, ports, default ports. */
import type { Transport } from "./flow.ts";

/** A host without the brackets that a URI puts around IPv6; the case stays. */
export function bareHost(host: string): string {
  return host.charCodeAt(0) === 91 ? host.slice(1, -1) : host;
}

/** An address or name as a URI has it: IPv6 in brackets (RFC 3261 §25.1). @param address without brackets */
export function uriHost(address: string): string {
  return address.includes(":") ? `[${address}]` : address;
}

/** `192.0.2.1:5060`, `[2001:db8::1]:5060`. @param address without brackets */
export function hostPort(address: string, port: number): string {
  return `${uriHost(address)}:${port}`;
}

/** `host:port` → `[host, port]`, port 0 if absent, brackets off. */
export function splitHostPort(text: string): [string, number] {
  const close = text.lastIndexOf("]");
  const colon = text.indexOf(":", close < 0 ? 0 : close);
  if (colon < 0) return [bareHost(text.toLowerCase()), 0];
  return [bareHost(text.slice(0, colon).toLowerCase()), Number(text.slice(colon + 1))];
}

/** The default port of a URI or a Via (RFC 3261 §19.1.2). */
export function defaultPort(transport: Transport): number {
  return transport === "tls" || transport === "wss" ? 5061 : 5060;
}

/** True for an IP address that only this machine can reach: 127.0.0.0/8, or ::1 in any spelling. Names are false. */
export function isLoopback(address: string): boolean {
  const key = hostKey(address);
  return key === "0:0:0:0:0:0:0:1" || /^127(\.\d{1,3}){3}$/.test(key);
}

/**
 * A host as a key for comparison: lower case, without brackets, an IPv6 address in its canonical form (RFC 5952), an
 * IPv4-mapped one as IPv4 (RFC 5118 §4.8).
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
