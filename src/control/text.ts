/** The API's objects as tables for a terminal (`?format=text`, and what the command line prints). Must not know HTTP. */
import { renderTable } from "../observe/table.ts";
import type { Call, HtableEntry, HtableInfo, Info, PushBackendInfo, PushRecent, SiloEntry, Status } from "./backend.ts";
import { curlLine, type Route } from "./routes.ts";

export function callsText(calls: readonly Call[]): string {
  return renderTable(calls, [
    { title: "id", value: (call) => call.id },
    { title: "started", value: (call) => call.started_at.slice(0, 19).replace("T", " ") },
    { title: "state", value: (call) => call.state },
    { title: "from", value: (call) => call.from, maxWidth: 36 },
    { title: "aor", value: (call) => call.aor, maxWidth: 36 },
    { title: "branches", value: (call) => call.branches.length, align: "right" },
    { title: "late", value: (call) => call.branches.filter(({ late }) => late).length, align: "right" },
    { title: "outcome", value: (call) => call.outcome, maxWidth: ADVICE },
  ], "no calls");
}

export function siloText(entries: readonly SiloEntry[]): string {
  const rows = entries.flatMap(({ aor, calls }) => calls.map((call) => ({ aor, call })));
  return renderTable(rows, [
    { title: "aor", value: ({ aor }) => aor },
    { title: "call", value: ({ call }) => call.id },
    { title: "from", value: ({ call }) => call.from, maxWidth: 36 },
    { title: "age", value: ({ call }) => `${(call.age_ms / 1000).toFixed(1)} s`, align: "right" },
    { title: "held", value: ({ call }) => call.held ? "yes" : "no" },
    { title: "branches", value: ({ call }) => call.branches, align: "right" },
    { title: "waking", value: ({ call }) => call.waiting, align: "right" },
  ], "no open calls");
}

export function htablesText(tables: readonly HtableInfo[]): string {
  return renderTable(tables, [
    { title: "table", value: (table) => table.name },
    { title: "entries", value: (table) => table.size, align: "right" },
    { title: "max", value: (table) => table.max, align: "right" },
    { title: "ttl", value: (table) => table.ttl === 0 ? "until deleted" : duration(table.ttl), align: "right" },
    { title: "persist", value: (table) => table.persist ? "yes" : "no" },
  ], "no tables");
}

export function htableText(entries: readonly HtableEntry[]): string {
  return renderTable(entries, [
    { title: "key", value: (entry) => entry.key },
    { title: "value", value: (entry) => entry.value },
    {
      title: "expires",
      value: (entry) => entry.expires_in === null ? "never" : duration(entry.expires_in),
      align: "right",
    },
  ], "no entries");
}

/** What a push service said, and behind it what to do: the half of it that matters comes last. */
const ADVICE = 300;

/** The push services, and, where phones name them (Web Push), those of them that fail. */
export function pushBackendsText(backends: readonly PushBackendInfo[]): string {
  // Of one alone the backend's own line says it all.
  const failing = backends.flatMap(({ hosts = [] }) =>
    hosts.length > 1 ? hosts.filter(({ state }) => state === "failing") : []
  );
  return backendsTable(backends) + (failing.length === 0 ? "" : "\n" + failingTable(failing));
}

function failingTable(hosts: NonNullable<PushBackendInfo["hosts"]>): string {
  return renderTable(hosts, [
    { title: "failing service", value: ({ host }) => host },
    { title: "last", value: ({ last_reason }) => last_reason, maxWidth: ADVICE },
  ]);
}

function backendsTable(backends: readonly PushBackendInfo[]): string {
  return renderTable(backends, [
    { title: "provider", value: (backend) => backend.provider },
    { title: "kind", value: (backend) => backend.kind },
    { title: "state", value: (backend) => backend.state },
    { title: "accepted", value: (backend) => backend.accepted, align: "right" },
    { title: "refused", value: (backend) => backend.refused, align: "right" },
    { title: "failed", value: (backend) => backend.failed, align: "right" },
    { title: "last", value: (backend) => backend.last_reason, maxWidth: ADVICE },
  ], "no push backends");
}

export function pushRecentText(pushes: readonly PushRecent[]): string {
  return renderTable(pushes, [
    { title: "at", value: (push) => push.at },
    { title: "provider", value: (push) => push.provider },
    { title: "event", value: (push) => push.event },
    { title: "aor", value: (push) => push.aor },
    { title: "device", value: (push) => push.device },
    { title: "status", value: (push) => push.status, align: "right" },
    { title: "accepted", value: (push) => push.accepted ? "yes" : "no" },
    { title: "ms", value: (push) => Math.round(push.ms), align: "right" },
    { title: "reason", value: (push) => push.reason, maxWidth: ADVICE },
  ], "no pushes");
}

export function infoText(info: Info): string {
  return pairs([
    ["version", `${info.version} (Bun ${info.bun})`],
    ["pid", String(info.pid)],
    ["uptime", duration(info.uptime)],
    ["config", info.config ?? "none, defaults"],
    ["domains", info.domains.join(", ") || "any host that is ours"],
    ...info.listeners.map(({ url, advertised }) => ["listening", `${url}, advertised as ${advertised}`] as const),
    ...info.control.map((url) => ["control", url] as const),
    ["store", `${info.store.path}, ${info.store.rows} rows`],
  ]);
}

export function statusText(status: Status): string {
  const { counts, pbx } = status;
  const lines = pairs([
    ["latefork", `${status.version}, ${status.state}, up ${duration(status.uptime)}`],
    [
      "pbx",
      pbx === null
        ? "none, we are the registrar"
        : `${pbx.uri} ${pbx.state} (mode ${pbx.mode})${pbx.rtt_ms === null ? "" : `, ${pbx.rtt_ms} ms`}` +
          (pbx.reason === "" ? "" : `: ${pbx.reason}`),
    ],
    [
      "registered",
      `${many(counts.devices, "device")} of ${many(counts.aors, "AoR")}, ${counts.push_devices} can be woken`,
    ],
    ...pbx === null ? [] : [["at the pbx", upkeepText(counts)] as const],
    ["calls", `${counts.calls_open} open, ${counts.calls_held} held for a phone that is being woken`],
    ["flows", String(counts.flows)],
    ["banned", String(counts.banned)],
  ]);
  const problems = renderTable(status.problems, [
    { title: "at", value: ({ at }) => at },
    { title: "level", value: ({ level }) => level },
    { title: "problem", value: ({ message }) => message, maxWidth: ADVICE },
  ], "no problems");
  return `${lines}\n${pushBackendsText(status.push)}\n${problems}`;
}

function upkeepText({ at_risk, upstream_failing, short_grants }: Status["counts"]): string {
  const parts = [
    at_risk === 0 ? "" : `${many(at_risk, "device")} AT RISK (latefork locations)`,
    upstream_failing === 0 ? "" : `${many(upstream_failing, "binding")} cannot be renewed`,
    short_grants === 0 ? "" : `${many(short_grants, "AoR")} granted less than a push needs`,
  ].filter((part) => part !== "");
  return parts.length === 0 ? "all bindings in order" : parts.join(", ");
}

/** `1 device`, `2 devices`. */
function many(count: number, thing: string): string {
  return `${count} ${thing}${count === 1 ? "" : "s"}`;
}

/** @param base URL the client used. */
export function routesText(routes: readonly Route[], base: string): string {
  return routes.map((route) => `${route.method} ${route.path}\n    ${route.what}\n    ${curlLine(route, base)}\n`).join(
    "",
  );
}

/** `4d 3h`, `3h 2m`, `2m 1s`, `59s`. */
export function duration(seconds: number): string {
  const whole = Math.max(0, Math.floor(seconds));
  const parts: [number, string][] = [
    [Math.floor(whole / 86_400), "d"],
    [Math.floor(whole / 3600) % 24, "h"],
    [Math.floor(whole / 60) % 60, "m"],
    [whole % 60, "s"],
  ];
  const first = parts.findIndex(([count]) => count > 0);
  if (first < 0) return "0s";
  return parts.slice(first, first + 2).filter(([count]) => count > 0).map(([count, unit]) => `${count}${unit}`).join(
    " ",
  );
}

/** One a line, the names in one column. */
export function pairs(rows: readonly (readonly [string, string])[]): string {
  const width = rows.reduce((widest, [name]) => Math.max(widest, name.length), 0);
  return rows.map(([name, value]) => `${name.padEnd(width)}  ${value}\n`).join("");
}
