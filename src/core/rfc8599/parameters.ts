/**
 * Owns the reading and removing of push parameters in a Contact: RFC 8599 (`pn-provider`, `pn-param`, `pn-prid`)
 * and the older Linphone ones (`pn-type`, `app-id`, `pn-tok`). Pure. It must know neither the URI parser (it is
 * given accessors) nor any backend.
 */

/** Value of a parameter by its lower-case name: `""` if it stands there without a value, `undefined` if it does not. */
export type ParamLookup = (name: string) => string | undefined;

/** Where and how a device can be woken, unescaped; the first three fields of usrloc's `PushParams`. */
export interface PushTarget {
  /** Lower-case. */
  provider: string;
  /** Empty if absent. */
  param: string;
  /** The token. Never empty. */
  prid: string;
}

/** Longest accepted values, in characters after unescaping. */
export const MAX_PROVIDER_LENGTH = 64;
export const MAX_PARAM_LENGTH = 1024;
export const MAX_PRID_LENGTH = 4096;

/**
 * Reads the push parameters of a Contact; the URI's win over the header's (R-20, RFC 8599 §4.1).
 *
 * Values are percent-decoded once, bytes above 0x7f staying one character a byte.
 *
 * @returns null if there is no token, the provider is missing, or a value is too long or holds control characters.
 */
export function pushParamsOf(uriParam: ParamLookup, headerParam: ParamLookup): PushTarget | null {
  const read = (name: string): string => valueOf(uriParam(name) ?? headerParam(name));
  const prid = read("pn-prid");
  if (prid !== "") return targetOf(read("pn-provider"), read("pn-param"), prid);
  const token = read("pn-tok");
  if (token === "") return null;
  const appId = read("app-id");
  return targetOf(legacyProvider(read("pn-type").toLowerCase(), appId), appId, token);
}

/** True if the phone asks which push services we serve: `pn-provider`, with or without a value, and no token (RFC 8599 §4.1). */
export function isPushQuery(uriParam: ParamLookup, headerParam: ParamLookup): boolean {
  const read = (name: string): string | undefined => uriParam(name) ?? headerParam(name);
  return read("pn-provider") !== undefined && !read("pn-prid") && !read("pn-tok");
}

/**
 * Takes the push parameters out of a URI text (no angle brackets), so that no token reaches another user (P-02).
 * Everything else stays to the byte: `pn-purr`, the user part (which may hold `;`), URI headers.
 */
export function stripPushParams(uriText: string): string {
  // RFC 3261 §25.1: `;` and `?` are allowed in the user part, so parameters begin after the `@`.
  const hostStart = uriText.indexOf("@") + 1;
  const headers = uriText.indexOf("?", hostStart);
  const end = headers === -1 ? uriText.length : headers;
  const start = uriText.indexOf(";", hostStart);
  if (start === -1 || start > end) return uriText;
  return uriText.slice(0, start) + withoutPushParams(uriText.slice(start, end), false) + uriText.slice(end);
}

/** The same for Contact header parameters, a text that begins with its first `;` and may hold quoted strings. */
export function stripPushHeaderParams(params: string): string {
  return withoutPushParams(params, true);
}

/** True for every `pn-*` but `pn-purr`, and for the `app-id` of the Linphone form. `name` as written. */
export function isPushParam(name: string): boolean {
  // RFC 3261 §19.1.4: an escaped character in a name is the same as the plain one, so `pn%2Dprid` must not slip through.
  const plain = unescapeOnce(name.trim()).toLowerCase();
  return (plain.startsWith("pn-") && plain !== "pn-purr") || plain === "app-id";
}

function targetOf(provider: string, param: string, prid: string): PushTarget | null {
  const name = provider.toLowerCase();
  if (name === "" || name.length > MAX_PROVIDER_LENGTH || !isVisibleAscii(name)) return null;
  if (param.length > MAX_PARAM_LENGTH || hasControl(param)) return null;
  if (prid.length > MAX_PRID_LENGTH || hasControl(prid)) return null;
  return { provider: name, param, prid };
}

function legacyProvider(type: string, appId: string): string {
  switch (type) {
    case "apple":
      return appId.toLowerCase().endsWith(".dev") ? "apns.dev" : "apns";
    case "firebase":
    case "android":
    case "google":
      return "fcm";
    default:
      return type;
  }
}

function valueOf(raw: string | undefined): string {
  if (raw === undefined || raw === "") return "";
  if (raw.length > 1 && raw[0] === '"' && raw.endsWith('"')) return raw.slice(1, -1);
  // Three characters unescape to one: what is longer than this is too long in any case, and not worth the work.
  return raw.length > 3 * MAX_PRID_LENGTH ? raw : unescapeOnce(raw);
}

function unescapeOnce(text: string): string {
  let percent = text.indexOf("%");
  if (percent === -1) return text;
  let out = "";
  let from = 0;
  for (; percent !== -1; percent = text.indexOf("%", percent + 1)) {
    const high = hexDigit(text.charCodeAt(percent + 1));
    const low = hexDigit(text.charCodeAt(percent + 2));
    if (high < 0 || low < 0) continue; // a stray % is kept as it is
    out += text.slice(from, percent) + String.fromCharCode(high * 16 + low);
    from = percent + 3;
    percent += 2;
  }
  return out + text.slice(from);
}

function hexDigit(code: number): number {
  if (code >= 48 && code <= 57) return code - 48;
  if (code >= 65 && code <= 70) return code - 55;
  if (code >= 97 && code <= 102) return code - 87;
  return -1;
}

function hasControl(text: string): boolean {
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i);
    if (code < 32 || code === 127) return true;
  }
  return false;
}

function isVisibleAscii(text: string): boolean {
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i);
    if (code <= 32 || code >= 127) return false;
  }
  return true;
}

function withoutPushParams(params: string, quoted: boolean): string {
  let out = "";
  for (let from = 0; from < params.length;) {
    const next = paramEnd(params, from + 1, quoted);
    const param = params.slice(from, next);
    const equals = param.indexOf("=");
    const isPush = param[0] === ";" && isPushParam(param.slice(1, equals === -1 ? undefined : equals));
    if (!isPush) out += param;
    from = next;
  }
  return out;
}

/** Index of the `;` that ends the parameter `from` lies in, or the length. */
function paramEnd(params: string, from: number, quoted: boolean): number {
  let inQuotes = false;
  for (let i = from; i < params.length; i++) {
    const char = params[i];
    if (inQuotes && char === "\\") i++;
    else if (quoted && char === '"') inQuotes = !inQuotes;
    else if (char === ";" && !inQuotes) return i;
  }
  return params.length;
}
