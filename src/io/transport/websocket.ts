/**
 * Cuts the bytes of one WebSocket connection (RFC 6455, the server's side) into SIP messages, and puts messages into
 * frames. Begins with the HTTP request (upgrade.ts). Knows no sockets and no clock; never throws.
 *
 * | state    | on                                            | to       |
 * | -------- | --------------------------------------------- | -------- |
 * | request  | a request that is an upgrade to `sip`          | open     |
 * | request  | any other request, or none within 8 KiB        | closed   |
 * | open     | a close frame, or what RFC 6455 does not allow | closed   |
 *
 * One SIP message is one WebSocket message, in one frame or in fragments (RFC 7118 §5). Our own of 2026-12-01: Bun's
 * server takes no new certificate while it runs, does not tell the local address, and has no place for PROXY protocol.
 */
import type { Frame, FramingLimits } from "../../core/sip/framing.ts";
import { readLatin1 } from "./latin1.ts";
import { answerUpgrade, refuse, type UpgradeAnswer, type WebListener } from "./upgrade.ts";

/** `reply`: text to be written as it is; `end` says why the connection ends with it, empty: it does not. */
export type WebFrame =
  | Exclude<Frame, { kind: "ping" }>
  | { readonly kind: "ping"; readonly pong?: string }
  | { readonly kind: "reply"; readonly text: string; readonly end: string };

type State = "request" | "open" | "closed";

const MAX_REQUEST_BYTES = 8192;
/** RFC 6455 §5.5. */
const MAX_CONTROL_BYTES = 125;
const CONTINUATION = 0;
const TEXT = 1;
const BINARY = 2;
const CLOSE = 8;
const PING = 9;
const PONG = 10;
/** Close codes of RFC 6455 §7.4.1. */
const NORMAL = 1000;
export const GOING_AWAY = 1001;
const PROTOCOL_ERROR = 1002;
const TOO_LARGE = 1009;
const NOTHING: readonly WebFrame[] = [];

/** One per connection; see the file header. */
export class WebSocketFramer {
  private readonly limits: FramingLimits;
  private readonly listener: WebListener;
  private state: State = "request";
  /** Bytes that are no whole frame yet, in the order they came; our own copies. */
  private pieces: Buffer[] = [];
  private pieceBytes = 0;
  /** With fewer bytes there is nothing to look for. */
  private wanted = 1;
  /** Of a message in fragments: what came so far. */
  private fragments: string[] = [];
  private fragmentBytes = 0;
  private isFragmented = false;
  private closeCode = NORMAL;
  private hasSentClose = false;
  private found: WebFrame[] | null = null;
  /** What proxies wrote into the upgrade; its reader empties it. */
  forwardedFor = "";

  constructor(limits: FramingLimits, listener: WebListener) {
    this.limits = limits;
    this.listener = listener;
  }

  get isUpgraded(): boolean {
    return this.state === "open";
  }

  /** Bytes that are held of what is not complete. */
  get heldBytes(): number {
    return this.pieceBytes + this.fragmentBytes;
  }

  /** Takes the next bytes and returns what they completed, in order. After a frame that ends it, nothing more comes. */
  feed(bytes: Buffer): readonly WebFrame[] {
    if (this.state === "closed") return NOTHING;
    if (this.pieceBytes + bytes.length < this.wanted) {
      this.hold(bytes);
      return NOTHING;
    }
    let data = bytes;
    if (this.pieceBytes > 0) {
      data = Buffer.concat([...this.pieces, bytes]);
      this.pieces = [];
      this.pieceBytes = 0;
    }
    this.wanted = 1;
    this.found = null;
    const end = this.state === "request" ? this.readRequest(data) : 0;
    const rest = this.isUpgraded ? this.readFrames(data, end) : end;
    if (!this.isClosed() && rest < data.length) this.hold(data.subarray(rest));
    const found = this.found;
    this.found = null;
    return found ?? NOTHING;
  }

  /** The frame that carries one message: text, or binary where its bytes are no UTF-8 (RFC 7118 §5). */
  frame(message: string): string {
    return header(isUtf8(message) ? TEXT : BINARY, message.length) + message;
  }

  /** A ping of ours. */
  ping(): string {
    return header(PING, 0);
  }

  /** The close frame of our end; empty if there was no upgrade or it was sent. */
  closing(reason: string, code = this.closeCode): string {
    if (this.hasSentClose || this.state === "request") return "";
    this.hasSentClose = true;
    const text = reason.slice(0, MAX_CONTROL_BYTES - 2).replace(/[^\x20-\x7e]/g, "?");
    return header(CLOSE, 2 + text.length) + String.fromCharCode(code >> 8, code & 255) + text;
  }

  /** Index behind the request; the end of the data if it is not complete or was refused. */
  private readRequest(data: Buffer): number {
    const end = data.indexOf("\r\n\r\n");
    if (end < 0 && data.length <= MAX_REQUEST_BYTES) return 0;
    if (end < 0 || end > MAX_REQUEST_BYTES) {
      this.answer(refuse("431 Request Header Fields Too Large", "The request is too large.\n"));
      return data.length;
    }
    this.answer(answerUpgrade(readLatin1(data, 0, end + 4), this.listener));
    return end + 4;
  }

  private answer(answer: UpgradeAnswer): void {
    this.forwardedFor = answer.forwardedFor;
    this.state = answer.end === "" ? "open" : "closed";
    // It has no close frame: it never was a WebSocket.
    this.hasSentClose = answer.end !== "";
    this.emit({ kind: "reply", text: answer.text, end: answer.end });
  }

  /** Index behind the last whole frame. */
  private readFrames(data: Buffer, from: number): number {
    let at = from;
    while (!this.isClosed()) {
      const left = data.length - at;
      // Two bytes, the longer length, the mask (RFC 6455 §5.2).
      this.wanted = 6;
      if (left < 2) break;
      const short = data[at + 1]! & 127;
      const maskAt = at + (short === 127 ? 10 : short === 126 ? 4 : 2);
      this.wanted = maskAt + 4 - at;
      const problem = this.problemOf(data[at]!, data[at + 1]!);
      if (problem !== "") {
        this.fail(PROTOCOL_ERROR, 400, problem);
        break;
      }
      if (left < this.wanted) break;
      const length = short === 127 ? lengthAt(data, at + 2) : short === 126 ? data.readUInt16BE(at + 2) : short;
      const isControl = (data[at]! & 8) !== 0;
      if (!isControl && this.fragmentBytes + length > this.limits.maxMessageBytes) {
        this.fail(TOO_LARGE, 513, "Message too large");
        break;
      }
      this.wanted += length;
      if (left < this.wanted) break;
      const payload = unmasked(data, maskAt, length);
      at += this.wanted;
      this.take(data[at - this.wanted]!, payload);
    }
    if (!this.isClosed()) return at;
    return data.length;
  }

  /** What RFC 6455 §5 does not allow of the first two bytes of a frame; empty if they are right. */
  private problemOf(first: number, second: number): string {
    const opcode = first & 15;
    const isFinal = (first & 128) !== 0;
    if ((first & 0x70) !== 0) return "Frame has reserved bits: no extension was agreed on";
    if ((second & 128) === 0) return "Frame is not masked";
    if (opcode > PONG || (opcode > BINARY && opcode < CLOSE)) return `Unknown frame type ${opcode}`;
    if (opcode >= CLOSE && (!isFinal || (second & 127) > MAX_CONTROL_BYTES)) return "Control frame is too large";
    if (opcode === CONTINUATION && !this.isFragmented) return "Fragment without a beginning";
    if ((opcode === TEXT || opcode === BINARY) && this.isFragmented) return "Message begins within another";
    return "";
  }

  private take(first: number, payload: string): void {
    switch (first & 15) {
      case CLOSE: {
        this.state = "closed";
        this.hasSentClose = true;
        // RFC 6455 §5.5.1: the code comes back.
        const code = payload.slice(0, 2);
        this.emit({ kind: "reply", text: header(CLOSE, code.length) + code, end: "Closed by its peer" });
        return;
      }
      case PING:
        return this.emit({ kind: "ping", pong: header(PONG, payload.length) + payload });
      case PONG:
        return;
    }
    if ((first & 128) === 0 || this.isFragmented) {
      this.isFragmented = true;
      if (payload !== "") this.fragments.push(payload);
      this.fragmentBytes += payload.length;
      if ((first & 128) === 0) return;
    }
    const text = this.isFragmented ? this.fragments.join("") : payload;
    this.fragments = [];
    this.fragmentBytes = 0;
    this.isFragmented = false;
    this.takeMessage(text);
  }

  private takeMessage(text: string): void {
    let at = 0;
    while (text.charCodeAt(at) === 13 || text.charCodeAt(at) === 10) at++;
    if (at < text.length) return this.emit({ kind: "message", text: at === 0 ? text : text.slice(at) });
    // RFC 5626 §3.5.1: a double CRLF is a ping, a single one a pong, or an old phone's keepalive.
    if (text.length >= 4) this.emit({ kind: "ping", pong: this.frame("\r\n") });
  }

  private fail(code: number, status: 400 | 513, reason: string): void {
    this.closeCode = code;
    this.state = "closed";
    this.pieces = [];
    this.fragments = [];
    this.pieceBytes = this.fragmentBytes = 0;
    this.emit({ kind: "malformed", text: "", problem: { status, reason } });
  }

  private hold(bytes: Buffer): void {
    // A copy: a piece of what the socket gave would keep all of it.
    this.pieces.push(Buffer.from(bytes));
    this.pieceBytes += bytes.length;
  }

  /** A call of its own because the compiler takes a state it has seen for a state that stays. */
  private isClosed(): boolean {
    return this.state === "closed";
  }

  private emit(frame: WebFrame): void {
    if (this.found === null) this.found = [frame];
    else this.found.push(frame);
  }
}

/** First bytes of a final frame of ours, one character a byte; a server masks nothing (RFC 6455 §5.1). */
function header(opcode: number, length: number): string {
  const first = 128 | opcode;
  if (length < 126) return String.fromCharCode(first, length);
  if (length < 65536) return String.fromCharCode(first, 126, length >> 8, length & 255);
  const low = length >>> 0;
  return String.fromCharCode(first, 127, 0, 0, 0, 0, low >>> 24, (low >> 16) & 255, (low >> 8) & 255, low & 255);
}

/** 64 bits; what does not fit into 53 is larger than any limit. */
function lengthAt(data: Buffer, at: number): number {
  return data.readUInt32BE(at) * 0x1_0000_0000 + data.readUInt32BE(at + 4);
}

/** The payload as text. Unmasked in place: these bytes are read only here. */
function unmasked(data: Buffer, maskAt: number, length: number): string {
  const from = maskAt + 4;
  for (let n = 0; n < length; n++) data[from + n] = data[from + n]! ^ data[maskAt + (n & 3)]!;
  return readLatin1(data, from, from + length);
}

const decoder = new TextDecoder("utf-8", { fatal: true });

/** Whether these bytes (one character a byte) are UTF-8; nearly all are ASCII. */
function isUtf8(text: string): boolean {
  let at = 0;
  while (at < text.length && text.charCodeAt(at) < 128) at++;
  if (at === text.length) return true;
  try {
    decoder.decode(Buffer.from(text, "latin1"));
    return true;
  } catch {
    return false;
  }
}
