/**
 * A refresh mostly repeats its Contact to the byte, and what was read from it the first time still holds: so it is
 * compared, and not read again. Must not know what a Contact means.
 */
import { CONTACT } from "../sip/header.ts";
import type { Message } from "../sip/message.ts";
import { digits, equalsIgnoreCase } from "../sip/scan.ts";
import type { Binding } from "../usrloc/binding.ts";
import type { Contact } from "../usrloc/model.ts";
import { MAX_EXPIRES } from "./settings.ts";

/** A Contact that stands in usrloc as it stands in the REGISTER. */
export interface Repeated {
  readonly binding: Binding;
  /** Seconds its `expires` parameter asks for; null: it has none. */
  readonly expires: number | null;
}

const LESS = 60;
const GREATER = 62;
const EXPIRES_PARAM = ";expires=";

/** The contact that a REGISTER's only Contact repeats; null: none, so that it must be read. */
export function repeatedContact(request: Message, contacts: readonly Contact[]): Repeated | null {
  const line = request.find(CONTACT);
  if (line < 0 || request.find(CONTACT, line + 1) >= 0) return null;
  const { raw } = request;
  const start = request.valueStart(line);
  const end = request.valueEnd(line);
  if (raw.charCodeAt(start) !== LESS) return null;
  for (const contact of contacts) {
    const binding = contact as Binding;
    // A dead token comes to life when it is registered again (P-04), which is for the reader to do.
    if (!binding.isAsSent || binding.push?.tokenState === "dead") continue;
    const uriEnd = start + 1 + binding.uri.length;
    const paramsEnd = uriEnd + 1 + binding.params.length;
    if (paramsEnd > end || raw.charCodeAt(uriEnd) !== GREATER) continue;
    if (!raw.startsWith(binding.uri, start + 1) || !raw.startsWith(binding.params, uriEnd + 1)) continue;
    if (paramsEnd === end) return { binding, expires: null };
    const digitsStart = paramsEnd + EXPIRES_PARAM.length;
    if (!equalsIgnoreCase(raw, paramsEnd, digitsStart, EXPIRES_PARAM)) return null;
    const expires = digits(raw, digitsStart, end, MAX_EXPIRES);
    return expires < 0 ? null : { binding, expires };
  }
  return null;
}
