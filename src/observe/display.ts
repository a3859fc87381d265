/**
 * Makes text from the network fit for a terminal: removes control characters, restores UTF-8, measures and cuts by display
 * width. Must not know SIP.
 */

const graphemes = new Intl.Segmenter(undefined, { granularity: "grapheme" });
const utf8 = new TextDecoder("utf-8", { fatal: true });

/** Columns the text takes on a terminal; wide characters count two. */
export function displayWidth(text: string): number {
  return isPlainAscii(text) ? text.length : Bun.stringWidth(text);
}

/**
 * Messages are handled as latin1 text, so a name in UTF-8 arrives as one character a byte. Restores it, and replaces
 * control characters and bidi overrides: the name of a caller must not move the cursor of an admin.
 */
export function readable(text: string): string {
  if (isPlainAscii(text)) return text;
  let restored = text;
  if (hasHighByte(text)) {
    try {
      restored = utf8.decode(Buffer.from(text, "latin1"));
    } catch {
      // Not UTF-8: it stays latin1.
    }
  }
  return withoutControls(restored);
}

/** Control characters, line ends and bidi overrides as `\ufffd`: the text stays on its line and in its direction. */
export function withoutControls(text: string): string {
  // deno-lint-ignore no-control-regex
  return text.replace(/[\u0000-\u001f\u007f-\u009f\u2028-\u202e\u2066-\u2069]/g, "\ufffd");
}

/**
 * `JSON.stringify` for a terminal. The plain one leaves DEL, C1 controls and bidi overrides as they are, which move a cursor
 * as an escape does. Here they are escaped (`\u009b`), and parse to the same value.
 */
export function jsonText(value: unknown, indent = 0): string {
  const escaped = (character: string) => "\\u" + character.charCodeAt(0).toString(16).padStart(4, "0");
  return JSON.stringify(value, null, indent).replace(/[\u007f-\u009f\u2028-\u202e\u2066-\u2069]/g, escaped);
}

/** As `text`, at most `width` columns wide; what is cut shows as `…`. */
export function clip(text: string, width: number): string {
  if (displayWidth(text) <= width) return text;
  if (width <= 0) return "";
  let clipped = "";
  let used = 0;
  for (const { segment } of graphemes.segment(text)) {
    const segmentWidth = displayWidth(segment);
    if (used + segmentWidth > width - 1) break;
    clipped += segment;
    used += segmentWidth;
  }
  return clipped + "…";
}

/** Fills with spaces on the right up to `width` columns. */
export function padEnd(text: string, width: number): string {
  const missing = width - displayWidth(text);
  return missing > 0 ? text + " ".repeat(missing) : text;
}

/** Fills with spaces on the left up to `width` columns. */
export function padStart(text: string, width: number): string {
  const missing = width - displayWidth(text);
  return missing > 0 ? " ".repeat(missing) + text : text;
}

function isPlainAscii(text: string): boolean {
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i);
    if (code < 0x20 || code > 0x7e) return false;
  }
  return true;
}

/** True if it can be bytes above 0x7f written as latin1: some such characters, none beyond one byte. */
function hasHighByte(text: string): boolean {
  let found = false;
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i);
    if (code > 0xff) return false;
    if (code > 0x7f) found = true;
  }
  return found;
}
