/**
 * A local Web Push service and the browsers behind it: HTTP/2 or HTTP/1.1 over TLS with a CA of its own, or HTTP as in a
 * LAN. It checks what the real ones check and decrypts as a browser does, by code of its own; what an application server
 * must never do is also written down in `faults`, so that a test fails on it whatever the answer led to.
 */
import {
  createDecipheriv,
  createECDH,
  createHmac,
  createPublicKey,
  type ECDH,
  type KeyObject,
  randomBytes,
  verify,
} from "node:crypto";
import { createServer as createHttpServer, type IncomingMessage, type ServerResponse } from "node:http";
import { createSecureServer, type ServerHttp2Session, type ServerHttp2Stream } from "node:http2";
import { createServer as createHttpsServer } from "node:https";
import type { AddressInfo, Socket } from "node:net";
import { issuedCertificate } from "../certificate.ts";
import { jwtPart } from "../jwt_part.ts";

/** A message that came in, as it was sent. */
export interface ReceivedPush {
  path: string;
  headers: Record<string, string>;
  bytes: number;
  /** What the browser reads; null if there was no payload. */
  // deno-lint-ignore no-explicit-any
  payload: any;
  jwt: string;
  /** Which connection it came by, from 0. */
  connection: number;
  /** On the clock all processes of the machine share. */
  atMs: number;
}

/** What to do with the next message instead of judging it: stall: no answer; reset: RST_STREAM; cut: the connection. */
export type PushOrder =
  | { status: number; headers?: Record<string, string>; text?: string }
  | "stall"
  | "reset"
  | "cut"
  | "goaway";

interface Subscription {
  readonly ecdh: ECDH;
  readonly auth: Buffer;
  /** The VAPID key it was made with; empty: none. */
  readonly vapidKey: string;
}

/** What a browser gives its app. */
export interface SubscriptionJson {
  endpoint: string;
  keys: { p256dh: string; auth: string };
}

export type PushProtocol = "h2" | "http/1.1" | "http";

interface Answer {
  status: number;
  headers?: Record<string, string>;
  text?: string;
}

const certificates = issuedCertificate();
const MAX_BYTES = 4096;

export class WebPushService {
  readonly ca = certificates.ca;
  readonly received: ReceivedPush[] = [];
  /** What no application server must do. */
  readonly faults: string[] = [];
  /** For the messages to come, one each. */
  readonly orders: PushOrder[] = [];
  readonly gone = new Set<string>();
  maxBytes = MAX_BYTES;
  connections = 0;
  pings = 0;
  private readonly now: () => number;
  private readonly protocol: PushProtocol;
  private readonly server;
  private readonly subscriptions = new Map<string, Subscription>();
  private readonly watchers: (() => void)[] = [];
  private readonly sockets = new Set<Socket>();
  private readonly sessions: ServerHttp2Session[] = [];
  /** Sockets of HTTP/1.1, in order. */
  private readonly order: Socket[] = [];
  private name = "127.0.0.1";

  /** @param now the clock VAPID tokens are held against. */
  constructor(now: () => number, protocol: PushProtocol = "h2") {
    this.now = now;
    this.protocol = protocol;
    const { key, cert } = certificates;
    const onRequest = (request: IncomingMessage, response: ServerResponse): void => this.onHttp1(request, response);
    if (protocol === "h2") {
      this.server = createSecureServer({ key, cert });
      this.server.on("session", (session: ServerHttp2Session) => {
        this.connections++;
        this.sessions.push(session);
        session.on("error", () => {});
        session.on("ping", () => {
          this.pings++;
          this.wake();
        });
        session.on("close", () => this.wake());
        this.wake();
      });
      this.server.on("stream", (stream, headers) => this.onStream(stream as ServerHttp2Stream, headers));
      this.server.on("sessionError", () => {});
    } else {
      this.server = protocol === "http" ? createHttpServer(onRequest) : createHttpsServer({ key, cert }, onRequest);
      this.server.on("connection", (socket: Socket) => {
        this.connections++;
        this.sockets.add(socket);
        this.wake();
      });
    }
  }

  async start(): Promise<this> {
    await new Promise<void>((resolve) => this.server.listen(0, "127.0.0.1", () => resolve()));
    return this;
  }

  get port(): number {
    return (this.server.address() as AddressInfo).port;
  }

  get origin(): string {
    return `${this.protocol === "http" ? "http" : "https"}://${this.name}:${this.port}`;
  }

  /** It is known by this name from now on. */
  call(name: string): void {
    this.name = name;
  }

  /** A browser subscribes. @param vapidKey the application server's key; empty: without one. */
  subscribe(vapidKey = ""): SubscriptionJson {
    const ecdh = createECDH("prime256v1");
    const subscription: Subscription = { ecdh, auth: randomBytes(16), vapidKey };
    const p256dh = ecdh.generateKeys().toString("base64url");
    const path = `/push/${randomBytes(12).toString("base64url")}?up=1`;
    this.subscriptions.set(path, subscription);
    return { endpoint: this.origin + path, keys: { p256dh, auth: subscription.auth.toString("base64url") } };
  }

  /** The app of this subscription is gone. */
  unsubscribe({ endpoint }: SubscriptionJson): void {
    this.gone.add(endpoint.slice(this.origin.length));
  }

  /** Waits until it is so; asked again whenever something happens here. */
  async until(isSo: () => boolean): Promise<void> {
    while (!isSo()) await new Promise<void>((resolve) => this.watchers.push(resolve));
  }

  async stop(): Promise<void> {
    for (const session of this.sessions) session.destroy();
    for (const socket of this.sockets) socket.destroy();
    await new Promise<void>((resolve) => this.server.close(() => resolve()));
  }

  private wake(): void {
    for (const watcher of this.watchers.splice(0)) watcher();
  }

  private onStream(stream: ServerHttp2Stream, headers: Record<string, unknown>): void {
    const session = stream.session as ServerHttp2Session;
    stream.on("error", () => {});
    const chunks: Buffer[] = [];
    stream.on("data", (chunk: Buffer) => chunks.push(chunk));
    stream.on("end", () => {
      const text: Record<string, string> = {};
      for (const [name, value] of Object.entries(headers)) text[name.replace(/^:/, "")] = String(value);
      const connection = this.sessions.indexOf(session);
      const judged = this.arrived(text, Buffer.concat(chunks), connection);
      const order = this.orders.shift() ?? judged;
      if (order === "reset") stream.close(2);
      else if (order === "cut") session.destroy();
      else if (order === "goaway") session.goaway(0, stream.id! - 2);
      else if (order !== "stall") {
        stream.respond({ ":status": order.status, ...order.headers });
        // An empty text would be sent as a DATA frame that neither says nor ends anything, and count as a flood.
        stream.end(order.text);
      }
      this.wake();
    });
  }

  private onHttp1(request: IncomingMessage, response: ServerResponse): void {
    const chunks: Buffer[] = [];
    request.on("error", () => {});
    response.on("error", () => {});
    request.on("data", (chunk: Buffer) => chunks.push(chunk));
    request.on("end", () => {
      const text: Record<string, string> = { method: request.method ?? "", path: request.url ?? "" };
      for (const [name, value] of Object.entries(request.headers)) text[name] = String(value);
      if (!this.order.includes(request.socket)) this.order.push(request.socket);
      const judged = this.arrived(text, Buffer.concat(chunks), this.order.indexOf(request.socket));
      const order = this.orders.shift() ?? judged;
      if (order === "reset" || order === "cut" || order === "goaway") request.socket.destroy();
      else if (order !== "stall") {
        response.writeHead(order.status, order.headers);
        response.end(order.text ?? "");
      }
      this.wake();
    });
  }

  private arrived(headers: Record<string, string>, body: Buffer, connection: number): Answer {
    const atMs = performance.timeOrigin + performance.now();
    const path = headers.path ?? "";
    const subscription = this.subscriptions.get(path);
    const jwt = /^vapid t=([\w.-]+), ?k=([\w-]+)$/.exec(headers.authorization ?? "");
    let payload: unknown = null;
    let problem = "";
    if (body.length > 0 && subscription !== undefined) {
      try {
        payload = JSON.parse(decrypt(body, subscription.ecdh, subscription.auth).toString("utf8"));
      } catch (error) {
        problem = `the browser cannot read it: ${(error as Error).message}`;
      }
    }
    this.received.push({ path, headers, bytes: body.length, payload, jwt: jwt?.[1] ?? "", connection, atMs });
    return this.judge(headers, body, subscription, jwt, problem);
  }

  /** As a service would answer; what only a broken application server does is a fault besides. */
  private judge(
    headers: Record<string, string>,
    body: Buffer,
    subscription: Subscription | undefined,
    jwt: RegExpExecArray | null,
    problem: string,
  ): Answer {
    const fault = (status: number, text: string): Answer => {
      this.faults.push(text);
      return { status, text };
    };
    if (headers.method !== "POST") return fault(405, `it came as ${headers.method}`);
    if (!/^\d+$/.test(headers.ttl ?? "")) return fault(400, `TTL is ${headers.ttl}`);
    if (!/^(very-low|low|normal|high)$/.test(headers.urgency ?? "")) return fault(400, `Urgency is ${headers.urgency}`);
    const { topic } = headers;
    if (topic !== undefined && !/^[\w-]{1,32}$/.test(topic)) return fault(400, `Topic is ${topic}`);
    if (headers["content-length"] !== String(body.length)) this.faults.push("Content-Length is wrong");
    if (body.length > 0) {
      if (headers["content-encoding"] !== "aes128gcm") return fault(400, "Content-Encoding is another");
      if (headers["content-type"] !== "application/octet-stream") this.faults.push("Content-Type is another");
    } else if (headers["content-encoding"] !== undefined) return fault(400, "there is nothing that is encoded");
    if (body.length > MAX_BYTES) return fault(413, `${body.length} bytes`);
    const vapid = this.judgeVapid(jwt, subscription);
    if (vapid !== null) return vapid;
    if (body.length > this.maxBytes) return { status: 413 };
    if (subscription === undefined) return { status: 404 };
    if (this.gone.has(headers.path ?? "")) return { status: 410 };
    if (problem !== "") return fault(201, problem);
    return { status: 201, headers: { location: `${this.origin}/message/1` } };
  }

  private judgeVapid(found: RegExpExecArray | null, subscription: Subscription | undefined): Answer | null {
    if (found === null) {
      this.faults.push("there is no VAPID token");
      return { status: 401, text: "missing VAPID token" };
    }
    const [, jwt = "", k = ""] = found;
    const [head = "", claims = "", signature = ""] = jwt.split(".");
    const { alg, typ } = jwtPart(head);
    const { aud, exp, sub } = jwtPart(claims);
    const isSigned = verify(
      "sha256",
      Buffer.from(`${head}.${claims}`),
      { key: pointKey(k), dsaEncoding: "ieee-p1363" },
      Buffer.from(signature, "base64url"),
    );
    const faults = [
      alg === "ES256" && typ === "JWT" ? "" : `the token is ${alg} ${typ}`,
      isSigned ? "" : "the token is not signed by its key",
      aud === this.origin ? "" : `the token is for ${aud}`,
      /^(mailto:.+@.+|https:\/\/.+)$/.test(String(sub)) ? "" : `the token is of ${sub}`,
    ].filter((words) => words !== "");
    this.faults.push(...faults);
    if (faults.length > 0) return { status: 401, text: faults.join(", ") };
    const leftMs = Number(exp) * 1000 - this.now();
    if (!Number.isInteger(exp) || leftMs <= 0 || leftMs > 86_400_000) {
      return { status: 401, text: "exp is out of range" };
    }
    const isOther = subscription !== undefined && subscription.vapidKey !== "" && subscription.vapidKey !== k;
    return isOther ? { status: 403, text: "the key is not that of the subscription" } : null;
  }
}

/** RFC 8291 §3 and RFC 8188 §2, as a browser does it. Throws in words. */
export function decrypt(body: Buffer, ecdh: ECDH, auth: Buffer): Buffer {
  const salt = body.subarray(0, 16);
  const recordSize = body.readUInt32BE(16);
  const idLength = body[20]!;
  const senderKey = body.subarray(21, 21 + idLength);
  const record = body.subarray(21 + idLength);
  if (idLength !== 65) throw new Error(`the sender's key has ${idLength} bytes`);
  if (recordSize < 18 || record.length > recordSize) throw new Error("it has more than one record");
  const info = Buffer.concat([Buffer.from("WebPush: info\0"), ecdh.getPublicKey(), senderKey]);
  const ikm = hkdf(auth, ecdh.computeSecret(senderKey), info, 32);
  const key = hkdf(salt, ikm, Buffer.from("Content-Encoding: aes128gcm\0"), 16);
  const nonce = hkdf(salt, ikm, Buffer.from("Content-Encoding: nonce\0"), 12);
  const decipher = createDecipheriv("aes-128-gcm", key, nonce);
  decipher.setAuthTag(record.subarray(-16));
  const padded = Buffer.concat([decipher.update(record.subarray(0, -16)), decipher.final()]);
  const end = padded.findLastIndex((byte) => byte !== 0);
  if (padded[end] !== 2) throw new Error("the padding delimiter is not that of a last record");
  return padded.subarray(0, end);
}

/** RFC 5869 for outputs of one block. */
function hkdf(salt: Buffer, secret: Buffer, info: Buffer, length: number): Buffer {
  const hmac = (key: Buffer, data: Buffer): Buffer => createHmac("sha256", key).update(data).digest();
  return hmac(hmac(salt, secret), Buffer.concat([info, Buffer.from([1])])).subarray(0, length);
}

function pointKey(k: string): KeyObject {
  const point = Buffer.from(k, "base64url");
  const [x, y] = [point.subarray(1, 33), point.subarray(33)].map((half) => half.toString("base64url"));
  return createPublicKey({ format: "jwk", key: { kty: "EC", crv: "P-256", x, y } });
}
