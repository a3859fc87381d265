/**
 * A sender of `push.http` in a running appliance (P-10): a phone becomes its by a `devices:` rule or by the control port, and
 * health, test pushes, announcements and the shown config are as with every other service.
 */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createConnection } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Appliance } from "../../src/appliance/appliance.ts";
import { loadConfigFile } from "../../src/config/files.ts";
import { Log } from "../../src/observe/log.ts";
import { KEY, RunningService, SERVICES } from "../io/push/presets/services.ts";

const folder = mkdtempSync(join(tmpdir(), "latefork-senders-"));
const ntfy = new RunningService(SERVICES["ntfy"]!);
const logged: string[] = [];
let appliance: Appliance;
let api = "";

// deno-lint-ignore no-explicit-any
async function ask(method: string, path: string, body?: unknown): Promise<{ status: number; body: any }> {
  const response = await fetch(api + path, { method, body: body === undefined ? null : JSON.stringify(body) });
  return { status: response.status, body: await response.json() };
}

beforeAll(async () => {
  writeFileSync(join(folder, "key"), KEY, { mode: 0o600 });
  const file = join(folder, "latefork.yaml");
  writeFileSync(
    file,
    `listen: ["udp://127.0.0.1:0", "tcp://127.0.0.1:0"]
domain: example.org
security: { trust: [127.0.0.0/8] }
devices:
  - { user_agent: "^OldPhone", kind: mobile, push: { provider: tap, token_from: "header:X-Topic" } }
push:
  unsupported: 555
  http:
    tap: { preset: ntfy, url: "${ntfy.url}/{prid}", token_file: key, wake_url: "oldphone://" }
store: { path: ":memory:" }
control: { listen: ["http://127.0.0.1:0"] }
`,
  );
  const { config, problems } = loadConfigFile(file);
  expect(problems).toEqual([]);
  const write = (bytes: Uint8Array) => logged.push(new TextDecoder().decode(bytes));
  const log = new Log(config!.log, {
    isTty: false,
    write: (bytes) => write(bytes) && bytes.length,
    nowMs: () => 0,
    later: () => {},
  });
  appliance = new Appliance({ config: config!, configFile: file, log });
  await appliance.start();
  api = appliance.controlUrls[0]!;
});

afterAll(async () => {
  await appliance.stop();
  ntfy.stop();
  rmSync(folder, { recursive: true, force: true });
});

/** What a phone hears over TCP when it registers: the answer, or all until there is what it waits for. */
async function register(user: string, params: string, lines: string[] = [], until = "\r\n\r\n"): Promise<string> {
  const { port } = appliance.transports.listeners().find(({ transport }) => transport === "tcp")!;
  const socket = createConnection(port, "127.0.0.1");
  try {
    socket.write(
      [
        "REGISTER sip:example.org SIP/2.0",
        `Via: SIP/2.0/TCP 127.0.0.1:9;branch=z9hG4bK${user}${params.length}`,
        `From: <sip:${user}@example.org>;tag=${user}`,
        `To: <sip:${user}@example.org>`,
        `Call-ID: ${user}${params.length}`,
        "CSeq: 1 REGISTER",
        `Contact: <sip:${user}@127.0.0.1:9;transport=tcp${params}>;expires=3600`,
        ...lines,
        "Content-Length: 0",
        "",
        "",
      ].join("\r\n"),
    );
    let text = "";
    for await (const chunk of socket) {
      text += chunk;
      if (text.includes(until)) break;
    }
    return text;
  } finally {
    socket.destroy();
  }
}

test("P-10 P-02 a phone that names the sender is told that it is pushed by it, another is refused", async () => {
  expect(await register("alice", ";pn-provider=tap;pn-prid=topic-of-alice")).toContain(
    'Feature-Caps: *;+sip.pns="tap"',
  );
  expect(await register("alice", ";pn-provider=tup;pn-prid=x")).toStartWith("SIP/2.0 555");
});

test("P-10 R-20 a devices: rule makes a phone that knows no push one of the sender's", async () => {
  expect(await register("bob", "", ["User-Agent: OldPhone/1.0", "X-Topic: topic-of-bob"])).toStartWith("SIP/2.0 200");
  const { body } = await ask("GET", "/v1/locations/bob");
  expect(body.devices[0]).toMatchObject({ kind: "mobile", push: { provider: "tap" } });
  expect((await ask("POST", "/v1/push", { aor: "bob@example.org" })).body).toMatchObject({
    status: 200,
    accepted: true,
  });
  expect(ntfy.came.at(-1)!.path).toBe("/topic-of-bob");
});

test("P-10 P-08 the control port sets a phone's token, and a test push of its AoR goes by the sender", async () => {
  const contact = "sip:carol@127.0.0.1:9";
  const push = { provider: "tap", prid: "topic-of-carol" };
  const put = await ask("PUT", "/v1/locations/carol/devices/phone1", { contact, kind: "mobile", push });
  expect(put.status).toBeLessThan(300);
  const sent = await ask("POST", "/v1/push", { aor: "carol@example.org" });
  expect(sent.body).toMatchObject({ provider: "tap", status: 200, accepted: true });
  const came = ntfy.came.at(-1)!;
  expect([came.path, came.headers.get("click"), came.headers.get("priority")]).toEqual([
    "/topic-of-carol",
    "oldphone://",
    "max",
  ]);
  const health = await ask("GET", "/v1/push");
  expect(health.body.items[0]).toMatchObject({ provider: "tap", kind: "http", state: "healthy", refused: 0 });
  expect(ntfy.faults).toEqual([]);
});

test("P-10 W-04 a phone that is set by hand never expires: a call wakes it, and its app gets the call as whatever device it is", async () => {
  const push = { provider: "tap", prid: "topic-of-dora" };
  await ask("PUT", "/v1/locations/dora/devices/phone", { contact: "sip:dora@phone.invalid", kind: "mobile", push });
  const { port } = appliance.transports.listeners().find(({ transport }) => transport === "udp")!;
  const caller = await Bun.udpSocket({ hostname: "127.0.0.1", port: 0 });
  const before = ntfy.came.length;
  caller.send(
    [
      "INVITE sip:dora@example.org SIP/2.0",
      `Via: SIP/2.0/UDP 127.0.0.1:${caller.port};branch=z9hG4bKdora`,
      "Max-Forwards: 70",
      'From: "Erin" <sip:erin@example.org>;tag=e',
      "To: <sip:dora@example.org>",
      "Call-ID: for-dora@127.0.0.1",
      "CSeq: 1 INVITE",
      `Contact: <sip:erin@127.0.0.1:${caller.port}>`,
      "Content-Length: 0",
      "",
      "",
    ].join("\r\n"),
    port,
    "127.0.0.1",
  );
  await ntfy.until(() => ntfy.came.length > before);
  const came = ntfy.came.at(-1)!;
  expect([came.path, came.headers.get("title")]).toEqual(["/topic-of-dora", "Erin"]);
  const heard = await register("dora", "", [], "Call-ID: for-dora@127.0.0.1");
  expect(heard).toContain("INVITE sip:dora@127.0.0.1:9");
  caller.close();
});

test("P-10 X-04 what is shown of the config, of pushes, metrics and log holds no secret", async () => {
  await ask("POST", "/v1/push", { provider: "tap", param: "", prid: "forbidden" });
  const shown = [
    (await ask("GET", "/v1/config")).body,
    (await ask("GET", "/v1/push")).body,
    (await ask("GET", "/v1/push/recent")).body,
    await (await fetch(`${api}/metrics`)).text(),
    logged,
  ].map((one) => JSON.stringify(one)).join("\n");
  expect(shown).not.toContain(KEY);
  expect(shown).toContain('"authorization":"Bearer {token?}"');
  expect(shown).toContain('latefork_push_total{provider=\\"tap\\"');
});
