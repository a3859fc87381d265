/**
 * What a device's token allows a call to tell it by push when it is over (P-06). Reads the parameters of RFC 8599 as far as
 * that takes; how a service is spoken to is the relay's business.
 */
import type { PushParams } from "../usrloc/model.ts";

/** An APNs token that makes iOS show a call for each push: as RFC 8599 says it, or with a token of each kind. */
export function isVoipToken(push: PushParams): boolean {
  if (!isApns(push)) return false;
  if (push.prid.includes(":")) return push.prid.split("&").some((token) => token.endsWith(":voip"));
  return /\.(?:voip|voip&remote|remote&voip)(?:\.(?:dev|prod))?$/.test(push.param);
}

/** False where a missed call could not be told as one: by a VoIP token alone, or by a Web Push without payload. */
export function canTellMissed(push: PushParams): boolean {
  if (push.provider === "webpush" || push.provider === "unifiedpush") return push.keys !== undefined;
  return !isVoipToken(push) || push.prid.split("&").some((token) => token.endsWith(":remote"));
}

export function isApns({ provider }: PushParams): boolean {
  return provider === "apns" || provider === "apns.dev";
}
