/** What is kept of a call for people: the API's call object and the lines of the ladder are made from it (W-22). */
import type { BranchState } from "../proxy/branch.ts";

/** Machine words of the timeline; `from`, `to` and `label` say the same for people. */
export type TimelineEvent =
  | "invite"
  | "branch"
  | "response"
  | "push"
  | "push_result"
  | "register"
  | "cancel"
  | "ack"
  | "bye"
  | "skip"
  | "wake"
  | "wake_end"
  | "end";

export interface TimelineEntry {
  /** Milliseconds since the INVITE, with fractions where the clock has them. */
  tMs: number;
  event: TimelineEvent;
  /** Parties of the arrow, names out of `CallRecord.parties`; absent: a remark without an arrow. */
  from?: string;
  to?: string;
  /** On the arrow: `INVITE`, `INVITE (late)`, `180`, `push call`, `accepted`, `CANCEL`. */
  label?: string;
  /** Right of the ladder, in words: `flow lost 2 h ago`, `woke after 2.276 s`. */
  note?: string;
  /** Contact id, where a device is concerned. */
  device?: string;
  status?: number;
}

export type CallState = "open" | "ended";
/** `waiting`: push under way or accepted. The others say how the wake ended. */
export type WakeState = "waiting" | "registered" | "refused" | "expired" | "cancelled";

export interface BranchRecord {
  id: string;
  /** Contact id, or the URI of a branch added by hand. */
  device: string;
  /** Party name: `alice/2`. */
  party: string;
  state: BranchState;
  status: number;
  late: boolean;
}

export interface WakeRecord {
  device: string;
  party: string;
  state: WakeState;
  /** Push sent → verdict; null until it came. */
  pushMs: number | null;
  /** Push sent → REGISTER accepted; null unless it registered. */
  wakeMs: number | null;
  reason: string;
}

/** The word for how a call ended, and the result label of `calls_total`, where those `refused` at once are not counted. */
export type CallResult = "answered" | "cancelled" | "declined" | "unreachable" | "timeout" | "failed" | "refused";

export interface CallRecord {
  id: string;
  callId: string;
  aor: string;
  /** From as in the INVITE, without tag: `"Bob" <sip:bob@example.org>`. */
  from: string;
  to: string;
  state: CallState;
  result: CallResult | "";
  /** In words: `answered by alice/2 after 3.912 s`. */
  outcome: string;
  /** Final status sent to the caller, 0 while open. */
  status: number;
  startedAtMs: number;
  endedAtMs: number;
  /** Columns of the ladder in order: caller's side, `latefork`, devices, push backends. */
  parties: string[];
  branches: BranchRecord[];
  wakes: WakeRecord[];
  timeline: TimelineEntry[];
}
