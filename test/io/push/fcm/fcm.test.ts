/** The FCM backend behind the relay, against a local FCM that checks what the real one checks (P-09). */
import { afterEach, expect, test } from "bun:test";
import { generateKeyPairSync } from "node:crypto";
import { FCM_ERRORS, type FcmAction, fcmErrorOf } from "../../../../src/io/push/fcm/errors.ts";
import { fcmMessageOf } from "../../../../src/io/push/fcm/message.ts";
import { EARLY_MS, EXCHANGE_MS, FAILED_MS, MIN_RENEWAL_MS, REFUSED_MS } from "../../../../src/io/push/fcm/token.ts";
import { PING_ANSWER_MS, SILENCE_MS } from "../../../../src/io/push/http/http2.ts";
import { type PushConfig, PushRelay } from "../../../../src/io/push/relay.ts";
import type { PushEvent, PushRequest, PushVerdict } from "../../../../src/io/push/types.ts";
import { type FcmOrder, type FcmReply, FcmServer, NO_TOKEN, type TokenOrder, UNREGISTERED } from "./fcm_server.ts";
import { pushConfig, pushRequest, settle, VirtualWorld } from "../virtual_world.ts";

const TOKEN = "dGVzdA:APA91bTest_token-1";
const PHONE = { provider: "fcm", param: "phone-1a2b3", prid: TOKEN };
const UUID = "6b1a2c3d-0000-4000-8000-00000000000a";

const stops: (() => Promise<void> | void)[] = [];
afterEach(async () => {
  for (const stop of stops.splice(0).reverse()) await stop();
});

interface Setup {
  server: FcmServer;
  world: VirtualWorld;
  relay: PushRelay;
  config: PushConfig;
  send(changes?: Partial<PushRequest>): Promise<PushVerdict>;
}

async function setup(): Promise<Setup> {
  const world = new VirtualWorld();
  const server = await new FcmServer(world.now).start();
  server.tokens.add(TOKEN);
  world.secrets.set("/account.json", server.account());
  world.secrets.set("/ca.pem", server.ca);
  const config = pushConfig({});
  config.fcm = { service_account_file: "/account.json", server: server.url, ca_file: "/ca.pem" };
  const relay = new PushRelay(config, world);
  stops.push(() => server.stop(), () => relay.stop());
  return { server, world, relay, config, send: (changes = {}) => relay.sendNow(pushRequest({ ...PHONE, ...changes })) };
}

/** With an access token and a connection: the next push leaves within send. */
async function warmSetup(): Promise<Setup> {
  const all = await setup();
  expect(await all.send()).toMatchObject({ outcome: "accepted" });
  all.server.received.length = 0;
  return all;
}

test("P-03 a call push is what FCM wants, to the letter", async () => {
  const { server, send } = await setup();
  const verdict = await send({ uuid: UUID, callId: 'a"b@pc33' });
  expect(verdict).toMatchObject({ outcome: "accepted", status: 200, attempts: 1, reason: `200 from ${server.url}` });
  expect(server.received.length).toBe(1);
  const [{ headers, message, path, bearer }] = server.received as [FcmServer["received"][0]];
  expect(path).toBe("/v1/projects/phone-1a2b3/messages:send");
  expect(bearer).toStartWith("ya29.1-");
  expect(headers["content-type"]).toBe("application/json");
  expect(message).toEqual({
    token: TOKEN,
    android: { priority: "HIGH", ttl: "30s" },
    data: {
      event: "call",
      aor: "alice@example.org",
      call_id: 'a"b@pc33',
      uuid: UUID,
      from_uri: "sip:bob@example.org",
      from_name: "Bob",
      to_uri: "sip:alice@example.org",
      sent_at: "2026-01-02T03:04:05.678Z",
      ttl: "30",
      "call-id": 'a"b@pc33',
      "from-uri": "sip:bob@example.org",
      "display-name": "Bob",
    },
  });
  expect(server.faults).toEqual([]);
});

test.each<[PushEvent, string]>([
  ["call", "HIGH"],
  ["message", "HIGH"],
  ["cancel", "HIGH"],
  ["test", "HIGH"],
  ["missed", "NORMAL"],
  ["refresh", "NORMAL"],
])("P-03 P-06 a %s push has priority %s", async (event, priority) => {
  const { server, send } = await setup();
  const cancel = event === "cancel" ? { reason: "answered_elsewhere" as const } : {};
  expect(await send({ event, ...cancel })).toMatchObject({ outcome: "accepted" });
  expect(server.received[0]!.message).toMatchObject({ android: { priority }, data: { event, ...cancel } });
  expect(server.faults).toEqual([]);
});

test("P-03 the life of a message is what is left of the window when it is sent", async () => {
  const { server, world, send } = await warmSetup();
  server.orders.push({ status: 503, errorCode: "UNAVAILABLE", headers: { "retry-after": "4" } });
  const verdict = send({ ttlMs: 20_000 });
  await world.timerSet(4000);
  await world.pass(4000);
  expect(await verdict).toMatchObject({ outcome: "accepted", attempts: 2 });
  expect(server.received.map(({ message }) => message.android.ttl)).toEqual(["20s", "16s"]);
});

test("P-03 what a phone without a name or a project sends is a push all the same", () => {
  const body = fcmMessageOf(pushRequest({ fromName: "", fromUri: "", callId: "" }), 0, 1);
  expect(JSON.parse(body!).message).toMatchObject({ android: { ttl: "1s" }, data: { ttl: "1", call_id: "" } });
});

test.each([
  ["its project", "phone-1a2b3"],
  ["the number of its project", "123456789012"],
  ["no project", ""],
  ["the name of its package", "org.example.phone"],
])("P-01 a phone that names %s is pushed to", async (_name, param) => {
  const { server, send } = await setup();
  expect(await send({ param })).toMatchObject({ outcome: "accepted" });
  expect(server.received[0]!.path).toBe("/v1/projects/phone-1a2b3/messages:send");
});

test("P-04 a phone of another Firebase project is refused before anything is sent, in words that say what to fix", async () => {
  const { server, send } = await setup();
  expect(await send({ param: "other-app-77" })).toMatchObject({
    outcome: "refused",
    status: 0,
    reason:
      "the phone's app belongs to Firebase project other-app-77 (pn-param), push.fcm.service_account_file is of " +
      "phone-1a2b3: take the service account of other-app-77, or build the app with the google-services.json of " +
      "phone-1a2b3",
  });
  expect(server.assertions).toEqual([]);
});

const GOOGLES_WORDS = 'Google says: Said "so"';

/** Every row of the table, as FCM says it. */
const REPLIES: [row: string, reply: FcmReply, outcome: string, isFailing: boolean][] = [
  ["400 INVALID_ARGUMENT token", NO_TOKEN, "dead", false],
  ["400 INVALID_ARGUMENT", { status: 400, canonical: "INVALID_ARGUMENT", field: "message.android" }, "refused", true],
  ["401 THIRD_PARTY_AUTH_ERROR", { status: 401, errorCode: "THIRD_PARTY_AUTH_ERROR" }, "refused", false],
  ["403 SENDER_ID_MISMATCH", { status: 403, errorCode: "SENDER_ID_MISMATCH" }, "refused", false],
  ["403 SERVICE_DISABLED", { status: 403, canonical: "PERMISSION_DENIED", info: "SERVICE_DISABLED" }, "refused", true],
  ["403 PERMISSION_DENIED", { status: 403, canonical: "PERMISSION_DENIED", info: "IAM_X" }, "refused", true],
  ["404 UNREGISTERED", UNREGISTERED, "dead", false],
  ["404 NOT_FOUND", { status: 404, canonical: "NOT_FOUND" }, "refused", true],
];

test.each(REPLIES)("P-04 %s: said once, with what to do about it", async (_row, reply, outcome, isFailing) => {
  const { server, relay, send } = await warmSetup();
  server.orders.push({ message: 'Said "so"', ...reply });
  const verdict = await send();
  const code = reply.errorCode ?? (reply.info === "SERVICE_DISABLED" ? reply.info : reply.canonical)!;
  const about = reply === NO_TOKEN;
  const said = [`${reply.status} ${code} from ${server.url}`, fcmErrorOf(reply.status, code, about).words];
  if (code === "SENDER_ID_MISMATCH") said.push("service_account_file is of project phone-1a2b3");
  if (outcome !== "dead") said.push(GOOGLES_WORDS);
  expect(verdict).toMatchObject({ outcome, status: reply.status, attempts: 1, reason: said.join("; ") });
  expect(server.received.length).toBe(1);
  expect(relay.backends()[0]!.state).toBe(isFailing ? "failing" : "ok");
});

test.each<[string, FcmReply]>([
  ["429 QUOTA_EXCEEDED", { status: 429, canonical: "RESOURCE_EXHAUSTED", errorCode: "QUOTA_EXCEEDED" }],
  ["500 INTERNAL", { status: 500, canonical: "INTERNAL", errorCode: "INTERNAL" }],
  ["503 UNAVAILABLE", { status: 503, canonical: "UNAVAILABLE", errorCode: "UNAVAILABLE" }],
  ["502 without words", { status: 502, text: "<html>Bad gateway</html>" }],
])("P-04 %s: tried again inside the window, after what it asks for", async (_row, reply) => {
  const { server, world, send } = await warmSetup();
  server.orders.push(reply, { ...reply, headers: { "retry-after": "7" } });
  const verdict = send();
  await world.timerSet(250);
  await world.pass(250);
  await world.timerSet(7000);
  await world.pass(7000);
  expect(await verdict).toMatchObject({ outcome: "accepted", attempts: 3 });
});

test("P-04 a wait that is longer than the window fails the push at once", async () => {
  const { server, send } = await warmSetup();
  server.orders.push({ status: 429, errorCode: "QUOTA_EXCEEDED", headers: { "retry-after": "60" } });
  const verdict = await send();
  expect(verdict).toMatchObject({ outcome: "failed", status: 429, attempts: 1 });
  expect(verdict.reason).toContain("it asks to wait 60 s, longer than the window");
});

test("P-04 every row of the table was tried above, and has words", () => {
  const tried = [...REPLIES.map(([row]) => row), "429 QUOTA_EXCEEDED", "500 INTERNAL", "503 UNAVAILABLE"];
  // Tried below.
  tried.push("401 UNAUTHENTICATED");
  const rows = FCM_ERRORS.map(({ status, code, isAboutToken }) => `${status} ${code}${isAboutToken ? " token" : ""}`);
  expect(rows.sort()).toEqual(tried.sort());
  for (const { words } of FCM_ERRORS) expect(words).not.toBe("");
});

test("P-04 the README shows the table", async () => {
  const readme = await Bun.file(`${import.meta.dir}/../../../../src/io/push/README.md`).text();
  const follows: Record<FcmAction, string> = {
    dead: "dead",
    token: "new token",
    retry: "again",
    refused: "refused",
    config: "config",
  };
  for (const { status, code, isAboutToken, action, words } of FCM_ERRORS) {
    const about = isAboutToken ? " about the token" : "";
    expect(readme).toContain(`| ${status} | \`${code}\`${about} | ${follows[action]} | ${words} |\n`);
  }
});

test.each<[FcmReply, string]>([
  [{ status: 400, canonical: "INVALID_ARGUMENT", field: "message.token", message: "Invalid registration" }, "dead"],
  [{ status: 400, errorCode: "INVALID_ARGUMENT", message: "Android message is too big" }, "refused"],
  [
    { status: 400, canonical: "INVALID_ARGUMENT", field: "message.data[0].value", message: "no registration token" },
    "refused",
  ],
  [{ status: 404, text: "<html>not found</html>" }, "refused"],
  [{ status: 302, text: "", headers: { location: "https://x" } }, "refused"],
  [{ status: 418, canonical: "TEAPOT" }, "refused"],
  [{ status: 403, errorCode: "UNSPECIFIED_ERROR" }, "refused"],
])("P-04 an answer that is told by its details or its status alone: %j is %s", async (reply, outcome) => {
  const { server, send } = await warmSetup();
  server.orders.push(reply);
  expect(await send()).toMatchObject({ outcome, status: reply.status, attempts: 1 });
});

test("P-04 the token of another project is told with both projects", async () => {
  const { server, send } = await warmSetup();
  server.foreign.add(TOKEN);
  const verdict = await send({ param: "998877665544" });
  expect(verdict).toMatchObject({ outcome: "refused", status: 403 });
  expect(verdict.reason).toContain("must be of one project");
  expect(verdict.reason).toContain(
    "the phone's pn-param is 998877665544, service_account_file is of project phone-1a2b3",
  );
  expect(verdict.reason).toEndWith("Google says: SenderId mismatch");
});

test("P-04 Google's words are shown without the tokens they may repeat", async () => {
  const { server, send } = await warmSetup();
  server.orders.push({ status: 403, canonical: "PERMISSION_DENIED", message: `No ${TOKEN}\r\n\x1b[31m for Bearer ?` });
  const { reason } = await send();
  expect(reason).toEndWith("Google says: No *** [31m for Bearer ?");
});

test("P-01 the token is exchanged once and used until it ends", async () => {
  const { server, send } = await setup();
  for (let i = 0; i < 3; i++) expect(await send()).toMatchObject({ outcome: "accepted" });
  expect(server.assertions.length).toBe(1);
  const [{ iss, scope, aud, iat, exp }] = server.assertions as [Record<string, number | string>];
  expect([iss, scope, aud]).toEqual([
    server.email,
    "https://www.googleapis.com/auth/firebase.messaging",
    server.tokenUri,
  ]);
  expect(Number(exp) - Number(iat)).toBe(3600);
  expect(server.faults).toEqual([]);
});

test("P-01 pushes that wait for a token share one exchange", async () => {
  const { server, relay } = await setup();
  server.isHoldingTokens = true;
  const verdicts = Array.from({ length: 20 }, () => relay.sendNow(pushRequest(PHONE)));
  await server.until(() => server.assertions.length > 0);
  expect(server.received).toEqual([]);
  server.releaseTokens();
  for (const verdict of await Promise.all(verdicts)) {
    expect(verdict).toMatchObject({ outcome: "accepted", attempts: 1 });
  }
  expect(server.assertions.length).toBe(1);
  expect(new Set(server.received.map(({ bearer }) => bearer)).size).toBe(1);
});

test("P-01 a token near its end is used while another is had", async () => {
  const { server, world, send } = await warmSetup();
  await world.pass(3599_000 - EARLY_MS);
  server.isHoldingTokens = true;
  expect(await send()).toMatchObject({ outcome: "accepted" });
  expect(server.received[0]!.bearer).toStartWith("ya29.1-");
  await server.until(() => server.assertions.length === 2);
  server.releaseTokens();
  await world.timerGone(EXCHANGE_MS);
  await settle();
  expect(await send()).toMatchObject({ outcome: "accepted" });
  expect(server.received[1]!.bearer).toStartWith("ya29.2-");
});

test("P-01 a token that has ended is not used", async () => {
  const { server, world, send } = await warmSetup();
  await world.pass(3599_000);
  expect(await send()).toMatchObject({ outcome: "accepted", attempts: 1 });
  expect(server.received.map(({ bearer }) => bearer.slice(0, 7))).toEqual(["ya29.2-"]);
});

test("P-04 a token that FCM does not take any more is replaced once, for all pushes that used it", async () => {
  const { server, relay, send } = await warmSetup();
  server.revokeTokens();
  const verdicts = await Promise.all(Array.from({ length: 10 }, () => relay.sendNow(pushRequest(PHONE))));
  for (const verdict of verdicts) expect(verdict).toMatchObject({ outcome: "accepted", attempts: 1 });
  expect(server.assertions.length).toBe(2);
  expect(await send()).toMatchObject({ outcome: "accepted" });
  expect(server.assertions.length).toBe(2);
});

test("P-04 401 UNAUTHENTICATED again with the new token: refused, and no third token is asked for within a minute", async () => {
  const { server, world, relay, send } = await warmSetup();
  const refused: FcmOrder = { status: 401, canonical: "UNAUTHENTICATED", message: "no" };
  server.orders.push(refused, refused, refused);
  expect(await send()).toMatchObject({
    outcome: "refused",
    status: 401,
    reason: `401 UNAUTHENTICATED from ${server.url}; ${
      fcmErrorOf(401, "UNAUTHENTICATED", false).words
    }; Google says: no`,
  });
  expect(server.received.length).toBe(2);
  expect(relay.backends()[0]!.state).toBe("failing");
  expect(await send()).toMatchObject({ outcome: "refused", status: 401 });
  expect(server.assertions.length).toBe(2);
  await world.pass(MIN_RENEWAL_MS);
  server.orders.push(refused);
  expect(await send()).toMatchObject({ outcome: "accepted" });
  expect(server.assertions.length).toBe(3);
});

test("P-04 a 401 without a word of Google's is one about the token, too", async () => {
  const { server, send } = await warmSetup();
  server.orders.push({ status: 401, text: "<html>Unauthorized</html>" });
  expect(await send()).toMatchObject({ outcome: "accepted", attempts: 1 });
  expect(server.assertions.length).toBe(2);
});

/** What the token endpoint says, and what is told. */
const TOKEN_REPLIES: [TokenOrder & object, string][] = [
  [
    { status: 400, error: "invalid_grant", description: "Invalid JWT Signature." },
    "400 invalid_grant from HOST; the key in push.fcm.service_account_file was deleted or revoked: generate a new one; " +
    "Invalid JWT Signature.",
  ],
  [
    { status: 400, error: "invalid_grant", description: "Check your iat and exp values" },
    "400 invalid_grant from HOST; this machine's clock is wrong: set it (NTP); Check your iat and exp values",
  ],
  [
    { status: 400, error: "invalid_grant", description: "Invalid grant: account not found" },
    "400 invalid_grant from HOST; the account in push.fcm.service_account_file does not exist any more or is disabled, " +
    "or this machine's clock is wrong; Invalid grant: account not found",
  ],
  [
    { status: 401, error: "unauthorized_client", description: "no" },
    "401 unauthorized_client from HOST; the account in push.fcm.service_account_file does not exist any more or is " +
    "disabled, or this machine's clock is wrong; no",
  ],
  [
    { status: 404, text: "nothing here" },
    "404 from HOST; is push.fcm.service_account_file the one Firebase gave, and its token_uri unchanged?",
  ],
  [
    { status: 200, text: "<html>" },
    "200 from HOST; this is no token server: check token_uri in push.fcm.service_account_file",
  ],
];

test.each(TOKEN_REPLIES)(
  "P-04 the token server's %j refuses the push in words, and is asked again after a while",
  async (order, reason) => {
    const { server, world, relay, send } = await setup();
    server.tokenOrders.push(order);
    const said = reason.replace("HOST", new URL(server.tokenUri).origin);
    expect(await send()).toMatchObject({
      outcome: "refused",
      status: order.status,
      reason: `no access token: ${said}`,
    });
    expect(relay.backends()[0]!.state).toBe("failing");
    expect(await send()).toMatchObject({ outcome: "refused" });
    expect(server.assertions.length).toBe(1);
    await world.pass(REFUSED_MS);
    expect(await send()).toMatchObject({ outcome: "accepted" });
    expect(relay.backends()[0]!.state).toBe("ok");
  },
);

test("P-04 a token server that has a fault is asked again inside the window", async () => {
  const { server, world, send } = await setup();
  server.tokenOrders.push({ status: 503, text: "", headers: { "retry-after": "3" } });
  const verdict = send();
  await world.timerSet(3000);
  await world.pass(2000);
  // Whoever comes meanwhile does not ask before it wants to be asked.
  expect(await send({ ttlMs: 500 })).toMatchObject({ outcome: "failed", status: 503 });
  expect(server.assertions.length).toBe(1);
  await world.pass(1000);
  expect(await verdict).toMatchObject({ outcome: "accepted", attempts: 2 });
});

test("P-05 nothing goes on after stop: no exchange, no renewal", async () => {
  for (const order of ["stall", "issue"] as const) {
    const { server, world, relay } = await setup();
    if (order === "stall") server.tokenOrders.push(order);
    relay.warm();
    await server.until(() => server.assertions.length === 1);
    if (order === "issue") await world.timerSet(3599_000 - EARLY_MS);
    relay.stop();
    // What is under way ends by itself: nobody waits for a second.
    while (world.timers.size > 0) await new Promise((resolve) => setImmediate(resolve));
    expect(server.assertions.length).toBe(1);
  }
});

test("P-04 a token server that cannot be reached is told by its name, and not asked by every push", async () => {
  const { server, world, config } = await setup();
  world.secrets.set("/account.json", server.account({ token_uri: "https://127.0.0.1:1/token" }));
  const relay = new PushRelay(config, world);
  stops.push(() => relay.stop());
  let exchanges = 0;
  const http = world.fetch;
  world.fetch = (url, init) => {
    exchanges++;
    return http(url, init);
  };
  const other = new PushRelay(config, world);
  stops.push(() => other.stop());
  const verdicts = Array.from({ length: 10 }, () => other.sendNow(pushRequest({ ...PHONE, ttlMs: 200 })));
  for (const { outcome, reason } of await Promise.all(verdicts)) {
    expect(outcome).toBe("failed");
    expect(reason).toContain("no access token: https://127.0.0.1:1 refuses connections");
  }
  expect(exchanges).toBe(1);
  await world.pass(FAILED_MS);
  await other.sendNow(pushRequest({ ...PHONE, ttlMs: 100 }));
  expect(exchanges).toBe(2);
});

test("P-04 a token server that says nothing does not hold a push beyond its time", async () => {
  const { server, world, send } = await setup();
  server.tokenOrders.push("stall");
  const verdict = send();
  await server.until(() => server.assertions.length === 1);
  await world.pass(EXCHANGE_MS);
  await world.timerSet(250);
  await world.pass(250);
  expect(await verdict).toMatchObject({ outcome: "accepted", attempts: 2 });
});

test("P-01 a clock that is wrong is told by the token server", async () => {
  const { server, world, config } = await setup();
  world.systemNow = () => world.nowMs - 86_400_000;
  const relay = new PushRelay(config, world);
  stops.push(() => relay.stop());
  expect((await relay.sendNow(pushRequest(PHONE))).reason).toContain("this machine's clock is wrong: set it (NTP)");
  expect(server.received).toEqual([]);
});

test("P-05 warm: token and connection are there before the first push, which leaves within send", async () => {
  const { server, world, relay, send } = await setup();
  relay.warm();
  await server.until(() => server.sessions.length === 1 && server.assertions.length === 1);
  await world.timerGone(EXCHANGE_MS);
  await settle();
  expect(await send()).toMatchObject({ outcome: "accepted" });
  expect([server.sessions.length, server.assertions.length]).toEqual([1, 1]);
});

test("P-05 a warm token is replaced before its end, without a push", async () => {
  const { server, world, relay } = await setup();
  relay.warm();
  await world.timerSet(3599_000 - EARLY_MS);
  await world.pass(3599_000 - EARLY_MS);
  await server.until(() => server.assertions.length === 2);
  await world.timerSet(3599_000 - EARLY_MS);
  server.tokenOrders.push({ status: 503, text: "" });
  await world.pass(3599_000 - EARLY_MS);
  await server.until(() => server.assertions.length === 3);
  await world.timerSet(1000);
  await world.pass(1000);
  await server.until(() => server.assertions.length === 4);
});

test.each<[FcmOrder]>([["reset"], ["cut"], ["goaway"]])(
  "P-04 a request that is lost by %s goes out again, on a connection that lives",
  async (order) => {
    const { server, world, send } = await warmSetup();
    server.orders.push(order);
    const verdict = send();
    await server.until(() => server.received.length > 0);
    if (order !== "goaway") {
      await world.timerSet(250);
      await world.pass(250);
    }
    expect(await verdict).toMatchObject({ outcome: "accepted" });
    expect(server.received.length).toBe(2);
  },
);

test("P-04 a server that does not answer costs one attempt", async () => {
  const { server, world, relay, send } = await warmSetup();
  server.orders.push("stall");
  const verdict = send();
  await server.until(() => server.received.length === 1);
  // The connection lives, and says so when it is asked.
  for (let i = 0; i < 4; i++) {
    await world.pass(SILENCE_MS);
    await world.timerGone(PING_ANSWER_MS);
  }
  await world.pass(5000 - 4 * SILENCE_MS);
  expect(relay.backends()[0]!.last_error).toBe(`${server.url} did not answer in time`);
  await world.timerSet(250);
  await world.pass(250);
  expect(await verdict).toMatchObject({ outcome: "accepted", attempts: 2 });
});

test.each([
  ["no file", null, "Cannot read push.fcm.service_account_file /account.json: ENOENT"],
  ["no JSON", "{", "push.fcm.service_account_file /account.json is no service account; latefork check says why"],
  ["another key", {
    private_key: generateKeyPairSync("ec", { namedCurve: "P-256" }).privateKey.export({ type: "pkcs8", format: "pem" }),
  }, "push.fcm.service_account_file /account.json is no service account; latefork check says why"],
  [
    "a token server without TLS",
    { token_uri: "http://127.0.0.1/token" },
    "push.fcm.service_account_file /account.json is no service account; latefork check says why",
  ],
  [
    "a project that is a path",
    { project_id: "../x" },
    "push.fcm.service_account_file /account.json is no service account; latefork check says why",
  ],
])("O-02 an account file with %s is told, and refuses pushes", async (_name, content, problem) => {
  const { server, world, config } = await setup();
  if (content === null) world.secrets.delete("/account.json");
  else world.secrets.set("/account.json", typeof content === "string" ? content : server.account(content));
  const relay = new PushRelay(config, world);
  stops.push(() => relay.stop());
  expect(relay.problems()).toEqual([problem]);
  expect(relay.serves("fcm")).toBe(false);
  expect(await relay.sendNow(pushRequest(PHONE))).toMatchObject({ outcome: "refused", reason: problem });
});

test("O-03 reload: an account that did not change keeps its token, a new one gets its own, a broken one is not taken", async () => {
  const { server, world, relay, config, send } = await warmSetup();
  expect(relay.reload(config)).toEqual([]);
  expect(await send()).toMatchObject({ outcome: "accepted" });
  expect(server.assertions.length).toBe(1);
  world.secrets.set("/account.json", server.account({ client_id: "2" }));
  expect(relay.reload(config)).toEqual([]);
  expect(await send()).toMatchObject({ outcome: "accepted" });
  expect(server.assertions.length).toBe(2);
  relay.warm();
  world.secrets.set("/account.json", server.account({ client_id: "3" }));
  expect(relay.reload(config)).toEqual([]);
  // Somebody may be called at any time: its token is had at once.
  await server.until(() => server.assertions.length === 3);
  world.secrets.set("/account.json", "{}");
  expect(relay.reload(config)).toEqual([
    "push.fcm.service_account_file /account.json is no service account; latefork check says why; the old one is kept",
  ]);
  expect(await send()).toMatchObject({ outcome: "accepted" });
});

test("P-05 O-03 a backend that a reload replaces is connected to again, if phones of it were expected", async () => {
  for (const isExpected of [true, false]) {
    const { server, world, relay, config } = await setup();
    if (isExpected) relay.expect({ provider: "fcm", prid: TOKEN });
    if (isExpected) await server.until(() => server.sessions.length === 1 && server.assertions.length === 1);
    world.secrets.set("/other.json", server.account());
    config.fcm = { ...config.fcm, service_account_file: "/other.json" };
    expect(relay.reload(config)).toEqual([]);
    if (isExpected) await server.until(() => server.sessions.length === 2 && server.assertions.length === 2);
    else await settle();
    expect(server.assertions.length).toBe(isExpected ? 2 : 0);
  }
});
