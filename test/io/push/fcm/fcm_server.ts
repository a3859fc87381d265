/**
 * A local FCM: its token endpoint, and `messages:send` by HTTP/2, both over TLS with a CA of their own. It checks what
 * the real ones check and answers as they do; what a sender must never do is also written down in `faults`, so that a
 * test fails on it whatever the answer led to.
 */
import { generateKeyPairSync, type KeyObject, verify } from "node:crypto";
import {
  createSecureServer,
  type Http2SecureServer,
  type ServerHttp2Session,
  type ServerHttp2Stream,
} from "node:http2";
import type { AddressInfo } from "node:net";
import { issuedCertificate } from "../certificate.ts";
import { jwtPart } from "../jwt_part.ts";

/** A message that came in, as it was sent. */
export interface ReceivedMessage {
  path: string;
  headers: Record<string, string>;
  // deno-lint-ignore no-explicit-any
  message: any;
  /** `validate_only`: to be judged and not sent. */
  isJudgedOnly: boolean;
  /** Keys and values of `data`, as FCM counts them. */
  bytes: number;
  bearer: string;
  /** On the clock all processes of the machine share. */
  atMs: number;
}

/** What FCM says: a row of its table, as JSON of Google's errors. */
export interface FcmReply {
  status: number;
  /** Of FCM's own detail. */
  errorCode?: string;
  /** Canonical status. */
  canonical?: string;
  /** `reason` of an ErrorInfo. */
  info?: string;
  /** Of a BadRequest. */
  field?: string;
  message?: string;
  headers?: Record<string, string>;
  /** Instead of JSON. */
  text?: string;
}

/** What to do with the next message or exchange instead of judging it: stall: no answer; reset: RST_STREAM; cut: the connection. */
export type FcmOrder = FcmReply | "stall" | "reset" | "cut" | "goaway";

/** What the token endpoint says instead. */
export type TokenOrder =
  | { status: number; error?: string; description?: string; headers?: Record<string, string>; text?: string }
  | "stall";

const certificates = issuedCertificate();
/** One for all runs: making RSA keys takes long. */
const pair = generateKeyPairSync("rsa", { modulusLength: 2048 });
const GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer";
const SCOPE = "https://www.googleapis.com/auth/firebase.messaging";

export class FcmServer {
  readonly ca = certificates.ca;
  readonly projectId = "phone-1a2b3";
  readonly projectNumber = "123456789012";
  readonly email = "firebase-adminsdk-x@phone-1a2b3.iam.gserviceaccount.com";
  readonly keyId = "0123456789abcdef0123456789abcdef01234567";
  /** Registration tokens that are alive. */
  readonly tokens = new Set<string>();
  readonly unregistered = new Set<string>();
  /** Registration tokens of other projects. */
  readonly foreign = new Set<string>();
  readonly received: ReceivedMessage[] = [];
  /** What no sender must do. */
  readonly faults: string[] = [];
  /** For the messages to come, one each. */
  readonly orders: FcmOrder[] = [];
  /** For the exchanges to come, one each. */
  readonly tokenOrders: TokenOrder[] = [];
  /** Claims of the assertions that came in. */
  readonly assertions: Record<string, unknown>[] = [];
  /** Holds exchanges back until {@link releaseTokens}. */
  isHoldingTokens = false;
  expiresInS = 3599;
  /** The key assertions are held against. */
  publicKey: KeyObject = pair.publicKey;
  readonly sessions: ServerHttp2Session[] = [];
  private readonly now: () => number;
  private readonly issued = new Map<string, number>();
  private readonly server: Http2SecureServer;
  private readonly watchers: (() => void)[] = [];
  private readonly heldTokens: (() => void)[] = [];
  private tokenServer: ReturnType<typeof Bun.serve> | null = null;

  /** @param now the clock assertions and tokens are held against. */
  constructor(now: () => number) {
    this.now = now;
    const { key, cert } = certificates;
    this.server = createSecureServer({ key, cert });
    this.server.on("session", (session) => {
      this.sessions.push(session);
      session.on("error", () => {});
      session.on("close", () => this.wake());
      this.wake();
    });
    this.server.on("stream", (opened, headers) => {
      const stream = opened as ServerHttp2Stream;
      stream.on("error", () => {});
      const chunks: Buffer[] = [];
      stream.on("data", (chunk: Buffer) => chunks.push(chunk));
      stream.on("end", () => this.arrived(stream, headers, Buffer.concat(chunks).toString("utf8")));
    });
    this.server.on("sessionError", () => {});
  }

  async start(): Promise<this> {
    await new Promise<void>((resolve) => this.server.listen(0, "127.0.0.1", () => resolve()));
    const { key, cert } = certificates;
    this.tokenServer = Bun.serve({
      port: 0,
      hostname: "127.0.0.1",
      tls: { key, cert },
      fetch: (request) => this.exchange(request),
    });
    return this;
  }

  get url(): string {
    return `https://127.0.0.1:${(this.server.address() as AddressInfo).port}`;
  }

  get tokenUri(): string {
    return `https://127.0.0.1:${this.tokenServer!.port}/token`;
  }

  /** The service account file of the project. */
  account(changes: Record<string, unknown> = {}): string {
    return JSON.stringify({
      type: "service_account",
      project_id: this.projectId,
      private_key_id: this.keyId,
      private_key: pair.privateKey.export({ type: "pkcs8", format: "pem" }),
      client_email: this.email,
      client_id: "100000000000000000001",
      auth_uri: "https://accounts.google.com/o/oauth2/auth",
      token_uri: this.tokenUri,
      ...changes,
    });
  }

  /** Makes every access token given so far useless. */
  revokeTokens(): void {
    this.issued.clear();
  }

  releaseTokens(): void {
    this.isHoldingTokens = false;
    for (const go of this.heldTokens.splice(0)) go();
  }

  /** Waits until it is so; asked again whenever something happens here. */
  async until(isSo: () => boolean): Promise<void> {
    while (!isSo()) await new Promise<void>((resolve) => this.watchers.push(resolve));
  }

  async stop(): Promise<void> {
    this.releaseTokens();
    for (const session of this.sessions) session.destroy();
    await this.tokenServer?.stop(true);
    await new Promise<void>((resolve) => this.server.close(() => resolve()));
  }

  private wake(): void {
    for (const watcher of this.watchers.splice(0)) watcher();
  }

  private async exchange(request: Request): Promise<Response> {
    const form = new URLSearchParams(await request.text());
    const assertion = form.get("assertion") ?? "";
    const claims = jwtPart(assertion.split(".")[1] ?? "");
    this.assertions.push(claims);
    const order = this.tokenOrders.shift();
    this.wake();
    if (order === "stall") return await new Promise(() => {});
    if (order !== undefined) {
      const { status, error, description, headers, text } = order;
      return new Response(text ?? JSON.stringify({ error, error_description: description }), { status, headers });
    }
    const problem = this.judgeAssertion(request, form, assertion, claims);
    if (problem !== "") {
      return Response.json({ error: "invalid_grant", error_description: problem }, { status: 400 });
    }
    if (this.isHoldingTokens) await new Promise<void>((resolve) => this.heldTokens.push(resolve));
    const token = `ya29.${this.assertions.length}-${crypto.randomUUID()}`;
    this.issued.set(token, this.now() + this.expiresInS * 1000);
    return Response.json({ access_token: token, expires_in: this.expiresInS, token_type: "Bearer" });
  }

  /** In Google's words; empty if all is well. */
  private judgeAssertion(
    request: Request,
    form: URLSearchParams,
    assertion: string,
    claims: Record<string, unknown>,
  ): string {
    const type = request.headers.get("content-type") ?? "";
    if (request.method !== "POST" || !type.startsWith("application/x-www-form-urlencoded")) {
      this.faults.push(`the exchange came as ${request.method} ${type}`);
    }
    if (form.get("grant_type") !== GRANT || [...form.keys()].length !== 2) this.faults.push("the form is another one");
    const [head = "", body = "", signature = ""] = assertion.split(".");
    const { alg, typ, kid } = jwtPart(head);
    if (alg !== "RS256" || typ !== "JWT" || kid !== this.keyId) this.faults.push(`the header is ${alg} ${typ} ${kid}`);
    const isSigned = verify(
      "sha256",
      Buffer.from(`${head}.${body}`),
      this.publicKey,
      Buffer.from(signature, "base64url"),
    );
    if (!isSigned) return "Invalid JWT Signature.";
    const { iss, scope, aud, iat, exp } = claims;
    if (iss !== this.email) return "Invalid grant: account not found";
    if (aud !== this.tokenUri) return "Invalid JWT: Failed audience check.";
    if (scope !== SCOPE) this.faults.push(`the scope is ${scope}`);
    const nowS = this.now() / 1000;
    const isShort = Number.isInteger(iat) && Number.isInteger(exp) && Number(exp) - Number(iat) <= 3600;
    if (!isShort || Number(iat) > nowS + 60 || Number(exp) < nowS) {
      return "Invalid JWT: Token must be a short-lived token (60 minutes) and in a reasonable timeframe. Check your iat " +
        "and exp values in the JWT claim.";
    }
    return "";
  }

  private arrived(stream: ServerHttp2Stream, headers: Record<string, unknown>, body: string): void {
    const atMs = performance.timeOrigin + performance.now();
    const text: Record<string, string> = {};
    for (const [name, value] of Object.entries(headers)) text[name] = String(value);
    let message: unknown = null;
    let isJudgedOnly = false;
    try {
      const said = JSON.parse(body) as { message?: unknown; validate_only?: unknown };
      message = said.message ?? null;
      isJudgedOnly = said.validate_only === true;
    } catch {
      this.faults.push("the body is no JSON");
    }
    const bearer = (text.authorization ?? "").replace(/^Bearer /, "");
    const path = text[":path"] ?? "";
    this.received.push({ path, headers: text, message, isJudgedOnly, bytes: bytesOf(message), bearer, atMs });
    const judged = this.judge(text, body, message, bearer);
    const order = this.orders.shift() ?? judged;
    const session = stream.session as ServerHttp2Session;
    if (order === "reset") stream.close(2);
    else if (order === "cut") session.destroy();
    else if (order === "goaway") session.goaway(0, stream.id! - 2);
    else if (order !== "stall") respond(stream, order, `projects/${this.projectId}/messages/0:${this.received.length}`);
    this.wake();
  }

  /** As FCM would answer; what only a broken sender does is a fault besides. */
  private judge(headers: Record<string, string>, body: string, message: unknown, bearer: string): FcmReply {
    const fault = (words: string, field = "message"): FcmReply => {
      this.faults.push(words);
      return { status: 400, canonical: "INVALID_ARGUMENT", field, message: words };
    };
    if (headers[":method"] !== "POST") this.faults.push(`it came as ${headers[":method"]}`);
    if (!/^application\/json\b/.test(headers["content-type"] ?? "")) this.faults.push("it is not said to be JSON");
    if (!(headers.authorization ?? "").startsWith("Bearer ")) this.faults.push("there is no bearer token");
    if ((this.issued.get(bearer) ?? 0) < this.now()) {
      return { status: 401, canonical: "UNAUTHENTICATED", message: "Request had invalid authentication credentials." };
    }
    const project = /^\/v1\/projects\/([^/]+)\/messages:send$/.exec(headers[":path"] ?? "")?.[1];
    if (project !== this.projectId) {
      return { status: 404, canonical: "NOT_FOUND", message: "Requested entity was not found." };
    }
    const wrong = judgeMessage(body, message);
    if (wrong !== "") return fault(wrong);
    if (bytesOf(message) > 4096) return fault("Android message is too big");
    const { token } = message as { token: string };
    if (this.foreign.has(token)) {
      return {
        status: 403,
        canonical: "PERMISSION_DENIED",
        errorCode: "SENDER_ID_MISMATCH",
        message: "SenderId mismatch",
      };
    }
    if (this.unregistered.has(token)) return UNREGISTERED;
    return this.tokens.has(token) ? { status: 200 } : NO_TOKEN;
  }
}

/** Answers as FCM's documentation shows them. */
export const UNREGISTERED: FcmReply = {
  status: 404,
  canonical: "NOT_FOUND",
  errorCode: "UNREGISTERED",
  message: "Requested entity was not found.",
};
export const NO_TOKEN: FcmReply = {
  status: 400,
  canonical: "INVALID_ARGUMENT",
  errorCode: "INVALID_ARGUMENT",
  message: "The registration token is not a valid FCM registration token",
};

function respond(stream: ServerHttp2Stream, reply: FcmReply, name: string): void {
  const { status, headers, text } = reply;
  stream.respond({ ":status": status, "content-type": "application/json; charset=UTF-8", ...headers });
  if (text !== undefined) return void stream.end(text);
  if (status === 200) return void stream.end(JSON.stringify({ name }));
  const details: unknown[] = [];
  const { errorCode, info, field, message, canonical } = reply;
  const type = (kind: string): string => `type.googleapis.com/google.${kind}`;
  if (errorCode !== undefined) details.push({ "@type": type("firebase.fcm.v1.FcmError"), errorCode });
  if (info !== undefined) details.push({ "@type": type("rpc.ErrorInfo"), reason: info, domain: "googleapis.com" });
  if (field !== undefined) {
    details.push({ "@type": type("rpc.BadRequest"), fieldViolations: [{ field, description: message }] });
  }
  stream.end(JSON.stringify({ error: { code: status, message, status: canonical, details } }));
}

/** What is wrong with a message; empty if nothing. */
function judgeMessage(body: string, message: unknown): string {
  const { message: _message, validate_only: _judgeOnly, ...beside } = JSON.parse(body) as Record<string, unknown>;
  if (Object.keys(beside).length > 0) return "Unknown name beside message";
  if (typeof message !== "object" || message === null) return "no message";
  const { token, data, android, ...rest } = message as Record<string, Record<string, unknown>>;
  if (Object.keys(rest).length > 0) return `Unknown name ${Object.keys(rest)}: a data message is wanted`;
  if (typeof token !== "string" || token === "") return "no token";
  const { priority, ttl, ...others } = android ?? {};
  if (Object.keys(others).length > 0) return `Unknown name ${Object.keys(others)} in android`;
  if (priority !== "HIGH" && priority !== "NORMAL") return `priority ${priority}`;
  if (typeof ttl !== "string" || !/^\d+(\.\d{1,9})?s$/.test(ttl)) return `Invalid ttl ${ttl}`;
  for (const [key, value] of Object.entries(data ?? {})) {
    if (!String(value).isWellFormed()) return `Invalid value at 'message.data[0].value', half a surrogate pair`;
    if (typeof value !== "string") return `Invalid value at 'message.data[0].value' (TYPE_STRING), ${value}`;
    if (key === "from" || key === "message_type" || /^(google|gcm)/.test(key)) {
      return `Invalid data payload key: ${key}`;
    }
  }
  return "";
}

function bytesOf(message: unknown): number {
  const { data } = (message ?? {}) as { data?: Record<string, string> };
  return Object.entries(data ?? {}).flat().reduce((sum, text) => sum + Buffer.byteLength(String(text)), 0);
}
