import { describe, expect, test } from "bun:test";
import { purityBreaches } from "./purity.ts";
import { productSources } from "./repository.ts";

const sources = productSources();

test("core is pure", () => {
  const files = [...sources].filter(([path]) => path.startsWith("core/"));
  expect(files.length).toBeGreaterThan(50);
  expect(files.flatMap(([path, source]) => purityBreaches(source).map((breach) => `${path}:${breach}`))).toEqual([]);
});

describe("the check of purity", () => {
  const refused = [
    "const now = Date.now();",
    "const now = new Date();",
    "const now = Date();",
    "const started = performance.now();",
    "setTimeout(() => {}, 1);",
    "let timer = setInterval(tick, 1);",
    "const r = Math.random();",
    "const r = crypto.getRandomValues(bytes);",
    "async function f() {}",
    "const f = async () => 1;",
    "for await (const x of y) {}",
    "let answer: Promise<void>;",
    "Promise.resolve().then(f);",
    "queueMicrotask(f);",
    "Bun.write(a, b);",
    "process.exit(1);",
    "const env = process.env;",
    "console.log(1);",
    'globalThis["process"];',
    "const r = fetch(url);",
    'const x = require("fs");',
    'const x = import("./x.ts");',
    "const here = import.meta.dir;",
    "const w = new WebSocket(url);",
    "const text = `at ${Date.now()}`;",
    'import { readFileSync } from "node:fs";',
    'import { randomBytes } from "node:crypto";',
    'import { createHash, randomUUID } from "node:crypto";',
    'import * as crypto from "node:crypto";',
    'import { Database } from "bun:sqlite";',
    'import type { Database } from "bun:sqlite";',
    'import { parse } from "yaml";',
  ];
  for (const source of refused) {
    test(`refuses ${source}`, () => {
      const breaches = purityBreaches(`// a comment\n${source}`);
      expect(breaches).not.toBeEmpty();
      for (const breach of breaches) expect(breach).toStartWith("2: ");
    });
  }

  const accepted = [
    'import { createHash, createHmac, timingSafeEqual } from "node:crypto";',
    'import { a } from "./a.ts";',
    "// Date.now() is not read here, nor is process.env",
    'const text = "setTimeout, async, Bun.write";',
    "port.process(message); port.fetch(1); this.console.log(2);",
    "const date = new Date(nowMs).toUTCString();",
    "interface Effects { async: boolean; crypto: string }",
    "const process = (message: string) => message.length;",
    "const isDate = header === /^Date.now()/;",
  ];
  for (const source of accepted) {
    test(`accepts ${source}`, () => expect(purityBreaches(source)).toEqual([]));
  }
});
