/**
 * Owns one webhook: the HTTP request to the owner's pusher, and what its answer means. It must not know windows,
 * retries or other backends. The token appears in the Authorization header and nowhere else.
 */
import type { WebhookConfig } from "../../config/schema.ts";
import { adviceOn, connectOnly, type ServiceAnswer } from "./ask.ts";
import { type AttemptAnswer, type PushAttempt, type PushBackend, refused, retry } from "./backend.ts";
import { codeOf, retryAfterMsOf } from "./http/answer.ts";
import { shownWords } from "./http/body.ts";
import { type Exchange, exchange } from "./http/exchange.ts";
import { MAX_BODY_BYTES, webhookBody } from "./payload.ts";
import type { PushRequest } from "./types.ts";
import type { HttpRequest, PushWorld } from "./world.ts";

export class Webhook implements PushBackend {
  readonly name: string;
  readonly provider: string;
  readonly host: string;
  readonly timeoutMs: number;
  readonly settings: string;
  readonly config: WebhookConfig;
  private readonly world: PushWorld;
  private readonly isHttps: boolean;
  private token = "";
  private setupProblem = "";

  /** @param provider key under `push.webhook`. Never throws: what is wrong is said by {@link problem}. */
  constructor(provider: string, config: WebhookConfig, world: PushWorld) {
    this.name = `webhook.${provider}`;
    this.provider = provider;
    this.config = config;
    this.timeoutMs = config.timeout;
    this.settings = JSON.stringify(config);
    this.world = world;
    const url = URL.canParse(config.url) ? new URL(config.url) : null;
    this.host = url?.origin ?? "";
    this.isHttps = url?.protocol === "https:";
    if (url === null || (url.protocol !== "https:" && url.protocol !== "http:")) {
      this.setupProblem = `push.${this.name}.url is not an http or https URL`;
    } else if (url.username !== "" || url.password !== "") {
      this.setupProblem = `push.${this.name}.url holds a password: put a token into token_file instead`;
    } else this.setupProblem = this.reload();
  }

  problem(): string {
    return this.setupProblem;
  }

  /**
   * Nothing to open: HTTP/1.1 has no PING, a request would reach the owner's code, and connections Bun preconnects are
   * not those it uses once certificate checks are asked for (tried with Bun 1.4.5).
   */
  warm(): void {}

  reload(): string {
    const path = this.config.token_file;
    if (path === "") return "";
    const setting = `push.${this.name}.token_file ${path}`;
    let token: string;
    try {
      token = this.world.readSecret(path).trim();
    } catch (error) {
      return `Cannot read ${setting}: ${codeOf(error) || "error"}`;
    }
    if (token === "") return `${setting} is empty`;
    // RFC 9110 §5.5: nothing else survives in a header, and a line break would end it.
    if (!/^[\x21-\x7e]+$/.test(token)) return `${setting} must hold one token of visible ASCII characters`;
    this.token = token;
    this.setupProblem = "";
    return "";
  }

  attempt(request: PushRequest, attempt: PushAttempt): Promise<void> {
    const body = webhookBody(request, this.world.systemNow(), attempt.leftMs);
    if (body === null) {
      attempt.answer(refused(`token, AoR and Call-ID are too long for a push of ${MAX_BODY_BYTES} bytes`));
      return Promise.resolve();
    }
    const headers: Record<string, string> = { "content-type": "application/json", "user-agent": "latefork" };
    if (this.token !== "") headers.authorization = `Bearer ${this.token}`;
    const http: HttpRequest = {
      method: "POST",
      headers,
      body,
      redirect: "manual",
      signal: attempt.signal,
      decompress: false,
    };
    // A pooled connection may have died silently (NAT); the second attempt does not trust the pool.
    if (attempt.attempt > 1) http.keepalive = false;
    if (this.isHttps) http.tls = { rejectUnauthorized: true };
    const what: Exchange = {
      url: this.config.url,
      host: this.host,
      http,
      needsBody: (status) => status < 200 || status >= 300,
      // A receiver may echo what it was sent.
      answerOf: (response, body) => this.answerOf(response, body === null ? "" : shownWords(body, [this.token])),
    };
    return exchange(what, attempt, this.world);
  }

  /** Connects and no more: any request runs the owner's code, which may wake a phone. */
  async ask(_prids: readonly string[], signal: AbortSignal): Promise<ServiceAnswer[]> {
    const { now, lookup } = this.world;
    const startedAtMs = now();
    const problem = await connectOnly({ origin: this.host, isPublicOnly: false, lookup, signal });
    const ms = now() - startedAtMs;
    if (problem !== "") {
      const words = `${problem}; ${adviceOn(problem, `push.${this.name}.url`, "this machine")}`;
      return [{ state: "failed", words, unverified: "", ms }];
    }
    const words = `${this.host} takes ${this.isHttps ? "connections, its certificate is trusted" : "connections"}`;
    const what = this.token === "" ? "what it makes of a push" : "what it makes of a push, and of the token";
    return [{ state: "ok", words, unverified: `${what}: nothing was posted (latefork push test AOR does)`, ms }];
  }

  stop(): void {}

  private answerOf(response: Response, words: string): AttemptAnswer {
    const status = response.status;
    const said = `${status} from ${this.host}${words === "" ? "" : `: ${words}`}`;
    const answer = (kind: AttemptAnswer["kind"], advice: string, isOurFault = false): AttemptAnswer => {
      return { kind, status, reason: said + (advice && `; ${advice}`), retryAfterMs: -1, isOurFault };
    };
    if (status >= 200 && status < 300) return answer("accepted", "");
    if (status === 410) return answer("dead", "the token is dead");
    // Any web server says so of a path it does not have.
    if (status === 404) return answer("dead", `the token is dead; if every phone's is, push.${this.name}.url is wrong`);
    if (status === 429 || status >= 500) {
      return retry(said, status, retryAfterMsOf(response.headers.get("retry-after"), this.world.systemNow()));
    }
    if (status < 400) {
      return answer("refused", `redirects are not followed, put the final address into push.${this.name}.url`, true);
    }
    if (status === 401 || status === 403) return answer("refused", `check push.${this.name}.token_file`, true);
    return answer("refused", "");
  }
}
