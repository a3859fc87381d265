/** Which of the branches' final responses goes to the caller (RFC 3261 §16.7 step 6, W-15). */
import { PROXY_AUTHENTICATE, WWW_AUTHENTICATE } from "../sip/header.ts";
import { linesOf } from "../sip/forward.ts";
import type { Message } from "../sip/message.ts";

/** A branch that ended without a 2xx. */
export interface Outcome {
  readonly status: number;
  /** Null: the final was made here (408, 477, 503), no phone sent it. */
  readonly response: Message | null;
}

// Statuses that make the caller's UA try again rank first (§16.7 step 6), 408 and 487 last: they say least.
const CLIENT_RANK: Record<number, number> = { 401: 0, 407: 0, 415: 1, 420: 1, 484: 1, 486: 2, 408: 900, 487: 950 };

/** Lower is better. Real responses always beat those made here. */
function rank(outcome: Outcome): number {
  const { status, response } = outcome;
  const local = response === null ? 100_000 : 0;
  if (status >= 600) return local + status - 600;
  const base = local + Math.floor(status / 100) * 1000;
  if (status >= 400 && status < 500) return base + (CLIENT_RANK[status] ?? status - 400 + 10);
  return base + (status % 100);
}

/** The best of them, null if there is none. */
export function bestOutcome(outcomes: readonly Outcome[]): Outcome | null {
  let best: Outcome | null = null;
  for (const outcome of outcomes) if (best === null || rank(outcome) < rank(best)) best = outcome;
  return best;
}

/** Challenge lines of the other branches, to go along with a 401 or 407 (§16.7 step 7). */
export function otherChallenges(best: Outcome, outcomes: readonly Outcome[]): string {
  if (best.status !== 401 && best.status !== 407) return "";
  let lines = "";
  for (const outcome of outcomes) {
    if (outcome === best || outcome.response === null || (outcome.status !== 401 && outcome.status !== 407)) continue;
    lines += linesOf(outcome.response, WWW_AUTHENTICATE) + linesOf(outcome.response, PROXY_AUTHENTICATE);
  }
  return lines;
}
