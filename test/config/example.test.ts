/** The files we write: the manual config/latefork.yaml and the one of `latefork init`. */
import { expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { defaultConfig } from "../../src/config/defaults.ts";
import { exampleConfig, initConfig } from "../../src/config/example.ts";
import { loadConfig } from "../../src/config/load.ts";
import { KEYS } from "../../src/config/tree.ts";

test("O-02 config/latefork.yaml is what the schema says (write it anew with `bun src/config/generate.ts`)", () => {
  expect(readFileSync(join(import.meta.dirname!, "../../config/latefork.yaml"), "utf8")).toBe(exampleConfig());
});

test("O-02 the example as it is sets nothing", () => {
  expect(loadConfig(exampleConfig()).config).toEqual(defaultConfig());
});

test("O-02 the example with every key uncommented is the default config, and a PBX", () => {
  const { config, problems } = loadConfig(exampleConfig().replace(/^# /gm, ""));
  expect(problems).toEqual([]);
  expect(config?.pbx?.uri[0]?.host).toBe("192.168.1.10");
  expect({ ...config, pbx: null } as typeof config).toEqual(defaultConfig());
});

test("O-02 the example tells every key, with live or restart, in lines of at most 120 characters", () => {
  const text = exampleConfig();
  for (const { path, doc } of KEYS) {
    const name = path.split(".").at(-1)!;
    expect(text).toMatch(new RegExp(`^(# .*|##.*[ .])${name}:`, "m"));
    expect(text.replace(/\n##\s+/g, " ")).toContain(doc);
  }
  expect(text.match(/\((live|restart)\)/g)!.length).toBeGreaterThanOrEqual(KEYS.length);
  expect(text.split("\n").filter((line) => line.length > 120)).toEqual([]);
});

test("O-02 what `latefork init` writes loads without a problem, with its comments taken away too", () => {
  expect(loadConfig(initConfig()).problems).toEqual([]);
  const uncommented = initConfig().replace(/^# (?=push|advertise| {2})/gm, "").replace(/^ {2}# /gm, "  ");
  const { config, problems } = loadConfig(uncommented);
  expect(problems).toEqual([]);
  expect(config?.push.webhook["acme"]?.url).toBe("https://push.example.org/wake");
  expect(config?.pbx?.credentials_file).toBe("/etc/latefork/credentials");
  expect(config?.advertise).toBe("sip.example.org");
});
