/**
 * Owns the choice of a push's backend, the limit per device, and the last results. It must not know calls, usrloc or HTTP:
 * it takes complete requests and gives verdicts.
 */
import { lookup } from "node:dns";
import { readFileSync } from "node:fs";
import type { Config } from "../../config/schema.ts";
import { Apns } from "./apns/apns.ts";
import type { ServiceAnswer } from "./ask.ts";
import type { PushBackend } from "./backend.ts";
import { type BackendHealth, Delivery } from "./delivery.ts";
import { Fcm } from "./fcm/fcm.ts";
import { HttpSender } from "./http_sender/http_sender.ts";
import { MAX_PARAM_LENGTH, MAX_PRID_LENGTH, MAX_PROVIDER_LENGTH } from "../../core/rfc8599/parameters.ts";
import { DeviceRate, type RateTable } from "./rate.ts";
import { pushOfNoCall } from "./request.ts";
import type { PushKeys } from "../../core/usrloc/model.ts";
import type { PushEvent, PushOutcome, PushRequest, PushVerdict } from "./types.ts";
import { Webhook } from "./webhook.ts";
import { WebPush } from "./webpush/webpush.ts";
import type { PushWorld } from "./world.ts";

/** Results kept for `GET /v1/push/recent`. */
export const MAX_RECENT = 200;
/** Window of a push that is sent by hand. */
export const TEST_TTL_MS = 10_000;

export type PushConfig = Config["push"];

/** What the relay tells its owner, besides verdicts. All of it is for people and dashboards. */
export interface PushObserver {
  /** Every verdict, `backend` being a bounded label ("none" if no backend took the push). */
  verdict?(verdict: PushVerdict, request: PushRequest, backend: string): void;
}

/** One entry of `GET /v1/push/recent`. Holds no token. */
export interface RecentPush {
  /** When the verdict came, ISO 8601. */
  at: string;
  uuid: string;
  event: PushEvent;
  provider: string;
  backend: string;
  aor: string;
  device: string;
  call_id: string;
  status: number;
  outcome: PushOutcome;
  accepted: boolean;
  reason: string;
  ms: number;
  attempts: number;
}

/** The world, and the table that pushes are counted in for each device. */
export type RelayWorld = Partial<PushWorld> & { readonly rates: RateTable };

const realWorld: PushWorld = {
  now: Date.now,
  systemNow: Date.now,
  random: Math.random,
  fetch: (url, init) => fetch(url, init as RequestInit),
  schedule: (delayMs, fn) => {
    const timer = setTimeout(fn, delayMs);
    return () => clearTimeout(timer);
  },
  lookup: (host, done) => lookup(host, { all: true }, done),
  readSecret: (path) => readFileSync(path, "utf8"),
};

export class PushRelay {
  private readonly world: PushWorld;
  private readonly observer: PushObserver;
  /** By `pn-provider`, or `*`. A map, as the key comes from the network. */
  private deliveries = new Map<string, Delivery>();
  /** By the other names a backend serves. */
  private aliases = new Map<string, Delivery>();
  /** Replaced by a reload, still finishing. */
  private retired: Delivery[] = [];
  /** Where each push without a verdict is, by uuid. */
  private readonly pending = new Map<string, Delivery>();
  private readonly rate: DeviceRate;
  private recentVerdicts: RecentPush[] = [];
  private isStopped = false;
  /** P-13: a push says of the caller nothing but the Call-ID. */
  private isDiscreet: boolean;
  /** Backends that keep connections open, by provider. */
  private readonly warmed = new Set<string>();

  /** @param world where pushes are counted, and parts to replace; the rest is real. Never throws: see {@link problems}. */
  constructor(push: PushConfig, world: RelayWorld, observer: PushObserver = {}) {
    this.world = { ...realWorld, ...world };
    this.rate = new DeviceRate(world.rates);
    this.isDiscreet = push.privacy === "id";
    this.observer = observer;
    for (const backend of this.backendsOf(push)) {
      this.deliveries.set(backend.provider, new Delivery(backend, this.world));
    }
    this.aliases = aliasesOf(this.deliveries);
  }

  /**
   * Starts a push; its request leaves within this call if its backend has room. `done` comes exactly once, and never
   * within this call.
   */
  send(request: PushRequest, done: (verdict: PushVerdict) => void): void {
    const delivery = this.deliveryOf(request.provider);
    const refusal = this.refusalOf(request, delivery);
    const isRateLimited = refusal === "" && !this.rate.take(request, this.world.now());
    if (delivery === undefined || refusal !== "" || isRateLimited) {
      const { uuid, provider } = request;
      const outcome = this.isStopped ? "failed" : "refused";
      const reason = isRateLimited ? "rate limited: too many pushes to this device within a minute" : refusal;
      const verdict: PushVerdict = { uuid, provider, outcome, status: 0, reason, ms: 0, attempts: 0, isRateLimited };
      const name = delivery?.backend.name ?? "none";
      queueMicrotask(() => this.finish(verdict, request, name, done));
      return;
    }
    this.pending.set(request.uuid, delivery);
    delivery.send(this.isDiscreet ? withoutCaller(request) : request, (verdict) => {
      this.pending.delete(request.uuid);
      this.finish(verdict, request, delivery.backend.name, done);
    });
  }

  /** {@link send} as a promise; it never rejects. */
  sendNow(request: PushRequest): Promise<PushVerdict> {
    return new Promise((resolve) => this.send(request, resolve));
  }

  /** Sends one push to a bare token (P-08). */
  testPush(
    token: { provider: string; param: string; prid: string; keys?: PushKeys | undefined },
    event: PushEvent = "test",
  ): Promise<PushVerdict> {
    const to = { ...token, uuid: crypto.randomUUID(), provider: token.provider.toLowerCase() };
    return this.sendNow(pushOfNoCall(to, event, TEST_TTL_MS));
  }

  /** Sends one push to a device, as if `event` had happened to it (P-08). */
  pushByHand(
    token: { provider: string; param: string; prid: string; keys?: PushKeys | undefined },
    event: PushEvent,
    { aor, device }: { aor: string; device: string },
  ): Promise<PushVerdict> {
    const push = pushOfNoCall({ ...token, uuid: crypto.randomUUID() }, event, TEST_TTL_MS);
    return this.sendNow({ ...push, aor, device, toUri: "sip:" + aor });
  }

  /**
   * No further attempt for this push. Its verdict still comes: `failed`, or what the service answers to an attempt
   * that is under way.
   *
   * @returns false if it has its verdict or is unknown.
   */
  cancel(uuid: string): boolean {
    return this.pending.get(uuid)?.cancel(uuid) ?? false;
  }

  /** True if pushes for this `pn-provider` have a backend that can send (registration: Feature-Caps and 555, P-02). */
  serves(provider: string): boolean {
    return this.deliveryOf(provider)?.backend.problem() === "";
  }

  /** True if nothing is configured that could send. */
  get isEmpty(): boolean {
    return this.deliveries.size === 0;
  }

  /** The `pn-provider` values that can be sent to, for a phone that asks; a webhook for any provider has no name of its own. */
  services(): string[] {
    return [...this.deliveries.keys()].filter((provider) => provider !== "*" && this.serves(provider));
  }

  /** Opens connections of all backends ahead of the first push (P-05); see {@link expect} for those of devices. */
  warm(): void {
    for (const { backend } of this.deliveries.values()) this.warmUp(backend);
  }

  /** A device with this token is registered: its service is connected to ahead of the first push (P-05). */
  expect(device: { provider: string; prid: string; keys?: PushKeys | undefined }): void {
    const backend = this.deliveryOf(device.provider)?.backend;
    if (backend === undefined || backend.problem() !== "") return;
    this.warmUp(backend);
    backend.expect?.(device.prid, device.keys !== undefined);
  }

  /** The VAPID key Web Push phones must subscribe with (`sip.vapid`); empty if there is none. */
  get vapidKey(): string {
    const backend = this.deliveries.get("webpush")?.backend;
    return backend instanceof WebPush ? backend.publicKey : "";
  }

  /** Health by backend, for `GET /v1/push`. */
  backends(): BackendHealth[] {
    return [...this.deliveries.values()].map((delivery) => delivery.health());
  }

  /** Last results, the newest first, for `GET /v1/push/recent`. */
  recent(): RecentPush[] {
    return [...this.recentVerdicts].reverse();
  }

  /** What keeps a configured backend from sending, in words; for the start screen and `check`. */
  problems(): string[] {
    const problems = [...this.deliveries.values()].map((delivery) => delivery.backend.problem());
    return problems.filter((problem) => problem !== "");
  }

  /**
   * Asks every service of the config at once, without a push to a phone (O-02).
   *
   * @param tokens of devices: Web Push services are known by them alone.
   * @param limitMs how long an answer may take.
   * @returns answers by config key (`push.apns`); it never rejects.
   */
  async ask(
    tokens: readonly { provider: string; prid: string }[],
    limitMs: number,
  ): Promise<{ part: string; answer: ServiceAnswer }[]> {
    const late = new AbortController();
    const cancel = this.world.schedule(limitMs, () => late.abort());
    const asked = [...this.deliveries.values()].map(async (delivery) => {
      const { backend } = delivery;
      const problem = backend.problem();
      const own = tokens.filter(({ provider }) => this.deliveryOf(provider) === delivery).map(({ prid }) => prid);
      const answers: ServiceAnswer[] = problem === ""
        ? await backend.ask(own, late.signal)
        : [{ state: "failed", words: problem, unverified: "", ms: 0 }];
      return answers.map((answer) => ({ part: `push.${backend.name}`, answer }));
    });
    const answers = await Promise.all(asked);
    cancel();
    return answers.flat();
  }

  /**
   * Takes a new configuration and reads secrets again. Pushes under way end where they began; a backend whose address
   * is the same keeps its counters.
   *
   * @returns problems in words; a backend whose new secret cannot be read goes on with its old one.
   */
  reload(push: PushConfig): string[] {
    const problems: string[] = [];
    const before = this.deliveries;
    this.isDiscreet = push.privacy === "id";
    this.deliveries = new Map();
    for (const backend of this.backendsOf(push)) {
      const old = before.get(backend.provider);
      if (old === undefined || !isSame(old.backend, backend)) {
        if (old !== undefined) backend.succeed?.(old.backend);
        this.deliveries.set(backend.provider, new Delivery(backend, this.world));
        if (this.warmed.delete(backend.provider)) this.warmUp(backend);
        continue;
      }
      const problem = old.backend.reload();
      // problems() tells of a backend that was broken before.
      if (problem !== "" && old.backend.problem() === "") problems.push(`${problem}; the old one is kept`);
      this.deliveries.set(backend.provider, old);
    }
    this.aliases = aliasesOf(this.deliveries);
    const kept = new Set(this.deliveries.values());
    const replaced = [...before.values()].filter((delivery) => !kept.has(delivery));
    for (const delivery of replaced) delivery.retire();
    this.retired = [...this.retired, ...replaced].filter((delivery) => delivery.isBusy);
    return [...problems, ...this.problems()];
  }

  /** Ends all pushes (`failed`) and connections. */
  stop(): void {
    this.isStopped = true;
    for (const delivery of [...this.deliveries.values(), ...this.retired]) delivery.stop();
    this.retired = [];
  }

  private warmUp(backend: PushBackend): void {
    if (this.warmed.has(backend.provider)) return;
    this.warmed.add(backend.provider);
    backend.warm();
  }

  private backendsOf(push: PushConfig): PushBackend[] {
    const backends: PushBackend[] = [];
    if (push.apns.key_file !== "") backends.push(new Apns(push.apns, this.world));
    if (push.fcm.service_account_file !== "") backends.push(new Fcm(push.fcm, this.world));
    if (push.webpush.vapid_file !== "") backends.push(new WebPush(push.webpush, this.world));
    // After the services: a sender or webhook named apns replaces the service (check warns where both are set).
    for (const key of Object.keys(push.http)) backends.push(new HttpSender(key, push.http[key]!, this.world));
    for (const key of Object.keys(push.webhook)) {
      backends.push(new Webhook(key.toLowerCase(), push.webhook[key]!, this.world));
    }
    return backends;
  }

  private deliveryOf(provider: string): Delivery | undefined {
    return this.deliveries.get(provider) ?? this.aliases.get(provider) ?? this.deliveries.get("*");
  }

  /** Why this push is not even tried; empty if it is. */
  private refusalOf(request: PushRequest, delivery: Delivery | undefined): string {
    if (this.isStopped) return "latefork is stopping";
    const { provider, param, prid } = request;
    if (provider === "" || prid === "") return "the device has no push token";
    const isTooLong = provider.length > MAX_PROVIDER_LENGTH || param.length > MAX_PARAM_LENGTH ||
      prid.length > MAX_PRID_LENGTH;
    if (isTooLong) return "its push parameters are too long";
    if (delivery === undefined) return `no backend for provider ${provider}; ${missing(provider)}`;
    const { backend } = delivery;
    if (backend.sends?.(request.event) === false) return `push.${backend.name} sends no ${request.event} pushes`;
    return this.pending.has(request.uuid) ? `push ${request.uuid} is under way already` : "";
  }

  private finish(
    verdict: PushVerdict,
    request: PushRequest,
    backend: string,
    done: (verdict: PushVerdict) => void,
  ): void {
    this.recentVerdicts.push({
      at: new Date(this.world.now()).toISOString(),
      uuid: verdict.uuid,
      event: request.event,
      provider: verdict.provider,
      backend,
      aor: request.aor,
      device: request.device,
      call_id: request.callId,
      status: verdict.status,
      outcome: verdict.outcome,
      accepted: verdict.outcome === "accepted",
      reason: verdict.reason,
      ms: verdict.ms,
      attempts: verdict.attempts,
    });
    if (this.recentVerdicts.length > MAX_RECENT) this.recentVerdicts.shift();
    this.observer.verdict?.(verdict, request, backend);
    done(verdict);
  }
}

const SERVICES: ReadonlyMap<string, string> = new Map([
  ["apns", "apns"],
  ["apns.dev", "apns"],
  ["fcm", "fcm"],
  ["webpush", "webpush"],
  ["unifiedpush", "webpush"],
]);

/** The push without names of the caller, for any service (P-13). */
function withoutCaller(request: PushRequest): PushRequest {
  return { ...request, fromUri: "", fromName: "" };
}

/** What to put into the config. */
function missing(provider: string): string {
  const service = SERVICES.get(provider);
  return service === undefined
    ? `add push.http.${provider} or push.webhook.${provider}`
    : `set push.${service}, or add push.http.${provider} or push.webhook.${provider}`;
}

function isSame(one: PushBackend, other: PushBackend): boolean {
  return one.name === other.name && one.settings === other.settings;
}

function aliasesOf(deliveries: ReadonlyMap<string, Delivery>): Map<string, Delivery> {
  const aliases = new Map<string, Delivery>();
  for (const delivery of deliveries.values()) {
    for (const alias of delivery.backend.aliases ?? []) aliases.set(alias, delivery);
  }
  return aliases;
}
