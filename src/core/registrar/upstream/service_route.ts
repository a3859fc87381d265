/**
 * Header lines of the PBX's 2xx that a phone must hear again with every later one: it forgets its Service-Route if a
 * 2xx has none (RFC 3608 §5), and its identities likewise (RFC 7315 §4.1). An absorbed REGISTER is answered with them.
 */
import { OTHER, SERVICE_ROUTE } from "../../sip/header.ts";
import type { Message } from "../../sip/message.ts";
import { detached, equalsIgnoreCase, isTokenChar } from "../../sip/scan.ts";

/** What is kept of one AoR at most; beyond it nothing is, as half a route leads nowhere. */
const MAX_LENGTH = 2048;
const ASSOCIATED = "p-associated-uri";

/** The lines, each with its CRLF; empty: none. */
export function repeatedLines(response: Message): string {
  let lines = "";
  for (let n = 0; n < response.count; n++) {
    const id = response.idAt(n);
    const name = id === SERVICE_ROUTE
      ? "Service-Route"
      : id === OTHER && isAssociated(response, n)
      ? "P-Associated-URI"
      : "";
    if (name !== "") lines += name + ": " + response.valueAt(n) + "\r\n";
    if (lines.length > MAX_LENGTH) return "";
  }
  return lines === "" ? "" : detached(lines);
}

function isAssociated(response: Message, n: number): boolean {
  const start = response.lineStart(n);
  const end = start + ASSOCIATED.length;
  return equalsIgnoreCase(response.raw, start, end, ASSOCIATED) && !isTokenChar(response.raw.charCodeAt(end));
}
