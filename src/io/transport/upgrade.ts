/**
 * The HTTP request that a WebSocket begins with, and its answer (RFC 6455 §4.2, RFC 7118 §4). Pure; knows one request
 * a connection, as everything but the upgrade ends it.
 */
import { createHash } from "node:crypto";

/** What a ws or wss listener wants of who connects. */
export interface WebListener {
  /** Path of its URL, `/sip`. */
  readonly path: string;
  /** Whether pages of this origin (`https://phone.example.org`) may connect. */
  allowsOrigin(origin: string): boolean;
}

/** The answer. `end`: why the connection ends with it; empty: it is a WebSocket now. */
export interface UpgradeAnswer {
  readonly text: string;
  readonly end: string;
  /** All `X-Forwarded-For`, joined by commas. */
  readonly forwardedFor: string;
}

/** RFC 6455 §1.3. */
const WEB_SOCKET_ID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
const WHAT_IT_IS = 'latefork: SIP over WebSocket (RFC 7118). A phone connects here with the subprotocol "sip".\n';

/** @param head the request line and header lines, with the empty line */
export function answerUpgrade(head: string, listener: WebListener): UpgradeAnswer {
  const lines = head.split("\r\n");
  const request = /^([A-Z]+) (\S+) HTTP\/1\.[01]$/.exec(lines[0]!);
  if (request === null) return refuse("400 Bad Request", "This is no HTTP/1.1 request.\n");
  const headers = new Map<string, string>();
  for (let at = 1; at < lines.length && lines[at] !== ""; at++) {
    const line = lines[at]!;
    const colon = line.indexOf(":");
    if (colon < 1 || /\s/.test(line.slice(0, colon))) return refuse("400 Bad Request", "A header line has no name.\n");
    const name = line.slice(0, colon).toLowerCase();
    const value = line.slice(colon + 1).trim();
    const before = headers.get(name);
    headers.set(name, before === undefined ? value : before + "," + value);
  }
  const [, method, target] = request as unknown as [string, string, string];
  if (pathOf(target) !== listener.path) return refuse("404 Not Found", "There is nothing here.\n");
  if (method !== "GET" && method !== "HEAD") {
    return refuse("405 Method Not Allowed", "Only GET is answered here.\n", "Allow: GET\r\n");
  }
  if (!lists(headers.get("upgrade"), "websocket") || !lists(headers.get("connection"), "upgrade")) {
    return refuse("200 OK", method === "HEAD" ? "" : WHAT_IT_IS);
  }
  return answerWebSocket(headers, listener);
}

function answerWebSocket(headers: Map<string, string>, listener: WebListener): UpgradeAnswer {
  if (headers.get("sec-websocket-version") !== "13") {
    return refuse("426 Upgrade Required", "WebSocket version 13 only.\n", "Sec-WebSocket-Version: 13\r\n");
  }
  const key = headers.get("sec-websocket-key") ?? "";
  if (!/^[A-Za-z0-9+/]{22}==$/.test(key)) return refuse("400 Bad Request", "Sec-WebSocket-Key is missing or bad.\n");
  // RFC 7118 §4: who does not speak SIP is told so before it sends anything.
  if (!lists(headers.get("sec-websocket-protocol"), "sip")) {
    return refuse("400 Bad Request", 'Offer the subprotocol "sip" (Sec-WebSocket-Protocol).\n');
  }
  // A page cannot leave its Origin out; what is no browser sends none.
  const origin = headers.get("origin");
  if (origin !== undefined && !listener.allowsOrigin(origin)) {
    return refuse("403 Forbidden", "Pages of this origin may not connect: see web.allow_origins.\n");
  }
  const accept = createHash("sha1").update(key + WEB_SOCKET_ID).digest("base64");
  return {
    text: "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
      `Sec-WebSocket-Accept: ${accept}\r\nSec-WebSocket-Protocol: sip\r\n\r\n`,
    end: "",
    forwardedFor: headers.get("x-forwarded-for") ?? "",
  };
}

/** An answer that ends the connection. */
export function refuse(status: string, body: string, lines = ""): UpgradeAnswer {
  const text = `HTTP/1.1 ${status}\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: ${body.length}\r\n` +
    `${lines}Connection: close\r\nX-Content-Type-Options: nosniff\r\n\r\n${body}`;
  return {
    text,
    end: status === "200 OK" ? "Answered a web request" : `Web request refused: ${status}`,
    forwardedFor: "",
  };
}

function pathOf(target: string): string {
  const end = target.search(/[?#]/);
  return end < 0 ? target : target.slice(0, end);
}

/** True if a comma-separated list has this word, in whatever case. */
function lists(header: string | undefined, word: string): boolean {
  return header !== undefined && header.split(",").some((item) => item.trim().toLowerCase() === word);
}
