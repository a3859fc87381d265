/** `X-Forwarded-For`: the client of a connection that a web server in front of us has handed on. Pure. */
import { canonicalAddress } from "./address.ts";

/**
 * The last address that is not one of our proxies. Each server appends the address it heard to what it was told, and only
 * what our own proxies wrote is believed.
 * @param header the values of all such headers, the first one first, joined by commas
 * @returns empty if the header is not to be believed, or names no client
 */
export function clientOf(header: string, peer: string, isProxy: (address: string) => boolean): string {
  if (!isProxy(peer)) return "";
  const written = header.split(",");
  for (let at = written.length - 1; at >= 0; at--) {
    const address = canonicalAddress(withoutPort(written[at]!.trim()));
    if (address === null) return "";
    if (!isProxy(address)) return address;
  }
  return "";
}

/** Some proxies add a port: `192.0.2.1:4711`, `[2001:db8::1]:4711`. */
function withoutPort(text: string): string {
  if (text.startsWith("[")) return text.slice(0, text.indexOf("]") + 1);
  const colon = text.indexOf(":");
  return colon >= 0 && colon === text.lastIndexOf(":") ? text.slice(0, colon) : text;
}
