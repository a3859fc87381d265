/**
 * SIP URIs: parse, compare (RFC 3261 §19.1.4), canonical address of record. Other schemes are kept as text.
 * Must not know where a URI stands in a message.
 */
import { equalsIgnoreCase, nextParam, paramOf } from "./scan.ts";

/** A parsed URI. For schemes other than sip and sips only `scheme` and `text` mean anything. */
export interface Uri {
  readonly text: string;
  /** Lower-case: `sip`, `sips`, `tel`, ... */
  readonly scheme: string;
  /** As written, escapes kept, without password; empty if none. */
  readonly user: string;
  readonly password: string;
  /** Lower-case; an IPv6 reference keeps its brackets. */
  readonly host: string;
  /** 0 if absent. */
  readonly port: number;
  /** From the first `;` on, without headers; empty if none. */
  readonly params: string;
  /** After the `?`; empty if none. */
  readonly headers: string;
}

/** True for the two schemes a SIP proxy routes. */
export function isSipScheme(uri: Uri): boolean {
  return uri.scheme === "sip" || uri.scheme === "sips";
}

/**
 * Parses a URI without angle brackets.
 * @returns null if it is malformed: white space or control characters, no scheme, bad host or port
 */
export function parseUri(text: string): Uri | null {
  const colon = text.indexOf(":");
  if (colon <= 0 || colon === text.length - 1) return null;
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i);
    // space, controls, " < > and DEL never stand in a URI
    if (code <= 32 || code === 34 || code === 60 || code === 62 || code === 127) return null;
  }
  const scheme = schemeOf(text, colon);
  if (scheme === "") return null;
  if (scheme !== "sip" && scheme !== "sips") {
    return { text, scheme, user: "", password: "", host: "", port: 0, params: "", headers: "" };
  }
  // The user part may hold ";" and "?", so the first "@" ends it (RFC 4475 §3.1.1.9).
  const at = text.indexOf("@", colon + 1);
  let user = "";
  let password = "";
  if (at >= 0) {
    user = text.slice(colon + 1, at);
    if (!escapesAreWhole(user)) return null;
    const split = user.indexOf(":");
    if (split >= 0) {
      password = user.slice(split + 1);
      user = user.slice(0, split);
    }
    if (user === "") return null;
  }
  const hostStart = at < 0 ? colon + 1 : at + 1;
  let hostEnd = hostStart;
  if (text.charCodeAt(hostStart) === 91) {
    hostEnd = text.indexOf("]", hostStart) + 1;
    if (hostEnd === 0 || !isIpv6Reference(text, hostStart, hostEnd)) return null;
  } else {
    while (hostEnd < text.length && isHostChar(text.charCodeAt(hostEnd))) hostEnd++;
    if (hostEnd === hostStart) return null;
  }
  let next = hostEnd;
  let port = 0;
  if (text.charCodeAt(next) === 58) {
    const portStart = ++next;
    while (next < text.length && text.charCodeAt(next) >= 48 && text.charCodeAt(next) <= 57) {
      port = port * 10 + text.charCodeAt(next) - 48;
      next++;
      if (port > 65535) return null;
    }
    if (next === portStart || port === 0) return null;
  }
  const question = text.indexOf("?", next);
  const paramsEnd = question < 0 ? text.length : question;
  if ((next < paramsEnd && text.charCodeAt(next) !== 59) || question === text.length - 1) return null;
  return {
    text,
    scheme,
    user,
    password,
    host: lowerCase(text.slice(hostStart, hostEnd)),
    port,
    params: next < paramsEnd ? text.slice(next, paramsEnd) : "",
    headers: question < 0 ? "" : text.slice(question + 1),
  };
}

/** Value of a URI parameter, `""` if it has none, undefined if it is absent. `name` in lower case. */
export function uriParam(uri: Uri, name: string): string | undefined {
  return uri.params === "" ? undefined : paramOf(uri.params, name);
}

/** `sip:user@host:port;params` without the headers part: what may become a Request-URI (RFC 3261 §19.1.1). */
export function withoutHeaders(uri: Uri): string {
  return uri.headers === "" ? uri.text : uri.text.slice(0, -uri.headers.length - 1);
}

/** RFC 3261 §19.1.4: escapes of unreserved characters decoded, the others upper-case, so that equal users are equal text. */
export function canonicalUser(user: string): string {
  if (!user.includes("%")) return user;
  return user.replace(/%([0-9a-f]{2})/gi, (escape, hex) => {
    const char = String.fromCharCode(parseInt(hex, 16));
    return /[A-Za-z0-9\-_.!~*'()]/.test(char) ? char : escape.toUpperCase();
  });
}

/** Canonical `user@domain` of a sip or sips URI; the host alone if it has no user. */
export function aorOf(uri: Uri, domain = uri.host): string {
  return uri.user === "" ? domain : canonicalUser(uri.user) + "@" + domain;
}

// Parameters that make two URIs differ when only one has them (RFC 3261 §19.1.4).
const DECISIVE = ["user", "ttl", "method", "maddr"];

/** RFC 3261 §19.1.4 equality (with `transport` as decisive only if both have it or it differs). Never by bytes. */
export function urisEqual(a: Uri, b: Uri): boolean {
  if (a.text === b.text) return true;
  if (a.scheme !== b.scheme || a.host !== b.host || a.port !== b.port) return false;
  if (!isSipScheme(a)) return false;
  if (canonicalUser(a.user) !== canonicalUser(b.user) || canonicalUser(a.password) !== canonicalUser(b.password)) {
    return false;
  }
  return paramsAgree(a.params, b.params) && paramsAgree(b.params, a.params) && headersEqual(a.headers, b.headers);
}

function paramsAgree(a: string, b: string): boolean {
  for (let span = nextParam(a, 0, a.length); span !== null; span = nextParam(a, span.next, a.length)) {
    const name = lowerCase(a.slice(span.nameStart, span.nameEnd));
    const value = span.valueStart < 0 ? "" : a.slice(span.valueStart, span.valueEnd);
    const other = paramOf(b, name);
    if (other === undefined) {
      // §19.1.4: a URI without transport and one with another than the default are not equal.
      if (DECISIVE.includes(name) || name === "transport") return false;
    } else if (lowerCase(canonicalUser(other)) !== lowerCase(canonicalUser(value))) return false;
  }
  return true;
}

function headersEqual(a: string, b: string): boolean {
  if (a === b) return true;
  const sorted = (text: string) => canonicalUser(text).split("&").map(headerKey).sort().join("&");
  return sorted(a) === sorted(b);
}

function headerKey(header: string): string {
  const equals = header.indexOf("=");
  return equals < 0 ? header.toLowerCase() : header.slice(0, equals).toLowerCase() + header.slice(equals);
}

function schemeOf(text: string, colon: number): string {
  if (equalsIgnoreCase(text, 0, colon, "sip")) return "sip";
  if (equalsIgnoreCase(text, 0, colon, "sips")) return "sips";
  for (let i = 0; i < colon; i++) {
    const code = text.charCodeAt(i) | 32;
    const raw = text.charCodeAt(i);
    const isAlpha = code >= 97 && code <= 122;
    if (!isAlpha && (i === 0 || !((raw >= 48 && raw <= 57) || raw === 43 || raw === 45 || raw === 46))) return "";
  }
  return text.slice(0, colon).toLowerCase();
}

function isHostChar(code: number): boolean {
  return (code >= 97 && code <= 122) || (code >= 65 && code <= 90) || (code >= 48 && code <= 57) ||
    code === 45 || code === 46 || code === 95;
}

/** Lenient on the digits (RFC 5118 §4.10: three colons must be tolerated), strict on the alphabet. */
function isIpv6Reference(text: string, start: number, end: number): boolean {
  let colons = 0;
  for (let i = start + 1; i < end - 1; i++) {
    const code = text.charCodeAt(i);
    const isHex = (code >= 48 && code <= 57) || ((code | 32) >= 97 && (code | 32) <= 102);
    if (code === 58) colons++;
    else if (!isHex && code !== 46) return false;
  }
  return colons >= 2;
}

function escapesAreWhole(user: string): boolean {
  for (let i = user.indexOf("%"); i >= 0; i = user.indexOf("%", i + 1)) {
    if (!/^[0-9A-Fa-f]{2}$/.test(user.slice(i + 1, i + 3))) return false;
  }
  return true;
}

/** `toLowerCase` that costs nothing when there is nothing to do. */
export function lowerCase(text: string): string {
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i);
    if (code >= 65 && code <= 90) return text.toLowerCase();
  }
  return text;
}
