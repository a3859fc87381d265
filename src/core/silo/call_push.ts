/**
 * What a call tells a device by push (P-03), and what the device's token allows it to be told (P-06). Reads the parameters of
 * RFC 8599 as far as that takes; how a service is spoken to is the relay's business.
 */
import type { Message } from "../sip/message.ts";
import { detached, unquote } from "../sip/scan.ts";
import type { Contact } from "../usrloc/contact.ts";
import type { PushParams } from "../usrloc/model.ts";
import type { PushOrder } from "../usrloc/push_order.ts";
import type { CallRecord } from "./record.ts";

/** How long a push about a missed call is kept for a phone that is off: people look for missed calls for a day. */
export const MISSED_TTL_MS = 86_400_000;

/** A push about a call to a contact that has a token. */
export function callPush(
  { aor, callId, to }: CallRecord,
  invite: Message,
  contact: Contact,
  { uuid, event, ttlMs, reason }: Pick<PushOrder, "uuid" | "event" | "ttlMs" | "reason">,
): PushOrder {
  const { provider, param, prid, keys } = contact.push!;
  return {
    uuid,
    event,
    provider,
    param,
    prid,
    keys,
    aor,
    device: contact.id,
    callId,
    fromUri: detached(invite.from.uriText),
    fromName: detached(unquote(invite.from.display)),
    toUri: to,
    ttlMs,
    reason,
  };
}

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
