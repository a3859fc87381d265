/** The control port of a running appliance as scripts see it: addresses, refusals, config and reload. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Appliance } from "../../src/appliance/appliance.ts";
import { loadConfigFile } from "../../src/config/files.ts";
import { Log } from "../../src/observe/log.ts";

const folder = mkdtempSync(join(tmpdir(), "latefork-outside-"));
const file = join(folder, "latefork.yaml");
const pusher = Bun.serve({ hostname: "127.0.0.1", port: 0, fetch: () => new Response("ok") });
let appliance: Appliance;
let api = "";
let logged = "";

function yaml(parts: Record<string, string> = {}): string {
  const all: Record<string, string> = {
    domain: "[Example.org, second.example]",
    listen: '["udp://127.0.0.1:0", "tcp://127.0.0.1:0"]',
    security: "{ trust: [127.0.0.1/32] }",
    push: `{ webhook: { acme: { url: "http://127.0.0.1:${pusher.port}/wake" } } }`,
    store: '{ path: ":memory:" }',
    control: '{ listen: ["http://127.0.0.1:0"] }',
    ...parts,
  };
  return Object.entries(all).map(([key, value]) => `${key}: ${value}\n`).join("");
}

async function ask(method: string, path: string, body?: unknown) {
  const text = typeof body === "string" || body === undefined ? body : JSON.stringify(body);
  const response = await fetch(api + path, { method, body: text });
  const answer = await response.text();
  // deno-lint-ignore no-explicit-any
  return { status: response.status, body: answer === "" ? null : JSON.parse(answer) as any };
}

beforeAll(async () => {
  writeFileSync(file, yaml());
  const { config } = loadConfigFile(file);
  const output = {
    isTty: false,
    write: (bytes: Uint8Array) => (logged += new TextDecoder().decode(bytes), bytes.length),
    nowMs: () => 0,
    later: () => {},
  };
  appliance = new Appliance({ config: config!, configFile: file, log: new Log(config!.log, output) });
  await appliance.start();
  api = appliance.controlUrls[0]!;
});

afterAll(async () => {
  await appliance.stop();
  await pusher.stop(true);
  rmSync(folder, { recursive: true });
});

test("an AoR is found however its path spells it, with any user RFC 3261 allows", async () => {
  const users: [string, string][] = [["alice", "alice"], ["bob%2Fx", "bob%2Fx"], ["a/b;c?d", "a/b;c?d"]];
  for (const [i, [user]] of users.entries()) {
    const path = `/v1/locations/${encodeURIComponent(user + "@example.org")}/devices/d${i}`;
    expect([user, (await ask("PUT", path, { contact: "sip:127.0.0.1:9" })).status]).toEqual([user, 200]);
  }
  const found = async (path: string) => (await ask("GET", "/v1/locations/" + path)).body.aor;
  const same = ["alice", "alice@example.org", "alice%40EXAMPLE.org", "al%69ce", "sip:alice@example.org", "sip:alice"];
  for (const path of same) expect([path, await found(path)]).toEqual([path, "alice@example.org"]);
  for (const path of ["bob%252Fx", "bob%252fx@example.org"]) {
    expect([path, await found(path)]).toEqual([path, "bob%2Fx@example.org"]);
  }
  for (const path of ["a%2Fb%3Bc%3Fd", "a%2Fb;c%3Fd@example.org"]) {
    expect([path, await found(path)]).toEqual([path, "a/b;c?d@example.org"]);
  }
  for (const path of ["%40example.org", "alice@", "a@b@c", "a%20b", "%253Cx%253E%", "%00"]) {
    const { status, body } = await ask("GET", "/v1/locations/" + path);
    expect([path, status, body.error.code]).toEqual([path, 400, "invalid_aor"]);
  }
  for (const path of ["nobody", "ALICE", "alice@other.example"]) {
    const { status, body } = await ask("GET", "/v1/locations/" + path);
    expect([path, status, body.error.code]).toEqual([path, 404, "unknown_aor"]);
  }
});

test("a device that cannot be made or pushed is refused for what is wrong with it", async () => {
  const contact = "sip:127.0.0.1:9";
  await ask("PUT", "/v1/locations/carol/devices/carol1", { contact });
  const cases: [string, string, unknown, number, string, string][] = [
    ["PUT", "/v1/locations/carol/devices/a%20b", { contact }, 400, "invalid_device_id", '"a b"'],
    ["PUT", "/v1/locations/dave/devices/carol1", { contact }, 409, "device_id_taken", "carol@example.org"],
    ["PUT", "/v1/locations/dave@x.example/devices/d", { contact }, 400, "foreign_domain", "x.example"],
    ["POST", "/v1/push", { aor: "carol", device: "nope" }, 404, "unknown_device", "no device nope"],
    ["POST", "/v1/push", { aor: "carol", device: "carol1" }, 409, "not_pushable", "Device carol1"],
    ["POST", "/v1/push", { aor: "carol" }, 409, "not_pushable", "carol@example.org has no device"],
  ];
  for (const [method, path, body, status, code, words] of cases) {
    const answer = await ask(method, path, body);
    expect([path, answer.status, answer.body.error.code]).toEqual([path, status, code]);
    expect(answer.body.error.message).toContain(words);
    expect(answer.body.error.hint).not.toBe("");
  }
});

test("a phone counts as one that can be woken if a backend takes its token", async () => {
  const woken = async () => (await ask("GET", "/v1/status")).body.counts.push_devices;
  const put = (id: string, provider: string) =>
    ask("PUT", `/v1/locations/${id}/devices/${id}`, {
      contact: "sip:127.0.0.1:9",
      push: { provider, prid: "token" + id },
    });
  const before = await woken();
  await put("frank", "nobody-serves-this");
  expect(await woken()).toBe(before);
  await put("grace", "acme");
  expect(await woken()).toBe(before + 1);
});

test("O-03 a reload that names a file which is not there changes nothing", async () => {
  writeFileSync(
    file,
    yaml({
      wake: "{ window: 7s }",
      control: '{ listen: ["http://127.0.0.1:0"], token_file: nope.token }',
    }),
  );
  const refused = await ask("POST", "/v1/reload");
  expect(refused.status).toBe(422);
  expect(refused.body.problems).toMatchObject([{ path: "control.token_file", line: 6, severity: "error" }]);
  expect((await ask("GET", "/v1/config")).body.wake.window).toBe("30s");
  writeFileSync(file, yaml({ wake: "{ window: 7s }" }));
  expect((await ask("POST", "/v1/reload")).body).toEqual({ applied: ["wake.window"], restart_required: [] });
});

test("O-03 a users file with a line nobody can read is not taken by a reload, as check refuses it", async () => {
  writeFileSync(join(folder, "users"), "broken line\n", { mode: 0o600 });
  const config = { wake: "{ window: 9s }", users_file: "users" };
  writeFileSync(file, yaml(config));
  const refused = await ask("POST", "/v1/reload");
  expect([refused.status, refused.body.problems]).toMatchObject([422, [{ path: "users_file", severity: "error" }]]);
  expect(refused.body.problems[0].message).toContain("users:1: ");
  expect((await ask("GET", "/v1/config")).body.wake.window).toBe("7s");
  writeFileSync(join(folder, "users"), "");
  expect((await ask("POST", "/v1/reload")).body.applied.toSorted()).toEqual(["users_file", "wake.window"]);
});

test("O-02 a config sent to be checked has its files looked for beside the config's", async () => {
  writeFileSync(join(folder, "push.token"), "secret", { mode: 0o600 });
  const withToken = (name: string) => yaml({ control: `{ listen: ["http://127.0.0.1:0"], token_file: ${name} }` });
  expect((await ask("POST", "/v1/config/check", withToken("push.token"))).body).toEqual({ problems: [] });
  const { body } = await ask("POST", "/v1/config/check", withToken("nope.token"));
  expect(body.problems).toMatchObject([{
    path: "control.token_file",
    message: expect.stringContaining("no such file"),
  }]);
});

test("X-02 a ban holds for the source of an address, however it is spelt, and one that holds for nobody is refused", async () => {
  const banned = async () => (await ask("GET", "/v1/htables/banned")).body.items.map(({ key }: { key: string }) => key);
  for (const name of ["2001:DB8:0:7::1", "2001:db8:0:7::2", "2001:db8:0:7::%2F64", "[2001:db8:0:7:0::9]"]) {
    expect([name, (await ask("PUT", "/v1/htables/banned/" + name, "1")).status]).toEqual([name, 200]);
    expect([name, await banned()]).toEqual([name, ["2001:db8:0:7::/64"]]);
    expect((await ask("GET", "/v1/htables/banned/2001:db8:0:7::3")).body.key).toBe("2001:db8:0:7::/64");
  }
  expect((await ask("PUT", "/v1/htables/banned/192.0.2.7", "1")).body.key).toBe("192.0.2.7");
  expect((await ask("DELETE", "/v1/htables/banned/2001:db8:0:7::1")).status).toBe(204);
  for (const name of ["nobody", "192.0.2.0%2F24", "192.0.2", "2001:db8::%2F48"]) {
    const { status, body } = await ask("PUT", "/v1/htables/banned/" + name, "1");
    expect([name, status, body.error.code]).toEqual([name, 400, "invalid_key"]);
  }
  expect(await banned()).toEqual(["192.0.2.7"]);
});

/** A phone over TCP: what it was sent so far, as text. */
async function phone(port: number) {
  let seen = "";
  let more = () => {};
  const socket = await Bun.connect({
    hostname: "127.0.0.1",
    port,
    socket: {
      data: (_socket, bytes) => {
        seen += new TextDecoder().decode(bytes);
        more();
      },
    },
  });
  return {
    socket,
    async hears(words: string) {
      while (!seen.includes(words)) await new Promise<void>((resolve) => more = resolve);
    },
  };
}

function request(method: string, user: string, target: string, via: string, lines: string[]): string {
  const id = method + crypto.randomUUID();
  return [
    `${method} ${target} SIP/2.0`,
    `Via: SIP/2.0/${via};branch=z9hG4bK${id};rport`,
    "Max-Forwards: 70",
    `From: <sip:${user}@example.org>;tag=f`,
    `To: <${method === "REGISTER" ? `sip:${user}@example.org` : target}>`,
    `Call-ID: ${id}`,
    `CSeq: 1 ${method}`,
    ...lines,
    "Content-Length: 0",
    "",
    "",
  ].join("\r\n");
}

test("W-04 a late branch is seen from outside: flow, events, metrics", async () => {
  const listeners = appliance.transports.listeners();
  const tcp = listeners.find(({ transport }) => transport === "tcp")!.port;
  const udp = listeners.find(({ transport }) => transport === "udp")!.port;
  const wakes = async () => {
    const waking = await phone(tcp);
    const contact = "<sip:eve@192.0.2.1;transport=tcp;pn-provider=acme;pn-param=x;pn-prid=eves-token>";
    waking.socket.write(request("REGISTER", "eve", "sip:example.org", "TCP 192.0.2.1", [`Contact: ${contact}`]));
    await waking.hears("SIP/2.0 200 ");
    return waking;
  };
  const flow = async () => (await ask("GET", "/v1/locations/eve")).body.devices[0].flow.state;
  const metric = async (name: string) => {
    const text = await (await fetch(api + "/metrics")).text();
    return Number(text.split("\n").find((line) => line.startsWith(`latefork_${name} `))?.split(" ")[1]);
  };
  const events = (await fetch(api + "/v1/events")).body!.getReader();
  let told = "";
  const hears = async (words: RegExp) => {
    while (!words.test(told)) told += new TextDecoder().decode((await events.read()).value);
  };

  const first = await wakes();
  expect(await flow()).toBe("live");
  expect(await metric('flows{transport="tcp",state="live"}')).toBe(1);
  first.socket.end();
  await hears(/event: flow\ndata: .*"state":"lost"/);
  expect(await flow()).toBe("lost");
  expect(await metric('flows{transport="tcp",state="lost"}')).toBe(1);

  const accepted = await metric('push_total{provider="acme",result="accepted"}') || 0;
  const bob = await Bun.udpSocket({ hostname: "127.0.0.1", socket: { data: () => {} } });
  const invite = request("INVITE", "bob", "sip:eve@example.org", `UDP 127.0.0.1:${bob.port}`, [
    `Contact: <sip:bob@127.0.0.1:${bob.port}>`,
  ]);
  bob.send(invite, udp, "127.0.0.1");
  await hears(/event: push\ndata: /);
  const push = JSON.parse(/event: push\ndata: (.*)\n/.exec(told)![1]!);
  expect(push).toMatchObject({
    state: "accepted",
    event: "call",
    aor: "eve@example.org",
    provider: "acme",
    status: 200,
  });
  expect(push.call_id).toBe(/Call-ID: (.*)\r/.exec(invite)![1]);
  expect(await metric('push_total{provider="acme",result="accepted"}')).toBe(accepted + 1);

  const second = await wakes();
  await second.hears("INVITE sip:eve@192.0.2.1");
  expect(await metric("late_branches_total")).toBe(1);
  expect(await metric("late_branch_seconds_count")).toBe(1);
  // Within the turn of its REGISTER the clock stands still, so that only a real measurement is not 0.
  expect(await metric("late_branch_seconds_sum")).toBeGreaterThan(0);
  expect(await metric("wake_seconds_count")).toBe(1);
  await events.cancel();
  second.socket.end();
  bob.close();
});

test("O-05 a line about a refused REGISTER names the AoR as all lines do, so that an override finds it", async () => {
  const refused = await phone(appliance.transports.listeners().find(({ transport }) => transport === "tcp")!.port);
  refused.socket.write(request("REGISTER", "%68enry", "sip:example.org", "TCP 192.0.2.1", [
    "Contact: <sip:henry@192.0.2.1>",
    "Expires: 1",
  ]));
  await refused.hears("SIP/2.0 423 ");
  refused.socket.end();
  appliance.log.flush();
  const line = logged.split("\n").find((text) => text.includes("REGISTER refused: 423"))!;
  expect(JSON.parse(line).aor).toBe("henry@example.org");
});
