/** `/v1/info` and `/v1/status`: what runs here, and how it does, on one screen. */
import { resolve } from "node:path";
import type { LogLevel } from "../core/port.ts";
import { deviceOutlook } from "../core/registrar/refresh_outlook.ts";
import { hostPort } from "../core/sip/host.ts";
import { renderTable } from "../observe/table.ts";
import { either } from "./answer.ts";
import { type ApplianceState, type ControlHost, domainsOf } from "./host.ts";
import { type PushBackendJson, pushBackends, pushBackendsText } from "./push.ts";
import { FORMAT, type Route, route } from "./route.ts";
import { ADVICE, duration, many, pairs } from "./text.ts";

interface ListenerJson {
  /** With the real port: `udp://127.0.0.1:5060`, `ws://127.0.0.1:8080/sip`. */
  url: string;
  transport: string;
  address: string;
  port: number;
  advertised: string;
}

/** `GET /v1/info` */
interface InfoJson {
  version: string;
  /** `1.4.5`, the Bun it runs on. */
  bun: string;
  pid: number;
  /** Seconds. */
  uptime: number;
  started_at: string;
  /** Path of the config file; null if none was found. */
  config: string | null;
  domains: string[];
  listeners: ListenerJson[];
  /** Control URLs with their real ports. */
  control: string[];
  store: { path: string; rows: number };
}

/** `GET /v1/status` */
export interface StatusJson {
  state: ApplianceState;
  version: string;
  /** Seconds. */
  uptime: number;
  /** null in registrar mode. */
  pbx: {
    uri: string;
    state: string;
    mode: string;
    rtt_ms: number | null;
    reason: string;
    /** Why it may have lost what it held, and how many devices it has not granted anew since; null: nothing is in doubt. */
    doubt: { since: string; reason: string; devices: number } | null;
  } | null;
  counts: {
    aors: number;
    devices: number;
    /** Devices that can be woken: a token that is not dead, and a backend that takes it. */
    push_devices: number;
    /** Devices the next call may not reach. */
    at_risk: number;
    /** Bindings at the PBX that our own REGISTERs could not renew. */
    upstream_failing: number;
    /** AoRs whose sleeping phones the PBX drops sooner than a push can wake them. */
    short_grants: number;
    flows: number;
    calls_open: number;
    calls_held: number;
    banned: number;
  };
  push: PushBackendJson[];
  /** The certificate that ends first; null: none is shown. */
  tls: { names: readonly string[]; days_left: number; problem: string } | null;
  /** Newest first, bounded. */
  problems: { at: string; level: LogLevel; message: string }[];
}

export const STATUS: readonly Route[] = [
  route({
    id: "info",
    method: "GET",
    path: "/v1/info",
    summary: "version, pid, uptime, listeners, config path",
    query: [FORMAT],
    example: "/v1/info",
    answer: (c, host) => either(c, infoJson(host), infoText),
  }),
  route({
    id: "status",
    method: "GET",
    path: "/v1/status",
    summary: "one screen: PBX, counts, push health, last problems",
    query: [FORMAT],
    example: "/v1/status?format=text",
    answer: (c, host) => either(c, statusJson(host), statusText),
  }),
];

function infoJson(host: ControlHost): InfoJson {
  const { config, configFile, startedAtMs } = host;
  return {
    version: host.version,
    bun: Bun.version,
    pid: process.pid,
    uptime: Math.round((host.turn.nowMs - startedAtMs) / 1000),
    started_at: new Date(startedAtMs).toISOString(),
    config: configFile === null ? null : resolve(configFile),
    domains: domainsOf(host),
    listeners: host.transports.listeners().map(({ transport, address, port, advertised, path }) => ({
      url: `${transport}://${hostPort(address, port)}${path ?? ""}`,
      transport,
      address,
      port,
      advertised,
    })),
    control: [...host.controlUrls],
    store: { path: config.store.path, rows: host.core.usrloc.contactCount },
  };
}

function statusJson(host: ControlHost): StatusJson {
  const { core, config, world } = host;
  return {
    state: host.readiness().state,
    version: host.version,
    uptime: Math.round((host.turn.nowMs - host.startedAtMs) / 1000),
    pbx: config.pbx === null || core.qualify === null ? null : {
      uri: core.pbx?.preferred?.uri ?? config.pbx.uri[0]!.uri,
      state: core.qualify.state,
      mode: config.pbx.mode,
      rtt_ms: core.qualify.rttMs === null ? null : Math.round(core.qualify.rttMs * 10) / 10,
      reason: core.qualify.reason,
      doubt: doubtJson(host),
    },
    counts: {
      aors: core.usrloc.aorCount,
      devices: core.usrloc.contactCount,
      ...deviceCounts(host),
      upstream_failing: core.mid?.renewals.failing ?? 0,
      short_grants: core.mid?.ledger.shortGrants.size ?? 0,
      flows: host.transports.flowSamples().reduce((sum, [, value]) => sum + value, 0),
      calls_open: core.silo.openCalls,
      calls_held: core.silo.heldCalls,
      banned: host.htables.get("banned")?.size ?? 0,
    },
    push: pushBackends(host),
    tls: firstToEnd(host),
    problems: world.problems.toReversed().map(({ atMs, level, message }) => ({
      at: new Date(atMs).toISOString(),
      level,
      message,
    })),
  };
}

function firstToEnd({ certificates }: ControlHost): StatusJson["tls"] {
  const [first] = certificates.infos().toSorted((a, b) => a.days_left - b.days_left);
  return first === undefined ? null : { names: first.names, days_left: first.days_left, problem: first.problem };
}

function doubtJson({ core }: ControlHost) {
  const doubt = core.mid?.ledger.doubt ?? null;
  const devices = core.mid?.ledger.countInDoubt() ?? 0;
  if (doubt === null || devices === 0) return null;
  return { since: new Date(doubt.sinceMs).toISOString(), reason: doubt.reason, devices };
}

/** One pass over all devices. */
function deviceCounts({ core, relay }: ControlHost): { push_devices: number; at_risk: number } {
  const counts = { push_devices: 0, at_risk: 0 };
  for (const aor of core.usrloc.all()) {
    for (const contact of aor.contacts) {
      if (contact.hasUsableToken && relay.serves(contact.push!.provider)) counts.push_devices++;
      if (deviceOutlook(contact, core.mid, core.clock.nowMs).isAtRisk) counts.at_risk++;
    }
  }
  return counts;
}

function infoText(info: InfoJson): string {
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

export function statusText(status: StatusJson): string {
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
    ...pbx === null ? [] : [["at the pbx", atPbxText(counts, pbx.doubt)] as const],
    ["calls", `${counts.calls_open} open, ${counts.calls_held} held for a phone that is being woken`],
    ["flows", String(counts.flows)],
    ["banned", String(counts.banned)],
    ...status.tls === null ? [] : [["certificate", certificateText(status.tls)] as const],
  ]);
  const problems = renderTable(status.problems, [
    { title: "at", value: ({ at }) => at },
    { title: "level", value: ({ level }) => level },
    { title: "problem", value: ({ message }) => message, maxWidth: ADVICE },
  ], "no problems");
  return `${lines}\n${pushBackendsText(status.push)}\n${problems}`;
}

function certificateText({ names, days_left, problem }: NonNullable<StatusJson["tls"]>): string {
  return `${names.join(", ")}: ${problem === "" ? `${many(days_left, "day")} left` : problem.toUpperCase()}`;
}

/** Which key to change at each PBX; the log says more. */
const SHORT_GRANTS =
  "raise the PBX's maximum registration time (Asterisk: maximum_expiration, Kamailio: max_expires, " +
  "FreeSWITCH: sip-force-expires), or set pbx.credentials_file";

function atPbxText(
  { at_risk, upstream_failing, short_grants }: StatusJson["counts"],
  doubt: NonNullable<StatusJson["pbx"]>["doubt"],
): string {
  const parts = [
    doubt === null ? "" : `${many(doubt.devices, "device")} IN DOUBT since ${doubt.since}: ${doubt.reason}`,
    at_risk === 0 ? "" : `${many(at_risk, "device")} AT RISK (latefork locations)`,
    upstream_failing === 0 ? "" : `${many(upstream_failing, "binding")} cannot be renewed`,
    short_grants === 0 ? "" : `${many(short_grants, "AoR")} granted less than a push needs: ${SHORT_GRANTS}`,
  ].filter((part) => part !== "");
  return parts.length === 0 ? "all bindings in order" : parts.join(", ");
}
