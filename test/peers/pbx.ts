/**
 * Owns the PBX made of the npm package `sip`, for what Kamailio cannot be told to do: it accepts (or refuses) every
 * REGISTER as told, remembers the Contacts, and calls them.
 */
// @ts-types="./npm_sip.d.ts"
import sip from "sip";
import type { SipAddress } from "./npm_sip.d.ts";
import type { OutgoingCall } from "./outgoing_call.ts";
import { Peer, type PeerOptions, type SipRequest } from "./peer.ts";

export class Pbx extends Peer {
  /** By AoR URI as in To: the Contact URIs, newest last. */
  readonly contacts = new Map<string, string[]>();
  /** Seconds granted. */
  granted = 3600;
  /** Instead of 200, if set. */
  refuseWith = 0;
  /** Less is answered 423. */
  minExpires = 0;

  constructor(options: PeerOptions) {
    super(options);
  }

  /** Calls the newest Contact of an AoR. */
  callAor(aor: string): OutgoingCall {
    const contact = this.contacts.get(aor)?.at(-1);
    if (contact === undefined) throw new Error(`Nobody registered as ${aor}`);
    return this.call(contact);
  }

  private isTooBrief(request: SipRequest): boolean {
    const [contact] = request.headers.contact as SipAddress[];
    return Number(contact?.params?.expires ?? 3600) < this.minExpires;
  }

  protected override onOther(request: SipRequest): void {
    if (request.method !== "REGISTER" || this.refuseWith !== 0) {
      const status = request.method === "REGISTER" ? this.refuseWith : 200;
      return this.stack.send(sip.makeResponse(request, status, status === 200 ? "OK" : "Refused"));
    }
    const aor = request.headers.to.uri;
    if (this.isTooBrief(request)) {
      const headers = { "min-expires": String(this.minExpires) };
      return this.stack.send(sip.makeResponse(request, 423, "Interval Too Brief", { headers }));
    }
    const told = request.headers.contact as SipAddress[] | "*" | undefined;
    const held = new Set(this.contacts.get(aor));
    if (told === "*") held.clear();
    else {
      for (const contact of told ?? []) {
        held.delete(contact.uri);
        if ((contact.params?.expires ?? request.headers.expires) !== "0") held.add(contact.uri);
      }
    }
    this.contacts.set(aor, [...held]);
    const contact = [...held].map((uri) => ({ uri, params: { expires: String(this.granted) } }));
    this.stack.send(sip.makeResponse(request, 200, "OK", { headers: { contact } }));
  }
}
