/**
 * Owns the message an event becomes for Web Push: life, urgency, topic, and the text that is to be encrypted, within
 * its size (P-03, P-06). Pure but for hashing. It must not know subscriptions, keys or connections.
 */
import { createHash } from "node:crypto";
import { fit, MAX_BODY_BYTES, pushFields, shown } from "../payload.ts";
import { canWait } from "../request.ts";
import type { PushRequest } from "../types.ts";

/** RFC 8291 §4 and RFC 8188: of 4096 bytes, 86 are the header, 17 the padding delimiter and the tag. */
export const MAX_PLAIN_BYTES = 3993;
/** RFC 8030 §5.4: characters of base64url. */
const MAX_TOPIC = 32;

export interface WebPushMessage {
  /** TTL, Urgency, Topic; lower-case names. */
  readonly headers: Readonly<Record<string, string>>;
  /** Empty for a phone without keys (RFC 8599: no payload). */
  readonly plainText: string;
}

/**
 * @param nowMs system clock, ms since the epoch.
 * @param leftMs what is left of the window.
 * @returns in words why there can be none.
 */
export function webPushMessageOf(request: PushRequest, nowMs: number, leftMs: number): WebPushMessage | string {
  const fields = pushFields(request, nowMs, leftMs);
  const hasKeys = request.keys !== undefined;
  // It would wake the phone to say nothing.
  if (request.event === "missed" && !hasKeys) return "a missed call cannot be told without keys of the subscription";
  const plainText = hasKeys ? fit(fields, MAX_PLAIN_BYTES, (some) => JSON.stringify(shown(some))) : "";
  if (plainText === null) return `AoR and Call-ID are too long for a push of ${MAX_BODY_BYTES} bytes`;
  const isMuteCancel = request.event === "cancel" && !hasKeys;
  const headers: Record<string, string> = {
    // A cancel without a body can still replace a call push that was not fetched, and then be dropped itself.
    ttl: isMuteCancel ? "0" : String(fields.ttl),
    urgency: isMuteCancel || canWait(request.event) ? "normal" : "high",
  };
  const topic = topicOf(request);
  if (topic !== "") headers.topic = topic;
  return { headers, plainText };
}

/** What a later push replaces while the phone is off: the cancel its call, a refresh the one before. */
function topicOf(request: PushRequest): string {
  // It leaves with the cancel of its call: whichever came second would take the other's place.
  if (request.event === "missed") return "";
  if (request.callId === "") return request.event === "refresh" ? "refresh" : "";
  return createHash("sha256").update(request.callId, "latin1").digest("base64url").slice(0, MAX_TOPIC);
}
