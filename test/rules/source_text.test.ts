import { describe, expect, test } from "bun:test";
import { blankLiterals, importsOf } from "./source_text.ts";

describe("blanking", () => {
  const cases: [string, string, string][] = [
    ["a line comment", "a // Bun.x\nb", "a         \nb"],
    ["a block comment over lines", "a /* x\ny */ b", "a     \n     b"],
    ["a string with an escaped quote", 'a("x\\"y") b', 'a("    ") b'],
    ["a comment mark in a string", "'//' + b", "'  ' + b"],
    ["a template, but not the code in it", "`x${a.b}y` + c", "` {a.b} ` + c"],
    ["a template in a template", "`x${ `y${a}` }z`;b", "` { ` {a}` } `;b"],
    ["an object in a template", "`x${ {a: 1} }z`;b", "` { {a: 1} } `;b"],
    ["a regular expression with a slash in a class", 'x = /[/"]/.test(a)', "x = /    /.test(a)"],
    ["a division, which is none", "a / b / c", "a / b / c"],
    ["a division after a parenthesis", "(a) / b; c('//')", "(a) / b; c('  ')"],
  ];
  for (const [name, source, expected] of cases) {
    test(`blanks ${name}`, () => {
      const code = blankLiterals(source);
      expect(code.length).toBe(source.length);
      expect(code.replace(/ +/g, " ")).toBe(expected.replace(/ +/g, " "));
    });
  }
});

describe("imports", () => {
  const cases: [string, string, boolean, string[]][] = [
    ['import { a, b as c } from "./x.ts";', "./x.ts", false, ["a", "b"]],
    ['import type { A } from "./x.ts";', "./x.ts", true, ["A"]],
    ['import { type A, type B as C } from "./x.ts";', "./x.ts", true, ["A", "B"]],
    ['import { type A, b } from "./x.ts";', "./x.ts", false, ["A", "b"]],
    ['import d, { a } from "x";', "x", false, ["default", "a"]],
    ['import * as n from "node:tls";', "node:tls", false, ["*"]],
    ['import "./x.ts";', "./x.ts", false, []],
    ['export { a } from "./x.ts";', "./x.ts", false, ["a"]],
    ['export * from "./x.ts";', "./x.ts", false, ["*"]],
    ['export type { A } from "./x.ts";', "./x.ts", true, ["A"]],
    ['const x = await import("./x.ts");', "./x.ts", false, ["*"]],
    ['let x: import("./x.ts").A;', "./x.ts", false, ["*"]],
    ['const x = require("./x.ts");', "./x.ts", false, ["*"]],
    ['import json from "./x.json" with { type: "json" };', "./x.json", false, ["default"]],
    ['import {\n  a,\n  b,\n} from "./x.ts";', "./x.ts", false, ["a", "b"]],
    ['export const a = 1;\nimport { b } from "./x.ts";', "./x.ts", false, ["b"]],
  ];
  for (const [source, specifier, isTypeOnly, names] of cases) {
    test(`reads ${source.replaceAll("\n", " ")}`, () => {
      expect(importsOf(source)).toEqual([{ specifier, isTypeOnly, names, line: expect.any(Number) }]);
    });
  }

  test("an import in a comment or a string is none", () => {
    expect(importsOf('// import "./x.ts"\nconst a = \'import "./y.ts"\'; /** {@link import("./z.ts")} */')).toEqual([]);
  });

  test("tells the line", () => {
    expect(importsOf('\n\nimport "./x.ts";')[0]!.line).toBe(3);
  });
});
