/** The APNs backend behind the relay, against a local APNs that checks what the real one checks (P-09). */
import { afterEach, expect, test } from "bun:test";
import { generateKeyPairSync } from "node:crypto";
import { type AddressInfo, connect, createServer, type Socket } from "node:net";
import { APNS_ERRORS, type ApnsAction } from "../../../../src/io/push/apns/errors.ts";
import { canonicalUuid } from "../../../../src/io/push/payload.ts";
import { apnsTargetOf } from "../../../../src/io/push/apns/target.ts";
import { ApnsToken, TOKEN_LIFE_MS } from "../../../../src/io/push/apns/token.ts";
import { CONNECT_MS, PING_ANSWER_MS, PING_EVERY_MS, SILENCE_MS } from "../../../../src/io/push/http/http2.ts";
import { MAX_IN_FLIGHT } from "../../../../src/io/push/delivery.ts";
import { type PushConfig, PushRelay } from "../../../../src/io/push/relay.ts";
import type { PushRequest, PushVerdict } from "../../../../src/io/push/types.ts";
import { ApnsServer, type ApnsServerOptions, type Order } from "./apns_server.ts";
import { pushConfig, pushRequest, VirtualWorld } from "../virtual_world.ts";

const TOKEN = "ab".repeat(32);
const VOIP = { provider: "apns", param: "DEF123GHIJ.org.example.phone.voip", prid: TOKEN };
const ALERT = { provider: "apns", param: "DEF123GHIJ.org.example.phone", prid: TOKEN };
const BOTH = { provider: "apns", param: "DEF123GHIJ.org.example.phone.remote&voip", prid: "a1:remote&b2:voip" };
const UUID = "6b1a2c3d-0000-4000-8000-00000000000a";

const stops: (() => Promise<void> | void)[] = [];
afterEach(async () => {
  for (const stop of stops.splice(0).reverse()) await stop();
});

/** Stands before a server and passes everything on, until it is deaf: then nothing at all, as behind a NAT that forgot. */
class DeafWall {
  isDeaf = false;
  private readonly target: URL;
  private readonly sockets = new Set<Socket>();
  private readonly server = createServer((near) => {
    const far = connect(Number(this.target.port), "127.0.0.1");
    const isBornDeaf = this.isDeaf;
    for (const [from, to] of [[near, far], [far, near]] as const) {
      this.sockets.add(from);
      // Once deaf, always deaf: the way back does not open again.
      let isShut = isBornDeaf;
      from.on("data", (bytes) => {
        isShut ||= this.isDeaf;
        if (!isShut) to.write(bytes);
      });
      from.on("error", () => {});
      from.on("close", () => isShut || to.destroy());
    }
  });

  constructor(url: string) {
    this.target = new URL(url);
  }

  async start(): Promise<this> {
    await new Promise<void>((resolve) => this.server.listen(0, "127.0.0.1", () => resolve()));
    return this;
  }

  get url(): string {
    return `https://127.0.0.1:${(this.server.address() as AddressInfo).port}`;
  }

  stop(): void {
    for (const socket of this.sockets) socket.destroy();
    this.server.close();
  }
}

interface Setup {
  server: ApnsServer;
  sandbox: ApnsServer;
  world: VirtualWorld;
  relay: PushRelay;
  config: PushConfig;
  send(changes?: Partial<PushRequest>): Promise<PushVerdict>;
}

function apnsConfigOf(server: ApnsServer, sandbox: ApnsServer): PushConfig["apns"] {
  return {
    key_file: "/AuthKey.p8",
    key_id: server.keyId,
    team_id: server.teamId,
    server: server.url,
    sandbox_server: sandbox.url,
    ca_file: "/ca.pem",
  };
}

async function setup(options: Partial<ApnsServerOptions> = {}): Promise<Setup> {
  const world = new VirtualWorld();
  const server = await new ApnsServer({ now: world.now, ...options }).start();
  const sandbox = await new ApnsServer({ now: world.now, publicKey: server.publicKey }).start();
  for (const one of [server, sandbox]) {
    for (const topic of ["org.example.phone", "org.example.phone.voip"]) one.topics.add(topic);
  }
  const config = pushConfig({});
  config.apns = apnsConfigOf(server, sandbox);
  world.secrets.set("/AuthKey.p8", server.p8);
  world.secrets.set("/ca.pem", server.ca);
  const relay = new PushRelay(config, world);
  stops.push(() => server.stop(), () => sandbox.stop(), () => relay.stop());
  return { server, sandbox, world, relay, config, send: (changes = {}) => relay.sendNow(pushRequest(changes)) };
}

/** Warm and known to be so: the next push leaves within send. */
async function warmSetup(options: Partial<ApnsServerOptions> = {}): Promise<Setup> {
  const all = await setup(options);
  all.server.install(TOKEN, "org.example.phone.voip");
  expect(await all.send(VOIP)).toMatchObject({ outcome: "accepted" });
  all.server.received.length = 0;
  return all;
}

test("P-03 a call push to a VoIP token is what APNs wants, to the letter", async () => {
  const { server, send, world } = await setup();
  server.install(TOKEN, "org.example.phone.voip");
  const verdict = await send({ ...VOIP, uuid: UUID, callId: 'a"b@pc33' });
  expect(verdict).toMatchObject({ outcome: "accepted", status: 200, attempts: 1, reason: `200 from ${server.url}` });
  const [{ headers, payload, token }] = server.received as [ApnsServer["received"][0]];
  expect(token).toBe(TOKEN);
  expect(headers).toMatchObject({
    ":method": "POST",
    ":path": `/3/device/${TOKEN}`,
    "apns-id": UUID,
    "apns-topic": "org.example.phone.voip",
    "apns-push-type": "voip",
    "apns-priority": "10",
    "apns-expiration": String(Math.ceil((world.nowMs + 30_000) / 1000)),
    "apns-collapse-id": 'a"b@pc33',
  });
  expect(payload).toEqual({
    aps: { "call-id": 'a"b@pc33' },
    event: "call",
    aor: "alice@example.org",
    call_id: 'a"b@pc33',
    uuid: UUID,
    from_uri: "sip:bob@example.org",
    from_name: "Bob",
    to_uri: "sip:alice@example.org",
    sent_at: "2026-01-02T03:04:05.678Z",
    ttl: 30,
    "from-uri": "sip:bob@example.org",
    "display-name": "Bob",
  });
  expect(server.faults).toEqual([]);
});

test.each<[string, string, Partial<PushRequest>, string, string, string, string]>([
  ["call", "VoIP token", VOIP, "voip", "10", "org.example.phone.voip", TOKEN],
  ["call", "alert token", ALERT, "alert", "10", "org.example.phone", TOKEN],
  ["call", "both tokens", BOTH, "voip", "10", "org.example.phone.voip", "b2"],
  ["test", "VoIP token", VOIP, "voip", "10", "org.example.phone.voip", TOKEN],
  ["test", "alert token", ALERT, "alert", "10", "org.example.phone", TOKEN],
  ["refresh", "VoIP token", VOIP, "background", "5", "org.example.phone", TOKEN],
  ["refresh", "alert token", ALERT, "background", "5", "org.example.phone", TOKEN],
  ["refresh", "both tokens", BOTH, "background", "5", "org.example.phone", "a1"],
  ["message", "both tokens", BOTH, "background", "5", "org.example.phone", "a1"],
  ["message", "a MESSAGE for both tokens", { ...BOTH, method: "MESSAGE" }, "alert", "10", "org.example.phone", "a1"],
  ["message", "a NOTIFY for both tokens", { ...BOTH, method: "NOTIFY" }, "background", "5", "org.example.phone", "a1"],
  ["missed", "both tokens", BOTH, "alert", "10", "org.example.phone", "a1"],
  ["cancel", "alert token", ALERT, "background", "5", "org.example.phone", TOKEN],
])("P-03 P-07 a %s push to a device with %s", async (event, _kind, device, type, priority, topic, token) => {
  const { server, send } = await setup();
  server.install(token, topic);
  expect(await send({ ...device, event: event as PushRequest["event"] })).toMatchObject({ outcome: "accepted" });
  expect(server.received).toMatchObject([{
    token,
    headers: { "apns-push-type": type, "apns-priority": priority, "apns-topic": topic },
  }]);
  expect(server.faults).toEqual([]);
});

test.each([["VoIP token", VOIP], ["both tokens", BOTH]])(
  "P-06 no push about the end of a call leaves for a device with %s",
  async (_name, device) => {
    const { server, send } = await setup();
    const verdict = await send({ ...device, event: "cancel", reason: "answered_elsewhere" });
    expect(verdict).toMatchObject({ outcome: "refused", status: 0 });
    expect(server.sessions).toEqual([]);
  },
);

test("P-03 what stands in an alert can be read, and a missed call takes the place of its call", async () => {
  const { server, send } = await setup();
  server.install(TOKEN, "org.example.phone");
  await send({ ...ALERT, fromName: "B\xc3\xb6b" });
  await send({ ...ALERT, fromName: "", event: "missed" });
  await send({ ...ALERT, fromName: "", fromUri: "", event: "test", callId: "" });
  expect(server.received.map(({ payload }) => payload.aps.alert)).toEqual([
    { title: "Böb", body: "Incoming call" },
    { title: "bob", body: "Missed call" },
    { title: "latefork", body: "Test" },
  ]);
  // Without it iOS shows the alert and leaves the app asleep: it would never register.
  expect(server.received.map(({ payload }) => payload.aps["content-available"])).toEqual([1, undefined, 1]);
  const collapse = server.received.map(({ headers }) => headers["apns-collapse-id"]);
  expect(collapse).toEqual([collapse[0]!, collapse[0]!, undefined!]);
});

test.each([
  ["JSON", '"},{"x":"'],
  ["control characters", "a\x00b\r\nc\x1b[31m\x7f"],
  ["6 KB", "x".repeat(6144)],
  ["6 KB of emoji", Buffer.from("👩‍👩‍👧".repeat(340)).toString("latin1")],
  ["6 KB of control characters", "\x01".repeat(6144)],
])("P-03 a hostile name makes a valid payload within its size: %s", async (_name, fromName) => {
  const { server, send } = await setup();
  server.install(TOKEN, "org.example.phone.voip");
  server.install("cd".repeat(32), "org.example.phone");
  await send({ ...VOIP, fromName });
  await send({ ...ALERT, prid: "cd".repeat(32), fromName, event: "missed" });
  expect(server.received.map(({ payload }) => payload.from_uri)).toEqual([
    "sip:bob@example.org",
    "sip:bob@example.org",
  ]);
  for (const { payload } of server.received) {
    expect(Object.keys(payload)).toContain("sent_at");
    expect(payload.from_name.isWellFormed()).toBe(true);
    expect(payload.from_name.length).toBeGreaterThan(0);
    expect(payload["display-name"]).toBe(payload.from_name);
  }
  expect(server.received[1]!.payload.aps.alert.title).toBe(server.received[1]!.payload.from_name);
  expect(server.faults).toEqual([]);
});

test("P-03 a long URI gives way, the Call-ID stays whole, and what cannot fit is refused", async () => {
  const { server, send } = await setup();
  server.install(TOKEN, "org.example.phone.voip");
  const callId = "c".repeat(1500);
  await send({ ...VOIP, callId, fromUri: `sip:${"b".repeat(5000)}@x` });
  expect(server.received[0]!.payload).toMatchObject({ call_id: callId, from_uri: "" });
  expect(server.received[0]!.headers["apns-collapse-id"]).toMatch(/^[\w-]{43}$/);
  expect(await send({ ...VOIP, callId: "c".repeat(5000) })).toMatchObject({ outcome: "refused", attempts: 1 });
  expect(server.received.length).toBe(1);
  expect(server.faults).toEqual([]);
});

test("P-03 an id that is no UUID becomes one, always the same", () => {
  expect(canonicalUuid("ABCDEF00-1111-4222-8333-444444444444")).toBe("abcdef00-1111-4222-8333-444444444444");
  expect(canonicalUuid("k2j4h5g6f7d8s9a0")).toBe(canonicalUuid("k2j4h5g6f7d8s9a0"));
  expect(canonicalUuid("k2j4h5g6f7d8s9a0")).toMatch(
    /^[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/,
  );
  expect(canonicalUuid("a")).not.toBe(canonicalUuid("b"));
});

test.each<[string, string, string, ReturnType<typeof apnsTargetOf>]>([
  ["apns", "DEF123GHIJ.com.example.yourapp.voip", "ab12", {
    team: "DEF123GHIJ",
    bundle: "com.example.yourapp",
    voipToken: "ab12",
    alertToken: "",
    isSandbox: false,
  }],
  ["apns", "DEF123GHIJ.com.example.yourapp", "ab12", {
    team: "DEF123GHIJ",
    bundle: "com.example.yourapp",
    voipToken: "",
    alertToken: "ab12",
    isSandbox: false,
  }],
  ["apns.dev", "ABCD1234.org.linphone.phone.remote&voip", "a1:remote&b2:voip", {
    team: "ABCD1234",
    bundle: "org.linphone.phone",
    voipToken: "b2",
    alertToken: "a1",
    isSandbox: true,
  }],
  ["apns", "ABCD1234.org.linphone.phone.voip&remote", "b2:voip&a1:remote", {
    team: "ABCD1234",
    bundle: "org.linphone.phone",
    voipToken: "b2",
    alertToken: "a1",
    isSandbox: false,
  }],
  ["apns", "ABCD1234.org.linphone.phone.remote", "a1:remote", {
    team: "ABCD1234",
    bundle: "org.linphone.phone",
    voipToken: "",
    alertToken: "a1",
    isSandbox: false,
  }],
  ["apns.dev", "org.linphone.phone.voip.dev", "ab12", {
    team: "",
    bundle: "org.linphone.phone",
    voipToken: "ab12",
    alertToken: "",
    isSandbox: true,
  }],
  ["apns", "org.linphone.phone.prod", "ab12", {
    team: "",
    bundle: "org.linphone.phone",
    voipToken: "",
    alertToken: "ab12",
    isSandbox: false,
  }],
  ["apns", "", "ab12", expect.stringContaining("pn-param")],
  ["apns", "DEF123GHIJ.voip", "ab12", expect.stringContaining("pn-param")],
  ["apns", "DEF123GHIJ.com.example\r\nx: y", "ab12", expect.stringContaining("pn-param")],
  ["apns", "DEF123GHIJ.com.example", "../../x", expect.stringContaining("pn-prid")],
  ["apns", "DEF123GHIJ.com.example", "..", expect.stringContaining("pn-prid")],
  ["apns", "DEF123GHIJ.com.example", "ab12:watch", expect.stringContaining("pn-prid")],
  ["apns", "DEF123GHIJ.com.example", "a".repeat(513), expect.stringContaining("pn-prid")],
])("P-02 %s %s %s is understood", (provider, param, prid, expected) => {
  expect(apnsTargetOf(provider, param, prid)).toEqual(expected);
});

test("P-04 the table has every reason once", () => {
  expect(new Set(APNS_ERRORS.map(({ reason }) => reason)).size).toBe(APNS_ERRORS.length);
});

test("P-04 the README shows the table", async () => {
  const readme = await Bun.file(`${import.meta.dir}/../../../../src/io/push/README.md`).text();
  const follows: Record<ApnsAction, string> = {
    dead: "dead",
    environment: "other environment",
    token: "new token",
    connection: "new connection",
    retry: "again",
    refused: "refused",
    config: "config",
  };
  for (const { status, reason, action, words } of APNS_ERRORS) {
    expect(readme).toContain(`| ${status} | \`${reason}\` | ${follows[action]} | ${words} |\n`);
  }
});

const WHAT: Record<string, { outcome: string; attempts: number; posts: number }> = {
  dead: { outcome: "dead", attempts: 1, posts: 1 },
  refused: { outcome: "refused", attempts: 1, posts: 1 },
  config: { outcome: "refused", attempts: 1, posts: 1 },
  retry: { outcome: "accepted", attempts: 2, posts: 2 },
  token: { outcome: "accepted", attempts: 1, posts: 2 },
  connection: { outcome: "accepted", attempts: 1, posts: 2 },
};

test.each(APNS_ERRORS.filter(({ action }) => action !== "environment").map((row) => [row.reason, row] as const))(
  "P-04 APNs says %s",
  async (reason, { status, action, words }) => {
    const { server, send, relay, world } = await warmSetup();
    server.orders.push({ status, reason, timestamp: status === 410 ? world.nowMs - 5000 : undefined });
    const { outcome, attempts, posts } = WHAT[action]!;
    const sent = send(VOIP);
    if (action === "retry") {
      await world.timerSet(250);
      await world.pass(250);
    }
    const verdict = await sent;
    expect(verdict).toMatchObject({ outcome, attempts });
    expect(server.received.length).toBe(posts);
    if (outcome === "accepted") return;
    expect(verdict.reason).toStartWith(`${status} ${reason} from ${server.url}; `);
    expect(verdict.reason).toContain(words);
    expect(verdict.reason).not.toContain(TOKEN);
    expect(relay.backends()[0]!.state).toBe(action === "config" ? "failing" : "ok");
    if (reason === "Unregistered") expect(verdict.deadSinceMs).toBe(world.nowMs - 5000);
  },
);

test.each<[string, Order, string]>([
  ["410 without a reason", { status: 410 }, "dead"],
  ["a 4xx nobody documented", { status: 418, reason: "Teapot" }, "refused"],
  ["a redirect", { status: 301 }, "refused"],
  ["a reason that is not APNs'", { status: 400, reason: "<script>" }, "refused"],
])("P-04 an answer that is in no table is judged by its status: %s", async (_name, order, outcome) => {
  const { server, send } = await warmSetup();
  server.orders.push(order);
  const verdict = await send(VOIP);
  expect(verdict).toMatchObject({ outcome });
  expect(verdict.reason).not.toContain("<");
});

test("P-04 Retry-After is respected", async () => {
  const { server, send, world } = await warmSetup();
  server.orders.push({ status: 429, reason: "TooManyRequests", headers: { "retry-after": "7" } });
  const sent = send(VOIP);
  await world.timerSet(7000);
  await world.pass(6999);
  expect(server.received.length).toBe(1);
  await world.pass(1);
  expect(await sent).toMatchObject({ outcome: "accepted", attempts: 2, ms: 7000 });
  const [first, second] = server.received.map((
    { headers, payload },
  ) => [headers["apns-id"], payload.uuid, payload.ttl]);
  expect(second).toEqual([first![0], first![1], 23]);
});

test("P-04 a token of the other environment is tried there once, and its place is remembered", async () => {
  const { server, sandbox, send } = await setup();
  sandbox.install(TOKEN, "org.example.phone.voip");
  expect(await send(VOIP)).toMatchObject({ outcome: "accepted", attempts: 1, reason: `200 from ${sandbox.url}` });
  expect(await send(VOIP)).toMatchObject({ outcome: "accepted", attempts: 1 });
  expect([server.received.length, sandbox.received.length]).toEqual([1, 2]);
  // The app is from the store now.
  sandbox.tokens.clear();
  server.install(TOKEN, "org.example.phone.voip");
  expect(await send(VOIP)).toMatchObject({ outcome: "accepted" });
  expect(await send(VOIP)).toMatchObject({ outcome: "accepted" });
  expect([server.received.length, sandbox.received.length]).toEqual([3, 3]);
  expect([...server.faults, ...sandbox.faults]).toEqual([]);
});

test("P-04 apns.dev begins in the sandbox", async () => {
  const { server, sandbox, send } = await setup();
  sandbox.install(TOKEN, "org.example.phone.voip");
  expect(await send({ ...VOIP, provider: "apns.dev" })).toMatchObject({ outcome: "accepted", provider: "apns.dev" });
  expect([server.received.length, sandbox.received.length]).toEqual([0, 1]);
});

test("P-04 a phone with two tokens, its VoIP token dead: the call goes by the plain one, and the next at once", async () => {
  const { server, send, world } = await setup();
  server.unregistered.set("b2", world.nowMs);
  server.install("a1", "org.example.phone");
  for (let i = 0; i < 2; i++) expect(await send(BOTH)).toMatchObject({ outcome: "accepted", attempts: 1 });
  expect(server.received.map(({ token, headers }) => [token, headers["apns-push-type"]])).toEqual([
    ["b2", "voip"],
    ["a1", "alert"],
    ["a1", "alert"],
  ]);
  world.nowMs += 3_600_000;
  await send(BOTH);
  expect(server.received.slice(3).map(({ token }) => token)).toEqual(["b2", "a1"]);
  expect(server.faults).toEqual([]);
});

test("P-04 a phone with two tokens, its plain token dead: calls go on, and what it does not take says so", async () => {
  const { server, send, world } = await setup();
  server.unregistered.set("a1", world.nowMs);
  server.install("b2", "org.example.phone.voip");
  const refresh = { ...BOTH, event: "refresh" as const, callId: "" };
  const first = await send(refresh);
  expect(first).toMatchObject({ outcome: "refused", status: 410 });
  expect(first.reason).toContain("; the phone's plain token is dead, its VoIP token takes calls alone");
  expect(await send(refresh)).toMatchObject({ outcome: "refused", status: 0 });
  expect(await send(BOTH)).toMatchObject({ outcome: "accepted" });
  expect(server.received.map(({ token }) => token)).toEqual(["a1", "b2"]);
});

test("P-04 a second try that is not answered is tried again, whatever the first was told", async () => {
  const orders = [
    [{ status: 410, reason: "Unregistered" }],
    [{ status: 403, reason: "ExpiredProviderToken" }],
    [{ status: 403, reason: "UnrelatedKeyIdInToken" }],
  ];
  for (const first of orders) {
    const { server, send, world } = await setup();
    server.install("a1", "org.example.phone");
    server.install("b2", "org.example.phone.voip");
    server.orders.push(...first, "stall");
    const verdict = send(BOTH);
    await server.until(() => server.received.length === 2);
    for (let second = 0; second < 5; second++) {
      await world.pass(1000);
      await world.timerGone(PING_ANSWER_MS);
    }
    await world.timerSet(250);
    await world.pass(250);
    expect(await verdict).toMatchObject({ outcome: "accepted", attempts: 2 });
  }
});

test.each<[string, Order]>([
  ["says nothing", "stall"],
  ["sends a status and no reason", { status: 503, isCut: true }],
  ["is out of order", { status: 503, reason: "ServiceUnavailable" }],
])("P-04 a sandbox that %s says nothing about the production service", async (_name, order) => {
  const { server, sandbox, send, world, relay } = await setup();
  sandbox.orders.push(order);
  const verdict = send({ ...VOIP, provider: "apns.dev", ttlMs: 240 });
  await sandbox.until(() => sandbox.received.length === 1);
  if (order === "stall" || typeof order === "object" && order.isCut) {
    // Behind the status over the same connection: once this is answered, that is here.
    sandbox.install(TOKEN, "org.example.phone.voip");
    await send({ ...VOIP, provider: "apns.dev" });
    await world.pass(240);
  }
  expect(await verdict).toMatchObject({ outcome: "failed", attempts: 1 });
  const [health, ...others] = relay.backends()[0]!.hosts;
  expect(health).toMatchObject({ host: sandbox.url, state: "failing" });
  expect(health!.last_reason).toContain(typeof order === "string" ? `${sandbox.url} did not` : `503`);
  expect(others).toEqual([]);
  expect(server.received).toEqual([]);
});

test("P-04 a dead token of a phone with two is told of the service that said so", async () => {
  const { server, sandbox, send, world, relay } = await setup();
  sandbox.unregistered.set("a1", world.nowMs);
  await send({ ...BOTH, provider: "apns.dev", event: "refresh" });
  expect(relay.backends()[0]!.hosts.map(({ host }) => host)).toEqual([sandbox.url]);
  expect(server.received).toEqual([]);
});

test.each(["410", "400"])("P-04 a phone is dead when both its tokens are (%s)", async (status) => {
  const { server, sandbox, send, world } = await setup();
  if (status === "410") { for (const token of ["a1", "b2"]) server.unregistered.set(token, world.nowMs); }
  for (let i = 0; i < 2; i++) {
    expect(await send(BOTH)).toMatchObject({ outcome: "dead", status: Number(status) });
  }
  expect([...server.received, ...sandbox.received].some(({ token }) => token === "a1")).toBe(true);
});

test("P-04 since when a token is dead is told by our clock, as its registration is", async () => {
  const { server, world, send } = await setup();
  world.systemAheadMs = -60_000;
  server.orders.push({ status: 410, reason: "Unregistered", timestamp: world.systemNow() - 5000 });
  expect(await send(VOIP)).toMatchObject({ outcome: "dead", deadSinceMs: world.nowMs - 5000 });
});

test("P-04 a token neither environment knows is dead", async () => {
  const { server, sandbox, send } = await setup();
  const verdict = await send(VOIP);
  expect(verdict).toMatchObject({ outcome: "dead", status: 400 });
  expect(verdict.reason).toContain(`400 BadDeviceToken from ${sandbox.url}; neither production nor sandbox knows`);
  expect([server.received.length, sandbox.received.length]).toEqual([1, 1]);
});

test.each([
  [403, "BadEnvironmentKeyIdInToken", "refused"],
  [403, "InvalidProviderToken", "refused"],
  [503, "ServiceUnavailable", "failed"],
])(
  "P-04 a token of which the other environment says %d %s is told with both answers, and learned nothing about",
  async (
    status,
    reason,
    outcome,
  ) => {
    const { server, sandbox, send, relay } = await setup();
    server.install("cd".repeat(32), "org.example.phone.voip");
    const headers = { "retry-after": "60" };
    for (let i = 0; i < 2; i++) {
      sandbox.orders.push({ status, reason, headers });
      const verdict = await send({ ...VOIP, device: "iphone" });
      expect(verdict).toMatchObject({ outcome, status, attempts: 1 });
      expect(verdict.reason).toContain(`400 BadDeviceToken from ${server.url}; the token is of the other environment`);
      expect(verdict.reason).toContain(`; ${status} ${reason} from ${sandbox.url}`);
      expect(await send({ ...VOIP, prid: "cd".repeat(32) })).toMatchObject({ outcome: "accepted" });
      expect(relay.backends()[0]).toMatchObject({ state: "ok" });
    }
    expect([server.received.length, sandbox.received.length]).toEqual([4, 2]);
  },
);

test("P-04 a token of which the other environment says nothing is told so", async () => {
  const { server, sandbox, send } = await setup();
  const { url } = sandbox;
  await sandbox.stop();
  const { outcome, reason } = await send({ ...VOIP, ttlMs: 200 });
  expect(outcome).toBe("failed");
  expect(reason).toContain(`400 BadDeviceToken from ${server.url}; the token is of the other environment`);
  expect(reason).toContain(`; ${url} refuses connections`);
});

test("P-04 an answer about a push the token was not registered for says nothing about the token", async () => {
  const { server, send } = await setup();
  server.install(TOKEN, "org.example.phone.voip");
  for (let i = 0; i < 2; i++) {
    const verdict = await send({ ...VOIP, event: "refresh", callId: "" });
    expect(verdict).toMatchObject({ outcome: "refused" });
    expect(verdict.reason).toContain("TOKEN:remote&TOKEN:voip");
  }
  expect(server.received.length).toBe(1);
  expect(await send(VOIP)).toMatchObject({ outcome: "accepted" });
  expect(server.faults).toEqual([]);
});

test("P-04 a wrong team is named where APNs refuses the topic", async () => {
  const { server, send } = await setup();
  server.topics.clear();
  const verdict = await send({ ...VOIP, param: "OTHERTEAM1.org.example.phone.voip" });
  expect(verdict.outcome).toBe("refused");
  expect(verdict.reason).toContain("org.example.phone is of team OTHERTEAM1, push.apns.team_id is DEF123GHIJ");
});

test("P-01 one provider token serves until it is 45 minutes old, and all connections", async () => {
  const { server, send, world } = await warmSetup();
  const jwtNow = async (): Promise<string> => {
    await send(VOIP);
    return server.received.at(-1)!.jwt;
  };
  const first = await jwtNow();
  world.nowMs += TOKEN_LIFE_MS - 1000;
  expect(await jwtNow()).toBe(first);
  world.nowMs += 1000;
  const second = await jwtNow();
  expect(second).not.toBe(first);
  expect(server.faults).toEqual([]);
});

test("P-01 a clock that was set back makes a new provider token, as Apple takes none of the future", () => {
  const key = generateKeyPairSync("ec", { namedCurve: "P-256" }).privateKey;
  const token = new ApnsToken(key, "ABC123DEFG", "DEF123GHIJ");
  const first = token.text(5_000_000);
  expect(token.text(5_000_000)).toBe(first);
  expect(token.text(4_999_000)).not.toBe(first);
});

test("P-04 an expired provider token is renewed once, and not again and again", async () => {
  const { server, send, world, relay } = await warmSetup();
  const expired = { status: 403, reason: "ExpiredProviderToken" };
  server.orders.push(expired, expired, {
    ...expired,
    headers: { date: new Date(world.nowMs + 5400_000).toUTCString() },
  });
  const verdict = await send(VOIP);
  expect(verdict).toMatchObject({ outcome: "refused", status: 403, attempts: 1 });
  expect(verdict.reason).toContain("set the clock of this machine (NTP)");
  expect(relay.backends()[0]!.state).toBe("failing");
  expect((await send(VOIP)).reason).toEndWith("this machine's clock is 90 min behind Apple's");
  expect(server.received.length).toBe(3);
  expect(server.faults).toEqual([]);
});

test("P-04 many pushes with one expired provider token renew it once", async () => {
  const { server, send } = await warmSetup();
  for (let i = 0; i < 10; i++) server.orders.push({ status: 403, reason: "ExpiredProviderToken" });
  const verdicts = await Promise.all(Array.from({ length: 10 }, () => send(VOIP)));
  expect(verdicts.every(({ outcome }) => outcome === "accepted")).toBe(true);
  expect(new Set(server.received.map(({ jwt }) => jwt)).size).toBe(2);
  expect(server.faults).toEqual([]);
});

test("P-04 another key is a matter of the config", async () => {
  const { server, send, world, relay, config } = await setup();
  server.install(TOKEN, "org.example.phone.voip");
  const { privateKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
  world.secrets.set("/AuthKey.p8", privateKey.export({ type: "pkcs8", format: "pem" }).toString());
  relay.reload(config);
  const verdict = await send(VOIP);
  expect(verdict).toMatchObject({ outcome: "refused", status: 403 });
  expect(verdict.reason).toContain("do not belong together");
  world.secrets.set("/AuthKey.p8", server.p8);
  expect(relay.reload(config)).toEqual([]);
  expect(await send(VOIP)).toMatchObject({ outcome: "accepted" });
});

test("P-05 a warm connection is opened ahead of the first push, and the push leaves within send", async () => {
  const { server, relay, world, send } = await setup();
  server.install(TOKEN, "org.example.phone.voip");
  relay.warm();
  await server.until(() => server.sessions.length === 1);
  // Its PING timer is set once the connection is open.
  await world.timerSet(PING_EVERY_MS);
  expect(await send(VOIP)).toMatchObject({ outcome: "accepted", ms: 0 });
  expect(server.sessions.length).toBe(1);
});

test("P-05 an idle connection is kept with PING", async () => {
  const { server, world } = await warmSetup();
  for (let i = 1; i <= 3; i++) {
    await world.pass(PING_EVERY_MS);
    await server.until(() => server.pings === i);
    await world.timerGone(PING_ANSWER_MS);
  }
  expect(server.sessions.length).toBe(1);
});

test("P-05 many pushes go in parallel over one connection, within its stream limit", async () => {
  const { server, send } = await warmSetup({ maxStreams: 5 });
  server.isHolding = true;
  const sent = Array.from({ length: 30 }, () => send(VOIP));
  await server.until(() => server.received.length === 5);
  server.release();
  const verdicts = await Promise.all(sent);
  expect(verdicts.every(({ outcome, attempts }) => outcome === "accepted" && attempts === 1)).toBe(true);
  expect(server.mostStreams).toBe(5);
  expect(server.sessions.length).toBe(1);
});

test("P-05 a stream limit that is raised later is used, as APNs allows one stream until it knows the provider token", async () => {
  const { server, send } = await warmSetup({ maxStreams: 1 });
  server.isHolding = true;
  const sent = Array.from({ length: 10 }, () => send(VOIP));
  await server.until(() => server.received.length === 1);
  server.sessions[0]!.settings({ maxConcurrentStreams: 10 });
  await server.until(() => server.received.length === 10);
  server.release();
  expect((await Promise.all(sent)).every(({ outcome, attempts }) => outcome === "accepted" && attempts === 1)).toBe(
    true,
  );
  expect(server.sessions.length).toBe(1);
});

test("P-05 no more than so many are in flight, the rest waits", async () => {
  const { server, send, relay } = await warmSetup({ maxStreams: 1000 });
  server.isHolding = true;
  const sent = Array.from({ length: MAX_IN_FLIGHT + 40 }, () => send(VOIP));
  await server.until(() => server.received.length === MAX_IN_FLIGHT);
  expect(relay.backends()[0]).toMatchObject({ in_flight: MAX_IN_FLIGHT, waiting: 40 });
  server.release();
  expect((await Promise.all(sent)).every(({ outcome }) => outcome === "accepted")).toBe(true);
});

test("P-04 GOAWAY with requests in flight: those not processed go out again at once on a new connection", async () => {
  const { server, send } = await warmSetup();
  server.isHolding = true;
  server.orders.push({ status: 200 }, "goaway");
  const sent = [send(VOIP), send(VOIP)];
  await server.until(() => server.received.length === 2);
  // The second first: it says goodbye while the first is still waiting for its answer.
  server.answerLast();
  await server.until(() => server.sessions.length === 2);
  const after = send(VOIP);
  await server.until(() => server.received.length === 3);
  server.release();
  const verdicts = await Promise.all([...sent, after]);
  expect(verdicts.every(({ outcome, attempts }) => outcome === "accepted" && attempts === 1)).toBe(true);
  expect(server.received.map(({ connection }) => connection)).toEqual([0, 0, 1, 1]);
});

test("P-05 after GOAWAY a warm connection is open before the next push", async () => {
  const { server, relay, send } = await warmSetup();
  relay.warm();
  server.orders.push("goaway after");
  await send(VOIP);
  await server.until(() => server.sessions.length === 2);
  expect(await send(VOIP)).toMatchObject({ outcome: "accepted" });
  expect(server.received.map(({ connection }) => connection)).toEqual([0, 1]);
});

test("P-04 a lost connection with requests in flight: each goes out again on a new one", async () => {
  const { server, send, world } = await warmSetup();
  server.isHolding = true;
  server.orders.push("cut");
  const sent = [send(VOIP), send(VOIP), send(VOIP)];
  await server.until(() => server.received.length === 3);
  server.release();
  await world.timerSet(250, 3);
  await world.pass(250);
  const verdicts = await Promise.all(sent);
  expect(verdicts.every(({ outcome, attempts }) => outcome === "accepted" && attempts === 2)).toBe(true);
  expect(server.received.map(({ connection }) => connection)).toEqual([0, 0, 0, 1, 1, 1]);
  const ids = server.received.map(({ headers }) => headers["apns-id"]);
  expect(ids.slice(3).sort()).toEqual(ids.slice(0, 3).sort());
});

test("P-04 a reset stream is tried again, the connection stays", async () => {
  const { server, send, world } = await warmSetup();
  server.orders.push("reset");
  const sent = send(VOIP);
  await world.timerSet(250);
  await world.pass(250);
  expect(await sent).toMatchObject({ outcome: "accepted", attempts: 2 });
  expect(server.sessions.length).toBe(1);
});

test("P-04 a request that stalls is given up and tried again elsewhere", async () => {
  const { server, send, world } = await warmSetup();
  server.orders.push("stall");
  await world.pass(1);
  const sent = send(VOIP);
  await server.until(() => server.received.length === 1);
  for (let second = 0; second < 5; second++) {
    await world.pass(1000);
    // A PING is answered, so the connection is not dead.
    await world.timerGone(PING_ANSWER_MS);
  }
  await world.timerSet(250);
  await world.pass(250);
  expect(await sent).toMatchObject({ outcome: "accepted", attempts: 2, ms: 5250 });
  expect(server.pings).toBeGreaterThan(0);
  expect(server.received.map(({ connection }) => connection)).toEqual([0, 1]);
});

test("P-04 a push that is not answered before its window ends says so", async () => {
  const { server, send, world } = await warmSetup();
  server.orders.push("stall");
  const sent = send({ ...VOIP, ttlMs: 500 });
  await server.until(() => server.received.length === 1);
  await world.pass(500);
  expect(await sent).toMatchObject({ outcome: "failed", attempts: 1 });
  expect((await sent).reason).toStartWith(`${server.url} did not answer within 0.5 s; `);
});

test("P-04 a connection that died without a word is found out by PING, before the attempt's time is over", async () => {
  const { server, world } = await setup();
  const wall = await new DeafWall(server.url).start();
  stops.push(() => wall.stop());
  server.install(TOKEN, "org.example.phone.voip");
  const config = pushConfig({});
  config.apns = { ...apnsConfigOf(server, server), server: wall.url };
  const relay = new PushRelay(config, world);
  stops.push(() => relay.stop());
  expect(await relay.sendNow(pushRequest(VOIP))).toMatchObject({ outcome: "accepted" });
  wall.isDeaf = true;
  const sent = relay.sendNow(pushRequest(VOIP));
  await world.pass(SILENCE_MS + PING_ANSWER_MS);
  wall.isDeaf = false;
  await world.timerSet(250);
  await world.pass(250);
  expect(await sent).toMatchObject({ outcome: "accepted", attempts: 2, ms: SILENCE_MS + PING_ANSWER_MS + 250 });
});

test("P-04 a server that takes connections and says nothing fails the attempt after a time", async () => {
  const { server, world } = await setup();
  const wall = await new DeafWall(server.url).start();
  stops.push(() => wall.stop());
  wall.isDeaf = true;
  const config = pushConfig({});
  config.apns = { ...apnsConfigOf(server, server), server: wall.url };
  const relay = new PushRelay(config, world);
  stops.push(() => relay.stop());
  const sent = relay.sendNow(pushRequest({ ...VOIP, ttlMs: CONNECT_MS + 100 }));
  await world.pass(CONNECT_MS);
  expect(await sent).toMatchObject({ outcome: "failed", attempts: 1 });
  expect((await sent).reason).toStartWith(`${wall.url} did not open a connection within 3 s; its window is over`);
});

test.each<[string, (one: Setup) => void, string]>([
  ["refuses connections", ({ config }) => config.apns.server = "https://127.0.0.1:1", "refuses connections"],
  ["is not trusted", ({ config }) => config.apns.ca_file = "", "is not trusted"],
  ["has no address", ({ config }) => config.apns.server = "https://push.invalid", "no address found for"],
])("P-04 a server that %s: tried again, and told in words", async (_name, break_, words) => {
  const all = await setup();
  break_(all);
  all.relay.reload(all.config);
  const sent = all.relay.sendNow(pushRequest({ ...VOIP, ttlMs: 700 }));
  await all.world.timerSet(250);
  await all.world.pass(250);
  const verdict = await sent;
  expect(verdict).toMatchObject({ outcome: "failed", attempts: 2, status: 0 });
  expect(verdict.reason).toContain(words);
  expect(all.relay.backends()[0]).toMatchObject({ state: "failing" });
});

test("P-05 a warm connection that cannot be opened is tried again, ever more slowly", async () => {
  const { world, relay, config } = await setup();
  config.apns.server = "https://127.0.0.1:1";
  relay.reload(config);
  relay.warm();
  for (const delayMs of [1000, 2000, 4000, 8000, 16_000, 32_000, 60_000, 60_000]) {
    await world.timerSet(delayMs);
    await world.pass(delayMs);
  }
  relay.stop();
});

test("P-05 a connection the server closes is opened again without a push", async () => {
  const { server, relay, world } = await warmSetup();
  relay.warm();
  server.sessions[0]!.destroy();
  await server.until(() => server.sessions.length === 2);
  await world.timerSet(PING_EVERY_MS);
});

test("O-05 reload with other settings ends the old connections once their pushes are done", async () => {
  const { server, send, relay, config } = await warmSetup();
  server.isHolding = true;
  const sent = send(VOIP);
  await server.until(() => server.received.length === 1);
  const changed = structuredClone(config);
  changed.apns.sandbox_server = "https://127.0.0.1:2";
  expect(relay.reload(changed)).toEqual([]);
  server.release();
  expect(await sent).toMatchObject({ outcome: "accepted" });
  await server.until(() => server.sessions[0]!.closed || server.sessions[0]!.destroyed);
  expect(await send(VOIP)).toMatchObject({ outcome: "accepted" });
  expect(server.sessions.length).toBe(2);
  // Apple counts provider tokens: the new backend goes on with the old one's.
  expect(server.faults).toEqual([]);
});

test("O-05 a reload without a change keeps connection, provider token and counters", async () => {
  const { server, send, relay, config } = await warmSetup();
  expect(relay.reload(structuredClone(config))).toEqual([]);
  await send(VOIP);
  expect(server.sessions.length).toBe(1);
  expect(relay.backends()[0]!.accepted).toBe(2);
  expect(server.faults).toEqual([]);
});

test("stop ends what is under way, connections and timers", async () => {
  const { server, send, relay, world } = await warmSetup();
  server.isHolding = true;
  const sent = [send(VOIP), send({ ...VOIP, provider: "apns.dev" })];
  await server.until(() => server.received.length === 1);
  relay.stop();
  expect((await Promise.all(sent)).map(({ outcome }) => outcome)).toEqual(["failed", "failed"]);
  expect(await send(VOIP)).toMatchObject({ outcome: "failed" });
  expect(world.timers.size).toBe(0);
});

test.each<[string, Partial<PushConfig["apns"]>, string | null, string]>([
  ["no file", {}, null, "Cannot read push.apns.key_file /AuthKey.p8: ENOENT"],
  ["no key", {}, "hello", "push.apns.key_file /AuthKey.p8 is no APNs key; latefork keys apns /AuthKey.p8 says why"],
  ["no key id", { key_id: "" }, "", "push.apns needs key_id and team_id beside key_file"],
  ["no team", { team_id: "" }, "", "push.apns needs key_id and team_id beside key_file"],
  ["http", { server: "http://127.0.0.1" }, "", "push.apns.server is not an https URL"],
  ["no CA", { ca_file: "/none.pem" }, "", "Cannot read push.apns.ca_file /none.pem: ENOENT"],
])("O-02 what cannot work is told before a push: %s", async (_name, changes, secret, problem) => {
  const { world, config, server } = await setup();
  if (secret === null) world.secrets.delete("/AuthKey.p8");
  else world.secrets.set("/AuthKey.p8", secret === "" ? server.p8 : secret);
  Object.assign(config.apns, changes);
  const relay = new PushRelay(config, world);
  relay.warm();
  expect(relay.problems()).toEqual([problem]);
  expect(relay.serves("apns.dev")).toBe(false);
  expect(await relay.sendNow(pushRequest(VOIP))).toMatchObject({ outcome: "refused", reason: problem });
});

test("P-01 a webhook that is named apns has the last word", async () => {
  const { world, config } = await setup();
  const urls: string[] = [];
  world.fetch = (url) => {
    urls.push(url);
    return Promise.resolve(new Response());
  };
  config.webhook = { apns: { url: "https://mine/", token_file: "", timeout: 5000 } };
  await new PushRelay(config, world).sendNow(pushRequest(VOIP));
  expect(urls).toEqual(["https://mine/"]);
});
