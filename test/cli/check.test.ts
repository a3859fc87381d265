/** `latefork check`: what it prints, in which order and to whom, and how it ends (O-02). What is tried is recorded. */
import { afterAll, expect, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Finding } from "../../src/config/finding.ts";
import type { Problem } from "../../src/config/problem.ts";
import { latefork } from "./recorded_io.ts";

const folder = mkdtempSync(join(tmpdir(), "latefork-check-"));
afterAll(() => rmSync(folder, { recursive: true }));

function file(name: string, text: string): string {
  const path = join(folder, name);
  writeFileSync(path, text);
  return path;
}

/** The control port of nobody: a latefork that happens to run here must not matter. */
const NOBODY = "control: { listen: ['http://127.0.0.1:1'] }\n";
const TRUST = "security: { trust: [192.0.2.0/24] }\n";
const good = file("good.yaml", `store: { path: ':memory:' }\n${NOBODY}${TRUST}`);

function problem(changes: Partial<Problem>): Problem {
  return { severity: "error", line: 1, column: 1, length: 0, path: "", message: "", hint: "", ...changes };
}

function finding(changes: Partial<Finding>): Finding {
  return { part: "pbx", state: "ok", words: "", hint: "", ms: null, ...changes };
}

test("O-02 check reports every problem of the file with its place, and exits 78", async () => {
  const config = file("bad.yaml", "listen:\n  - tpc://0.0.0.0:5060\nnonsense: 1\n");
  const { code, out, err, called } = await latefork(["check", "-c", config]);
  expect([code, out, called]).toEqual([78, "", []]);
  expect(err).toContain(`${config}:2:5: listen[0]: unknown scheme "tpc"`);
  expect(err).toContain(`${config}:3:1: `);
  expect(err).toContain("2 errors");
  const json = JSON.parse((await latefork(["check", "--json", "-c", config])).out);
  const errors = json.problems.filter(({ severity }: { severity: string }) => severity === "error");
  expect(errors.map(({ line }: { line: number }) => line)).toEqual([2, 3]);
});

test("O-02 a config that cannot be read is not tried, and nobody is asked about it", async () => {
  const config = file("broken.yaml", "listen: [\n");
  for (const argv of [["check"], ["check", "--live"]]) {
    const { code, called } = await latefork([...argv, "-c", config]);
    expect([argv, code, called]).toEqual([argv, 78, []]);
  }
});

test("O-02 check prints a line for each part, and one for all", async () => {
  const parts = [
    { part: "listen", words: "udp://0.0.0.0:5060 can be opened" },
    { part: "push.webhook.acme", words: "https://push.example.org" },
    { part: "push", words: "none", isIdle: true },
  ];
  const { code, out, err, called } = await latefork(["check", "-c", good], { parts });
  expect([code, err, called]).toEqual([0, "", [["probe", ":memory:"]]]);
  expect(out).toBe(`config             ok       ${good}
listen             ok       udp://0.0.0.0:5060 can be opened
push.webhook.acme  ok       https://push.example.org
push               -        none
${good}: ok
`);
});

test("O-02 a problem stands in the line of its part, and with its place below", async () => {
  const found = [
    problem({ path: "listen[0]", message: "taken", hint: "free it" }),
    problem({ path: "pbx.credentials_file", message: "line 3", severity: "warning" }),
    problem({ path: "wake.window", message: "long", severity: "warning" }),
  ];
  const parts = ["listen", "pbx", "pbx.credentials_file"].map((part) => ({ part, words: "fine" }));
  const { code, out, err } = await latefork(["check", "-c", good], { found, parts });
  expect(code).toBe(78);
  expect(out.split("\n").map((line) => line.split(/ {2,}/))).toEqual([
    ["config", "warning", `${good}: wake.window long`],
    ["listen", "FAILED", "taken"],
    ["pbx", "ok", "fine"],
    ["pbx.credentials_file", "warning", "line 3"],
    [""],
  ]);
  expect(err).toContain(`${good}:1:1: listen[0]: taken (free it)`);
  expect(err).toContain("1 error, 2 warnings");
});

test("O-02 warnings change nothing", async () => {
  const found = [problem({ path: "listen", message: "odd", severity: "warning" })];
  const { code, out, err } = await latefork(["check", "-c", good], { found, parts: [{ part: "listen", words: "" }] });
  expect(code).toBe(0);
  expect(out).toEndWith(`listen  warning  odd\n${good}: ok\n`);
  expect(err).toContain("warning: listen: odd");
});

test("O-02 a file that is missing does not keep the rest from being tried", async () => {
  const missing = file("missing.yaml", `store: { path: ':memory:' }\nusers_file: /nonexistent/users\n${NOBODY}`);
  const { code, out, err, called } = await latefork(["check", "-c", missing], {
    parts: [{ part: "users_file", words: "0 users" }, { part: "store", words: "in memory" }],
  });
  expect([code, called]).toEqual([78, [["probe", ":memory:"]]]);
  expect(out).toContain("users_file  FAILED   cannot read /nonexistent/users: there is no such file\n");
  expect(out).toContain("store       ok       in memory\n");
  expect(err).toContain(`${missing}:2:13: users_file: cannot read /nonexistent/users`);
});

const parts = [{ part: "pbx", words: "sip:192.0.2.1: not asked" }, { part: "store", words: "in memory" }];

test("O-02 --live asks, and says who answered, how fast, and what is left open", async () => {
  const live = [
    finding({ words: "udp 192.0.2.1:5060 answered OPTIONS with 200 OK", ms: 3.14159 }),
    finding({ part: "push.apns", words: "takes the key", hint: "not asked: the app", ms: 212.7 }),
    finding({ part: "push.webpush", state: "idle", words: "no phone" }),
  ];
  const { code, out, err, called } = await latefork(["check", "--live", "-c", good], { parts, live });
  expect([code, err]).toEqual([0, ""]);
  expect(called).toEqual([["probe", ":memory:"], ["live", ":memory:"]]);
  expect(out).toBe(`config        ok       ${good}
store         ok       in memory

pbx           ok       udp 192.0.2.1:5060 answered OPTIONS with 200 OK (3.1 ms)
push.apns     ok       takes the key (213 ms)
                       not asked: the app
push.webpush  -        no phone
${good}: ok
`);
});

test("O-02 without --live nobody is asked, and the line of the PBX says so", async () => {
  const { out, called } = await latefork(["check", "-c", good], { parts });
  expect(called).toEqual([["probe", ":memory:"]]);
  expect(out).toContain("pbx     ok       sip:192.0.2.1: not asked\n");
});

test("O-02 who fails when asked makes it 1, and a wrong config goes before", async () => {
  const live = [finding({ state: "failed", words: "no answer" }), finding({ state: "idle" }), finding({})];
  const failed = await latefork(["check", "--live", "-c", good], { parts, live });
  expect([failed.code, failed.err]).toEqual([1, `${good}: 1 of 2 asked by --live failed\n`]);
  expect(failed.out).not.toContain(": ok");
  const warned = await latefork(["check", "--live", "-c", good], { live: [finding({ state: "warning" })] });
  expect(warned.code).toBe(0);
  const both = await latefork(["check", "--live", "-c", good], { live, found: [problem({ message: "wrong" })] });
  expect(both.code).toBe(78);
});

test("O-02 --json gives problems, parts and answers", async () => {
  const live = [finding({ state: "failed", words: "no answer", hint: "firewall?", ms: 5000 })];
  const asked = await latefork(["check", "--live", "--json", "-c", good], { parts: [parts[1]!], live });
  expect([asked.code, asked.err]).toEqual([1, ""]);
  expect(JSON.parse(asked.out)).toEqual({
    file: good,
    problems: [],
    parts: [
      { part: "config", state: "ok", words: good, hint: "", ms: null },
      { part: "store", state: "ok", words: "in memory", hint: "", ms: null },
    ],
    live,
  });
  expect(JSON.parse((await latefork(["check", "--json", "-c", good])).out)).not.toHaveProperty("live");
});
