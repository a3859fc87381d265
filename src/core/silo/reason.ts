/** What Reason headers (RFC 3326) of a caller's CANCEL say about the call. Knows no calls. */
import { paramOf, splitList } from "../sip/scan.ts";

/**
 * True if the caller's side says that somebody else has the call: the PBX rang several users, or several Contacts of one,
 * and one of them answered (SIP;cause=200, as RFC 3326 §3.1 has it, or Q.850;cause=26: a non-selected user is cleared).
 * @param lines whole header lines, each with its CRLF
 */
export function isAnsweredElsewhere(lines: string): boolean {
  for (const line of lines.split("\r\n")) {
    const colon = line.indexOf(":");
    if (line.slice(0, colon).trim().toLowerCase() !== "reason") continue;
    for (const reason of splitList(line.slice(colon + 1)) ?? []) {
      const semicolon = reason.indexOf(";");
      if (semicolon < 0) continue;
      const protocol = reason.slice(0, semicolon).trim().toLowerCase();
      const cause = paramOf(reason, "cause", semicolon);
      if ((protocol === "sip" && cause === "200") || (protocol === "q.850" && cause === "26")) return true;
    }
  }
  return false;
}
