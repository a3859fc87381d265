/**
 * Most refreshes repeat their Contact to the byte. What was read from it the first time still holds, so it is compared
 * and not read again. Must not know what a Contact means.
 */
import { CONTACT } from "../sip/header.ts";
import type { Message } from "../sip/message.ts";
import { detached, digits, equalsIgnoreCase } from "../sip/scan.ts";
import type { Contact } from "../usrloc/contact.ts";
import { MAX_EXPIRES } from "./settings.ts";

/** A Contact that stands in usrloc as it stands in the REGISTER. */
export interface Repeated {
  readonly contact: Contact;
  /** Seconds its `expires` parameter asks for; null: it has none. */
  readonly expires: number | null;
}

const EXPIRES_PARAM = ";expires=";

/** The contact that a REGISTER's only Contact repeats; null: none, so that it must be read. */
export function repeatedContact(request: Message, contacts: readonly Contact[]): Repeated | null {
  const line = request.find(CONTACT);
  if (line < 0 || request.find(CONTACT, line + 1) >= 0) return null;
  const { raw } = request;
  const start = request.valueStart(line);
  const end = request.valueEnd(line);
  for (const contact of contacts) {
    const { sent } = contact;
    const sentEnd = start + sent.length;
    if (sent === "" || sentEnd > end || !raw.startsWith(sent, start)) continue;
    if (sentEnd === end) return { contact, expires: null };
    const digitsStart = sentEnd + EXPIRES_PARAM.length;
    if (!equalsIgnoreCase(raw, sentEnd, digitsStart, EXPIRES_PARAM)) continue;
    const expires = digits(raw, digitsStart, end, MAX_EXPIRES);
    if (expires >= 0) return { contact, expires };
  }
  return null;
}

/**
 * What of a Contact may be compared with next time: all but an `expires` behind everything else.
 * @param element the Contact as it came, `uri` and `params` (without expires) what was read from it
 * @returns empty if more than that stands between
 */
export function comparable(element: string, uri: string, params: string): string {
  const uriEnd = uri.length + 1;
  const end = uriEnd + 1 + params.length;
  if (element[0] !== "<" || element[uriEnd] !== ">" || element.slice(uriEnd + 1, end) !== params) return "";
  return element.length === end ? element : detached(element.slice(0, end));
}
