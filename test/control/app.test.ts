import { expect, test } from "bun:test";
import { createECDH, ECDH } from "node:crypto";
import { existsSync } from "node:fs";
import { controlApp } from "../../src/control/app.ts";
import { ApiError } from "../../src/control/api_error.ts";
import { methodsOf } from "../../src/control/route.ts";
import { ROUTES } from "../../src/control/routes.ts";
import { TestHost } from "./test_host.ts";

/** The public key of a subscription. */
const POINT = createECDH("prime256v1").generateKeys();

const ENTRANCE = { address: "127.0.0.1", isUnix: false, keepOpen: () => {} };

function open(options: { token?: string; entrance?: Partial<typeof ENTRANCE> } = {}) {
  const host = new TestHost();
  const app = controlApp(host, () => options.token ?? "");
  const ask = async (
    method: string,
    path: string,
    body?: string | ReadableStream,
    headers: Record<string, string> = {},
  ) =>
    await app.fetch(
      new Request("http://127.0.0.1:8060" + path, {
        method,
        ...(body === undefined ? {} : { body }),
        headers: { host: "127.0.0.1:8060", ...headers },
      }),
      { ...ENTRANCE, ...options.entrance },
    );
  return { host, ask };
}

test("every route of the table is answered by its handler", async () => {
  for (const route of ROUTES) {
    const { host, ask } = open();
    const path = route.path.replace("{aor}", "alice%40example.org").replace("/calls/{id}", `/calls/${host.call()}`)
      .replace("{id}", "d0").replace("{b}", "1").replace("{t}", "seen").replace("{key}", "k");
    if (route.id === "htableGet" || route.id === "htableDelete") await ask("PUT", path, "1");
    const body: Record<string, string> = {
      putDevice: '{"contact":"sip:a@b"}',
      addBranch: '{"contact":"sip:bob@192.0.2.9"}',
      push: '{"aor":"alice"}',
      setLog: '{"level":"debug"}',
    };
    const answer = await ask(route.method, path, route.method === "GET" ? undefined : body[route.id] ?? "");
    expect([route.id, answer.status]).toEqual([route.id, route.status]);
    const type = answer.headers.get("content-type")?.split(";")[0] ?? null;
    const described = route.status === 204 ? null : route.produces ?? "application/json";
    expect([route.id, type]).toEqual([route.id, described]);
    if (type === "application/json") {
      const body = await answer.json() as Record<string, unknown>;
      expect([route.id, Array.isArray(body.items) && "next" in body]).toEqual([route.id, route.isList]);
    } else await answer.body?.cancel();
  }
});

test("GET / lists the routes with a curl line each", async () => {
  const { ask } = open();
  const { items } = await (await ask("GET", "/")).json() as { items: { method: string; path: string; curl: string }[] };
  expect(items.length).toBe(ROUTES.length);
  for (const { method, curl } of items) {
    expect(curl).toContain("http://127.0.0.1:8060/");
    if (method !== "GET") expect(curl).toStartWith(`curl -X ${method} `);
    // A bare ? is a pattern to zsh, a bare & ends the command everywhere.
    expect(curl.replace(/'[^']*'/g, "")).not.toMatch(/[?&]/);
  }
  const text = await (await ask("GET", "/?format=text")).text();
  expect(text).toContain("GET /v1/locations/{aor}\n");
  expect(text).toContain("    curl 'http://127.0.0.1:8060/v1/trace?aor=");
});

test("GET /openapi.json describes every route", async () => {
  const { ask } = open();
  const document = await (await ask("GET", "/openapi.json")).json() as {
    openapi: string;
    paths: Record<string, Record<string, { operationId: string; parameters: { name: string }[]; responses: object }>>;
  };
  expect(document.openapi).toBe("3.1.0");
  const found = Object.values(document.paths).flatMap((path) =>
    Object.values(path).map(({ operationId }) => operationId)
  );
  expect(found.toSorted()).toEqual(ROUTES.map(({ id }) => id).toSorted());
  const parameters = document.paths["/v1/htables/{t}/{key}"]!.put!.parameters.map(({ name }) => name);
  expect(parameters).toEqual(["t", "key", "ttl"]);
  for (const { path, method, status } of ROUTES) {
    const { responses } = document.paths[path]![method.toLowerCase()]!;
    expect([path, Object.keys(responses)]).toEqual([path, expect.arrayContaining([String(status), "default"])]);
  }
});

test("an AoR in a path is percent-decoded once, and a bare user is completed", async () => {
  const { ask } = open();
  const cases: [string, number][] = [
    ["alice%40example.org", 200],
    ["alice@example.org", 200],
    ["alice%40Example.ORG", 200],
    ["alice", 200],
    ["alice%2540example.org", 404],
    ["carol", 404],
    ["a%20b", 400],
  ];
  for (const [path, status] of cases) {
    expect([path, (await ask("GET", "/v1/locations/" + path)).status]).toEqual([path, status]);
  }
});

test("a key of a table may hold any character", async () => {
  const { host, ask } = open();
  for (const key of ["192.0.2.7", "2001:db8::1", "a/b", "a%b", "ä b", "%2F"]) {
    const path = "/v1/htables/seen/" + encodeURIComponent(key);
    expect((await ask("PUT", path, "1")).status).toBe(200);
    expect(host.htables.get("seen")!.get(key, host.turn.nowMs)).toBe("1");
    expect((await ask("DELETE", path)).status).toBe(204);
  }
});

test("an unknown path is 404, a known one with another method 405 and says which", async () => {
  const { ask } = open();
  const unknown = await ask("GET", "/v2/calls");
  expect(unknown.status).toBe(404);
  expect(await unknown.json()).toEqual({
    error: { code: "unknown_route", message: "There is no such path", hint: "GET / lists the routes" },
  });
  const wrong = await ask("PATCH", "/v1/htables/banned/k");
  expect(wrong.status).toBe(405);
  expect(wrong.headers.get("allow")).toBe("HEAD, GET, PUT, DELETE");
  expect((await wrong.json() as { error: { code: string } }).error.code).toBe("method_not_allowed");
  expect((await ask("GET", "/v1/drain")).headers.get("allow")).toBe("POST");
  expect((await ask("HEAD", "/v1/info")).status).toBe(200);
  expect(methodsOf(ROUTES, "/v1/calls//ladder")).toEqual([]);
});

test("an error has code, message and hint, and its status", async () => {
  const { ask } = open();
  const answer = await ask("GET", "/v1/locations/carol?format=text");
  expect(answer.status).toBe(404);
  expect(await answer.json()).toEqual({
    error: {
      code: "unknown_aor",
      message: "carol@example.org is not registered",
      hint: "GET /v1/locations lists who is",
    },
  });
});

test("X-04 a fault of ours tells the log, not the client", async () => {
  const { host, ask } = open();
  host.readiness = () => {
    throw new TypeError("secret detail");
  };
  const answer = await ask("GET", "/readyz");
  expect(answer.status).toBe(500);
  expect(await answer.text()).not.toContain("secret detail");
  expect(host.logged[0]).toContain("secret detail");
});

test("?format and Accept choose text; anything else is JSON", async () => {
  const { ask } = open();
  const cases: [string, Record<string, string>, string][] = [
    ["/v1/info", {}, "application/json"],
    ["/v1/info", { accept: "*/*" }, "application/json"],
    ["/v1/info", { accept: "text/html,*/*" }, "application/json"],
    ["/v1/info", { accept: "text/plain" }, "text/plain; charset=utf-8"],
    ["/v1/info?format=text", { accept: "application/json" }, "text/plain; charset=utf-8"],
    ["/v1/info?format=json", { accept: "text/plain" }, "application/json"],
  ];
  for (const [path, headers, type] of cases) {
    expect((await ask("GET", path, undefined, headers)).headers.get("content-type")).toBe(type);
  }
  expect((await ask("GET", "/v1/info?format=xml")).status).toBe(400);
});

test("text answers are the tables of the command line", async () => {
  const { host, ask } = open();
  const text = async (path: string) => await (await ask("GET", path + "format=text")).text();
  expect(await text("/v1/locations?")).toBe(
    "AOR                DEVICE  KIND    EXPIRES  NEXT          AT PBX  RENEWED BY  FLOW                 PUSH        USER AGENT\n" +
      "alice@example.org  d0      mobile    1m 1s  push in 31s  59m 59s  its phone   udp 192.0.2.7:40123  acme valid  Linphone\n" +
      "bob@example.org    d1      mobile    1m 1s  push in 31s  59m 59s  its phone   udp 192.0.2.7:40123  acme valid  Linphone\n",
  );
  expect(await text("/v1/locations?limit=1&")).toEndWith("(more, continue after alice@example.org)\n");
  const call = host.call({ isSilent: true });
  host.rig.pass(1234);
  expect(await text("/v1/silo?")).toContain("1.2 s  yes");
  host.answer();
  expect(await text("/v1/calls?")).toContain("answered by alice/1");
  expect(await text(`/v1/calls/${call}?`)).toStartWith(`call ${call}  "Bob" <sip:bob@example.org> → alice@example.org`);
  expect(await text("/v1/htables?")).toContain("banned        0  10000  10m  yes");
  expect(await text("/v1/push?")).toBe("no push backends\n");
  expect(await text("/v1/status?")).toContain("registered  2 devices of 2 AoRs");
  expect(await text("/v1/info?")).toContain("uptime   1d 1h");
  expect(await text("/v1/trace?")).toContain("received from udp|a|b\nOPTIONS");
  expect(await text("/v1/config?")).toContain("domain:\n  - example.org\n");
});

test("lists have items and next, and pages follow each other", async () => {
  const { ask } = open();
  for (
    const path of [
      "/v1/silo",
      "/v1/htables",
      "/v1/push",
      "/v1/push/recent",
      "/v1/calls",
      "/v1/htables/banned",
      "/v1/trace",
    ]
  ) {
    expect(await (await ask("GET", path)).json()).toMatchObject({ next: null });
  }
  const first = await (await ask("GET", "/v1/locations?limit=1")).json() as { items: { aor: string }[]; next: string };
  expect(first.items[0]!.aor).toBe("alice@example.org");
  const second = await (await ask("GET", "/v1/locations?after=" + encodeURIComponent(first.next))).json();
  expect(second).toMatchObject({ items: [{ aor: "bob@example.org" }], next: null });
  expect((await ask("GET", "/v1/locations?limit=0")).status).toBe(400);
  expect((await ask("GET", "/v1/locations?limit=1001")).status).toBe(400);
});

test("htable: the body is the raw value, ttl takes units, incr counts", async () => {
  const { host, ask } = open();
  expect(await (await ask("PUT", "/v1/htables/seen/k?ttl=10m", '{"a":1}')).json()).toEqual({
    key: "k",
    value: '{"a":1}',
    expires_in: 600,
  });
  expect(await (await ask("GET", "/v1/htables/seen/k?format=text")).text()).toBe('{"a":1}\n');
  expect(await (await ask("PUT", "/v1/htables/seen/k?ttl=90", "")).json()).toMatchObject({
    value: "",
    expires_in: 90,
  });
  expect((await ask("PUT", "/v1/htables/seen/k?ttl=soon", "")).status).toBe(400);
  await ask("POST", "/v1/htables/seen/n/incr");
  await ask("POST", "/v1/htables/seen/n/incr?by=-3");
  expect(host.htables.get("seen")!.get("n", host.turn.nowMs)).toBe("-2");
  expect((await ask("POST", "/v1/htables/seen/n/incr?by=1.5")).status).toBe(400);
});

test("bodies reach the core, read and checked", async () => {
  const { host, ask } = open();
  await ask("POST", "/v1/push", '{"aor":"alice"}');
  await ask("POST", "/v1/push", '{"provider":"ACME","param":"p","prid":"t","event":"call"}');
  const call = host.call();
  await ask("POST", `/v1/calls/${call}/branches`, '{"contact":"sip:a@192.0.2.9"}');
  await ask("PUT", "/v1/locations/alice/devices/d0", '{"push":{"provider":"acme","prid":"t"}}');
  const { push } = host.core.usrloc.contact("d0")!;
  const keys = { p256dh: POINT.toString("base64url"), auth: "AAECAwQFBgcICQoLDA0ODw" };
  const webpush = { provider: "webpush", prid: "https://p/1" };
  // As some libraries write it.
  const padded = { p256dh: POINT.toString("base64"), auth: "AAECAwQFBgcICQoLDA0ODw==" };
  await ask("PUT", "/v1/locations/alice/devices/d0", JSON.stringify({ push: { ...webpush, ...padded } }));
  await ask("POST", "/v1/push", JSON.stringify({ ...webpush, ...keys }));
  await ask("PUT", "/v1/log", '{"level":"warn","overrides":["aor=alice -> debug","call=x -> info"],"for":"10m"}');
  const { items } = await (await ask("GET", "/v1/calls?state=open&aor=alice")).json() as { items: { id: string }[] };
  expect(host.pushed).toMatchObject([
    { to: { aor: "alice@example.org", device: "d0" }, event: "test" },
    { to: null, token: { provider: "acme", param: "p", prid: "t" }, event: "call" },
    { to: null, token: { ...webpush, param: "", keys }, event: "test" },
  ]);
  expect(host.core.silo.call(call)!.snapshot().branches).toMatchObject([{ device: "d0" }, { late: true }]);
  expect(push).toMatchObject({ provider: "acme", prid: "t" });
  expect(host.core.usrloc.contact("d0")!.push).toMatchObject({ ...webpush, keys });
  expect(host.log.state()).toEqual({
    level: "warn",
    overrides: ["aor=alice@example.org -> debug", "call=x -> info"],
    expiresInMs: 600_000,
  });
  expect(items.map(({ id }) => id)).toEqual([call]);
});

test("a body that cannot be used is 400 and says why", async () => {
  const { host, ask } = open();
  const call = host.call();
  const before = JSON.stringify([host.core.silo.allRecords(), host.log.state()]);
  const cases: [string, string, string, string][] = [
    ["POST", "/v1/push", "{", "The body is not JSON"],
    ["POST", "/v1/push", "[]", "The body is not a JSON object"],
    ["POST", "/v1/push", '{"aor":1}', 'Cannot use field "aor"'],
    ["POST", "/v1/push", '{"aor":"alice","prid":"t"}', 'Unknown field "prid"'],
    ["POST", "/v1/push", '{"provider":"acme"}', 'Field "prid" is missing'],
    ["POST", "/v1/push", "{}", "Cannot tell whom to push"],
    ["POST", "/v1/push", "", "Cannot tell whom to push"],
    ["POST", "/v1/push", '{"aor":"alice","event":"party"}', 'Cannot use field "event": "party"'],
    ["POST", `/v1/calls/${call}/branches`, "{}", "Cannot tell what to add"],
    ["POST", `/v1/calls/${call}/branches`, '{"contact":"a","device":"b"}', "Cannot tell what to add"],
    ["PUT", "/v1/locations/alice/devices/d0", '{"expires_in":-1}', 'Cannot use field "expires_in"'],
    ["PUT", "/v1/locations/alice/devices/d0", '{"push":{"provider":"acme"}}', 'Field "prid" is missing'],
    ...[
      { p256dh: POINT.toString("base64url") },
      { auth: "AAECAwQFBgcICQoLDA0ODw" },
      { p256dh: POINT.toString("base64url"), auth: "AAEC" },
      { p256dh: Buffer.alloc(65, 4).toString("base64url"), auth: "AAECAwQFBgcICQoLDA0ODw" },
      {
        p256dh: ECDH.convertKey(POINT, "prime256v1", undefined, "base64url", "compressed"),
        auth: "AAECAwQFBgcICQoLDA0ODw",
      },
      { p256dh: "", auth: "" },
    ].map((keys): [string, string, string, string] => [
      "PUT",
      "/v1/locations/alice/devices/d0",
      JSON.stringify({ push: { provider: "webpush", prid: "https://p/1", ...keys } }),
      "Cannot use p256dh and auth as the keys of a subscription",
    ]),
    ["PUT", "/v1/locations/alice/devices/d0", '{"__proto__":{"contact":"x"}}', 'Unknown field "__proto__"'],
    ["PUT", "/v1/log", '{"level":"loud"}', 'Cannot use field "level"'],
    ["PUT", "/v1/log", '{"for":"soon"}', 'Cannot parse for "soon"'],
    ["PUT", "/v1/log", '{"overrides":["alice"]}', 'Cannot parse log override "alice"'],
  ];
  for (const [method, path, body, message] of cases) {
    const answer = await ask(method, path, body);
    const { error } = await answer.json() as { error: { message: string; hint: string } };
    expect([body, answer.status, error.message.startsWith(message)]).toEqual([body, 400, true]);
    expect([body, error.message + error.hint]).toEqual([body, expect.stringMatching(/expected|send|known/i)]);
  }
  expect(host.pushed).toEqual([]);
  expect(host.core.usrloc.contact("d0")!.push!.provider).toBe("acme");
  expect(JSON.stringify([host.core.silo.allRecords(), host.log.state()])).toBe(before);
});

test("X-01 a body has a bound, whether it announces its size or not", async () => {
  const { host, ask } = open();
  const large = "x".repeat(65 * 1024);
  expect((await ask("PUT", "/v1/htables/seen/k", large)).status).toBe(413);
  const stream = new Blob([large]).stream();
  expect((await ask("PUT", "/v1/htables/seen/k", stream)).status).toBe(413);
  expect(host.htables.get("seen")!.size).toBe(0);
  expect((await ask("POST", "/v1/config/check", "x".repeat(1024 * 1024 + 1))).status).toBe(413);
});

test("config check and reload tell their problems", async () => {
  const { host, ask } = open();
  const problem = {
    severity: "error",
    line: 1,
    column: 10,
    path: "listen[0]",
    message: 'unknown scheme "tpc"',
    hint: 'did you mean "tcp"?',
  };
  const yaml = "listen: [tpc://x]\nsecurity: { trust: [127.0.0.1] }";
  expect(await (await ask("POST", "/v1/config/check", yaml)).json()).toMatchObject({ problems: [problem] });
  expect(await (await ask("POST", "/v1/reload")).json()).toEqual({
    applied: ["log.level"],
    restart_required: ["listen"],
  });
  host.reloads = () => {
    throw new ApiError(422, "config_invalid", "The config file has 1 problem", "", { problems: [problem] });
  };
  const refused = await ask("POST", "/v1/reload");
  expect(refused.status).toBe(422);
  expect(await refused.json()).toMatchObject({ error: { code: "config_invalid" }, problems: [problem] });
});

test("O-05 readiness is 503 with the reason unless ready; alive is alive", async () => {
  const { host, ask } = open();
  expect((await ask("GET", "/readyz")).status).toBe(200);
  host.ready = { state: "draining", reason: "2 calls open" };
  const answer = await ask("GET", "/readyz");
  expect(answer.status).toBe(503);
  expect(await answer.json()).toEqual({ ready: false, state: "draining", reason: "2 calls open" });
  expect((await ask("GET", "/healthz")).status).toBe(200);
});

test("what is not in this version says so", async () => {
  const { ask } = open();
  for (const path of ["/v1/explain/alice", "/v1/trace?follow=1", "/v1/trace?format=pcap"]) {
    const answer = await ask("GET", path);
    expect(answer.status).toBe(501);
    const { error } = await answer.json() as { error: { code: string; hint: string } };
    expect([path, error.code, error.hint === ""]).toEqual([path, "not_available", false]);
  }
  expect((await ask("GET", "/v1/trace?follow=0")).status).toBe(200);
});

test("the backup is streamed, and its file given back", async () => {
  const { host, ask } = open();
  host.backupText = "SQLite format 3\0".repeat(20_000);
  const answer = await ask("POST", "/v1/backup");
  expect((await answer.arrayBuffer()).byteLength).toBe(320_000);
  expect(host.backups.map((path) => existsSync(path))).toEqual([false]);
  const left = await ask("POST", "/v1/backup");
  await left.body!.cancel();
  expect(host.backups.map((path) => existsSync(path))).toEqual([false, false]);
});

test("X-04 the Host header must name one of our hosts", async () => {
  const cases: [string, string, number][] = [
    ["127.0.0.1", "127.0.0.1:8060", 200],
    ["127.0.0.1", "localhost:8060", 200],
    ["127.0.0.1", "LocalHost", 200],
    ["127.0.0.1", "[::1]:8060", 200],
    ["127.0.0.1", "pbx.example.org:8060", 200],
    ["127.0.0.1", "sip.example.org", 200],
    ["127.0.0.1", "evil.example:8060", 403],
    ["127.0.0.1", "127.0.0.1.evil.example", 403],
    ["127.0.0.1", "localhost.evil.example", 403],
    ["127.0.0.1", "192.0.2.1:8060", 403],
    ["127.0.0.1", "", 403],
    ["127.0.0.1", "a:b:c", 403],
    ["192.0.2.1", "192.0.2.1:8060", 200],
    ["0.0.0.0", "192.0.2.1:8060", 200],
    ["::", "[2001:db8::1]:8060", 200],
    ["0.0.0.0", "evil.example", 403],
  ];
  for (const [address, host, status] of cases) {
    const { ask } = open({ entrance: { address } });
    expect([host, (await ask("GET", "/v1/info", undefined, { host })).status]).toEqual([host, status]);
  }
  const { ask } = open({ entrance: { address: "", isUnix: true } });
  expect((await ask("GET", "/v1/info", undefined, { host: "whatever" })).status).toBe(200);
});

test("X-04 a page of another site can neither read nor command", async () => {
  const { ask } = open();
  const command = (origin: string) => ask("POST", "/v1/drain", "", { origin });
  expect((await command("http://evil.example")).status).toBe(403);
  expect((await command("null")).status).toBe(403);
  expect((await command("http://127.0.0.1:9999")).status).toBe(403);
  expect((await command("http://127.0.0.1:8060")).status).toBe(202);
  const read = await ask("GET", "/v1/info");
  expect(read.headers.get("access-control-allow-origin")).toBeNull();
});

test("X-04 a configured token is asked for everywhere but for life and readiness", async () => {
  const { ask } = open({ token: "s3cret" });
  const status = async (path: string, authorization?: string) =>
    (await ask("GET", path, undefined, authorization === undefined ? {} : { authorization })).status;
  expect(await status("/v1/info")).toBe(401);
  expect(await status("/")).toBe(401);
  expect(await status("/metrics")).toBe(401);
  expect(await status("/nowhere")).toBe(401);
  expect(await status("/v1/info", "Bearer wrong")).toBe(401);
  expect(await status("/v1/info", "Basic s3cret")).toBe(401);
  expect(await status("/v1/info", "Bearer s3cret")).toBe(200);
  expect(await status("/v1/info", "bearer  s3cret ")).toBe(200);
  expect(await status("/healthz")).toBe(200);
  expect(await status("/readyz")).toBe(200);
  const refused = await ask("GET", "/v1/info");
  expect(refused.headers.get("www-authenticate")).toContain("Bearer");
  expect(await refused.text()).not.toContain("s3cret");
});

test("what waits for push services, names or a slow reader has no idle timeout", async () => {
  let kept = 0;
  const { ask } = open({ entrance: { keepOpen: () => kept++ } });
  for (const [path, body] of [["/v1/push", '{"aor":"alice"}'], ["/v1/reload", ""], ["/v1/backup", ""]] as const) {
    kept = 0;
    await (await ask("POST", path, body)).arrayBuffer();
    expect([path, kept]).toEqual([path, 1]);
  }
});

test("events turn the idle timeout off, and have a bound of followers", async () => {
  let kept = 0;
  const { host, ask } = open({ entrance: { keepOpen: () => kept++ } });
  const answers = [];
  for (let i = 0; i < 64; i++) answers.push(await ask("GET", "/v1/events"));
  expect(kept).toBe(64);
  expect((await ask("GET", "/v1/events")).status).toBe(503);
  await answers[0]!.body!.cancel();
  expect(host.followers.size).toBe(63);
  const next = await ask("GET", "/v1/events");
  expect(next.status).toBe(200);
  for (const answer of [...answers.slice(1), next]) await answer.body!.cancel();
  expect(host.followers.size).toBe(0);
});

test("X-04 what the network sent moves no cursor: no control character leaves the control port", async () => {
  const { host, ask } = open();
  // As bytes, and as the UTF-8 of the same controls.
  const harmful = "a\u007f\u009b31m\u0085\u00c2\u009b31mz\u00e2\u0080\u00ae";
  const { aor } = host.core.usrloc.contact("d0")!;
  aor.contacts[0]!.userAgent = harmful;
  const call = host.call({ from: `"${harmful}" <sip:bob@example.org>;tag=b` });
  host.trace.add(host.turn.nowMs, true, { key: "udp|a|b" }, `OPTIONS sip:x SIP/2.0\r\nSubject: ${harmful}\r\n\r\n`);
  host.htables.get("seen")!.set(harmful, harmful, undefined, host.turn.nowMs);
  const paths = ["/v1/trace", "/v1/locations", "/v1/locations/alice", "/v1/calls", `/v1/calls/${call}`, "/v1/silo"];
  for (const path of [...paths, "/v1/htables/seen", "/v1/htables/seen?limit=1", `/v1/calls/${call}/ladder`]) {
    for (const format of ["json", "text"]) {
      const body = await (await ask("GET", `${path}${path.includes("?") ? "&" : "?"}format=${format}`)).text();
      expect(body).toContain("31m");
      // deno-lint-ignore no-control-regex
      expect([path, format, body.match(/[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u202e]/)]).toEqual([
        path,
        format,
        null,
      ]);
    }
  }
});

test("R-20 who gives a device a push token makes it a mobile phone, unless the request says otherwise", async () => {
  const cases: [body: Record<string, unknown>, kind: string][] = [
    [{ contact: "sip:door@192.0.2.9" }, "desk"],
    [{ user_agent: "Door" }, "desk"],
    [{ push: { provider: "acme", prid: "t" }, kind: "desk" }, "desk"],
    [{ push: { provider: "acme", prid: "t" } }, "mobile"],
    [{ push: null }, "mobile"],
    [{ kind: "desk" }, "desk"],
    [{ kind: "mobile" }, "mobile"],
    [{ user_agent: "Phone" }, "mobile"],
    [{ push: { provider: "acme", prid: "t2" }, kind: "mobile" }, "mobile"],
    [{ push: null, kind: "mobile" }, "mobile"],
  ];
  const { ask } = open();
  for (const [body, kind] of cases) {
    const answer = await ask("PUT", "/v1/locations/alice/devices/door", JSON.stringify(body));
    expect([body, await answer.json()]).toEqual([body, expect.objectContaining({ kind })]);
  }
});

test("R-20 a token set by hand takes nothing from a device of another AoR that has the same one", async () => {
  const { host, ask } = open();
  const put = (user: string) =>
    ask(
      "PUT",
      `/v1/locations/${user}/devices/door${user}`,
      JSON.stringify({
        contact: `sip:${user}@192.0.2.9`,
        push: { provider: "acme", prid: "shared" },
      }),
    );
  for (const user of ["alice", "bob", "alice"]) expect((await put(user)).status).toBe(200);
  const states = [...host.core.usrloc.all()].flatMap(({ contacts }) => contacts.map(({ push }) => push?.tokenState));
  expect(states.filter((state) => state === "moved")).toEqual([]);
  expect(states.length).toBeGreaterThan(1);
});

test("S-03 S-01 an answer about what is stored leaves after the commit, and one that is not stored at once", async () => {
  const cases: [method: string, path: string, body: string, isStored: boolean][] = [
    ["PUT", "/v1/htables/seen/k", "1", true],
    ["POST", "/v1/htables/seen/k/incr", "", true],
    ["DELETE", "/v1/htables/seen/k", "", true],
    ["PUT", "/v1/locations/alice/devices/door", '{"contact":"sip:door@192.0.2.9"}', true],
    ["DELETE", "/v1/locations/alice/devices/door", "", true],
    ["DELETE", "/v1/locations/alice", "", true],
    ["GET", "/v1/htables", "", false],
    ["PUT", "/v1/htables/none/k", "1", false],
    ["DELETE", "/v1/htables/seen/none", "", false],
  ];
  const { host, ask } = open();
  for (const [method, path, body, isStored] of cases) {
    const commit = Promise.withResolvers<void>();
    host.commits = () => commit.promise;
    let isAnswered = false;
    const answer = ask(method, path, method === "GET" ? undefined : body).then((answer) => {
      isAnswered = true;
      return answer;
    });
    for (let turn = 0; turn < 20; turn++) await new Promise((resolve) => setImmediate(resolve));
    expect([path, method, isAnswered]).toEqual([path, method, !isStored]);
    commit.resolve();
    expect([path, (await answer).status < 300]).toEqual([path, !path.includes("none")]);
  }
});
