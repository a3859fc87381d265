/** Talks to the control port of a running appliance. Must not know the verbs. */
import { type IncomingMessage, request as httpRequest } from "node:http";
import { request as httpsRequest } from "node:https";
import { problemLine } from "../config/problem.ts";
import type { ControlAddress } from "./control_address.ts";
import { CONFIG, FAILED, UNAVAILABLE, VerbError } from "./exit.ts";

/** A push may wait for its service's window; everything else answers at once. */
const ANSWER_MS = 60_000;

export class ControlClient {
  private readonly address: ControlAddress;

  constructor(address: ControlAddress) {
    this.address = address;
  }

  /**
   * @param path with its query, percent-coded.
   * @returns the body of the answer.
   * @throws VerbError: nothing answers, or the answer is an error (its message and hint).
   */
  async text(method: string, path: string, body?: string): Promise<string> {
    const answer = await this.ask(method, path, body);
    const text = await bodyOf(answer);
    if ((answer.statusCode ?? 0) >= 400) throw this.refusal(answer, text);
    return text;
  }

  /** As `text`, read as JSON. */
  async json<T>(method: string, path: string, body?: string): Promise<T> {
    const text = await this.text(method, path, body);
    try {
      return JSON.parse(text) as T;
    } catch {
      throw new VerbError(UNAVAILABLE, `${this.address.url} answers, but it is not latefork`);
    }
  }

  /**
   * All pages of a list as one.
   * @param query without `limit` and `after`.
   */
  async pages(path: string, query: URLSearchParams): Promise<{ items: unknown[]; next: null }> {
    const items: unknown[] = [];
    let after = "";
    do {
      const wanted = new URLSearchParams(query);
      wanted.set("limit", "1000");
      if (after !== "") wanted.set("after", after);
      const page = await this.json<{ items: unknown[]; next: string | null }>("GET", `${path}?${wanted}`);
      items.push(...page.items);
      after = page.next ?? "";
    } while (after !== "");
    return { items, next: null };
  }

  /** The answer as a stream, for backups, which may be large. */
  async stream(method: string, path: string): Promise<AsyncIterable<Uint8Array>> {
    const answer = await this.ask(method, path);
    if ((answer.statusCode ?? 0) >= 400) throw this.refusal(answer, await bodyOf(answer));
    return answer;
  }

  // node:http and not fetch: fetch sends requests for loopback through HTTP_PROXY.
  private ask(method: string, path: string, body?: string): Promise<IncomingMessage> {
    const { isSecure, host, port, socketPath, token, url } = this.address;
    return new Promise((resolve, reject) => {
      const request = (isSecure ? httpsRequest : httpRequest)({
        method,
        path,
        ...(socketPath === "" ? { host, port } : { socketPath }),
        headers: {
          ...(token === "" ? {} : { authorization: `Bearer ${token}` }),
          ...(body === undefined ? {} : { "content-length": Buffer.byteLength(body) }),
          ...(socketPath === "" ? {} : { host: "localhost" }),
        },
      });
      const timer = setTimeout(() => request.destroy(new Error(`no answer within ${ANSWER_MS / 1000} s`)), ANSWER_MS);
      request.on("response", (answer) => {
        clearTimeout(timer);
        resolve(answer);
      });
      request.on("error", (error: NodeJS.ErrnoException) => {
        clearTimeout(timer);
        const reason = REASONS[error.code ?? ""] ?? error.message;
        reject(new VerbError(UNAVAILABLE, `${url} does not answer (${reason}). Is latefork running? (--control URL)`));
      });
      request.end(body);
    });
  }

  private refusal(answer: IncomingMessage, text: string): VerbError {
    let error: { code?: unknown; message?: unknown; hint?: unknown } | undefined;
    let problems: unknown;
    try {
      ({ error, problems } = JSON.parse(text));
    } catch {
      // No JSON: told below.
    }
    if (typeof error?.message !== "string") {
      return new VerbError(UNAVAILABLE, `${this.address.url} answers ${answer.statusCode}, but it is not latefork`);
    }
    const lines = [error.message];
    if (Array.isArray(problems)) lines.push(...problems.map(problemLine));
    if (typeof error.hint === "string" && error.hint !== "") lines.push(error.hint);
    return new VerbError(error.code === "config_invalid" ? CONFIG : FAILED, lines.join("\n"));
  }
}

const REASONS: Readonly<Record<string, string>> = {
  ECONNREFUSED: "connection refused",
  ENOENT: "there is no such socket",
  ENOTFOUND: "unknown host",
  EACCES: "permission denied",
};

async function bodyOf(answer: IncomingMessage): Promise<string> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of answer) chunks.push(chunk as Uint8Array);
  return Buffer.concat(chunks).toString("utf8");
}
