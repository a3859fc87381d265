/**
 * Reads TypeScript as text: blanks comments and literals, and lists imports, `import type` included. Owns no rule.
 * (Bun's own import scanner drops type imports, which our rules count.)
 */

/** One import or re-export of a module. */
export interface Import {
  /** As written: `./port.ts`, `node:crypto`, `hono`. */
  specifier: string;
  /** Nothing of it remains at run time: `import type`, or only `type` names in the braces. */
  isTypeOnly: boolean;
  /** Names in the braces, without `type` and without `as ...`; `*` for a namespace, `default` for a default import. */
  names: string[];
  /** 1-based. */
  line: number;
}

/** A slash after one of these opens a regular expression, elsewhere it divides. */
const beforeRegExp = /(?:^|[(,=:[!&|?{};+\-*%<>~^]|\b(?:return|typeof|case|in|of|do|else))\s*$/;

/** The source at the same length, with comments and the inside of strings, templates and regular expressions as spaces. */
export function blankLiterals(source: string): string {
  let out = "";
  let at = 0;
  /** Depth of braces at which a `${` of a template was opened; on its `}` the template goes on. */
  const templates: number[] = [];
  let depth = 0;
  const blank = (text: string) => text.replace(/[^\n]/g, " ");

  const literal = (end: number, quotes: 0 | 1) => {
    const text = source.slice(at, end);
    out += quotes === 0 ? blank(text) : text[0] + blank(text.slice(1, -1)) + (text.length > 1 ? text.at(-1) : "");
    at = end;
  };
  const template = (from: number) => {
    let end = from;
    while (end < source.length && source[end] !== "`" && !source.startsWith("${", end)) {
      end += source[end] === "\\" ? 2 : 1;
    }
    if (source.startsWith("${", end)) {
      templates.push(depth++);
      end += 1;
    }
    literal(Math.min(end + 1, source.length), 1);
  };

  while (at < source.length) {
    const character = source[at];
    if (source.startsWith("//", at)) {
      const end = source.indexOf("\n", at);
      literal(end < 0 ? source.length : end, 0);
    } else if (source.startsWith("/*", at)) {
      const end = source.indexOf("*/", at + 2);
      literal(end < 0 ? source.length : end + 2, 0);
    } else if (character === '"' || character === "'") {
      let end = at + 1;
      while (end < source.length && source[end] !== character && source[end] !== "\n") {
        end += source[end] === "\\" ? 2 : 1;
      }
      literal(Math.min(end + 1, source.length), 1);
    } else if (character === "`") {
      template(at + 1);
    } else if (character === "/" && beforeRegExp.test(out.slice(-40))) {
      let end = at + 1;
      let inClass = false;
      while (end < source.length && source[end] !== "\n" && (inClass || source[end] !== "/")) {
        if (source[end] === "[") inClass = true;
        else if (source[end] === "]") inClass = false;
        end += source[end] === "\\" ? 2 : 1;
      }
      literal(Math.min(end + 1, source.length), 1);
    } else if (character === "}" && templates.at(-1) === depth - 1) {
      depth = templates.pop()!;
      template(at + 1);
    } else {
      if (character === "{") depth += 1;
      else if (character === "}") depth -= 1;
      out += character;
      at += 1;
    }
  }
  return out;
}

/** The regular expression literals of a file, with their flags, in the order of the text. */
export function regExpLiteralsOf(source: string): { literal: string; line: number }[] {
  const code = blankLiterals(source);
  const found: { literal: string; line: number }[] = [];
  // Of a literal nothing is left but its slashes; a division has code behind it.
  for (const match of code.matchAll(/\/ *\/[a-z]*/g)) {
    if (!beforeRegExp.test(code.slice(Math.max(0, match.index - 40), match.index))) continue;
    found.push({
      literal: source.slice(match.index, match.index + match[0].length),
      line: lineOf(source, match.index),
    });
  }
  return found;
}

/** 1-based line of an offset. */
export function lineOf(source: string, offset: number): number {
  return source.slice(0, offset).split("\n").length;
}

const statement = /\b(import|export)\s+(type\s+)?((?:[\w$*]|\s|,|\{[^}]*\})*?)\s*\bfrom\s*(["'])/g;
const bare = /\bimport\s*(["'])/g;
const call = /\b(?:import|require)\s*\(\s*(["'`])/g;

/** Every import, re-export, `import()` and `require()` of a file, in the order of the text of each kind. */
export function importsOf(source: string): Import[] {
  const code = blankLiterals(source);
  const found: Import[] = [];
  const add = (match: RegExpMatchArray, isTypeOnly: boolean, names: string[]) => {
    const start = match.index! + match[0].length;
    const end = code.indexOf(match[0].at(-1)!, start);
    found.push({ specifier: source.slice(start, end), isTypeOnly, names, line: lineOf(source, match.index!) });
  };
  for (const match of code.matchAll(statement)) {
    const [, , type, clause = ""] = match;
    const braces = clause.match(/\{([^}]*)\}/)?.[1]?.split(",").map((name) => name.trim()).filter((name) =>
      name !== ""
    );
    const outside = clause.replace(/\{[^}]*\}/, "").split(",").map((name) => name.trim()).filter((name) => name !== "");
    const isTypeOnly = type !== undefined ||
      (outside.length === 0 && braces !== undefined && braces.length > 0 &&
        braces.every((name) => /^type\s/.test(name)));
    const names = [
      ...outside.map((name) => name.startsWith("*") ? "*" : "default"),
      ...(braces ?? []).map((name) => name.replace(/^type\s+/, "").replace(/\s+as\s.*$/, "")),
    ];
    add(match, isTypeOnly, names);
  }
  for (const match of code.matchAll(bare)) add(match, false, []);
  for (const match of code.matchAll(call)) add(match, false, ["*"]);
  return found;
}
