/** The Contact URI of a device as the Request-URI of what is sent to it. */
import { stripPushParams } from "../rfc8599/parameters.ts";
import { parseUri, withoutHeaders } from "../sip/uri.ts";
import type { Contact } from "../usrloc/contact.ts";
import { isWokenByOther } from "./push_support.ts";

/** RFC 8599 §4: pn-* never leave the REGISTER. RFC 3261 §19.1.1: nor does a headers part become part of a request. */
export function requestUri(contact: Contact): string {
  if (contact.requestUri === "") {
    const uri = parseUri(contact.uri);
    const text = uri === null ? contact.uri : withoutHeaders(uri);
    contact.requestUri = isWokenByOther(contact) ? text : stripPushParams(text);
  }
  return contact.requestUri;
}
