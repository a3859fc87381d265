/**
 * The grammar of WWW-Authenticate, Proxy-Authenticate, Authorization and Proxy-Authorization values (RFC 7235 §2.1):
 * schemes and parameters of any scheme. Must not know how digest uses them. Nothing here throws.
 */
import { elementEnd, isLws, isTokenChar, skipLws, skipQuoted, unquote } from "./scan.ts";

/** One challenge or credentials of any scheme. */
export interface AuthValue {
  /** Lower-case: `digest`, `basic`, ... */
  scheme: string;
  /** Names in lower case, values without quotes and escapes. */
  params: Map<string, string>;
  /** It holds something other than parameters, an open quote, or a parameter twice. */
  isMalformed: boolean;
}

const COMMA = 44;
const EQUALS = 61;
const QUOTE = 34;

/** Bounds on what one header line may cost. */
export const MAX_VALUES = 16;
const MAX_PARAMS = 32;

/** Reads one header value: challenges (one or several), or credentials, of any scheme. */
export function parseAuthValue(text: string): AuthValue[] {
  const values: AuthValue[] = [];
  let current: AuthValue | null = null;
  for (let at = skipSeparators(text, 0); at < text.length; at = skipSeparators(text, at)) {
    const nameEnd = tokenEnd(text, at);
    const next = skipLws(text, nameEnd, text.length);
    if (nameEnd > at && text.charCodeAt(next) === EQUALS) {
      at = readParam(text, text.slice(at, nameEnd), next + 1, current);
    } else if (nameEnd > at && (next > nameEnd || next === text.length || text.charCodeAt(next) === COMMA)) {
      if (values.length === MAX_VALUES) return values;
      current = { scheme: text.slice(at, nameEnd).toLowerCase(), params: new Map(), isMalformed: false };
      values.push(current);
      at = skipToken68(text, next);
    } else {
      if (current !== null) current.isMalformed = true;
      at = skipElement(text, at);
    }
  }
  return values;
}

/** Reads what follows `name=`; returns the position after it. A parameter before the first scheme is dropped. */
function readParam(text: string, name: string, from: number, owner: AuthValue | null): number {
  const start = skipLws(text, from, text.length);
  const isQuoted = text.charCodeAt(start) === QUOTE;
  const end = isQuoted ? skipQuoted(text, start, text.length) : wordEnd(text, start);
  const next = end < 0 ? text.length : skipLws(text, end, text.length);
  const isClean = end >= 0 && (next === text.length || text.charCodeAt(next) === COMMA);
  if (owner !== null) {
    const key = name.toLowerCase();
    if (!isClean || owner.params.has(key) || owner.params.size === MAX_PARAMS) owner.isMalformed = true;
    else owner.params.set(key, isQuoted ? unquote(text.slice(start, end)) : text.slice(start, end));
  }
  return isClean ? next : skipElement(text, next);
}

/** Skips a token68 (RFC 7235 §2.1): the one opaque word of schemes such as Basic, which have no parameters. */
function skipToken68(text: string, from: number): number {
  let at = from;
  while (at < text.length && (isTokenChar(text.charCodeAt(at)) || text.charCodeAt(at) === 47)) at++;
  while (at < text.length && text.charCodeAt(at) === EQUALS) at++;
  const next = skipLws(text, at, text.length);
  return next === text.length || text.charCodeAt(next) === COMMA ? next : from;
}

function skipSeparators(text: string, at: number): number {
  while (at < text.length && (isLws(text.charCodeAt(at)) || text.charCodeAt(at) === COMMA)) at++;
  return at;
}

function skipElement(text: string, at: number): number {
  const end = elementEnd(text, at, text.length);
  return end < 0 ? text.length : end;
}

function tokenEnd(text: string, at: number): number {
  while (at < text.length && isTokenChar(text.charCodeAt(at))) at++;
  return at;
}

function wordEnd(text: string, at: number): number {
  while (at < text.length && !isLws(text.charCodeAt(at)) && text.charCodeAt(at) !== COMMA) at++;
  return at;
}
