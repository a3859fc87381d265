/**
 * Cuts the byte stream of one connection into SIP messages (RFC 3261 §18.3) and keepalives (RFC 5626 §3.5.1).
 * Text is latin1: one character a byte. Knows nothing of sockets: the reader of the connection feeds it.
 *
 * Work is linear in the bytes fed, however they are torn: pieces are collected in an array and joined once, and the
 * end of the header section is searched in new bytes alone (with the last three carried over).
 */

/** Why a stream cannot be cut into messages any more. Answer if possible, then close the connection. */
export interface FramingProblem {
  /** Status to answer with if the text can be answered at all: 400, or 513 for what is too large. */
  readonly status: 400 | 513;
  /** Sentence case, no period; fit for a Reason phrase or a log line. */
  readonly reason: string;
}

/** What a stream gave: a complete message, a ping (double CRLF, to be answered with one CRLF), or its end. */
export type Frame =
  | { readonly kind: "message"; readonly text: string }
  | { readonly kind: "ping" }
  | { readonly kind: "malformed"; readonly text: string; readonly problem: FramingProblem };

/** Bounds of one message, in bytes. */
export interface FramingLimits {
  readonly maxHeaderBytes: number;
  /** Header section and body together. */
  readonly maxMessageBytes: number;
}

/**
 * `gap`: between messages, CRLFs are skipped and counted. `header`: until the empty line. `body`: until
 * Content-Length is reached. `dead`: after a malformed frame, everything is ignored.
 */
type Phase = "gap" | "header" | "body" | "dead";

const PING: Frame = { kind: "ping" };
const NOTHING: readonly Frame[] = [];
const CR = 13;
const LF = 10;

/** Small pieces are joined into a block when so many are at hand, so that a stream torn into bytes costs little memory. */
const PIECES_PER_BLOCK = 256;
/** How much of a stream that is not SIP is handed on for the log. */
const GARBAGE_SHOWN = 256;

/** One per connection; see the file header. */
export class StreamFramer {
  private readonly limits: FramingLimits;
  private phase: Phase = "gap";
  /** How much of a ping (CRLF CRLF) the gap ends with: 0 nothing, 1 CR, 2 CRLF, 3 CRLF CR. */
  private gap = 0;
  private blocks: string[] = [];
  private pieces: string[] = [];
  /** Characters in blocks and pieces. */
  private heldLength = 0;
  /** How much of CR LF CR LF the header section read so far ends with. */
  private matched = 0;
  /** Length the message will have; only in `body`. */
  private messageLength = 0;
  private frames: Frame[] | null = null;

  constructor(limits: FramingLimits) {
    this.limits = limits;
  }

  /** Bytes of an unfinished message that are held. */
  get heldBytes(): number {
    return this.heldLength;
  }

  /** True after a malformed frame: the connection cannot be read any further. */
  get isDead(): boolean {
    return this.phase === "dead";
  }

  /** Takes the next bytes and returns what they completed, in order. Never throws. A malformed frame is the last one. */
  feed(chunk: string): readonly Frame[] {
    this.frames = null;
    let at = 0;
    while (at < chunk.length) {
      switch (this.phase) {
        case "gap":
          at = this.readGap(chunk, at);
          break;
        case "header":
          at = this.readHeader(chunk, at);
          break;
        case "body":
          at = this.readBody(chunk, at);
          break;
        case "dead":
          at = chunk.length;
      }
    }
    const frames = this.frames;
    this.frames = null;
    return frames ?? NOTHING;
  }

  private emit(frame: Frame): void {
    if (this.frames === null) this.frames = [frame];
    else this.frames.push(frame);
  }

  private readGap(chunk: string, from: number): number {
    let at = from;
    for (; at < chunk.length; at++) {
      const code = chunk.charCodeAt(at);
      if (code === CR) {
        // A CR after a CR starts over: the first one was no line end.
        this.gap = this.gap === 2 ? 3 : 1;
      } else if (code === LF) {
        if (this.gap === 3) {
          this.gap = 0;
          this.emit(PING);
        } else {
          this.gap = this.gap === 1 ? 2 : 0;
        }
      } else break;
    }
    if (at === chunk.length) return at;
    this.gap = 0;
    if (!isTokenCode(chunk.charCodeAt(at))) {
      this.fail(chunk.slice(at, at + GARBAGE_SHOWN), 400, "Not a SIP message");
      return chunk.length;
    }
    this.phase = "header";
    this.matched = 0;
    return at;
  }

  private readHeader(chunk: string, from: number): number {
    const end = this.findHeaderEnd(chunk, from);
    const stop = end < 0 ? chunk.length : end;
    if (this.heldLength + stop - from > this.limits.maxHeaderBytes) {
      const room = this.limits.maxHeaderBytes - this.heldLength;
      this.hold(chunk.slice(from, from + room));
      this.fail(this.take(), 513, "Header section too large");
      return chunk.length;
    }
    if (end < 0) {
      this.hold(from === 0 ? chunk : chunk.slice(from));
      return chunk.length;
    }
    const isWhole = this.heldLength === 0;
    if (!isWhole) this.hold(chunk.slice(from, end));
    const header = isWhole ? chunk.slice(from, end) : this.take();
    if (!isSipStartLine(header)) {
      this.fail(header.slice(0, GARBAGE_SHOWN), 400, "Not a SIP message");
      return chunk.length;
    }
    const bodyLength = contentLength(header);
    if (typeof bodyLength !== "number") {
      this.fail(header, 400, bodyLength);
      return chunk.length;
    }
    if (header.length + bodyLength > this.limits.maxMessageBytes) {
      this.fail(header, 513, "Message too large");
      return chunk.length;
    }
    const messageEnd = end + bodyLength;
    if (messageEnd <= chunk.length) {
      let text: string;
      if (isWhole) text = from === 0 && messageEnd === chunk.length ? chunk : chunk.slice(from, messageEnd);
      else text = bodyLength === 0 ? header : header + chunk.slice(end, messageEnd);
      this.finish(text);
      return messageEnd;
    }
    this.hold(header);
    this.messageLength = header.length + bodyLength;
    this.phase = "body";
    return end;
  }

  private readBody(chunk: string, from: number): number {
    const missing = this.messageLength - this.heldLength;
    const end = Math.min(chunk.length, from + missing);
    this.hold(chunk.slice(from, end));
    if (this.heldLength === this.messageLength) this.finish(this.take());
    return end;
  }

  /** Index just behind the CR LF CR LF that ends the header section, or -1; remembers a match that is cut off. */
  private findHeaderEnd(chunk: string, from: number): number {
    let at = from;
    // The match may have begun in an earlier chunk; it is decided within the first three characters.
    while (this.matched > 0 && at < chunk.length) {
      const code = chunk.charCodeAt(at);
      if (code === (this.matched === 2 ? CR : LF)) {
        this.matched++;
        at++;
        if (this.matched === 4) {
          this.matched = 0;
          return at;
        }
      } else {
        this.matched = 0;
      }
    }
    if (at === chunk.length) return -1;
    const found = chunk.indexOf("\r\n\r\n", at);
    if (found >= 0) return found + 4;
    if (chunk.endsWith("\r\n\r") && chunk.length - at >= 3) this.matched = 3;
    else if (chunk.endsWith("\r\n") && chunk.length - at >= 2) this.matched = 2;
    else if (chunk.charCodeAt(chunk.length - 1) === CR) this.matched = 1;
    return -1;
  }

  private hold(piece: string): void {
    if (piece.length === 0) return;
    this.pieces.push(piece);
    this.heldLength += piece.length;
    if (this.pieces.length === PIECES_PER_BLOCK) {
      this.blocks.push(this.pieces.join(""));
      this.pieces = [];
    }
  }

  private take(): string {
    const tail = this.pieces.length === 1 ? this.pieces[0]! : this.pieces.join("");
    const text = this.blocks.length === 0 ? tail : this.blocks.join("") + tail;
    this.blocks = [];
    this.pieces = [];
    this.heldLength = 0;
    return text;
  }

  private finish(text: string): void {
    this.phase = "gap";
    this.gap = 0;
    this.emit({ kind: "message", text });
  }

  private fail(text: string, status: 400 | 513, reason: string): void {
    this.phase = "dead";
    this.take();
    this.emit({ kind: "malformed", text, problem: { status, reason } });
  }
}

/**
 * Body length that a header section announces (Content-Length, or `l`, RFC 3261 §20.14), or why it is unknown. Without
 * Content-Length it is 0 if there is no Content-Type either; with a Content-Type it is unknown. Repeated headers with the
 * same value count as one.
 */
export function contentLength(header: string): number | string {
  let length = -1;
  let hasContentType = false;
  let at = header.indexOf("\r\n") + 2;
  while (at > 1 && at < header.length) {
    let next = header.indexOf("\r\n", at);
    if (next < 0) next = header.length;
    const first = header.charCodeAt(at) | 0x20;
    if (first === 0x63 || first === 0x6c) {
      const name = headerName(header, at, next);
      if (name === "c" || name === "content-type") hasContentType = true;
      else if (name === "l" || name === "content-length") {
        const colon = header.indexOf(":", at);
        // RFC 3261 §7.3.1: a line that starts with white space continues the value.
        while (next + 2 < header.length && isBlank(header.charCodeAt(next + 2))) {
          next = header.indexOf("\r\n", next + 2);
          if (next < 0) next = header.length;
        }
        const value = parseLength(header, colon + 1, next);
        if (value < 0) return "Bad Content-Length";
        if (length >= 0 && length !== value) return "Content-Length given twice with different values";
        length = value;
      }
    }
    at = next + 2;
  }
  if (length >= 0) return length;
  return hasContentType ? "Missing Content-Length" : 0;
}

/** Lower-case name of the header line that starts at `at`, without blanks before its colon; empty if it has no colon. */
function headerName(header: string, at: number, lineEnd: number): string {
  let end = at;
  while (end < lineEnd && end - at < 16) {
    const code = header.charCodeAt(end);
    if (code === 0x3a || isBlank(code)) break;
    end++;
  }
  const name = header.slice(at, end).toLowerCase();
  while (end < lineEnd && isBlank(header.charCodeAt(end))) end++;
  return header.charCodeAt(end) === 0x3a ? name : "";
}

/** Digits with white space and line folds around them; -1 for anything else. Saturates far above any limit. */
function parseLength(header: string, from: number, end: number): number {
  let at = from;
  while (at < end && isSpace(header.charCodeAt(at))) at++;
  let stop = end;
  while (stop > at && isSpace(header.charCodeAt(stop - 1))) stop--;
  if (at === stop) return -1;
  let value = 0;
  for (; at < stop; at++) {
    const digit = header.charCodeAt(at) - 0x30;
    if (digit < 0 || digit > 9) return -1;
    value = Math.min(value * 10 + digit, Number.MAX_SAFE_INTEGER);
  }
  return value;
}

/** A status line, or a request line: anything whose last word starts with `SIP/`. The parser judges the rest. */
function isSipStartLine(header: string): boolean {
  if (startsWithSip(header, 0)) return true;
  let end = header.indexOf("\r\n");
  while (end > 0 && isBlank(header.charCodeAt(end - 1))) end--;
  const lastBlank = header.lastIndexOf(" ", end - 1);
  return lastBlank > 0 && startsWithSip(header, lastBlank + 1);
}

/** RFC 3261 §7.1: the version is compared without regard to case. */
function startsWithSip(text: string, at: number): boolean {
  return (text.charCodeAt(at) | 0x20) === 0x73 && (text.charCodeAt(at + 1) | 0x20) === 0x69 &&
    (text.charCodeAt(at + 2) | 0x20) === 0x70 && text.charCodeAt(at + 3) === 0x2f;
}

function isBlank(code: number): boolean {
  return code === 0x20 || code === 0x09;
}

function isSpace(code: number): boolean {
  return code === 0x20 || code === 0x09 || code === CR || code === LF;
}

/** RFC 3261 §25.1 token: letters, digits and - . ! % * _ + ` ' ~ */
function isTokenCode(code: number): boolean {
  if (code >= 0x30 && code <= 0x39) return true;
  const lower = code | 0x20;
  if (lower >= 0x61 && lower <= 0x7a) return code < 0x80;
  return code < 0x80 && "-.!%*_+`'~".includes(String.fromCharCode(code));
}
