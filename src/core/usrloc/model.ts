/** Shapes that contacts and AoRs are made of: device kind, push parameters, upstream binding. Data only. */

/** `mobile`: sleeps, may be woken by push. `desk`: reachable as long as its flow is. */
export type DeviceKind = "mobile" | "desk";

/**
 * How far the push service believes in the token: `unknown` until the first answer. `moved`: the app registered as
 * another AoR, whose calls it is woken for now.
 */
export type TokenState = "unknown" | "valid" | "dead" | "moved";

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
