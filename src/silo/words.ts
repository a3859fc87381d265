/** Texts about a call, for the ladder, the log and push payloads. */
import type { Message } from "../sip/message.ts";
import { detached, unquote } from "../sip/scan.ts";
import { withoutTag } from "../sip/name_addr.ts";
import type { DeviceLeg } from "./device_leg.ts";
import type { CallRecord, CallResult } from "./record.ts";

/** From of the INVITE, without tag, not keeping the message alive. */
export function callerText(request: Message): string {
  return detached(withoutTag(request.from));
}

/** Display name without quotes, or empty. */
export function callerName(request: Message): string {
  return detached(unquote(request.from.display));
}

/** `3.912 s` */
export function seconds(ms: number): string {
  return (ms / 1000).toFixed(3) + " s";
}

/** `12 s`, `5 min`, `2 h`, `3 d`: how long something has been so. */
export function ago(ms: number): string {
  const s = Math.max(1, Math.round(ms / 1000));
  if (s < 120) return `${s} s`;
  if (s < 7200) return `${Math.round(s / 60)} min`;
  if (s < 172_800) return `${Math.round(s / 3600)} h`;
  return `${Math.round(s / 86_400)} d`;
}

/** The `result` label for a final status without an answer. */
export function resultOf(status: number, isCancelled: boolean): CallResult {
  if (isCancelled) return "cancelled";
  if (status === 486 || status >= 600) return "declined";
  if (status === 404 || status === 480) return "unreachable";
  if (status === 408) return "timeout";
  return "failed";
}

/** How a call without an answer ended, with its final status. `reason`: somebody's own words for it, or empty. */
export function outcomeWords(
  legs: readonly DeviceLeg[],
  { status, result }: CallRecord,
  elapsedMs: number,
  { isCancelled, reason }: { isCancelled: boolean; reason: string },
): string {
  const after = ` after ${seconds(elapsedMs)}`;
  if (reason !== "") return `${reason} (${status})`;
  if (isCancelled) return "caller gave up" + after;
  if (legs.length === 0) return `no device is registered (${status})`;
  if (legs.every((leg) => leg.branch === null && leg.wake === null)) {
    return `no device could be reached or woken (${status})`;
  }
  if (legs.every((leg) => !leg.hasTakenPart && leg.wake !== null)) return `nobody woke up (${status})` + after;
  const decliners = legs.filter((leg) => leg.branch?.state === "declined").map((leg) => leg.party);
  if (result === "declined" && decliners.length > 0) return `declined by ${decliners.join(", ")} (${status})` + after;
  return `not answered (${status})` + after;
}
