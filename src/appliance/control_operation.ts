/** What keeps the appliance running: its status, trace, config, log, draining, copies of its database, and its events. */
import { dirname, resolve } from "node:path";
import { hostPort } from "../core/sip/host.ts";
import type { Appliance } from "./appliance.ts";
import { checkFiles } from "../config/files.ts";
import { loadConfig } from "../config/load.ts";
import { masked } from "../config/masked.ts";
import { ApiError } from "../control/backend.ts";
import type {
  ConfigProblem,
  EventListener,
  Info,
  LogChange,
  Readiness,
  ReloadResult,
  Status,
  TraceItem,
  TraceQuery,
} from "../control/backend.ts";
import type { LogLevel } from "../core/port.ts";
import { Backups } from "./backups.ts";
import type { ControlPush } from "./control_push.ts";
import { ControlResource } from "./control_resource.ts";
import { deviceUpkeep } from "../core/registrar/upkeep.ts";

export class ControlOperation extends ControlResource {
  private readonly backups = new Backups();

  constructor(appliance: Appliance, private readonly pushes: ControlPush) {
    super(appliance);
  }

  info(): Info {
    const { appliance } = this;
    const config = appliance.config;
    return {
      version: appliance.version,
      bun: Bun.version,
      pid: process.pid,
      uptime: Math.round((this.nowMs - appliance.startedAtMs) / 1000),
      started_at: new Date(appliance.startedAtMs).toISOString(),
      config: appliance.configFile === null ? null : resolve(appliance.configFile),
      domains: this.domains(),
      listeners: appliance.transports.listeners().map(({ transport, address, port, advertised }) => ({
        url: `${transport}://${hostPort(address, port)}`,
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
        const { push } = contact;
        if (push !== null && push.tokenState !== "dead" && appliance.relay.serves(push.provider)) pushDevices++;
        if (deviceUpkeep(contact, core.mid, core.clock.nowMs).isAtRisk) atRisk++;
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
        upstream_failing: core.mid?.keeper.failing ?? 0,
        short_grants: core.mid?.ledger.shortGrants.size ?? 0,
        flows: appliance.transports.flowSamples().reduce((sum, [, value]) => sum + value, 0),
        calls_open: core.silo.openCalls,
        calls_held: core.silo.heldCalls,
        banned: appliance.htables.get("banned")?.size ?? 0,
      },
      push: this.pushes.pushBackends(),
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
    const { configFile } = this.appliance;
    const { config, problems, placeOf } = loadConfig(yaml, { folder: configFile === null ? "." : dirname(configFile) });
    return config === null ? problems : [...problems, ...checkFiles(config, placeOf)];
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
    this.appliance.onEndAsked();
    return { calls_open: this.appliance.core.silo.openCalls };
  }

  backup(): { path: string; dispose(): void } {
    const { path, dispose } = this.backups.place();
    const problem = this.appliance.world.backup(path, this.appliance.core.usrloc.all());
    if (problem === "") return { path, dispose };
    dispose();
    throw new ApiError(
      500,
      "backup_failed",
      problem,
      "The copy is made in the folder for temporary files: TMPDIR names another",
    );
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
}
