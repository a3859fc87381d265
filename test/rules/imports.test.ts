import { describe, expect, test } from "bun:test";
import { importBreaches, table } from "./imports.ts";
import { productSources, read } from "./repository.ts";

const dependencies = Object.keys(JSON.parse(read("package.json")).dependencies);
const sources = productSources();

test("src/ keeps to the table of imports", () => {
  expect(sources.size).toBeGreaterThan(0);
  expect(importBreaches(sources, dependencies)).toEqual([]);
});

test("core imports nothing outside itself", () => {
  const rows = Object.entries(table).filter(([row]) => row === "core" || row.startsWith("core/"));
  expect(rows.length).toBeGreaterThan(8);
  for (const [row, allowed] of rows) for (const entry of allowed) expect(`${row}: ${entry}`).toMatch(/: core(\/|$)/);
});

describe("the check of imports", () => {
  const check = (path: string, source: string) => importBreaches(new Map([[path, source]]), ["hono", "@scope/name"]);

  const refused: [string, string, string][] = [
    ["core/sip/a.ts", 'import { b } from "../usrloc/b.ts";', "core/sip may not import core/usrloc/b.ts"],
    ["core/sip/a.ts", 'import type { B } from "../usrloc/b.ts";', "core/sip may not import core/usrloc/b.ts"],
    ["core/htable/a.ts", 'export { type Port } from "../port.ts";', "core/htable may not import core/port.ts"],
    ["core/clock.ts", 'import type { A } from "./port.ts";', "core/clock.ts may not import core/port.ts"],
    ["core/proxy/a.ts", 'import { b } from "../usrloc/b.ts";', "only types"],
    [
      "core/registrar/a.ts",
      'import type { Silo } from "../silo/a.ts";',
      "core/registrar may not import core/silo/a.ts",
    ],
    ["core/registrar/upstream/a.ts", 'import { a } from "../../silo/a.ts";', "core/registrar may not import"],
    ["core/core.ts", 'import { a } from "../io/transport/udp.ts";', "core may not import io/transport/udp.ts"],
    ["core/core.ts", 'import type { Config } from "../config/schema.ts";', "core may not import config/schema.ts"],
    ["io/store/a.ts", 'const b = import("../../config/schema.ts");', "only types"],
    ["io/push/apns/a.ts", 'import { a } from "../../../control/a.ts";', "io may not import control/a.ts"],
    ["control/a.ts", 'import { store } from "../io/store/a.ts";', "control may not import io/store/a.ts"],
    ["appliance/appliance.ts", 'import { a } from "../cli/serve.ts";', "appliance may not import cli/serve.ts"],
    ["cli/status.ts", 'import { a } from "../appliance/appliance.ts";', "cli may not import appliance/appliance.ts"],
    ["cli/serve.ts", 'import { a } from "../demo/script.ts";', "cli/serve.ts may not import demo/script.ts"],
    ["demo/a.ts", 'import { a } from "../io/transport/udp.ts";', "demo may not import io/transport/udp.ts"],
    ["main.ts", 'import { a } from "./appliance/appliance.ts";', "main.ts may not import appliance/appliance.ts"],
    ["helpers/a.ts", "export const a = 1;", "no row"],
    ["control/a.ts", 'import fc from "fast-check";', "not a dependency of the product"],
    ["control/a.ts", 'import { a } from "../../test/a.ts";', "from outside src/"],
    ["core/sip/a.ts", 'import p from "../../../package.json" with { type: "json" };', "may not import ../package.json"],
    ["core/sip/a.ts", 'import { b } from "./b";', "without its ending"],
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
    ["core/sip/a.ts", 'import { b } from "./b.ts"; import { createHash } from "node:crypto";'],
    ["core/proxy/a.ts", 'import type { B } from "../usrloc/b.ts";'],
    ["core/registrar/a.ts", 'import { a } from "../rfc8599/parameters.ts";'],
    ["core/registrar/upstream/a.ts", 'import { a } from "../register.ts";'],
    ["core/core.ts", 'import { a } from "./silo/silo.ts"; import type { B } from "./port.ts";'],
    ["io/push/apns/a.ts", 'import { a } from "../http/b.ts"; import type { Config } from "../../../config/schema.ts";'],
    ["control/a.ts", 'import { Hono } from "hono"; import x from "hono/cors"; import { a } from "@scope/name/b";'],
    ["control/a.ts", 'import p from "../../package.json" with { type: "json" };'],
    ["cli/serve.ts", 'import { a } from "../appliance/appliance.ts"; import { b } from "./io.ts";'],
    ["cli/demo.ts", 'const demo = await import("../demo/script.ts");'],
  ];
  for (const [path, source] of accepted) {
    test(`accepts in ${path}: ${source}`, () => expect(check(path, source)).toEqual([]));
  }
});
