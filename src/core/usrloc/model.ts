/**
 * The shapes of usrloc: AoR, device contact, push parameters, upstream binding. Data only; the rules are in
 * `usrloc.ts`. The store saves and loads exactly these fields.
 */
import type { Flow } from "../sip/flow.ts";

/** `mobile`: sleeps, may be woken by push. `desk`: reachable as long as its flow is. */
export type DeviceKind = "mobile" | "desk";

/** How far the push service believes in the token: `unknown` until the first answer. */
export type TokenState = "unknown" | "valid" | "dead";

/** Keys of a Web Push subscription (RFC 8291 §2), base64url: without them a push has no payload. */
export interface PushKeys {
  /** The phone's public key: 65 bytes, an uncompressed point on P-256. */
  readonly p256dh: string;
  /** 16 bytes. */
  readonly auth: string;
}

/** RFC 8599 §4.1: where and how a device can be woken. */
export interface PushParams {
  /** `pn-provider`, lower-case. */
  provider: string;
  /** `pn-param`, unescaped; empty if absent. */
  param: string;
  /** `pn-prid`, unescaped: the token. Never empty. */
  prid: string;
  tokenState: TokenState;
  /** When this very token was last registered, ms since the epoch (guards P-04: a failure older than it kills nothing). */
  registeredAtMs: number;
  /** Set through the control port; they belong to `prid`, and go with it. */
  keys?: PushKeys | undefined;
  /** Set through the control port, and kept while the phone registers none of its own. */
  isByHand?: boolean | undefined;
}

/** One registered device of an AoR. Times are ms since the epoch. */
export interface Contact {
  /** Stable id of the device, unique in the appliance, lower-case letters and digits: `lf=` of the modes `contact` and `mirror`, `{id}` of the API. */
  readonly id: string;
  readonly aor: Aor;
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
  /** The way to it; null after a restart or once the connection closed. */
  flow: Flow | null;
  /** `Flow.key` of the last flow, kept across restarts. */
  readonly flowKey: string;
  /** When the PBX's Contact for this device alone ends, ms; 0: none that we know of, or it holds one for the whole AoR. */
  upstreamEndsMs: number;
  /** The PBX let go of that Contact when another device registered. */
  isDropped: boolean;
  /** The store's own note on where it keeps the contact, which spares it a search; nobody else looks at it. */
  storeEntry?: object;
}

/** What the PBX granted us. `none` in registrar mode and before the first 2xx. */
export interface Upstream {
  /** `registered`: the PBX holds our Contact until `expiresAtMs`. `removed`: we or a phone ended it. */
  state: "none" | "registered" | "removed";
  expiresAtMs: number;
  /** A REGISTER that may have cut it short is not answered: beyond this none is answered in the PBX's place. */
  provenMs?: number | undefined;
  /** Call-ID and CSeq of the last REGISTER that went to the PBX for it. */
  callId: string;
  cseq: number;
  /** Header lines of the PBX's last 2xx that an answer in its place repeats (Service-Route), each with its CRLF. */
  lines: string;
}

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

/** What the store is told, within the turn in which it happened; it reads the objects when it commits. */
export interface ChangeLog {
  /** The contact is new, or any field but its flow object changed. `isRefresh`: only `expiresAtMs`, `registeredAtMs`, `cseq`, `callId` changed. */
  contactSaved(contact: Contact, isRefresh: boolean): void;
  contactRemoved(contact: Contact): void;
  /** The AoR is new or its upstream binding changed. */
  aorSaved(aor: Aor): void;
  aorRemoved(aor: Aor): void;
}

/** A stored contact as the store gives it back at start (`flow` is made by the appliance from `flowKey`). */
export type StoredContact = Omit<Contact, "aor" | "flow"> & { aorKey: string };
/** A contact that expired while we were away: the PBX still holds its own Contact, which somebody has to end. */
export interface StoredRemnant {
  readonly aorKey: string;
  readonly id: string;
}
/** A stored AoR as the store gives it back at start. */
export type StoredAor = Omit<Aor, "contacts">;
