import { afterAll, expect, test } from "bun:test";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import manifest from "../../package.json" with { type: "json" };
import { bashCompletion, NOT_BUILT, VERBS } from "../../src/cli/help.ts";
import { loadConfigFile } from "../../src/config/files.ts";
import { latefork } from "./recorded_io.ts";

const folder = mkdtempSync(join(tmpdir(), "latefork-cli-"));
afterAll(() => rmSync(folder, { recursive: true }));

function file(name: string, text: string): string {
  const path = join(folder, name);
  writeFileSync(path, text);
  return path;
}

test("no verb is a usage error that shows the help", async () => {
  const { code, out, err } = await latefork([]);
  expect([code, out]).toEqual([64, ""]);
  expect(err).toContain("usage: latefork VERB");
});

test("help goes to stdout and lists what this version has, no more", async () => {
  for (const argv of [["help"], ["--help"], ["-h"]]) {
    const { code, out, err } = await latefork(argv);
    expect([code, err]).toEqual([0, ""]);
    for (const { name } of VERBS) expect(out).toContain(`\n  ${name} `);
    for (const name of Object.keys(NOT_BUILT)) expect(out).not.toContain(`\n  ${name} `);
  }
});

test("every verb has a help of its own", async () => {
  for (const { name } of VERBS) {
    for (const argv of [["help", name], [name, "--help"], [name, "-h"]]) {
      const { code, out } = await latefork(argv);
      expect([name, code]).toEqual([name, 0]);
      expect(out).toStartWith(`usage: latefork ${name}`);
    }
  }
});

test("what cannot be read is a usage error that says what was meant", async () => {
  const cases: [string[], string][] = [
    [["stauts"], 'latefork stauts: unknown verb "stauts" (did you mean "status"?)\nSee: latefork help\n'],
    [["help", "stauts"], 'latefork help: unknown verb "stauts" (did you mean "status"?)'],
    [["constructor"], 'latefork constructor: unknown verb "constructor"'],
    [["--verbose", "status"], "latefork: unknown option --verbose"],
    [["status", "--control"], "--control needs a value"],
    [["status", "--control="], "--control= needs a value"],
    [["status", "-c", "--json"], "-c needs a value"],
    [["serve", "now"], 'latefork serve: unexpected argument "now"\nusage: latefork serve\nSee: latefork help serve\n'],
    [["demo", "--fast"], "latefork demo: Unknown option '--fast'"],
    [["config"], "latefork config: an argument is missing\nusage: latefork config show\n"],
    [["config", "edit"], "latefork config: expected: show"],
    [["status", "--control", "ftp://x"], 'cannot use --control "ftp://x"'],
    [["status", "--control", "http://u:p@h"], "cannot use --control"],
    [["status", "--control", "unix:"], "cannot use --control"],
  ];
  for (const [argv, message] of cases) {
    const { code, out, err } = await latefork(argv);
    expect([argv, code, out]).toEqual([argv, 64, ""]);
    expect(err).toContain(message);
  }
});

test("what this version does not have says so and fails", async () => {
  for (
    const argv of [...Object.keys(NOT_BUILT).flatMap((verb) => [[verb, "x"], ["help", verb], [verb, "-h"]]), [
      "completion",
      "zsh",
    ]]
  ) {
    const { code, err } = await latefork(argv);
    expect([argv, code]).toEqual([argv, 1]);
    expect(err).toMatch(/not in this version\nInstead: \S|no completion/);
  }
});

test("serve and demo are handed to their programs", async () => {
  const config = file("serve.yaml", "");
  expect((await latefork(["serve", "-c", config])).called).toEqual([["serve", config]]);
  expect((await latefork(["-c", config, "serve"])).called).toEqual([["serve", config]]);
  expect((await latefork([`--config=${config}`, "serve"])).called).toEqual([["serve", config]]);
  expect((await latefork(["serve"], { env: { LATEFORK_CONFIG: config } })).called).toEqual([["serve", config]]);
  expect((await latefork(["demo"])).called).toEqual([["demo", { stay: false }]]);
  expect((await latefork(["demo", "--stay"])).called).toEqual([["demo", { stay: true }]]);
});

test("version prints the package's", async () => {
  for (const argv of [["version"], ["--version"], ["-V"]]) {
    expect((await latefork(argv)).out).toStartWith(`latefork ${manifest.version} (Bun `);
  }
  expect(JSON.parse((await latefork(["version", "--json"])).out)).toMatchObject({ version: manifest.version });
});

test("the completion is a script bash takes, and completes verbs and words", () => {
  const complete = (line: string[]) => {
    const script = `${bashCompletion()}
      COMP_WORDS=(${line.map((word) => `"${word}"`).join(" ")}); COMP_CWORD=${
      line.length - 1
    }; _latefork; echo "\${COMPREPLY[*]}"`;
    const { stdout, stderr } = Bun.spawnSync(["bash", "-c", script]);
    return stdout.toString().trim() + stderr.toString();
  };
  expect(complete(["latefork", "st"])).toBe("status");
  expect(complete(["latefork", "htable", "s"])).toBe("set");
  expect(complete(["latefork", "calls", "--s"])).toBe("--state");
  expect(complete(["latefork", "help", "sta"])).toBe("status");
});

test("O-02 a config that is not there is said by check and config show", async () => {
  for (const argv of [["check"], ["config", "show"], ["status"], ["user", "ls"]]) {
    const { code, err } = await latefork(argv);
    expect([argv, code]).toEqual([argv, 78]);
    expect(err).toContain("/nonexistent/latefork.yaml");
  }
});

test("X-04 config show prints the effective config", async () => {
  const config = file("show.yaml", "domain: example.org\n");
  const { code, out } = await latefork(["config", "show", "-c", config]);
  expect(code).toBe(0);
  expect(out).toContain("domain:\n  - example.org\n");
  const shown = file("shown.yaml", out);
  expect(loadConfigFile(shown).config?.domain).toEqual(["example.org"]);
  expect(JSON.parse((await latefork(["config", "show", "--json", "-c", config])).out).domain).toEqual(["example.org"]);
});

test("init writes a config that loads, and never over one that exists", async () => {
  const config = join(folder, "init.yaml");
  const first = await latefork(["init", "-c", config]);
  expect(first.code).toBe(0);
  expect(first.out).toEndWith(`latefork check -c ${config} && latefork serve -c ${config}\n`);
  expect(loadConfigFile(config).config).not.toBeNull();
  writeFileSync(config, "mine");
  const second = await latefork(["init", "-c", config]);
  expect([second.code, readFileSync(config, "utf8")]).toEqual([1, "mine"]);
  expect(second.err).toContain("it exists already");
});

test("R-16 user edits the users file of the config, or the one named", async () => {
  const users = join(folder, "users");
  const config = file("users.yaml", `users_file: ${users}\n`);
  writeFileSync(users, "");
  expect((await latefork(["user", "add", "alice@example.org", "-c", config], { input: "pw" })).code).toBe(0);
  expect((await latefork(["user", "ls", "-c", config])).out).toContain("alice");
  expect((await latefork(["user", "ls", "--file", users])).out).toContain("alice");
  expect((await latefork(["user", "ls", `--file=${users}`])).out).toContain("alice");
});

test("a verb about the running appliance loads neither it nor the control port nor the YAML parser", () => {
  const script = `
    const { run } = await import("./src/cli/verbs.ts");
    const io = { env: {}, isInputTerminal: false, readPassword: async () => "", stdout() {}, stderr() {} };
    await run(["status", "--control", "http://127.0.0.1:1"], io, {});
    console.log(Object.keys(require.cache).join("\\n"));`;
  const root = join(import.meta.dir, "../..");
  const { stdout } = Bun.spawnSync([process.execPath, "-e", script], { cwd: root });
  const loaded = stdout.toString().replaceAll(root, "");
  expect(loaded).toContain("cli/client_verbs.ts");
  expect(loaded).not.toMatch(/appliance|control\/|hono|yaml\/|config\/load/);
});
