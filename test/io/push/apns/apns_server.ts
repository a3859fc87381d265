/**
 * A local APNs: HTTP/2 over TLS with a CA of its own. It checks what the real one checks and answers as it does; what
 * a provider must never do is also written down in `faults`, so that a test fails on it whatever the answer led to.
 */
import { createPublicKey, generateKeyPairSync, type KeyObject, verify } from "node:crypto";
import {
  createSecureServer,
  type Http2SecureServer,
  type ServerHttp2Session,
  type ServerHttp2Stream,
} from "node:http2";
import type { AddressInfo } from "node:net";
import { issuedCertificate } from "../certificate.ts";
import { jwtPart } from "../jwt_part.ts";

/** A notification that came in, as it was sent. */
export interface Received {
  token: string;
  headers: Record<string, string>;
  // deno-lint-ignore no-explicit-any
  payload: any;
  bytes: number;
  /** Its provider token, the part behind "bearer ". */
  jwt: string;
  /** Which connection it came by, from 0. */
  connection: number;
  /** When, ms since the epoch with fractions, by the real clock. */
  atMs: number;
}

/** What to do with the next notification instead of judging it. */
export type Order =
  /** `isCut`: the body never comes. */
  | { status: number; reason?: string; timestamp?: number; headers?: Record<string, string>; isCut?: boolean }
  /** No answer at all. */
  | "stall"
  /** RST_STREAM before an answer. */
  | "reset"
  /** The connection is cut. */
  | "cut"
  /** GOAWAY that names this request as not processed; the connection is left to the client. */
  | "goaway"
  /** GOAWAY behind the answer. */
  | "goaway after";

const certificates = issuedCertificate();
const MAX_TOKEN_AGE_MS = 3600_000;
const MIN_UPDATE_MS = 20 * 60_000;
const PUSH_TYPES = ["alert", "background", "voip"];

export interface ApnsServerOptions {
  /** The clock the provider token is held against. */
  now: () => number;
  teamId?: string;
  keyId?: string;
  /** Provider tokens are judged by it; another server's may be shared. */
  publicKey?: KeyObject;
  maxStreams?: number;
}

export class ApnsServer {
  readonly ca = certificates.ca;
  readonly keyId: string;
  readonly teamId: string;
  /** The `.p8` file of the team. */
  readonly p8: string;
  readonly publicKey: KeyObject;
  /** Device token → the topic it is good for. */
  readonly tokens = new Map<string, string>();
  /** Tokens no longer active → since when. */
  readonly unregistered = new Map<string, number>();
  /** Topics of the team. */
  readonly topics = new Set<string>();
  readonly received: Received[] = [];
  /** What no provider must do. */
  readonly faults: string[] = [];
  /** For the notifications to come, one each. */
  readonly orders: Order[] = [];
  /** Holds every notification back until {@link release}. */
  isHolding = false;
  /** Streams that were open at a time, at most. */
  mostStreams = 0;
  pings = 0;
  readonly sessions: ServerHttp2Session[] = [];
  private readonly clockMs: () => number;
  private readonly server: Http2SecureServer;
  private readonly held: (() => void)[] = [];
  private readonly watchers: (() => void)[] = [];
  private readonly kids = new Map<ServerHttp2Session, unknown>();
  private streams = 0;
  private lastJwt = "";
  private signedJwt = "";
  private lastUpdateMs = -Infinity;

  constructor(options: ApnsServerOptions) {
    this.clockMs = options.now;
    this.teamId = options.teamId ?? "DEF123GHIJ";
    this.keyId = options.keyId ?? "ABC123DEFG";
    const pair = generateKeyPairSync("ec", { namedCurve: "P-256" });
    this.p8 = pair.privateKey.export({ type: "pkcs8", format: "pem" }).toString();
    this.publicKey = options.publicKey ?? createPublicKey(pair.privateKey);
    const { key, cert } = certificates;
    this.server = createSecureServer({ key, cert, settings: { maxConcurrentStreams: options.maxStreams ?? 100 } });
    this.server.on("session", (session) => {
      this.sessions.push(session);
      session.on("ping", () => {
        this.pings++;
        this.wake();
      });
      session.on("error", () => {});
      session.on("close", () => this.wake());
      this.wake();
    });
    this.server.on("stream", (opened, headers, _flags, rawHeaders?: readonly string[]) => {
      const stream = opened as ServerHttp2Stream;
      this.streams++;
      this.mostStreams = Math.max(this.mostStreams, this.streams);
      stream.on("close", () => this.streams--);
      stream.on("error", () => {});
      const chunks: Buffer[] = [];
      stream.on("data", (chunk: Buffer) => chunks.push(chunk));
      stream.on("end", () => this.arrived(stream, headers, rawHeaders ?? [], Buffer.concat(chunks)));
    });
    this.server.on("sessionError", () => {});
  }

  async start(): Promise<this> {
    await new Promise<void>((resolve) => this.server.listen(0, "127.0.0.1", () => resolve()));
    return this;
  }

  get url(): string {
    return `https://127.0.0.1:${(this.server.address() as AddressInfo).port}`;
  }

  /** Lets an app be pushed to: its topic, and one of its tokens. */
  install(token: string, topic: string): void {
    this.topics.add(topic);
    this.tokens.set(token, topic);
  }

  /** Answers what is held, and what comes. */
  release(): void {
    this.isHolding = false;
    for (const go of this.held.splice(0)) go();
  }

  /** Answers the last that is held, before the others. */
  answerLast(): void {
    this.held.pop()?.();
  }

  /** Waits until it is so; asked again whenever something happens here. */
  async until(isSo: () => boolean): Promise<void> {
    while (!isSo()) await new Promise<void>((resolve) => this.watchers.push(resolve));
  }

  async stop(): Promise<void> {
    this.release();
    for (const session of this.sessions) session.destroy();
    await new Promise<void>((resolve) => this.server.close(() => resolve()));
  }

  private wake(): void {
    for (const watcher of this.watchers.splice(0)) watcher();
  }

  private arrived(
    stream: ServerHttp2Stream,
    headers: Record<string, unknown>,
    rawHeaders: readonly string[],
    body: Buffer,
  ): void {
    const text: Record<string, string> = {};
    for (const [name, value] of Object.entries(headers)) text[name] = String(value);
    const session = stream.session as ServerHttp2Session;
    const connection = this.sessions.indexOf(session);
    const atMs = performance.timeOrigin + performance.now();
    const token = /^\/3\/device\/([^/]*)$/.exec(text[":path"] ?? "")?.[1] ?? "";
    const jwt = (text.authorization ?? "").replace(/^bearer /, "");
    let payload: unknown = null;
    try {
      payload = JSON.parse(body.toString("utf8"));
    } catch {
      this.faults.push("the payload is no JSON");
    }
    this.received.push({ token, headers: text, payload, bytes: body.length, jwt, connection, atMs });
    const order = this.orders.shift();
    const go = (): void => this.answer(stream, order, text, rawHeaders, payload, body.length, token, jwt);
    if (this.isHolding) this.held.push(go);
    else go();
    this.wake();
  }

  private answer(
    stream: ServerHttp2Stream,
    order: Order | undefined,
    headers: Record<string, string>,
    rawHeaders: readonly string[],
    payload: unknown,
    bytes: number,
    token: string,
    jwt: string,
  ): void {
    const session = stream.session as ServerHttp2Session | undefined;
    if (stream.destroyed || session === undefined) return;
    const judged = this.judge(session, headers, rawHeaders, payload, bytes, token, jwt);
    switch (order) {
      case "stall":
        return;
      case "reset":
        return stream.close(2);
      case "cut":
        return session.destroy();
      case "goaway":
        return session.goaway(0, stream.id! - 2, Buffer.from('{"reason":"Shutdown"}'));
      case "goaway after":
      case undefined:
        break;
      default:
        // Who is told so must make a new one, whatever the age of the last.
        if (order.reason === "ExpiredProviderToken") this.lastUpdateMs = -Infinity;
        return this.respond(stream, headers, order);
    }
    this.respond(stream, headers, judged);
    if (order === "goaway after") session.goaway(0, stream.id!);
  }

  private respond(stream: ServerHttp2Stream, asked: Record<string, string>, order: Exclude<Order, string>): void {
    const { status, reason, timestamp, headers, isCut } = order;
    const date = new Date(this.clockMs()).toUTCString();
    stream.respond({ ":status": status, "apns-id": asked["apns-id"] ?? "", date, ...headers });
    if (isCut) return;
    // Not end(""): Bun 1.4.5 then sends a frame too many, and a client gives up after a thousand of them.
    if (reason === undefined) stream.end();
    else stream.end(JSON.stringify({ reason, timestamp }));
  }

  /** As APNs would answer; what only a broken provider does is a fault besides. */
  private judge(
    session: ServerHttp2Session,
    headers: Record<string, string>,
    rawHeaders: readonly string[],
    payload: unknown,
    bytes: number,
    token: string,
    jwt: string,
  ): Exclude<Order, string> {
    const fault = (status: number, reason: string, words: string) => {
      this.faults.push(`${reason}: ${words}`);
      return { status, reason };
    };
    if (headers[":method"] !== "POST") return fault(405, "MethodNotAllowed", headers[":method"] ?? "");
    const names = rawHeaders.filter((_, index) => index % 2 === 0);
    if (new Set(names).size < names.length) return fault(400, "DuplicateHeaders", names.join());
    if (!(headers[":path"] ?? "").startsWith("/3/device/")) return fault(404, "BadPath", headers[":path"] ?? "");
    if (token === "") return fault(400, "MissingDeviceToken", headers[":path"] ?? "");

    const provider = this.judgeProvider(session, headers.authorization, jwt);
    if (provider !== null) return provider;

    const id = headers["apns-id"] ?? "";
    if (!/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/.test(id)) return fault(400, "BadMessageId", id);
    const expiration = headers["apns-expiration"] ?? "";
    if (!/^\d{1,10}$/.test(expiration)) return fault(400, "BadExpirationDate", expiration);
    if (Number(expiration) * 1000 < this.clockMs()) this.faults.push(`it expired before it was sent: ${expiration}`);
    const collapse = headers["apns-collapse-id"];
    if (collapse !== undefined && Buffer.byteLength(collapse) > 64) return fault(400, "BadCollapseId", collapse);
    const type = headers["apns-push-type"] ?? "";
    if (!PUSH_TYPES.includes(type)) return fault(400, "InvalidPushType", type);
    const priority = headers["apns-priority"] ?? "";
    if (!["5", "10"].includes(priority)) return fault(400, "BadPriority", priority);
    if ((type === "background") !== (priority === "5")) return fault(400, "BadPriority", `${priority} for ${type}`);

    const topic = headers["apns-topic"] ?? "";
    if (topic === "") return fault(400, "MissingTopic", "");
    if ((type === "voip") !== topic.endsWith(".voip")) return fault(400, "InvalidPushType", `${type} to ${topic}`);
    const content = judgePayload(payload, type);
    if (content !== "") return fault(400, content === "empty" ? "PayloadEmpty" : "InvalidPushType", content);
    const most = type === "voip" ? 5120 : 4096;
    if (bytes > most) return fault(413, "PayloadTooLarge", `${bytes} bytes`);

    if (!this.topics.has(topic)) return { status: 400, reason: "TopicDisallowed" };
    const since = this.unregistered.get(token);
    if (since !== undefined) return { status: 410, reason: "Unregistered", timestamp: since };
    const registered = this.tokens.get(token);
    if (registered === undefined) return { status: 400, reason: "BadDeviceToken" };
    return registered === topic ? { status: 200 } : { status: 400, reason: "DeviceTokenNotForTopic" };
  }

  private judgeProvider(
    session: ServerHttp2Session,
    header: string | undefined,
    jwt: string,
  ): Exclude<Order, string> | null {
    const refuse = (reason: string): Exclude<Order, string> => ({ status: 403, reason });
    if (header === undefined) {
      this.faults.push("there is no authorization");
      return refuse("MissingProviderToken");
    }
    if (!header.startsWith("bearer ")) this.faults.push(`authorization begins with ${header.slice(0, 7)}`);
    const [head = "", claims = "", signature = ""] = jwt.split(".");
    const { alg, kid } = jwtPart(head);
    const { iss, iat } = jwtPart(claims);
    // One that was checked is not checked again: the figures are to be the client's.
    if (jwt !== this.signedJwt) {
      const key = { key: this.publicKey, dsaEncoding: "ieee-p1363" as const };
      const isSigned = verify("sha256", Buffer.from(`${head}.${claims}`), key, Buffer.from(signature, "base64url"));
      if (!isSigned) return refuse("InvalidProviderToken");
      this.signedJwt = jwt;
    }
    if (alg !== "ES256" || kid !== this.keyId || iss !== this.teamId) {
      return refuse("InvalidProviderToken");
    }
    if (typeof iat !== "number" || !Number.isInteger(iat)) return refuse("InvalidProviderToken");
    const ageMs = this.clockMs() - iat * 1000;
    if (ageMs > MAX_TOKEN_AGE_MS) return refuse("ExpiredProviderToken");
    if (ageMs < -60_000) return refuse("InvalidProviderToken");
    if (this.kids.has(session) && this.kids.get(session) !== kid) return refuse("UnrelatedKeyIdInToken");
    this.kids.set(session, kid);
    if (jwt !== this.lastJwt) {
      const isTooSoon = this.clockMs() - this.lastUpdateMs < MIN_UPDATE_MS;
      if (isTooSoon) {
        this.faults.push("the provider token was changed twice within 20 minutes");
        return { status: 429, reason: "TooManyProviderTokenUpdates" };
      }
      this.lastJwt = jwt;
      this.lastUpdateMs = this.clockMs();
    }
    return null;
  }
}

/** What is wrong with a payload of this type; empty if nothing. */
function judgePayload(payload: unknown, type: string): string {
  if (typeof payload !== "object" || payload === null) return "empty";
  const { aps } = payload as { aps?: Record<string, unknown> };
  if (typeof aps !== "object" || aps === null) return "empty";
  const isShown = "alert" in aps || "sound" in aps || "badge" in aps;
  if (type === "background" && (aps["content-available"] !== 1 || isShown)) return "a background push that shows";
  if (type === "alert" && !("alert" in aps)) return "an alert push without an alert";
  return "";
}
