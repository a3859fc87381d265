/**
 * A backend of two AoRs, one call and one table in plain variables: enough to try routing, formats and the guard. It
 * decides nothing the appliance decides.
 */
import {
  ApiError,
  type Call,
  type ControlBackend,
  type EventListener,
  type HtableEntry,
  type Location,
  type LogChange,
  type PushBody,
  type Readiness,
  type TraceQuery,
} from "../../src/control/backend.ts";

const REFRESH = { by: "push" as const, next: "refresh push", next_in: 30, why: "no credentials", last_failure: "" };

export class SmallBackend implements ControlBackend {
  ready: Readiness = { state: "ready", reason: "" };
  readonly table = new Map<string, HtableEntry>();
  readonly asked: unknown[] = [];
  readonly listeners = new Set<EventListener>();
  readonly logged: string[] = [];
  names: string[] = ["pbx.example.org", "sip.example.org:5060"];
  backupPath = "";
  disposed = 0;

  readonly aors: Location[] = ["alice@example.org", "bob@example.org"].map((aor, i) => ({
    aor,
    upstream: { mode: "aor", state: "registered", expires_in: 3599, at_risk: false, refresh: REFRESH },
    devices: [{
      id: "d" + i,
      kind: "mobile",
      contact: "sip:x@192.0.2.7:40123",
      instance: "",
      user_agent: "Linphone",
      expires_in: 61,
      flow: { state: "live", transport: "udp", remote: "192.0.2.7:40123" },
      push: {
        provider: "acme",
        param: "",
        token: "abcd…wxyz",
        token_state: "valid",
        encrypted: false,
        registered_at: "2026-01-02T03:04:05.678Z",
      },
      upstream_state: "registered",
      upstream_expires_in: 3599,
      at_risk: false,
      refresh: REFRESH,
      phone: { by: "push", next_in: 31, last_failure: "" },
    }],
  }));

  info() {
    return {
      version: "0.1.0",
      bun: "1.4.5",
      pid: 1,
      uptime: 90_061,
      started_at: "2026-01-02T03:04:05.678Z",
      config: null,
      domains: ["example.org"],
      listeners: [],
      control: [],
      store: { path: ":memory:", rows: 2 },
    };
  }
  status() {
    return {
      state: "ready" as const,
      version: "0.1.0",
      uptime: 61,
      pbx: null,
      counts: {
        aors: 2,
        devices: 2,
        push_devices: 2,
        at_risk: 0,
        upstream_failing: 0,
        short_grants: 0,
        flows: 2,
        calls_open: 1,
        calls_held: 0,
        banned: 0,
      },
      push: [],
      problems: [],
    };
  }
  readiness() {
    return this.ready;
  }
  metricsText() {
    return "latefork_calls_open 1\n";
  }
  resolveAor(text: string) {
    if (text.includes(" ")) throw new ApiError(400, "invalid_aor", `Cannot read AoR "${text}"`);
    return text.includes("@") ? text.toLowerCase() : `${text}@example.org`;
  }
  locations(query: { limit: number; after: string; filter: string }) {
    const all = this.aors.filter(({ aor }) => aor.includes(query.filter) && aor > query.after);
    const items = all.slice(0, query.limit);
    return { items, next: all.length > items.length ? items.at(-1)!.aor : null };
  }
  location(aor: string) {
    const found = this.aors.find((location) => location.aor === aor);
    if (found === undefined) {
      throw new ApiError(404, "unknown_aor", `Nobody registered as ${aor}`, "GET /v1/locations lists who did");
    }
    return found;
  }
  deleteLocation(aor: string) {
    this.location(aor);
    this.asked.push(["deleteLocation", aor]);
  }
  putDevice(aor: string, id: string, patch: unknown) {
    this.asked.push(["putDevice", aor, id, patch]);
    return this.aors[0]!.devices[0]!;
  }
  deleteDevice(aor: string, id: string) {
    this.asked.push(["deleteDevice", aor, id]);
  }
  calls(query: unknown) {
    this.asked.push(["calls", query]);
    return Promise.resolve({ items: [CALL], next: null });
  }
  call(id: string) {
    if (id !== CALL.id && id !== CALL.call_id) throw new ApiError(404, "unknown_call", `There is no call ${id}`);
    return CALL;
  }
  ladder(id: string) {
    return `call ${this.call(id).id}\n`;
  }
  endCall(id: string) {
    this.asked.push(["endCall", id]);
  }
  addBranch(id: string, target: unknown) {
    this.asked.push(["addBranch", id, target]);
    return { id: "2", device: "d0", party: "alice/1", state: "trying" as const, status: 0, late: true };
  }
  removeBranch(id: string, branch: string) {
    this.asked.push(["removeBranch", id, branch]);
  }
  silo() {
    return [this.siloOf("alice@example.org")];
  }
  siloOf(aor: string) {
    const call = { id: CALL.id, call_id: "a@b", from: CALL.from, held: true, branches: 1, waiting: 1, age_ms: 1234 };
    return { aor, calls: aor === "alice@example.org" ? [call] : [] };
  }
  append(aor: string) {
    return { calls: this.siloOf(aor).calls.length, branches: 1 };
  }
  htables() {
    return [{ name: "banned", ttl: 600, max: 10_000, persist: true, size: this.table.size }];
  }
  htable(table: string) {
    this.check(table);
    return { items: [...this.table.values()], next: null };
  }
  htableGet(table: string, key: string) {
    this.check(table);
    const entry = this.table.get(key);
    if (entry === undefined) throw new ApiError(404, "unknown_key", `There is no ${key} in ${table}`);
    return entry;
  }
  htableSet(table: string, key: string, value: string, ttlMs: number) {
    this.check(table);
    const entry = { key, value, expires_in: ttlMs === 0 ? 600 : ttlMs / 1000 };
    this.table.set(key, entry);
    return entry;
  }
  htableDelete(table: string, key: string) {
    this.htableGet(table, key);
    this.table.delete(key);
  }
  htableIncr(table: string, key: string, by: number) {
    return this.htableSet(table, key, String(Number(this.table.get(key)?.value ?? 0) + by), 0);
  }
  pushBackends() {
    return [];
  }
  push(body: PushBody) {
    this.asked.push(["push", body]);
    return {
      provider: "acme",
      device: "d0",
      status: 200,
      accepted: true,
      outcome: "accepted" as const,
      reason: "",
      ms: 12,
    };
  }
  pushRecent() {
    return [];
  }
  trace(query: TraceQuery) {
    this.asked.push(["trace", query]);
    return [{
      at: "2026-01-02T03:04:05.678Z",
      direction: "in" as const,
      flow: "udp|a|b",
      call_id: "a@b",
      message: "OPTIONS sip:x SIP/2.0\r\n\r\n",
    }];
  }
  configMasked() {
    return { domain: ["example.org"], control: { token_file: "/etc/latefork/token" } };
  }
  configCheck(yaml: string) {
    return yaml.includes("tpc")
      ? [{
        severity: "error" as const,
        line: 1,
        column: 9,
        path: "listen[0]",
        message: 'unknown scheme "tpc"',
        hint: 'did you mean "tcp"?',
      }]
      : [];
  }
  reload() {
    if (this.ready.state !== "ready") {
      throw new ApiError(422, "config_invalid", "The config file has 1 problem; nothing changed", "", {
        problems: this.configCheck("tpc"),
      });
    }
    return { applied: ["log.level"], restart_required: ["listen"] };
  }
  setLog(change: LogChange) {
    this.asked.push(["setLog", change]);
    return { level: change.level ?? ("info" as const), overrides: [], expires_in: null };
  }
  drain() {
    return { calls_open: 1 };
  }
  backup() {
    return { path: this.backupPath, dispose: () => this.disposed++ };
  }
  subscribe(listener: EventListener) {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }
  hostNames() {
    return this.names;
  }
  log(level: string, message: string) {
    this.logged.push(`${level} ${message}`);
  }

  private check(table: string): void {
    if (table === "broken") throw new TypeError("secret detail");
    if (table !== "banned") throw new ApiError(404, "unknown_table", `There is no table ${table}`);
  }
}

export const CALL: Call = {
  id: "7f3a01",
  call_id: "abc@192.0.2.1",
  aor: "alice@example.org",
  from: '"Bob" <sip:bob@example.org>',
  to: "<sip:alice@example.org>",
  state: "ended",
  result: "answered",
  outcome: "answered by alice/2 after 3.912 s",
  status: 200,
  started_at: "2026-01-02T03:04:05.678Z",
  ended_at: "2026-01-02T03:05:05.678Z",
  parties: ["PBX", "latefork", "alice/1"],
  branches: [{ id: "1", device: "d0", party: "alice/1", state: "answered", status: 200, late: true }],
  wakes: [],
  timeline: [],
};
