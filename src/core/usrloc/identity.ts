/** Which contact of an AoR is the same device: instance and reg-id, else push token, else the Contact URI. */
import { parseUri, type Uri, urisEqual } from "../sip/uri.ts";
import type { Contact } from "./contact.ts";

/** What identifies the device behind one Contact of a REGISTER. */
export interface DeviceIdentity {
  instance: string;
  regId: number;
  provider: string;
  param: string;
  prid: string;
  /** A URI that can be parsed. */
  uriText: string;
}

/** The contact of `contacts` that is this device, or null. Comparison of URIs is RFC 3261 §19.1.4. */
export function findDevice<C extends Contact>(contacts: readonly C[], identity: DeviceIdentity): C | null {
  if (identity.instance !== "") {
    for (const contact of contacts) {
      if (contact.instance === identity.instance && contact.regId === identity.regId) return contact;
    }
  }
  if (identity.prid !== "") {
    for (const contact of contacts) {
      // Two flows of one instance share a token and are still two bindings (RFC 5626).
      if (contact.instance !== "" && contact.instance === identity.instance) continue;
      const push = contact.push;
      if (
        push !== null && push.prid === identity.prid && push.provider === identity.provider &&
        push.param === identity.param
      ) {
        return contact;
      }
    }
  }
  let wanted: Uri | null = null;
  let withInstance: C | null = null;
  for (const contact of contacts) {
    if (contact.instance !== "" && identity.instance !== "") continue;
    if (contact.uri !== identity.uriText) {
      wanted ??= parseUri(identity.uriText);
      const uri = parseUri(contact.uri);
      if (uri === null || wanted === null || !urisEqual(uri, wanted)) continue;
    }
    // An instance may have moved to the URI of a device without one: a REGISTER without instance is then that device's.
    if (contact.instance === "") return contact;
    withInstance ??= contact;
  }
  return withInstance;
}

/** Text that stays the same as long as the device does; the device id is made from it. */
export function identityText(identity: DeviceIdentity): string {
  if (identity.instance !== "") return "i:" + identity.instance + ";" + identity.regId;
  if (identity.prid !== "") return "p:" + identity.provider + ";" + identity.param + ";" + identity.prid;
  return "u:" + identity.uriText;
}
