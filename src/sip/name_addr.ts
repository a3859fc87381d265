/** name-addr / addr-spec with parameters: From, To, Contact, Route and their kin (RFC 3261 §20.10). */
import { paramOf, skipLws, skipQuoted, trimLwsEnd, withoutParam } from "./scan.ts";
import { parseUri, type Uri } from "./uri.ts";

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

/**
 * Parses one name-addr (no list).
 * @returns null if it is malformed: open quote or bracket, unquoted display name with a comma, no URI
 */
export function parseNameAddr(value: string): NameAddr | null {
  const end = value.length;
  let at = skipLws(value, 0, end);
  let display = "";
  if (value.charCodeAt(at) === 34) {
    const close = skipQuoted(value, at, end);
    if (close < 0) return null;
    display = value.slice(at, close);
    at = skipLws(value, close, end);
    if (value.charCodeAt(at) !== 60) return null;
  } else {
    const less = value.indexOf("<", at);
    if (less >= 0 && !value.slice(at, less).includes(";")) {
      display = value.slice(at, trimLwsEnd(value, at, less));
      // A display name that is not quoted is made of tokens; the separators that would break a list are refused.
      if (/[,"@:<>]/.test(display)) return null;
      at = less;
    }
  }
  let uriText: string;
  let params: string;
  if (value.charCodeAt(at) === 60) {
    const close = value.indexOf(">", at);
    if (close < 0) return null;
    uriText = value.slice(at + 1, close);
    params = value.slice(skipLws(value, close + 1, end));
  } else {
    // RFC 3261 §20.10: without brackets every parameter is a header parameter, and the URI may not hold , or ?
    const semicolon = value.indexOf(";", at);
    const uriEnd = semicolon < 0 ? end : semicolon;
    uriText = value.slice(at, trimLwsEnd(value, at, uriEnd));
    params = semicolon < 0 ? "" : value.slice(semicolon);
    if (/[,?]/.test(uriText)) return null;
  }
  if (params !== "" && params.charCodeAt(0) !== 59) return null;
  const uri = parseUri(uriText);
  if (uri === null) return null;
  return { display, uriText, uri, params, tag: params === "" ? "" : paramOf(params, "tag") ?? "" };
}

/** The value without its `tag`: what people are shown. */
export function withoutTag(address: NameAddr): string {
  const name = address.display === "" ? "" : address.display + " ";
  return `${name}<${address.uriText}>${withoutParam(address.params, "tag")}`;
}
