import { afterAll, afterEach, expect, test } from "bun:test";
import { existsSync, mkdtempSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { controlApp } from "../../src/control/app.ts";
import { type ControlListen, type ControlServer, listenControl } from "../../src/control/server.ts";
import { TestHost } from "./test_host.ts";

const folder = mkdtempSync(join(tmpdir(), "latefork-server-"));
afterAll(() => rmSync(folder, { recursive: true }));

const open: ControlServer[] = [];
afterEach(async () => {
  for (const server of open.splice(0)) await server.stop();
});

function http(host: string, port = 0): ControlListen {
  return { url: `http://${host}:${port}`, scheme: "http", host, port, path: "" };
}

function unix(name: string): ControlListen {
  const path = join(folder, name);
  return { url: `unix:${path}`, scheme: "unix", host: "", port: 0, path };
}

async function start(listens: ControlListen[], hasToken = false) {
  const host = new TestHost();
  const server = await listenControl(controlApp(host, () => hasToken ? "s3cret" : ""), listens, hasToken);
  open.push(server);
  return { host, server };
}

test("several listeners answer, each with its real port", async () => {
  const { server } = await start([http("127.0.0.1"), http("127.0.0.1"), unix("several.sock")]);
  expect(server.urls[0]).toMatch(/^http:\/\/127\.0\.0\.1:[1-9]\d+$/);
  expect(server.urls[1]).not.toBe(server.urls[0]);
  for (const url of server.urls.slice(0, 2)) expect((await fetch(url + "/v1/info")).status).toBe(200);
  const answer = await fetch("http://localhost/v1/info", { unix: join(folder, "several.sock") });
  expect(answer.status).toBe(200);
});

test("X-04 a unix socket is for its owner alone, and goes with the server", async () => {
  const { server } = await start([unix("mode.sock")]);
  expect(statSync(join(folder, "mode.sock")).mode & 0o777).toBe(0o600);
  await server.stop();
  expect(existsSync(join(folder, "mode.sock"))).toBe(false);
});

test("a socket nobody answers on is replaced, one in use and a plain file stay", async () => {
  const name = "stale.sock";
  const killed = Bun.spawnSync([
    process.execPath,
    "-e",
    `Bun.listen({ unix: ${
      JSON.stringify(join(folder, name))
    }, socket: { data() {} } }); process.kill(process.pid, "SIGKILL");`,
  ]);
  expect(killed.signalCode).toBe("SIGKILL");
  expect(existsSync(join(folder, name))).toBe(true);
  await start([unix(name)]);
  await expect(start([unix(name)])).rejects.toThrow("another process answers there");
  expect((await fetch("http://localhost/healthz", { unix: join(folder, name) })).status).toBe(200);
  writeFileSync(join(folder, "file.sock"), "mine");
  await expect(start([unix("file.sock")])).rejects.toThrow("no socket");
  expect(existsSync(join(folder, "file.sock"))).toBe(true);
});

test("all listeners open or none", async () => {
  const { server } = await start([http("127.0.0.1")]);
  const port = Number(server.urls[0]!.split(":").at(-1));
  await expect(start([unix("none.sock"), http("127.0.0.1", port)])).rejects.toThrow(
    `Cannot listen on http://127.0.0.1:${port}`,
  );
  expect(existsSync(join(folder, "none.sock"))).toBe(false);
});

test("X-04 beyond loopback a token must be configured", async () => {
  await expect(start([http("0.0.0.0")])).rejects.toThrow("control.token_file must be set");
  const { server } = await start([http("0.0.0.0")], true);
  const url = server.urls[0]!.replace("0.0.0.0", "127.0.0.1");
  expect((await fetch(url + "/v1/info")).status).toBe(401);
  expect((await fetch(url + "/v1/info", { headers: { authorization: "Bearer s3cret" } })).status).toBe(200);
});

test("X-04 a Host header of somebody else is refused on the wire", async () => {
  const { server } = await start([http("127.0.0.1")]);
  expect((await fetch(server.urls[0] + "/v1/info", { headers: { host: "evil.example" } })).status).toBe(403);
});

test("events reach their followers, and a follower that leaves is forgotten", async () => {
  const { host, server } = await start([http("127.0.0.1")]);
  const abort = new AbortController();
  const answer = await fetch(server.urls[0] + "/v1/events", { signal: abort.signal });
  expect(answer.headers.get("content-type")).toBe("text/event-stream");
  const reader = answer.body!.getReader();
  expect(new TextDecoder().decode((await reader.read()).value)).toBe(": following\n\n");
  for (const listener of host.followers) listener({ type: "registered", aor: "alice@example.org" });
  expect(new TextDecoder().decode((await reader.read()).value)).toBe(
    'event: registered\ndata: {"type":"registered","aor":"alice@example.org"}\n\n',
  );
  abort.abort();
  for (let turn = 0; turn < 1000 && host.followers.size > 0; turn++) {
    // The next event makes the server write to the closed connection, if it has not heard yet.
    for (const listener of host.followers) listener({ type: "registered" });
    await new Promise((resolve) => setImmediate(resolve));
  }
  expect(host.followers.size).toBe(0);
});

test("HEAD says the length of the body GET would send, and follows nothing", async () => {
  const { host, server } = await start([http("127.0.0.1")]);
  for (const path of ["/v1/info", "/v1/locations?format=text", "/metrics", "/v1/calls/nope"]) {
    const got = await fetch(server.urls[0] + path);
    const { length } = new Uint8Array(await got.arrayBuffer());
    const head = await fetch(server.urls[0] + path, { method: "HEAD" });
    expect([path, head.status, head.headers.get("content-length")]).toEqual([path, got.status, String(length)]);
  }
  for (let i = 0; i < 70; i++) await fetch(server.urls[0] + "/v1/events", { method: "HEAD" });
  expect(host.followers.size).toBe(0);
  const followed = await fetch(server.urls[0] + "/v1/events");
  expect(followed.status).toBe(200);
  await followed.body!.cancel();
});

test("a stopped server lets its followers go", async () => {
  const { server } = await start([http("127.0.0.1")]);
  const answer = await fetch(server.urls[0] + "/v1/events");
  const reader = answer.body!.getReader();
  await reader.read();
  await server.stop();
  const end = await reader.read().catch(() => ({ done: true }));
  expect(end.done).toBe(true);
});

test("a folder that is missing is named with the URL", async () => {
  const listen = { ...unix("x"), path: join(folder, "missing", "x.sock"), url: "unix:/missing/x.sock" };
  await expect(start([listen])).rejects.toThrow("Cannot listen on unix:/missing/x.sock");
});
