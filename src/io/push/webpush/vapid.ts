/**
 * Owns VAPID (RFC 8292): the key pair that tells push services who we are, and the JWT made with it for each of them.
 * It must not know subscriptions or messages.
 */
import { createPrivateKey, type KeyObject } from "node:crypto";
import { readVapidKeys } from "../../../config/vapid_keys.ts";
import { signedJwt } from "../jwt.ts";

/** RFC 8292 §2: at most 24 h. */
export const JWT_LIFE_MS = 12 * 3600_000;
/** One is used so long: what is left of its life covers clocks that differ. */
export const JWT_USE_MS = 3600_000;

export interface VapidKeys {
  /** Base64url of the uncompressed point: `k` of the header, `applicationServerKey` of a subscription, `sip.vapid`. */
  readonly publicKey: string;
  readonly key: KeyObject;
}

/** The keys in a file's text; null if there are none (`latefork check` says why). */
export function vapidKeysOf(text: string): VapidKeys | null {
  const pair = readVapidKeys(text);
  if ("reason" in pair) return null;
  const point = Buffer.from(pair.publicKey, "base64url");
  const [x, y] = [point.subarray(1, 33), point.subarray(33)].map((half) => half.toString("base64url"));
  const key = createPrivateKey({ format: "jwk", key: { kty: "EC", crv: "P-256", x, y, d: pair.privateKey } });
  return { publicKey: pair.publicKey, key };
}

/** The Authorization header for one push service, made anew when it is old or the clock was set back. */
export class VapidHeader {
  private signed = "";
  private madeAtMs = 0;

  constructor(private readonly keys: VapidKeys, private readonly subject: string, private readonly origin: string) {}

  /** @param nowMs system clock. */
  text(nowMs: number): string {
    const ageMs = nowMs - this.madeAtMs;
    if (this.signed !== "" && ageMs >= 0 && ageMs < JWT_USE_MS) return this.signed;
    this.madeAtMs = nowMs;
    const exp = Math.floor((nowMs + JWT_LIFE_MS) / 1000);
    const jwt = signedJwt({ typ: "JWT" }, { aud: this.origin, exp, sub: this.subject }, this.keys.key);
    this.signed = `vapid t=${jwt}, k=${this.keys.publicKey}`;
    return this.signed;
  }
}
