import { afterAll, beforeAll, expect, test } from "bun:test";
import { existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { loadConfig } from "../../src/config/load.ts";
import { controlApp } from "../../src/control/app.ts";
import { type ControlServer, listenControl } from "../../src/control/server.ts";
import { ApiError } from "../../src/control/api_error.ts";
import { TestHost } from "../control/test_host.ts";
import { latefork } from "./recorded_io.ts";

const folder = mkdtempSync(join(tmpdir(), "latefork-client-"));
const socket = join(folder, "control.sock");
const host = new TestHost();
const ended = host.call();
host.answer();
const call = host.call({ callId: "open@192.0.2.1" });
let token = "";
let server: ControlServer;
let url = "";

beforeAll(async () => {
  server = await listenControl(controlApp(host, () => token), [
    { url: "", scheme: "http", host: "127.0.0.1", port: 0, path: "" },
    { url: "", scheme: "unix", host: "", port: 0, path: socket },
  ], false);
  url = server.urls[0]!;
});
afterAll(async () => {
  await server.stop();
  rmSync(folder, { recursive: true });
});

const ask = (...argv: string[]) => latefork([...argv, "--control", url]);

test("lists are the server's tables, and its JSON with --json", async () => {
  const cases: [string[], string][] = [
    [["status"], "registered  2 devices of 2 AoRs"],
    [["locations"], "alice@example.org  d0      mobile    1m 1s  push in 31s  59m 59s"],
    [["locations", "bob"], "bob@example.org"],
    [["locations", "--query", "ali"], "alice@example.org"],
    [["locations", "--limit", "1"], "(more, continue after alice@example.org)"],
    [["locations", "--after", "alice@example.org"], "bob@example.org"],
    [["calls"], call],
    [["calls", "--state", "ended"], ended],
    [["calls", "abc@192.0.2.1"], `call ${ended}  `],
    [["silo"], "alice@example.org"],
    [["silo", "alice"], call],
    [["htable", "ls"], "banned"],
    [["htable", "ls", "banned"], "no entries"],
    [["trace", "alice", "--call", call, "--limit", "1"], "received from udp|c|d"],
  ];
  for (const flow of ["udp|a|b", "udp|c|d"]) {
    const wire = "OPTIONS sip:alice@example.org SIP/2.0\r\nCall-ID: open@192.0.2.1\r\n\r\n";
    host.trace.add(host.turn.nowMs, true, { key: flow }, wire);
  }
  for (const [argv, expected] of cases) {
    const text = await ask(...argv);
    expect([argv, text.code, text.err]).toEqual([argv, 0, ""]);
    expect(text.out).toContain(expected);
    const json = await ask(...argv, "--json");
    expect([argv, json.code]).toEqual([argv, 0]);
    expect(typeof JSON.parse(json.out)).toBe("object");
  }
  expect((await ask("locations", "bob")).out).not.toContain("alice");
  expect((await ask("trace", "alice", "--call", call, "--limit", "1")).out).not.toContain("udp|a|b");
  for (const argv of [["trace", "bob", "--call", call], ["trace", "alice", "--call", ended]]) {
    expect((await ask(...argv)).out).toBe("no messages\n");
  }
});

test("--json gives all pages as one list", async () => {
  const { items, next } = JSON.parse((await ask("locations", "--json")).out);
  expect([items.length, next]).toEqual([2, null]);
  const one = JSON.parse((await ask("locations", "--json", "--limit", "1")).out);
  expect([one.items.length, one.next]).toEqual([1, "alice@example.org"]);
});

test("htable set, get and rm work on any key", async () => {
  for (const key of ["192.0.2.7", "a/b %2F ä"]) {
    expect((await ask("htable", "set", "seen", key, "some value", "--ttl", "10m")).code).toBe(0);
    expect((await ask("htable", "get", "seen", key)).out).toBe("some value\n");
    expect(JSON.parse((await ask("htable", "get", "seen", key, "--json")).out)).toMatchObject({
      key,
      expires_in: 600,
    });
    expect((await ask("htable", "rm", "seen", key)).code).toBe(0);
    expect((await ask("htable", "get", "seen", key)).code).toBe(1);
  }
  expect((await latefork(["--control", url, "htable", "set", "seen", "k", "--", "-1"])).code).toBe(0);
  for (
    const argv of [["get", "seen"], ["set", "seen", "k"], ["ls", "a", "b"], ["drop", "a"], [
      "rm",
      "t",
      "k",
      "--ttl",
      "1",
    ]]
  ) {
    expect([argv, (await ask("htable", ...argv)).code]).toEqual([argv, 64]);
  }
});

test("push test tells what the service said, and fails if it did not accept", async () => {
  const sent = await ask("push", "test", "alice", "--device", "d0");
  expect([sent.code, sent.out]).toEqual([0, "acme, device d0: accepted, status 200, 12 ms\n"]);
  expect(host.pushed.at(-1)).toMatchObject({ to: { aor: "alice@example.org", device: "d0" }, event: "test" });
  host.verdict = { ...host.verdict, outcome: "dead", status: 410, reason: "the app was removed" };
  const refused = await ask("push", "test", "alice");
  expect([refused.code, refused.out]).toEqual([
    1,
    "acme, device d0: not accepted, status 410, 12 ms: the app was removed\n" +
    "The token is dead and forgotten, and with it the phone unless it is connected: it must register again.\n",
  ]);
  expect((await ask("push", "call", "alice")).code).toBe(64);
});

test("O-03 reload tells what took effect, and exits 78 with the problems if the config is wrong", async () => {
  const { code, out } = await ask("reload");
  expect([code, out]).toEqual([0, "applied: log.level\nwaits for a restart: listen\n"]);
  host.reloads = () => {
    const { problems } = loadConfig("listen: [tpc://x]");
    throw new ApiError(422, "config_invalid", "The config file has 1 problem", "", { problems });
  };
  const refused = await ask("reload");
  expect(refused.code).toBe(78);
  expect(refused.err).toContain('1:10: listen[0]: unknown scheme "tpc" (did you mean "tcp"?)');
});

test("O-04 drain tells how many calls are open", async () => {
  expect((await ask("drain")).out).toBe("draining, 1 call is open\n");
  expect(JSON.parse((await ask("drain", "--json")).out)).toEqual({
    draining: true,
    calls_open: 1,
    waits_for: "1 call open",
  });
});

test("S-06 backup writes a whole file for its owner alone, or none", async () => {
  host.backupText = "SQLite".repeat(50_000);
  const target = join(folder, "copy.db");
  const { code, out } = await ask("backup", target);
  expect([code, out]).toEqual([0, `${target}: 300000 bytes\n`]);
  expect(readFileSync(target, "utf8")).toBe("SQLite".repeat(50_000));
  expect(statSync(target).mode & 0o777).toBe(0o600);
  const failed = await ask("backup", join(folder, "missing", "copy.db"));
  expect(failed.code).toBe(1);
  expect(failed.err).toEndWith("copy.db: there is no such folder\n");
  expect(existsSync(target + ".part")).toBe(false);
});

test("config show with --control asks the appliance", async () => {
  expect((await ask("config", "show")).out).toContain("token_file: /etc/latefork/token");
});

test("what the appliance refuses is said with its hint, exit 1", async () => {
  const { code, out, err } = await ask("locations", "carol");
  expect([code, out]).toEqual([1, ""]);
  expect(err).toBe("latefork locations: carol@example.org is not registered\nGET /v1/locations lists who is\n");
});

test("nobody answering is exit 69, and so is somebody else", async () => {
  const other = Bun.serve({ hostname: "127.0.0.1", port: 0, fetch: () => new Response("<html>", { status: 404 }) });
  const gone = Bun.serve({ hostname: "127.0.0.1", port: 0, fetch: () => new Response("") });
  const closedPort = gone.port;
  await gone.stop(true);
  const cases = [
    `http://127.0.0.1:${closedPort}`,
    `unix:${join(folder, "none.sock")}`,
    `http://127.0.0.1:${other.port}`,
  ];
  for (const control of cases) {
    const { code, err } = await latefork(["status", "--control", control]);
    expect([control, code]).toEqual([control, 69]);
    expect(err).toContain(control);
  }
  await other.stop(true);
});

test("the appliance is found through the config, on a socket too", async () => {
  const port = url.split(":").at(-1);
  const cases = [`http://127.0.0.1:${port}`, `unix:${socket}`];
  for (const [i, listen] of cases.entries()) {
    const config = join(folder, `found${i}.yaml`);
    writeFileSync(config, `control: { listen: ["${listen}"] }\n`);
    expect([listen, (await latefork(["silo", "-c", config])).code]).toEqual([listen, 0]);
    expect((await latefork(["silo"], { env: { LATEFORK_CONFIG: config } })).code).toBe(0);
  }
  expect((await latefork(["silo", "--control", `unix:${socket}`])).code).toBe(0);
  const free = join(folder, "free.yaml");
  writeFileSync(free, 'control: { listen: ["http://127.0.0.1:0"] }\n');
  const { code, err } = await latefork(["silo", "-c", free]);
  expect([code, err.includes("give --control URL")]).toEqual([64, true]);
});

test("X-04 the token comes from a file, and the config's goes to the config's address only", async () => {
  const tokenFile = join(folder, "token");
  const config = join(folder, "token.yaml");
  writeFileSync(tokenFile, "s3cret\n", { mode: 0o600 });
  writeFileSync(config, `control: { listen: ["${url}"], token_file: ${tokenFile} }\n`);
  token = "s3cret";
  try {
    const refused = await ask("silo");
    expect(refused.code).toBe(1);
    expect(refused.err).toContain("A bearer token is needed");
    expect((await ask("silo", "--token-file", tokenFile)).code).toBe(0);
    expect((await latefork(["silo", "-c", config])).code).toBe(0);
    expect((await ask("silo", "-c", config)).code).toBe(0);
    expect((await latefork(["silo", "--control", url], { env: { LATEFORK_CONFIG: config } })).code).toBe(1);
    const missing = await ask("silo", "--token-file", join(folder, "none"));
    expect(missing.code).toBe(78);
  } finally {
    token = "";
  }
});

test("a proxy of the environment is not asked for what is on this machine", () => {
  const script = `
    const { run } = await import("./src/cli/verbs.ts");
    const io = { env: {}, isInputTerminal: false, readPassword: async () => "", stdout() {}, stderr: (text) => console.error(text) };
    process.exit(await run(["silo", "--control", process.argv[1]], io, {}));`;
  const proxy = "http://127.0.0.1:1";
  const child = Bun.spawn([process.execPath, "-e", script, url], {
    cwd: join(import.meta.dir, "../.."),
    env: { ...process.env, HTTP_PROXY: proxy, http_proxy: proxy, NO_PROXY: "", no_proxy: "" },
    stderr: "pipe",
  });
  return child.exited.then(async (code) => expect([code, await new Response(child.stderr).text()]).toEqual([0, ""]));
});
