/**
 * Owns APNs' provider token: the ES256 JWT made with the `.p8` key, and how long one is used. It must not know
 * connections or pushes.
 */
import type { KeyObject } from "node:crypto";
import { signedJwt } from "../jwt.ts";

/** Apple refuses tokens older than an hour, and new ones more often than every 20 minutes. */
export const TOKEN_LIFE_MS = 45 * 60_000;
export const MIN_RENEWAL_MS = 20 * 60_000;

export class ApnsToken {
  private readonly key: KeyObject;
  private readonly keyId: string;
  private readonly teamId: string;
  private signed = "";
  private madeAtMs = 0;
  private renewedAtMs = -Infinity;

  constructor(key: KeyObject, keyId: string, teamId: string) {
    this.key = key;
    this.keyId = keyId;
    this.teamId = teamId;
  }

  /** The token to use now, made anew when it is old, or when the clock was set back. @param nowMs system clock. */
  text(nowMs: number): string {
    const ageMs = nowMs - this.madeAtMs;
    if (this.signed === "" || ageMs >= TOKEN_LIFE_MS || ageMs < 0) this.make(nowMs);
    return this.signed;
  }

  /**
   * Apple says that `used` expired, which the clocks may not agree about: makes another, at most every 20 minutes.
   *
   * @returns false if there is no point in trying again.
   */
  renew(used: string, nowMs: number): boolean {
    // Of many pushes that used it, the first has renewed it already.
    if (used !== this.signed) return true;
    if (Math.abs(nowMs - this.renewedAtMs) < MIN_RENEWAL_MS) return false;
    this.renewedAtMs = nowMs;
    this.make(nowMs);
    return true;
  }

  private make(nowMs: number): void {
    const claims = { iss: this.teamId, iat: Math.floor(nowMs / 1000) };
    this.signed = signedJwt({ kid: this.keyId }, claims, this.key);
    this.madeAtMs = nowMs;
  }
}
