/** What `latefork check --live` hears from each push service, against the local ones that judge as the real ones do (O-02). */
import { afterEach, expect, test } from "bun:test";
import { generateKeyPairSync } from "node:crypto";
import { type AddressInfo, createServer, type Server } from "node:net";
import { makeVapidKeys } from "../../../src/config/vapid_keys.ts";
import { MAX_ASKED_HOSTS, type ServiceAnswer } from "../../../src/io/push/ask.ts";
import { type PushConfig, PushRelay } from "../../../src/io/push/relay.ts";
import { ApnsServer, type Order } from "./apns/apns_server.ts";
import { type FcmReply, FcmServer, type TokenOrder } from "./fcm/fcm_server.ts";
import { pushConfig, VirtualWorld } from "./virtual_world.ts";
import { WebPushService } from "./webpush/webpush_service.ts";

const LIMIT_MS = 8000;
const stops: (() => Promise<void> | void)[] = [];
afterEach(async () => {
  for (const stop of stops.splice(0).reverse()) await stop();
});

interface Asked {
  part: string;
  answer: ServiceAnswer;
}

function relayOf(config: PushConfig, world: VirtualWorld): PushRelay {
  const relay = new PushRelay(config, world);
  stops.push(() => relay.stop());
  return relay;
}

async function apnsSetup(changes: Partial<PushConfig["apns"]> = {}) {
  const world = new VirtualWorld();
  const production = await new ApnsServer({ now: world.now }).start();
  const sandbox = await new ApnsServer({ now: world.now, publicKey: production.publicKey }).start();
  stops.push(() => production.stop(), () => sandbox.stop());
  world.secrets.set("/key.p8", production.p8);
  world.secrets.set("/ca.pem", production.ca);
  const config = pushConfig({});
  config.apns = {
    key_file: "/key.p8",
    key_id: production.keyId,
    team_id: production.teamId,
    server: production.url,
    sandbox_server: sandbox.url,
    ca_file: "/ca.pem",
    ...changes,
  };
  return { world, production, sandbox, config, relay: relayOf(config, world) };
}

const statesOf = (asked: Asked[]): string[] => asked.map(({ part, answer }) => `${part} ${answer.state}`);

test("O-02 APNs judges the key in both environments, and no phone hears of it", async () => {
  const { production, sandbox, relay } = await apnsSetup();
  const asked = await relay.ask([], LIMIT_MS);
  expect(statesOf(asked)).toEqual(["push.apns ok", "push.apns ok"]);
  expect(asked[0]!.answer.words).toContain(`production: ${production.url} takes the key (400 `);
  expect(asked[1]!.answer.words).toContain(`sandbox: ${sandbox.url} takes the key (400 `);
  expect(asked[0]!.answer.unverified).toContain("whether the key may push to your app");
  for (const server of [production, sandbox]) {
    expect(server.faults).toEqual([]);
    expect(server.received.map(({ token, headers }) => [token, headers["apns-push-type"]])).toEqual([
      ["0".repeat(64), "background"],
    ]);
  }
});

test.each<[Order, string, string]>([
  [{ status: 400, reason: "BadDeviceToken" }, "ok", "takes the key (400 BadDeviceToken"],
  [{ status: 400, reason: "TopicDisallowed" }, "ok", "takes the key"],
  [{ status: 410, reason: "Unregistered" }, "ok", "takes the key"],
  [{ status: 429, reason: "TooManyProviderTokenUpdates" }, "warning", "Apple takes one in 20 minutes"],
  [{ status: 403, reason: "InvalidProviderToken" }, "failed", "key_file, key_id and team_id do not belong together"],
  [{ status: 403, reason: "ExpiredProviderToken" }, "failed", "set the clock of this machine"],
  [{ status: 403, reason: "Forbidden" }, "failed", "does the key have Apple Push Notifications service?"],
  [{ status: 403, reason: "BadEnvironmentKeyIdInToken" }, "failed", "the key is not for this environment"],
  [{ status: 400, reason: "InvalidPushType" }, "failed", "a fault of latefork"],
  [{ status: 404 }, "failed", "404 from https://"],
  [{ status: 301 }, "failed", "this is not APNs"],
  [{ status: 503, reason: "ServiceUnavailable" }, "failed", "Apple's service is not available"],
  ["cut", "failed", "ended the request without an answer; does a firewall"],
  ["reset", "failed", "ended the request without an answer"],
])("O-02 APNs' answer %j is %s", async (order, state, words) => {
  const { production, relay } = await apnsSetup();
  production.orders.push(order);
  const [asked] = await relay.ask([], LIMIT_MS);
  expect(asked!.answer.state).toBe(state as ServiceAnswer["state"]);
  expect(asked!.answer.words).toContain(words);
});

test("O-02 a key for production alone is no fault, one for the sandbox alone is", async () => {
  const { production, sandbox, relay } = await apnsSetup();
  for (const server of [sandbox, production]) {
    server.orders.push({ status: 403, reason: "BadEnvironmentKeyIdInToken" });
    const asked = await relay.ask([], LIMIT_MS);
    expect(statesOf(asked)).toEqual(
      server === sandbox ? ["push.apns ok", "push.apns warning"] : [
        "push.apns failed",
        "push.apns ok",
      ],
    );
  }
});

test("O-02 a key of another team is refused by APNs itself, in words, without a token", async () => {
  const { world, relay, production } = await apnsSetup({ team_id: "ZZZ999ZZZZ" });
  const asked = await relay.ask([], LIMIT_MS);
  expect(statesOf(asked)).toEqual(["push.apns failed", "push.apns failed"]);
  expect(asked[0]!.answer.words).toContain(`403 InvalidProviderToken from ${production.url}`);
  expect(JSON.stringify(asked)).not.toContain(production.received[0]!.jwt);
  expect(JSON.stringify(asked)).not.toContain(world.secrets.get("/key.p8")!.split("\n")[1]!);
});

test("O-02 an APNs that never answers is given up, with what to look at", async () => {
  const { world, production, sandbox, relay } = await apnsSetup();
  for (const server of [production, sandbox]) server.orders.push("stall");
  const asking = relay.ask([], 500);
  for (const server of [production, sandbox]) await server.until(() => server.received.length === 1);
  await world.pass(500);
  const asked = await asking;
  expect(statesOf(asked)).toEqual(["push.apns failed", "push.apns failed"]);
  expect(asked[0]!.answer.words).toContain("did not answer in time; does a firewall");
});

async function fcmSetup() {
  const world = new VirtualWorld();
  const server = await new FcmServer(world.now).start();
  stops.push(() => server.stop());
  world.secrets.set("/account.json", server.account());
  world.secrets.set("/ca.pem", server.ca);
  const config = pushConfig({});
  config.fcm = { service_account_file: "/account.json", server: server.url, ca_file: "/ca.pem" };
  return { world, server, config, relay: relayOf(config, world) };
}

test("O-02 FCM gives a token and judges a message that it must not send", async () => {
  const { server, relay } = await fcmSetup();
  const asked = await relay.ask([], LIMIT_MS);
  expect(statesOf(asked)).toEqual(["push.fcm ok", "push.fcm ok"]);
  expect(asked[0]!.answer.words).toBe(`${new URL(server.tokenUri).origin} gives access tokens to ${server.email}`);
  expect(asked[1]!.answer.words).toContain("takes messages for project phone-1a2b3 (400 INVALID_ARGUMENT");
  expect(server.received.map(({ isJudgedOnly }) => isJudgedOnly)).toEqual([true]);
  expect(server.faults).toEqual([]);
});

test.each<[FcmReply, string, string]>([
  [{ status: 200 }, "ok", "takes messages for project phone-1a2b3 (200"],
  [{ status: 404, errorCode: "UNREGISTERED" }, "ok", "(404 UNREGISTERED"],
  [{ status: 403, errorCode: "SENDER_ID_MISMATCH" }, "ok", "(403 SENDER_ID_MISMATCH"],
  [{ status: 404, canonical: "NOT_FOUND" }, "failed", "there is no such project"],
  [{ status: 403, canonical: "PERMISSION_DENIED" }, "failed", "the service account may not send"],
  [{ status: 403, info: "SERVICE_DISABLED" }, "failed", "enable it under Firebase console"],
  [{ status: 401, canonical: "UNAUTHENTICATED" }, "failed", "a fresh access token is not taken"],
  [{ status: 400, canonical: "INVALID_ARGUMENT", field: "message.data" }, "failed", "a fault of latefork"],
  [{ status: 503, canonical: "UNAVAILABLE" }, "failed", "Google's service is not available"],
])("O-02 FCM's answer %j is %s", async (order, state, words) => {
  const { server, relay } = await fcmSetup();
  server.orders.push(order);
  const [, asked] = await relay.ask([], LIMIT_MS);
  expect(asked!.answer.state).toBe(state as ServiceAnswer["state"]);
  expect(asked!.answer.words).toContain(words);
  expect(JSON.stringify(asked)).not.toContain(server.received[0]!.bearer);
});

test.each<[TokenOrder, string]>([
  [{ status: 400, error: "invalid_grant", description: "Invalid JWT Signature." }, "was deleted or revoked"],
  [{ status: 400, error: "invalid_grant", description: "account not found" }, "does not exist any more"],
  [{ status: 200, text: "<html>" }, "this is no token server"],
])("O-02 the token server's refusal %j is told, and FCM not asked", async (order, words) => {
  const { server, relay } = await fcmSetup();
  server.tokenOrders.push(order);
  const asked = await relay.ask([], LIMIT_MS);
  expect(statesOf(asked)).toEqual(["push.fcm failed"]);
  expect(asked[0]!.answer.words).toStartWith("no access token: ");
  expect(asked[0]!.answer.words).toContain(words);
  expect(server.received).toEqual([]);
});

test("O-02 an FCM that never answers is given up", async () => {
  const { world, server, relay } = await fcmSetup();
  server.orders.push("stall");
  const asking = relay.ask([], 500);
  await server.until(() => server.received.length === 1);
  await world.pass(500);
  const [, asked] = await asking;
  expect(asked!.answer.words).toContain(`${server.url} did not answer in time`);
});

test("O-02 a backend that cannot send says why, and asks nobody", async () => {
  const world = new VirtualWorld();
  const config = pushConfig({ acme: { url: "https://push.example.org/", token_file: "/nothing" } });
  const asked = await relayOf(config, world).ask([], LIMIT_MS);
  expect(statesOf(asked)).toEqual(["push.webhook.acme failed"]);
  expect(asked[0]!.answer.words).toContain("Cannot read push.webhook.acme.token_file /nothing");
});

async function webPushSetup(allowHosts: string[]) {
  const world = new VirtualWorld();
  const service = await new WebPushService(world.now).start();
  stops.push(() => service.stop());
  world.secrets.set("/vapid.json", JSON.stringify(makeVapidKeys()));
  world.secrets.set("/ca.pem", service.ca);
  const config = pushConfig({});
  const webpush = { subject: "mailto:ops@example.org", vapid_file: "/vapid.json", ca_file: "/ca.pem" };
  config.webpush = { ...webpush, allow_hosts: allowHosts };
  return { world, service, config, relay: relayOf(config, world) };
}

const phones = (...prids: string[]) => prids.map((prid) => ({ provider: "webpush", prid }));

test("O-02 Web Push services of known phones are connected to once each, and nothing is posted", async () => {
  const { service, relay } = await webPushSetup(["127.0.0.1"]);
  const prids = [service.subscribe().endpoint, service.subscribe().endpoint];
  const asked = await relay.ask([...phones(...prids), { provider: "apns", prid: "https://other.example.org/x" }], 8000);
  expect(statesOf(asked)).toEqual(["push.webpush ok"]);
  expect(asked[0]!.answer.words).toBe(`${service.origin} takes connections; phones named it`);
  expect(service.received).toEqual([]);
  for (const prid of prids) expect(JSON.stringify(asked)).not.toContain(new URL(prid).pathname);
});

test("X-04 what a phone names on a private address is not connected to, by address or by name", async () => {
  const { world, service, relay } = await webPushSetup([]);
  world.names.set("inside.example.org", ["127.0.0.1"]);
  const byName = `https://inside.example.org:${service.port}/x`;
  const asked = await relay.ask(phones(service.subscribe().endpoint, byName, "not a URI"), LIMIT_MS);
  expect(statesOf(asked)).toEqual(["push.webpush failed", "push.webpush warning", "push.webpush warning"]);
  expect(asked[0]!.answer.words).toContain("inside.example.org is not on a public address");
  expect(asked[1]!.answer.words).toContain("127.0.0.1 is not on a public address");
  expect(service.connections).toBe(0);
});

test("O-02 without phones of Web Push there is nothing to ask, and with many a bound", async () => {
  const { relay } = await webPushSetup([]);
  expect(statesOf(await relay.ask([], LIMIT_MS))).toEqual(["push.webpush idle"]);
  const many = Array.from({ length: MAX_ASKED_HOSTS + 3 }, (_, n) => `https://push${n}.example.org/x`);
  const asked = await relay.ask(phones(...many), LIMIT_MS);
  expect(asked.length).toBe(MAX_ASKED_HOSTS + 1);
  expect(asked[0]!.answer.words).toContain("no address found for https://push0.example.org");
  expect(asked.at(-1)!.answer.words).toBe("3 further services were not asked");
});

async function tcpServer(): Promise<{ server: Server; url: string; bytes: () => number }> {
  let bytes = 0;
  const server = createServer((socket) => {
    socket.on("data", (chunk) => bytes += chunk.length);
    socket.on("error", () => {});
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", () => resolve()));
  stops.push(() => new Promise<void>((resolve) => void server.close(() => resolve())));
  return { server, url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/secret-path`, bytes: () => bytes };
}

test("O-02 a webhook is connected to and nothing is sent", async () => {
  const world = new VirtualWorld();
  const { url, bytes } = await tcpServer();
  const asked = await relayOf(pushConfig({ acme: { url } }), world).ask([], LIMIT_MS);
  expect(statesOf(asked)).toEqual(["push.webhook.acme ok"]);
  expect(asked[0]!.answer.words).toBe(`${new URL(url).origin} takes connections`);
  expect(asked[0]!.answer.unverified).toContain("nothing was posted");
  expect(bytes()).toBe(0);
});

test("O-02 a webhook that refuses, is not found, does not speak TLS or is not trusted, says which", async () => {
  const world = new VirtualWorld();
  const { url: plain } = await tcpServer();
  const { server: closed, url: refused } = await tcpServer();
  await new Promise<void>((resolve) => void closed.close(() => resolve()));
  const service = await new WebPushService(world.now).start();
  stops.push(() => service.stop());
  const cases: [string, string][] = [
    [refused, "refuses connections; is push.webhook.acme.url right, does it run"],
    ["https://nowhere.example.org/x", "no address found for https://nowhere.example.org; is the name in push.webhook"],
    [service.origin, "signed by an authority that this machine trusts"],
  ];
  for (const [url, words] of cases) {
    const asked = await relayOf(pushConfig({ acme: { url } }), world).ask([], LIMIT_MS);
    expect([url, asked[0]!.answer.state]).toEqual([url, "failed"]);
    expect(asked[0]!.answer.words).toContain(words);
    expect(asked[0]!.answer.words).not.toContain("/secret-path");
  }
  // It waits for a greeting that never comes.
  const asking = relayOf(pushConfig({ acme: { url: plain.replace("http:", "https:") } }), world).ask([], LIMIT_MS);
  await world.timerSet(LIMIT_MS);
  await world.pass(LIMIT_MS);
  expect((await asking)[0]!.answer.words).toContain("did not take a connection in time");
});

test("O-02 a key that is none is told without asking", async () => {
  const { world, config } = await apnsSetup();
  const rsa = generateKeyPairSync("rsa", { modulusLength: 1024 }).privateKey;
  world.secrets.set("/key.p8", rsa.export({ type: "pkcs8", format: "pem" }).toString());
  const asked = await relayOf(config, world).ask([], LIMIT_MS);
  expect(statesOf(asked)).toEqual(["push.apns failed"]);
  expect(asked[0]!.answer.words).toContain("/key.p8 is no APNs key");
});
