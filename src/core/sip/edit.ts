/** Changing a message in place: a list of replacements over the original text, joined once (F-02). */
import { elementEnd, nextElement } from "./scan.ts";
import { CONTENT_LENGTH } from "./header.ts";
import type { Message } from "./message.ts";

/** Replacements over one text. Positions are those of the original; replacements may not overlap. */
export class Edit {
  private readonly from: number[] = [];
  private readonly to: number[] = [];
  private readonly text: string[] = [];

  constructor(readonly raw: string) {}

  /**
   * Puts `text` in place of `[from, to)`. Insertions at one position keep their order, and stand before a replacement
   * that starts there.
   */
  replace(from: number, to: number, text: string): this {
    let i = this.from.length;
    while (i > 0 && (this.from[i - 1]! > from || (this.from[i - 1]! === from && this.to[i - 1]! > to))) i--;
    if (i === this.from.length) {
      this.from.push(from);
      this.to.push(to);
      this.text.push(text);
    } else {
      this.from.splice(i, 0, from);
      this.to.splice(i, 0, to);
      this.text.splice(i, 0, text);
    }
    return this;
  }

  insert(at: number, text: string): this {
    return this.replace(at, at, text);
  }

  /** Removes header line `n` of the message. */
  removeLine(message: Message, n: number): this {
    return this.replace(message.lineStart(n), message.lineEnd(n), "");
  }

  /** The edited text. */
  build(): string {
    const raw = this.raw;
    let out = "";
    let at = 0;
    for (let i = 0; i < this.from.length; i++) {
      out += raw.slice(at, this.from[i]!) + this.text[i]!;
      at = this.to[i]!;
    }
    return out + raw.slice(at);
  }
}

/** RFC 3261 §18.3: a message on a stream has a Content-Length. One that came in a datagram may have none. */
export function addLength(edit: Edit, message: Message): void {
  if (message.has(CONTENT_LENGTH)) return;
  edit.insert(message.bodyStart - 2, "Content-Length: " + (message.raw.length - message.bodyStart) + "\r\n");
}

/** Removes the first `count` elements of a comma-list header, and a line that becomes empty. Empty elements do not count. */
export function removeListHeads(edit: Edit, message: Message, id: number, count: number): void {
  const raw = message.raw;
  let left = count;
  for (let n = message.find(id); n >= 0 && left > 0; n = message.find(id, n + 1)) {
    const end = message.valueEnd(n);
    let at = nextElement(raw, message.valueStart(n), end);
    while (left > 0 && at < end) {
      const stop = elementEnd(raw, at, end);
      if (stop < 0) return;
      at = nextElement(raw, stop, end);
      left--;
    }
    if (at >= end) edit.removeLine(message, n);
    else edit.replace(message.valueStart(n), at, "");
  }
}
