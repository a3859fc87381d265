/** Texts about a call, for the ladder, the log and push payloads. */
import type { Branch } from "../proxy/branch.ts";
import type { Message } from "../sip/message.ts";
import { detached, unquote } from "../sip/scan.ts";
import { withoutTag } from "../sip/name_addr.ts";
import type { Contact } from "../usrloc/contact.ts";
import type { Reachability } from "../usrloc/usrloc.ts";
import type { DeviceLeg } from "./device_leg.ts";
import type { CallRecord, CallResult } from "./record.ts";

/** Why a call came to its end, where it was not a phone's word that ended it. */
export interface Ending {
  /** The caller's side sent CANCEL. */
  isCancelled: boolean;
  /** It did so because somebody else answered, as its Reason says. */
  isElsewhere: boolean;
  /** `wake.ring_timeout` ran out. */
  isTimedOut: boolean;
  /** Somebody's own words for it, or empty. */
  reason: string;
}

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
export function resultOf(
  status: number,
  { isCancelled, isTimedOut, reason }: Ending,
  legs: readonly DeviceLeg[],
): CallResult {
  if (isCancelled) return "cancelled";
  if (isTimedOut) return "timeout";
  if (reason !== "") return "cancelled"; // by hand, or at a shutdown: it says nothing about the phones
  if (status === 486 || status >= 600) return "declined";
  // A phone's own 480 is its user's no (W-05).
  if (status === 480 && legs.some((leg) => leg.hasDeclined)) return "declined";
  if (status === 404 || status === 480) return "unreachable";
  if (status === 408) return "timeout";
  return "failed";
}

/** Why a device is pushed at the start of a call. */
export function whyWoken(contact: Contact, reach: Reachability, nowMs: number): string {
  const flow = contact.flow;
  if (reach === "lost" || flow === null) {
    return `no connection, last registered ${ago(nowMs - contact.registeredAtMs)} ago`;
  }
  return flow.lastHeardMs === 0 ? "not heard of since the restart" : `silent for ${ago(nowMs - flow.lastHeardMs)}`;
}

/** Why a device is pushed whose branch came to nothing. */
export function whyWokenAfter({ status }: Branch): string {
  if (status === 408) return "no answer to the INVITE";
  return status === 430 ? "its proxy has no connection to it" : "its connection failed";
}

/** Why a device is neither asked nor woken. */
export function whyNotAsked(party: string, { push }: Contact): string {
  return `${party}: no connection and ${push === null ? "no push token" : "its push token is dead"}`;
}

/** What a branch came to that failed without a word of its phone. */
export function whyFailed(status: number): string {
  switch (status) {
    case 408:
      return "no answer from the phone";
    case 440:
      return "the call may have no more branches (Max-Breadth)";
    case 502:
      return "its answer lacked the Via of the caller, and was hung up";
    default:
      return "its connection is gone";
  }
}

/** What the caller's CANCEL means. */
export function whyCancelled({ isElsewhere }: Ending): string {
  return isElsewhere ? "answered elsewhere" : "caller gave up";
}

/** How a call without an answer ended, with its final status. */
export function outcomeWords(
  legs: readonly DeviceLeg[],
  { status, result }: CallRecord,
  elapsedMs: number,
  ending: Ending,
): string {
  const after = ` after ${seconds(elapsedMs)}`;
  if (ending.reason !== "") return `${ending.reason} (${status})`;
  if (ending.isCancelled) return whyCancelled(ending) + after;
  if (legs.length === 0) return `no device is registered (${status})`;
  const asked = legs.filter((leg) => leg.branch !== null || leg.wake !== null);
  if (asked.length === 0) return `no device could be reached or woken (${status})`;
  if (asked.every((leg) => !leg.hasTakenPart && leg.wake?.state === "refused")) {
    return `nobody could be woken (${status}): ${[...new Set(asked.map((leg) => leg.wake!.reason))].join("; ")}`;
  }
  if (asked.every((leg) => leg.hasSleptOn)) return `nobody woke up (${status})` + after;
  const decliners = legs.filter((leg) => leg.branch?.state === "declined").map((leg) => leg.party);
  if (result === "declined" && decliners.length > 0) return `declined by ${decliners.join(", ")} (${status})` + after;
  const said = legs.filter(({ branch }) => branch?.state === "failed" && branch.final !== null)
    .map(({ party, branch }) => `${party} said ${branch!.status}`);
  return `not answered (${status})` + after + (said.length === 0 ? "" : ": " + said.join(", "));
}
