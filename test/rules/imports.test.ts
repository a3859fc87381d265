import { describe, expect, test } from "bun:test";
import { importBreaches } from "./imports.ts";
import { productSources, read } from "./repository.ts";

const dependencies = Object.keys(JSON.parse(read("package.json")).dependencies);
const sources = productSources();

test("src/ keeps to the table of imports", () => {
  expect(sources.size).toBeGreaterThan(0);
  expect(importBreaches(sources, dependencies)).toEqual([]);
});

describe("the check of imports", () => {
  const port = ["sip/port.ts", "export interface Port {}"] as const;
  const pure = ["push/parameters.ts", 'import type { Port } from "../sip/port.ts"; export const a = 1;'] as const;
  const shell = ["push/relay.ts", "export async function relay() {}"] as const;
  const behind = ["push/behind.ts", 'export { relay } from "./relay.ts";'] as const;
  const check = (path: string, source: string) =>
    importBreaches(new Map([port, pure, shell, behind, [path, source]]), ["hono", "@scope/name"]);

  const refused: [string, string, string][] = [
    ["sip/a.ts", 'import { b } from "../usrloc/b.ts";', "sip may not import usrloc"],
    ["sip/a.ts", 'import type { B } from "../usrloc/b.ts";', "sip may not import usrloc"],
    ["htable/a.ts", 'export { type Port } from "../sip/port.ts";', "htable may not import sip"],
    ["proxy/a.ts", 'import { b } from "../usrloc/b.ts";', "of usrloc only types"],
    ["store/a.ts", 'const b = import("../config/schema.ts");', "of config only types"],
    ["registrar/a.ts", 'import { relay } from "../push/relay.ts";', "not in the pure part of push"],
    ["registrar/a.ts", 'import { relay } from "../push/behind.ts";', "not in the pure part of push"],
    ["registrar/a.ts", 'import type { Silo } from "../silo/a.ts";', "registrar may not import silo"],
    ["control/a.ts", 'import { store } from "../store/a.ts";', "control may not import store"],
    ["core.ts", 'import { a } from "./transport/udp.ts";', "core.ts may not import transport"],
    ["appliance.ts", 'import { a } from "./cli/serve.ts";', "appliance.ts may not import cli"],
    ["cli/status.ts", 'import { a } from "../appliance.ts";', "cli may not import appliance.ts"],
    ["cli/serve.ts", 'import { a } from "../demo/script.ts";', "cli may not import demo"],
    ["demo/a.ts", 'import { a } from "../transport/udp.ts";', "demo may not import transport"],
    ["main.ts", 'import { a } from "./appliance.ts";', "main.ts may not import appliance.ts"],
    ["helpers/a.ts", "export const a = 1;", '"helpers" has no row'],
    ["control/a.ts", 'import fc from "fast-check";', "not a dependency of the product"],
    ["control/a.ts", 'import { a } from "../../test/a.ts";', "from outside src/"],
    ["sip/a.ts", 'import p from "../../package.json" with { type: "json" };', "sip may not import ../package.json"],
    ["sip/a.ts", 'import { b } from "./b";', "without its ending"],
  ];
  for (const [path, source, reason] of refused) {
    test(`refuses in ${path}: ${source}`, () => {
      const breaches = check(path, source);
      expect(breaches).toHaveLength(1);
      expect(breaches[0]).toStartWith(`${path}:1: `);
      expect(breaches[0]).toContain(reason);
    });
  }

  const accepted: [string, string][] = [
    ["sip/a.ts", 'import { b } from "./b.ts"; import { createHash } from "node:crypto";'],
    ["proxy/a.ts", 'import type { B } from "../usrloc/b.ts";'],
    ["registrar/a.ts", 'import { a } from "../push/parameters.ts";'],
    ["control/a.ts", 'import { Hono } from "hono"; import x from "hono/cors"; import { a } from "@scope/name/b";'],
    ["control/a.ts", 'import p from "../../package.json" with { type: "json" };'],
    ["cli/serve.ts", 'import { a } from "../appliance.ts";'],
    ["cli/demo.ts", 'const demo = await import("../demo/script.ts");'],
  ];
  for (const [path, source] of accepted) {
    test(`accepts in ${path}: ${source}`, () => expect(check(path, source)).toEqual([]));
  }
});
