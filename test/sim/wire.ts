/** Messages of the scripted peers, built as text on purpose: nothing of the product writes them. */
import { RECORD_ROUTE, VIA } from "../../src/core/sip/header.ts";
import type { Message } from "../../src/core/sip/message.ts";
import type { Link } from "./net.ts";

export interface RequestParts {
  method: string;
  uri: string;
  link: Link;
  /** sent-by of the Via. */
  sentBy: string;
  branch: string;
  /** Whole values, with tags. */
  from: string;
  to: string;
  callId: string;
  cseq: number;
  /** Further lines with CRLF. */
  lines?: string;
  body?: string;
}

export function requestText(parts: RequestParts): string {
  const { method, uri, link, sentBy, branch, from, to, callId, cseq, lines = "", body = "" } = parts;
  const transport = link.transport.toUpperCase();
  const rport = link.isReliable ? "" : ";rport";
  return `${method} ${uri} SIP/2.0\r\nVia: SIP/2.0/${transport} ${sentBy}${rport};branch=${branch}\r\n` +
    `Max-Forwards: 70\r\nFrom: ${from}\r\nTo: ${to}\r\nCall-ID: ${callId}\r\nCSeq: ${cseq} ${method}\r\n` +
    `${lines}Content-Length: ${body.length}\r\n\r\n${body}`;
}

const PHRASES: Record<number, string> = {
  100: "Trying",
  180: "Ringing",
  183: "Session Progress",
  200: "OK",
  401: "Unauthorized",
  403: "Forbidden",
  408: "Request Timeout",
  480: "Temporarily Unavailable",
  481: "Call/Transaction Does Not Exist",
  486: "Busy Here",
  487: "Request Terminated",
  500: "Server Internal Error",
  503: "Service Unavailable",
  600: "Busy Everywhere",
  603: "Decline",
};

/** `toTag` is added unless To has one; empty for none. */
export function responseText(request: Message, status: number, toTag: string, lines = "", body = ""): string {
  let out = `SIP/2.0 ${status} ${PHRASES[status] ?? "Whatever"}\r\n`;
  for (const value of request.values(VIA)) out += `Via: ${value}\r\n`;
  if (status > 100) { for (const value of request.values(RECORD_ROUTE)) out += `Record-Route: ${value}\r\n`; }
  const tag = toTag === "" || request.to.tag !== "" ? "" : `;tag=${toTag}`;
  out += `From: ${request.valueOf("from")}\r\nTo: ${request.valueOf("to")}${tag}\r\nCall-ID: ${request.callId}\r\n` +
    `CSeq: ${request.cseq} ${request.cseqMethod}\r\n`;
  return out + lines + `Content-Length: ${body.length}\r\n\r\n${body}`;
}

/** URI of the first Contact, without angle brackets. */
export function contactOf(message: Message): string {
  const value = message.valueOf("contact") ?? "";
  return /<([^>]*)>/.exec(value)?.[1] ?? value.split(";")[0]!.trim();
}

/** Record-Route as Route lines: as it stands for the UAS, reversed for the UAC (RFC 3261 §12.1). */
export function routeLines(message: Message, isCaller: boolean): string {
  const routes = message.list(RECORD_ROUTE) ?? [];
  if (isCaller) routes.reverse();
  return routes.map((route) => `Route: ${route}\r\n`).join("");
}
