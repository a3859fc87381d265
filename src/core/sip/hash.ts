/**
 * A small hash of text (FNV-1a), for values that must come out the same again without memory: tags of stateless answers,
 * loop marks. Not for secrets.
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

// A table of texts: toString(36) would make a new one each time.
const ALPHABET = "abcdefghijklmnopqrstuvwxyz012345";
const PAIRS = Array.from({ length: 1024 }, (_, i) => ALPHABET[i >> 5]! + ALPHABET[i & 31]!);

/** Six characters of a token. */
export function hashText(hash: number): string {
  const folded = hash ^ (hash >>> 30);
  return PAIRS[folded & 1023]! + PAIRS[folded >>> 10 & 1023]! + PAIRS[folded >>> 20 & 1023]!;
}

/** Call-ID and CSeq number, which tell apart requests with the same branch. */
export function requestHash(request: Message): number {
  const callId = request.find(CALL_ID);
  const hash = hashAt(request.raw, request.valueStart(callId), request.valueEnd(callId));
  return Math.imul(hash ^ request.cseq, PRIME);
}

/** The To tag of a stateless answer: the same for the same request (§8.2.7). */
export function statelessTag(request: Message): string {
  const { raw } = request;
  const via = request.via!;
  const callId = request.find(CALL_ID);
  let hash = hashAt(raw, via.branchStart, via.branchEnd);
  if (callId >= 0) hash = hashAt(raw, request.valueStart(callId), request.valueEnd(callId), hash);
  return "s" + hashText(Math.imul(hash ^ request.cseq, PRIME));
}
