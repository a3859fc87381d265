/**
 * Owns the backend for Web Push and UnifiedPush: which service and which message a push takes, and what the answer leads
 * to (the table of `webpush_errors.ts`). It must not know HTTP, addresses, cryptography, windows or retries within them.
 */
import type { Config } from "../../../config/schema.ts";
import { adviceOn, connectOnly, MAX_ASKED_HOSTS, type ServiceAnswer } from "../ask.ts";
import {
  answeredBy,
  type AttemptAnswer,
  type PushAttempt,
  type PushBackend,
  readKeyFile,
  refused,
  retry,
} from "../backend.ts";
import { retryAfterMsOf } from "../http/answer.ts";
import { shownWords } from "../http/body.ts";
import type { Http2Answer } from "../http/http2.ts";
import { decodeSipText } from "../payload.ts";
import type { PushRequest } from "../types.ts";
import { WebPushEncryption } from "./encryption.ts";
import { type WebPushError, webPushErrorOf } from "./errors.ts";
import { MAX_WARM_HOSTS, type WebPushHost, WebPushHosts } from "./hosts.ts";
import { type WebPushMessage, webPushMessageOf } from "./message.ts";
import { type WebPushTarget, webPushTargetOf } from "./target.ts";
import { type VapidKeys, vapidKeysOf } from "./vapid.ts";
import type { PushWorld } from "../world.ts";

export type WebPushConfig = Config["push"]["webpush"];

const TIMEOUT_MS = 5000;

/** One push on its way, through all the tries of one attempt. */
interface Try {
  readonly request: PushRequest;
  readonly target: WebPushTarget;
  readonly host: WebPushHost;
  readonly message: WebPushMessage;
  readonly attempt: PushAttempt;
  readonly settled: () => void;
  /** The service takes no message of this size. */
  isBare: boolean;
}

export class WebPush implements PushBackend {
  readonly name = "webpush";
  readonly provider = "webpush";
  readonly aliases = ["unifiedpush"];
  /** Each phone names its own. */
  readonly host = "push services";
  readonly settings: string;
  readonly timeoutMs = TIMEOUT_MS;
  private readonly config: WebPushConfig;
  private readonly world: PushWorld;
  private readonly encryption = new WebPushEncryption();
  private hosts: WebPushHosts | null = null;
  private keys: VapidKeys | null = null;
  private ca: string | undefined;
  /** Services of {@link expect}, as phones write them. */
  private readonly expected = new Set<string>();
  private setupProblem = "";

  /** Opens nothing. Never throws: what is wrong is said by {@link problem}. */
  constructor(config: WebPushConfig, world: PushWorld) {
    this.config = config;
    this.world = world;
    this.settings = JSON.stringify(config);
    const isContact = /^(mailto:[^\s@]+@[^\s@]+|https:\/\/[^\s/]\S*)$/.test(config.subject);
    this.setupProblem = isContact ? this.reload() : "push.webpush.subject is not a mailto: or https: URL";
  }

  problem(): string {
    return this.setupProblem;
  }

  /** The key phones must subscribe with (`sip.vapid`); empty if there is none. */
  get publicKey(): string {
    return this.keys?.publicKey ?? "";
  }

  /** Services are known by tokens alone: see {@link expect}. */
  warm(): void {}

  expect(prid: string, isEncrypted: boolean): void {
    if (this.hosts === null) return;
    if (isEncrypted && !this.encryption.isLoaded) this.encryption.load().catch(() => {});
    // A hundred thousand phones at the start share few services.
    if (this.expected.size >= MAX_WARM_HOSTS || this.expected.has(originTextOf(prid))) return;
    const target = webPushTargetOf(decodeSipText(prid), this.config.allow_hosts);
    if (typeof target === "string") return;
    this.expected.add(originTextOf(prid));
    this.hosts.expect(target);
  }

  reload(): string {
    const read = readKeyFile(this.world, "push.webpush", "vapid_file", this.config);
    if ("problem" in read) return read.problem;
    const { text, ca } = read;
    const { vapid_file, subject } = this.config;
    const keys = vapidKeysOf(text);
    if (keys === null) return `push.webpush.vapid_file ${vapid_file} holds no VAPID keys; latefork check says why`;
    this.keys = keys;
    this.ca = ca;
    this.hosts ??= new WebPushHosts(keys, subject, this.world);
    this.hosts.identify(keys);
    this.hosts.trust(ca);
    this.setupProblem = "";
    return "";
  }

  /** Services of phones are connected to again. */
  succeed(before: PushBackend): void {
    if (!(before instanceof WebPush)) return;
    for (const origin of before.hosts?.warmOrigins ?? []) this.expect(origin, false);
  }

  attempt(request: PushRequest, attempt: PushAttempt): Promise<void> {
    const refuse = (reason: string): Promise<void> => {
      attempt.answer(refused(reason));
      return Promise.resolve();
    };
    const target = webPushTargetOf(decodeSipText(request.prid), this.config.allow_hosts);
    if (typeof target === "string") return refuse(target);
    const message = webPushMessageOf(request, this.world.systemNow(), attempt.leftMs);
    if (typeof message === "string") return refuse(message);
    const here = answeredBy(target.origin, attempt);
    here.draft(retry(`${target.origin} did not answer in time`));
    const host = this.hosts!.of(target);
    return new Promise((settled) => {
      const one: Try = { request, target, host, message, attempt: here, settled, isBare: message.plainText === "" };
      if (one.isBare || this.encryption.isLoaded) return this.post(one);
      this.encryption.load().then(
        () => here.signal.aborted ? settled() : this.post(one),
        () => this.refuse(one, "the library for encryption cannot be loaded: a fault of latefork, please report it"),
      );
    });
  }

  /** Connects to the services phones named: what may be posted there, the phones' subscriptions alone say. */
  async ask(prids: readonly string[], signal: AbortSignal): Promise<ServiceAnswer[]> {
    const targets = new Map<string, WebPushTarget>();
    const refused = new Map<string, number>();
    for (const prid of prids) {
      const target = webPushTargetOf(decodeSipText(prid), this.config.allow_hosts);
      if (typeof target === "string") refused.set(target, (refused.get(target) ?? 0) + 1);
      else targets.set(target.origin, target);
    }
    const answers = [...targets.values()].slice(0, MAX_ASKED_HOSTS).map((target) => this.request(target, signal));
    const left = targets.size - answers.length;
    const idle = (words: string): ServiceAnswer => ({ state: "idle", words, unverified: "", ms: 0 });
    return [
      ...await Promise.all(answers),
      ...[...refused].slice(0, MAX_ASKED_HOSTS).map(([why, count]): ServiceAnswer => {
        return { ...idle(`${count} ${count === 1 ? "phone gets" : "phones get"} no push: ${why}`), state: "warning" };
      }),
      ...left > 0 ? [idle(`${left} further services were not asked`)] : [],
      ...prids.length === 0 ? [idle("no phone with Web Push is known, and phones name the services")] : [],
    ];
  }

  stop(): void {
    this.hosts?.stop();
  }

  private async request({ origin, isAllowed }: WebPushTarget, signal: AbortSignal): Promise<ServiceAnswer> {
    const { now, lookup } = this.world;
    const startedAtMs = now();
    const problem = await connectOnly({ origin, ca: this.ca, isPublicOnly: !isAllowed, lookup, signal });
    const ms = now() - startedAtMs;
    if (problem !== "") {
      const words = `${problem}; ${
        adviceOn(problem, "the address a phone named", "push.webpush.ca_file or this machine")
      }`;
      return { state: "failed", words, unverified: "", ms };
    }
    const unverified = "whether phones subscribed with this key: their service says so at the first push";
    return { state: "ok", words: `${origin} takes connections; phones named it`, unverified, ms };
  }

  private post(one: Try): void {
    const { attempt, host, message } = one;
    const body = one.isBare ? new Uint8Array() : this.encryption.encrypt(one.request.keys!, message.plainText);
    if (body === null) return this.refuse(one, "p256dh and auth of the phone are no keys: set them anew");
    const headers: Record<string, string> = {
      ...message.headers,
      authorization: host.vapid.text(this.world.systemNow()),
      "content-length": String(body.length),
    };
    if (!one.isBare) {
      headers["content-type"] = "application/octet-stream";
      headers["content-encoding"] = "aes128gcm";
    }
    host.post({
      path: one.target.path,
      headers,
      body,
      signal: attempt.signal,
      onStatus: (answer) => attempt.draft(this.answerOf(answer, one, "")),
      done: (answer, reason) => {
        // Too late: time was up, and the delivery has given its verdict.
        if (attempt.signal.aborted) return one.settled();
        if (answer === null) {
          if (host.refusal !== "") return this.refuse(one, host.refusal);
          attempt.answer(retry(reason));
          return one.settled();
        }
        if (webPushErrorOf(answer.status).action === "smaller" && !one.isBare) {
          one.isBare = true;
          // What the first try was told is not the word about the second.
          attempt.draft(retry(`${one.target.origin} did not answer in time`));
          return this.post(one);
        }
        attempt.answer(this.answerOf(answer, one, headers.authorization!));
        one.settled();
      },
    }, attempt.attempt > 1);
  }

  private refuse(one: Try, reason: string): void {
    one.attempt.answer(refused(reason));
    one.settled();
  }

  /** What an answer means when nothing more is tried. */
  private answerOf(answer: Http2Answer, one: Try, authorization: string): AttemptAnswer {
    const { status } = answer;
    const error = webPushErrorOf(status);
    const { origin, path } = one.target;
    const isShown = error.action !== "accepted" && error.action !== "dead" && !("content-encoding" in answer.headers);
    // A service may repeat what it was sent, and the path is all of the phone's secret there is.
    const secrets = [
      one.request.prid,
      path.length > 1 ? path : "",
      authorization,
      authorization.slice(8).split(",")[0]!,
    ];
    const words = isShown ? shownWords(answer.body, secrets) : "";
    const said = words === "" ? "" : `it says: ${words}`;
    const reason = [`${status} from ${origin}`, error.words, said].filter((part) => part !== "").join("; ");
    if (error.action === "retry") {
      return retry(reason, status, retryAfterMsOf(answer.headers["retry-after"], this.world.systemNow()));
    }
    const isOurFault = error.action === "config";
    return { kind: kindOf(error), status, reason, retryAfterMs: -1, isOurFault, isPerhapsThePhones: isOurFault };
  }
}

/** `https://host:port` of a URI, as it is written. */
function originTextOf(uri: string): string {
  const end = uri.indexOf("/", "https://".length);
  return end === -1 ? uri : uri.slice(0, end);
}

function kindOf({ action }: WebPushError): AttemptAnswer["kind"] {
  return action === "accepted" || action === "dead" ? action : "refused";
}
