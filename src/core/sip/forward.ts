/** A request on its way on (RFC 3261 §16.6), and the requests derived from one we sent (ACK §17.1.1.3, CANCEL §9.1). */
import { Edit, removeListHeads } from "./edit.ts";
import { CALL_ID, CONTACT, FROM, MAX_FORWARDS, RECORD_ROUTE, ROUTE, TO, VIA } from "./header.ts";
import { MAX_CSEQ, type Message } from "./message.ts";
import { parseNameAddr } from "./name_addr.ts";
import { digits } from "./scan.ts";
import { withoutHeaders } from "./uri.ts";

/** What a proxy changes in a request; all else passes as it came. */
export interface Forwarding {
  /** New Request-URI; null leaves it. */
  uri: string | null;
  /** Value of our Via, without header name. */
  via: string;
  /** The previous hop's Via as received ({@link receivedVia}). */
  receivedVia: string;
  /** Record-Route values, first one on top; empty for none. */
  recordRoute: readonly string[];
  /** How many Route elements are ours and go. */
  routesToDrop: number;
  /** Route header value to put on top (a Path); empty for none. */
  route: string;
}

/**
 * Builds the edit of a forwarded request, for callers that have more to change.
 * @param request may go on: its Max-Forwards is above 0
 */
export function forwardEdit(request: Message, how: Forwarding): Edit {
  const edit = new Edit(request.raw);
  if (how.uri !== null) edit.replace(request.uriStart, request.uriEnd, how.uri);
  const viaLine = request.find(VIA);
  let recordRoute = "";
  for (const value of how.recordRoute) recordRoute += "Record-Route: " + value + "\r\n";
  if (recordRoute !== "") edit.insert(aboveAll(request, RECORD_ROUTE, viaLine), recordRoute);
  if (how.route !== "") edit.insert(aboveAll(request, ROUTE, viaLine), "Route: " + how.route + "\r\n");
  const hops = request.find(MAX_FORWARDS);
  if (hops < 0) edit.insert(request.lineStart(viaLine), "Max-Forwards: 70\r\n");
  // Vias stay together: some UAs read no further than the first other header.
  edit.insert(request.lineStart(viaLine), "Via: " + how.via + "\r\n");
  const via = request.via!;
  edit.replace(via.start, via.end, how.receivedVia);
  if (hops >= 0) {
    const value = digits(request.raw, request.valueStart(hops), request.valueEnd(hops), 65535);
    edit.replace(request.valueStart(hops), request.valueEnd(hops), String(Math.min(value, 255) - 1));
  }
  if (how.routesToDrop > 0) removeListHeads(edit, request, ROUTE, how.routesToDrop);
  return edit;
}

/** Where a new line stands above the Vias and all lines of this header: Kamailio writes its Record-Route above the Vias. */
function aboveAll(request: Message, id: number, viaLine: number): number {
  const first = request.find(id);
  return request.lineStart(first < 0 ? viaLine : Math.min(first, viaLine));
}

/** The forwarded request as text. */
export function forwardedRequest(request: Message, how: Forwarding): string {
  return forwardEdit(request, how).build();
}

/** ACK for a non-2xx final of an INVITE we sent (§17.1.1.3): its top Via, its Route, the response's To. */
export function ackForFailure(invite: Message, response: Message): string {
  return derived(invite, "ACK", "To: " + (response.value(TO) ?? invite.value(TO)) + "\r\n", "");
}

/** CANCEL of an INVITE we sent (§9.1). `lines`: header lines to add, a Reason for instance. */
export function cancelFor(invite: Message, lines: string): string {
  return derived(invite, "CANCEL", linesOf(invite, TO), lines);
}

function derived(invite: Message, method: string, toLine: string, lines: string): string {
  const via = invite.via!;
  return method + " " + invite.raw.slice(invite.uriStart, invite.uriEnd) + " SIP/2.0\r\n" +
    "Via: " + invite.raw.slice(via.start, via.end) + "\r\n" +
    linesOf(invite, ROUTE) +
    "Max-Forwards: 70\r\n" +
    linesOf(invite, FROM) + toLine + linesOf(invite, CALL_ID) +
    "CSeq: " + invite.cseq + " " + method + "\r\n" +
    lines + "Content-Length: 0\r\n\r\n";
}

/** All lines of one header, verbatim. */
export function linesOf(message: Message, id: number): string {
  let out = "";
  for (let n = message.find(id); n >= 0; n = message.find(id, n + 1)) {
    out += message.raw.slice(message.lineStart(n), message.lineEnd(n));
  }
  return out;
}

/**
 * A request inside the dialog that a 2xx to our INVITE made, sent by us in the caller's place. We acknowledge and end a
 * 2xx that comes too late for the caller (W-12).
 * @param invite as we sent it
 * @param via value of our Via
 * @returns null if the 2xx has no usable Contact
 */
export function inDialogRequest(
  invite: Message,
  answer: Message,
  method: "ACK" | "BYE",
  via: string,
): string | null {
  const target = contactUri(answer);
  if (target === null) return null;
  // The answer repeats the Record-Routes of our INVITE, ours among them. Above them stand those added between us and the
  // phone, which in reverse are the way from here (§12.1.2).
  const routes = answer.list(RECORD_ROUTE) ?? [];
  // The Record-Route of the INVITE was not checked before. If it cannot be read, ours cannot be told from theirs.
  routes.length = Math.max(0, routes.length - (invite.list(RECORD_ROUTE)?.length ?? routes.length));
  routes.reverse();
  return method + " " + target + " SIP/2.0\r\n" +
    "Via: " + via + "\r\n" +
    (routes.length > 0 ? "Route: " + routes.join(", ") + "\r\n" : "") +
    "Max-Forwards: 70\r\n" +
    linesOf(invite, FROM) + "To: " + answer.value(TO) + "\r\n" + linesOf(invite, CALL_ID) +
    "CSeq: " + (method === "ACK" ? invite.cseq : Math.min(invite.cseq + 1, MAX_CSEQ)) + " " + method + "\r\n" +
    "Content-Length: 0\r\n\r\n";
}

function contactUri(message: Message): string | null {
  const first = message.list(CONTACT)?.[0];
  const uri = first === undefined ? null : parseNameAddr(first)?.uri ?? null;
  return uri === null ? null : withoutHeaders(uri);
}
