/** Responses: made here for a request (RFC 3261 §8.2.6), or passed back with our Via taken off (§16.7). */
import { Edit } from "./edit.ts";
import type { Flow } from "./flow.ts";
import { CALL_ID, CSEQ, FROM, RECORD_ROUTE, TIMESTAMP, TO, VIA } from "./header.ts";
import type { Message } from "./message.ts";
import { skipLws } from "./scan.ts";

/**
 * The top Via value as §18.2.1 and RFC 3581 want it passed on: `received` where the source differs from sent-by or
 * `rport` is asked for, `rport` filled in. Whatever the peer claimed as `received` is replaced.
 */
export function receivedVia(message: Message, flow: Flow): string {
  const via = message.via!;
  const value = message.raw.slice(via.start, via.end);
  const address = flow.remoteAddress;
  const isSame = via.host === address || via.host === "[" + address + "]";
  const wantsPort = via.rport !== undefined;
  if (isSame && !wantsPort && via.received === "") return value;
  let out = value;
  if (via.received !== "" || wantsPort) out = withoutReceived(out);
  if (!isSame || wantsPort) out += ";received=" + address;
  if (wantsPort) out += ";rport=" + flow.remotePort;
  return out;
}

function withoutReceived(value: string): string {
  return value.replace(/\s*;\s*(?:rport|received)\s*(?:=[^;]*)?(?=;|$)/gi, "");
}

/**
 * A response made here.
 * @param toTag added to To unless it has one; empty for 100
 * @param viaText the corrected top Via value ({@link receivedVia})
 * @param lines further header lines, each with its CRLF; a body's Content-Type among them
 */
export function responseTo(
  request: Message,
  status: number,
  reason: string,
  viaText: string,
  toTag: string,
  lines = "",
  body = "",
): string {
  const raw = request.raw;
  let out = "SIP/2.0 " + status + " " + reason + "\r\n";
  let isTop = true;
  for (let n = 0; n < request.count; n++) {
    switch (request.idAt(n)) {
      case VIA:
        if (isTop && request.via !== null) {
          out += "Via: " + viaText + raw.slice(request.via.end, request.valueEnd(n)) + "\r\n";
          isTop = false;
        } else out += raw.slice(request.lineStart(n), request.lineEnd(n));
        break;
      case FROM:
      case CALL_ID:
      case CSEQ:
        out += raw.slice(request.lineStart(n), request.lineEnd(n));
        break;
      case TO:
        if (toTag === "" || request.to.tag !== "") out += raw.slice(request.lineStart(n), request.lineEnd(n));
        else out += raw.slice(request.lineStart(n), request.valueEnd(n)) + ";tag=" + toTag + "\r\n";
        break;
      case TIMESTAMP: // §8.2.6.1
        if (status === 100) out += raw.slice(request.lineStart(n), request.lineEnd(n));
        break;
      case RECORD_ROUTE: // a dialog may be built on it (§12.1.1)
        if (status > 100 && status < 300 && request.method !== "REGISTER") {
          out += raw.slice(request.lineStart(n), request.lineEnd(n));
        }
        break;
    }
  }
  return out + lines + "Content-Length: " + body.length + "\r\n\r\n" + body;
}

/**
 * A response on its way back: without its top Via.
 * @returns null if no Via is left: it was meant for us and goes nowhere (§16.7 step 3)
 */
export function withoutTopVia(response: Message): Edit | null {
  const n = response.find(VIA);
  const via = response.via;
  if (n < 0 || via === null) return null;
  const edit = new Edit(response.raw);
  if (via.isListHead) {
    const comma = response.raw.indexOf(",", via.end);
    edit.replace(response.valueStart(n), skipLws(response.raw, comma + 1, response.valueEnd(n)), "");
  } else {
    if (response.find(VIA, n + 1) < 0) return null;
    edit.removeLine(response, n);
  }
  return edit;
}
