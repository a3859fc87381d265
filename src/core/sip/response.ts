/** Responses: made here for a request (RFC 3261 §8.2.6), or passed back with our Via taken off (§16.7). */
import { Edit } from "./edit.ts";
import type { Flow } from "./flow.ts";
import { CALL_ID, CSEQ, FROM, RECORD_ROUTE, TIMESTAMP, TO, VIA } from "./header.ts";
import { bareHost } from "./host.ts";
import type { Message } from "./message.ts";
import type { Via } from "./via.ts";
import { equalsIgnoreCase, nextElement, nextParam } from "./scan.ts";

/**
 * The top Via value as it is passed on (§18.2.1, RFC 3581): with `received` where the source differs from sent-by or
 * `rport` is asked for, and with `rport` filled in. A `received` that the peer wrote is replaced.
 */
export function receivedVia(message: Message, flow: Flow): string {
  const via = message.via!;
  const address = flow.remoteAddress;
  const { raw } = message;
  const wantsPort = via.rport !== undefined;
  if (via.received !== undefined || (wantsPort && via.rportEnd === 0)) {
    const value = corrected(raw, via, flow.remotePort);
    return wantsPort || !isAt(via, address) ? value + ";received=" + address : value;
  }
  if (wantsPort) {
    return raw.slice(via.start, via.rportNameEnd) + "=" + flow.remotePort + raw.slice(via.rportEnd, via.end) +
      ";received=" + address;
  }
  const value = raw.slice(via.start, via.end);
  return isAt(via, address) ? value : value + ";received=" + address;
}

function isAt({ host }: Via, address: string): boolean {
  return bareHost(host) === address;
}

/** The value with `rport` filled in where it stands, and without `received`. */
function corrected(raw: string, via: Via, port: number): string {
  let out = "";
  let at = via.start;
  const first = raw.indexOf(";", at);
  for (let span = nextParam(raw, first, via.end); span !== null; span = nextParam(raw, span.next, via.end)) {
    if (equalsIgnoreCase(raw, span.nameStart, span.nameEnd, "rport")) {
      out += raw.slice(at, span.nameEnd) + "=" + port;
      at = span.next;
    } else if (equalsIgnoreCase(raw, span.nameStart, span.nameEnd, "received")) {
      out += raw.slice(at, span.semicolon);
      at = span.next;
    }
  }
  return out + raw.slice(at, via.end);
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
  const via = request.via!;
  let out = "SIP/2.0 " + status + " " + reason + "\r\n";
  // Lines that pass unchanged are mostly neighbours: each run of them is copied in one piece.
  let runStart = 0;
  let runEnd = 0;
  let isTop = true;
  for (let n = 0; n < request.count; n++) {
    const id = request.idAt(n);
    if (!isCopied(id, status, request.method)) continue;
    const lineStart = request.lineStart(n);
    const isTopVia: boolean = id === VIA && isTop;
    if (isTopVia || (id === TO && takesTag(request, toTag))) {
      out += raw.slice(runStart, runEnd);
      runStart = runEnd = 0;
      if (isTopVia) out += "Via: " + viaText + raw.slice(via.end, request.valueEnd(n)) + "\r\n";
      else out += raw.slice(lineStart, request.valueEnd(n)) + ";tag=" + toTag + "\r\n";
      if (isTopVia) isTop = false;
      continue;
    }
    if (lineStart !== runEnd) {
      out += raw.slice(runStart, runEnd);
      runStart = lineStart;
    }
    runEnd = request.lineEnd(n);
  }
  return out + raw.slice(runStart, runEnd) + lines + "Content-Length: " + body.length + "\r\n\r\n" + body;
}

/** A To that cannot be read gets no tag: it may have one. */
function takesTag(request: Message, toTag: string): boolean {
  return toTag !== "" && request.to.tag === "" && request.to.uri !== null;
}

/** True for the header lines a response takes over (§8.2.6.2). */
function isCopied(id: number, status: number, method: string): boolean {
  switch (id) {
    case VIA:
    case FROM:
    case TO:
    case CALL_ID:
    case CSEQ:
      return true;
    case TIMESTAMP: // §8.2.6.1
      return status === 100;
    case RECORD_ROUTE: // a dialog may be built on it (§12.1.1)
      return status > 100 && status < 300 && method !== "REGISTER";
    default:
      return false;
  }
}

/**
 * A response on its way back: without its top Via.
 * @returns null if no Via is left: it was meant for us and goes nowhere (§16.7 step 3)
 */
export function withoutTopVia(response: Message): Edit | null {
  const n = response.find(VIA);
  const end = response.valueEnd(n);
  const rest = nextElement(response.raw, response.via!.end, end);
  const edit = new Edit(response.raw);
  if (rest < end) return edit.replace(response.valueStart(n), rest, "");
  return response.find(VIA, n + 1) < 0 ? null : edit.removeLine(response, n);
}
