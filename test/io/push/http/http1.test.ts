/** One POST by HTTP/1.1, on real sockets. */
import { afterEach, expect, test } from "bun:test";
import { createServer as createHttpServer, type IncomingMessage, type ServerResponse } from "node:http";
import { createServer as createHttpsServer } from "node:https";
import type { AddressInfo } from "node:net";
import { postHttp1 } from "../../../../src/io/push/http/http1.ts";
import type { Http2Answer, Http2Peer } from "../../../../src/io/push/http/http2.ts";
import { NOT_PUBLIC, publicLookup } from "../../../../src/io/push/http/public_address.ts";
import { issuedCertificate } from "../certificate.ts";

const certificates = issuedCertificate();
const stops: (() => void)[] = [];
afterEach(() => {
  for (const stop of stops.splice(0)) stop();
});

type Handler = (request: IncomingMessage, response: ServerResponse, body: Buffer) => void;

async function serve(isTls: boolean, handler: Handler): Promise<{ port: number; connections: () => number }> {
  let connections = 0;
  const onRequest = (request: IncomingMessage, response: ServerResponse): void => {
    const chunks: Buffer[] = [];
    response.on("error", () => {});
    request.on("data", (chunk: Buffer) => chunks.push(chunk));
    request.on("end", () => handler(request, response, Buffer.concat(chunks)));
  };
  const { key, cert } = certificates;
  const server = isTls ? createHttpsServer({ key, cert }, onRequest) : createHttpServer(onRequest);
  server.on("connection", () => connections++);
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", () => resolve()));
  stops.push(() => {
    server.closeAllConnections();
    server.close();
  });
  return { port: (server.address() as AddressInfo).port, connections: () => connections };
}

interface Outcome {
  answer: Http2Answer | null;
  reason: string;
  statuses: number[];
  times: number;
}

function post(
  peer: Http2Peer,
  options: { body?: Uint8Array; isFresh?: boolean; signal?: AbortSignal; path?: string } = {},
): Promise<Outcome> {
  const statuses: number[] = [];
  let times = 0;
  const body = options.body ?? new Uint8Array();
  return new Promise((resolve) =>
    postHttp1(peer, {
      path: options.path ?? "/push/x?up=1",
      headers: { ttl: "30", "content-length": String(body.length) },
      body,
      signal: options.signal ?? new AbortController().signal,
      onStatus: ({ status }) => statuses.push(status),
      done: (answer, reason) => {
        times++;
        // Whatever comes behind it must not come twice.
        setImmediate(() => resolve({ answer, reason, statuses, times }));
      },
    }, options.isFresh ?? false)
  );
}

test("P-03 what is sent arrives to the byte, and so does the answer", async () => {
  for (const isTls of [true, false]) {
    const came: unknown[] = [];
    const { port } = await serve(isTls, (request, response, body) => {
      came.push([request.method, request.url, request.headers.ttl, [...body]]);
      response.writeHead(201, { "Retry-After": "7" });
      response.end("created");
    });
    const peer = { origin: `${isTls ? "https" : "http"}://127.0.0.1:${port}`, ca: certificates.ca };
    const { answer, statuses, times } = await post(peer, {
      body: new Uint8Array([0, 10, 128, 255]),
      path: "//x?y=%20",
    });
    expect(came).toEqual([["POST", "//x?y=%20", "30", [0, 10, 128, 255]]]);
    expect(answer).toMatchObject({ status: 201, body: "created", headers: { "retry-after": "7" } });
    expect([statuses, times]).toEqual([[201], 1]);
  }
});

test("P-04 a connection is used again, unless a fresh one is wanted", async () => {
  const { port, connections } = await serve(true, (_request, response) => response.end());
  const peer = { origin: `https://127.0.0.1:${port}`, ca: certificates.ca };
  await post(peer);
  await post(peer);
  expect(connections()).toBe(1);
  await post(peer, { isFresh: true });
  await post(peer, { isFresh: true });
  expect(connections()).toBe(3);
});

test("X-06 a name is resolved by the lookup given, and by nothing else", async () => {
  const { port, connections } = await serve(true, (_request, response) => response.end());
  const origin = `https://push.test:${port}`;
  const asked: string[] = [];
  const lookup = publicLookup((host, done) => {
    asked.push(host);
    done(null, [{ address: "127.0.0.1", family: 4 }]);
  }, () => {});
  for (const isFresh of [false, true]) {
    const { answer, reason } = await post({ origin, ca: certificates.ca, lookup }, { isFresh });
    expect([answer, reason]).toEqual([null, `cannot reach ${origin} (${NOT_PUBLIC})`]);
  }
  expect([asked, connections()]).toEqual([["push.test", "push.test"], 0]);
  const open: Http2Peer["lookup"] = (_host, options, done) =>
    options.all ? done(null, [{ address: "127.0.0.1", family: 4 }]) : done(null, "127.0.0.1", 4);
  expect(await post({ origin, ca: certificates.ca, lookup: open })).toMatchObject({ answer: { status: 200 } });
});

test("P-01 a certificate that is not trusted, or of another name, ends it before anything is sent", async () => {
  let requests = 0;
  const { port } = await serve(true, (_request, response) => {
    requests++;
    response.end();
  });
  const untrusted = await post({ origin: `https://127.0.0.1:${port}` });
  expect(untrusted).toMatchObject({ answer: null, times: 1 });
  expect(untrusted.reason).toContain("is not trusted");
  const other = await post({ origin: `https://localhost:${port}`, ca: certificates.ca });
  expect(other.reason).toContain("is not trusted");
  expect(requests).toBe(0);
});

test("X-01 an answer without end is read to its bound", async () => {
  for (const isTls of [true, false]) {
    const { port } = await serve(isTls, (_request, response) => {
      response.writeHead(400);
      const more = (): void => {
        while (!response.destroyed && response.write("z".repeat(1000)));
        if (!response.destroyed) response.once("drain", more);
      };
      more();
    });
    const peer = { origin: `${isTls ? "https" : "http"}://127.0.0.1:${port}`, ca: certificates.ca };
    const { answer, times } = await post(peer);
    expect([answer!.status, answer!.body.length, times]).toEqual([400, 4096, 1]);
  }
});

test("P-04 given up, lost, or refused: told once, in words", async () => {
  const abort = new AbortController();
  const { port } = await serve(false, (request) => {
    if (request.url === "/cut") request.socket.destroy();
    else abort.abort();
  });
  const peer = { origin: `http://127.0.0.1:${port}` };
  expect(await post(peer, { signal: abort.signal })).toMatchObject({
    answer: null,
    reason: "it was given up",
    times: 1,
  });
  const cut = await post(peer, { path: "/cut" });
  expect(cut).toMatchObject({ answer: null, times: 1 });
  expect(cut.reason).toContain(`${peer.origin} closed the connection without an answer`);
  const refused = await post({ origin: "http://127.0.0.1:1" });
  expect(refused).toMatchObject({ answer: null, reason: "http://127.0.0.1:1 refuses connections", times: 1 });
});
