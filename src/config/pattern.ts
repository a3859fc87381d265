/**
 * Owns the regular expressions of the config. They meet text from the network, so they run on an engine whose time grows
 * with the length of the text (RE2), never with 2^n or n³ as backtracking does, on a bounded piece of the text.
 * Loads the engine with the first pattern: it takes 12 MB and 25 ms, and few configs have one.
 */
import type { RE2JS } from "re2js";

/** Characters of a header a pattern sees. As many of a User-Agent are stored and shown. */
export const PATTERN_SEES = 255;
/** Steps of the compiled pattern. `^Acrobits/(\d+)\..*iOS` has 26; with 500 the worst text takes about 10 ms. */
const MAX_STEPS = 500;
/** Of all `{n}` and `{n,m}` together: each makes n copies, so that compiling `(x{99}){99}` takes long. */
const MAX_COPIES = 100;

/** A compiled pattern. */
export class Pattern {
  constructor(private readonly engine: RE2JS) {}

  /** True if it matches somewhere in the first {@link PATTERN_SEES} characters. */
  test(text: string): boolean {
    return this.engine.test(text.length > PATTERN_SEES ? text.slice(0, PATTERN_SEES) : text);
  }
}

/** The pattern of this text, or why there is none, in words. */
export function compilePattern(text: string): Pattern | { reason: string } {
  const copies = copiesIn(text);
  if (copies > MAX_COPIES) {
    return { reason: `its counts in braces add up to ${copies}, and to ${MAX_COPIES} at most` };
  }
  let engine: RE2JS;
  try {
    engine = (require("re2js") as typeof import("re2js")).RE2JS.compile(text);
  } catch (error) {
    return { reason: reasonOf(text, error instanceof Error ? error.message : "") };
  }
  const steps = engine.programSize();
  return steps > MAX_STEPS
    ? { reason: `it has ${steps} steps, and ${MAX_STEPS} at most: shorten it` }
    : new Pattern(engine);
}

function copiesIn(text: string): number {
  let copies = 0;
  for (const [, least, most] of text.matchAll(/\{(\d{1,9})(?:,(\d{0,9}))?\}/g)) copies += Number(most || least);
  return copies;
}

/** What JavaScript and PCRE have and RE2 has not, in words of their users; else the words of the engine. */
function reasonOf(text: string, message: string): string {
  if (/\(\?(?:=|!|<=|<!)/.test(text)) return "(?=, (?!, (?<= and (?<! are not supported: no RE2 engine has them";
  if (/\\[1-9]/.test(text)) return "references to groups such as \\1 are not supported: no RE2 engine has them";
  return message.replace(/^error parsing regexp: /, "");
}
