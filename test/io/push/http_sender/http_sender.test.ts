/** Senders of `push.http` against real receivers on loopback, through the relay. Time for back-off is virtual (P-10, P-04). */
import { afterEach, expect, test } from "bun:test";
import { PushRelay } from "../../../../src/io/push/relay.ts";
import type { PushRequest } from "../../../../src/io/push/types.ts";
import { pushConfig, pushRequest, VirtualWorld } from "../virtual_world.ts";
import { sendersOf } from "./senders.ts";

const cleanups: (() => void)[] = [];
afterEach(() => {
  for (const cleanup of cleanups.splice(0)) cleanup();
});

interface Seen {
  method: string;
  path: string;
  headers: Headers;
  body: string;
}

function receiver(answer: (seen: Seen, count: number) => Response = () => new Response("ok")) {
  const seen: Seen[] = [];
  const server = Bun.serve({
    port: 0,
    hostname: "127.0.0.1",
    async fetch(request) {
      const { pathname, search } = new URL(request.url);
      const one = {
        method: request.method,
        path: pathname + search,
        headers: request.headers,
        body: await request.text(),
      };
      seen.push(one);
      return answer(one, seen.length);
    },
  });
  cleanups.push(() => void server.stop(true));
  return { url: `http://127.0.0.1:${server.port}`, seen };
}

/** A relay with senders in YAML, and the secret files that they name. */
function relayWith(yaml: string, secrets: Record<string, string> = {}, privacy: "full" | "id" = "full") {
  const world = new VirtualWorld();
  for (const [file, text] of Object.entries(secrets)) world.secrets.set(file, text);
  const config = { ...pushConfig({}), http: sendersOf(yaml), privacy };
  const relay = new PushRelay(config, world);
  cleanups.push(() => relay.stop());
  const send = (changes: Partial<PushRequest> = {}) => relay.sendNow(pushRequest({ provider: "own", ...changes }));
  return { world, relay, send, config };
}

test("P-10 one line of config: method, path, query, headers, a secret from a file, JSON", async () => {
  const { url, seen } = receiver();
  const { send } = relayWith(
    `own:
  url: "${url}/v1/{prid}?who={from_name}"
  method: PUT
  headers: { X-Api-Key: { file: /key }, X-Call: "{call_id}", X-Name: "{from_name}" }
  json: { to: "{prid}", call: { id: "{call_id}", name: "{from_name}" }, wake: "{ttl}" }`,
    { "/key": "s3cret key\n" },
  );
  const fromName = Buffer.from('Zoë "},{"x":"').toString("latin1");
  const verdict = await send({ prid: "a:b?c", callId: "x@y", fromName });
  expect(verdict).toMatchObject({ outcome: "accepted", status: 200, attempts: 1 });
  const [got] = seen;
  expect(got!.method).toBe("PUT");
  expect(got!.path).toBe(`/v1/a%3Ab%3Fc?who=${encodeURIComponent('Zoë "},{"x":"')}`);
  expect(got!.headers.get("x-api-key")).toBe("s3cret key");
  expect(got!.headers.get("x-call")).toBe("x@y");
  expect(got!.headers.get("x-name")).toBe(`=?UTF-8?B?${Buffer.from('Zoë "},{"x":"').toString("base64")}?=`);
  expect(got!.headers.get("content-type")).toBe("application/json");
  expect(JSON.parse(got!.body)).toEqual({ to: "a:b?c", call: { id: "x@y", name: 'Zoë "},{"x":"' }, wake: 30 });
});

test("P-10 each event as the config says: another request, a longer path, or none; a test is sent as a call", async () => {
  const { url, seen } = receiver();
  const { send, relay } = relayWith(`own:
  url: "${url}/{prid}"
  form: { e: "{event}", id: "{call_id}", r: "{reason}" }
  events: { cancel: { method: DELETE, path: "/{call_key}", form: null }, missed: { text: "Missed {from_name}" }, refresh: null }`);
  await send({ event: "call", callId: "c1" });
  await send({ event: "cancel", callId: "c1", reason: "caller_gave_up" });
  await send({ event: "missed", callId: "c1" });
  await send({ event: "test" });
  expect(seen.map(({ method, path, body }) => [method, path.replace(/[\w-]{22}$/, "KEY"), body])).toEqual([
    ["POST", "/token-1", "e=call&id=c1&r="],
    ["DELETE", "/token-1/KEY", ""],
    ["POST", "/token-1", "Missed Bob"],
    ["POST", "/token-1", "e=test&id=a84b4c76e66710%40pc33&r="],
  ]);
  expect(await send({ event: "refresh" })).toMatchObject({
    outcome: "refused",
    status: 0,
    reason: "push.http.own sends no refresh pushes",
  });
  // It is no fault of the service.
  expect(relay.backends()[0]).toMatchObject({ backend: "http.own", state: "ok", refused: 0, last_error: "" });
});

test.each<[status: number, body: string, answers: string, outcome: string, words: string]>([
  [200, "", "{}", "accepted", ""],
  [404, "", "{}", "dead", "the token is dead; if every phone's is, push.http.own.url is wrong"],
  [410, "", "{}", "dead", "the token is dead"],
  [400, "bad", "{}", "refused", ": bad"],
  [401, "", "{}", "refused", "check what push.http.own says who it is"],
  [307, "", "{}", "refused", "redirects are not followed, put the final address into push.http.own.url"],
  [404, "", "{ refused: 404 }", "refused", "check push.http.own.url"],
  [400, "", "{ dead: 4xx }", "dead", "the token is dead"],
  [400, "Unknown TOKEN here", '{ dead: "unknown token" }', "dead", "the token is dead"],
  [200, "unknown token", '{ dead: "unknown token" }', "accepted", ""],
  [200, '{"code":404}', "{ dead: { field: code, is: 404 } }", "dead", "the token is dead"],
  [200, '{"a":{"b":true}}', "{ accepted: { field: a.b, is: true } }", "accepted", ""],
  [200, '{"a":{"b":false}}', "{ accepted: { field: a.b, is: true } }", "refused", "answers.accepted of push.http.own"],
  [200, '{"__proto__":1}', "{ dead: { field: constructor, is: x } }", "accepted", ""],
  [202, "", "{ accepted: 202 }", "accepted", ""],
  [200, "", "{ accepted: 202 }", "refused", "answers.accepted of push.http.own"],
  [200, "queued: 1", '{ accepted: "QUEUED" }', "accepted", ""],
  [200, "unknown user", '{ accepted: "queued" }', "refused", "answers.accepted of push.http.own"],
  [503, '{"error":"Unregistered"}', '{ dead: ["BadDeviceToken", "Unregistered"] }', "dead", "the token is dead"],
])("P-10 P-04 %d %s with answers %s: %s", async (status, body, answers, outcome, words) => {
  const { url } = receiver(() => new Response(body, { status, headers: { location: "http://127.0.0.1:1/" } }));
  const verdict = await relayWith(`own: { url: "${url}/x", json: {}, answers: ${answers} }`).send({ ttlMs: 100 });
  expect(verdict).toMatchObject({ outcome, status, attempts: 1 });
  expect(verdict.reason).toContain(words);
});

test("P-04 retry by rule and by default, with Retry-After, inside the window", async () => {
  const answers = [400, 429, 503, 200];
  const { url, seen } = receiver((_seen, count) =>
    new Response("", { status: answers[count - 1]!, headers: { "retry-after": "2" } })
  );
  const { world, send } = relayWith(`own: { url: "${url}/x", json: { u: "{uuid}" }, answers: { retry: 400 } }`);
  const verdict = send();
  for (let i = 0; i < 3; i++) {
    await world.timerSet(2000);
    await world.pass(2000);
  }
  expect(await verdict).toMatchObject({ outcome: "accepted", attempts: 4, ms: 6000 });
  expect(new Set(seen.map(({ body }) => body)).size).toBe(1);
});

test("P-10 a caller who is called as a dead token is makes none dead where the service says again what it was sent", async () => {
  const { url } = receiver(({ body }) => new Response(`invalid title in ${body}`, { status: 400 }));
  const yaml = `own: { url: "${url}/x", json: { t: "{from_name} {from_user}" }, answers: { dead: "unknown token" } }`;
  const { send } = relayWith(yaml);
  expect(await send({ fromName: "Unknown Token" })).toMatchObject({ outcome: "refused" });
  expect(await send({ fromName: "unknown\r\ntoken" })).toMatchObject({ outcome: "refused" });
  expect(await send({ fromName: "unknown", fromUri: "sip:token@a" })).toMatchObject({ outcome: "refused" });
  expect(await send({ fromName: "Bob" })).toMatchObject({ outcome: "refused" });
});

test("P-10 no name and no token makes a request go to another host", async () => {
  const asked: string[] = [];
  const world = new VirtualWorld((url) => {
    asked.push(new URL(url).origin);
    return Promise.resolve(new Response(""));
  });
  const http = sendersOf(`own: { url: "https://a.example/{prid}?p={param}", json: {} }
bare: { url: "https://b.example", json: { to: "{prid}" }, events: { call: { path: "/{prid}" } } }`);
  const relay = new PushRelay({ ...pushConfig({}), http }, world);
  cleanups.push(() => relay.stop());
  const hostile = [
    "//evil.example/",
    "@evil.example/",
    "\\\\evil.example",
    ".evil.example",
    ":80@evil.example",
    "#",
    "?",
    "http://evil.example",
    "%2f%2fevil.example",
    "/../../evil.example",
    "a b",
    "\u3002evil.example",
  ];
  for (const prid of hostile) {
    for (const provider of ["own", "bare"]) {
      await relay.sendNow(pushRequest({ provider, prid, param: prid, ttlMs: 100 }));
    }
  }
  expect([...new Set(asked)].sort()).toEqual(["https://a.example", "https://b.example"]);
});

test("P-10 secrets and the phone's token are in no reason, health or result, even if the service echoes them", async () => {
  const { url } = receiver(({ headers, body, path }) =>
    new Response(`${headers.get("authorization")} ${headers.get("x-a")} ${body} ${path}`, { status: 400 })
  );
  const { relay, send } = relayWith(
    `own: { url: "${url}/hook/hidden-path", token_file: /token, headers: { X-A: { file: /a } }, json: { to: "{prid}" } }`,
    { "/token": "s3cret", "/a": "Key another-secret" },
  );
  const verdict = await send({ prid: "phone-token-1,part-two-of-it" });
  expect(verdict.reason).toContain("Bearer ***");
  const told = JSON.stringify([verdict, relay.backends(), relay.recent()]);
  for (const secret of ["s3cret", "another-secret", "phone-token-1", "part-two-of-it"]) {
    expect(told).not.toContain(secret);
  }
});

test("P-10 a secret that is missing, empty or of two lines is told, and read again by a reload", async () => {
  const { url, seen } = receiver();
  const { world, relay, send, config } = relayWith(`own: { url: "${url}/x", token_file: /token, json: {} }`);
  expect(relay.problems()).toEqual(["Cannot read push.http.own.token_file /token: ENOENT"]);
  expect(relay.serves("own")).toBe(false);
  expect(await send()).toMatchObject({ outcome: "refused" });
  world.secrets.set("/token", "a\r\nx-evil: 1");
  expect(relay.reload(config)).toEqual([
    "push.http.own.token_file /token must hold one token of visible ASCII characters",
  ].map(() => "Cannot read push.http.own.token_file /token: ENOENT"));
  world.secrets.set("/token", "good");
  expect(relay.reload(config)).toEqual([]);
  expect(relay.serves("own")).toBe(true);
  await send();
  expect(seen[0]!.headers.get("authorization")).toBe("Bearer good");
});

test("P-10 a huge or packed answer is read to its bound only", async () => {
  const { url } = receiver(() => new Response("x".repeat(10_000_000), { status: 400 }));
  const verdict = await relayWith(`own: { url: "${url}/x", json: {} }`).send();
  expect(verdict.outcome).toBe("refused");
  expect(verdict.reason.length).toBeLessThan(300);
  const packed = receiver(() =>
    new Response(Bun.gzipSync(Buffer.from('{"code":404}')), { headers: { "content-encoding": "gzip" } })
  );
  const yaml = `own: { url: "${packed.url}/x", json: {}, answers: { dead: { field: code, is: 404 } } }`;
  expect((await relayWith(yaml).send()).outcome).toBe("accepted");
});

test("P-13 with privacy id a push carries nothing of the caller but the Call-ID", async () => {
  const { url, seen } = receiver();
  const yaml =
    `own: { url: "${url}/x", json: { id: "{call_id}", n: "{from_name}", u: "{from_user}", f: "{from_uri}", c: "{caller}", to: "{to_user}" } }`;
  const { relay, send, config } = relayWith(yaml, {}, "id");
  await send({ callId: "c@1" });
  expect(JSON.parse(seen[0]!.body)).toEqual({ id: "c@1", n: "", u: "", f: "", c: "Unknown caller", to: "alice" });
  relay.reload({ ...config, privacy: "full" });
  await send({ callId: "c@1" });
  expect(JSON.parse(seen[1]!.body)).toMatchObject({ n: "Bob", u: "bob" });
});

test("O-02 a sender is connected to and nothing is sent, or asked what its config calls harmless", async () => {
  const { url, seen } = receiver();
  const ask = async (yaml: string, token = "good") => {
    const { relay } = relayWith(yaml, { "/token": token });
    return (await relay.ask([], 4000)).map(({ part, answer }) => `${part} ${answer.state}: ${answer.words}`);
  };
  expect(await ask(`own: { url: "${url}/x", json: {} }`)).toEqual([`push.http.own ok: ${url} takes connections`]);
  expect(seen).toEqual([]);
  const asking = `own: { url: "${url}/x/{prid}", token_file: /token, json: {}, ask: "/v1/account?a={token}" }`;
  expect(await ask(asking)).toEqual([`push.http.own ok: ${url} answers 200`]);
  expect(seen.map(({ method, path }) => [method, path])).toEqual([["GET", "/v1/account?a=good"]]);
});

test("O-02 a question that is refused says what to check, and shows no token", async () => {
  const { url } = receiver(({ headers }) => new Response(`no: ${headers.get("authorization")}`, { status: 401 }));
  const { relay } = relayWith(`own: { url: "${url}/x", token_file: /token, json: {}, ask: /me }`, {
    "/token": "s3cret",
  });
  const [asked] = await relay.ask([], 4000);
  expect(asked!.answer).toMatchObject({
    state: "failed",
    words: `${url} answers 401: no: Bearer ***; check push.http.own.token_file`,
  });
});

test("P-02 a sender is announced as the other services are, and an unknown provider is told what to add", async () => {
  const { relay } = relayWith(`own: { url: "http://127.0.0.1:9/x", json: {} }`);
  expect(relay.services()).toEqual(["own"]);
  expect(relay.serves("own")).toBe(true);
  const verdict = await relay.sendNow(pushRequest({ provider: "nobody" }));
  expect(verdict.reason).toBe("no backend for provider nobody; add push.http.nobody or push.webhook.nobody");
});
