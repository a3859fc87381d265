/**
 * Owns the access token FCM wants: the assertion it is asked for with (RFC 7523), the exchange, how long it is good
 * for, and one exchange for all pushes that wait. It must not know messages or what FCM answers to them.
 */
import type { ServiceAccount } from "../../../config/service_account.ts";
import { type AttemptAnswer, retry } from "../backend.ts";
import { retryAfterMsOf, unreachable } from "../http/answer.ts";
import { BodyStart, shownWords } from "../http/body.ts";
import { signedJwt } from "../jwt.ts";
import type { HttpRequest, PushWorld } from "../world.ts";

/** A token is replaced this long before its end (at most half its life), beside the pushes that still use it. */
export const EARLY_MS = 5 * 60_000;
/** One that ends sooner is not used: the message would come too late. */
export const SPARE_MS = 10_000;
/** Longest time one exchange may take. */
export const EXCHANGE_MS = 4000;
/** After a refusal Google is not asked for this long, after a failure for a moment, however many pushes want a token. */
export const REFUSED_MS = 5000;
export const FAILED_MS = 150;
/** A token FCM does not take is replaced at most this often. */
export const MIN_RENEWAL_MS = 60_000;
/** A token kept fresh is asked for again after n failures in a row in `RETRY_MS · 2^(n-1)`. */
export const RETRY_MS = 1000;
const MAX_RETRY_MS = 60_000;
const SCOPE = "https://www.googleapis.com/auth/firebase.messaging";
const GRANT = "urn:ietf:params:oauth:grant-type:jwt-bearer";
const ASSERTION_S = 3600;
const MAX_BODY_BYTES = 16_384;
const ACCOUNT = "push.fcm.service_account_file";

/** A token, or why there is none. */
export type TokenResult = { readonly text: string } | { readonly failure: AttemptAnswer };

export class FcmToken {
  private readonly account: ServiceAccount;
  private readonly ca: string | undefined;
  private readonly world: PushWorld;
  private readonly host: string;
  private text = "";
  private endsAtMs = 0;
  private earlyAtMs = 0;
  private renewedAtMs = -Infinity;
  private pending: Promise<TokenResult> | null = null;
  /** What the last exchange failed with, and until when it stands. */
  private rest: { failure: AttemptAnswer; untilMs: number } | null = null;
  private isKeptFresh = false;
  private failures = 0;
  private isStopped = false;
  private cancelTimer = (): void => {};
  private readonly abort = new AbortController();

  /** @param ca certificates (PEM) to trust instead of the system's. */
  constructor(account: ServiceAccount, ca: string | undefined, world: PushWorld) {
    this.account = account;
    this.ca = ca;
    this.world = world;
    this.host = new URL(account.tokenUri).origin;
  }

  /** The token, if there is one to use now; else empty. One that ends soon is replaced meanwhile. */
  get current(): string {
    const nowMs = this.world.now();
    if (this.text === "" || nowMs > this.endsAtMs - SPARE_MS) return "";
    if (nowMs >= this.earlyAtMs) this.get();
    return this.text;
  }

  /** What a push that waits for a token is to say if time runs out. */
  get waiting(): string {
    return `${this.host} gave no access token in time`;
  }

  /** A new token; all who ask while one is under way get the same. It never rejects. */
  get(): Promise<TokenResult> {
    if (this.pending !== null) return this.pending;
    const rest = this.rest;
    if (rest !== null && this.world.now() < rest.untilMs) return Promise.resolve({ failure: rest.failure });
    this.pending = this.exchange().then((result) => {
      this.pending = null;
      this.settled(result);
      return result;
    });
    return this.pending;
  }

  /** FCM does not take `used`: another token, or null if there is no point in trying again. */
  renew(used: string): Promise<TokenResult> | null {
    // Of many pushes that used it, the first has renewed it already.
    if (used !== this.text) return this.text === "" ? this.get() : Promise.resolve({ text: this.text });
    if (this.world.now() - this.renewedAtMs < MIN_RENEWAL_MS) return null;
    this.renewedAtMs = this.world.now();
    this.text = "";
    return this.get();
  }

  /** Gets a token now, and has a good one at any time from now on. */
  keepFresh(): void {
    if (this.isKeptFresh) return;
    this.isKeptFresh = true;
    if (this.current === "") this.get();
    else this.planRenewal();
  }

  stop(): void {
    this.isStopped = true;
    this.cancelTimer();
    this.abort.abort();
  }

  private settled(result: TokenResult): void {
    if ("failure" in result) {
      const { failure } = result;
      const restMs = failure.kind === "refused" ? REFUSED_MS : Math.max(FAILED_MS, failure.retryAfterMs);
      this.rest = { failure, untilMs: this.world.now() + Math.min(restMs, REFUSED_MS) };
      this.failures++;
    } else {
      this.rest = null;
      this.failures = 0;
    }
    if (this.isKeptFresh) this.planRenewal();
  }

  private planRenewal(): void {
    this.cancelTimer();
    if (this.isStopped) return;
    const nowMs = this.world.now();
    const backOffMs = Math.min(MAX_RETRY_MS, RETRY_MS * 2 ** (this.failures - 1));
    const delayMs = this.rest === null ? this.earlyAtMs - nowMs : Math.max(this.rest.untilMs - nowMs, backOffMs);
    this.cancelTimer = this.world.schedule(Math.max(0, delayMs), () => void this.get());
  }

  private async exchange(): Promise<TokenResult> {
    const body = new URLSearchParams({ grant_type: GRANT, assertion: this.assertion() }).toString();
    const late = new AbortController();
    const cancelLate = this.world.schedule(EXCHANGE_MS, () => late.abort());
    const http: HttpRequest = {
      method: "POST",
      headers: { "content-type": "application/x-www-form-urlencoded", "accept-encoding": "identity" },
      body,
      redirect: "manual",
      signal: AbortSignal.any([late.signal, this.abort.signal]),
      // Once an hour: what is left of a pool is dead by then.
      keepalive: false,
      decompress: false,
      tls: { rejectUnauthorized: true, ...(this.ca === undefined ? {} : { ca: this.ca }) },
    };
    try {
      const response = await this.world.fetch(this.account.tokenUri, http);
      const read = new BodyStart(MAX_BODY_BYTES);
      await read.from(response);
      if (late.signal.aborted) return { failure: retry(this.waiting) };
      return this.resultOf(response, read.text());
    } catch (error) {
      return { failure: retry(late.signal.aborted ? this.waiting : unreachable(this.host, error)) };
    } finally {
      cancelLate();
    }
  }

  private assertion(): string {
    const { email, key, keyId, tokenUri } = this.account;
    const iat = Math.floor(this.world.systemNow() / 1000);
    const header: Record<string, string> = { typ: "JWT" };
    if (keyId !== "") header.kid = keyId;
    return signedJwt(header, { iss: email, scope: SCOPE, aud: tokenUri, iat, exp: iat + ASSERTION_S }, key);
  }

  private resultOf(response: Response, body: string): TokenResult {
    const { status } = response;
    const { access_token: text, expires_in: seconds, error, error_description: said } = objectOf(body);
    if (status === 200 && typeof text === "string" && /^[\x21-\x7e]+$/.test(text)) {
      const nowMs = this.world.now();
      const lifeMs = 1000 * (typeof seconds === "number" && seconds > 0 ? seconds : ASSERTION_S);
      this.text = text;
      this.endsAtMs = nowMs + lifeMs;
      this.earlyAtMs = nowMs + Math.max(lifeMs / 2, lifeMs - EARLY_MS);
      return { text };
    }
    const code = typeof error === "string" && /^\w{1,64}$/.test(error) ? error : "";
    const words = typeof said === "string" ? shownWords(said, []) : "";
    const parts = [`${[status, code].join(" ").trim()} from ${this.host}`, adviceOf(status, code, words), words];
    const reason = parts.filter((part) => part !== "").join("; ");
    if (status === 429 || status >= 500) {
      const retryAfterMs = retryAfterMsOf(response.headers.get("retry-after"), this.world.systemNow());
      return { failure: retry(reason, status, retryAfterMs) };
    }
    return { failure: { kind: "refused", status, reason, retryAfterMs: -1, isOurFault: true } };
  }
}

/** What to do about a refusal of the token server. */
function adviceOf(status: number, code: string, words: string): string {
  if (status === 429) return "too many access tokens were asked for";
  if (status >= 500) return "the token server has a fault";
  if (status === 200) return `this is no token server: check token_uri in ${ACCOUNT}`;
  if (code === "invalid_grant" && /signature/i.test(words)) {
    return `the key in ${ACCOUNT} was deleted or revoked: generate a new one`;
  }
  if (code === "invalid_grant" && /(iat|exp|timeframe|short-lived)/i.test(words)) {
    return "this machine's clock is wrong: set it (NTP)";
  }
  if (code === "invalid_grant" || code === "invalid_client" || code === "unauthorized_client") {
    return `the account in ${ACCOUNT} does not exist any more or is disabled, or this machine's clock is wrong`;
  }
  return `is ${ACCOUNT} the one Firebase gave, and its token_uri unchanged?`;
}

function objectOf(text: string): Record<string, unknown> {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === "object" && value !== null ? value as Record<string, unknown> : {};
  } catch {
    return {};
  }
}
