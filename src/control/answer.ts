/** Answers as JSON or as text, and what every handler reads of its request. Must not know any resource. */
import { jsonText, readable } from "../observe/display.ts";
import { ApiError } from "./api_error.ts";
import { Fields, parseWhole, readText } from "./request.ts";
import type { ControlContext } from "./route.ts";

/** One page of a list; `next` goes into `?after=` for the following page. */
export interface Page<T> {
  items: T[];
  next: string | null;
}

export interface PageQuery {
  /** 1..1000. */
  limit: number;
  /** `next` of the page before; empty: from the start. */
  after: string;
}

const JSON_BYTES = 64 * 1024;

/** `{"error":{...}}` with the status; always JSON, so that scripts can rely on it. */
export function errorAnswer(error: ApiError): Response {
  const { code, message, hint, details, status } = error;
  const answer = jsonAnswer({ error: { code, message, hint }, ...details }, status);
  if (status === 401) answer.headers.set("www-authenticate", 'Bearer realm="latefork"');
  return answer;
}

export function jsonAnswer(value: unknown, status = 200, indent = 0): Response {
  return new Response(jsonText(value, indent) + "\n", {
    status,
    headers: { "content-type": "application/json", "cache-control": "no-store" },
  });
}

export function textAnswer(body: string): Response {
  return new Response(body, { headers: { "content-type": "text/plain; charset=utf-8", "cache-control": "no-store" } });
}

/** 204: done, and nothing to say. */
export function doneAnswer(): Response {
  return new Response(null, { status: 204 });
}

/** One object, in the format that was asked for. */
export function either<T>(c: ControlContext, value: T, asText: (value: T) => string): Response {
  return wantsText(c) ? textAnswer(asText(value)) : jsonAnswer(value);
}

/** A whole list. */
export function listAnswer<T>(c: ControlContext, items: readonly T[], asText: (items: readonly T[]) => string) {
  return wantsText(c) ? textAnswer(asText(items)) : jsonAnswer({ items, next: null });
}

/** One page of a list. */
export function pageAnswer<T>(c: ControlContext, page: Page<T>, asText: (items: readonly T[]) => string): Response {
  if (!wantsText(c)) return jsonAnswer({ items: page.items, next: page.next });
  const more = page.next === null ? "" : `(more, continue after ${readable(page.next)})\n`;
  return textAnswer(asText(page.items) + more);
}

/** `?format=` decides, else whether plain text is what the client names first. */
export function wantsText(c: ControlContext): boolean {
  const format = c.req.query("format") ?? "";
  if (format === "text" || format === "json") return format === "text";
  if (format !== "") {
    throw new ApiError(
      400,
      "invalid_value",
      `Cannot answer in format "${format.slice(0, 60)}"`,
      "Expected json or text",
    );
  }
  return /^\s*text\/plain\b/i.test(c.req.header("accept") ?? "");
}

/** A part of the path, percent-decoded. */
export function param(c: ControlContext, name: string): string {
  return c.req.param(name) ?? "";
}

export function pageQuery(c: ControlContext): PageQuery {
  return {
    limit: parseWhole(c.req.query("limit"), "limit", { min: 1, max: 1000, default: 100 }),
    after: c.req.query("after") ?? "",
  };
}

/** The body as a JSON object. */
export async function fields(c: ControlContext): Promise<Fields> {
  return Fields.parse(await readText(c.req.raw, JSON_BYTES));
}

/** URL the client used. */
export function baseUrl(c: ControlContext): string {
  return `http://${c.req.header("host") ?? "127.0.0.1:8060"}`;
}
