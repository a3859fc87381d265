/** name-addr / addr-spec with parameters: From, To, Contact, Route and their kin (RFC 3261 §20.10). */
import { paramOf, skipLws, skipQuoted, trimLwsEnd, withoutParam } from "./scan.ts";
import { parseUriAt, type Uri } from "./uri.ts";

export interface NameAddr {
  /** Display name as written (quotes kept); empty if none. */
  readonly display: string;
  /** The URI as text, without angle brackets. */
  readonly uriText: string;
  /** Parsed; null if it is no URI we can read. */
  readonly uri: Uri | null;
  /** Header parameters from the first `;`; empty if none. */
  readonly params: string;
  /** `tag` parameter; empty if none. */
  readonly tag: string;
}

/** Positions in a longer text. As in `SipUri`, a part is cut out when it is asked for. */
class NameAddrAt implements NameAddr {
  constructor(
    private readonly source: string,
    private readonly displayStart: number,
    private readonly displayEnd: number,
    readonly uri: Uri,
    private readonly paramsStart: number,
    private readonly end: number,
  ) {}

  get display(): string {
    return this.source.slice(this.displayStart, this.displayEnd);
  }

  get uriText(): string {
    return this.uri.text;
  }

  get params(): string {
    return this.source.slice(this.paramsStart, this.end);
  }

  get tag(): string {
    return this.paramsStart < this.end ? tagOf(this.source, this.paramsStart, this.end) : "";
  }
}

/**
 * Parses one name-addr (no list).
 * @returns null if it is malformed: open quote or bracket, unquoted display name with a comma, no URI
 */
export function parseNameAddr(value: string): NameAddr | null {
  return parseNameAddrAt(value, 0, value.length);
}

/** Parses the name-addr at `[start, end)` of a longer text, without cutting it out. */
export function parseNameAddrAt(source: string, start: number, end: number): NameAddr | null {
  let at = skipLws(source, start, end);
  const displayStart = at;
  let displayEnd = at;
  if (at < end && source.charCodeAt(at) === QUOTE) {
    const close = skipQuoted(source, at, end);
    if (close < 0) return null;
    displayEnd = close;
    at = skipLws(source, close, end);
    if (at >= end || source.charCodeAt(at) !== LESS) return null;
  } else if (at < end && source.charCodeAt(at) !== LESS) {
    const less = positionOf(source, LESS, at, end);
    const semicolon = positionOf(source, SEMICOLON, at, end);
    if (less < end && less < semicolon) {
      displayEnd = trimLwsEnd(source, at, less);
      // A display name that is not quoted is made of tokens; the separators that would break a list are refused.
      if (/[,"@:<>]/.test(source.slice(at, displayEnd))) return null;
      at = less;
    }
  }
  let uriStart = at;
  let uriEnd: number;
  let paramsStart: number;
  if (at < end && source.charCodeAt(at) === LESS) {
    uriStart = at + 1;
    uriEnd = source.indexOf(">", uriStart);
    if (uriEnd < 0 || uriEnd >= end) return null;
    paramsStart = skipLws(source, uriEnd + 1, end);
  } else {
    // RFC 3261 §20.10: without brackets every parameter is a header parameter, and the URI may not hold , or ?
    paramsStart = positionOf(source, SEMICOLON, at, end);
    uriEnd = trimLwsEnd(source, at, paramsStart);
    if (/[,?]/.test(source.slice(at, uriEnd))) return null;
  }
  if (paramsStart < end && source.charCodeAt(paramsStart) !== SEMICOLON) return null;
  const uri = parseUriAt(source, uriStart, uriEnd);
  if (uri === null) return null;
  return new NameAddrAt(source, displayStart, displayEnd, uri, Math.min(paramsStart, end), end);
}

const QUOTE = 34;
const SEMICOLON = 59;
const LESS = 60;

/** Position of the first `code` in `[start, end)`; `end` if there is none. */
function positionOf(source: string, code: number, start: number, end: number): number {
  let at = start;
  while (at < end && source.charCodeAt(at) !== code) at++;
  return at;
}

function tagOf(source: string, start: number, end: number): string {
  // Nearly always the tag is the only parameter.
  if (source.startsWith(";tag=", start) && isPlain(source, start + 5, end)) return source.slice(start + 5, end);
  return paramOf(source, "tag", start, end) ?? "";
}

/** True if `[start, end)` holds no further parameter, quote or white space. */
function isPlain(source: string, start: number, end: number): boolean {
  for (let i = start; i < end; i++) {
    const code = source.charCodeAt(i);
    if (code === SEMICOLON || code === QUOTE || code <= 32) return false;
  }
  return true;
}

/** The value without its `tag`, for people. */
export function withoutTag(address: NameAddr): string {
  const name = address.display === "" ? "" : address.display + " ";
  return `${name}<${address.uriText}>${withoutParam(address.params, "tag")}`;
}
