/** The in-memory contact: the model's fields, plus its place in the deadline heap. */
import type { Flow } from "../sip/flow.ts";
import { detached } from "../sip/scan.ts";
import type { Aor, Contact, DeviceKind, PushParams } from "./model.ts";

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
  onExpiryDue(binding: Binding, nowMs: number): void;
}

/** Everything of a contact that comes from a REGISTER of its phone. */
export type ContactFields = Omit<Contact, "id" | "aor" | "flow" | "storeEntry" | "upstreamEndsMs" | "isDropped">;

/** The fields every refresh needs come first: what lies together is fetched together. */
export class Binding implements Contact, Expiring {
  /** `<uri>params`: a REGISTER is compared with it and answered from it, which finds everything in one place. */
  text: string;
  private uriEnd: number;
  private isRepeatable = false;
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
  storeEntry?: object = undefined;
  path: string;
  userAgent: string;
  push: PushParams | null;
  kind: DeviceKind;
  /** False once it is out of usrloc: whoever still holds it must not use it. */
  isRegistered = true;
  /** The push token usrloc's index knows it by; empty: none. */
  indexedToken = "";
  instance: string;
  regId: number;
  q: number;
  /** The key of the flow it had last, while it has none. */
  lastFlowKey: string;
  upstreamEndsMs = 0;
  isDropped = false;
  /** `uri` as a Request-URI, made on first use. */
  requestUri = "";
  /** Flow token of Record-Route for this device, made on first use; see proxy/record_route.ts. */
  routeToken = "";

  constructor(
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
   * empty: it must be read again. Whoever changes such a field by other means empties it.
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
