/**
 * What a REGISTER asks for (RFC 3261 §10.3): AoR, contacts, expiries, in one shape for both modes. Reads, checks,
 * decides nothing.
 */
import { announcesPush } from "../rfc8599/feature_caps.ts";
import { pushParamsOf } from "../rfc8599/parameters.ts";
import { CALL_ID, CONTACT, EXPIRES, FEATURE_CAPS, PATH, USER_AGENT } from "../sip/header.ts";
import type { Message } from "../sip/message.ts";
import { parseNameAddr } from "../sip/name_addr.ts";
import { detached, digits, paramOf, unquote, withoutParam } from "../sip/scan.ts";
import { aorOf, canonicalUser, isSipScheme, uriParam } from "../sip/uri.ts";
import type { Aor, Contact } from "../usrloc/contact.ts";
import type { DeviceIdentity } from "../usrloc/identity.ts";
import type { DeviceKind } from "../usrloc/model.ts";
import { comparable, repeatedContact } from "./unchanged_contact.ts";
import { type DeviceHint, type DeviceHints, MAX_EXPIRES } from "./settings.ts";

/** One Contact of a REGISTER. */
export interface WantedContact extends DeviceIdentity {
  /** Header parameters without `expires`. */
  params: string;
  q: number;
  /** Seconds asked for; null: nothing said. 0 removes. */
  expires: number | null;
  kind: DeviceKind;
  /** The contact it repeats to the byte; null: it was read from the message. */
  repeats: Contact | null;
  /** What {@link Contact.sent} says of it; empty if a `devices:` rule had a say, or another proxy. */
  sent: string;
}

/** A REGISTER, read. */
export interface RegisterRequest {
  aorKey: string;
  user: string;
  domain: string;
  /** `Contact: *`: everything of this AoR goes. */
  isWildcard: boolean;
  /** Removals first. Empty: a fetch, or the wildcard. */
  contacts: WantedContact[];
  path: string;
  /** Host of the sent-by of a phone that asks for no `rport`, as it may listen elsewhere (T-03); else empty. */
  sentByHost: string;
  userAgent: string;
  callId: string;
  cseq: number;
  /** A proxy before us pushes in our place (RFC 8599 §5.3). */
  isPushedByOther: boolean;
}

/** Asks the `devices:` rules about a REGISTER; null: no rule fits. */
export type DeviceHintReader = DeviceHints;

/** Where an AoR is looked up. */
export interface KnownAors {
  find(key: string): Aor | undefined;
}

/** Why it cannot be processed. */
export interface RegisterProblem {
  status: number;
  reason: string;
}

/** Contacts in one REGISTER at most. */
const MAX_CONTACTS = 16;
// What is kept of a REGISTER is bounded, whatever `limits.message` lets through.
const MAX_URI = 4096;
const MAX_PARAMS = 4096;
const MAX_PATH = 4096;
const MAX_USER_AGENT = 255;
const MAX_TOKEN = 4096;

/**
 * Reads a REGISTER; every text in the result is a copy that does not keep the message alive.
 * @param aors where a contact that is only repeated may be found; null where it must be read again
 */
export function readRegister(
  request: Message,
  hints: DeviceHintReader,
  aors: KnownAors | null,
): RegisterRequest | RegisterProblem {
  const to = request.to.uri!;
  if (!isSipScheme(to)) return { status: 400, reason: `To has scheme ${to.scheme}, expected sip or sips` };
  if (to.user === "") return { status: 400, reason: "To has no user" };
  const header = expiresHeaderOf(request);
  const key = aorOf(to);
  const isOthers = isPushedByOther(request);
  // What was stored of a contact then may say otherwise.
  const aor = isOthers ? undefined : aors?.find(key);
  const repeated = aor === undefined ? null : repeatedContact(request, aor.contacts);
  const elements = repeated !== null ? [] : request.list(CONTACT);
  if (elements === null) return { status: 400, reason: "Malformed Contact" };
  if (elements.length > MAX_CONTACTS) return { status: 403, reason: `More than ${MAX_CONTACTS} Contacts` };
  const path = request.has(PATH) ? (request.list(PATH) ?? []).join(", ") : "";
  if (path.length > MAX_PATH || hasControl(path)) return { status: 400, reason: "Malformed Path" };
  const result: RegisterRequest = {
    aorKey: aor?.key ?? detached(key),
    user: aor?.user ?? detached(canonicalUser(to.user)),
    domain: aor?.domain ?? detached(to.host),
    isWildcard: false,
    contacts: [],
    path: detached(path),
    sentByHost: request.via!.rport === undefined && path === "" ? detached(request.via!.host) : "",
    userAgent: repeated !== null && request.isValue(USER_AGENT, repeated.contact.userAgent)
      ? repeated.contact.userAgent
      : detached((request.value(USER_AGENT) ?? "").slice(0, MAX_USER_AGENT)),
    callId: repeated !== null && request.isValue(CALL_ID, repeated.contact.callId)
      ? repeated.contact.callId
      : detached(request.callId),
    cseq: request.cseq,
    isPushedByOther: isOthers,
  };
  if (repeated !== null) {
    result.contacts.push(wantedAgain(repeated.contact, repeated.expires ?? header));
    return result;
  }
  for (const element of elements) {
    if (element === "*") {
      // §10.2.2: alone, and only with Expires: 0
      if (elements.length > 1 || header !== 0) {
        return { status: 400, reason: "Contact: * needs Expires: 0 and stands alone" };
      }
      result.isWildcard = true;
      return result;
    }
    const contact = readContact(element, header, request, hints);
    if (contact === null) return { status: 400, reason: "Malformed Contact" };
    if (isOthers) leaveToOther(contact);
    if (contact.expires === 0) result.contacts.unshift(contact);
    else result.contacts.push(contact);
  }
  return result;
}

/** The other proxy's token is none of ours. */
function leaveToOther(contact: WantedContact): void {
  if (contact.prid === "") return;
  contact.provider = contact.param = contact.prid = "";
  // To us it is a phone that cannot be woken; a rule may know better what it is.
  if (contact.sent !== "") contact.kind = "desk";
  contact.sent = "";
}

/** What was read from the contact when it came first. */
function wantedAgain(contact: Contact, expires: number | null): WantedContact {
  const { uri, params, instance, regId, q, kind, push } = contact;
  return {
    uriText: uri,
    params,
    instance,
    regId,
    q,
    expires,
    kind,
    provider: push === null ? "" : push.provider,
    param: push === null ? "" : push.param,
    prid: push === null ? "" : push.prid,
    repeats: contact,
    sent: contact.sent,
  };
}

function readContact(
  element: string,
  header: number | null,
  request: Message,
  hints: DeviceHintReader,
): WantedContact | null {
  // One copy, and what is read from it are pieces of that.
  const contact = detached(element);
  const address = parseNameAddr(contact);
  if (address === null || address.uri === null || !isSipScheme(address.uri)) return null;
  const { uri } = address;
  if (address.uriText.length > MAX_URI || address.params.length > MAX_PARAMS || hasControl(address.params)) return null;
  const params = withoutParam(address.params, "expires");
  const expires = paramOf(address.params, "expires");
  const instance = withoutBrackets(unquote(paramOf(address.params, "+sip.instance") ?? ""));
  const regId = paramOf(address.params, "reg-id") ?? "";
  const paramNamed = (name: string) => uriParam(uri, name) ?? paramOf(address.params, name);
  const hint = hints(request, paramNamed);
  const push = pushParamsOf((name) => uriParam(uri, name), (name) => paramOf(address.params, name)) ??
    (isTokenOf(hint) ? { provider: hint.provider, param: "", prid: detached(hint.prid) } : null);
  const kind = hint === null || hint.kind === "" ? (push === null ? "desk" : "mobile") : hint.kind;
  return {
    uriText: address.uriText,
    params,
    instance,
    // RFC 5626 §6: reg-id means nothing without an instance
    regId: instance === "" ? 0 : Math.max(0, digits(regId, 0, regId.length, 2147483647)),
    q: qOf(paramOf(address.params, "q")),
    expires: expires === undefined ? header : expiresOf(expires),
    kind,
    provider: push === null ? "" : push.provider,
    param: push === null ? "" : push.param,
    prid: push === null ? "" : push.prid,
    repeats: null,
    sent: hint === null ? comparable(contact, address.uriText, params) : "",
  };
}

function withoutBrackets(text: string): string {
  return text.startsWith("<") && text.endsWith(">") ? text.slice(1, -1) : text;
}

function isTokenOf(hint: DeviceHint | null): hint is DeviceHint {
  return hint !== null && hint.prid !== "" && hint.prid.length <= MAX_TOKEN && !hasControl(hint.prid);
}

/** Some parsers end a line at a bare CR: what is told to other devices must not hold one. */
function hasControl(text: string): boolean {
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i);
    if ((code < 32 && code !== 9) || code === 127) return true;
  }
  return false;
}

function expiresHeaderOf(request: Message): number | null {
  const n = request.find(EXPIRES);
  if (n < 0) return null;
  const seconds = digits(request.raw, request.valueStart(n), request.valueEnd(n), MAX_EXPIRES);
  return seconds < 0 ? null : seconds;
}

/** Seconds; null if absent or malformed (RFC 3261 §10.2: then the default). */
export function expiresOf(value: string | undefined): number | null {
  if (value === undefined) return null;
  const seconds = digits(value, 0, value.length, MAX_EXPIRES);
  return seconds < 0 ? null : seconds;
}

function qOf(value: string | undefined): number {
  if (value === undefined || !/^[01](\.\d{0,3})?$/.test(value)) return 1000;
  return Math.min(1000, Math.round(Number(value) * 1000));
}

export function isProblem(result: RegisterRequest | RegisterProblem): result is RegisterProblem {
  return "status" in result;
}

/** True if a proxy between the phone and us announced that it pushes: then we do not (RFC 8599 §5.3). */
function isPushedByOther(request: Message): boolean {
  return request.has(FEATURE_CAPS) && announcesPush(request.values(FEATURE_CAPS));
}
