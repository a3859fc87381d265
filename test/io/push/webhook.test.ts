/** The webhook against real receivers on loopback: what sockets, HTTP and TLS really do. Time for back-off is virtual. */
import { afterEach, expect, test } from "bun:test";
import { createServer, type Server, type Socket } from "node:net";
import { gzipSync } from "node:zlib";
import { PushRelay } from "../../../src/io/push/relay.ts";
import type { PushRequest } from "../../../src/io/push/types.ts";
import { certificate } from "./certificate.ts";
import { pushConfig, pushRequest, VirtualWorld } from "./virtual_world.ts";

const cleanups: (() => void)[] = [];
afterEach(() => {
  for (const cleanup of cleanups.splice(0)) cleanup();
});

/** A receiver in JavaScript; keeps what came. */
function receiver(answer: (request: Request, body: string, count: number) => Response | Promise<Response>) {
  const seen: { body: Record<string, unknown>; headers: Headers; port: number; method: string; path: string }[] = [];
  const server = Bun.serve({
    port: 0,
    hostname: "127.0.0.1",
    async fetch(request, self) {
      const body = await request.text();
      const { pathname: path, search } = new URL(request.url);
      const port = self.requestIP(request)!.port;
      seen.push({
        body: JSON.parse(body),
        headers: request.headers,
        port,
        method: request.method,
        path: path + search,
      });
      return answer(request, body, seen.length);
    },
  });
  cleanups.push(() => void server.stop(true));
  return { url: `http://127.0.0.1:${server.port}/wake?key=hidden`, seen };
}

/** A receiver in bytes. `answer` is called once a connection, when the first bytes have come. */
async function rawReceiver(answer: (socket: Socket, count: number) => void) {
  const sockets = new Set<Socket>();
  const arrived: (() => void)[] = [];
  let count = 0;
  const server: Server = createServer((socket) => {
    sockets.add(socket);
    socket.on("error", () => {});
    socket.once("data", () => {
      answer(socket, ++count);
      for (const resolve of arrived.splice(0)) resolve();
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  cleanups.push(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  const { port } = server.address() as { port: number };
  return {
    url: `http://127.0.0.1:${port}/`,
    sockets,
    connections: () => count,
    arrival: () => new Promise<void>((resolve) => arrived.push(resolve)),
  };
}

function relayTo(url: string, options: { token?: string; timeout?: number } = {}) {
  const world = new VirtualWorld();
  if (options.token !== undefined) world.secrets.set("/token", options.token);
  const hook = { url, token_file: options.token === undefined ? "" : "/token", timeout: options.timeout ?? 5000 };
  const relay = new PushRelay(pushConfig({ acme: hook }), world);
  cleanups.push(() => relay.stop());
  const send = (changes: Partial<PushRequest> = {}) => relay.sendNow(pushRequest(changes));
  return { world, relay, send };
}

test("P-03 the receiver gets the JSON of the interface, with the token", async () => {
  const { url, seen } = receiver(() => new Response("ok"));
  const { world, send } = relayTo(url, { token: "s3cret\n" });
  const request = { fromName: Buffer.from('Zoë "},{"x":"').toString("latin1"), callId: "x@y", uuid: "u-1" };
  expect(await send(request)).toMatchObject({ outcome: "accepted", status: 200, attempts: 1 });
  const got = seen[0]!;
  expect(got).toMatchObject({ method: "POST", path: "/wake?key=hidden" });
  expect(got.headers.get("content-type")).toBe("application/json");
  expect(got.headers.get("authorization")).toBe("Bearer s3cret");
  expect(got.body).toMatchObject({ event: "call", from_name: 'Zoë "},{"x":"', call_id: "x@y", uuid: "u-1", ttl: 30 });
  expect(got.body.sent_at).toBe(new Date(world.nowMs).toISOString());
});

test("P-05 pushes in a row share one connection", async () => {
  const { url, seen } = receiver(() => Response.json({ ok: true }));
  const { send } = relayTo(url);
  for (let i = 0; i < 5; i++) await send();
  // The verdict comes with the head of an answer, so the next request may start before its body was read.
  expect(new Set(seen.map((push) => push.port)).size).toBeLessThanOrEqual(2);
});

test.each<[number, string]>([[404, "dead"], [410, "dead"], [400, "refused"]])(
  "P-04 %d with words: %s, and the words are told",
  async (status, outcome) => {
    const { url } = receiver(() => new Response("no such\r\n\ttoken\x1b[31m", { status }));
    const verdict = await relayTo(url).send();
    expect(verdict).toMatchObject({ outcome, status, attempts: 1 });
    expect(verdict.reason).toContain(": no such token [31m");
  },
);

test("P-04 500, then 200", async () => {
  const { url, seen } = receiver((_request, _body, count) => new Response("", { status: count === 1 ? 500 : 200 }));
  const { world, send } = relayTo(url);
  const verdict = send();
  await world.timerSet(250);
  await world.pass(250);
  expect(await verdict).toMatchObject({ outcome: "accepted", attempts: 2, ms: 250 });
  expect(seen[0]!.body.uuid).toBe(seen[1]!.body.uuid);
});

test("P-04 429 with Retry-After", async () => {
  const { url } = receiver((_request, _body, count) =>
    count === 1 ? new Response("", { status: 429, headers: { "retry-after": "3" } }) : new Response()
  );
  const { world, send } = relayTo(url);
  const verdict = send();
  await world.timerSet(3000);
  await world.pass(3000);
  expect(await verdict).toMatchObject({ outcome: "accepted", attempts: 2, ms: 3000 });
});

test("P-04 a receiver that hangs: timeout, again over a new connection, failed when the window ends", async () => {
  const hung = await rawReceiver(() => {});
  const { world, relay, send } = relayTo(hung.url);
  let arrival = hung.arrival();
  const verdict = send({ ttlMs: 8000 });
  await arrival;
  arrival = hung.arrival();
  await world.pass(5250);
  await arrival;
  await world.pass(2750);
  expect(await verdict).toMatchObject({ outcome: "failed", status: 0, attempts: 2, ms: 8000 });
  expect(hung.connections()).toBe(2);
  expect(relay.backends()[0]).toMatchObject({ in_flight: 0, waiting: 0, state: "failing" });
});

test("P-04 a connection reset, then 200", async () => {
  const resetting = await rawReceiver((socket, count) => {
    if (count === 1) socket.resetAndDestroy();
    else socket.end("HTTP/1.1 204 No Content\r\n\r\n");
  });
  const { world, relay, send } = relayTo(resetting.url);
  const verdict = send();
  await world.timerSet(250);
  expect(relay.backends()[0]!.last_error).toEndWith("closed the connection without an answer");
  await world.pass(250);
  expect(await verdict).toMatchObject({ outcome: "accepted", status: 204, attempts: 2 });
});

test("P-04 nobody listens: tried again, failed with the window, in words", async () => {
  const { url } = await rawReceiver(() => {});
  for (const cleanup of cleanups.splice(0)) cleanup();
  const { world, send } = relayTo(url);
  const verdict = send({ ttlMs: 700 });
  await world.timerSet(250);
  await world.pass(250);
  const { outcome, attempts, reason } = await verdict;
  expect({ outcome, attempts }).toEqual({ outcome: "failed", attempts: 2 });
  expect(reason).toBe(`${new URL(url).origin} refuses connections; its window is over after 2 attempts`);
});

test("P-04 an answer that is no HTTP is a lost connection", async () => {
  const { url } = await rawReceiver((socket) => socket.end("SSH-2.0-OpenSSH_9.2\r\n"));
  const verdict = await relayTo(url).send({ ttlMs: 100 });
  expect(verdict).toMatchObject({ outcome: "failed", status: 0 });
});

test("P-04 a slow body holds back neither an acceptance nor, for long, a refusal", async () => {
  const head = (status: string): string => `HTTP/1.1 ${status}\r\nContent-Length: 100\r\n\r\nno such`;
  const accepting = await rawReceiver((socket) => socket.write(head("200 OK")));
  const first = relayTo(accepting.url);
  expect(await first.send()).toMatchObject({ outcome: "accepted", ms: 0 });
  expect(first.relay.backends()[0]!.in_flight).toBe(1);
  await first.world.pass(5000);
  expect(first.relay.backends()[0]!.in_flight).toBe(0);

  const refusing = await rawReceiver((socket) => socket.write(head("404 Not Found")));
  const second = relayTo(refusing.url);
  const verdict = second.send();
  await second.world.timerSet(1000);
  await second.world.pass(1000);
  expect(await verdict).toMatchObject({ outcome: "dead", status: 404, ms: 1000 });

  // The time limit may be shorter than that wait: the status is known and counts.
  const third = relayTo(refusing.url, { timeout: 400 });
  const hurried = third.send();
  await third.world.timerSet(1000);
  await third.world.pass(400);
  expect(await hurried).toMatchObject({ outcome: "dead", status: 404, ms: 400 });
});

test("P-04 a redirect is refused and not followed", async () => {
  const other = receiver(() => new Response());
  const { url } = receiver(() => new Response("", { status: 307, headers: { location: other.url } }));
  expect(await relayTo(url, { token: "s3cret" }).send()).toMatchObject({ outcome: "refused", status: 307 });
  expect(other.seen).toEqual([]);
});

test("P-04 a huge body is read to its bound only", async () => {
  const closed = Promise.withResolvers<void>();
  const huge = await rawReceiver((socket) => {
    socket.write("HTTP/1.1 400 Bad Request\r\nContent-Length: 100000000000\r\n\r\n");
    const chunk = Buffer.alloc(65_536, "A");
    const fill = (): void => {
      while (socket.writable && socket.write(chunk));
    };
    socket.on("drain", fill);
    socket.on("close", () => closed.resolve());
    fill();
  });
  const verdict = await relayTo(huge.url).send();
  expect(verdict).toMatchObject({ outcome: "refused", status: 400 });
  expect(verdict.reason.length).toBeLessThan(300);
  await closed.promise;
});

test("P-04 a compressed answer is not unpacked", async () => {
  const bomb = gzipSync(Buffer.alloc(20_000_000, "A"));
  const { url } = receiver(() => new Response(bomb, { status: 400, headers: { "content-encoding": "gzip" } }));
  expect((await relayTo(url).send()).reason).toEndWith("400 from " + new URL(url).origin);
});

test("the token is in no reason, health or result, even if the receiver echoes it", async () => {
  const { url } = receiver((request) => new Response(request.headers.get("authorization"), { status: 400 }));
  const { relay, send } = relayTo(url, { token: "s3cret" });
  const verdict = await send();
  expect(verdict.reason).toContain("Bearer ***");
  expect(JSON.stringify([verdict, relay.backends(), relay.recent()])).not.toContain("s3cret");
  expect(JSON.stringify([verdict, relay.backends(), relay.recent()])).not.toContain("hidden");
});

test("certificates are verified, whatever the environment says", async () => {
  const server = Bun.serve({ port: 0, hostname: "127.0.0.1", tls: certificate(), fetch: () => new Response() });
  cleanups.push(() => void server.stop(true));
  const before = process.env.NODE_TLS_REJECT_UNAUTHORIZED;
  process.env.NODE_TLS_REJECT_UNAUTHORIZED = "0";
  try {
    const verdict = await relayTo(`https://127.0.0.1:${server.port}/`).send({ ttlMs: 100 });
    expect(verdict).toMatchObject({ outcome: "failed", status: 0 });
    expect(verdict.reason).toContain("is not trusted (DEPTH_ZERO_SELF_SIGNED_CERT)");
  } finally {
    if (before === undefined) delete process.env.NODE_TLS_REJECT_UNAUTHORIZED;
    else process.env.NODE_TLS_REJECT_UNAUTHORIZED = before;
  }
});

test("P-04 a receiver that hangs does not hold up another", async () => {
  const hung = await rawReceiver(() => {});
  const { url } = receiver(() => new Response());
  const relay = new PushRelay(pushConfig({ acme: { url: hung.url }, other: { url } }), new VirtualWorld());
  cleanups.push(() => relay.stop());
  for (let i = 0; i < 300; i++) relay.send(pushRequest(), () => {});
  expect(await relay.sendNow(pushRequest({ provider: "other" }))).toMatchObject({ outcome: "accepted" });
});
