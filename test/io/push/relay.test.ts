/** The relay in virtual time: windows, retries, limits. What real sockets do is in webhook.test.ts. */
import { expect, test } from "bun:test";
import { MAX_IN_FLIGHT, MAX_PENDING, MAX_WINDOW_MS } from "../../../src/io/push/delivery.ts";
import { CALL_PUSHES_PER_MINUTE, OTHER_PUSHES_PER_MINUTE } from "../../../src/io/push/rate.ts";
import { MAX_RECENT, PushRelay } from "../../../src/io/push/relay.ts";
import type { PushRequest, PushVerdict } from "../../../src/io/push/types.ts";
import { pushConfig, pushRequest, settle, VirtualWorld } from "./virtual_world.ts";
import type { HttpFetch, HttpRequest } from "../../../src/io/push/world.ts";

type Reply = number | Error | "hang" | [status: number, headers: Record<string, string>, body?: string];

/** Answers in order, the last one for ever. */
function replying(...replies: Reply[]) {
  const calls: { url: string; init: HttpRequest; atMs: number }[] = [];
  const world = new VirtualWorld();
  const http: HttpFetch = (url, init) => {
    calls.push({ url, init, atMs: world.nowMs });
    const reply = replies.length > 1 ? replies.shift()! : replies[0]!;
    if (reply === "hang") return new Promise(() => {});
    if (reply instanceof Error) return Promise.reject(reply);
    const [status, headers, body] = typeof reply === "number" ? [reply, {}, undefined] : reply;
    return Promise.resolve(new Response(body ?? null, { status, headers }));
  };
  world.fetch = http;
  const relay = new PushRelay(pushConfig({ acme: { url: "https://push.example.org/wake" } }), world);
  const startMs = world.nowMs;
  const times = (): number[] => calls.map((call) => call.atMs - startMs);
  return { world, relay, calls, times };
}

function sendTo(
  relay: PushRelay,
  changes: Partial<PushRequest> = {},
): { verdicts: PushVerdict[]; request: PushRequest } {
  const verdicts: PushVerdict[] = [];
  const request = pushRequest(changes);
  relay.send(request, (verdict) => verdicts.push(verdict));
  return { verdicts, request };
}

test("N-06 the request leaves within send, the verdict comes after it", async () => {
  const { relay, calls } = replying(200);
  const { verdicts, request } = sendTo(relay);
  expect(calls.length).toBe(1);
  expect(verdicts).toEqual([]);
  await settle();
  expect(verdicts).toEqual([{
    uuid: request.uuid,
    provider: "acme",
    outcome: "accepted",
    status: 200,
    reason: "200 from https://push.example.org",
    ms: 0,
    attempts: 1,
  }]);
});

test.each<[number, string, string]>([
  [200, "accepted", "200 from https://push.example.org"],
  [202, "accepted", "202 from https://push.example.org"],
  [
    404,
    "dead",
    "404 from https://push.example.org; the token is dead; if every phone's is, push.webhook.acme.url is wrong",
  ],
  [410, "dead", "410 from https://push.example.org; the token is dead"],
  [400, "refused", "400 from https://push.example.org"],
  [401, "refused", "401 from https://push.example.org; check push.webhook.acme.token_file"],
  [403, "refused", "403 from https://push.example.org; check push.webhook.acme.token_file"],
  [422, "refused", "422 from https://push.example.org"],
  [
    302,
    "refused",
    "302 from https://push.example.org; redirects are not followed, put the final address into push.webhook.acme.url",
  ],
])("P-04 answer %d: %s, after one attempt", async (status, outcome, reason) => {
  const { world, relay, calls } = replying(status);
  const { verdicts } = sendTo(relay);
  await world.pass(60_000);
  expect(verdicts).toMatchObject([{ outcome, status, reason, attempts: 1 }]);
  expect(calls.length).toBe(1);
  expect(world.timers.size).toBe(0);
});

test.each<[string, Reply]>([
  ["429", 429],
  ["500", 500],
  ["503", 503],
  ["a lost connection", Object.assign(new Error("x"), { code: "ECONNRESET" })],
  ["a refused connection", Object.assign(new Error("x"), { code: "ECONNREFUSED" })],
])("P-04 after %s the push is tried again, with back-off", async (_name, reply) => {
  const { world, relay, times } = replying(reply, reply, reply, 200);
  const { verdicts } = sendTo(relay);
  await world.pass(60_000);
  expect(times()).toEqual([0, 250, 750, 1750]);
  expect(verdicts).toMatchObject([{ outcome: "accepted", status: 200, attempts: 4, ms: 1750 }]);
});

test("P-04 retries end with the window", async () => {
  const { world, relay, times } = replying(500);
  const { verdicts } = sendTo(relay, { ttlMs: 3000 });
  await world.pass(60_000);
  expect(times()).toEqual([0, 250, 750, 1750]);
  expect(verdicts).toMatchObject([{ outcome: "failed", status: 500, attempts: 4, ms: 1750 }]);
  expect(verdicts[0]!.reason).toBe("500 from https://push.example.org; its window is over after 4 attempts");
});

test("P-03 each attempt carries the time left, and does not trust the pool after the first", async () => {
  const { world, relay, calls } = replying(500);
  sendTo(relay, { ttlMs: 5000 });
  await world.pass(60_000);
  expect(calls.map((call) => JSON.parse(call.init.body).ttl)).toEqual([5, 5, 5, 4, 2]);
  expect(calls.map((call) => call.init.keepalive)).toEqual([undefined, false, false, false, false]);
  expect(calls[0]!.init).toMatchObject({ redirect: "manual", decompress: false, tls: { rejectUnauthorized: true } });
});

test.each<[string, string, number[]]>([
  ["seconds", "7", [0, 7000]],
  ["a date", new Date(Date.parse("2026-01-02T03:04:12.000Z")).toUTCString(), [0, 6322]],
  ["zero", "0", [0, 250]],
  ["a date in the past", "Thu, 01 Jan 1970 00:00:00 GMT", [0, 250]],
  ["nonsense", "soon", [0, 250]],
])("P-04 Retry-After is respected: %s", async (_name, header, expected) => {
  const { world, relay, times } = replying([429, { "retry-after": header }], 200);
  const { verdicts } = sendTo(relay);
  await world.pass(60_000);
  expect(times()).toEqual(expected);
  expect(verdicts).toMatchObject([{ outcome: "accepted" }]);
});

test("P-04 a Retry-After beyond the window fails at once", async () => {
  const { relay } = replying([503, { "retry-after": "60" }]);
  const { verdicts } = sendTo(relay);
  await settle();
  expect(verdicts).toMatchObject([{ outcome: "failed", status: 503, attempts: 1 }]);
  expect(verdicts[0]!.reason).toContain("it asks to wait 60 s, longer than the window");
});

test("P-04 a receiver that hangs is given up after its timeout, and the push when its window ends", async () => {
  const { world, relay, calls, times } = replying("hang");
  const { verdicts } = sendTo(relay, { ttlMs: 12_000 });
  await world.pass(60_000);
  expect(times()).toEqual([0, 5250, 10_750]);
  expect(calls.every((call) => call.init.signal.aborted)).toBe(true);
  expect(verdicts).toMatchObject([{ outcome: "failed", status: 0, attempts: 3, ms: 12_000 }]);
  expect(verdicts[0]!.reason).toStartWith("https://push.example.org did not answer within 1.25 s");
});

test("P-04 the last real status is told even if later attempts hang", async () => {
  const { world, relay } = replying(503, "hang");
  const { verdicts } = sendTo(relay, { ttlMs: 4000 });
  await world.pass(60_000);
  expect(verdicts).toMatchObject([{ outcome: "failed", status: 503, attempts: 2 }]);
});

test("P-06 cancel during back-off: no further attempt, one verdict, no timer left", async () => {
  const { world, relay, calls } = replying(500, 200);
  const { verdicts, request } = sendTo(relay);
  await settle();
  expect(relay.cancel(request.uuid)).toBe(true);
  expect(verdicts).toEqual([]);
  await world.pass(60_000);
  expect(calls.length).toBe(1);
  expect(verdicts).toMatchObject([{ outcome: "failed", attempts: 1 }]);
  expect(verdicts[0]!.reason).toContain("cancelled");
  expect(relay.cancel(request.uuid)).toBe(false);
  expect(world.timers.size).toBe(0);
});

test("P-06 cancel while the request is under way: its answer counts, a retry is not made", async () => {
  const late = Promise.withResolvers<Response>();
  const world = new VirtualWorld(() => late.promise);
  const relay = new PushRelay(pushConfig({ acme: { url: "https://push.example.org/wake" } }), world);
  const first = sendTo(relay);
  const second = sendTo(relay);
  relay.cancel(first.request.uuid);
  late.resolve(new Response(null, { status: 410 }));
  await settle();
  expect(first.verdicts).toMatchObject([{ outcome: "dead" }]);
  expect(second.verdicts).toMatchObject([{ outcome: "dead" }]);

  const failing = replying(500);
  const third = sendTo(failing.relay);
  failing.relay.cancel(third.request.uuid);
  await failing.world.pass(60_000);
  expect(third.verdicts).toMatchObject([{ outcome: "failed", attempts: 1 }]);
  expect(failing.calls.length).toBe(1);
});

test("P-04 a backend takes so many at a time; the rest waits its turn in order", async () => {
  const { world, relay, calls } = replying("hang");
  const sent = Array.from({ length: MAX_IN_FLIGHT + 3 }, () => sendTo(relay, { ttlMs: 9000 }));
  expect(calls.length).toBe(MAX_IN_FLIGHT);
  expect(relay.backends()[0]).toMatchObject({ in_flight: MAX_IN_FLIGHT, waiting: 3 });
  await world.pass(5000);
  expect(calls.slice(MAX_IN_FLIGHT, MAX_IN_FLIGHT + 3).map((call) => JSON.parse(call.init.body).uuid))
    .toEqual(sent.slice(-3).map((one) => one.request.uuid));
  await world.pass(60_000);
  expect(sent.every((one) => one.verdicts.length === 1 && one.verdicts[0]!.outcome === "failed")).toBe(true);
  expect(world.timers.size).toBe(0);
});

test("P-04 a push whose window ends while it waits for its turn fails then", async () => {
  const { world, relay } = replying("hang");
  for (let i = 0; i < MAX_IN_FLIGHT; i++) sendTo(relay);
  const { verdicts } = sendTo(relay, { ttlMs: 1000 });
  await world.pass(1000);
  expect(verdicts).toMatchObject([{ outcome: "failed", attempts: 0 }]);
  expect(verdicts[0]!.reason).toContain("while it waited");
});

test("P-04 more pushes than the backend may hold fail at once and are counted", async () => {
  const { relay } = replying("hang");
  for (let i = 0; i < MAX_PENDING; i++) sendTo(relay);
  const { verdicts } = sendTo(relay);
  await settle();
  expect(verdicts).toMatchObject([{ outcome: "failed", attempts: 0 }]);
  expect(relay.backends()[0]).toMatchObject({ overflowed: 1, failed: 1, in_flight: MAX_IN_FLIGHT });
  relay.stop();
});

test("P-07 a crowd of refresh pushes leaves room for a call", async () => {
  const { relay, calls } = replying("hang");
  const refreshes = Array.from({ length: MAX_PENDING }, () => sendTo(relay, { event: "refresh" }));
  expect(calls.length).toBe(MAX_IN_FLIGHT / 2);
  sendTo(relay);
  expect(JSON.parse(calls.at(-1)!.init.body).event).toBe("call");
  await settle();
  expect(refreshes.filter((one) => one.verdicts.length === 1).length).toBe(MAX_PENDING / 2);
  relay.stop();
});

test("P-07 a crowd that was served makes room for the next", async () => {
  const { relay } = replying(200);
  const outcomes = new Set<string>();
  for (let round = 0; round < 3; round++) {
    const crowd = Array.from({ length: MAX_PENDING / 2 }, () => sendTo(relay, { event: "refresh" }));
    while (relay.backends()[0]!.waiting > 0 || relay.backends()[0]!.in_flight > 0) await settle();
    for (const one of crowd) outcomes.add(one.verdicts[0]!.outcome);
  }
  expect([...outcomes]).toEqual(["accepted"]);
});

test("P-03 P-04 what is told to others, or by them, is the system's time, whatever ours began with", async () => {
  const { world, relay, calls, times } = replying([503, { "retry-after": "Wed, 01 Jul 2026 12:00:10 GMT" }], 200);
  // A box without a battery: NTP came after the start.
  world.nowMs = Date.parse("1970-01-01T00:00:07Z");
  world.systemAheadMs = Date.parse("2026-07-01T12:00:00Z") - world.nowMs;
  const { verdicts } = sendTo(relay);
  await world.pass(20_000);
  expect(verdicts).toMatchObject([{ outcome: "accepted", attempts: 2 }]);
  expect(calls.map(({ init }) => JSON.parse(init.body).sent_at)).toEqual([
    "2026-07-01T12:00:00.000Z",
    "2026-07-01T12:00:10.000Z",
  ]);
  expect(times().length).toBe(2);
});

test("P-03 P-06 a push that lives for a day says so to its service, and is tried for minutes only", async () => {
  const { world, relay, calls, times } = replying(503);
  const { verdicts } = sendTo(relay, { event: "missed", ttlMs: 86_400_000 });
  await world.pass(MAX_WINDOW_MS);
  expect(verdicts).toMatchObject([{ outcome: "failed" }]);
  expect(times().at(-1)).toBeLessThan(MAX_WINDOW_MS);
  expect(JSON.parse(calls[0]!.init.body).ttl).toBe(86_400);
  expect(JSON.parse(calls.at(-1)!.init.body).ttl).toBe(Math.ceil(86_400 - times().at(-1)! / 1000));
  await world.pass(86_400_000);
  expect(verdicts.length).toBe(1);
});

test("P-07 a device gets so many call pushes a minute", async () => {
  const { world, relay, calls } = replying(200);
  const outcomes: string[] = [];
  const ring = async (): Promise<void> => {
    const { verdicts } = sendTo(relay, { device: "alice1" });
    await settle();
    outcomes.push(verdicts[0]!.outcome + (verdicts[0]!.outcome === "refused" ? ` ${verdicts[0]!.reason}` : ""));
  };
  for (let i = 0; i < CALL_PUSHES_PER_MINUTE; i++) await ring();
  await ring();
  expect(outcomes.at(-1)).toStartWith("refused rate limited");
  expect(calls.length).toBe(CALL_PUSHES_PER_MINUTE);
  const others = [sendTo(relay, { device: "alice2" })];
  for (let i = 0; i < 50; i++) others.push(sendTo(relay, { device: "alice1", event: "cancel" }));
  await settle();
  expect(others.every((one) => one.verdicts[0]!.outcome === "accepted")).toBe(true);
  await world.pass(60_000);
  await ring();
  expect(outcomes.at(-1)).toBe("accepted");
});

test("P-07 the other events of a device have a limit each, of their own", async () => {
  const { relay, calls } = replying(200);
  for (let i = 0; i <= OTHER_PUSHES_PER_MINUTE; i++) sendTo(relay, { device: "alice1", event: "message" });
  expect(calls.length).toBe(OTHER_PUSHES_PER_MINUTE);
  sendTo(relay, { device: "alice1", event: "refresh" });
  await settle();
  expect(calls.length).toBe(OTHER_PUSHES_PER_MINUTE + 1);
});

test("P-07 S-03 pushes are counted in an htable, where an admin may clear a device's, and no token is shown", async () => {
  const { world, relay } = replying(200);
  const ring = async (device: string): Promise<PushVerdict> => {
    const { verdicts } = sendTo(relay, { device });
    await settle();
    return verdicts[0]!;
  };
  for (let i = 0; i <= CALL_PUSHES_PER_MINUTE; i++) await ring("alice1");
  await ring("");
  expect(world.rates.list(world.nowMs)).toMatchObject([
    { key: "call:alice1", value: "11", expiresAtMs: world.nowMs + 60_000 },
    { key: expect.stringMatching(/^call:[\w-]{16}$/), value: "1" },
  ]);
  expect(await ring("alice1")).toMatchObject({ outcome: "refused", isRateLimited: true });
  world.rates.delete("call:alice1", world.nowMs);
  expect(await ring("alice1")).toMatchObject({ outcome: "accepted" });
  world.rates.set("call:alice1", "no number", undefined, world.nowMs);
  expect(await ring("alice1")).toMatchObject({ outcome: "accepted" });
});

test.each<[string, Partial<PushRequest>, string]>([
  [
    "an unknown provider",
    { provider: "other" },
    "no backend for provider other; add push.http.other or push.webhook.other",
  ],
  [
    "a service that is not set up",
    { provider: "fcm" },
    "no backend for provider fcm; set push.fcm, or add push.http.fcm or push.webhook.fcm",
  ],
  [
    "a word of the language",
    { provider: "__proto__" },
    "no backend for provider __proto__; add push.http.__proto__ or push.webhook.__proto__",
  ],
  ["no token", { prid: "" }, "the device has no push token"],
  ["a huge token", { prid: "x".repeat(4097) }, "its push parameters are too long"],
])("P-01 refused without an attempt: %s", async (_name, changes, reason) => {
  const { relay, calls } = replying(200);
  const { verdicts } = sendTo(relay, changes);
  expect(verdicts).toEqual([]);
  await settle();
  expect(verdicts).toMatchObject([{ outcome: "refused", status: 0, reason, attempts: 0 }]);
  expect(calls).toEqual([]);
});

test("P-03 what cannot fit into a push is refused", async () => {
  const { relay, calls } = replying(200);
  const { verdicts } = sendTo(relay, { callId: "c".repeat(5000) });
  await settle();
  expect(verdicts).toMatchObject([{ outcome: "refused" }]);
  expect(calls).toEqual([]);
});

test.each([0, -1, Number.NaN])("P-03 a push with a window of %d ms fails without an attempt", async (ttlMs) => {
  const { relay, calls } = replying(200);
  const { verdicts } = sendTo(relay, { ttlMs });
  await settle();
  expect(verdicts).toMatchObject([{ outcome: "failed", attempts: 0 }]);
  expect(calls).toEqual([]);
});

test("P-01 the backend is chosen by provider, then the star", async () => {
  const world = new VirtualWorld();
  const urls: string[] = [];
  world.fetch = (url) => {
    urls.push(url);
    return Promise.resolve(new Response());
  };
  const relay = new PushRelay(pushConfig({ acme: { url: "http://a/" }, "*": { url: "http://rest/" } }), world);
  sendTo(relay);
  sendTo(relay, { provider: "apns" });
  await settle();
  expect(urls).toEqual(["http://a/", "http://rest/"]);
  expect(relay.serves("whatever")).toBe(true);
  expect(replying(200).relay.serves("whatever")).toBe(false);
});

test("P-07 one uuid is one push", async () => {
  const { relay, calls } = replying("hang");
  const first = sendTo(relay, { uuid: "same" });
  const second = sendTo(relay, { uuid: "same" });
  await settle();
  expect(second.verdicts).toMatchObject([{ outcome: "refused", reason: "push same is under way already" }]);
  expect(first.verdicts).toEqual([]);
  expect(calls.length).toBe(1);
  relay.stop();
});

test("P-08 a push to a bare token returns the verdict", async () => {
  const { relay, calls } = replying([400, {}, "bad token"]);
  const verdict = await relay.testPush({ provider: "ACME", param: "app", prid: "token-9" });
  expect(verdict).toMatchObject({ provider: "acme", outcome: "refused", status: 400 });
  expect(verdict.reason).toBe("400 from https://push.example.org: bad token");
  expect(JSON.parse(calls[0]!.init.body)).toMatchObject({ event: "test", param: "app", prid: "token-9", ttl: 10 });
});

test("P-08 health and last results tell what happened, and no token", async () => {
  const { world, relay } = replying(200, 410, 401);
  expect(relay.backends()[0]).toMatchObject({ provider: "acme", host: "https://push.example.org", state: "unused" });
  for (let i = 0; i < 3; i++) await relay.sendNow(pushRequest({ prid: "very-secret" }));
  await world.pass(1);
  expect(relay.backends()[0]).toMatchObject({
    state: "failing",
    sent: 3,
    accepted: 1,
    dead: 1,
    refused: 1,
    failed: 0,
    in_flight: 0,
    last_error: "401 from https://push.example.org; check push.webhook.acme.token_file",
  });
  expect(relay.recent().map((push) => [push.status, push.outcome, push.accepted, push.backend])).toEqual([
    [401, "refused", false, "webhook.acme"],
    [410, "dead", false, "webhook.acme"],
    [200, "accepted", true, "webhook.acme"],
  ]);
  expect(JSON.stringify([relay.recent(), relay.backends()])).not.toContain("very-secret");
  for (let i = 0; i < MAX_RECENT; i++) await relay.sendNow(pushRequest());
  expect(relay.recent().length).toBe(MAX_RECENT);
});

test("P-04 one dead or bad token does not make the backend look ill, its recovery shows", async () => {
  const { world, relay } = replying(500, 400, 410);
  const first = relay.sendNow(pushRequest());
  await settle();
  expect(relay.backends()[0]!.state).toBe("failing");
  await world.pass(1000);
  await first;
  expect(relay.backends()[0]!.state).toBe("ok");
  await relay.sendNow(pushRequest());
  expect(relay.backends()[0]!.state).toBe("ok");
});

test("stop gives every push its verdict and lets go of connections and timers", async () => {
  const { world, relay, calls } = replying("hang");
  const sent = Array.from({ length: MAX_IN_FLIGHT + 2 }, () => sendTo(relay));
  relay.stop();
  const after = sendTo(relay);
  await settle();
  expect([...sent, after].every((one) => one.verdicts.length === 1 && one.verdicts[0]!.outcome === "failed")).toBe(
    true,
  );
  expect(calls.length).toBe(MAX_IN_FLIGHT);
  expect(calls.every((call) => call.init.signal.aborted)).toBe(true);
  expect(world.timers.size).toBe(0);
});

test("O-02 a token that cannot be used is a problem in words, and its pushes are refused", async () => {
  const world = new VirtualWorld(() => Promise.resolve(new Response()));
  const hook = { url: "https://h/", token_file: "/token" };
  const relay = (): PushRelay => new PushRelay(pushConfig({ acme: hook }), world);
  expect(relay().problems()).toEqual(["Cannot read push.webhook.acme.token_file /token: ENOENT"]);
  for (const secret of ["", "\n", "two words", "line\r\nHost: x", "ключ"]) {
    world.secrets.set("/token", secret);
    expect(relay().problems().length).toBe(1);
    const verdict = await relay().sendNow(pushRequest());
    expect(verdict.outcome).toBe("refused");
    if (secret.trim() !== "") expect(verdict.reason).not.toContain(secret.trim());
  }
  expect(relay().backends()[0]!.state).toBe("broken");
  const urls = ["", "ftp://h/", "https://user:secret@h/"];
  const problems = urls.map((url) => new PushRelay(pushConfig({ acme: { url } }), world).problems()[0]);
  expect(problems.every((problem) => problem!.startsWith("push.webhook.acme.url"))).toBe(true);
  expect(problems.join()).not.toContain("secret");
});

test("O-05 reload reads the token again, keeps one that worked, and keeps counters", async () => {
  const tokens: (string | undefined)[] = [];
  const world = new VirtualWorld((_url, init) => {
    tokens.push(init.headers.authorization);
    return Promise.resolve(new Response());
  });
  world.secrets.set("/token", "one\n");
  const config = pushConfig({ acme: { url: "https://h/", token_file: "/token" } });
  const relay = new PushRelay(config, world);
  await relay.sendNow(pushRequest());
  world.secrets.set("/token", "two\n");
  expect(relay.reload(config)).toEqual([]);
  await relay.sendNow(pushRequest());
  world.secrets.delete("/token");
  expect(relay.reload(config)).toEqual([
    "Cannot read push.webhook.acme.token_file /token: ENOENT; the old one is kept",
  ]);
  await relay.sendNow(pushRequest());
  expect(tokens).toEqual(["Bearer one", "Bearer two", "Bearer two"]);
  expect(relay.backends()[0]!.accepted).toBe(3);
});

test("O-05 pushes under way end at the old address after a reload, and stop ends them too", async () => {
  const { world, relay, calls } = replying(500, 200);
  const first = sendTo(relay);
  await settle();
  relay.reload(pushConfig({ acme: { url: "https://new.example.org/" } }));
  await relay.sendNow(pushRequest());
  await world.pass(1000);
  expect(calls.map((call) => new URL(call.url).host)).toEqual([
    "push.example.org",
    "new.example.org",
    "push.example.org",
  ]);
  expect(first.verdicts).toMatchObject([{ outcome: "accepted" }]);

  const hanging = replying("hang");
  const second = sendTo(hanging.relay);
  hanging.relay.reload(pushConfig({}));
  hanging.relay.stop();
  await settle();
  expect(second.verdicts).toMatchObject([{ outcome: "failed" }]);
});

test("the observer hears every verdict with a bounded backend label", async () => {
  const heard: string[] = [];
  const world = new VirtualWorld(() => Promise.resolve(new Response()));
  const relay = new PushRelay(pushConfig({ "*": { url: "https://h/" } }), world, {
    verdict: (verdict, request, backend) => heard.push(`${request.event} ${backend} ${verdict.outcome}`),
  });
  await relay.sendNow(pushRequest({ provider: "x1" }));
  await new PushRelay(pushConfig({}), world, {
    verdict: (_verdict, _request, backend) => heard.push(backend),
  }).sendNow(pushRequest());
  expect(heard).toEqual(["call webhook.* accepted", "none"]);
});
