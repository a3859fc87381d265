/**
 * A small hash of text (FNV-1a), for what must come out the same again though nothing is remembered: tags of stateless
 * answers, loop marks. No secret is safe with it.
 */
import { CALL_ID } from "./header.ts";
import type { Message } from "./message.ts";

const START = 0x811c9dc5;
const PRIME = 0x01000193;

/** @param hash of what came before */
export function hashOf(text: string, hash = START): number {
  return hashAt(text, 0, text.length, hash);
}

/** The hash of `[start, end)`. */
export function hashAt(text: string, start: number, end: number, hash = START): number {
  for (let i = start; i < end; i++) hash = Math.imul(hash ^ text.charCodeAt(i), PRIME);
  return hash;
}

// Texts that are there already: toString(36) would make one more.
const ALPHABET = "abcdefghijklmnopqrstuvwxyz012345";
const PAIRS = Array.from({ length: 1024 }, (_, i) => ALPHABET[i >> 5]! + ALPHABET[i & 31]!);

/** Six characters of a token. */
export function hashText(hash: number): string {
  const folded = hash ^ (hash >>> 30);
  return PAIRS[folded & 1023]! + PAIRS[folded >>> 10 & 1023]! + PAIRS[folded >>> 20 & 1023]!;
}

/** What tells requests apart that have one branch: their Call-ID and CSeq number. */
export function requestHash(request: Message): number {
  const callId = request.find(CALL_ID);
  const hash = hashAt(request.raw, request.valueStart(callId), request.valueEnd(callId));
  return Math.imul(hash ^ request.cseq, PRIME);
}

/** The To tag of an answer that nobody remembers: the same for the same request (§8.2.7 asks that of a stateless UAS). */
export function statelessTag(request: Message): string {
  const { raw } = request;
  const via = request.via!;
  const callId = request.find(CALL_ID);
  let hash = hashAt(raw, via.branchStart, via.branchEnd);
  if (callId >= 0) hash = hashAt(raw, request.valueStart(callId), request.valueEnd(callId), hash);
  return "s" + hashText(Math.imul(hash ^ request.cseq, PRIME));
}
