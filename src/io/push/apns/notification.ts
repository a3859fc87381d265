/**
 * Owns the notification an event becomes: push type, priority, topic, expiry, the other headers, and the payload
 * within its size (P-03, P-06, P-07). Pure but for hashing. It must not know tokens of the provider or connections.
 */
import { createHash } from "node:crypto";
import type { ApnsTarget } from "./target.ts";
import { canonicalUuid, fit, type PushFields, pushFields, shown } from "../payload.ts";
import type { PushEvent, PushRequest } from "../types.ts";

/** Largest payloads in bytes, from Apple's "Generating a remote notification". */
export const MAX_PAYLOAD_BYTES = 4096;
export const MAX_VOIP_PAYLOAD_BYTES = 5120;
/** Of `apns-collapse-id`, in bytes. */
const MAX_COLLAPSE_ID = 64;

type PushType = "voip" | "alert" | "background";

export interface ApnsNotification {
  readonly token: string;
  /** All but `authorization`. */
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
  /** The phone registered its token for VoIP alone, and this is something else: APNs may refuse it, and it says nothing about the token. */
  readonly isMisfit: boolean;
}

/**
 * @param nowMs system clock, ms since the epoch.
 * @param leftMs what is left of the window.
 * @returns in words why there can be none.
 */
export function apnsNotificationOf(
  request: PushRequest,
  target: ApnsTarget,
  nowMs: number,
  leftMs: number,
): ApnsNotification | string {
  const isVoipDevice = target.voipToken !== "";
  // P-06: iOS wants a call shown for each VoIP push, and the app is awake by then: it gets INVITE and CANCEL.
  if (request.event === "cancel" && isVoipDevice) return "a VoIP device gets no push about the end of a call";
  const type = typeOf(request, isVoipDevice);
  const token = type === "voip" ? target.voipToken : target.alertToken || target.voipToken;
  const maxBytes = type === "voip" ? MAX_VOIP_PAYLOAD_BYTES : MAX_PAYLOAD_BYTES;
  const fields = { ...pushFields(request, nowMs, leftMs), uuid: canonicalUuid(request.uuid) };
  const hasName = fields.from_name !== "";
  const body = fit(fields, maxBytes, (some) => payload(some, type, hasName ? some.from_name : numberOf(some.from_uri)));
  if (body === null) return `AoR and Call-ID are too long for a push of ${maxBytes} bytes`;
  const headers: Record<string, string> = {
    "content-type": "application/json",
    "apns-id": fields.uuid,
    "apns-topic": type === "voip" ? `${target.bundle}.voip` : target.bundle,
    "apns-push-type": type,
    "apns-priority": type === "background" ? "5" : "10",
    "apns-expiration": String(Math.ceil((nowMs + leftMs) / 1000)),
  };
  const collapseId = collapseIdOf(request);
  if (collapseId !== "") headers["apns-collapse-id"] = collapseId;
  return { token, headers, body, isMisfit: type !== "voip" && target.alertToken === "" };
}

function typeOf({ event, method }: PushRequest, isVoipDevice: boolean): PushType {
  switch (event) {
    case "call":
    case "test":
      return isVoipDevice ? "voip" : "alert";
    case "message":
      // Other requests that wait in a dialog (NOTIFY, UPDATE) show nothing to the user.
      return method === "MESSAGE" ? "alert" : "background";
    case "missed":
      return "alert";
    case "refresh":
    case "cancel":
      return "background";
  }
}

const WORDS: Readonly<Record<PushEvent, string>> = {
  call: "Incoming call",
  message: "New message",
  missed: "Missed call",
  test: "Test",
  refresh: "",
  cancel: "",
};

/** What the phone gets, with three keys under the names Flexisip uses. */
function payload(fields: PushFields, type: PushType, title: string): string {
  const aps: Record<string, unknown> = {};
  // An alert alone starts the app only when it is tapped: too late for a call.
  if (type === "background" || (type === "alert" && fields.event !== "missed")) aps["content-available"] = 1;
  if (type === "alert") {
    aps.alert = { title, body: WORDS[fields.event as PushEvent] };
    aps.sound = "default";
    // An extension of the app may put other words, in the user's language.
    aps["mutable-content"] = 1;
  }
  if (fields.call_id !== "") aps["call-id"] = fields.call_id;
  return JSON.stringify({ aps, ...shown(fields), "from-uri": fields.from_uri, "display-name": fields.from_name });
}

/** What a person calls the number: the user part of a SIP URI. */
function numberOf(uri: string): string {
  return /^sips?:([^@;]+)@/.exec(uri)?.[1] ?? (uri || "latefork");
}

/** What a later push replaces while the phone is off: the missed call replaces its call, a refresh the one before. */
function collapseIdOf(request: PushRequest): string {
  if (request.callId === "") return request.event === "refresh" ? "refresh" : "";
  // It becomes a header, and the Call-ID comes from strangers.
  const isFit = request.callId.length <= MAX_COLLAPSE_ID && /^[\x21-\x7e]+$/.test(request.callId);
  return isFit ? request.callId : createHash("sha256").update(request.callId, "latin1").digest("base64url");
}
