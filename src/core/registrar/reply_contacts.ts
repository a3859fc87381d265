/**
 * The Contact lines of a 2xx to a phone: its own contacts as it sent them, those of the user's other
 * devices without what wakes them, since a push token is for its own phone's eyes (RFC 8599 §11).
 */
import { stripPushHeaderParams, stripPushParams } from "../rfc8599/parameters.ts";
import { parseUri, uriParam } from "../sip/uri.ts";
import type { Contact } from "../usrloc/contact.ts";

/**
 * @param listed in this order, each with what is left of it
 * @param own those of the phone that is answered
 */
export function contactLines(listed: readonly Contact[], own: readonly Contact[], nowMs: number): string {
  let lines = "";
  for (const contact of listed) {
    const left = Math.max(0, Math.ceil((contact.expiresAtMs - nowMs) / 1000));
    lines += "Contact: " + (own.includes(contact) ? contact.text : asOthersSeeIt(contact)) + ";expires=" +
      left +
      "\r\n";
  }
  return lines;
}

function asOthersSeeIt(contact: Contact): string {
  const uri = stripPushParams(contact.uri);
  const params = stripPushHeaderParams(contact.params);
  const token = contact.push?.prid ?? "";
  // A `devices:` rule took the token from a parameter of any name.
  if (token === "" || !(uri.includes(token) || params.includes(token))) return "<" + uri + ">" + params;
  return "<" + bare(uri) + ">";
}

/** Without its parameters, but for the transport, which tells addresses apart. */
function bare(text: string): string {
  const uri = parseUri(text);
  if (uri === null) return text;
  const transport = uriParam(uri, "transport");
  // The user part may hold a `;`, too.
  const end = text.indexOf(";", text.indexOf("@") + 1);
  return (end < 0 ? text : text.slice(0, end)) + (transport === undefined ? "" : ";transport=" + transport);
}
