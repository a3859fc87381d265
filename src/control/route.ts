/**
 * What a route is: one object with everything there is to say about it. `GET /`, `GET /openapi.json`, the 405 answers and
 * the app itself are made from these objects. Must not know any resource.
 */
import type { Context } from "hono";
import type { Entrance } from "./guard.ts";
import type { ControlHost } from "./host.ts";

export type Method = "GET" | "PUT" | "POST" | "DELETE";

export interface RouteQuery {
  name: string;
  what: string;
}

export interface Route {
  /** `operationId` of the OpenAPI document. */
  readonly id: string;
  readonly method: Method;
  /** `{name}` stands for one segment, percent-coded. */
  readonly path: string;
  /** One line for people. */
  readonly summary: string;
  readonly query: readonly RouteQuery[];
  /** What the body is; absent: none. */
  readonly body?: "json" | "text" | "yaml";
  /** Path and query with values that make sense, then further arguments of curl. */
  readonly example: string;
  /** Status where all goes well. */
  readonly status: number;
  /** Another status that is no refusal, and what it means. */
  readonly alsoStatus?: readonly [status: number, what: string];
  /** Content type of the answer where it is not JSON. */
  readonly produces?: string;
  /** The answer is `{"items":[...],"next":...}`. */
  readonly isList: boolean;
  /** Answers a request; what it throws becomes an error answer. */
  answer(c: ControlContext, host: ControlHost): Response | Promise<Response>;
}

/** What the server tells about the connection of a request. */
export interface ControlEnv extends Entrance {
  /** Turns the idle timeout of this request off: its answer waits for others (push services, names), or for its reader. */
  keepOpen(): void;
}

export type ControlContext = Context<{ Bindings: ControlEnv }>;

type Defaulted = "query" | "status" | "isList";

/** A route of these facts. Where nothing is said: no query, no list, 204 for DELETE and 200 for the rest. */
export function route(facts: Omit<Route, Defaulted> & Partial<Pick<Route, Defaulted>>): Route {
  return { query: [], status: facts.method === "DELETE" ? 204 : 200, isList: false, ...facts };
}

/** Query of every list that comes in pages. */
export const PAGE: readonly RouteQuery[] = [
  { name: "limit", what: "items a page, 1 to 1000 (default 100)" },
  { name: "after", what: "`next` of the page before" },
];
/** Query of every route that answers JSON or text. */
export const FORMAT: RouteQuery = { name: "format", what: "json or text" };
/** An AoR for examples. */
export const AOR = "alice%40example.org";

/** One line for any shell: zsh takes a bare `?` for a pattern. @param base `http://127.0.0.1:8060`. */
export function curlLine(route: Route, base: string): string {
  const method = route.method === "GET" ? "" : `-X ${route.method} `;
  const [path = "", ...options] = route.example.split(" ");
  const url = /[?&]/.test(path) ? `'${base}${path}'` : base + path;
  return `curl ${method}${[url, ...options].join(" ")}`;
}

/** Methods a path answers, for 405; empty: there is no such path. */
export function methodsOf(routes: readonly Route[], path: string): Method[] {
  const segments = path.split("/");
  return routes.filter((route) => {
    const pattern = route.path.split("/");
    return pattern.length === segments.length &&
      pattern.every((part, i) => part.startsWith("{") ? segments[i] !== "" : part === segments[i]);
  }).map((route) => route.method);
}
