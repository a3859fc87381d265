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
  /** True if `user@host` stands in `text` as the canonical address of record has it. */
  readonly isCanonical: boolean;
}

/**
 * A sip or sips URI inside a longer text. A part is cut out when it is asked for: most parts of the three URIs of a
 * REGISTER never are, and each piece would be an object.
 */
class SipUri implements Uri {
  constructor(
    private readonly source: string,
    private readonly start: number,
    private readonly end: number,
    readonly scheme: "sip" | "sips",
    private readonly userEnd: number,
    private readonly hostStart: number,
    private readonly hostEnd: number,
    readonly port: number,
    private readonly paramsStart: number,
    private readonly paramsEnd: number,
    private readonly isLower: boolean,
    private readonly hasEscape: boolean,
  ) {}

  get text(): string {
    return this.source.slice(this.start, this.end);
  }

  get user(): string {
    return this.source.slice(this.start + this.scheme.length + 1, this.userEnd);
  }

  get password(): string {
    return this.hasPassword ? this.source.slice(this.userEnd + 1, this.hostStart - 1) : "";
  }

  get host(): string {
    const host = this.source.slice(this.hostStart, this.hostEnd);
    return this.isLower ? host : host.toLowerCase();
  }

  get params(): string {
    return this.source.slice(this.paramsStart, this.paramsEnd);
  }

  get headers(): string {
    return this.source.slice(this.paramsEnd + 1, this.end);
  }

  get isCanonical(): boolean {
    return this.isLower && !this.hasEscape && !this.hasPassword;
  }

  /** `user@host`; the host alone if there is no user. Ask only if `isCanonical` says that it is canonical as it stands. */
  get userAtHost(): string {
    return this.source.slice(this.start + this.scheme.length + 1, this.hostEnd);
  }

  private get hasPassword(): boolean {
    return this.userEnd < this.hostStart - 1;
  }
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
  return parseUriAt(text, 0, text.length);
}

/** Parses the URI at `[start, end)` of a longer text, without cutting it out. */
export function parseUriAt(source: string, start: number, end: number): Uri | null {
  // One pass finds all positions: this runs several times a message.
  let colon = -1;
  let userColon = -1;
  let at = -1;
  let question = -1;
  let hasEscape = false;
  for (let i = start; i < end; i++) {
    switch (characterClass(source.charCodeAt(i))) {
      case PLAIN:
        break;
      case COLON:
        if (colon < 0) colon = i;
        else if (userColon < 0) userColon = i;
        break;
      case AT:
        // The user part may hold ";" and "?", so the first "@" ends it (RFC 4475 §3.1.1.9).
        if (at >= 0 || colon < 0) break;
        at = i;
        question = -1;
        break;
      case QUESTION:
        if (question < 0 && colon >= 0) question = i;
        break;
      case PERCENT:
        hasEscape = true;
        break;
      default:
        return null;
    }
  }
  if (colon <= start || colon === end - 1) return null;
  const scheme = schemeOf(source, start, colon);
  if (scheme === "") return null;
  if (scheme !== "sip" && scheme !== "sips") {
    const text = source.slice(start, end);
    return { text, scheme, user: "", password: "", host: "", port: 0, params: "", headers: "", isCanonical: false };
  }
  let userEnd = colon + 1;
  if (at >= 0) {
    userEnd = userColon >= 0 && userColon < at ? userColon : at;
    if (userEnd === colon + 1 || (hasEscape && !escapesAreWhole(source, colon + 1, at))) return null;
  }
  const hostStart = at < 0 ? colon + 1 : at + 1;
  const hostEnd = endOfHost(source, hostStart, end);
  if (hostEnd < 0) return null;
  const isLower = isLowerCaseAt(source, hostStart, hostEnd);
  let next = hostEnd;
  let port = 0;
  if (next < end && source.charCodeAt(next) === 58) {
    const portStart = ++next;
    while (next < end && source.charCodeAt(next) >= 48 && source.charCodeAt(next) <= 57) {
      port = port * 10 + source.charCodeAt(next) - 48;
      next++;
      if (port > 65535) return null;
    }
    if (next === portStart || port === 0) return null;
  }
  const paramsEnd = question < 0 ? end : question;
  if ((next < paramsEnd && source.charCodeAt(next) !== 59) || question === end - 1) return null;
  return new SipUri(
    source,
    start,
    end,
    scheme,
    userEnd,
    hostStart,
    hostEnd,
    port,
    next,
    paramsEnd,
    isLower,
    hasEscape,
  );
}

const PLAIN = 0;
const COLON = 1;
const AT = 2;
const QUESTION = 3;
const PERCENT = 4;
/** Space, controls, `"`, `<`, `>` and DEL never stand in a URI. */
const FORBIDDEN = 5;

const CHARACTER_CLASSES = new Uint8Array(128);
CHARACTER_CLASSES.fill(FORBIDDEN, 0, 33);
for (const code of [34, 60, 62, 127]) CHARACTER_CLASSES[code] = FORBIDDEN;
CHARACTER_CLASSES[58] = COLON;
CHARACTER_CLASSES[64] = AT;
CHARACTER_CLASSES[63] = QUESTION;
CHARACTER_CLASSES[37] = PERCENT;

function characterClass(code: number): number {
  return code < 128 ? CHARACTER_CLASSES[code]! : PLAIN;
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
export function aorOf(uri: Uri, domain?: string): string {
  // One slice and no other string: every REGISTER and every call asks for it.
  if (domain === undefined && uri instanceof SipUri && uri.isCanonical) return uri.userAtHost;
  const host = domain ?? uri.host;
  return uri.user === "" ? host : canonicalUser(uri.user) + "@" + host;
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

function schemeOf(source: string, start: number, colon: number): string {
  if (equalsIgnoreCase(source, start, colon, "sip")) return "sip";
  if (equalsIgnoreCase(source, start, colon, "sips")) return "sips";
  for (let i = start; i < colon; i++) {
    const raw = source.charCodeAt(i);
    const code = raw | 32;
    const isAlpha = code >= 97 && code <= 122;
    if (!isAlpha && (i === start || !((raw >= 48 && raw <= 57) || raw === 43 || raw === 45 || raw === 46))) return "";
  }
  return source.slice(start, colon).toLowerCase();
}

/** Position after the host that starts at `start`; -1 if there is none. */
function endOfHost(source: string, start: number, end: number): number {
  if (start < end && source.charCodeAt(start) === 91) {
    const close = source.indexOf("]", start);
    return close >= 0 && close < end && isIpv6Reference(source, start, close + 1) ? close + 1 : -1;
  }
  let at = start;
  while (at < end && isHostChar(source.charCodeAt(at))) at++;
  return at === start ? -1 : at;
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

function escapesAreWhole(source: string, start: number, end: number): boolean {
  for (let i = start; i < end; i++) {
    if (source.charCodeAt(i) === 37 && !/^[0-9A-Fa-f]{2}$/.test(source.slice(i + 1, Math.min(i + 3, end)))) {
      return false;
    }
  }
  return true;
}

/** `toLowerCase` that makes no new string if there is nothing to change. */
export function lowerCase(text: string): string {
  return lowerCaseAt(text, 0, text.length);
}

/** The part `[start, end)` in lower case. */
export function lowerCaseAt(text: string, start: number, end: number): string {
  const part = text.slice(start, end);
  return isLowerCaseAt(text, start, end) ? part : part.toLowerCase();
}

function isLowerCaseAt(text: string, start: number, end: number): boolean {
  for (let i = start; i < end; i++) {
    const code = text.charCodeAt(i);
    if (code >= 65 && code <= 90) return false;
  }
  return true;
}
