/** Patterns of `devices:`: what they match, what they refuse, and that hostile text costs no more than short text. */
import { expect, test } from "bun:test";
import fc from "fast-check";
import { loadConfig } from "../../src/config/load.ts";
import { compilePattern, Pattern, PATTERN_SEES } from "../../src/config/pattern.ts";

function compiled(text: string): Pattern {
  const pattern = compilePattern(text);
  if (pattern instanceof Pattern) return pattern;
  throw new Error(pattern.reason);
}

/** Pattern, text, and whether it matches. */
const MATCHES: [pattern: string, text: string, isMatch: boolean][] = [
  ["^Acrobits", "Acrobits/1.2", true],
  ["^Acrobits", "x Acrobits/1.2", false],
  ["Linphone.*Android.*Pixel", "LinphoneAndroid/5.2 (Galaxy)", false],
  ["Linphone.*Android.*Pixel", "Linphone/5.2 Android 14 (Google Pixel 8)", true],
  ["(?i)groundwire", "GroundWire", true],
  ["T4\\d", "SIP-T46", true],
  ["^(?:a|b)+$", "abba", true],
  ["\\bPhone\\b", "My Phone 3", true],
  ["^\\S+/\\d+\\.\\d+", "Bria/6.5", true],
];

test.each(MATCHES)("R-20 %s on %s: %p", (pattern, text, isMatch) => {
  expect(compiled(pattern).test(text)).toBe(isMatch);
});

/** Pattern, and what the admin is told of it. */
const REFUSED: [pattern: string, words: string][] = [
  ["(", "missing closing )"],
  ["a**", "invalid nested repetition operator"],
  ["a(?=b)", "(?=, (?!, (?<= and (?<! are not supported"],
  ["(?<!a)b", "(?=, (?!, (?<= and (?<! are not supported"],
  ["(a)\\1", "references to groups such as \\1 are not supported"],
  ["x{1001}", "its counts in braces add up to 1001, and to 100 at most"],
  ["(a|b){60}c{2,41}d{3,}", "its counts in braces add up to 104, and to 100 at most"],
  ["(?:[a-z]{30}){30}", "steps, and 500 at most: shorten it"],
  ["[", "missing closing ]"],
];

test.each(REFUSED)("O-02 %s is refused, with a reason, at its place", (pattern, words) => {
  for (const [key, at] of [["user_agent", pattern], ["header", `X-A: ${pattern}`]] as const) {
    const { config, problems } = loadConfig(
      `users_file: u\ndevices:\n  - { ${key}: ${JSON.stringify(at)}, kind: desk }\n`,
    );
    expect(config).toBeNull();
    expect(problems.map(({ line, path }) => ({ line, path }))).toEqual([{ line: 3, path: `devices[0].${key}` }]);
    expect(problems[0]!.message).toContain("is not a regular expression that can be used here");
    expect(problems[0]!.hint).toContain(words);
  }
});

test("X-06 a pattern sees no more of a text than its beginning, however long it is", () => {
  const seen = compiled("Pixel");
  expect(seen.test(" ".repeat(PATTERN_SEES - 5) + "Pixel" + " ".repeat(60_000))).toBe(true);
  expect(seen.test(" ".repeat(PATTERN_SEES - 4) + "Pixel" + " ".repeat(60_000))).toBe(false);
});

test("X-06 nested repetition costs no more steps than there are characters", () => {
  // Backtracking takes 2^200 steps on each: a test that ends has not backtracked.
  for (const pattern of ["^(a+)+$", "^(a|aa)+$", "^(a*)*$", "^(([a-z])+.)+[A-Z]([a-z])+$", "(a|a?)+$"]) {
    expect(compiled(pattern).test("a".repeat(200) + "!")).toBe(pattern === "(a|a?)+$");
  }
});

test("R-20 on patterns both engines have, the answer is that of JavaScript", () => {
  const atom = fc.constantFrom("a", "b", ".", "[ab]", "[^a]", "\\d", "(a|b)", "(?:ab)", "\\w", "\\b", "a|b");
  const piece = fc.tuple(atom, fc.constantFrom("", "", "*", "+", "?", "{1,3}"))
    .filter(([atom, times]) => times === "" || !(atom === "\\b" || atom === "a|b"))
    .map((parts) => parts.join(""));
  const pattern = fc.tuple(fc.constantFrom("", "^"), fc.array(piece, { maxLength: 4 }), fc.constantFrom("", "$"))
    .map(([begin, pieces, end]) => begin + pieces.join("") + end);
  const text = fc.array(fc.constantFrom("a", "b", "1", " ", "/"), { maxLength: 12 }).map((parts) => parts.join(""));
  fc.assert(
    fc.property(pattern, text, (pattern, text) => {
      expect(compiled(pattern).test(text)).toBe(new RegExp(pattern).test(text));
    }),
    { numRuns: 2000 },
  );
});

test("N-04 the engine is loaded with the first pattern, and not by a config without one", async () => {
  const script = `
    const { loadConfig } = await import("./src/config/load.ts");
    const isLoaded = () => Object.keys(require.cache).some((name) => name.includes("re2js"));
    loadConfig("users_file: u");
    const before = isLoaded();
    loadConfig("devices: [{ user_agent: x, kind: desk }]");
    console.log(before, isLoaded());`;
  const root = `${import.meta.dirname}/../..`;
  const child = Bun.spawn([process.execPath, "-e", script], { cwd: root, stdout: "pipe" });
  expect(await new Response(child.stdout).text()).toBe("false true\n");
});
