/**
 * What the control port asks, answered from the live parts. Every change runs as an input of a loop turn, so that it
 * is committed and sent like any other.
 */
import { ApiError } from "../control/backend.ts";
import type {
  Call,
  CallBranch,
  ConfigProblem,
  ControlBackend,
  DevicePatch,
  EventListener,
  HtableEntry,
  HtableInfo,
  Info,
  Location,
  LocationDevice,
  LogChange,
  Page,
  PageQuery,
  PushBackendInfo,
  PushBody,
  PushRecent,
  PushResult,
  Readiness,
  ReloadResult,
  SiloEntry,
  Status,
  TraceItem,
  TraceQuery,
} from "../control/backend.ts";
import { callShape, deviceShape, locationShape } from "../control/shapes.ts";
import { masked } from "../config/masked.ts";
import { loadConfig } from "../config/load.ts";
import { renderLadder } from "../observe/ladder.ts";
import type { CallState } from "../silo/record.ts";
import type { Htable, HtableItem } from "../htable/htable.ts";
import type { LogLevel } from "../sip/port.ts";
import { aorOf, parseUri, uriParam } from "../sip/uri.ts";
import type { Aor } from "../usrloc/model.ts";
import type { PushEvent, PushVerdict } from "../push/types.ts";
import { Backups } from "./backups.ts";
import type { Appliance } from "../appliance.ts";

const PUSH_EVENTS: readonly string[] = ["call", "message", "refresh", "cancel", "missed", "test"];
/** Devices set by hand without an expiry: until somebody deletes them. */
const NEVER_MS = 10 * 365 * 86_400_000;

export class ApplianceControl implements ControlBackend {
  private readonly backups = new Backups();

  constructor(private readonly appliance: Appliance) {}

  info(): Info {
    const { appliance } = this;
    const config = appliance.config;
    return {
      version: appliance.version,
      bun: Bun.version,
      pid: process.pid,
      uptime: Math.round((this.nowMs - appliance.startedAtMs) / 1000),
      started_at: new Date(appliance.startedAtMs).toISOString(),
      config: appliance.configFile,
      domains: this.domains(),
      listeners: appliance.transports.listeners().map(({ transport, address, port, advertised }) => ({
        url: `${transport}://${address.includes(":") ? `[${address}]` : address}:${port}`,
        transport,
        address,
        port,
        advertised,
      })),
      control: [...appliance.controlUrls],
      store: { path: config.store.path, rows: appliance.core.usrloc.contactCount },
    };
  }

  status(): Status {
    const { appliance } = this;
    const { core, config, world } = appliance;
    let pushDevices = 0;
    let atRisk = 0;
    for (const aor of core.usrloc.all()) {
      for (const contact of aor.contacts) {
        if (contact.push !== null && contact.push.tokenState !== "dead") pushDevices++;
        if (core.upkeepOf(contact).isAtRisk) atRisk++;
      }
    }
    return {
      state: appliance.readiness().state,
      version: appliance.version,
      uptime: Math.round((this.nowMs - appliance.startedAtMs) / 1000),
      pbx: config.pbx === null || core.qualify === null ? null : {
        uri: core.pbx?.preferred?.uri ?? config.pbx.uri[0]!.uri,
        state: core.qualify.state,
        mode: config.pbx.mode,
        rtt_ms: core.qualify.rttMs === null ? null : Math.round(core.qualify.rttMs * 10) / 10,
        reason: core.qualify.reason,
      },
      counts: {
        aors: core.usrloc.aorCount,
        devices: core.usrloc.contactCount,
        push_devices: pushDevices,
        at_risk: atRisk,
        upstream_failing: core.upstreamKeeper?.failing ?? 0,
        short_grants: core.shortGrants,
        flows: appliance.transports.flowSamples().reduce((sum, [, value]) => sum + value, 0),
        calls_open: core.silo.openCalls,
        calls_held: core.silo.heldCalls,
        banned: appliance.htables.get("banned")?.size ?? 0,
      },
      push: this.pushBackends(),
      problems: world.problems.toReversed().map(({ atMs, level, message }) => ({
        at: new Date(atMs).toISOString(),
        level,
        message,
      })),
    };
  }

  readiness(): Readiness {
    return this.appliance.readiness();
  }

  metricsText(): string {
    return this.appliance.metrics.text();
  }

  resolveAor(text: string): string {
    const uri = parseUri(/^sips?:/i.test(text) ? text : "sip:" + text);
    if (uri === null || (!text.includes("@") && uri.user === "" && !/^[^\s@;?<>]+$/.test(text))) {
      throw new ApiError(
        400,
        "invalid_aor",
        `Cannot read address of record "${text}"`,
        "Give user@domain, or a user of the first domain",
      );
    }
    if (uri.user !== "") return aorOf(uri);
    const domain = this.domains()[0] ?? "";
    return domain === "" ? text : `${text}@${domain}`;
  }

  locations(query: PageQuery & { filter: string }): Page<Location> {
    const keys: string[] = [];
    for (const aor of this.appliance.core.usrloc.all()) {
      if (aor.key.includes(query.filter) && (query.after === "" || aor.key > query.after)) keys.push(aor.key);
    }
    keys.sort();
    const page = keys.slice(0, query.limit);
    return {
      items: page.map((key) => this.shape(this.appliance.core.usrloc.find(key)!)),
      next: keys.length > page.length ? page.at(-1)! : null,
    };
  }

  location(aor: string): Location {
    return this.shape(this.aor(aor));
  }

  deleteLocation(key: string): void {
    const aor = this.aor(key);
    this.input(() => {
      for (const contact of [...aor.contacts]) this.appliance.core.usrloc.remove(contact, "control");
    });
  }

  putDevice(key: string, id: string, patch: DevicePatch): LocationDevice {
    const { usrloc } = this.appliance.core;
    const known = usrloc.find(key)?.contacts.find((contact) => contact.id === id) ?? null;
    if (known === null && patch.contact === undefined) {
      throw new ApiError(404, "unknown_device", `${key} has no device ${id}`, "Give contact to make a static device");
    }
    if (known === null && (usrloc.contact(id) !== undefined || !/^[a-z0-9]{1,64}$/.test(id))) {
      throw new ApiError(
        409,
        "invalid_device_id",
        `Cannot use ${id} as a device id`,
        "Take up to 64 lower-case letters and digits that no other device has",
      );
    }
    const uri = patch.contact === undefined ? null : parseUri(patch.contact);
    if (patch.contact !== undefined && (uri === null || uri.scheme === "tel")) {
      throw new ApiError(
        400,
        "invalid_contact",
        `Cannot read contact "${patch.contact}"`,
        "Give a SIP URI such as sip:alice@192.0.2.7:5060",
      );
    }
    return this.input(() => {
      const [user = "", domain = ""] = splitAor(key);
      const aor = usrloc.ensure(key, user, domain, this.appliance.core.aorId(key));
      const flow = uri === null ? known?.flow ?? null : this.appliance.world.flowTo(
        uriParam(uri, "transport") === "tcp" ? "tcp" : "udp",
        uri.host.replace(/[[\]]/g, ""),
        uri.port || 5060,
      );
      const push = patch.push === undefined ? known?.push ?? null : patch.push === null ? null : {
        provider: patch.push.provider.toLowerCase(),
        param: patch.push.param ?? "",
        prid: patch.push.prid,
        tokenState: "unknown" as const,
        registeredAtMs: this.nowMs,
      };
      const saved = usrloc.save(aor, known as never, id, {
        uri: patch.contact ?? known!.uri,
        params: known?.params ?? "",
        instance: known?.instance ?? "",
        regId: known?.regId ?? 0,
        q: known?.q ?? 1000,
        callId: known?.callId ?? "",
        cseq: known?.cseq ?? 0,
        expiresAtMs: patch.expires_in === undefined
          ? known?.expiresAtMs ?? this.nowMs + NEVER_MS
          : this.nowMs + patch.expires_in * 1000,
        registeredAtMs: known?.registeredAtMs ?? this.nowMs,
        path: known?.path ?? "",
        userAgent: patch.user_agent ?? known?.userAgent ?? "",
        kind: patch.kind ?? known?.kind ?? (push === null ? "desk" : "mobile"),
        push,
        flowKey: flow?.key ?? known?.flowKey ?? "",
      }, flow);
      if (patch.push !== undefined) {
        saved.push = push;
        usrloc.touched(saved);
      }
      this.appliance.core.deviceSet(saved);
      return deviceShape(saved, this.appliance.core.upkeepOf(saved), this.nowMs);
    });
  }

  deleteDevice(key: string, id: string): void {
    const contact = this.aor(key).contacts.find((one) => one.id === id);
    if (contact === undefined) throw unknownDevice(key, id);
    this.input(() => this.appliance.core.usrloc.remove(contact, "control"));
  }

  calls(query: PageQuery & { state: CallState | ""; aor: string }): Page<Call> {
    const records = this.appliance.core.silo.allRecords().filter((record) =>
      (query.state === "" || record.state === query.state) && (query.aor === "" || record.aor === query.aor)
    );
    const start = query.after === "" ? 0 : records.findIndex(({ id }) => id === query.after) + 1;
    const page = records.slice(start, start + query.limit);
    return { items: page.map(callShape), next: records.length > start + page.length ? page.at(-1)!.id : null };
  }

  call(id: string): Call {
    return callShape(this.record(id));
  }

  ladder(id: string): string {
    return renderLadder(this.record(id));
  }

  endCall(id: string): void {
    const call = this.openCall(id);
    this.input(() => call.end("Ended by hand"));
  }

  addBranch(id: string, target: { contact: string } | { device: string }): CallBranch {
    const call = this.openCall(id);
    return this.input(() => {
      if ("device" in target) {
        const contact = call.aor.contacts.find((one) => one.id === target.device);
        if (contact === undefined) throw unknownDevice(call.aor.key, target.device);
        if (!call.appendDevice(contact)) {
          throw new ApiError(
            409,
            "branch_not_added",
            `Device ${target.device} gets no branch`,
            "It has one already, declined, or has no connection; see GET /v1/calls/{id}",
          );
        }
      } else this.addAddress(call, target.contact);
      return callShape(call.snapshot()).branches.at(-1)!;
    });
  }

  private addAddress(call: ReturnType<ApplianceControl["openCall"]>, contact: string): void {
    const uri = parseUri(contact);
    if (uri === null || (uri.scheme !== "sip" && uri.scheme !== "sips")) {
      throw new ApiError(
        400,
        "invalid_contact",
        `Cannot read contact "${contact}"`,
        "Give a SIP URI with an IP address: sip:desk@192.0.2.7:5060",
      );
    }
    const { core, world } = this.appliance;
    const host = uri.host.replace(/[[\]]/g, "");
    const flow = world.flowTo(
      uriParam(uri, "transport")?.toLowerCase() === "tcp" ? "tcp" : "udp",
      host,
      uri.port || 5060,
    );
    if (flow === null) {
      throw new ApiError(
        409,
        "no_route",
        `No way to ${uri.host}`,
        "Give an IP address, and a transport that latefork listens on",
      );
    }
    call.appendAddress(contact, flow, core.addressToken(flow, call.record.callId));
  }

  removeBranch(id: string, branch: string): void {
    const call = this.openCall(id);
    if (!this.input(() => call.removeBranch(Number(branch)))) {
      throw new ApiError(
        404,
        "unknown_branch",
        `Call ${id} has no live branch ${branch}`,
        "See branches in GET /v1/calls/{id}",
      );
    }
  }

  silo(): SiloEntry[] {
    return [...this.appliance.core.silo.openByAor().keys()].sort().map((aor) => this.siloOf(aor));
  }

  siloOf(aor: string): SiloEntry {
    return {
      aor,
      calls: this.appliance.core.silo.callsOf(aor).map((call) => {
        const record = call.snapshot();
        return {
          id: record.id,
          call_id: record.callId,
          from: record.from,
          held: call.isHeld,
          branches: record.branches.length,
          waiting: record.wakes.filter(({ state }) => state === "waiting").length,
          age_ms: Math.round(this.nowMs - record.startedAtMs),
        };
      }),
    };
  }

  append(key: string): { calls: number; branches: number } {
    const aor = this.aor(key);
    return this.input(() => this.appliance.core.silo.appendAll(aor));
  }

  htables(): HtableInfo[] {
    return this.appliance.htables.all().map(({ name, ttlMs, max, isPersisted, size }) => ({
      name,
      ttl: ttlMs / 1000,
      max,
      persist: isPersisted,
      size,
    }));
  }

  htable(table: string, query: PageQuery): Page<HtableEntry> {
    const items = this.table(table).list(this.nowMs).sort((a, b) => a.key < b.key ? -1 : 1).filter(({ key }) =>
      key > query.after
    );
    const page = items.slice(0, query.limit);
    return { items: page.map((item) => this.entry(item)), next: items.length > page.length ? page.at(-1)!.key : null };
  }

  htableGet(table: string, key: string): HtableEntry {
    const item = this.table(table).item(key, this.nowMs);
    if (item === undefined) throw new ApiError(404, "unknown_key", `Table ${table} has no key ${key}`);
    return this.entry(item);
  }

  htableSet(table: string, key: string, value: string, ttlMs: number): HtableEntry {
    const htable = this.table(table);
    this.input(() => htable.set(key, value, ttlMs === 0 ? undefined : ttlMs, this.nowMs));
    return this.htableGet(table, key);
  }

  htableDelete(table: string, key: string): void {
    const htable = this.table(table);
    if (!this.input(() => htable.delete(key, this.nowMs))) {
      throw new ApiError(404, "unknown_key", `Table ${table} has no key ${key}`);
    }
  }

  htableIncr(table: string, key: string, by: number): HtableEntry {
    const htable = this.table(table);
    const sum = this.input(() => htable.incr(key, by, undefined, this.nowMs));
    if (sum === null) throw new ApiError(409, "not_a_number", `The value of ${key} is not a whole number`);
    return this.htableGet(table, key);
  }

  pushBackends(): PushBackendInfo[] {
    return this.appliance.relay.backends().map((
      { provider, backend, state, accepted, refused, dead, failed, last_error },
    ) => ({
      provider,
      kind: backend.split(".")[0]!,
      state: state === "ok" ? "healthy" as const : state === "unused" ? "unused" as const : "failing" as const,
      accepted,
      refused: refused + dead,
      failed,
      last_reason: last_error,
    }));
  }

  async push(body: PushBody): Promise<PushResult> {
    const event = body.event ?? "test";
    if (!PUSH_EVENTS.includes(event)) {
      throw new ApiError(400, "invalid_event", `Unknown event "${event}"`, `One of ${PUSH_EVENTS.join(", ")}`);
    }
    if ("provider" in body) {
      return verdictShape(
        await this.appliance.relay.testPush(body.provider, body.param, body.prid, event as PushEvent),
      );
    }
    const aor = this.aor(body.aor);
    const contact = aor.contacts.find((one) => body.device === undefined ? one.push !== null : one.id === body.device);
    if (contact === undefined || contact.push === null) {
      throw new ApiError(
        409,
        "not_pushable",
        `${aor.key} has no device with a push token`,
        "See push in GET /v1/locations/{aor}; a token comes with the REGISTER, or by PUT .../devices/{id}",
      );
    }
    const { provider, param, prid } = contact.push;
    const sentAtMs = this.nowMs;
    const verdict = await this.appliance.relay.sendNow({
      uuid: crypto.randomUUID(),
      event: event as PushEvent,
      provider,
      param,
      prid,
      aor: aor.key,
      device: contact.id,
      callId: "",
      fromUri: "",
      fromName: "",
      toUri: "sip:" + aor.key,
      ttlMs: 10_000,
    });
    this.input(() =>
      this.appliance.core.pushResult(verdict, contact.id, prid, Math.min(sentAtMs, verdict.deadSinceMs ?? sentAtMs))
    );
    return verdictShape(verdict);
  }

  pushRecent(): PushRecent[] {
    return this.appliance.relay.recent().map(({ at, aor, device, event, provider, status, accepted, reason, ms }) => ({
      at,
      aor,
      device,
      event,
      provider,
      status,
      accepted,
      reason,
      ms,
    }));
  }

  trace(query: TraceQuery): TraceItem[] {
    const callId = query.call === "" ? "" : this.appliance.core.silo.record(query.call)?.callId ?? query.call;
    return this.appliance.trace.find({
      aor: query.aor === "" ? undefined : query.aor,
      callId: callId === "" ? undefined : callId,
      limit: query.limit,
      isPrivate: this.appliance.config.log.privacy === "mask",
    }).map(({ atMs, direction, flow, callId, message }) => ({
      at: new Date(atMs).toISOString(),
      direction,
      flow,
      call_id: callId,
      message,
    }));
  }

  configMasked(): Record<string, unknown> {
    return masked(this.appliance.config);
  }

  configCheck(yaml: string): ConfigProblem[] {
    return loadConfig(yaml).problems;
  }

  reload(): Promise<ReloadResult> | ReloadResult {
    return this.appliance.reload();
  }

  setLog(change: LogChange): { level: LogLevel; overrides: string[]; expires_in: number | null } {
    this.appliance.log.change({ level: change.level, overrides: change.overrides, forMs: change.for_ms });
    const { level, overrides, expiresInMs } = this.appliance.log.state();
    return { level, overrides, expires_in: expiresInMs === null ? null : Math.round(expiresInMs / 1000) };
  }

  drain(): { calls_open: number } {
    this.appliance.drain();
    return { calls_open: this.appliance.core.silo.openCalls };
  }

  backup(): { path: string; dispose(): void } {
    const { path, dispose } = this.backups.place();
    const problem = this.appliance.world.backup(path, this.appliance.core.usrloc.all());
    if (problem === "") return { path, dispose };
    dispose();
    throw new ApiError(500, "backup_failed", problem);
  }

  subscribe(listener: EventListener): () => void {
    const { listeners } = this.appliance.world;
    listeners.add(listener);
    return () => listeners.delete(listener);
  }

  hostNames(): readonly string[] {
    const { config } = this.appliance;
    const advertised = [config.advertise, ...config.listen.map(({ advertise }) => advertise)].filter((text) =>
      text !== ""
    );
    return [...config.domain, ...advertised.map((text) => text.replace(/:\d+$/, ""))];
  }

  log(level: LogLevel, message: string): void {
    this.appliance.world.log(level, message);
  }

  private shape(aor: Aor): Location {
    return locationShape(aor, this.appliance.core, this.nowMs);
  }

  private get nowMs(): number {
    return this.appliance.turn.nowMs;
  }

  /** The configured domains, else those of the AoRs there are. */
  private domains(): string[] {
    const { config, core } = this.appliance;
    return config.domain.length > 0 ? config.domain : [...core.usrloc.domains()];
  }

  /** Runs a change inside a turn; an error of the API goes on to the asker. */
  private input<T>(change: () => T): T {
    this.appliance.turn.enter();
    return change();
  }

  private aor(key: string): Aor {
    const aor = this.appliance.core.usrloc.find(key);
    if (aor === undefined) {
      throw new ApiError(404, "unknown_aor", `${key} is not registered`, "GET /v1/locations lists who is");
    }
    return aor;
  }

  private record(id: string) {
    const { silo } = this.appliance.core;
    const record = silo.record(id) ?? silo.allRecords().find(({ callId }) => callId === id);
    if (record === undefined) {
      throw new ApiError(
        404,
        "unknown_call",
        `There is no call ${id}`,
        "GET /v1/calls lists the open and the last ended ones",
      );
    }
    return record;
  }

  private openCall(id: string) {
    const record = this.record(id);
    const call = this.appliance.core.silo.call(record.id);
    if (call === undefined || !call.isOpen) {
      throw new ApiError(409, "call_ended", `Call ${id} is over: ${record.outcome}`);
    }
    return call;
  }

  private table(name: string): Htable {
    const table = this.appliance.htables.get(name);
    if (table === undefined) {
      throw new ApiError(
        404,
        "unknown_table",
        `There is no table ${name}`,
        "Tables are named in the config under htables",
      );
    }
    return table;
  }

  private entry({ key, value, expiresAtMs }: HtableItem): HtableEntry {
    return {
      key,
      value,
      expires_in: Number.isFinite(expiresAtMs) ? Math.max(0, Math.round((expiresAtMs - this.nowMs) / 1000)) : null,
    };
  }
}

function splitAor(key: string): [string, string] {
  const at = key.lastIndexOf("@");
  return [key.slice(0, at), key.slice(at + 1)];
}

function unknownDevice(aor: string, id: string): ApiError {
  return new ApiError(404, "unknown_device", `${aor} has no device ${id}`, "GET /v1/locations/{aor} lists its devices");
}

function verdictShape(verdict: PushVerdict): PushResult {
  const { provider, status, outcome, reason, ms } = verdict;
  return { provider, status, accepted: outcome === "accepted", reason, ms: Math.round(ms * 10) / 10 };
}
