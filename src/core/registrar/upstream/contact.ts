/** Our Contact at the PBX: what it looks like, and finding it again in what the PBX answers. */
import { CONTACT, EXPIRES } from "../../sip/header.ts";
import type { Flow } from "../../sip/flow.ts";
import type { Message } from "../../sip/message.ts";
import { type NameAddr, parseNameAddr } from "../../sip/name_addr.ts";
import { paramOf, splitList, unquote } from "../../sip/scan.ts";
import { canonicalUser, type Uri, uriParam } from "../../sip/uri.ts";
import type { Via } from "../../sip/via.ts";
import { bareHost, splitHostPort } from "../../sip/host.ts";
import { expiresOf } from "../register.ts";
import type { ContactPlacement } from "../settings.ts";

/** Our Contact URI for an AoR or device id, reached over the listener the PBX is reached from. */
function upstreamUri(placement: ContactPlacement, user: string, id: string, flow: Flow): string {
  const transport = flow.transport === "udp" ? "" : ";transport=" + flow.transport;
  const host = flow.listener.advertised;
  if (placement === "user") return "sip:" + id + "@" + host + transport;
  return "sip:" + user + "@" + host + transport + (placement === "param" ? ";lf=" + id : "");
}

/** One Contact header line for the PBX, with its CRLF. `expires` in seconds. */
export function upstreamContactLine(
  placement: ContactPlacement,
  user: string,
  id: string,
  flow: Flow,
  expires: number,
): string {
  return "Contact: <" + upstreamUri(placement, user, id, flow) + ">;expires=" + expires + "\r\n";
}

/** What the 2xx says about one of our Contacts. */
export interface UpstreamGrant {
  /** Seconds; null if the reply says nothing in any form. */
  expires: number | null;
  /** False: our Contact is not in the reply, the value is its Expires header's. */
  isListed: boolean;
}

/**
 * Reads the grant for our Contact with this id: by `lf` or the id as user, whatever the PBX made of host and spelling;
 * else, if it dropped the parameter, by user and host, the longest of several. Foreign contacts are passed over.
 */
export function grantOf(response: Message, user: string, id: string, flow: Flow): UpstreamGrant {
  const header = expiresOf(response.value(EXPIRES));
  let byUser: number | null | undefined;
  for (const line of response.values(CONTACT)) {
    // A line that cannot be read spoils no other.
    for (const element of splitList(line) ?? []) {
      const address = readContact(element);
      const uri = address?.uri ?? null;
      if (address === null || uri === null) continue;
      const said = paramOf(address.params, "expires");
      const expires = (said === undefined ? null : expiresOf(unquote(said))) ?? header;
      // Without angle brackets our parameter has become one of the header's.
      const lf = (uriParam(uri, "lf") ?? paramOf(address.params, "lf"))?.toLowerCase();
      if (lf === id || uri.user.toLowerCase() === id) return { expires, isListed: true };
      if (lf !== undefined || !isOurAddress(uri, flow, response.via)) continue;
      if (sameUser(uri.user, user)) byUser = byUser === undefined ? expires : longer(byUser, expires);
    }
  }
  return byUser === undefined ? { expires: header, isListed: false } : { expires: byUser, isListed: true };
}

/** One Contact of a PBX, even if it decoded the `%40` of a user and there are two `@` now. */
function readContact(element: string): NameAddr | null {
  const address = parseNameAddr(element);
  if (address !== null) return address;
  const open = element.indexOf("<");
  const close = element.indexOf(">", open);
  const uri = open < 0 || close < 0 ? element : element.slice(open, close);
  const [first, last] = [uri.indexOf("@"), uri.lastIndexOf("@")];
  if (first === last) return null;
  const escaped = uri.slice(0, last).replaceAll("@", "%40") + uri.slice(last);
  return parseNameAddr(open < 0 || close < 0 ? escaped : element.slice(0, open) + escaped + element.slice(close));
}

/**
 * True for the address we told the PBX, and for the one it has seen us at: with `rewrite_contact=yes` an Asterisk puts that
 * into our Contact. What the PBX saw stands in our Via; over a connection any port may be that of an earlier one.
 */
function isOurAddress(uri: Uri, flow: Flow, via: Via | null): boolean {
  const host = bareHost(uri.host);
  const port = uri.port || 5060;
  const [ourHost, ourPort] = splitHostPort(flow.listener.advertised);
  if (host === ourHost && (ourPort === 0 || port === ourPort)) return true;
  if (host !== flow.listener.address && host !== bareHost(via?.received ?? "")) return false;
  return flow.isReliable || port === flow.listener.port || port === via?.rport;
}

function sameUser(a: string, b: string): boolean {
  return canonicalUser(a).toLowerCase() === canonicalUser(b).toLowerCase();
}

function longer(a: number | null, b: number | null): number | null {
  return a === null || b === null ? a ?? b : Math.max(a, b);
}
