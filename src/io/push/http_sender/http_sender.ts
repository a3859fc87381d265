/**
 * Owns one sender of `push.http` (P-10): the request that its config describes, and what the answer means. Must not know
 * windows, retries or other backends. Secrets appear in the request and nowhere else.
 */
import type { SenderConfig, SenderEvent, SenderRequest } from "../../../config/sender/sender.ts";
import { adviceOn, connectOnly, type ServiceAnswer } from "../ask.ts";
import { type AttemptAnswer, type PushAttempt, type PushBackend, refused, retry } from "../backend.ts";
import { codeOf, retryAfterMsOf, unreachable } from "../http/answer.ts";
import { BodyStart, shownWords } from "../http/body.ts";
import { exchange } from "../http/exchange.ts";
import { pushOfNoCall } from "../request.ts";
import type { PushEvent, PushRequest } from "../types.ts";
import type { HttpRequest, PushWorld } from "../world.ts";
import { type FilledRequest, fillRequest } from "./fill.ts";
import { judge, needsBody } from "./judge.ts";
import { type PlaceholderValues, placeholderValues } from "./values.ts";

/** So much of an answer to a question is read. */
const MAX_QUESTION_BYTES = 4096;
/** What is shorter may stand in any text by chance: as a part of a phone's token it is not hidden. */
const MIN_HIDDEN = 8;

export class HttpSender implements PushBackend {
  readonly name: string;
  readonly provider: string;
  readonly host: string;
  readonly timeoutMs: number;
  readonly settings: string;
  private readonly config: SenderConfig;
  private readonly world: PushWorld;
  private readonly files: readonly string[];
  /** What stands in the files that headers name. */
  private secrets: ReadonlyMap<string, string> = new Map();
  private token = "";
  private setupProblem: string;

  /** @param provider key under `push.http`. Never throws: what is wrong is said by {@link problem}. */
  constructor(provider: string, config: SenderConfig, world: PushWorld) {
    this.name = `http.${provider}`;
    this.provider = provider;
    this.config = config;
    this.host = config.origin;
    this.timeoutMs = config.timeout;
    this.settings = JSON.stringify(config);
    this.world = world;
    this.files = [...new Set(requestsOf(config).flatMap(filesOf))];
    this.setupProblem = this.reload();
  }

  problem(): string {
    return this.setupProblem;
  }

  /** As with a webhook: nothing can be opened that the first push would use. */
  warm(): void {}

  reload(): string {
    const secrets = new Map<string, string>();
    for (const file of this.files) {
      const read = this.secret(file, `push.${this.name}.headers`, /^[\x20-\x7e]+$/, "one line of visible ASCII");
      if ("problem" in read) return read.problem;
      secrets.set(file, read.secret);
    }
    const { token_file } = this.config;
    if (token_file !== "") {
      const setting = `push.${this.name}.token_file`;
      const read = this.secret(token_file, setting, /^[\x21-\x7e]+$/, "one token of visible ASCII characters");
      if ("problem" in read) return read.problem;
      this.token = read.secret;
    }
    this.secrets = secrets;
    this.setupProblem = "";
    return "";
  }

  sends(event: PushEvent): boolean {
    return this.config.events[event] !== null;
  }

  attempt(request: PushRequest, attempt: PushAttempt): Promise<void> {
    const template = this.config.events[eventOf(request)];
    const values = this.valuesOf(request, attempt.leftMs);
    const filled = template === null
      ? `push.${this.name} sends no ${request.event} pushes`
      : fillRequest(template, values, this.secrets);
    if (typeof filled === "string") {
      attempt.answer(refused(filled));
      return Promise.resolve();
    }
    const http = this.httpOf(filled, attempt.signal);
    // A pooled connection may have died silently (NAT); the second attempt does not trust the pool.
    if (attempt.attempt > 1) http.keepalive = false;
    const { answers } = this.config;
    const what = {
      url: filled.url,
      host: this.host,
      http,
      needsBody: (status: number) => needsBody(answers, status),
      answerOf: (response: Response, body: string | null) => this.answerOf(response, body, filled, values),
    };
    return exchange(what, attempt, this.world);
  }

  /** Asks what its config calls harmless; without such a question it connects and no more. */
  async ask(_prids: readonly string[], signal: AbortSignal): Promise<ServiceAnswer[]> {
    const { now, lookup } = this.world;
    const startedAtMs = now();
    const problem = await connectOnly({ origin: this.host, isPublicOnly: false, lookup, signal });
    if (problem !== "") {
      const words = `${problem}; ${adviceOn(problem, `push.${this.name}.url`, "this machine")}`;
      return [{ state: "failed", words, unverified: "", ms: now() - startedAtMs }];
    }
    const question = this.config.ask;
    if (question !== null) return [await this.askQuestion(question, signal, startedAtMs)];
    const isHttps = this.host.startsWith("https:");
    const words = `${this.host} takes ${isHttps ? "connections, its certificate is trusted" : "connections"}`;
    const unverified = "what it makes of a push: nothing was sent (latefork push test AOR does)";
    return [{ state: "ok", words, unverified, ms: now() - startedAtMs }];
  }

  stop(): void {}

  private async askQuestion(template: SenderRequest, signal: AbortSignal, startedAtMs: number): Promise<ServiceAnswer> {
    const nobody = pushOfNoCall({ uuid: "", provider: this.provider, param: "", prid: "" }, "test", 0);
    const filled = fillRequest(template, this.valuesOf(nobody, 0), this.secrets);
    const ask = `push.${this.name}.ask`;
    const end = (state: ServiceAnswer["state"], words: string, unverified = ""): ServiceAnswer => {
      return { state, words, unverified, ms: this.world.now() - startedAtMs };
    };
    if (typeof filled === "string") return end("failed", `${ask}: ${filled}`);
    let response: Response;
    try {
      response = await this.world.fetch(filled.url, this.httpOf(filled, signal));
    } catch (error) {
      return end("failed", signal.aborted ? `${this.host} did not answer in time` : unreachable(this.host, error));
    }
    const read = new BodyStart(MAX_QUESTION_BYTES);
    await read.from(response);
    const { status } = response;
    const isPacked = response.headers.has("content-encoding");
    const heard = shownWords(isPacked ? "" : read.text(), this.hidden());
    if (status >= 200 && status < 300) {
      const unverified = "what it makes of a push: nothing was sent (latefork push test AOR does)";
      return end("ok", `${this.host} answers ${status}`, unverified);
    }
    const said = `${this.host} answers ${status}${heard === "" ? "" : `: ${heard}`}`;
    if (status === 401 || status === 403) return end("failed", `${said}; check push.${this.name}.token_file`);
    return end("warning", `${said}; is push.${this.name}.url right?`);
  }

  private httpOf(filled: FilledRequest, signal: AbortSignal): HttpRequest {
    const { url, method, headers, body } = filled;
    const http: HttpRequest = {
      method,
      headers: { ...headers },
      body,
      redirect: "manual",
      signal,
      decompress: false,
    };
    // Asked for explicitly: NODE_TLS_REJECT_UNAUTHORIZED=0 would switch the check off.
    if (url.startsWith("https:")) http.tls = { rejectUnauthorized: true };
    return http;
  }

  private valuesOf(request: PushRequest, leftMs: number): PlaceholderValues {
    const facts = { wakeUrl: this.config.wake_url, token: this.token };
    return placeholderValues(request, facts, this.world.systemNow(), leftMs);
  }

  private answerOf(
    response: Response,
    body: string | null,
    filled: FilledRequest,
    values: PlaceholderValues,
  ): AttemptAnswer {
    const { status } = response;
    const sent = [...Object.values(values), ...Object.values(filled.headers), filled.body];
    const { kind, isOurFault, advice } = judge(this.config.answers, { status, body, sent }, this.name);
    const words = body === null || kind === "accepted" ? "" : shownWords(body, this.hidden(values));
    const said = `${status} from ${this.host}${words === "" ? "" : `: ${words}`}`;
    const reason = advice === "" ? said : `${said}; ${advice}`;
    if (kind !== "retry") {
      // A phone names the topic or the key: one that is not its own says little about the service.
      return { kind, status, reason, retryAfterMs: -1, isOurFault, isPerhapsThePhones: isOurFault };
    }
    return retry(reason, status, retryAfterMsOf(response.headers.get("retry-after"), this.world.systemNow()));
  }

  /** What no reason may hold: our secrets, and the phone's token as far as it is one. */
  private hidden(values?: PlaceholderValues): string[] {
    const lines = [...this.secrets.values()];
    // Of `Bearer SECRET` the second word alone may be said again.
    const ours = [this.token, ...lines, ...lines.map((line) => line.slice(line.indexOf(" ") + 1))];
    const theirs = values === undefined ? [] : [values.prid, values["prid.1"], values["prid.2"], values["prid.3"]];
    return [...ours, ...theirs.filter((part) => part.length >= MIN_HIDDEN)];
  }

  private secret(
    path: string,
    setting: string,
    form: RegExp,
    words: string,
  ): { secret: string } | { problem: string } {
    let secret: string;
    try {
      secret = this.world.readSecret(path).trim();
    } catch (error) {
      return { problem: `Cannot read ${setting} ${path}: ${codeOf(error) || "error"}` };
    }
    if (secret === "") return { problem: `${setting} ${path} is empty` };
    // RFC 9110 §5.5: nothing else survives in a header, and a line break would end it.
    return form.test(secret) ? { secret } : { problem: `${setting} ${path} must hold ${words}` };
  }
}

/** A call that one device of the user answered or declined was missed on none of the others. */
function eventOf({ event, reason }: PushRequest): SenderEvent {
  const isDealtWith = event === "cancel" && (reason === "answered_elsewhere" || reason === "declined");
  return isDealtWith ? "answered_elsewhere" : event;
}

function requestsOf(config: SenderConfig): SenderRequest[] {
  return [...Object.values(config.events), config.ask].filter((request) => request !== null);
}

function filesOf({ headers }: SenderRequest): string[] {
  return headers.flatMap(([, value]) => "file" in value ? [value.file] : []);
}
