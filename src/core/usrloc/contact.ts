/**
 * A registered device of an AoR, and the AoR it belongs to: what its phone registered, the way to it, and its place in
 * the deadline heap. Data and its spelling only; the rules are in `usrloc.ts`.
 */
import type { Flow } from "../sip/flow.ts";
import { detached } from "../sip/scan.ts";
import type { DeviceKind, PushParams, Upstream } from "./model.ts";

/** An address of record that has, or had, contacts. */
export interface Aor {
  /** Canonical `user@domain`: lower-case host, user unescaped where the RFC allows. */
  readonly key: string;
  readonly user: string;
  readonly domain: string;
  /** Stable id, unique in the appliance: `lf=` of the mode `aor`. */
  readonly id: string;
  readonly contacts: Contact[];
  upstream: Upstream;
}

/** Everything of a contact that comes from a REGISTER of its phone. Times are ms since the epoch. */
export interface ContactFields {
  /** The Contact URI as the phone sent it, without angle brackets. */
  readonly uri: string;
  /** Contact header parameters as sent, from the first `;`, without `expires`; empty if none. */
  readonly params: string;
  /** `+sip.instance` without quotes and angle brackets; empty if the phone sent none. */
  instance: string;
  /** `reg-id` (RFC 5626); 0 if absent. */
  regId: number;
  /** 0..1000. */
  q: number;
  callId: string;
  cseq: number;
  expiresAtMs: number;
  registeredAtMs: number;
  /** Path vector of the REGISTER in Route order, one header value; empty if none. */
  path: string;
  userAgent: string;
  kind: DeviceKind;
  push: PushParams | null;
  /** `Flow.key` of the last flow, kept across restarts. */
  readonly flowKey: string;
}

/** Something of usrloc that ends at a time (structurally the transaction layer's `Due`). */
export interface Expiring {
  dueMs: number;
  heapSlot: number;
  onDue(nowMs: number): void;
}

/** The deadline heap, as usrloc needs it. */
export interface ExpirySchedule {
  set(item: Expiring, dueMs: number): void;
  cancel(item: Expiring): void;
}

/** Where expiries are reported. */
export interface ExpiryOwner {
  onExpiryDue(contact: Contact, nowMs: number): void;
}

/** The fields every refresh needs come first: what lies together is fetched together. */
export class Contact implements ContactFields, Expiring {
  /** `<uri>params`: a REGISTER is compared with it and answered from it, which finds everything in one place. */
  text: string;
  private uriEnd: number;
  private isRepeatable = false;
  /** The way to it; null after a restart or once the connection closed. */
  flow: Flow | null = null;
  callId: string;
  cseq: number;
  expiresAtMs: number;
  registeredAtMs: number;
  dueMs = 0;
  heapSlot = -1;
  /** When the device is to be pushed to refresh, ms; Infinity: never. Not stored. */
  refreshAtMs = Infinity;
  /** True if its `params` say that it wakes itself to refresh; null: not asked yet. */
  wakesItself: boolean | null = null;
  /** Refresh pushes since its last REGISTER. */
  refreshTries = 0;
  /** The store's own note on where it keeps the contact, in place of an index. Only the store reads it. */
  storeEntry?: object = undefined;
  path: string;
  userAgent: string;
  push: PushParams | null;
  kind: DeviceKind;
  /** False once it is out of usrloc: a reference that is still held must not be used. */
  isRegistered = true;
  /** The push token under which usrloc's index has it; empty: none. */
  indexedToken = "";
  instance: string;
  regId: number;
  q: number;
  /** While it has no flow: the key of its last one. */
  lastFlowKey: string;
  /** Where it was last heard from, also after its connection closed or a restart; empty: set by hand, not heard yet. */
  address = "";
  /** When the PBX's Contact for this device alone ends, ms; 0: none that we know of, or it holds one for the whole AoR. */
  upstreamEndsMs = 0;
  /** The PBX let go of that Contact when another device registered. */
  isDropped = false;
  /** `uri` as a Request-URI, made on first use. */
  requestUri = "";
  /** Flow token of Record-Route for this device, made on first use; see proxy/record_route.ts. */
  routeToken = "";

  constructor(
    /** Stable id of the device, unique in the appliance, lower-case letters and digits: `lf=` of the modes `contact` and `mirror`, `{id}` of the API. */
    readonly id: string,
    readonly aor: Aor,
    fields: ContactFields,
    private readonly owner: ExpiryOwner,
  ) {
    this.text = contactText(fields);
    this.uriEnd = fields.uri.length + 1;
    this.instance = fields.instance;
    this.regId = fields.regId;
    this.q = fields.q;
    this.callId = fields.callId;
    this.cseq = fields.cseq;
    this.expiresAtMs = fields.expiresAtMs;
    this.registeredAtMs = fields.registeredAtMs;
    this.path = fields.path;
    this.userAgent = fields.userAgent;
    this.kind = fields.kind;
    this.push = fields.push;
    this.lastFlowKey = fields.flowKey;
  }

  /** True if a push to its token may wake it. */
  get hasUsableToken(): boolean {
    const { push } = this;
    return push !== null && push.tokenState !== "dead" && push.tokenState !== "moved";
  }

  get uri(): string {
    return this.text.slice(1, this.uriEnd);
  }

  get params(): string {
    return this.text.slice(this.uriEnd + 1);
  }

  /** The Contact has another `uri` or other `params` now. */
  setContact(fields: Pick<Contact, "uri" | "params">): void {
    this.text = contactText(fields);
    this.uriEnd = fields.uri.length + 1;
    this.isRepeatable = false;
  }

  /**
   * The Contact as the phone sent it last, without `expires`, as long as every field a Contact gives came from it alone;
   * empty: it must be read again. Code that changes such a field by other means empties it.
   */
  get sent(): string {
    return this.isRepeatable ? this.text : "";
  }

  /** @param text empty, or `uri` and `params` as they are in a message: the other fields are pieces of the same string */
  set sent(text: string) {
    this.isRepeatable = text !== "";
    if (text !== "") this.text = text;
  }

  /** Of the flow it has; only what is stored without one needs a text of its own. */
  get flowKey(): string {
    return this.flow === null ? this.lastFlowKey : this.flow.key;
  }

  onDue(nowMs: number): void {
    this.owner.onExpiryDue(this, nowMs);
  }
}

function contactText({ uri, params }: Pick<Contact, "uri" | "params">): string {
  return detached("<" + uri + ">" + params);
}
