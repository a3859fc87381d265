/** The backend for Web Push and UnifiedPush behind the relay, against a local service that decrypts as a browser does (P-09). */
import { afterEach, expect, test } from "bun:test";
import { createECDH, randomBytes } from "node:crypto";
import { isIP } from "node:net";
import { makeVapidKeys } from "../../../../src/config/vapid_keys.ts";
import { PING_ANSWER_MS, SILENCE_MS } from "../../../../src/io/push/http/http2.ts";
import { type PushConfig, PushRelay } from "../../../../src/io/push/relay.ts";
import type { PushEvent, PushRequest, PushVerdict } from "../../../../src/io/push/types.ts";
import { NOT_PUBLIC, publicLookup } from "../../../../src/io/push/http/public_address.ts";
import { WEBPUSH_ERRORS, webPushErrorOf } from "../../../../src/io/push/webpush/errors.ts";
import { MAX_HOSTS } from "../../../../src/io/push/webpush/hosts.ts";
import { webPushTargetOf } from "../../../../src/io/push/webpush/target.ts";
import { JWT_USE_MS } from "../../../../src/io/push/webpush/vapid.ts";
import { pushConfig, pushRequest, settle, VirtualWorld } from "../virtual_world.ts";
import {
  decrypt,
  type PushOrder,
  type PushProtocol,
  type SubscriptionJson,
  WebPushService,
} from "./webpush_service.ts";
import type { HostLookup } from "../../../../src/io/push/world.ts";

const UUID = "6b1a2c3d-0000-4000-8000-00000000000a";
const vapid = makeVapidKeys();

const stops: (() => Promise<void> | void)[] = [];
afterEach(async () => {
  for (const stop of stops.splice(0).reverse()) await stop();
});

interface Setup {
  service: WebPushService;
  world: VirtualWorld;
  relay: PushRelay;
  config: PushConfig;
  /** Of the phone {@link send} pushes to. */
  subscription: SubscriptionJson;
  /** To a phone known by pn-* only. */
  send(changes?: Partial<PushRequest>): Promise<PushVerdict>;
  /** To a phone with keys. */
  sendWithKeys(changes?: Partial<PushRequest>): Promise<PushVerdict>;
}

async function setup(protocol: PushProtocol = "h2", allowHosts = ["127.0.0.1"]): Promise<Setup> {
  const world = new VirtualWorld();
  const service = await new WebPushService(world.now, protocol).start();
  world.secrets.set("/vapid.json", JSON.stringify(vapid));
  world.secrets.set("/ca.pem", service.ca);
  const config = pushConfig({});
  config.webpush = {
    subject: "mailto:ops@example.org",
    vapid_file: "/vapid.json",
    ca_file: "/ca.pem",
    allow_hosts: allowHosts,
  };
  const relay = new PushRelay(config, world);
  stops.push(() => service.stop(), () => relay.stop());
  const subscription = service.subscribe(vapid.publicKey);
  const { endpoint: prid, keys } = subscription;
  const phone = { provider: "webpush", param: "", prid };
  return {
    service,
    world,
    relay,
    config,
    subscription,
    send: (changes = {}) => relay.sendNow(pushRequest({ ...phone, ...changes })),
    sendWithKeys: (changes = {}) => relay.sendNow(pushRequest({ ...phone, keys, ...changes })),
  };
}

test("P-09 the local browser decrypts the example of RFC 8291, appendix A", () => {
  const ecdh = createECDH("prime256v1");
  ecdh.setPrivateKey(Buffer.from("q1dXpw3UpT5VOmu_cf_v6ih07Aems3njxI-JWgLcM94", "base64url"));
  const body =
    "DGv6ra1nlYgDCS1FRnbzlwAAEABBBP4z9KsN6nGRTbVYI_c7VJSPQTBtkgcy27mlmlMoZIIgDll6e3vCYLocInmYWAmS6TlzAC8wEqKK6PBru3jl7A" +
    "_yl95bQpu6cVPTpK4Mqgkf1CXztLVBSt2Ks3oZwbuwXPXLWyouBWLVWGNWQexSgSxsj_Qulcy4a-fN";
  const plain = decrypt(Buffer.from(body, "base64url"), ecdh, Buffer.from("BTBZMqHH6r4Tts7J_aSIgg", "base64url"));
  expect(plain.toString()).toBe("When I grow up, I want to be a watermelon");
});

test.each<[PushProtocol]>([["h2"], ["http/1.1"], ["http"]])(
  "P-02 P-03 a phone known by its subscription URI alone gets a push without payload, by %s",
  async (protocol) => {
    const { service, send, subscription } = await setup(protocol);
    const verdict = await send({ callId: "x@y" });
    expect(verdict).toMatchObject({
      outcome: "accepted",
      status: 201,
      attempts: 1,
      reason: `201 from ${service.origin}`,
    });
    expect(service.received.length).toBe(1);
    const [{ headers, path, bytes, payload }] = service.received as [WebPushService["received"][0]];
    expect(service.origin + path).toBe(subscription.endpoint);
    expect([bytes, payload]).toEqual([0, null]);
    expect(headers).toMatchObject({ ttl: "30", urgency: "high", "content-length": "0" });
    expect(headers.topic).toMatch(/^[\w-]{32}$/);
    expect(headers.authorization).toEndWith(`, k=${vapid.publicKey}`);
    expect(service.faults).toEqual([]);
  },
);

test.each<[PushProtocol]>([["h2"], ["http/1.1"]])(
  "P-03 a phone with keys gets the call, encrypted so that it alone reads it, by %s",
  async (protocol) => {
    const { service, sendWithKeys } = await setup(protocol);
    expect(await sendWithKeys({ uuid: UUID, callId: 'a"b@pc33' })).toMatchObject({ outcome: "accepted", status: 201 });
    expect(service.received.map(({ payload }) => payload)).toEqual([{
      event: "call",
      aor: "alice@example.org",
      call_id: 'a"b@pc33',
      uuid: UUID,
      from_uri: "sip:bob@example.org",
      from_name: "Bob",
      to_uri: "sip:alice@example.org",
      sent_at: "2026-01-02T03:04:05.678Z",
      ttl: 30,
    }]);
    expect(service.faults).toEqual([]);
  },
);

test("P-01 unifiedpush is another name for it, and pn-param is none of its business", async () => {
  const { service, send, relay } = await setup();
  expect(await send({ provider: "unifiedpush", param: "whatever" })).toMatchObject({ outcome: "accepted" });
  expect([relay.serves("webpush"), relay.serves("unifiedpush")]).toEqual([true, true]);
  expect(relay.vapidKey).toBe(vapid.publicKey);
  expect(service.faults).toEqual([]);
});

test.each<[PushEvent, string]>([
  ["call", "high"],
  ["message", "high"],
  ["cancel", "high"],
  ["test", "high"],
  ["missed", "normal"],
  ["refresh", "normal"],
])("P-03 P-06 a %s push has urgency %s", async (event, urgency) => {
  const { service, sendWithKeys } = await setup();
  const cancel = event === "cancel" ? { reason: "caller_gave_up" as const } : {};
  expect(await sendWithKeys({ event, ...cancel })).toMatchObject({ outcome: "accepted" });
  expect(service.received[0]!.headers).toMatchObject({ urgency, ttl: "30" });
  expect(service.received[0]!.payload).toMatchObject({ event, ...cancel });
  expect(service.faults).toEqual([]);
});

test("P-06 a cancel takes the place of its call push: one topic for each call", async () => {
  const { service, send, sendWithKeys } = await setup();
  await sendWithKeys({ callId: "a@b" });
  await sendWithKeys({ callId: "a@b", event: "cancel", reason: "answered_elsewhere" });
  await send({ callId: "a@b" });
  await send({ callId: "c@d" });
  await send({ callId: "", event: "refresh" });
  await send({ callId: "", event: "test" });
  const topics = service.received.map(({ headers }) => headers.topic);
  expect(topics.slice(1, 3)).toEqual([topics[0]!, topics[0]!]);
  expect(topics[3]).not.toBe(topics[0]!);
  expect(topics.slice(4)).toEqual(["refresh", undefined!]);
  expect(service.faults).toEqual([]);
});

test("P-06 a cancel without payload removes the call push that was not fetched yet, and nothing else", async () => {
  const { service, send } = await setup();
  expect(await send({ event: "cancel", reason: "caller_gave_up" })).toMatchObject({ outcome: "accepted" });
  expect(service.received[0]!.headers).toMatchObject({ ttl: "0", urgency: "normal" });
  expect(service.received[0]!.bytes).toBe(0);
});

test("P-06 a missed call takes nobody's place, and is none without a payload that says so", async () => {
  const { service, send, sendWithKeys } = await setup();
  expect(await sendWithKeys({ event: "missed", ttlMs: 86_400_000 })).toMatchObject({ outcome: "accepted" });
  expect(service.received[0]!.headers).toMatchObject({ ttl: "86400" });
  expect(service.received[0]!.headers.topic).toBeUndefined();
  const reason = "a missed call cannot be told without keys of the subscription";
  expect(await send({ event: "missed" })).toMatchObject({ outcome: "refused", status: 0, reason });
  expect(service.received.length).toBe(1);
});

test("P-03 the life of a message is what is left of the window when it is sent", async () => {
  const { service, world, sendWithKeys } = await setup();
  service.orders.push({ status: 503, headers: { "retry-after": "4" } });
  const verdict = sendWithKeys({ ttlMs: 20_000 });
  await world.timerSet(4000);
  await world.pass(4000);
  expect(await verdict).toMatchObject({ outcome: "accepted", attempts: 2 });
  expect(service.received.map(({ headers }) => headers.ttl)).toEqual(["20", "16"]);
});

/** Every row of the table that ends a push. */
const REPLIES: [status: number, outcome: string, isFailing: boolean][] = [
  [200, "accepted", false],
  [201, "accepted", false],
  [202, "accepted", false],
  [400, "refused", true],
  [401, "refused", true],
  [403, "refused", true],
  [404, "dead", false],
  [405, "refused", false],
  [410, "dead", false],
];

test.each(REPLIES)("P-04 %d: %s, after one attempt, with what to do about it", async (status, outcome, isFailing) => {
  const { service, relay, send } = await setup();
  service.orders.push({ status, text: '{"reason":"So"}' });
  const verdict = await send();
  const { words } = webPushErrorOf(status);
  const isSaid = outcome === "refused";
  const parts = [`${status} from ${service.origin}`, words, isSaid ? 'it says: {"reason":"So"}' : ""];
  expect(verdict).toMatchObject({
    outcome,
    status,
    attempts: 1,
    reason: parts.filter((part) => part !== "").join("; "),
  });
  expect(service.received.length).toBe(1);
  expect(relay.backends()[0]!.state).toBe(isFailing ? "failing" : "ok");
});

/** Every row of the table that does not. */
const RETRIES = [429, 500, 502, 503, 507];

test.each(RETRIES)("P-04 %d: tried again inside the window, after what it asks for", async (status) => {
  const { service, world, send } = await setup();
  service.orders.push({ status }, { status, headers: { "retry-after": "7" } });
  const verdict = send();
  await world.timerSet(250);
  await world.pass(250);
  await world.timerSet(7000);
  await world.pass(7000);
  expect(await verdict).toMatchObject({ outcome: "accepted", attempts: 3 });
  expect(service.faults).toEqual([]);
});

test("P-04 every row of the table was tried above, and has words", () => {
  // 413 is tried below.
  const tried = [...REPLIES.map(([status]) => status), ...RETRIES, 413].sort();
  expect(WEBPUSH_ERRORS.map(({ status }) => status).sort()).toEqual(tried);
  for (const { action, words } of WEBPUSH_ERRORS) {
    expect([action === "accepted", words === ""].join()).toMatch(/^(true,true|false,false)$/);
  }
});

test("P-04 the README shows the table", async () => {
  const readme = await Bun.file(`${import.meta.dir}/../../../../src/io/push/README.md`).text();
  for (const { status, action, words } of WEBPUSH_ERRORS) {
    const follows = { smaller: "without payload", retry: "again" }[action as string] ?? action;
    expect(readme).toContain(`| ${status} | ${follows} | ${words} |\n`);
  }
});

test.each<[number, string, string]>([
  [204, "accepted", ""],
  [301, "refused", "redirects are not followed: the app must register the final URI"],
  [406, "refused", ""],
  [418, "refused", ""],
])("P-04 a status nobody has documented is judged by its class: %d is %s", async (status, outcome, words) => {
  const { service, send } = await setup();
  service.orders.push({ status, headers: status === 301 ? { location: "https://127.0.0.1:1/" } : {} });
  const verdict = await send();
  expect(verdict).toMatchObject({ outcome, status, attempts: 1 });
  expect(verdict.reason).toBe(`${status} from ${service.origin}${words && `; ${words}`}`);
  expect(service.received.length).toBe(1);
});

test("P-04 413: once more without payload, so that the phone wakes up all the same", async () => {
  const { service, send, sendWithKeys } = await setup();
  service.maxBytes = 100;
  expect(await sendWithKeys()).toMatchObject({ outcome: "accepted", attempts: 1 });
  expect(service.received.map(({ bytes }) => bytes > 0)).toEqual([true, false]);
  service.orders.push({ status: 413 });
  expect(await send()).toMatchObject({
    outcome: "refused",
    status: 413,
    reason: `413 from ${service.origin}; ${webPushErrorOf(413).words}`,
  });
  expect(service.faults).toEqual([]);
});

test("P-04 413, and no answer to the smaller one: tried again", async () => {
  const { service, world, sendWithKeys } = await setup();
  service.orders.push({ status: 413 }, "stall");
  const verdict = sendWithKeys();
  await service.until(() => service.received.length === 2);
  for (let second = 0; second < 5; second++) {
    await world.pass(1000);
    await world.timerGone(PING_ANSWER_MS);
  }
  await world.timerSet(250);
  await world.pass(250);
  expect(await verdict).toMatchObject({ outcome: "accepted", attempts: 2 });
});

test("P-04 an app that unsubscribed, or subscribed with another key, is told apart", async () => {
  const { service, relay, send, subscription } = await setup();
  const other = service.subscribe(makeVapidKeys().publicKey);
  const verdict = await send({ prid: other.endpoint });
  expect(verdict).toMatchObject({ outcome: "refused", status: 403 });
  expect(verdict.reason).toContain("the subscription was made with another VAPID key: the app must subscribe with the");
  expect(relay.backends()[0]!.state).toBe("failing");
  service.unsubscribe(subscription);
  expect(await send()).toMatchObject({ outcome: "dead", status: 410 });
  expect(relay.backends()[0]!.state).toBe("ok");
});

test("P-04 a phone with a wrong key, or a service nobody knows, does not make the others look ill", async () => {
  const { service, relay, send } = await setup();
  await send();
  const other = service.subscribe(makeVapidKeys().publicKey);
  expect(await send({ prid: other.endpoint })).toMatchObject({ outcome: "refused", status: 403 });
  expect(relay.backends()[0]).toMatchObject({
    state: "ok",
    hosts: [{ host: service.origin, state: "healthy", last_reason: "" }],
  });
  expect(await send({ prid: "https://127.0.0.1:1/nobody", ttlMs: 100 })).toMatchObject({ outcome: "failed" });
  expect(relay.backends()[0]).toMatchObject({
    state: "ok",
    hosts: [
      { host: "https://127.0.0.1:1", state: "failing", last_reason: "https://127.0.0.1:1 refuses connections" },
      { host: service.origin, state: "healthy" },
    ],
  });
  const third = service.subscribe(makeVapidKeys().publicKey);
  await send({ prid: other.endpoint });
  await send({ prid: third.endpoint });
  expect(relay.backends()[0]!.state).toBe("failing");
});

test("P-04 what a service says is shown without the subscription it may repeat", async () => {
  const { service, send, subscription } = await setup();
  const path = subscription.endpoint.slice(service.origin.length);
  service.orders.push({ status: 400, text: `no ${subscription.endpoint} and\r\n${path} ${"x".repeat(500)}` });
  const { reason } = await send();
  expect(reason).toContain(`it says: no *** and *** ${"x".repeat(100)}`);
  expect(reason).not.toContain(path);
  expect(reason.length).toBeLessThan(600);
});

test("P-01 one VAPID token for each service, used for an hour", async () => {
  const { service, world, send } = await setup();
  const other = await new WebPushService(world.now).start();
  stops.push(() => other.stop());
  const { endpoint } = other.subscribe(vapid.publicKey);
  for (let i = 0; i < 3; i++) await send();
  expect(await send({ prid: endpoint })).toMatchObject({ outcome: "accepted" });
  const jwts = (): string[] => service.received.map(({ jwt }) => jwt);
  expect(new Set(jwts()).size).toBe(1);
  expect(jwts()).not.toContain(other.received[0]!.jwt);
  await world.pass(JWT_USE_MS);
  await send();
  expect(new Set(jwts()).size).toBe(2);
  // A clock that is set back would make the token look as if it lived too long.
  world.nowMs -= 2 * JWT_USE_MS;
  await send();
  expect(new Set(jwts()).size).toBe(3);
  expect([...service.faults, ...other.faults]).toEqual([]);
});

test("P-05 pushes share one connection, and many are under way at a time", async () => {
  const { service, sendWithKeys } = await setup();
  const verdicts = await Promise.all(Array.from({ length: 100 }, () => sendWithKeys()));
  for (const verdict of verdicts) expect(verdict).toMatchObject({ outcome: "accepted", attempts: 1 });
  expect([service.connections, service.received.length]).toEqual([1, 100]);
  expect(service.faults).toEqual([]);
});

test("P-05 pushes without payload share one connection too, however many: none looks like part of a flood", async () => {
  const { service, send } = await setup();
  const verdicts = await Promise.all(Array.from({ length: 1200 }, () => send()));
  expect(verdicts.filter(({ outcome }) => outcome !== "accepted")).toEqual([]);
  expect([service.connections, service.received.length]).toEqual([1, 1200]);
});

test("P-05 a service is connected to once a phone of it is registered, and the next push leaves on that connection", async () => {
  const { service, relay, subscription, sendWithKeys } = await setup();
  relay.warm();
  await settle();
  expect(service.connections).toBe(0);
  relay.expect({ provider: "webpush", prid: subscription.endpoint, keys: subscription.keys });
  relay.expect({ provider: "webpush", prid: service.subscribe().endpoint });
  relay.expect({ provider: "webpush", prid: "nonsense" });
  relay.expect({ provider: "other", prid: "x" });
  await service.until(() => service.connections === 1);
  expect(await sendWithKeys()).toMatchObject({ outcome: "accepted" });
  expect(service.connections).toBe(1);
});

test("P-05 a service without HTTP/2 is found out ahead of the first push, and not knocked at again", async () => {
  const { service, world, relay, subscription, send } = await setup("http/1.1");
  relay.expect({ provider: "webpush", prid: subscription.endpoint });
  await service.until(() => service.connections === 1);
  await world.timerGone(3000);
  await settle();
  expect([service.connections, world.timers.size]).toEqual([1, 0]);
  expect(await send()).toMatchObject({ outcome: "accepted", attempts: 1 });
});

/** Services that refuse connections. */
const nobody = (count: number, from = 1): string[] =>
  Array.from({ length: count }, (_, i) => `https://127.0.0.1:${from + i}/x`);

test("P-05 services beyond the bound are forgotten, the one used longest ago first", async () => {
  const { service, send, world } = await setup();
  const failAll = async (prids: string[]): Promise<void> => {
    const verdicts = prids.map((prid) => send({ prid, ttlMs: 100 }));
    for (const { outcome } of await Promise.all(verdicts)) expect(outcome).toBe("failed");
  };
  await send();
  await failAll(nobody(MAX_HOSTS - 1));
  await send();
  await failAll(nobody(MAX_HOSTS - 1, MAX_HOSTS));
  await send();
  expect(service.connections).toBe(1);
  await failAll(nobody(MAX_HOSTS));
  await send();
  expect(service.connections).toBe(2);
  expect(world.timers.size).toBeLessThan(10);
});

test("P-05 a service that is being spoken to is not forgotten", async () => {
  const { service, relay, send } = await setup();
  await send();
  service.orders.push("stall");
  send();
  await service.until(() => service.received.length === 2);
  await Promise.all(nobody(MAX_HOSTS + 1).map((prid) => send({ prid, ttlMs: 100 })));
  expect(relay.backends()[0]).toMatchObject({ in_flight: 1, waiting: 0 });
});

test.each<[PushProtocol, PushOrder]>([
  ["h2", "reset"],
  ["h2", "cut"],
  ["h2", "goaway"],
  ["http/1.1", "cut"],
])("P-04 a request that is lost (%s, %s) goes out again", async (protocol, order) => {
  const { service, world, sendWithKeys } = await setup(protocol);
  await sendWithKeys();
  service.orders.push(order);
  const verdict = sendWithKeys();
  await service.until(() => service.received.length === 2);
  if (order !== "goaway") {
    await world.timerSet(250);
    await world.pass(250);
  }
  expect(await verdict).toMatchObject({ outcome: "accepted" });
  expect(service.received.length).toBe(3);
});

test("P-04 by HTTP/1.1 a second attempt takes a connection of its own, as the first may be dead", async () => {
  const { service, world, send } = await setup("http/1.1");
  await send();
  await send();
  service.orders.push({ status: 503 });
  const verdict = send();
  await world.timerSet(250);
  await world.pass(250);
  expect(await verdict).toMatchObject({ outcome: "accepted", attempts: 2 });
  const [first, second, third, fourth] = service.received.map(({ connection }) => connection);
  expect([first, second]).toEqual([third!, third!]);
  expect(fourth).not.toBe(third!);
});

test.each<[PushProtocol]>([["h2"], ["http/1.1"]])(
  "P-04 a service that does not answer (%s) costs one attempt",
  async (protocol) => {
    const { service, world, relay, send } = await setup(protocol);
    await send();
    service.orders.push("stall");
    const verdict = send();
    await service.until(() => service.received.length === 2);
    // The connection lives, and says so when it is asked.
    for (let i = 0; i < 4; i++) {
      await world.pass(SILENCE_MS);
      await world.timerGone(PING_ANSWER_MS);
    }
    await world.pass(5000 - 4 * SILENCE_MS);
    expect(relay.backends()[0]!.last_error).toBe(`${service.origin} did not answer in time`);
    await world.timerSet(250);
    await world.pass(250);
    expect(await verdict).toMatchObject({ outcome: "accepted", attempts: 2 });
  },
);

test("P-04 a service that cannot be reached is told by its name", async () => {
  const { send } = await setup();
  const { outcome, reason } = await send({ prid: "https://127.0.0.1:1/push/x", ttlMs: 100 });
  expect(outcome).toBe("failed");
  expect(reason).toStartWith("https://127.0.0.1:1 refuses connections");
});

test("X-01 an answer may be as long and slow as it likes", async () => {
  for (const protocol of ["h2", "http/1.1"] as const) {
    const { service, send } = await setup(protocol);
    service.orders.push({ status: 400, text: "y".repeat(1_000_000) });
    const { reason } = await send();
    expect(reason).toContain("y".repeat(200));
    expect(reason.length).toBeLessThan(600);
  }
});

/** What must not be pushed to, and why. */
const FORBIDDEN: [prid: string, reason: string][] = [
  ["nonsense", "pn-prid is no subscription URI"],
  ["http://push.example.org/x", "pn-prid is not an https URI; http is for hosts named in push.webpush.allow_hosts"],
  ["ftp://push.example.org/x", "pn-prid is not an https URI"],
  ["javascript:1", "pn-prid is not an https URI"],
  ["https://a:b@push.example.org/x", "the subscription URI holds a password"],
  ...[
    "127.0.0.1",
    "127.1",
    "2130706433",
    "0x7f.1",
    "0177.0.0.1",
    "0.0.0.0",
    "10.1.2.3",
    "100.64.0.1",
    "169.254.169.254",
    "172.31.255.255",
    "192.168.1.10",
    "198.18.0.1",
    "203.0.113.9",
    "224.0.0.1",
    "255.255.255.255",
    "[::]",
    "[::1]",
    "[::ffff:127.0.0.1]",
    "[::ffff:8.8.8.8]",
    "[64:ff9b::a00:1]",
    "[fe80::1]",
    "[fd00::1]",
    "[fec0::1]",
    "[ff02::1]",
    "[2001:db8::1]",
    "[2002:7f00:1::]",
    "[2001:0:1::1]",
  ].map((
    host,
  ): [string, string] => [`https://${host}/push/x`, "is not on a public address; name it in push.webpush.allow_hosts"]),
];

test.each(FORBIDDEN)("X-06 a phone cannot have us talk to %s", (prid, reason) => {
  const target = webPushTargetOf(prid, ["ntfy.lan"]);
  expect(typeof target === "string" ? target : "").toContain(reason);
});

test.each([
  [
    "https://updates.push.services.mozilla.com/wpush/v2/abc?x=1",
    "https://updates.push.services.mozilla.com",
    "/wpush/v2/abc?x=1",
  ],
  ["https://8.8.8.8//evil.example/x#fragment", "https://8.8.8.8", "//evil.example/x"],
  ["https://[2606:4700::1]:8443/x", "https://[2606:4700::1]:8443", "/x"],
  ["http://NTFY.lan:8080/up?up=1", "http://ntfy.lan:8080", "/up?up=1"],
  ["http://ntfy.lan./up", "http://ntfy.lan.", "/up"],
  ["http://192.168.1.7/up", "http://192.168.1.7", "/up"],
  ["https://[fd00::7]/up", "https://[fd00::7]", "/up"],
])("P-01 %s is a subscription URI", (prid, origin, path) => {
  const target = webPushTargetOf(prid, ["ntfy.lan", "192.168.1.7", "fd00::7"]);
  expect(target).toMatchObject({ origin, path });
});

test.each<[string, string[]]>([
  ["a private address", ["127.0.0.1"]],
  ["private addresses alone", ["10.0.0.1", "fd00::1", "::1"]],
])("X-06 a name that leads to %s is refused, and not connected to", async (_name, addresses) => {
  for (const protocol of ["h2", "http/1.1"] as const) {
    const { service, world, relay, send } = await setup(protocol, []);
    service.call("push.test");
    world.names.set("push.test", addresses);
    const { endpoint } = service.subscribe();
    expect(await send({ prid: endpoint })).toMatchObject({
      outcome: "refused",
      status: 0,
      attempts: 1,
      reason: "push.test is not on a public address; name it in push.webpush.allow_hosts if phones may use it",
    });
    expect([service.connections, relay.backends()[0]!.refused]).toEqual([0, 1]);
  }
});

test("X-06 a name is judged each time it is connected to, so that it cannot change behind the check", async () => {
  const { service, world, send } = await setup("h2", []);
  service.call("push.test");
  const { endpoint } = service.subscribe();
  for (const addresses of [["10.0.0.1"], ["192.0.2.1", "127.0.0.1"], ["127.0.0.1"]]) {
    world.names.set("push.test", addresses);
    expect(await send({ prid: endpoint })).toMatchObject({ outcome: "refused" });
  }
  expect(service.connections).toBe(0);
});

test.each([
  [true, ["127.0.0.1", "8.8.8.8", "fd00::1", "2606:4700::1"], ["8.8.8.8", "2606:4700::1"]],
  [false, ["127.0.0.1", "8.8.8.8", "8.8.4.4"], ["8.8.8.8"]],
  [true, ["127.0.0.1", "10.0.0.1"], []],
  [false, ["::1"], []],
])("X-06 of the addresses of a name only the public ones are given (all: %p, %j)", (all, addresses, given) => {
  const judged: boolean[] = [];
  const ask: HostLookup = (_host, done) => done(null, addresses.map((address) => ({ address, family: isIP(address) })));
  let told: unknown;
  publicLookup(ask, (isPublic) => judged.push(isPublic))("push.test", { all }, (error, answer) => {
    told = error?.code ?? (Array.isArray(answer) ? answer.map(({ address }) => address) : [answer]);
  });
  expect(told).toEqual(given.length === 0 ? NOT_PUBLIC : given);
  expect(judged).toEqual([given.length > 0]);
});

test.each<[PushProtocol]>([["h2"], ["http/1.1"], ["http"]])(
  "P-01 a name in allow_hosts may be on a private address (%s)",
  async (protocol) => {
    const { service, world, relay, config } = await setup(protocol, ["localhost"]);
    service.call("localhost");
    const { endpoint } = service.subscribe();
    const verdict = await relay.sendNow(pushRequest({ provider: "webpush", prid: endpoint, ttlMs: 100 }));
    // The certificate is for another name: that it is judged at all shows that the connection was made.
    if (protocol === "http") expect(verdict).toMatchObject({ outcome: "accepted" });
    else expect(verdict.reason).toStartWith(`the certificate of ${service.origin} is not trusted`);
    expect([config.webpush.allow_hosts.length, world.names.size]).toEqual([1, 0]);
  },
);

test("P-01 a certificate of somebody else is not trusted", async () => {
  const { service, world, config } = await setup();
  config.webpush.ca_file = "";
  const relay = new PushRelay(config, world);
  stops.push(() => relay.stop());
  const verdict = await relay.sendNow(
    pushRequest({ provider: "webpush", prid: service.subscribe().endpoint, ttlMs: 100 }),
  );
  expect(verdict).toMatchObject({ outcome: "failed" });
  expect(verdict.reason).toContain("is not trusted");
  expect(service.received).toEqual([]);
});

test.each([
  ["a point that is not on the curve", {
    p256dh: Buffer.concat([Buffer.from([4]), randomBytes(64)]).toString("base64url"),
  }],
  ["half a key", { p256dh: "BPxx" }],
  ["half a secret", { auth: "xx" }],
])("P-03 keys of a phone that are none are told: %s", async (_name, changes) => {
  const { service, sendWithKeys, subscription } = await setup();
  expect(await sendWithKeys({ keys: { ...subscription.keys, ...changes } })).toMatchObject({
    outcome: "refused",
    status: 0,
    reason: "p256dh and auth of the phone are no keys: set them anew",
  });
  expect(service.received).toEqual([]);
});

test("P-03 an AoR and Call-ID that fill the message are told", async () => {
  const { service, send, sendWithKeys } = await setup();
  expect(await sendWithKeys({ callId: "c".repeat(4000) })).toMatchObject({
    outcome: "refused",
    reason: "AoR and Call-ID are too long for a push of 4096 bytes",
  });
  expect(await send({ callId: "c".repeat(4000) })).toMatchObject({ outcome: "accepted" });
  expect(service.received.length).toBe(1);
});

test.each([
  ["no file", null, {}, "Cannot read push.webpush.vapid_file /vapid.json: ENOENT"],
  ["no keys", "{}", {}, "push.webpush.vapid_file /vapid.json holds no VAPID keys; latefork check says why"],
  ["no subject", JSON.stringify(vapid), { subject: "" }, "push.webpush.subject is not a mailto: or https: URL"],
  [
    "another subject",
    JSON.stringify(vapid),
    { subject: "ops@example.org" },
    "push.webpush.subject is not a mailto: or https: URL",
  ],
  ["no CA", JSON.stringify(vapid), { ca_file: "/none" }, "Cannot read push.webpush.ca_file /none: ENOENT"],
])("O-02 %s is told, and refuses pushes", async (_name, file, changes, problem) => {
  const { world, config, subscription } = await setup();
  if (file === null) world.secrets.delete("/vapid.json");
  else world.secrets.set("/vapid.json", file);
  Object.assign(config.webpush, changes);
  const relay = new PushRelay(config, world);
  stops.push(() => relay.stop());
  expect(relay.problems()).toEqual([problem]);
  expect([relay.serves("webpush"), relay.vapidKey]).toEqual([false, ""]);
  const request = pushRequest({ provider: "webpush", prid: subscription.endpoint });
  expect(await relay.sendNow(request)).toMatchObject({ outcome: "refused", reason: problem });
});

test("O-03 reload: new VAPID keys are used at once, broken ones are not taken, connections stay", async () => {
  const { service, world, relay, config, send } = await setup();
  const { endpoint: prid } = service.subscribe();
  await send({ prid });
  const fresh = makeVapidKeys();
  world.secrets.set("/vapid.json", JSON.stringify(fresh));
  expect(relay.reload(config)).toEqual([]);
  await send({ prid });
  world.secrets.set("/vapid.json", "{}");
  expect(relay.reload(config)).toEqual([
    "push.webpush.vapid_file /vapid.json holds no VAPID keys; latefork check says why; the old one is kept",
  ]);
  await send({ prid });
  expect(service.received.map(({ headers }) => headers.authorization!.split("k=")[1])).toEqual([
    vapid.publicKey,
    fresh.publicKey,
    fresh.publicKey,
  ]);
  expect(service.connections).toBe(1);
});

test("O-03 reload: other settings make a new backend, which connects to the phones' services again", async () => {
  const { service, relay, config, subscription, send } = await setup();
  relay.expect({ provider: "webpush", prid: subscription.endpoint });
  await service.until(() => service.connections === 1);
  config.webpush = { ...config.webpush, subject: "https://example.org" };
  expect(relay.reload(config)).toEqual([]);
  await service.until(() => service.connections === 2);
  expect(await send()).toMatchObject({ outcome: "accepted" });
  expect(service.connections).toBe(2);
  expect(service.faults).toEqual([]);
});
