/**
 * Loops (RFC 5393 §4.2): the second part of our branches is a hash of what the request was routed by. A request that comes
 * back unchanged is a loop; a spiral, which comes back for another target, is not.
 */
import { hashAt, hashOf, hashText } from "../sip/hash.ts";
import { ROUTE } from "../sip/header.ts";
import type { Message } from "../sip/message.ts";

/**
 * What routing depends on: Request-URI, Route, dialog, and the side it came from, since the same URI leads to the PBX
 * from a phone and to the phones from the PBX.
 */
export function loopSuffix(request: Message, isFromPhone: boolean): string {
  let hash = hashAt(request.raw, request.uriStart, request.uriEnd, isFromPhone ? 1 : 2);
  hash = hashOf(request.callId, hash);
  for (let n = request.find(ROUTE); n >= 0; n = request.find(ROUTE, n + 1)) {
    hash = hashAt(request.raw, request.valueStart(n), request.valueEnd(n), hash);
  }
  hash = Math.imul(hash ^ request.cseq, 0x01000193);
  return "." + hashText(hash);
}

/**
 * True if one of our branches in the request was made for this very request.
 * @param branchStart how all our branches begin
 */
export function isLoop(request: Message, branchStart: string, isFromPhone: boolean): boolean {
  const { raw, bodyStart } = request;
  let at = raw.indexOf(branchStart);
  if (at < 0 || at >= bodyStart) return false;
  const suffix = loopSuffix(request, isFromPhone);
  for (; at >= 0 && at < bodyStart; at = raw.indexOf(branchStart, at + branchStart.length)) {
    if (raw.startsWith(suffix, branchEnd(raw, at, bodyStart) - suffix.length)) return true;
  }
  return false;
}

/** Our branches are shorter. A text that only begins like one is not read to its end. */
const MAX_BRANCH = 80;

/** End of a branch value: the next of `;`, `,` and white space. */
function branchEnd(raw: string, start: number, end: number): number {
  const stop = Math.min(end, start + MAX_BRANCH);
  let at = start;
  for (; at < stop; at++) {
    const code = raw.charCodeAt(at);
    if (code === 59 || code === 44 || code <= 32) break;
  }
  return at;
}
