/** `latefork check` the whole way: real files, ports and databases, with and without an appliance that runs (O-02). */
import { afterAll, afterEach, expect, test } from "bun:test";
import { createSocket } from "node:dgram";
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { createServer as createHttpServer } from "node:http";
import { type AddressInfo, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Appliance } from "../../src/appliance/appliance.ts";
import { probeLive } from "../../src/appliance/live_probe.ts";
import { probeLocal } from "../../src/appliance/local_probe.ts";
import { runCheck } from "../../src/cli/check.ts";
import { runningAppliance } from "../../src/cli/running.ts";
import { loadConfigFile } from "../../src/config/files.ts";
import type { Finding } from "../../src/config/finding.ts";
import { makeVapidKeys } from "../../src/config/vapid_keys.ts";
import { CertificateAuthority } from "../../src/demo/certificate.ts";
import { Log } from "../../src/observe/log.ts";
import { ApnsServer } from "../io/push/apns/apns_server.ts";
import { FcmServer } from "../io/push/fcm/fcm_server.ts";
import { WebPushService } from "../io/push/webpush/webpush_service.ts";

const folder = mkdtempSync(join(tmpdir(), "latefork-check-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));
const stops: (() => Promise<void> | void)[] = [];
afterEach(async () => {
  for (const stop of stops.splice(0).reverse()) await stop();
});

const write = (name: string, text: string): string => {
  const path = join(folder, name);
  writeFileSync(path, text, { mode: 0o600 });
  return path;
};

interface Checked {
  code: number;
  out: string;
  err: string;
  problems: { path: string; message: string; hint: string }[];
  parts: Finding[];
  live: Finding[];
}

/** The command as people see it, and the same as JSON; everybody is asked once. */
async function check(config: string, isLive = false): Promise<Checked> {
  const said = { out: "", err: "", json: "" };
  let asked: Promise<Finding[]> | undefined;
  const programs = {
    probe: probeLocal,
    running: runningAppliance,
    live: (...[of, running]: Parameters<typeof probeLive>) =>
      asked ??= probeLive(of, running, { answerMs: 300, pushMs: 3000 }),
  };
  const io = (out: (text: string) => void) => ({
    env: {},
    isInputTerminal: false,
    readPassword: () => Promise.resolve(""),
    stdout: out,
    stderr: (text: string) => void (said.err += text),
  });
  const options = { config, isJson: false, isLive };
  const code = await runCheck(options, io((text) => said.out += text), programs);
  const err = said.err;
  const again = await runCheck({ ...options, isJson: true }, io((text) => said.json += text), programs);
  expect(again).toBe(code);
  return { code, out: said.out, err, live: [], ...JSON.parse(said.json) };
}

/** Nobody listens there a moment later; UDP and TCP both. */
async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", () => resolve()));
  const { port } = server.address() as AddressInfo;
  await new Promise<void>((resolve) => void server.close(() => resolve()));
  return port;
}

const stateOf = (findings: readonly Finding[], part: string): string | undefined =>
  findings.find((finding) => finding.part === part)?.state;
const wordsOf = (findings: readonly Finding[], part: string): string =>
  findings.filter((finding) => finding.part === part).map(({ words }) => words).join("\n");

async function start(config: string): Promise<Appliance> {
  const loaded = loadConfigFile(config);
  const silent = { isTty: false, write: (bytes: Uint8Array) => bytes.length, nowMs: () => 0, later: () => {} };
  const appliance = new Appliance({
    config: loaded.config!,
    configFile: config,
    log: new Log(loaded.config!.log, silent),
  });
  await appliance.start();
  stops.push(() => appliance.stop());
  return appliance;
}

test("O-02 what an appliance with this config holds is no fault, and it is not disturbed", async () => {
  const [sip, control, other] = [await freePort(), await freePort(), await freePort()];
  const store = join(folder, "running.db");
  const text = (port: number) =>
    `listen: ["udp://127.0.0.1:${port}", "tcp://127.0.0.1:${port}"]\nstore: { path: ${store} }\n` +
    `control: { listen: ["http://127.0.0.1:${control}"] }\nsecurity: { trust: [127.0.0.0/8] }\n`;
  const config = write("running.yaml", text(sip));
  const idle = await check(config);
  expect([idle.code, idle.problems]).toEqual([0, []]);
  expect(wordsOf(idle.parts, "store")).toBe(`${store} is made at the first start`);
  const appliance = await start(config);
  const held = await check(config);
  expect([held.code, held.problems]).toEqual([0, []]);
  for (const part of ["listen", "control", "store"]) {
    expect(wordsOf(held.parts, part)).toContain(
      `open in the running latefork ${appliance.version} (pid ${process.pid})`,
    );
  }
  const moved = await check(write("moved.yaml", text(other)));
  expect(moved.code).toBe(0);
  expect(wordsOf(moved.parts, "listen")).toBe(`udp://127.0.0.1:${other}, tcp://127.0.0.1:${other} can be opened`);
  expect(appliance.readiness().state).toBe("ready");
  expect(appliance.transports.listeners().length).toBe(2);
});

test("O-02 a control port is known again however it is written", async () => {
  for (const written of [`unix://${join(folder, "control.sock")}`, `http://127.0.0.1:${await freePort()}/`]) {
    const config = write(
      "control.yaml",
      `listen: ["udp://0.0.0.0:${await freePort()}"]\ncontrol: { listen: ["${written}"] }\n` +
        `store: { path: ":memory:" }\nsecurity: { trust: [127.0.0.0/8] }\n`,
    );
    const appliance = await start(config);
    const { code, parts, problems } = await check(config);
    expect([code, problems]).toEqual([0, []]);
    expect(wordsOf(parts, "control")).toContain("open in the running latefork");
    expect(wordsOf(parts, "listen")).toContain("open in the running latefork");
    await appliance.stop();
  }
});

test("O-02 what somebody else holds is a fault, with who to ask", async () => {
  const udp = createSocket("udp4");
  await new Promise<void>((resolve) => udp.bind(0, "127.0.0.1", () => resolve()));
  stops.push(() => new Promise<void>((resolve) => void udp.close(() => resolve())));
  // Another program at the control port: it answers, and is no latefork.
  const http = createHttpServer((_, answer) => answer.end('{"pid":1}'));
  await new Promise<void>((resolve) => http.listen(0, "127.0.0.1", () => resolve()));
  stops.push(() => new Promise<void>((resolve) => void http.close(() => resolve())));
  const { port } = http.address() as AddressInfo;
  const found = await check(write(
    "taken.yaml",
    `listen: ["udp://127.0.0.1:${udp.address().port}"]\nstore: { path: ":memory:" }\n` +
      `control: { listen: ["http://127.0.0.1:${port}"] }\nsecurity: { trust: [127.0.0.0/8] }\n`,
  ));
  expect(found.code).toBe(78);
  expect(found.problems.map(({ path }) => path)).toEqual(["listen", "control.listen"]);
  for (const { hint } of found.problems) expect(hint).toContain("ss -lntup");
  expect([stateOf(found.parts, "listen"), stateOf(found.parts, "control")]).toEqual(["failed", "failed"]);
});

test("O-02 every part is tried at once: keys, users, credentials, database", async () => {
  const users = write("users", "alice:example.org:md5=zz\n");
  const registrar = await check(write(
    "registrar.yaml",
    `listen: ["udp://127.0.0.1:0"]\ncontrol: { listen: ["http://127.0.0.1:0"] }\nusers_file: ${users}\n` +
      `store: { path: ":memory:" }\n`,
  ));
  expect(registrar.code).toBe(78);
  expect(registrar.problems.map(({ path }) => path)).toEqual(["users_file"]);
  expect(registrar.problems[0]!.message).toContain(`${users}:1: `);
  const credentials = write("credentials", "alice\n");
  const damaged = write("damaged.db", "no database".repeat(1000));
  const key = write("key.p8", "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n");
  const account = write("account.json", '{"type":"service_account","project_id":"p1a2b3"}');
  const vapid = write("vapid.json", JSON.stringify({ ...makeVapidKeys(), publicKey: makeVapidKeys().publicKey }));
  const config = write(
    "wrong.yaml",
    `listen: ["udp://127.0.0.1:0"]
control: { listen: ["http://127.0.0.1:0"] }
pbx: { uri: "sip:127.0.0.1:5999", credentials_file: ${credentials} }
store: { path: ${damaged} }
push:
  apns: { key_file: ${key}, key_id: ABC123DEFG, team_id: DEF123GHIJ }
  fcm: { service_account_file: ${account} }
  webpush: { vapid_file: ${vapid}, subject: "mailto:ops@example.org" }
`,
  );
  const { code, problems, parts, err } = await check(config);
  expect(code).toBe(78);
  const wanted: [string, string][] = [
    ["pbx.credentials_file", "credentials:1: Cannot read credentials"],
    ["store.path", "the database is damaged"],
    ["push.apns.key_file", "it is a certificate"],
    ["push.fcm.service_account_file", 'its "client_email" is missing'],
    ["push.webpush.vapid_file", "its two keys are no pair"],
  ];
  for (const [path, words] of wanted) {
    const own = problems.filter((problem) => problem.path === path);
    expect([path, own.length]).toEqual([path, 1]);
    expect(own[0]!.message).toContain(words);
  }
  for (const part of ["pbx.credentials_file", "store", "push.apns", "push.fcm", "push.webpush"]) {
    expect([part, stateOf(parts, part)]).toEqual([part, "failed"]);
  }
  expect(stateOf(parts, "listen")).toBe("ok");
  expect(err).toContain(`${wanted.length} errors`);
});

/** A PBX that answers OPTIONS. */
async function pbx(): Promise<number> {
  const socket = createSocket("udp4");
  socket.on("message", (bytes, { port, address }) => {
    const kept = bytes.toString("latin1").split("\r\n").filter((line) => /^(Via|From|To|Call-ID|CSeq):/.test(line));
    socket.send(["SIP/2.0 200 OK", ...kept, "Content-Length: 0", "", ""].join("\r\n"), port, address);
  });
  await new Promise<void>((resolve) => socket.bind(0, "127.0.0.1", () => resolve()));
  stops.push(() => new Promise<void>((resolve) => void socket.close(() => resolve())));
  return socket.address().port;
}

interface Services {
  apns: ApnsServer;
  fcm: FcmServer;
  webpush: WebPushService;
  /** @param changes of the lines of the config, by their first word */
  config(name: string, changes?: Record<string, string>): string;
  /** The text of each secret. */
  secrets: string[];
}

async function services(): Promise<Services> {
  const apns = await new ApnsServer({ now: Date.now }).start();
  const fcm = await new FcmServer(Date.now).start();
  const webpush = await new WebPushService(Date.now).start();
  for (const service of [apns, fcm, webpush]) stops.push(() => service.stop());
  const sip = await pbx();
  const vapid = makeVapidKeys();
  const at = mkdtempSync(join(folder, "services-"));
  const own = (name: string, text: string) => write(join(at.slice(folder.length + 1), name), text);
  const files = {
    p8: own("key.p8", apns.p8),
    account: own("account.json", fcm.account()),
    vapid: own("vapid.json", JSON.stringify(vapid)),
    apnsCa: own("apns.pem", apns.ca),
    fcmCa: own("fcm.pem", fcm.ca),
    webpushCa: own("webpush.pem", webpush.ca),
  };
  const lines: Record<string, string> = {
    listen: `listen: ["udp://127.0.0.1:0"]`,
    pbx: `pbx: { uri: "sip:127.0.0.1:${sip}" }`,
    control: `control: { listen: ["http://127.0.0.1:${await freePort()}"] }`,
    store: `store: { path: ${join(at, "latefork.db")} }`,
    push: `push:
  apns: { key_file: ${files.p8}, key_id: ${apns.keyId}, team_id: ${apns.teamId}, server: "${apns.url}", sandbox_server: "${apns.url}", ca_file: ${files.apnsCa} }
  fcm: { service_account_file: ${files.account}, server: "${fcm.url}", ca_file: ${files.fcmCa} }
  webpush: { vapid_file: ${files.vapid}, subject: "mailto:ops@example.org", ca_file: ${files.webpushCa}, allow_hosts: [127.0.0.1] }`,
  };
  return {
    apns,
    fcm,
    webpush,
    config: (name, changes = {}) => own(name, Object.values({ ...lines, ...changes }).join("\n") + "\n"),
    secrets: [apns.p8.split("\n")[1]!, vapid.privateKey],
  };
}

/** All there is below a folder, to the byte. */
function stateOfFolder(path: string): unknown {
  return readdirSync(path).sort().map((name) => {
    const file = join(path, name);
    return [name, statSync(file).mtimeMs, readFileSync(file).toString("base64")];
  });
}

test("O-02 --live with everybody well: all is asked, no phone hears of it, nothing changes", async () => {
  const { fcm, webpush, config, secrets } = await services();
  const file = config("latefork.yaml");
  // A phone of Web Push in the database.
  const appliance = await start(file);
  const { endpoint } = webpush.subscribe();
  const put = await fetch(`${appliance.controlUrls[0]}/v1/locations/alice@example.org/devices/phone1`, {
    method: "PUT",
    body: JSON.stringify({ contact: "sip:alice@192.0.2.7", push: { provider: "webpush", prid: endpoint } }),
  });
  expect([put.ok, put.ok ? "" : await put.text()]).toEqual([true, ""]);
  const pushed = await fetch(`${appliance.controlUrls[0]}/v1/push`, {
    method: "POST",
    body: JSON.stringify({ aor: "alice@example.org" }),
  });
  expect(await pushed.json()).toMatchObject({ accepted: true });
  webpush.received.length = 0;
  const running = await check(file, true);
  expect([running.code, running.live.map(({ part, state }) => `${part} ${state}`)]).toEqual([0, [
    "pbx ok",
    "push.apns ok",
    "push.apns ok",
    "push.fcm ok",
    "push.fcm ok",
    "push.webpush ok",
  ]]);
  await appliance.stop();
  const before = stateOfFolder(join(file, ".."));
  const { code, live, out, err } = await check(file, true);
  // A second provider token within 20 minutes: Apple says so.
  expect(live.map(({ part, state }) => `${part} ${state}`)).toEqual([
    "pbx ok",
    "push.apns warning",
    "push.apns warning",
    "push.fcm ok",
    "push.fcm ok",
    "push.webpush ok",
  ]);
  expect([code, err]).toEqual([0, ""]);
  expect(out).toEndWith(`${file}: ok\n`);
  expect(webpush.received).toEqual([]);
  expect([fcm.faults, fcm.received.every(({ isJudgedOnly }) => isJudgedOnly)]).toEqual([[], true]);
  expect(stateOfFolder(join(file, ".."))).toEqual(before);
  for (const secret of [...secrets, new URL(endpoint).pathname, ...fcm.received.map(({ bearer }) => bearer)]) {
    expect(out).not.toContain(secret);
  }
});

test("O-02 --live says why no Web Push service is asked", async () => {
  const vapid = write("alone.json", JSON.stringify(makeVapidKeys()));
  const { config } = loadConfigFile(write(
    "webpush.yaml",
    `push: { webpush: { vapid_file: ${vapid}, subject: "mailto:ops@example.org" } }\nstore: { path: ":memory:" }\n`,
  ));
  const running = { pid: 7, version: "0", listeners: [], control: [], store: { path: "" }, pushHosts: [] };
  const [held] = await probeLive(config!, running);
  expect(held).toMatchObject({ part: "push.webpush", state: "idle" });
  expect(held!.words).toContain("the running latefork (pid 7) has pushed to none since its start");
  const [alone] = await probeLive(config!, null);
  expect(alone!.words).toBe("no phone with Web Push is known, and phones name the services");
  const broken = { ...config!, store: { ...config!.store, path: write("broken.db", "no database".repeat(500)) } };
  expect((await probeLive(broken, null))[0]!.words).toContain("the database that knows them cannot be read");
});

test("O-02 --live tells each that fails, with what to do, and exits 1", async () => {
  const { apns, fcm, config } = await services();
  const silent = createSocket("udp4");
  await new Promise<void>((resolve) => silent.bind(0, "127.0.0.1", () => resolve()));
  stops.push(() => new Promise<void>((resolve) => void silent.close(() => resolve())));
  for (let n = 0; n < 2; n++) apns.orders.push({ status: 403, reason: "InvalidProviderToken" });
  fcm.tokenOrders.push({ status: 400, error: "invalid_grant", description: "disabled" });
  const { code, live, err } = await check(
    config("failing.yaml", { pbx: `pbx: { uri: "sip:127.0.0.1:${silent.address().port}" }` }),
    true,
  );
  expect(code).toBe(1);
  expect(live.map(({ part, state }) => `${part} ${state}`)).toEqual([
    "pbx failed",
    "push.apns failed",
    "push.apns failed",
    "push.fcm failed",
    "push.webpush idle",
  ]);
  expect(err).toContain("4 of 4 asked by --live failed");
  expect(wordsOf(live, "pbx")).toContain("did not answer OPTIONS within 0.3 s");
  expect(wordsOf(live, "push.apns")).toContain("key_file, key_id and team_id do not belong together");
  expect(wordsOf(live, "push.fcm")).toContain("does not exist any more or is disabled");
});

test("O-02 --live without PBX and push asks nobody, and that is fine", async () => {
  const config = write(
    "alone.yaml",
    `listen: ["udp://127.0.0.1:0"]\ncontrol: { listen: ["http://127.0.0.1:${await freePort()}"] }\n` +
      `store: { path: ":memory:" }\nsecurity: { trust: [127.0.0.0/8] }\n`,
  );
  const { code, live, out } = await check(config, true);
  expect([code, live]).toEqual([0, []]);
  expect(out).toContain("no service is configured: sleeping phones are not woken");
});

test("O-02 T-06 check says whom certificates are for and how long they last: an ended one is an error, a late one a warning", async () => {
  const authority = new CertificateAuthority();
  const port = await freePort();
  const text = `security: { trust: [127.0.0.1/32] }
store: { path: ":memory:" }
control: { listen: ["http://127.0.0.1:0"] }
listen: ["tls://127.0.0.1:${port}", "wss://127.0.0.1:0/sip"]
tls: { cert_file: sip.pem, key_file: sip.key }
`;
  const checked = async (days: number, from = -30) => {
    const at = (day: number) => Date.now() + day * 86_400_000 + 60_000;
    const { cert, key } = authority.issue({
      names: ["sip.example.org"],
      validFromMs: at(from),
      validToMs: at(days),
    });
    write("sip.pem", cert);
    write("sip.key", key);
    return await check(write("latefork.yaml", text));
  };
  const sound = await checked(60);
  expect([sound.code, stateOf(sound.parts, "tls")]).toEqual([0, "ok"]);
  expect(wordsOf(sound.parts, "tls")).toEndWith("sip.pem is for sip.example.org, 60 days left");
  expect(wordsOf(sound.parts, "listen")).toContain(`tls://127.0.0.1:${port}`);
  const named = (config: string) => check(write("latefork.yaml", text + config));
  const matching = await named("advertise: sip.example.org\n");
  expect([matching.code, matching.err]).toEqual([0, ""]);
  const foreign = await named("advertise: phones.example.org\n");
  expect(foreign.err).toMatch(
    /6:12: warning: advertise: phones that connect to phones\.example\.org refuse the certificate/,
  );
  const late = await checked(9);
  expect([late.code, stateOf(late.parts, "tls")]).toEqual([0, "warning"]);
  expect(late.err).toMatch(/5:19: warning: .*sip\.pem expires on .*, in 9 days/);
  const ended = await checked(-2);
  expect([ended.code, stateOf(ended.parts, "tls")]).toEqual([78, "failed"]);
  expect(ended.err).toMatch(/5:19: tls\.cert_file: .*sip\.pem has expired on .*: phones refuse it/);
  const early = await checked(60, 2);
  expect(early.err).toMatch(/is not valid before .*: is the clock right\?/);
});
