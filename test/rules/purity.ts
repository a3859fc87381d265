/** What pure source may not name: clock, timer, randomness, async, the runtime. Judges the text of one file. */
import { blankLiterals, importsOf, lineOf } from "./source_text.ts";

/** Names that, not being a property of something, reach the world outside. */
const forbidden: [RegExp, string][] = [
  [/(?<![.\w$])(?:async|await|Promise|queueMicrotask)\b(?!\s*\??\s*:)/g, "is asynchronous"],
  [/(?<![.\w$])(?:setTimeout|setInterval|setImmediate|clearTimeout|clearInterval)\b/g, "is a timer"],
  [/(?<![.\w$])Date\s*\.\s*now\b|(?<![.\w$])Date\s*\(\s*\)|\bnew\s+Date\s*(?:\(\s*\)|(?!\s*\())/g, "is a clock"],
  [/(?<![.\w$])performance\s*\./g, "is a clock"],
  [/(?<![.\w$])Math\s*\.\s*random\b|(?<![.\w$])crypto\s*\./g, "is randomness"],
  [/(?<![.\w$])(?:Bun|Deno|process|console|globalThis)\s*[.[(]/g, "is the runtime"],
  [/(?<![.\w$])(?:fetch|require)\s*\(|(?<![.\w$])import\s*(?:\.|\()/g, "is the runtime"],
  [/\bnew\s+(?:WebSocket|EventTarget|AbortController|Worker|BroadcastChannel)\b/g, "is the runtime"],
];

const hashing = ["createHash", "createHmac", "timingSafeEqual"];

/** Breaches of one pure file, as `line: what`. */
export function purityBreaches(source: string): string[] {
  const code = blankLiterals(source);
  const breaches = forbidden.flatMap(([pattern, reason]) =>
    [...code.matchAll(pattern)].map((match) => `${lineOf(source, match.index)}: "${match[0].trim()}" ${reason}`)
  );
  for (const { specifier, names, line } of importsOf(source)) {
    if (specifier.startsWith(".")) continue;
    if (specifier === "node:crypto" && names.length > 0 && names.every((name) => hashing.includes(name))) continue;
    breaches.push(`${line}: imports ${names.join(", ")} of "${specifier}"`);
  }
  return breaches;
}
