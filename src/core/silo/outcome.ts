/**
 * How a call ended: in one word for the API, in words for people, and what it says of its devices in the record (W-22).
 * Reads the call's devices, changes nothing but the record.
 */
import type { Branch } from "../proxy/branch.ts";
import { paramOf, splitList } from "../sip/scan.ts";
import type { Legs } from "./legs.ts";
import type { Leg } from "./leg.ts";
import type { CallRecord, CallResult } from "./record.ts";
import { seconds, type Story } from "./story.ts";

/** Why a call came to its end, where it was not a phone's word that ended it. */
export interface Ending {
  /** The caller's side sent CANCEL. */
  isCancelled: boolean;
  /** Its Reason says that the call was answered elsewhere. */
  isElsewhere: boolean;
  /** `wake.ring_timeout` ran out. */
  isTimedOut: boolean;
  /** In words, where a person or a timer ended it; else empty. */
  reason: string;
}

/** The call is over: how, in the record, and what that meant for every device. */
export function tellEnd(
  story: Story,
  legs: Legs,
  ending: Ending,
  status: number,
  answeredBy: Branch | null,
): void {
  for (const { id, party, branch } of legs.all) {
    if (branch === null || branch.state !== "cancelled" || branch.isCancelSent || branch.isEnded) continue;
    story.note({ event: "cancel", device: id, note: `${party} has said nothing yet: its CANCEL goes when it does` });
  }
  const { elapsedMs } = story;
  if (answeredBy !== null) {
    return story.end(status, "answered", `answered by ${partyOf(answeredBy, legs)} after ${seconds(elapsedMs)}`);
  }
  const result = resultOf(status, ending, legs.all);
  story.end(status, result, outcomeWords(legs.all, status, result, elapsedMs, ending));
}

/** Brings branches and wakes of a record up to date. */
export function writeDevices(record: CallRecord, branches: readonly Branch[], legs: Legs): void {
  record.branches = branches.map((branch) => ({
    id: String(branch.number),
    device: branch.target.contactId,
    party: partyOf(branch, legs),
    state: branch.state,
    status: branch.status,
    late: branch.isLate,
  }));
  record.wakes = [];
  for (const { id, party, wake } of legs.all) {
    if (wake === null || wake.state === "hedged") continue;
    const { state, pushMs, wakeMs, reason } = wake;
    record.wakes.push({ device: id, party, state, pushMs, wakeMs, reason });
  }
}

/** What the caller's CANCEL means. */
export function whyCancelled({ isElsewhere }: Ending): string {
  return isElsewhere ? "answered elsewhere" : "caller gave up";
}

/**
 * True if the caller's side says that the call was answered elsewhere: the PBX rang several users, or several Contacts of
 * one, and one of them answered (SIP;cause=200, as RFC 3326 §3.1 has it, or Q.850;cause=26: a non-selected user is cleared).
 * @param lines whole header lines, each with its CRLF
 */
export function isAnsweredElsewhere(lines: string): boolean {
  for (const line of lines.split("\r\n")) {
    const colon = line.indexOf(":");
    if (line.slice(0, colon).trim().toLowerCase() !== "reason") continue;
    for (const reason of splitList(line.slice(colon + 1)) ?? []) {
      const semicolon = reason.indexOf(";");
      if (semicolon < 0) continue;
      const protocol = reason.slice(0, semicolon).trim().toLowerCase();
      const cause = paramOf(reason, "cause", semicolon);
      if ((protocol === "sip" && cause === "200") || (protocol === "q.850" && cause === "26")) return true;
    }
  }
  return false;
}

/** The `result` label for a final status without an answer. */
function resultOf(
  status: number,
  { isCancelled, isTimedOut, reason }: Ending,
  legs: readonly Leg[],
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

/** How a call without an answer ended, with its final status. */
function outcomeWords(
  legs: readonly Leg[],
  status: number,
  result: CallResult,
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

/** The column of a branch's device, over whichever of its flows the branch went. */
function partyOf({ target }: Branch, legs: Legs): string {
  return legs.find(target.contactId)?.party ?? target.contactId;
}
