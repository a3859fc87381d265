/**
 * The character level of SIP: linear white space, quoted strings, lists, parameters. Knows no header by name.
 * Positions in, positions or copies out; nothing here throws.
 */

const TAB = 9;
const LF = 10;
const CR = 13;
const SP = 32;
const QUOTE = 34;
const COMMA = 44;
const SEMICOLON = 59;
const LESS = 60;
const EQUALS = 61;
const GREATER = 62;
const BACKSLASH = 92;

/** True for the characters that LWS is made of (RFC 3261 §25.1), folds included. */
export function isLws(code: number): boolean {
  return code === SP || code === TAB || code === CR || code === LF;
}

/** First position at or after `at` that is not LWS, at most `end`. */
export function skipLws(text: string, at: number, end: number): number {
  while (at < end && isLws(text.charCodeAt(at))) at++;
  return at;
}

/** Position after the last non-LWS character of `[start, at)`. */
export function trimLwsEnd(text: string, start: number, at: number): number {
  while (at > start && isLws(text.charCodeAt(at - 1))) at--;
  return at;
}

const TOKEN_CHARS = new Uint8Array(128);
for (const char of "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-.!%*_+`'~") {
  TOKEN_CHARS[char.charCodeAt(0)] = 1;
}

/** RFC 3261 §25.1 `token`. */
export function isTokenChar(code: number): boolean {
  return code < 128 && TOKEN_CHARS[code] === 1;
}

/** True if `text` is one or more token characters. */
export function isToken(text: string): boolean {
  for (let i = 0; i < text.length; i++) if (!isTokenChar(text.charCodeAt(i))) return false;
  return text.length > 0;
}

/** Position after the quoted string that opens at `at`, or -1 if it is not closed before `end`. */
export function skipQuoted(text: string, at: number, end: number): number {
  for (let i = at + 1; i < end; i++) {
    const code = text.charCodeAt(i);
    if (code === BACKSLASH) i++;
    else if (code === QUOTE) return i + 1;
  }
  return -1;
}

/**
 * End of the list element that starts at `start`: the next comma outside quotes and angle brackets, or `end`;
 * -1 if a quote or bracket is not closed.
 */
export function elementEnd(text: string, start: number, end: number): number {
  let inBrackets = false;
  for (let i = start; i < end; i++) {
    const code = text.charCodeAt(i);
    if (code === COMMA && !inBrackets) return i;
    if (code === QUOTE && !inBrackets) {
      i = skipQuoted(text, i, end) - 1;
      if (i < 0) return -1;
    } else if (code === LESS) inBrackets = true;
    else if (code === GREATER) inBrackets = false;
  }
  return inBrackets ? -1 : end;
}

/** Start of the first element at or after `at` that is not empty; `end` if there is none. */
export function nextElement(text: string, at: number, end: number): number {
  while (at < end && (isLws(text.charCodeAt(at)) || text.charCodeAt(at) === COMMA)) at++;
  return at;
}

/** The elements of a comma list, trimmed, empty ones left out; null if a quote or bracket is not closed. */
export function splitList(value: string): string[] | null {
  const elements: string[] = [];
  for (let at = 0; at < value.length;) {
    const end = elementEnd(value, at, value.length);
    if (end < 0) return null;
    const element = value.slice(skipLws(value, at, end), trimLwsEnd(value, at, end));
    if (element) elements.push(element);
    at = end + 1;
  }
  return elements;
}

/** Case-insensitive (ASCII) equality of `[start, end)` with `lower`, which is in lower case. */
export function equalsIgnoreCase(text: string, start: number, end: number, lower: string): boolean {
  if (end - start !== lower.length) return false;
  for (let i = 0; i < lower.length; i++) {
    let code = text.charCodeAt(start + i);
    if (code >= 65 && code <= 90) code |= 32;
    if (code !== lower.charCodeAt(i)) return false;
  }
  return true;
}

/** Where one `;name=value` stands: `nameStart` is after the semicolon, the value without LWS; `valueStart` -1: no `=`. */
export interface ParamSpan {
  semicolon: number;
  nameStart: number;
  nameEnd: number;
  valueStart: number;
  valueEnd: number;
  /** Position of the next semicolon, or the end. */
  next: number;
}

/**
 * The parameter that begins with the semicolon at or after `at`.
 * @returns null at the end, or if what stands there is no parameter list (a quote is open)
 */
export function nextParam(text: string, at: number, end: number): ParamSpan | null {
  at = skipLws(text, at, end);
  if (at >= end || text.charCodeAt(at) !== SEMICOLON) return null;
  const semicolon = at;
  const nameStart = skipLws(text, at + 1, end);
  let i = nameStart;
  let equals = -1;
  for (; i < end; i++) {
    const code = text.charCodeAt(i);
    if (code === SEMICOLON) break;
    if (code === EQUALS && equals < 0) equals = i;
    else if (code === QUOTE) {
      i = skipQuoted(text, i, end) - 1;
      if (i < 0) return null;
    }
  }
  const nameEnd = trimLwsEnd(text, nameStart, equals < 0 ? i : equals);
  const valueStart = equals < 0 ? -1 : skipLws(text, equals + 1, i);
  const valueEnd = equals < 0 ? -1 : trimLwsEnd(text, valueStart, i);
  return { semicolon, nameStart, nameEnd, valueStart, valueEnd, next: i };
}

/**
 * Value of a parameter in a list that begins at its first semicolon.
 * @param name in lower case
 * @returns undefined if absent, `""` if it has no value; quotes stay
 */
export function paramOf(text: string, name: string, at = 0, end = text.length): string | undefined {
  for (let span = nextParam(text, at, end); span !== null; span = nextParam(text, span.next, end)) {
    if (equalsIgnoreCase(text, span.nameStart, span.nameEnd, name)) {
      return span.valueStart < 0 ? "" : text.slice(span.valueStart, span.valueEnd);
    }
  }
  return undefined;
}

/** The list without the parameter `name` (lower case), everything else to the byte. */
export function withoutParam(text: string, name: string): string {
  let out = "";
  let at = 0;
  for (let span = nextParam(text, 0, text.length); span !== null; span = nextParam(text, span.next, text.length)) {
    if (equalsIgnoreCase(text, span.nameStart, span.nameEnd, name)) {
      out += text.slice(at, span.semicolon);
      at = span.next;
    }
  }
  return at === 0 ? text : out + text.slice(at);
}

/** Content of a quoted string, escapes resolved; other text as it is. */
export function unquote(text: string): string {
  if (text.length < 2 || text.charCodeAt(0) !== QUOTE) return text;
  const inner = text.slice(1, -1);
  return inner.includes("\\") ? inner.replace(/\\(.)/gs, "$1") : inner;
}

/** A digits-only number up to `max`; -1 for anything else (RFC 4475 §3.1.2.4: overlarge scalars are errors, not wraps). */
export function digits(text: string, start: number, end: number, max: number): number {
  if (start >= end) return -1;
  let value = 0;
  for (let i = start; i < end; i++) {
    const code = text.charCodeAt(i);
    if (code < 48 || code > 57) return -1;
    value = value * 10 + (code - 48);
    if (value > max) return -1;
  }
  return value;
}

/** A copy that does not keep its parent string alive, for what is stored longer than its message. */
export function detached(text: string): string {
  // A join copies. JavaScriptCore optimizes `(" " + text).slice(1)` away: the piece still points into its message.
  return text.length === 0 ? "" : ["", text].join("");
}
