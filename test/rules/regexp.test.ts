/** Every regular expression of src/ takes steps in proportion to the length of its text. */
import { describe, expect, test } from "bun:test";
import { growthOf, SteppedRegExp } from "./regexp_steps.ts";
import { read, repositoryFiles } from "./repository.ts";
import { blankLiterals, regExpLiteralsOf } from "./source_text.ts";

const sources = repositoryFiles().filter((path) => path.startsWith("src/") && path.endsWith(".ts"));

const literals = sources.flatMap((path) => regExpLiteralsOf(read(path)).map(({ literal }) => [literal, path] as const));

test("X-06 no regular expression of src/ can be kept busy by a long text", () => {
  const grown = [...new Map(literals)].flatMap(([literal, path]) => {
    const found = growthOf(literal);
    if (found === null) return [];
    return [
      `${path}: ${literal} takes ${found.ratio.toFixed(1)} times the steps on twice of ${found.text.slice(0, 40)}...`,
    ];
  });
  expect(grown).toEqual([]);
  expect(literals.length).toBeGreaterThan(100);
}, 60_000);

test("X-06 no regular expression of src/ is made from text at run time: those of the config run on RE2", () => {
  const made = sources.filter((path) => /(?<![\w$.])(?:new\s+)?RegExp\s*\(/.test(blankLiterals(read(path))));
  expect(made).toEqual([]);
});

describe("the count of steps", () => {
  const steep = [
    "/Linphone.*Android.*Pixel/",
    "/^(a+)+$/",
    "/^(\\w+\\s?)*$/",
    "/(x+x+)+y/",
    "/(a|a)*b/",
    "/\\s+$/g",
    "/^https:\\/\\/[^\\s/]+\\S*$/",
    "/^a*b?a*$/",
    "/=(.*),(.*)=/",
  ];
  for (const literal of steep) test(`${literal} grows`, () => expect(growthOf(literal)).not.toBeNull());

  const flat = [
    "/^a+b/",
    "/a+/",
    "/^\\s*text\\/plain\\b/i",
    "/\\d{1,5}$/",
    "/^[^:]+:[^:]+$/",
    "/(?<!\\d)\\d+$/",
    "/a|(?<!b)b+c/",
  ];
  for (const literal of flat) test(`${literal} does not`, () => expect(growthOf(literal)).toBeNull());

  test("matches and steps are those of an engine without shortcuts", () => {
    expect(new SteppedRegExp("/ab/").stepsOn("aab", 100)).toBe(2 + 2);
    expect(new SteppedRegExp("/^ab/").stepsOn("xab", 100)).toBe(1 + 1);
    expect(new SteppedRegExp("/a/g").stepsOn("aaa", 100)).toBe(3 + 1);
    expect(new SteppedRegExp("/(a+)+$/").stepsOn("a".repeat(30) + "!", 1000)).toBeGreaterThan(999);
  });
});
