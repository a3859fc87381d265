/**
 * A SIP message over its original bytes: one scan makes an index of header positions, everything else is read from
 * the text when it is asked for, and a message is changed by editing its text in place (`edit.ts`), so that what is
 * not ours passes unchanged to the byte (F-02). The text is latin1: one character a byte, bodies and UTF-8 included.
 *
 * Parsing never throws. A malformed message comes back with a `problem` that carries the status to answer.
 */
import { CALL_ID, CONTENT_LENGTH, CSEQ, FROM, headerId, MAX_FORWARDS, TO, VIA } from "./header.ts";
import { type NameAddr, parseNameAddr, parseNameAddrAt } from "./name_addr.ts";
import { digits, equalsIgnoreCase, isLws, isToken, isTokenChar, skipLws, splitList, trimLwsEnd } from "./scan.ts";
import { parseUriAt, type Uri } from "./uri.ts";
import { parseVia, type Via } from "./via.ts";

/** What is wrong with a message, and what to answer if it is a request. */
export interface Problem {
  readonly status: 400 | 413 | 416 | 505;
  /** For the log and the reason phrase: `CSeq method INVITE does not match OPTIONS`. */
  readonly text: string;
}

/** Bounds of one message; anything above is a problem, not a crash. */
export interface MessageLimits {
  readonly maxHeaders: number;
}

const DEFAULT_LIMITS: MessageLimits = { maxHeaders: 256 };
const UNLIMITED: MessageLimits = { maxHeaders: Infinity };
/** RFC 3261 §8.1.1.5: less than 2**31. */
export const MAX_CSEQ = 2147483647;
const STRIDE = 4;
const NO_LINES: readonly number[] = [];
/** Where {@link Message.scan} collects. Nothing of it outlives the call. */
const scanned: number[] = [];

export class Message {
  /** The whole message; trailing bytes of a datagram beyond Content-Length are cut off (RFC 3261 §18.3). */
  raw: string;
  /** Request method, or `""`. */
  method = "";
  /** Request-URI of a request; null for a response. */
  uri: Uri | null = null;
  /** Status of a response, 0 for a request. */
  status = 0;
  /** Position of the Request-URI in `raw`. */
  uriStart = 0;
  uriEnd = 0;
  /** Position of the first header line, and of the body. */
  headersStart = 0;
  bodyStart = 0;
  /** Where the empty line begins, or the line that broke the header section off. */
  private headersEnd = 0;
  cseq = -1;
  cseqMethod = "";
  problem: Problem | null = null;
  /** Top Via; null only if it is missing or malformed (then there is a problem). */
  via: Via | null = null;
  /** id, line start, value start, value end for each header line. */
  private index: readonly number[] = NO_LINES;
  /** A bit for each header id there is (modulo 32): most headers asked for are not there. */
  private present = 0;
  private fromHeader: NameAddr | null = null;
  private toHeader: NameAddr | null = null;
  private hasFolds = false;

  constructor(raw: string) {
    this.raw = raw;
  }

  get isRequest(): boolean {
    return this.status === 0;
  }

  /** Number of header lines. */
  get count(): number {
    return this.index.length / STRIDE;
  }

  idAt(n: number): number {
    return this.index[n * STRIDE]!;
  }

  /** Where line `n` starts. */
  lineStart(n: number): number {
    return this.index[n * STRIDE + 1]!;
  }

  /** Where the line after `n` starts. */
  lineEnd(n: number): number {
    return n + 1 < this.count ? this.index[n * STRIDE + STRIDE + 1]! : this.headersEnd;
  }

  valueStart(n: number): number {
    return this.index[n * STRIDE + 2]!;
  }

  valueEnd(n: number): number {
    return this.index[n * STRIDE + 3]!;
  }

  /** Number of the first line of header `id` at or after line `from`; -1 if there is none. */
  find(id: number, from = 0): number {
    if ((this.present & (1 << (id & 31))) === 0) return -1;
    const index = this.index;
    for (let i = from * STRIDE; i < index.length; i += STRIDE) if (index[i] === id) return i / STRIDE;
    return -1;
  }

  has(id: number): boolean {
    return this.find(id) >= 0;
  }

  /** Value of line `n`, trimmed, folds replaced by one space. */
  valueAt(n: number): string {
    const value = this.raw.slice(this.valueStart(n), this.valueEnd(n));
    return this.hasFolds ? unfold(value) : value;
  }

  /** Value of the first line of header `id`; undefined if there is none. */
  value(id: number): string | undefined {
    const n = this.find(id);
    return n < 0 ? undefined : this.valueAt(n);
  }

  /** True if the first line of header `id` has exactly this value: asked without cutting it out. */
  isValue(id: number, text: string): boolean {
    const n = this.find(id);
    if (n < 0) return false;
    const start = this.valueStart(n);
    return this.valueEnd(n) - start === text.length && this.raw.startsWith(text, start);
  }

  /** Values of all lines of header `id`, one entry a line. */
  values(id: number): string[] {
    const values: string[] = [];
    for (let n = this.find(id); n >= 0; n = this.find(id, n + 1)) values.push(this.valueAt(n));
    return values;
  }

  /** The elements of a comma-list header over all its lines; null if one of them is malformed. */
  list(id: number): string[] | null {
    const elements: string[] = [];
    for (let n = this.find(id); n >= 0; n = this.find(id, n + 1)) {
      const ofLine = splitList(this.valueAt(n));
      if (ofLine === null) return null;
      for (const element of ofLine) elements.push(element);
    }
    return elements;
  }

  /** Value of a header whose name is given in lower case, for headers without an id. */
  valueOf(name: string): string | undefined {
    for (let n = 0; n < this.count; n++) {
      const start = this.lineStart(n);
      const end = start + name.length;
      if (equalsIgnoreCase(this.raw, start, end, name) && !isTokenChar(this.raw.charCodeAt(end))) {
        return this.valueAt(n);
      }
    }
    return undefined;
  }

  /** Empty if there is none. */
  get callId(): string {
    const n = this.find(CALL_ID);
    return n < 0 ? "" : this.raw.slice(this.valueStart(n), this.valueEnd(n));
  }

  /** From; only to be asked of a message without a problem. */
  get from(): NameAddr {
    return this.fromHeader ??= this.nameAddr(FROM) ?? EMPTY_NAME_ADDR;
  }

  /** To; only to be asked of a message without a problem. */
  get to(): NameAddr {
    return this.toHeader ??= this.nameAddr(TO) ?? EMPTY_NAME_ADDR;
  }

  get body(): string {
    return this.raw.slice(this.bodyStart);
  }

  private nameAddr(id: number): NameAddr | null {
    const n = this.find(id);
    return n < 0 ? null : this.nameAddrAt(n);
  }

  private nameAddrAt(n: number): NameAddr | null {
    return this.hasFolds
      ? parseNameAddr(this.valueAt(n))
      : parseNameAddrAt(this.raw, this.valueStart(n), this.valueEnd(n));
  }

  /**
   * Reads the header section. For the parser below alone.
   * @returns the problem found, or null
   */
  scan(limits: MessageLimits): Problem | null {
    scanned.length = 0;
    const problem = this.scanLines(limits, scanned);
    // A list that has grown has room for as much again, and a call's request is kept for a while.
    this.index = scanned.slice();
    return problem;
  }

  private scanLines(limits: MessageLimits, index: number[]): Problem | null {
    const raw = this.raw;
    let at = this.headersStart;
    this.bodyStart = raw.length;
    for (;;) {
      const lineStart = this.headersEnd = at;
      if (raw.charCodeAt(at) === 13 && raw.charCodeAt(at + 1) === 10) {
        this.bodyStart = at + 2;
        return null;
      }
      let end = at - 1;
      for (;;) {
        const start = end + 1;
        end = raw.indexOf("\n", start);
        if (end < 0) return { status: 400, text: "The header section does not end with an empty line" };
        // A bare LF or CR would be a line end for some peers and none for others: a Contact or Route could hide behind it.
        if (raw.indexOf("\r", start) !== end - 1) {
          const hasEnd = raw.charCodeAt(end - 1) === 13;
          return { status: 400, text: hasEnd ? "A header line holds a CR" : "A header line ends without CR" };
        }
        // A folded line (RFC 3261 §7.3.1) goes on where the next one starts with white space.
        if (!isFold(raw, end + 1)) break;
        this.hasFolds = true;
      }
      let nameEnd = at;
      while (isTokenChar(raw.charCodeAt(nameEnd))) nameEnd++;
      let colon = nameEnd;
      while (raw.charCodeAt(colon) === 32 || raw.charCodeAt(colon) === 9) colon++;
      if (nameEnd === at || raw.charCodeAt(colon) !== 58) {
        return { status: 400, text: `Malformed header line "${excerpt(raw, at, end - 1)}"` };
      }
      if (index.length >= limits.maxHeaders * STRIDE) {
        return { status: 413, text: `More than ${limits.maxHeaders} header lines` };
      }
      const valueStart = skipLws(raw, colon + 1, end - 1);
      const id = headerId(raw, at, nameEnd);
      this.present |= 1 << (id & 31);
      index.push(id, lineStart, valueStart, trimLwsEnd(raw, valueStart, end - 1));
      at = end + 1;
    }
  }

  /** Checks what every message must have. For the parser below alone. */
  check(isDatagram: boolean): Problem | null {
    const raw = this.raw;
    const index = this.index;
    let seen = 0;
    let contentLength = -1;
    let fromLine = -1;
    let toLine = -1;
    /** The first thing that is wrong. */
    let text = "";
    for (let i = 0; i < index.length; i += STRIDE) {
      const id = index[i]!;
      const start = index[i + 2]!;
      const end = index[i + 3]!;
      switch (id) {
        case VIA:
          if (seen & (1 << VIA)) continue;
          this.via = parseVia(raw, start, end);
          if (this.via === null) text ||= `Malformed Via "${excerpt(raw, start, end)}"`;
          break;
        case CALL_ID:
          if (start === end) text ||= "Call-ID is empty";
          else if (hasLws(raw, start, end)) text ||= `Malformed Call-ID "${excerpt(raw, start, end)}"`;
          break;
        case CSEQ:
          this.readCseq(start, end);
          if (this.cseq < 0) {
            text ||= `Malformed CSeq "${excerpt(raw, start, end)}": expected a number below 2^31 and a method`;
          }
          break;
        case CONTENT_LENGTH: {
          const length = digits(raw, start, end, 1 << 30);
          if (length < 0) text ||= `Malformed Content-Length "${excerpt(raw, start, end)}"`;
          else if (contentLength >= 0 && contentLength !== length) text ||= "Two different Content-Length headers";
          contentLength = length;
          continue;
        }
        case MAX_FORWARDS:
          if (digits(raw, start, end, 65535) < 0) text ||= `Malformed Max-Forwards "${excerpt(raw, start, end)}"`;
          break;
        case FROM:
          fromLine = i / STRIDE;
          break;
        case TO:
          toLine = i / STRIDE;
          break;
        default:
          continue;
      }
      if (seen & (1 << id)) {
        text ||= `More than one ${raw.slice(index[i + 1]!, raw.indexOf(":", index[i + 1]!)).trim()} header`;
      }
      seen |= 1 << id;
    }
    const required = (1 << VIA) | (1 << FROM) | (1 << TO) | (1 << CALL_ID) | (1 << CSEQ);
    if ((seen & required) !== required) text ||= `Missing ${missing(seen)}`;
    if (text !== "") return { status: 400, text };
    this.fromHeader = this.nameAddrAt(fromLine);
    this.toHeader = this.nameAddrAt(toLine);
    if (this.fromHeader === null) return { status: 400, text: "Malformed From" };
    if (this.toHeader === null) return { status: 400, text: "Malformed To" };
    if (this.isRequest && this.cseqMethod !== this.method) {
      const methods = `${excerpt(this.cseqMethod, 0)} does not match ${excerpt(this.method, 0)}`;
      return { status: 400, text: "CSeq method " + methods };
    }
    if (contentLength >= 0) {
      const bodyLength = raw.length - this.bodyStart;
      // Sent on over a stream, what is more than announced would be read as a second message.
      if (bodyLength < contentLength || (bodyLength > contentLength && !isDatagram)) {
        return { status: 400, text: `Content-Length is ${contentLength}, but ${bodyLength} bytes follow` };
      }
      if (bodyLength > contentLength) this.raw = raw.slice(0, this.bodyStart + contentLength);
    }
    return null;
  }

  private readCseq(start: number, end: number): void {
    const raw = this.raw;
    let i = start;
    while (i < end && !isLws(raw.charCodeAt(i))) i++;
    const number = digits(raw, start, i, MAX_CSEQ);
    const methodStart = skipLws(raw, i, end);
    const { method } = this;
    const isOwn = method !== "" && method.length === end - methodStart && raw.startsWith(method, methodStart);
    const cseqMethod = isOwn ? method : raw.slice(methodStart, end);
    if (number < 0 || (!isOwn && !isToken(cseqMethod))) return;
    this.cseq = number;
    this.cseqMethod = cseqMethod;
  }
}

/**
 * Parses one message, as a datagram held it or as the stream framer cut it out.
 * @param raw latin1 text, not empty
 * @param isDatagram bytes beyond Content-Length are cut off (RFC 3261 §18.3); of what came otherwise they are a problem
 * @returns the message, with `problem` set if it is malformed; then only what was readable can be asked
 */
export function parseMessage(raw: string, isDatagram = true, limits: MessageLimits = DEFAULT_LIMITS): Message {
  const message = new Message(raw);
  const lineEnd = raw.indexOf("\n") - 1;
  if (lineEnd < 0 || raw.charCodeAt(lineEnd) !== 13) {
    message.bodyStart = raw.length;
    message.problem = { status: 400, text: lineEnd === -2 ? "No line end" : "The start line ends without CR" };
    return message;
  }
  message.headersStart = lineEnd + 2;
  // No method has a "/": a text that begins with SIP/ is meant as a response, and responses are never answered.
  const problem = equalsIgnoreCase(raw, 0, 4, "sip/")
    ? readStatusLine(message, lineEnd)
    : readRequestLine(message, lineEnd);
  const scanned = message.scan(limits);
  const checked = scanned === null ? message.check(isDatagram) : lenientCheck(message);
  // A wrong version is reported first: the headers of another version may look different.
  message.problem = problem ?? scanned ?? checked;
  return message;
}

/** Parses what we sent: it was within the limits when it came in, and has our own lines besides. */
export function parseSent(wire: string): Message {
  return parseMessage(wire, true, UNLIMITED);
}

/** After a broken header section: reads what an answer needs. */
function lenientCheck(message: Message): null {
  message.check(true);
  return null;
}

function readStatusLine(message: Message, lineEnd: number): Problem | null {
  const raw = message.raw;
  const status = digits(raw, 8, Math.min(11, lineEnd), 699);
  message.status = status >= 100 ? status : 999;
  const isWhole = equalsIgnoreCase(raw, 0, 8, "sip/2.0 ") && raw.indexOf("\r") === lineEnd;
  if (status < 100 || !isWhole || (lineEnd > 11 && raw.charCodeAt(11) !== 32)) {
    return { status: 400, text: `Malformed status line "${excerpt(raw, 0, lineEnd)}"` };
  }
  return null;
}

function readRequestLine(message: Message, lineEnd: number): Problem | null {
  const raw = message.raw;
  const methodEnd = raw.indexOf(" ");
  if (methodEnd <= 0 || methodEnd > lineEnd) return requestLineProblem(raw, lineEnd);
  message.method = methodAt(raw, methodEnd);
  const uriEnd = raw.indexOf(" ", methodEnd + 1);
  if (!isToken(message.method) || uriEnd < 0 || uriEnd > lineEnd) return requestLineProblem(raw, lineEnd);
  message.uriStart = methodEnd + 1;
  message.uriEnd = uriEnd;
  // §7.1: the version is compared without regard to case.
  if (!equalsIgnoreCase(raw, uriEnd + 1, lineEnd, "sip/2.0")) {
    const version = raw.slice(uriEnd + 1, lineEnd);
    return /^SIP\/\d+\.\d+$/i.test(version)
      ? { status: 505, text: `Version ${excerpt(version, 0)} is not supported` }
      : requestLineProblem(raw, lineEnd);
  }
  const uri = parseUriAt(raw, message.uriStart, uriEnd);
  if (uri === null) return { status: 400, text: `Malformed Request-URI "${excerpt(raw, message.uriStart, uriEnd)}"` };
  // RFC 3261 §19.1.1: a Request-URI has no headers part; a Route hidden in one must never become a Route.
  if (uri.headers !== "") return { status: 400, text: "The Request-URI has a headers part" };
  message.uri = uri;
  return null;
}

const METHODS = [
  "REGISTER",
  "INVITE",
  "ACK",
  "BYE",
  "CANCEL",
  "OPTIONS",
  "MESSAGE",
  "INFO",
  "UPDATE",
  "PRACK",
  "SUBSCRIBE",
  "NOTIFY",
  "PUBLISH",
  "REFER",
];

/** The common ones are constants: nothing is cut out for them. */
function methodAt(raw: string, end: number): string {
  for (const method of METHODS) if (method.length === end && raw.startsWith(method)) return method;
  return raw.slice(0, end);
}

function requestLineProblem(raw: string, lineEnd: number): Problem {
  return { status: 400, text: `Malformed request line "${excerpt(raw, 0, lineEnd)}"` };
}

function isFold(raw: string, at: number): boolean {
  const code = raw.charCodeAt(at);
  return code === 32 || code === 9;
}

/** Each fold and the white space around it becomes one space (RFC 3261 §7.3.1). In one pass, however long that is. */
function unfold(value: string): string {
  let fold = value.indexOf("\r\n");
  if (fold < 0) return value;
  let out = "";
  let at = 0;
  for (; fold >= 0; fold = value.indexOf("\r\n", at)) {
    out += value.slice(at, trimLwsEnd(value, at, fold)) + " ";
    at = skipLws(value, fold, value.length);
  }
  return out + value.slice(at);
}

function hasLws(raw: string, start: number, end: number): boolean {
  for (let i = start; i < end; i++) if (isLws(raw.charCodeAt(i))) return true;
  return false;
}

/** At most 60 printable characters for a log line. */
function excerpt(raw: string, start: number, end = raw.length): string {
  return raw.slice(start, Math.min(end, start + 60)).replace(/[^\x20-\x7e]/g, ".");
}

function missing(seen: number): string {
  const names: [number, string][] = [[VIA, "Via"], [FROM, "From"], [TO, "To"], [CALL_ID, "Call-ID"], [CSEQ, "CSeq"]];
  return names.filter(([id]) => !(seen & (1 << id))).map(([, name]) => name).join(", ");
}

const EMPTY_NAME_ADDR: NameAddr = { display: "", uriText: "", uri: null, params: "", tag: "" };
