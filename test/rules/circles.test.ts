import { describe, expect, test } from "bun:test";
import { circlesOf } from "./circles.ts";
import { productSources } from "./repository.ts";

test("no two files of src/ import each other in a circle", () => {
  expect(circlesOf(productSources())).toEqual([]);
});

describe("the check of circles", () => {
  const found = (files: Record<string, string>) => circlesOf(new Map(Object.entries(files)));

  test("finds two files that import each other, by type alone, too", () => {
    expect(found({
      "core/a.ts": 'import type { B } from "./sip/b.ts";',
      "core/sip/b.ts": 'import { a } from "../a.ts";',
    })).toEqual(["core/a.ts → core/sip/b.ts → core/a.ts"]);
  });

  test("shows a shortest way round, once, and nothing of the files beside it", () => {
    expect(found({
      "a.ts": 'import "./b.ts"; import "./c.ts";',
      "b.ts": 'import "./c.ts";',
      "c.ts": 'import { a } from "./a.ts"; import "./leaf.ts";',
      "leaf.ts": "export const leaf = 1;",
      "top.ts": 'import "./a.ts";',
    })).toEqual(["a.ts → c.ts → a.ts"]);
  });

  test("finds each of two circles that one file stands above", () => {
    const files = {
      "top.ts": 'import "./a.ts"; import "./c.ts";',
      "a.ts": 'import "./b.ts";',
      "b.ts": 'import "./a.ts";',
      "c.ts": 'export { d } from "./d.ts";',
      "d.ts": 'const c = await import("./c.ts");',
    };
    expect(found(files)).toEqual(["a.ts → b.ts → a.ts", "c.ts → d.ts → c.ts"]);
  });

  test("finds none in a tree that only goes down", () => {
    expect(found({ "a.ts": 'import "./b.ts"; import "./c.ts";', "b.ts": 'import "./c.ts";', "c.ts": "" })).toEqual([]);
  });
});
