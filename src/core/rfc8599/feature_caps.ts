/**
 * Owns the Feature-Caps header (RFC 6809) as RFC 8599 uses it: writing what we announce, one value for each push
 * service, and reading whether another proxy announces push already. Pure. It must not know registrations, backends or
 * which phones get it: see registrar/push_support.ts.
 */
import { paramOf, splitList } from "../sip/scan.ts";

/** What is announced of one push service. */
export interface PushCaps {
  /** `sip.pns`: the name the phone gave as `pn-provider`; only names that {@link isAnnounceable} accepts. */
  readonly service: string;
  /** `sip.pnsreg`: so many seconds before its binding ends the phone refreshes by itself; 0: it did not ask. */
  readonly refreshBefore: number;
  /** `sip.pnspurr`: a PURR, letters and digits; empty: no binding to name. */
  readonly purr: string;
  /** `sip.vapid`: base64url of our public key (RFC 8292); empty: none. */
  readonly vapid: string;
}

const MAX_NAME_LENGTH = 64;

/**
 * True if a service's name can stand in `+sip.pns`. It comes from the network, and not everything a URI parameter may
 * hold may stand there: a quote or a comma would announce something else.
 */
export function isAnnounceable(service: string): boolean {
  // RFC 3840 §9: a tag value is a token without "!". Nor is "%" taken: a name is what its escapes make it.
  return service.length <= MAX_NAME_LENGTH && /^[A-Za-z0-9\-.*_+`'~]+$/.test(service);
}

/** The header lines for these services, each with its CRLF (RFC 6809 §6.2, RFC 8599 §14.2); empty for none. */
export function featureCapsLines(services: readonly PushCaps[]): string {
  let lines = "";
  for (const { service, refreshBefore, purr, vapid } of services) {
    lines += `Feature-Caps: *;+sip.pns="${service}"`;
    if (refreshBefore > 0) lines += `;+sip.pnsreg="${refreshBefore}"`;
    if (purr !== "") lines += `;+sip.pnspurr="${purr}"`;
    if (vapid !== "") lines += `;+sip.vapid="${vapid}"`;
    lines += "\r\n";
  }
  return lines;
}

/**
 * True if these Feature-Caps headers say that another proxy pushes already (RFC 8599 §5.3.1: `sip.pns`, for any service).
 * @param values one entry a header line
 */
export function announcesPush(values: readonly string[]): boolean {
  for (const line of values) {
    // A line that cannot be read announces nothing.
    for (const element of splitList(line) ?? []) {
      // OpenSIPS leaves the `*` out, and with it the first semicolon.
      const params = element.startsWith("+") ? ";" + element : element;
      const start = params.indexOf(";");
      if (start >= 0 && paramOf(params, "+sip.pns", start) !== undefined) return true;
    }
  }
  return false;
}
