/** O-03 what a reload may apply, X-04 what a config shows of itself. */
import { expect, test } from "bun:test";
import { defaultConfig } from "../../src/config/defaults.ts";
import { loadConfig } from "../../src/config/load.ts";
import { configYaml, masked } from "../../src/config/masked.ts";
import { diffConfig } from "../../src/config/reload.ts";
import type { Config } from "../../src/config/schema.ts";

function load(text: string): Config {
  const { config, problems } = loadConfig(text);
  if (config === null) throw new Error(JSON.stringify(problems));
  return config;
}

const PBX = "pbx: { uri: 'sip:10.0.0.1' }\n";

const DIFFS: [name: string, before: string, after: string, applied: string[], restart: string[]][] = [
  ["nothing changed", PBX, PBX, [], []],
  ["a live key", "", "wake: { window: 20s }", ["wake.window"], []],
  ["a restart key", "", "store: { sync: relaxed }", [], ["store.sync"]],
  ["both", "", "log: { level: debug, format: json }", ["log.level"], ["log.format"]],
  ["the same value written otherwise", "wake: { window: 60s }", "wake: { window: 1m }", [], []],
  ["listeners", "", "listen: [udp://0.0.0.0:5060]", [], ["listen"]],
  ["networks", PBX, "pbx: { uri: 'sip:10.0.0.1', trust: [10.0.0.1] }", ["pbx.trust"], []],
  ["the PBX comes", "", PBX, [], ["pbx"]],
  ["the PBX goes", PBX, "", [], ["pbx"]],
  [
    "a webhook comes",
    "",
    "push: { webhook: { a: { url: 'http://a' } } }",
    ["push.webhook.a.url", "push.webhook.a.token_file", "push.webhook.a.timeout"],
    [],
  ],
  ["a table goes", "htables: { a: { max: 1 } }", "", [], ["htables.a.ttl", "htables.a.max", "htables.a.persist"]],
  ["device rules", "", "devices: [{ user_agent: x, kind: desk }]", ["devices"], []],
  [
    "a device rule gets a push",
    "devices: [{ user_agent: x, kind: desk }]",
    "devices: [{ user_agent: x, kind: desk, push: { provider: a, token_from: 'contact:t' } }]",
    ["devices"],
    [],
  ],
];

test.each(DIFFS)("O-03 %s", (_name, before, after, applied, restart_required) => {
  expect(diffConfig(load(before), load(after))).toEqual({ applied, restart_required });
});

const FULL = `
domain: [a.example, b.example]
listen: [udp://127.0.0.1:0, { url: "tcp://[::1]:5060", advertise: "a.example:443" }]
pbx: { uri: ["sip:10.0.0.1;transport=udp"], trust: [10.0.0.0/24], qualify: 0, trusts_us: true, own_port: 5066, credentials_file: /c }
devices:
  - { user_agent: "^A: #", kind: mobile }
  - { header: "X-App: ^Foo", push: { provider: acme, token_from: "header:X-Token" } }
wake: { window: 1500ms, progress: "183", delayed_cancel: true }
push: { unsupported: "555", webhook: { acme: { url: "https://a.example/x", token_file: /t }, "*": { url: "http://b" } } }
htables: { seen: { ttl: 0, persist: false } }
limits: { message: 8k, requests_per_source: 7/3s }
log: { overrides: ["aor=a@b -> debug"] }
`;

test("X-04 the config shown as YAML loads to the same config", () => {
  for (const text of ["", PBX, FULL]) {
    const config = load(text);
    expect(JSON.stringify(load(configYaml(config)))).toBe(JSON.stringify(config));
  }
});

test("X-04 the config shown has the units of the file", () => {
  const shown = masked(load(FULL)) as { wake: object; limits: object; listen: unknown; pbx: object };
  expect(shown.wake).toMatchObject({ window: "1500ms", ring_timeout: "120s", single_answer: true });
  expect(shown.limits).toMatchObject({ message: "8k", calls: 2000, requests_per_source: "7/3s" });
  expect(shown.listen).toEqual(["udp://127.0.0.1:0", { url: "tcp://[::1]:5060", advertise: "a.example:443" }]);
  expect(shown.pbx).toMatchObject({ uri: ["sip:10.0.0.1;transport=udp"], trust: ["10.0.0.0/24"] });
  expect(masked(defaultConfig())["pbx"]).toBeNull();
});

test("X-04 passwords and query strings of URLs are not shown", () => {
  const config = defaultConfig();
  config.store.cluster = "redis://user:hunter2@r.example/0?password=hunter2";
  config.push.webhook["acme"] = { url: "https://a.example/x?key=hunter2", token_file: "/t", timeout: 1 };
  expect(JSON.stringify(masked(config))).not.toContain("hunter2");
  expect(JSON.stringify(masked(config))).toContain("https://a.example/x?***");
});
