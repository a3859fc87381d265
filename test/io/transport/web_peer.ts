/** A WebSocket client that does as the test says, rightly or wrongly, over TCP or TLS. */
import { TcpPeer } from "./rig.ts";

export const KEY = "dGhlIHNhbXBsZSBub25jZQ==";
/** What RFC 6455 §1.3 answers to that key. */
export const ACCEPT = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/** Lines of an upgrade; undefined takes one away. */
export type Headers = Record<string, string | undefined>;

const USUAL: Headers = {
  Host: "phone.example.org",
  Upgrade: "websocket",
  Connection: "keep-alive, Upgrade",
  "Sec-WebSocket-Key": KEY,
  "Sec-WebSocket-Version": "13",
  "Sec-WebSocket-Protocol": "sip",
};

export function upgradeRequest(path = "/sip", headers: Headers = {}, method = "GET"): string {
  let text = `${method} ${path} HTTP/1.1\r\n`;
  for (const [name, value] of Object.entries({ ...USUAL, ...headers })) {
    if (value !== undefined) text += `${name}: ${value}\r\n`;
  }
  return text + "\r\n";
}

/** One frame of a client. */
export function frame(opcode: number, payload: string, first = 0x80 | opcode, mask = "\x01\x02\x03\x04"): string {
  let length = String.fromCharCode(0x80 | payload.length);
  if (payload.length >= 65536) {
    length = "\xff\0\0\0\0" + String.fromCharCode(...[24, 16, 8, 0].map((bits) => (payload.length >> bits) & 255));
  } else if (payload.length >= 126) {
    length = "\xfe" + String.fromCharCode(payload.length >> 8, payload.length & 255);
  }
  let masked = "";
  for (let at = 0; at < payload.length; at++) {
    masked += String.fromCharCode(payload.charCodeAt(at) ^ mask.charCodeAt(at & 3));
  }
  return String.fromCharCode(first) + length + mask + masked;
}

/** The bytes of a frame as a server sends it. */
export function served(opcode: number, payload: string): string {
  if (payload.length < 126) return String.fromCharCode(0x80 | opcode, payload.length) + payload;
  return String.fromCharCode(0x80 | opcode, 126, payload.length >> 8, payload.length & 255) + payload;
}

/** Sends an upgrade and waits for its 101. */
export async function upgrade(peer: TcpPeer, path = "/sip", headers: Headers = {}): Promise<void> {
  peer.write(upgradeRequest(path, headers));
  while (!peer.text.includes("\r\n\r\n")) await peer.pieces.next();
  if (!peer.text.startsWith("HTTP/1.1 101 ")) throw new Error(peer.text);
  peer.text = peer.text.slice(peer.text.indexOf("\r\n\r\n") + 4);
}

export async function webPeer(port: number, headers: Headers = {}, localAddress = "127.0.0.1"): Promise<TcpPeer> {
  const peer = await TcpPeer.connect(port, "127.0.0.1", localAddress);
  await upgrade(peer, "/sip", headers);
  return peer;
}
