/**
 * Owns the message an event becomes for FCM: data alone, every value a string, its priority, its life, and its size
 * (P-03, P-06). Pure. It must not know access tokens or connections.
 */
import { fit, type PushFields, pushFields, shown } from "../payload.ts";
import { canWait } from "../request.ts";
import type { PushRequest } from "../types.ts";

/** FCM's limit for keys and values of `data`; the JSON they stand in is larger than both. */
export const MAX_DATA_BYTES = 4096;

/**
 * The body of `messages:send`.
 *
 * @param nowMs system clock, ms since the epoch.
 * @param leftMs what is left of the window.
 * @returns null if AoR and Call-ID alone are too large.
 */
export function fcmMessageOf(request: PushRequest, nowMs: number, leftMs: number): string | null {
  const fields = pushFields(request, nowMs, leftMs);
  const data = fit(fields, MAX_DATA_BYTES, (some) => JSON.stringify(dataOf(some)));
  if (data === null) return null;
  const android = { priority: canWait(request.event) ? "NORMAL" : "HIGH", ttl: `${fields.ttl}s` };
  // No collapse_key: FCM holds back collapsible messages after twenty, for minutes.
  return JSON.stringify({ message: { token: fields.prid, android, data: JSON.parse(data) } });
}

/**
 * What the phone gets, with the keys Linphone's SDK reads. Names that FCM reserves (`from`, `message_type`, `google…`,
 * `gcm…`) are not used.
 */
function dataOf(fields: PushFields): Record<string, string> {
  const { ttl, ...said } = shown(fields);
  return {
    ...said,
    ttl: String(ttl),
    "call-id": fields.call_id,
    "from-uri": fields.from_uri,
    "display-name": fields.from_name,
  };
}
