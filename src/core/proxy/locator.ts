/**
 * Who is meant and who asks: which AoR or device a Request-URI names, and whether a request comes from the PBX, from
 * a phone that is registered here, or from a stranger (F-06, X-03). Decides nothing about what happens then.
 */
import type { Flow } from "../sip/flow.ts";
import { CONTACT } from "../sip/header.ts";
import type { Message } from "../sip/message.ts";
import { aorOf, isSipScheme, type Uri, uriParam } from "../sip/uri.ts";
import type { Aor, Contact } from "../usrloc/contact.ts";
import type { Usrloc } from "../usrloc/usrloc.ts";
import type { OwnAddresses } from "./address.ts";
import type { Pbx } from "./pbx.ts";

/** What a Request-URI names; `device` null: all of the AoR's. */
export interface Located {
  readonly aor: Aor;
  readonly device: Contact | null;
}

const NOBODY: readonly Contact[] = [];

export class Locator {
  constructor(
    private readonly usrloc: Usrloc,
    private readonly own: OwnAddresses,
    /** Null in registrar mode. */
    private readonly pbx: Pbx | null,
    /** Domains of our AoRs; empty: every host that is ours. */
    private readonly domains: readonly string[],
  ) {}

  /**
   * The AoR a Request-URI means: by our id, by user and domain, by user alone where the host is ours.
   * @param hint domain to prefer where the user alone is known in several
   */
  resolve(uri: Uri, hint = ""): Located | null {
    if (!isSipScheme(uri)) return null;
    const id = uri.params === "" ? undefined : uriParam(uri, "lf");
    if (id !== undefined) {
      const found = this.byId(id);
      if (found !== null) return found;
    }
    if (uri.user === "" || !this.isOurDomain(uri.host)) return null;
    const aor = this.usrloc.find(aorOf(uri));
    // contact_id: user
    const found = aor !== undefined ? { aor, device: null } : this.byId(uri.user) ?? this.byUser(uri, hint);
    return id !== undefined && found !== null && isCalledByDevice(found.aor) ? null : found;
  }

  /** contact_id: aor, or a PBX that dropped the parameter. */
  private byUser(uri: Uri, hint: string): Located | null {
    const hinted = hint === "" ? undefined : this.usrloc.find(aorOf(uri, hint));
    if (hinted !== undefined) return { aor: hinted, device: null };
    for (const domain of this.usrloc.domains()) {
      const elsewhere = this.usrloc.find(aorOf(uri, domain));
      if (elsewhere !== undefined) return { aor: elsewhere, device: null };
    }
    return null;
  }

  private byId(text: string): Located | null {
    const id = text.toLowerCase();
    const device = this.usrloc.contact(id);
    if (device !== undefined) return { aor: device.aor, device };
    const aor = this.usrloc.findById(id);
    return aor === undefined ? null : { aor, device: null };
  }

  /** True for the configured domains and our own addresses; without any domain, for the PBX's too. */
  isOurDomain(host: string): boolean {
    if (this.domains.includes(host) || this.isOurHost(host)) return true;
    if (this.domains.length > 0) return false;
    return this.pbx !== null && (this.pbx.isPbxAddress(host) || this.usrloc.hasDomain(host));
  }

  /**
   * True for a top Route by which a request came here, though we were not told this name (F-03, RFC 3261 §16.4): the
   * outbound proxy of a phone as a DNS name or as the address before a NAT; our address with the port of a connection,
   * which a PBX puts into our Record-Route. A URI with a user is not such a Route, nor is a name of the PBX.
   */
  isUnderOtherName(uri: Uri, isFromPbx: boolean): boolean {
    if (uri.user !== "" || !isSipScheme(uri) || uriParam(uri, "lr") === undefined) return false;
    const isOurHost = this.isOurHost(uri.host);
    if (isFromPbx && !isOurHost) return false;
    return this.pbx === null || !this.pbx.isNamedBy(uri, isOurHost);
  }

  /** True for the addresses we have or advertise, and for those the PBX sees us at. */
  isOurHost(host: string): boolean {
    return this.own.isOurHost(host) || (this.pbx !== null && this.pbx.seesUsAt(host));
  }

  /** A phone that has its domain, which leads to us, as outbound proxy. */
  isOutboundProxy(uri: Uri): boolean {
    return uri.user === "" && this.domains.includes(uri.host);
  }

  /** A request to the appliance itself. The PBX may know us by another port or name; without a PBX we are the domain. */
  isForUs(uri: Uri, isFromPbx: boolean): boolean {
    if (uri.user !== "" || !isSipScheme(uri)) return false;
    if (isFromPbx || (this.pbx === null && this.domains.includes(uri.host))) return this.isOurDomain(uri.host);
    return uri.port === 0 ? this.own.isOurHost(uri.host) : this.own.isUs(uri);
  }

  /**
   * The PBX's requests come from its addresses; a phone that is registered on the same machine is still a phone.
   * What comes from the very port we send to is the PBX, even if a phone registered with that address.
   */
  isFromPbx(flow: Flow): boolean {
    const { pbx } = this;
    if (pbx === null) return false;
    // In this order: an address has to be read for each network it is looked for in.
    return pbx.isPbxPeer(flow) || (!this.usrloc.isPhoneFlow(flow) && pbx.isPbxAddress(flow.remoteAddress));
  }

  /**
   * Who sent this: the contact of the From AoR on this flow, anybody on this flow, or the contact of the From AoR at
   * this address, if its NAT changed the port or its connection is a new one. Null: a stranger.
   */
  senderOf(request: Message, flow: Flow): Contact | null {
    const contacts = this.usrloc.find(aorOf(request.from.uri!))?.contacts ?? NOBODY;
    for (const contact of contacts) if (contact.flow === flow) return contact;
    if (this.usrloc.isPhoneFlow(flow)) return this.usrloc.contactsOver(flow)[0]!;
    let neighbour: Contact | null = null;
    for (const contact of contacts) {
      if (contact.address !== flow.remoteAddress) continue;
      if (carriesContact(request, contact)) return contact;
      neighbour ??= contact;
    }
    return neighbour;
  }
}

/**
 * True where the PBX has a Contact for each device (modes `contact` and `mirror`): an id that is none of theirs is that of
 * a device that is gone, and a call for it none for the others, which the PBX calls by themselves (W-21).
 */
function isCalledByDevice({ contacts }: Aor): boolean {
  return contacts.some(({ upstreamEndsMs }) => upstreamEndsMs > 0);
}

/** True if the request has the Contact that was registered. */
function carriesContact(request: Message, contact: Contact): boolean {
  const n = request.find(CONTACT);
  return n >= 0 && request.raw.slice(request.valueStart(n), request.valueEnd(n)).includes(contact.uri);
}
