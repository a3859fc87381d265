/**
 * YAML text → nodes with places, and the problems of the YAML itself: syntax, anchors, tags, size. Owns the `yaml`
 * package; must not know which keys there are.
 */
import {
  isAlias,
  isMap,
  isNode,
  isScalar,
  isSeq,
  LineCounter,
  parseDocument,
  Scalar,
  visit,
  type YAMLError,
} from "yaml";
import type { Place, Problem } from "./problem.ts";

/** Larger files are refused unread. Bytes of a file, characters of a text. */
export const MAX_CONFIG_SIZE = 256 * 1024;

/** A value of the file. `place` is where it begins; a missing value stands where it would be. */
export type Value =
  | {
    readonly kind: "text";
    readonly text: string;
    readonly isPlain: boolean;
    readonly place: Place;
    readonly at: number;
  }
  | { readonly kind: "list"; readonly items: readonly Value[]; readonly place: Place }
  | { readonly kind: "mapping"; readonly entries: readonly Entry[]; readonly place: Place }
  /** Nothing was written: `key:`. */
  | { readonly kind: "nothing"; readonly place: Place }
  /** Already reported: an alias, a tag, a syntax error. */
  | { readonly kind: "broken"; readonly place: Place };

export interface Entry {
  readonly key: string;
  readonly keyPlace: Place;
  readonly value: Value;
}

export interface Document {
  readonly root: Value;
  readonly problems: readonly Problem[];
  /** Problems found from this line on come from the syntax error, not from the admin. */
  readonly soundBeforeLine: number;
  /** The place of a part of a text value, for carets below exactly what is wrong. */
  partOf(value: Value & { kind: "text" }, at: number, length: number): Place;
}

const MAX_SYNTAX_PROBLEMS = 5;
const MAX_DEPTH = 16;

/** Never throws, whatever the text is. */
export function readDocument(source: string): Document {
  const text = source.startsWith("\ufeff") ? source.slice(1) : source;
  if (text.length > MAX_CONFIG_SIZE) return refused(`is larger than ${MAX_CONFIG_SIZE / 1024} KiB`);
  if (nestsTooDeep(text)) return refused("is nested too deeply");
  const lines = new LineCounter();
  const reader = new Reader(text, lines);
  try {
    // uniqueKeys compares each key with all before it: 40 000 keys take minutes. load.ts finds duplicates with a map.
    const document = parseDocument(text, {
      schema: "failsafe",
      uniqueKeys: false,
      prettyErrors: false,
      lineCounter: lines,
    });
    reader.addSyntaxErrors(document.errors, quoteStarts(document));
    const root = reader.value(document.contents, 0, 0);
    return {
      root,
      problems: reader.problems,
      soundBeforeLine: reader.soundBeforeLine,
      partOf: reader.partOf.bind(reader),
    };
  } catch (error) {
    // The parser has no limit of depth: nesting that overflows the stack is caught here.
    return refused(`cannot be read as YAML: ${error instanceof Error ? error.message.slice(0, 100) : ""}`);
  }
}

function refused(message: string): Document {
  const place = { line: 1, column: 1, length: 0 };
  const problem: Problem = { ...place, severity: "error", path: "", message, hint: "" };
  return { root: { kind: "broken", place }, problems: [problem], soundBeforeLine: 0, partOf: () => place };
}

/** Counts opening brackets and dashes only: cheap, though strings may hold some. */
function nestsTooDeep(text: string): boolean {
  let depth = 0;
  let dashes = 0;
  for (let index = 0; index < text.length; index++) {
    const char = text[index];
    if (char === "[" || char === "{") depth++;
    else if (char === "]" || char === "}") depth = Math.max(0, depth - 1);
    else if (char === "\n") dashes = 0;
    else if ((char === "-" || char === "?" || char === ":") && (text[index + 1] ?? " ") <= " ") dashes++;
    if (depth > 200 || dashes > 200) return true;
  }
  return false;
}

class Reader {
  readonly problems: Problem[] = [];
  soundBeforeLine = Infinity;
  private text: string;
  private lines: LineCounter;

  constructor(text: string, lines: LineCounter) {
    this.text = text;
    this.lines = lines;
  }

  addSyntaxErrors(errors: readonly YAMLError[], quotes: ReadonlyMap<number, number>): void {
    const seen = new Set<number>();
    for (const error of errors) {
      // The parser reports an unclosed quote at the end of the file; the admin needs the place where it opens.
      const at = error.code === "MISSING_CHAR" ? quotes.get(error.pos[0]) ?? error.pos[0] : error.pos[0];
      const place = this.place(Math.min(at, Math.max(0, this.text.length - 1)), 1);
      this.soundBeforeLine = Math.min(this.soundBeforeLine, place.line);
      if (seen.has(place.line) || seen.size >= MAX_SYNTAX_PROBLEMS) continue;
      seen.add(place.line);
      this.problem(place, lowerFirst(error.message), SYNTAX_HINTS[error.code] ?? "");
    }
  }

  value(node: unknown, at: number, depth: number): Value {
    if (!isNode(node) || node.range === undefined || node.range === null) {
      return { kind: "nothing", place: this.place(at, 1) };
    }
    const [start, end] = node.range;
    const place = this.place(start, Math.max(1, end - start));
    if (depth > MAX_DEPTH) return this.broken(place, "is nested too deeply", "");
    if (isAlias(node)) return this.broken(place, "aliases are not supported", "write the value again");
    if (node.anchor !== undefined) return this.broken(place, "anchors are not supported", "remove the &name");
    if (node.tag !== undefined && node.tag.startsWith("!")) return this.broken(place, "tags are not supported", "");
    if (isScalar(node)) return this.scalar(node, place, start);
    if (isSeq(node)) {
      return { kind: "list", place, items: node.items.map((item) => this.value(item, start, depth + 1)) };
    }
    if (!isMap(node)) return this.broken(place, "is not understood", "");
    const entries: Entry[] = [];
    for (const pair of node.items) {
      const key = this.value(pair.key, start, depth + 1);
      if (key.kind === "text") {
        const value = this.value(pair.value, key.at + key.place.length, depth + 1);
        entries.push({ key: key.text, keyPlace: key.place, value });
      } else if (key.kind !== "broken") {
        this.problem(key.place, "a key must be a word", "");
      }
    }
    return { kind: "mapping", place, entries };
  }

  /** Where escapes have moved characters, the place is the whole value. */
  partOf(value: Value & { kind: "text" }, at: number, length: number): Place {
    const start = value.at + at;
    const isThere = this.text.slice(start, start + length) === value.text.slice(at, at + length);
    return isThere ? this.place(start, Math.max(1, length)) : value.place;
  }

  private scalar(node: Scalar, place: Place, start: number): Value {
    const text = String(node.value);
    const isPlain = node.type === Scalar.PLAIN || node.type === undefined;
    if (node.tag !== undefined && node.tag !== "tag:yaml.org,2002:str") {
      return this.broken(place, "tags are not supported", "every value is read as the text that is written");
    }
    if (isPlain && text === "") return { kind: "nothing", place };
    return { kind: "text", text, isPlain, place, at: isPlain ? start : start + 1 };
  }

  private broken(place: Place, message: string, hint: string): Value {
    this.problem(place, message, hint);
    return { kind: "broken", place };
  }

  private problem(place: Place, message: string, hint: string): void {
    this.problems.push({ ...place, severity: "error", path: "", message, hint });
  }

  /** A length ends with its line, as carets stand below one line. */
  private place(offset: number, length: number): Place {
    const { line, col } = this.lines.linePos(offset);
    const newline = this.text.indexOf("\n", offset);
    const rest = (newline < 0 ? this.text.length : newline) - offset;
    return { line: Math.max(1, line), column: Math.max(1, col), length: Math.max(1, Math.min(length, rest)) };
  }
}

/** End of each quoted text → its start. */
function quoteStarts(document: ReturnType<typeof parseDocument>): Map<number, number> {
  const starts = new Map<number, number>();
  if (document.errors.every((error) => error.code !== "MISSING_CHAR")) return starts;
  visit(document, {
    Scalar(_key, node) {
      const isQuoted = node.type === Scalar.QUOTE_DOUBLE || node.type === Scalar.QUOTE_SINGLE;
      if (!isQuoted || !node.range) return;
      starts.set(node.range[1], node.range[0]);
      starts.set(node.range[2], node.range[0]);
    },
  });
  return starts;
}

function lowerFirst(message: string): string {
  return message.slice(0, 1).toLowerCase() + message.slice(1);
}

const SYNTAX_HINTS: Readonly<Record<string, string>> = {
  TAB_AS_INDENT: "use spaces",
  BAD_INDENT: "check the indentation, and that brackets are closed",
  BLOCK_AS_IMPLICIT_KEY: "a value that holds a colon and a space needs quotes",
  BAD_SCALAR_START: "put the value in quotes",
  MISSING_CHAR: "a quote, bracket or colon is missing",
  MULTIPLE_DOCS: "one file holds one document: remove the ---",
};
