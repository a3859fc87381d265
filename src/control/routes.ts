/**
 * The table of routes: the one place that says which there are. `GET /`, `GET /openapi.json`, the 405 answers and the
 * app itself are made from it. Must not know how a route is answered.
 */

export type Method = "GET" | "PUT" | "POST" | "DELETE";

export interface RouteQuery {
  name: string;
  what: string;
}

export interface Route {
  id: RouteId;
  method: Method;
  /** `{name}` stands for one segment, percent-coded. */
  path: string;
  what: string;
  query: readonly RouteQuery[];
  /** What the body is; absent: none. */
  body?: "json" | "text" | "yaml";
  /** Path and query with values that make sense, then further arguments of curl. */
  example: string;
  /** Status where all goes well. */
  status: number;
  /** Other statuses that are no refusal, and what they mean. */
  alsoStatus?: readonly [status: number, what: string];
  /** Content type of the answer where it is not JSON. */
  produces?: string;
  /** The answer is `{"items":[...],"next":...}`. */
  isList: boolean;
}

const PAGE: readonly RouteQuery[] = [
  { name: "limit", what: "items a page, 1 to 1000 (default 100)" },
  { name: "after", what: "`next` of the page before" },
];
const FORMAT: RouteQuery = { name: "format", what: "json or text" };
const AOR = "alice%40example.org";

const TABLE = [
  ["routes", "GET", "/", "this list", [FORMAT], "/?format=text"],
  ["openapi", "GET", "/openapi.json", "this list for machines", [], "/openapi.json"],
  ["healthz", "GET", "/healthz", "the process is alive", [], "/healthz"],
  ["readyz", "GET", "/readyz", "ready; 503 while starting, draining, or if the store failed", [], "/readyz"],
  ["metrics", "GET", "/metrics", "metrics for Prometheus", [], "/metrics"],
  ["info", "GET", "/v1/info", "version, pid, uptime, listeners, config path", [FORMAT], "/v1/info"],
  [
    "status",
    "GET",
    "/v1/status",
    "one screen: PBX, counts, push health, last problems",
    [FORMAT],
    "/v1/status?format=text",
  ],
  [
    "locations",
    "GET",
    "/v1/locations",
    "registered devices of every AoR",
    [{ name: "q", what: "part of the AoR" }, ...PAGE, FORMAT],
    "/v1/locations?format=text",
  ],
  ["location", "GET", "/v1/locations/{aor}", "devices of one AoR", [FORMAT], `/v1/locations/${AOR}`],
  ["deleteLocation", "DELETE", "/v1/locations/{aor}", "forget an AoR and its devices", [], `/v1/locations/${AOR}`],
  [
    "putDevice",
    "PUT",
    "/v1/locations/{aor}/devices/{id}",
    "static device, or set the push token of one",
    [],
    `/v1/locations/${AOR}/devices/door -d '{"contact":"sip:door@192.168.1.20","kind":"desk"}'`,
    "json",
  ],
  [
    "deleteDevice",
    "DELETE",
    "/v1/locations/{aor}/devices/{id}",
    "forget one device",
    [],
    `/v1/locations/${AOR}/devices/door`,
  ],
  [
    "calls",
    "GET",
    "/v1/calls",
    "calls, newest first",
    [{ name: "state", what: "open or ended" }, { name: "aor", what: "of one AoR" }, ...PAGE, FORMAT],
    "/v1/calls?state=open",
  ],
  ["call", "GET", "/v1/calls/{id}", "one call by our id or its Call-ID", [FORMAT], "/v1/calls/7f3a01"],
  ["endCall", "DELETE", "/v1/calls/{id}", "end an open call", [], "/v1/calls/7f3a01"],
  ["ladder", "GET", "/v1/calls/{id}/ladder", "the call as a text ladder", [], "/v1/calls/7f3a01/ladder"],
  [
    "addBranch",
    "POST",
    "/v1/calls/{id}/branches",
    "add a branch by hand: a contact or a device",
    [],
    `/v1/calls/7f3a01/branches -d '{"contact":"sip:bob@192.0.2.7"}'`,
    "json",
  ],
  ["removeBranch", "DELETE", "/v1/calls/{id}/branches/{b}", "remove a branch", [], "/v1/calls/7f3a01/branches/2"],
  ["silo", "GET", "/v1/silo", "open calls by AoR", [FORMAT], "/v1/silo"],
  ["siloOf", "GET", "/v1/silo/{aor}", "open calls of one AoR", [FORMAT], `/v1/silo/${AOR}`],
  [
    "append",
    "POST",
    "/v1/silo/{aor}/append",
    "add branches for all live devices to every open call of the AoR",
    [],
    `/v1/silo/${AOR}/append`,
  ],
  ["htables", "GET", "/v1/htables", "tables", [FORMAT], "/v1/htables"],
  ["htable", "GET", "/v1/htables/{t}", "entries of a table", [...PAGE, FORMAT], "/v1/htables/banned"],
  ["htableGet", "GET", "/v1/htables/{t}/{key}", "one entry", [FORMAT], "/v1/htables/banned/192.0.2.7"],
  [
    "htableSet",
    "PUT",
    "/v1/htables/{t}/{key}",
    "set an entry; the body is the raw value",
    [{ name: "ttl", what: "seconds, or with unit: 90s, 10m, 1h; 0 or absent: the table's own" }],
    "/v1/htables/banned/192.0.2.7?ttl=10m -d 1",
    "text",
  ],
  ["htableDelete", "DELETE", "/v1/htables/{t}/{key}", "remove an entry", [], "/v1/htables/banned/192.0.2.7"],
  [
    "htableIncr",
    "POST",
    "/v1/htables/{t}/{key}/incr",
    "count an entry up, from 0 if absent",
    [{ name: "by", what: "whole number, default 1" }],
    "/v1/htables/seen/alice/incr?by=1",
  ],
  ["pushBackends", "GET", "/v1/push", "push backends and their health", [FORMAT], "/v1/push"],
  [
    "push",
    "POST",
    "/v1/push",
    "send one push, to a device of an AoR or to a token",
    [],
    `/v1/push -d '{"aor":"alice@example.org"}'`,
    "json",
  ],
  ["pushRecent", "GET", "/v1/push/recent", "last results", [FORMAT], "/v1/push/recent"],
  ["explain", "GET", "/v1/explain/{aor}", "why a phone would not ring (not in this version)", [], `/v1/explain/${AOR}`],
  ["events", "GET", "/v1/events", "registrations, calls, pushes as server-sent events", [], "/v1/events -N"],
  [
    "trace",
    "GET",
    "/v1/trace",
    "the last SIP messages",
    [
      { name: "aor", what: "of one AoR" },
      { name: "call", what: "of one call: our id or its Call-ID" },
      { name: "limit", what: "the newest so many, 1 to 10000 (default 200)" },
      FORMAT,
    ],
    "/v1/trace?aor=alice%40example.org&format=text",
  ],
  ["config", "GET", "/v1/config", "effective config without secrets", [FORMAT], "/v1/config"],
  [
    "configCheck",
    "POST",
    "/v1/config/check",
    "say what is wrong with a config; the body is YAML",
    [],
    "/v1/config/check --data-binary @latefork.yaml",
    "yaml",
  ],
  ["reload", "POST", "/v1/reload", "read the config file again; 422 and no change if it is wrong", [], "/v1/reload"],
  [
    "setLog",
    "PUT",
    "/v1/log",
    "log level and overrides, for a while",
    [],
    `/v1/log -d '{"overrides":["aor=alice@example.org -> debug"],"for":"10m"}'`,
    "json",
  ],
  ["drain", "POST", "/v1/drain", "take no new calls, end when the open ones have ended", [], "/v1/drain"],
  ["backup", "POST", "/v1/backup", "a consistent copy of the database", [], "/v1/backup -o latefork.db"],
] as const;

export type RouteId = typeof TABLE[number][0];

const PRODUCES: Partial<Record<RouteId, string>> = {
  metrics: "text/plain",
  ladder: "text/plain",
  events: "text/event-stream",
  backup: "application/vnd.sqlite3",
};

const STATUS: Partial<Record<RouteId, number>> = { addBranch: 201, drain: 202, explain: 501 };

const ALSO: Partial<Record<RouteId, readonly [number, string]>> = {
  readyz: [503, "not ready, and why"],
  reload: [422, "the config is wrong: `problems` says where; nothing has changed"],
};

const LISTS: readonly RouteId[] = [
  "routes",
  "locations",
  "calls",
  "silo",
  "htables",
  "htable",
  "pushBackends",
  "pushRecent",
  "trace",
];

export const ROUTES: readonly Route[] = TABLE.map(([id, method, path, what, query, example, body]) => ({
  id,
  method,
  path,
  what,
  query,
  example,
  status: STATUS[id] ?? (method === "DELETE" ? 204 : 200),
  isList: LISTS.includes(id),
  ...(ALSO[id] === undefined ? {} : { alsoStatus: ALSO[id] }),
  ...(body === undefined ? {} : { body }),
  ...(PRODUCES[id] === undefined ? {} : { produces: PRODUCES[id] }),
}));

/** One line for any shell: zsh takes a bare `?` for a pattern. @param base `http://127.0.0.1:8060`. */
export function curlLine(route: Route, base: string): string {
  const method = route.method === "GET" ? "" : `-X ${route.method} `;
  const [path = "", ...options] = route.example.split(" ");
  const url = /[?&]/.test(path) ? `'${base}${path}'` : base + path;
  return `curl ${method}${[url, ...options].join(" ")}`;
}

/** Methods a path answers, for 405; empty: there is no such path. */
export function methodsOf(path: string): Method[] {
  const segments = path.split("/");
  return ROUTES.filter((route) => {
    const pattern = route.path.split("/");
    return pattern.length === segments.length &&
      pattern.every((part, i) => part.startsWith("{") ? segments[i] !== "" : part === segments[i]);
  }).map((route) => route.method);
}
