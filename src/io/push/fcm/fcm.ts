/**
 * Owns the FCM backend (HTTP v1): project and access token of a push, and what the answer leads to (the table of
 * `errors.ts`). It must not know HTTP/2, how a token is obtained, windows or retries within them.
 */
import type { Config } from "../../../config/schema.ts";
import { readServiceAccount, type ServiceAccount } from "../../../config/service_account.ts";
import { pushForNobody, type ServiceAnswer } from "../ask.ts";
import { type AttemptAnswer, type PushAttempt, type PushBackend, readKeyFile, refused, retry } from "../backend.ts";
import { type FcmError, fcmErrorOf, fcmSaid } from "./errors.ts";
import { fcmMessageOf, MAX_DATA_BYTES } from "./message.ts";
import { FcmToken, type TokenResult } from "./token.ts";
import { retryAfterMsOf } from "../http/answer.ts";
import { shownWords } from "../http/body.ts";
import type { Http2Answer } from "../http/http2.ts";
import { Http2Client } from "../http/http2_client.ts";
import type { PushRequest } from "../types.ts";
import type { PushWorld } from "../world.ts";

export type FcmConfig = Config["push"]["fcm"];

const TIMEOUT_MS = 5000;

/** One push on its way, through all the tries of one attempt. */
interface Try {
  readonly request: PushRequest;
  readonly body: string;
  readonly attempt: PushAttempt;
  readonly settled: () => void;
}

export class Fcm implements PushBackend {
  readonly name = "fcm";
  readonly provider = "fcm";
  readonly host: string;
  readonly settings: string;
  readonly timeoutMs = TIMEOUT_MS;
  private readonly config: FcmConfig;
  private readonly world: PushWorld;
  private client: Http2Client | null = null;
  private account: ServiceAccount | null = null;
  private token: FcmToken | null = null;
  /** What the token was made from. */
  private source = "";
  private isWarm = false;
  private setupProblem = "";

  /** Opens nothing. Never throws: what is wrong is said by {@link problem}. */
  constructor(config: FcmConfig, world: PushWorld) {
    this.config = config;
    this.world = world;
    this.settings = JSON.stringify(config);
    const isHttps = URL.canParse(config.server) && new URL(config.server).protocol === "https:";
    this.host = isHttps ? new URL(config.server).origin : "";
    this.setupProblem = isHttps ? this.reload() : "push.fcm.server is not an https URL";
  }

  problem(): string {
    return this.setupProblem;
  }

  warm(): void {
    this.isWarm = true;
    this.client?.warm();
    this.token?.keepFresh();
  }

  reload(): string {
    const read = readKeyFile(this.world, "push.fcm", "service_account_file", this.config);
    if ("problem" in read) return read.problem;
    const { text, ca } = read;
    const account = readServiceAccount(text);
    if ("reason" in account) {
      const file = this.config.service_account_file;
      return `push.fcm.service_account_file ${file} is no service account; latefork check says why`;
    }
    const source = `${text}\0${ca ?? ""}`;
    // A token that works is kept.
    if (source !== this.source) {
      this.token?.stop();
      this.token = new FcmToken(account, ca, this.world);
      if (this.isWarm) this.token.keepFresh();
    }
    this.source = source;
    this.account = account;
    this.client ??= new Http2Client(this.host, this.world);
    this.client.trust(ca);
    this.setupProblem = "";
    return "";
  }

  attempt(request: PushRequest, attempt: PushAttempt): Promise<void> {
    const refuse = (reason: string): Promise<void> => {
      attempt.answer(refused(reason));
      return Promise.resolve();
    };
    const { projectId } = this.account!;
    // Only our own project takes our access token. A project number cannot be compared: the file does not have it.
    if (isProjectId(request.param) && request.param !== projectId) {
      return refuse(wrongProject(request.param, projectId));
    }
    const body = fcmMessageOf(request, this.world.systemNow(), attempt.leftMs);
    if (body === null) return refuse(`AoR and Call-ID are too long for a push of ${MAX_DATA_BYTES} bytes`);
    return new Promise((settled) => {
      const one: Try = { request, body, attempt, settled };
      const token = this.token!.current;
      if (token !== "") return this.post(one, token);
      attempt.draft(retry(this.token!.waiting));
      this.token!.get().then((result) => this.postWith(one, result));
    });
  }

  /** Asks for an access token, and sends a message for FCM to judge and not to deliver (`validate_only`). */
  async ask(_prids: readonly string[], signal: AbortSignal): Promise<ServiceAnswer[]> {
    const { now, systemNow } = this.world;
    const { email, projectId, tokenUri } = this.account!;
    const askedAtMs = now();
    const result = await this.token!.get();
    const ms = now() - askedAtMs;
    if ("failure" in result) {
      return [{ state: "failed", words: `no access token: ${result.failure.reason}`, unverified: "FCM itself", ms }];
    }
    const account: ServiceAnswer = {
      state: "ok",
      words: `${new URL(tokenUri).origin} gives access tokens to ${email}`,
      unverified: "",
      ms,
    };
    const push = pushForNobody(crypto.randomUUID(), "fcm", "", NOBODYS_TOKEN);
    const message = JSON.parse(fcmMessageOf(push, systemNow(), push.ttlMs)!);
    const sentAtMs = now();
    return await new Promise((resolve) => {
      this.client!.post({
        path: `/v1/projects/${projectId}/messages:send`,
        headers: { "content-type": "application/json", authorization: `Bearer ${result.text}` },
        body: JSON.stringify({ validate_only: true, ...message }),
        signal,
        onStatus() {},
        done: (answer, reason) => {
          const said = answer === null ? this.silence(reason, signal) : this.asked(answer, push, result.text);
          resolve([account, { ...said, ms: now() - sentAtMs }]);
        },
      });
    });
  }

  stop(): void {
    this.token?.stop();
    this.client?.stop();
  }

  private silence(reason: string, signal: AbortSignal): Omit<ServiceAnswer, "ms"> {
    const words = signal.aborted ? `${this.host} did not answer in time` : reason;
    return { state: "failed", words: `${words}; does a firewall let this machine out to it?`, unverified: "" };
  }

  private asked(answer: Http2Answer, push: PushRequest, token: string): Omit<ServiceAnswer, "ms"> {
    const { action, code } = errorOf(answer);
    const { projectId } = this.account!;
    // An answer that the registration token is wrong shows that account and project are right.
    if (answer.status === 200 || action === "dead" || code === "SENDER_ID_MISMATCH") {
      const said = answer.status === 200 ? "200" : `${answer.status} ${code}`;
      const words =
        `${this.host} takes messages for project ${projectId} (${said} to a token nobody has, to judge only)`;
      return { state: "ok", words, unverified: "whether your app is of this project: that takes a phone" };
    }
    return { state: "failed", words: this.answerOf(answer, token, { request: push }).reason, unverified: "" };
  }

  private postWith(one: Try, result: TokenResult): void {
    // Too late: time was up, and the delivery has given its verdict.
    if (one.attempt.signal.aborted) return one.settled();
    if ("text" in result) return this.post(one, result.text);
    one.attempt.answer({ ...result.failure, reason: `no access token: ${result.failure.reason}` });
    one.settled();
  }

  private post(one: Try, token: string): void {
    // A token was had meanwhile: what is missing now is FCM's answer.
    one.attempt.draft(retry(`${this.host} did not answer in time`));
    this.client!.post({
      path: `/v1/projects/${this.account!.projectId}/messages:send`,
      headers: { "content-type": "application/json", authorization: `Bearer ${token}` },
      body: one.body,
      signal: one.attempt.signal,
      onStatus: (answer) => one.attempt.draft(this.answerOf(answer, token, one)),
      done: (answer, reason) => {
        if (one.attempt.signal.aborted) return one.settled();
        if (answer !== null && this.goesOn(answer, one, token)) return;
        one.attempt.answer(answer === null ? retry(reason) : this.answerOf(answer, token, one));
        one.settled();
      },
    });
  }

  /** A token that FCM does not take is replaced, and its successor is not, for a while. @returns true if the push is tried again. */
  private goesOn(answer: Http2Answer, one: Try, token: string): boolean {
    if (answer.status === 200 || errorOf(answer).action !== "token") return false;
    const renewed = this.token!.renew(token);
    renewed?.then((result) => this.postWith(one, result));
    return renewed !== null;
  }

  /** What an answer means when nothing more is tried. */
  private answerOf(answer: Http2Answer, token: string, one: Pick<Try, "request">): AttemptAnswer {
    const { status } = answer;
    if (status === 200) {
      return { kind: "accepted", status, reason: `200 from ${this.host}`, retryAfterMs: -1, isOurFault: false };
    }
    const error = errorOf(answer);
    const isDead = error.action === "dead";
    const words = isDead ? "" : shownWords(fcmSaid(answer.body).message, [token, one.request.prid]);
    const said = `${[status, error.code].join(" ").trim()} from ${this.host}`;
    const google = words === "" ? "" : `Google says: ${words}`;
    const reason = [said, error.words, this.hint(error, one.request.param), google]
      .filter((part) => part !== "").join("; ");
    if (error.action === "retry") {
      return retry(reason, status, retryAfterMsOf(answer.headers["retry-after"], this.world.systemNow()));
    }
    const isOurFault = error.action === "config" || error.action === "token";
    return { kind: isDead ? "dead" : "refused", status, reason, retryAfterMs: -1, isOurFault };
  }

  /** What else is known that may help. */
  private hint(error: FcmError, param: string): string {
    if (error.code !== "SENDER_ID_MISMATCH") return "";
    const { projectId } = this.account!;
    const ours = `service_account_file is of project ${projectId}`;
    return param === "" || param === projectId ? ours : `the phone's pn-param is ${shownWords(param, [])}, ${ours}`;
  }
}

/** Not of a token's form, so that FCM need not look for it. */
const NOBODYS_TOKEN = "latefork-check-no-such-token";

function errorOf(answer: Http2Answer): FcmError {
  const { code, isAboutToken } = fcmSaid(answer.body);
  return fcmErrorOf(answer.status, code, isAboutToken);
}

/** Google Cloud, "Creating and managing projects": 6 to 30 characters, begins with a letter. Apps put other names there too. */
function isProjectId(param: string): boolean {
  return /^[a-z][a-z0-9-]{4,28}[a-z0-9]$/.test(param);
}

function wrongProject(theirs: string, ours: string): string {
  return `the phone's app belongs to Firebase project ${theirs} (pn-param), push.fcm.service_account_file is of ` +
    `${ours}: take the service account of ${theirs}, or build the app with the google-services.json of ${ours}`;
}
