/**
 * What the control port asks of the appliance: one interface, answered with plain objects in the exact shapes of
 * the API (snake_case, ready for JSON). Must not know HTTP routes, hono or sockets.
 *
 * Units: `*_in`, `uptime`, `ttl` in seconds; `*_ms` in milliseconds; `at`, `*_at` as ISO 8601 in UTC.
 */
import type { Problem } from "../config/problem.ts";
import type { LogOverride } from "../observe/log.ts";
import type { ApplianceEvent, LogLevel } from "../core/port.ts";
import type { BranchState } from "../core/proxy/branch.ts";
import type { CallResult, CallState, TimelineEvent, WakeState } from "../core/silo/record.ts";
import type { DeviceKind, PushKeys, TokenState } from "../core/usrloc/model.ts";
import type { Reachability } from "../core/usrloc/usrloc.ts";

/**
 * A refusal that becomes `{"error":{"code","message","hint"}}` with its status. Every method of
 * {@link ControlBackend} may throw it; anything else thrown becomes a 500 whose text stays in the log.
 */
export class ApiError extends Error {
  /** HTTP status. */
  readonly status: number;
  /** Machine word: `unknown_aor`, `unknown_call`, `unknown_device`, `invalid_aor`, `not_available`, ... */
  readonly code: string;
  /** What to do about it; empty if there is nothing to say. */
  readonly hint: string;
  /** Further members of the answer beside `error`, as `problems` of a refused reload. */
  readonly details: Readonly<Record<string, unknown>>;

  constructor(status: number, code: string, message: string, hint = "", details: Record<string, unknown> = {}) {
    super(message);
    this.name = "ApiError";
    this.status = status;
    this.code = code;
    this.hint = hint;
    this.details = details;
  }
}

/** At once or later. */
export type Answer<T> = T | Promise<T>;

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

export interface ListenerInfo {
  /** With the real port: `udp://127.0.0.1:5060`, `ws://127.0.0.1:8080/sip`. */
  url: string;
  transport: string;
  address: string;
  port: number;
  advertised: string;
}

/** `GET /v1/info` */
export interface Info {
  version: string;
  /** `1.4.5`, the Bun it runs on. */
  bun: string;
  pid: number;
  uptime: number;
  started_at: string;
  /** Path of the config file; null if none was found. */
  config: string | null;
  domains: string[];
  listeners: ListenerInfo[];
  /** Control URLs with their real ports. */
  control: string[];
  store: { path: string; rows: number };
}

export type ApplianceState = "starting" | "ready" | "draining" | "store_failed" | "stopped";

export interface Readiness {
  state: ApplianceState;
  /** In words, where it is not `ready`. */
  reason: string;
}

/** `GET /v1/status`: one screen. */
export interface Status {
  state: ApplianceState;
  version: string;
  uptime: number;
  /** null in registrar mode. */
  pbx: { uri: string; state: string; mode: string; rtt_ms: number | null; reason: string } | null;
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
  push: PushBackendInfo[];
  /** Newest first, bounded. */
  problems: { at: string; level: LogLevel; message: string }[];
}

/** Who renews a registration, what comes next and why. */
export interface Refresh {
  /** `latefork`: our own REGISTERs. `push`: the phone, which is woken for it. `phone`: the phone alone. */
  by: "phone" | "latefork" | "push";
  /** What is done next, in words. */
  next: string;
  /** Seconds; null: not planned. */
  next_in: number | null;
  /** Why it is done by this one, in words. */
  why: string;
  /** What went wrong last, in words; empty: nothing since the last success. */
  last_failure: string;
}

export interface LocationDevice {
  id: string;
  kind: DeviceKind;
  contact: string;
  instance: string;
  user_agent: string;
  expires_in: number;
  /**
   * The way back to it. `live`: it has the next INVITE at once. `lost`: it must be woken, `remote` is where it was last.
   * `unknown`: UDP, and silent for `wake.idle`: it gets INVITE and push.
   */
  flow: { state: Reachability; transport: string; remote: string };
  /** null: cannot be woken. The token itself is shown by its first and last characters only. */
  push: {
    provider: string;
    param: string;
    token: string;
    token_state: TokenState;
    /** The keys of its Web Push subscription are known: its pushes say who calls. */
    encrypted: boolean;
    registered_at: string;
  } | null;
  /** What the PBX holds for it. `dropped`: it let go of it when another device registered. `lapsed`: nobody renewed it in time. */
  upstream_state: "none" | "registered" | "lapsed" | "dropped";
  /** Seconds until the PBX's binding ends that the device depends on; null: none is known. */
  upstream_expires_in: number | null;
  /** The next call may not reach it: it did not answer a refresh push, or the PBX's binding has lapsed. */
  at_risk: boolean;
  /** Who renews what the PBX holds. */
  refresh: Refresh;
  /** Who renews its registration here: the phone by itself, within so many seconds, or pushed in so many. */
  phone: { by: "phone" | "push"; next_in: number; last_failure: string };
}

/** `GET /v1/locations/{aor}` */
export interface Location {
  aor: string;
  /**
   * What the PBX believes. `mode`: `aor`, one Contact for all devices; `contact`, `mirror`: one for each; null: there is no
   * PBX. `state`: `none`, `registered`, `removed`, or `lapsed`: nobody renewed it in time.
   */
  upstream: {
    mode: "aor" | "contact" | "mirror" | null;
    state: string;
    expires_in: number;
    at_risk: boolean;
    refresh: Refresh | null;
  };
  devices: LocationDevice[];
}

/** Body of `PUT /v1/locations/{aor}/devices/{id}`: every field is optional for a device that exists; a new one needs `contact`. */
export interface DevicePatch {
  contact?: string;
  kind?: DeviceKind;
  user_agent?: string;
  /** Seconds; absent: a static device that never expires. */
  expires_in?: number;
  push?: { provider: string; param?: string; prid: string; keys?: PushKeys } | null;
}

export interface CallBranch {
  id: string;
  device: string;
  party: string;
  state: BranchState;
  status: number;
  late: boolean;
}

export interface CallWake {
  device: string;
  party: string;
  state: WakeState;
  push_ms: number | null;
  wake_ms: number | null;
  reason: string;
}

export interface CallTimelineEntry {
  t_ms: number;
  event: TimelineEvent;
  from?: string;
  to?: string;
  label?: string;
  note?: string;
  device?: string;
  status?: number;
}

/** `GET /v1/calls/{id}` */
export interface Call {
  id: string;
  call_id: string;
  aor: string;
  from: string;
  to: string;
  state: CallState;
  result: CallResult | "";
  outcome: string;
  status: number;
  started_at: string;
  ended_at: string | null;
  parties: string[];
  branches: CallBranch[];
  wakes: CallWake[];
  timeline: CallTimelineEntry[];
}

/** `GET /v1/silo/{aor}`: `ts.lookup`. */
export interface SiloEntry {
  aor: string;
  calls: {
    id: string;
    call_id: string;
    from: string;
    held: boolean;
    branches: number;
    waiting: number;
    age_ms: number;
  }[];
}

export interface HtableInfo {
  name: string;
  /** Default time to live in seconds; 0 = none. */
  ttl: number;
  max: number;
  persist: boolean;
  size: number;
}

export interface HtableEntry {
  key: string;
  value: string;
  /** Seconds; null: never. */
  expires_in: number | null;
}

export interface PushBackendInfo {
  provider: string;
  /** `apns`, `fcm`, `webpush`, `webhook`. */
  kind: string;
  /** `unused` until the first answer. */
  state: "unused" | "healthy" | "failing";
  accepted: number;
  refused: number;
  failed: number;
  last_reason: string;
  /** Of Web Push, where each phone names its service: how those do that were asked, the last one first. */
  hosts?: { host: string; state: "healthy" | "failing"; last_reason: string }[];
}

/** Body of `POST /v1/push`: a device of an AoR (the first that can be woken, or the one named), or a bare token. */
export type PushBody =
  | { aor: string; device?: string; event?: string }
  | { provider: string; param: string; prid: string; keys?: PushKeys; event: string };

/** Answer of `POST /v1/push`. */
export interface PushReply {
  provider: string;
  /** Empty for a bare token. */
  device: string;
  status: number;
  accepted: boolean;
  /** `dead`: the service does not know the token any more. `failed`: not delivered in time. */
  outcome: "accepted" | "dead" | "refused" | "failed";
  reason: string;
  ms: number;
}

/** `GET /v1/push/recent`, newest first. */
export interface PushRecent extends PushReply {
  at: string;
  aor: string;
  event: string;
}

export interface TraceQuery {
  /** Canonical AoR; empty: all. */
  aor: string;
  /** Our call id or a Call-ID; empty: all. */
  call: string;
  limit: number;
}

/** One message of `GET /v1/trace`, oldest first. */
export interface TraceItem {
  at: string;
  direction: "in" | "out";
  /** `Flow.key`. */
  flow: string;
  call_id: string;
  /** The message as text, one character a byte. */
  message: string;
}

/** A problem of the config as `POST /v1/config/check` gives it. */
export type ConfigProblem = Omit<Problem, "length">;

export interface ReloadResult {
  /** Paths of the keys that took effect. */
  applied: string[];
  restart_required: string[];
}

export interface LogChange {
  level?: LogLevel;
  /** Read already; they replace the ones set here before. */
  overrides?: LogOverride[];
  /** How long `level` and `overrides` hold; 0: until the next reload. */
  for_ms: number;
}

/** What a follower of `/v1/events` is told; `type` becomes the name of the server-sent event. */
export type EventListener = (event: ApplianceEvent) => void;

/**
 * What the appliance answers. AoR arguments are canonical already (the app calls `resolveAor` first). Lookups throw
 * {@link ApiError} 404 with `unknown_aor`, `unknown_call`, `unknown_device`, `unknown_branch`, `unknown_table`, `unknown_key`.
 */
export interface ControlBackend {
  info(): Answer<Info>;
  status(): Answer<Status>;
  /** Cheap: no I/O. */
  readiness(): Readiness;
  /** Prometheus text format 0.0.4. */
  metricsText(): Answer<string>;

  /**
   * `user@domain` or a bare user (first domain) to the canonical AoR.
   * @throws ApiError 400 `invalid_aor`
   */
  resolveAor(text: string): string;

  /** @param filter substring of the AoR, empty: all. Sorted by AoR. */
  locations(query: PageQuery & { filter: string }): Answer<Page<Location>>;
  location(aor: string): Answer<Location>;
  deleteLocation(aor: string): Answer<void>;
  putDevice(aor: string, id: string, patch: DevicePatch): Answer<LocationDevice>;
  deleteDevice(aor: string, id: string): Answer<void>;

  /** Newest first. */
  calls(query: PageQuery & { state: CallState | ""; aor: string }): Answer<Page<Call>>;
  /** @param id ours, or the Call-ID of the INVITE. */
  call(id: string): Answer<Call>;
  /** The text ladder: `renderLadder` of the record. */
  ladder(id: string): Answer<string>;
  /** Ends an open call; 409 `call_ended` if it is over. */
  endCall(id: string): Answer<void>;
  addBranch(id: string, target: { contact: string } | { device: string }): Answer<CallBranch>;
  removeBranch(id: string, branch: string): Answer<void>;

  silo(): Answer<SiloEntry[]>;
  /** An AoR without open calls gives an empty list, not a 404. */
  siloOf(aor: string): Answer<SiloEntry>;
  append(aor: string): Answer<{ calls: number; branches: number }>;

  htables(): Answer<HtableInfo[]>;
  htable(table: string, query: PageQuery): Answer<Page<HtableEntry>>;
  htableGet(table: string, key: string): Answer<HtableEntry>;
  /** @param ttlMs 0: the table's own. */
  htableSet(table: string, key: string, value: string, ttlMs: number): Answer<HtableEntry>;
  htableDelete(table: string, key: string): Answer<void>;
  /** Counts from 0 if the key is absent; 409 `not_a_number` if its value is text. */
  htableIncr(table: string, key: string, by: number): Answer<HtableEntry>;

  pushBackends(): Answer<PushBackendInfo[]>;
  push(body: PushBody): Answer<PushReply>;
  pushRecent(): Answer<PushRecent[]>;

  trace(query: TraceQuery): Answer<TraceItem[]>;

  /** The effective config without secrets, as a JSON-able tree. */
  configMasked(): Answer<Record<string, unknown>>;
  /** Loads nothing: says what is wrong with this text. */
  configCheck(yaml: string): Answer<ConfigProblem[]>;
  /** @throws ApiError 422 `config_invalid` with `details: { problems }`; the old config stays. */
  reload(): Answer<ReloadResult>;
  setLog(change: LogChange): Answer<{ level: LogLevel; overrides: string[]; expires_in: number | null }>;
  drain(): Answer<{ calls_open: number }>;
  /** A consistent copy of the database in a temporary file; the app streams it and calls `dispose` when that is over. */
  backup(): Answer<{ path: string; dispose(): void }>;

  /**
   * @returns ends the subscription. The listener must not be called after it.
   */
  subscribe(listener: EventListener): () => void;

  /** Host names besides loopback and the listen addresses that the Host header may carry (domains, `advertise`). */
  hostNames(): readonly string[];
  /** Where faults of the control port itself are told. */
  log(level: LogLevel, message: string): void;
}
