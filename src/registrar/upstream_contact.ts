/** Our Contact at the PBX: what it looks like, and finding it again in what the PBX answers. */
import { CONTACT, EXPIRES } from "../sip/header.ts";
import type { Flow } from "../sip/flow.ts";
import type { Message } from "../sip/message.ts";
import { parseNameAddr } from "../sip/name_addr.ts";
import { paramOf } from "../sip/scan.ts";
import { canonicalUser, uriParam } from "../sip/uri.ts";
import { bareHost, splitHostPort } from "../sip/host.ts";
import { expiresOf } from "./register.ts";
import type { ContactPlacement } from "./settings.ts";

/** Our Contact URI for an AoR or device id, reached over the listener the PBX is reached from. */
export function upstreamUri(placement: ContactPlacement, user: string, id: string, flow: Flow): string {
  const transport = flow.transport === "udp" ? "" : ";transport=" + flow.transport;
  const host = flow.listener.advertised;
  if (placement === "user") return "sip:" + id + "@" + host + transport;
  return "sip:" + user + "@" + host + transport + (placement === "param" ? ";lf=" + id : "");
}

/** What the 2xx says about one of our Contacts. */
export interface UpstreamGrant {
  /** Seconds; null if the reply says nothing in any form. */
  expires: number | null;
  /** False: our Contact is not in the reply, the value is its Expires header's. */
  isListed: boolean;
}

/**
 * Reads the grant for our Contact with this id: by `lf`, else by user and host (PBXs drop parameters and change case).
 * Foreign contacts are passed over.
 */
export function grantOf(response: Message, user: string, id: string, flow: Flow): UpstreamGrant {
  const header = expiresOf(response.value(EXPIRES));
  const [ourHost, ourPort] = splitHostPort(flow.listener.advertised);
  let byUser: number | null | undefined;
  for (const element of response.list(CONTACT) ?? []) {
    const address = parseNameAddr(element);
    const uri = address?.uri ?? null;
    if (address === null || uri === null) continue;
    if (bareHost(uri.host) !== ourHost || (ourPort !== 0 && (uri.port || 5060) !== ourPort)) continue;
    const expires = expiresOf(paramOf(address.params, "expires")) ?? header;
    const lf = uriParam(uri, "lf")?.toLowerCase();
    if (lf === id || uri.user.toLowerCase() === id) return { expires, isListed: true };
    if (lf === undefined && canonicalUser(uri.user).toLowerCase() === user.toLowerCase()) byUser = expires;
  }
  return byUser === undefined ? { expires: header, isListed: false } : { expires: byUser, isListed: true };
}
