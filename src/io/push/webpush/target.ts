/**
 * Owns what `pn-prid` of a Web Push or UnifiedPush phone means: a subscription URI, and whether it may be used. It must
 * not know events, keys or connections.
 */
import { isIP } from "node:net";
import { bareHost } from "../../../core/sip/host.ts";
import { isPublicAddress } from "../http/public_address.ts";

export interface WebPushTarget {
  /** Scheme, host and port. */
  readonly origin: string;
  /** With the query: it may be all of the secret there is. */
  readonly path: string;
  /** Named in the config: it may be on a private address, and without TLS. */
  readonly isAllowed: boolean;
}

/**
 * @param prid text of the subscription URI, Unicode.
 * @param allowHosts names and addresses, lower-case, without brackets (`push.webpush.allow_hosts`).
 * @returns the problem in words if it cannot be pushed to.
 */
export function webPushTargetOf(prid: string, allowHosts: readonly string[]): WebPushTarget | string {
  if (!URL.canParse(prid)) return "pn-prid is no subscription URI";
  const url = new URL(prid);
  if (url.protocol !== "https:" && url.protocol !== "http:") return "pn-prid is not an https URI";
  if (url.username !== "" || url.password !== "") return "the subscription URI holds a password";
  // The parser has brought 0x7f.1 and its like to 127.0.0.1 by now.
  const host = bareHost(url.hostname.replace(/\.$/, ""));
  const isAllowed = allowHosts.includes(host);
  if (url.protocol === "http:" && !isAllowed) {
    return "pn-prid is not an https URI; http is for hosts named in push.webpush.allow_hosts";
  }
  if (!isAllowed && isIP(host) !== 0 && !isPublicAddress(host)) return notPublic(host);
  return { origin: url.origin, path: url.pathname + url.search, isAllowed };
}

/** What is said of a host without a public address. */
export function notPublic(host: string): string {
  return `${host} is not on a public address; name it in push.webpush.allow_hosts if phones may use it`;
}
