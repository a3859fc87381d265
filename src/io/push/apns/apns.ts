/**
 * Owns the APNs backend: which token, environment and provider token a push takes, and what the answer leads to (the
 * table of `errors.ts`). It must not know HTTP/2, windows or retries within them.
 */
import { readApnsKey } from "../../../config/apns_key.ts";
import type { Config } from "../../../config/schema.ts";
import { askApns } from "./ask.ts";
import { type ApnsError, apnsErrorOf } from "./errors.ts";
import { type ApnsNotification, apnsNotificationOf } from "./notification.ts";
import { type ApnsTarget, apnsTargetOf } from "./target.ts";
import { ApnsToken } from "./token.ts";
import type { ServiceAnswer } from "../ask.ts";
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
import type { Http2Answer } from "../http/http2.ts";
import { Http2Client } from "../http/http2_client.ts";
import type { PushRequest } from "../types.ts";
import type { PushWorld } from "../world.ts";

export type ApnsConfig = Config["push"]["apns"];

/** Tokens of which something was learned; what was learned longest ago is forgotten first. */
export const MAX_LEARNED = 10_000;
const TIMEOUT_MS = 5000;

type Environment = "production" | "sandbox";

/** What was learned about a token, against what the phone said. Forgotten at a restart, and learned again. */
interface Learned {
  environment?: Environment;
  /** APNs takes nothing but VoIP pushes for it. */
  isVoipOnly?: boolean;
  /** One of two tokens of a phone is dead: when that was seen. */
  deadAtMs?: number;
}

/** A dead token is not tried again for so long if its phone has another. */
const DEAD_MS = 3_600_000;

/** One push on its way, through all the tries of one attempt. */
interface Try {
  readonly request: PushRequest;
  readonly notification: ApnsNotification;
  readonly target: ApnsTarget;
  readonly attempt: PushAttempt;
  readonly settled: () => void;
  environment: Environment;
  /** BadDeviceToken, of the environment that was asked before this one. */
  first: AttemptAnswer | null;
  /** What a second try was already made for. */
  readonly tried: Set<"environment" | "token" | "connection">;
}

export class Apns implements PushBackend {
  readonly name = "apns";
  readonly provider = "apns";
  readonly aliases = ["apns.dev"];
  readonly host: string;
  readonly settings: string;
  readonly timeoutMs = TIMEOUT_MS;
  private readonly config: ApnsConfig;
  private readonly world: PushWorld;
  private readonly learned = new Map<string, Learned>();
  private clients: Record<Environment, Http2Client> | null = null;
  private token: ApnsToken | null = null;
  private keyText = "";
  private setupProblem = "";

  /** Opens nothing. Never throws: what is wrong is said by {@link problem}. */
  constructor(config: ApnsConfig, world: PushWorld) {
    this.config = config;
    this.world = world;
    this.settings = JSON.stringify(config);
    this.host = originOf(config.server);
    this.setupProblem = this.settingsProblem() || this.reload();
  }

  problem(): string {
    return this.setupProblem;
  }

  /** The sandbox is opened with its first push: few have development builds. */
  warm(): void {
    this.clients?.production.warm();
  }

  reload(): string {
    const read = readKeyFile(this.world, "push.apns", "key_file", this.config);
    if ("problem" in read) return read.problem;
    const { text: keyText, ca } = read;
    const found = readApnsKey(keyText);
    if ("reason" in found) {
      const file = this.config.key_file;
      return `push.apns.key_file ${file} is no APNs key; latefork keys apns ${file} says why`;
    }
    // A provider token that works is not thrown away: Apple counts the changes.
    if (keyText !== this.keyText) this.token = new ApnsToken(found.key, this.config.key_id, this.config.team_id);
    this.keyText = keyText;
    this.clients ??= {
      production: new Http2Client(this.host, this.world),
      sandbox: new Http2Client(originOf(this.config.sandbox_server), this.world),
    };
    this.clients.production.trust(ca);
    this.clients.sandbox.trust(ca);
    this.setupProblem = "";
    return "";
  }

  /** Apple counts provider tokens by key: with the same key the token is kept, even if other settings changed. */
  succeed(before: PushBackend): void {
    if (!(before instanceof Apns)) return;
    for (const [token, what] of before.learned) this.learned.set(token, what);
    const { key_id, team_id } = before.config;
    const isSameKey = before.keyText === this.keyText && key_id === this.config.key_id &&
      team_id === this.config.team_id;
    if (isSameKey) this.token = before.token;
  }

  attempt(request: PushRequest, attempt: PushAttempt): Promise<void> {
    const refuse = (reason: string): Promise<void> => {
      attempt.answer(refused(reason));
      return Promise.resolve();
    };
    const said = apnsTargetOf(request.provider, request.param, request.prid);
    if (typeof said === "string") return refuse(said);
    const target = this.alive(said);
    const notification = this.notificationOf(request, target, attempt, target !== said);
    if (typeof notification === "string") return refuse(notification);
    return new Promise((settled) => {
      const one = this.tryOf({ request, notification, target, attempt, settled });
      // If nothing comes, the delivery names the production host.
      if (one.environment === "sandbox") this.heard(one).draft(this.silence(one));
      this.post(one);
    });
  }

  /** @returns in words why there can be none. @param isBereft one of the phone's two tokens is dead */
  private notificationOf(
    request: PushRequest,
    target: ApnsTarget,
    attempt: PushAttempt,
    isBereft: boolean,
  ): ApnsNotification | string {
    const notification = apnsNotificationOf(request, target, this.world.systemNow(), attempt.leftMs);
    if (typeof notification === "string" || !notification.isMisfit) return notification;
    if (isBereft) return PLAIN_IS_DEAD;
    return this.learned.get(notification.token)?.isVoipOnly ? VOIP_ONLY : notification;
  }

  private tryOf(one: Omit<Try, "environment" | "first" | "tried">): Try {
    const learned = this.learned.get(one.notification.token)?.environment;
    const environment = learned ?? (one.target.isSandbox ? "sandbox" : "production");
    return { ...one, environment, first: null, tried: new Set() };
  }

  /** The tokens that may be used: of two, not the one that was found dead. */
  private alive(target: ApnsTarget): ApnsTarget {
    const { voipToken, alertToken } = target;
    if (voipToken === "" || alertToken === "") return target;
    const isVoipDead = this.isDead(voipToken);
    if (isVoipDead === this.isDead(alertToken)) return target;
    return isVoipDead ? { ...target, voipToken: "" } : { ...target, alertToken: "" };
  }

  private isDead(token: string): boolean {
    const deadAtMs = this.learned.get(token)?.deadAtMs;
    return deadAtMs !== undefined && this.world.now() - deadAtMs < DEAD_MS;
  }

  ask(_prids: readonly string[], signal: AbortSignal): Promise<ServiceAnswer[]> {
    const { team_id } = this.config;
    const authorization = `bearer ${this.token!.text(this.world.systemNow())}`;
    return Promise.all((["production", "sandbox"] as const).map((environment) =>
      askApns({
        environment,
        host: this.hostOf(environment),
        client: this.clients![environment],
        authorization,
        teamId: team_id,
        world: this.world,
        signal,
        judge: (answer, target) => {
          const error = errorOf(answer);
          return { error, words: this.answerOf(answer, error, { target, environment, tried: new Set() }).reason };
        },
      })
    ));
  }

  stop(): void {
    this.clients?.production.stop();
    this.clients?.sandbox.stop();
  }

  private settingsProblem(): string {
    const { key_id, team_id, server, sandbox_server } = this.config;
    if (key_id === "" || team_id === "") return "push.apns needs key_id and team_id beside key_file";
    const wrong = [["server", server], ["sandbox_server", sandbox_server]].find(([, url]) => originOf(url!) === "");
    return wrong === undefined ? "" : `push.apns.${wrong[0]} is not an https URL`;
  }

  /** The receiver of a try's outcome, with the environment it is about. */
  private heard({ environment, attempt }: Try): PushAttempt {
    return answeredBy(this.hostOf(environment), attempt);
  }

  private silence({ environment }: Try): AttemptAnswer {
    return retry(`${this.hostOf(environment)} did not answer in time`);
  }

  private hostOf(environment: Environment): string {
    return environment === "production" ? this.host : originOf(this.config.sandbox_server);
  }

  private post(one: Try): void {
    const { environment } = one;
    const token = this.token!.text(this.world.systemNow());
    const client = this.clients![environment];
    client.post({
      path: `/3/device/${one.notification.token}`,
      headers: { ...one.notification.headers, authorization: `bearer ${token}` },
      body: one.notification.body,
      signal: one.attempt.signal,
      onStatus: (answer) => this.heard(one).draft(this.answerOf(answer, apnsErrorOf(answer.status, ""), one)),
      done: (answer, reason) => {
        // Too late: time was up, and the delivery has given its verdict.
        if (one.attempt.signal.aborted) return one.settled();
        if (answer !== null && this.goesOn(answer, one, client, token)) return this.postAgain(one);
        const verdict = answer === null ? retry(reason) : this.verdict(answer, one);
        if (verdict.kind === "dead" && this.hasOther(one)) return this.takeOther(one, verdict);
        this.heard(one).answer(this.withFirst(verdict, one));
        one.settled();
      },
    });
  }

  /** The answer to the first try says nothing about the second. */
  private postAgain(one: Try): void {
    this.heard(one).draft(this.withFirst(this.silence(one), one));
    this.post(one);
  }

  /** A phone with two tokens, of which only this one is known to be dead. */
  private hasOther({ notification: { token }, target: { voipToken, alertToken } }: Try): boolean {
    const other = token === voipToken ? alertToken : voipToken;
    return other !== "" && other !== token && !this.isDead(other);
  }

  /** One token of two is dead, the phone is not: a call goes to the other. Pushes that the other does not take are refused. */
  private takeOther(one: Try, verdict: AttemptAnswer): void {
    const { request, attempt, settled } = one;
    this.learn(one.notification.token, { deadAtMs: this.world.now() });
    const target = this.alive(one.target);
    const notification = this.notificationOf(request, target, attempt, true);
    if (typeof notification !== "string") {
      return this.postAgain(this.tryOf({ request, notification, target, attempt, settled }));
    }
    this.heard(one).answer({ ...verdict, kind: "refused", reason: `${verdict.reason}; ${notification}` });
    settled();
  }

  /** Whether the push is worth another try at once, with something changed. */
  private goesOn(answer: Http2Answer, one: Try, client: Http2Client, token: string): boolean {
    if (answer.status === 200) return false;
    const { action } = errorOf(answer);
    if ((action !== "environment" && action !== "token" && action !== "connection") || one.tried.has(action)) {
      return false;
    }
    if (action === "environment") {
      one.first = this.answerOf(answer, errorOf(answer), one);
      one.environment = one.environment === "production" ? "sandbox" : "production";
    }
    one.tried.add(action);
    if (action === "connection") client.renew();
    return action !== "token" || this.token!.renew(token, this.world.systemNow());
  }

  private verdict(answer: Http2Answer, one: Try): AttemptAnswer {
    const error = errorOf(answer);
    const { token, isMisfit } = one.notification;
    const isAboutToken = error.action === "dead" || error.action === "environment";
    if (isMisfit && (isAboutToken || error.reason === "DeviceTokenNotForTopic")) {
      this.learn(token, { isVoipOnly: true });
      return { ...this.answerOf(answer, error, one), kind: "refused", reason: VOIP_ONLY, isOurFault: false };
    }
    // Only what worked, or was at least known there, is remembered.
    const isKnownThere = answer.status === 200 || error.action === "dead" || error.action === "refused";
    if (one.tried.has("environment") && isKnownThere) this.learn(token, { environment: one.environment });
    return this.answerOf(answer, error, one);
  }

  /** If the other environment did not judge the token (it is away, or the key is not for it), both answers are reported, and the key counts as right. */
  private withFirst(answer: AttemptAnswer, { first }: Try): AttemptAnswer {
    if (first === null || (answer.kind !== "retry" && !answer.isOurFault)) return answer;
    return { ...answer, reason: `${first.reason}; ${answer.reason}`, isOurFault: false };
  }

  /** What an answer means when nothing more is tried. */
  private answerOf(
    answer: Http2Answer,
    error: ApnsError,
    one: Pick<Try, "target" | "environment" | "tried">,
  ): AttemptAnswer {
    const { status } = answer;
    const host = this.hostOf(one.environment);
    const said = `${[status, error.reason].join(" ").trim()} from ${host}`;
    if (status === 200) return { kind: "accepted", status, reason: said, retryAfterMs: -1, isOurFault: false };
    const isNowhere = error.action === "environment" && one.tried.has("environment");
    const words = isNowhere ? NOWHERE : error.words;
    const reason = [said, words, this.hint(error, answer, one)].filter((part) => part !== "").join("; ");
    if (error.action === "retry") {
      return retry(reason, status, retryAfterMsOf(answer.headers["retry-after"], this.world.systemNow()));
    }
    const isDead = error.action === "dead" || isNowhere;
    const isOurFault = error.action === "config" || error.action === "token" || error.action === "connection";
    const plain: AttemptAnswer = { kind: isDead ? "dead" : "refused", status, reason, retryAfterMs: -1, isOurFault };
    const deadSinceMs = error.action === "dead" ? timestampOf(answer.body) : undefined;
    return deadSinceMs === undefined ? plain : { ...plain, deadSinceMs };
  }

  /** What else is known that may help. */
  private hint(error: ApnsError, answer: Http2Answer, one: Pick<Try, "target">): string {
    const { team, bundle } = one.target;
    if (/Topic|BadDeviceToken/.test(error.reason) && team !== "" && team !== this.config.team_id) {
      return `the phone's app ${bundle} is of team ${team}, push.apns.team_id is ${this.config.team_id}`;
    }
    if (!/ProviderToken$/.test(error.reason)) return "";
    const theirMs = Date.parse(answer.headers.date ?? "");
    const minutes = Math.round((this.world.systemNow() - theirMs) / 60_000);
    if (Number.isNaN(minutes) || minutes === 0) return "";
    return `this machine's clock is ${Math.abs(minutes)} min ${minutes > 0 ? "ahead of" : "behind"} Apple's`;
  }

  private learn(token: string, what: Learned): void {
    const known = { ...this.learned.get(token), ...what };
    this.learned.delete(token);
    this.learned.set(token, known);
    if (this.learned.size <= MAX_LEARNED) return;
    const oldest = this.learned.keys().next();
    if (!oldest.done) this.learned.delete(oldest.value);
  }
}

/** It can never be used. */
const NOWHERE = "neither production nor sandbox knows the token: the app must register the one iOS gave it";
const PLAIN_IS_DEAD = "the phone's plain token is dead, its VoIP token takes calls alone; the app must register anew";
const VOIP_ONLY = "the phone registered only a VoIP token, which takes calls alone; an app that registers " +
  "TOKEN:remote&TOKEN:voip can be reached for the rest";

function errorOf(answer: Http2Answer): ApnsError {
  return apnsErrorOf(answer.status, textOf(bodyOf(answer.body).reason));
}

/** When APNs last saw the token dead, ms since the epoch; undefined if it does not say. */
function timestampOf(body: string): number | undefined {
  const { timestamp } = bodyOf(body);
  return typeof timestamp === "number" && Number.isFinite(timestamp) ? timestamp : undefined;
}

function bodyOf(body: string): { reason?: unknown; timestamp?: unknown } {
  try {
    const value: unknown = JSON.parse(body);
    return typeof value === "object" && value !== null ? value : {};
  } catch {
    return {};
  }
}

/** A word of APNs; anything else in its place is not shown. */
function textOf(reason: unknown): string {
  return typeof reason === "string" && /^\w{1,64}$/.test(reason) ? reason : "";
}

/** Empty if the URL is not https. */
function originOf(url: string): string {
  return URL.canParse(url) && new URL(url).protocol === "https:" ? new URL(url).origin : "";
}
