/** The result of reading a value: the value, or words for the admin. Must not know which values there are. */
import { nearest } from "./nearest.ts";

/** A value, or why there is none. `at` and `length` are the part of the text that is wrong; undefined: all of it. */
export type Parsed<T> =
  | { readonly ok: true; readonly value: T; readonly warning?: string }
  | {
    readonly ok: false;
    readonly message: string;
    readonly hint: string;
    readonly at: number | undefined;
    readonly length: number | undefined;
  };

export function ok<T>(value: T, warning?: string): Parsed<T> {
  return warning === undefined ? { ok: true, value } : { ok: true, value, warning };
}

export function bad(message: string, hint?: string, at?: number, length?: number): Parsed<never> {
  return { ok: false, message, hint: hint ?? "", at, length };
}

/** `did you mean "x"?`, or the fallback. */
export function didYouMean(text: string, candidates: readonly string[], otherwise = ""): string {
  const word = nearest(text, candidates);
  return word === null ? otherwise : `did you mean "${word}"?`;
}

/** The text as shown in a message: bounded, in quotes, without control characters. */
export function quoted(text: string, limit = 60): string {
  // deno-lint-ignore no-control-regex
  const plain = text.replace(/[\u0000-\u001f\u007f-\u009f]/g, "·");
  return `"${plain.length > limit ? `${plain.slice(0, limit - 3)}...` : plain}"`;
}
