/**
 * The appliance: builds the parts and wires them into one loop turn. It decides only the order of starting and stopping.
 * Every rule of SIP, calls and registrations is in the core.
 */
import manifest from "../../package.json" with { type: "json" };
import { Certificates } from "./certificates.ts";
import { Drain } from "./drain.ts";
import { readSecretFiles, type SecretFiles, secretProblems } from "./files.ts";
import { mergeLive } from "./merge_live.ts";
import type { PbxNames } from "./pbx_names.ts";
import { PbxWatch, type PbxWatchOptions } from "./pbx_watch.ts";
import { registerGauges } from "./gauges.ts";
import { IdleCollection } from "./idle_collection.ts";
import { Inbox } from "./inbox.ts";
import { guardSettings } from "./guard_settings.ts";
import { PushLog } from "./push_log.ts";
import { type CoreSecrets, coreSettings } from "./settings.ts";
import { Turn } from "./turn.ts";
import { World } from "./world.ts";
import { containsAddress } from "../config/cidr.ts";
import { checkFiles, loadConfigFile, readTlsFiles, readToken } from "../config/files.ts";
import { hasErrors } from "../config/problem.ts";
import { diffConfig } from "../config/reload.ts";
import type { Config } from "../config/schema.ts";
import { controlApp } from "../control/app.ts";
import { ApiError } from "../control/api_error.ts";
import type { ApplianceState, ControlHost, Readiness, ReloadResult } from "../control/host.ts";
import { type ControlServer, listenControl } from "../control/server.ts";
import { Core } from "../core/core.ts";
import { sourceOf } from "../core/guard/network.ts";
import { type GuardSettings, SourceGuard } from "../core/guard/source_guard.ts";
import { Htables } from "../core/htable/htables.ts";
import { Log } from "../observe/log.ts";
import { Metrics } from "../observe/metrics.ts";
import { TraceRing } from "../observe/trace.ts";
import { MAX_RATED_DEVICES } from "../io/push/rate.ts";
import { PushRelay } from "../io/push/relay.ts";
import type { FramingProblem } from "../core/sip/framing.ts";
import type { Flow, Listener } from "../core/sip/flow.ts";
import { clockShift, moveTimes } from "../io/store/clock_shift.ts";
import { openStore, type SqliteStore } from "../io/store/sqlite.ts";
import { canonicalAddress } from "../io/transport/address.ts";
import type { TransportLimits } from "../io/transport/sink.ts";
import { Transports } from "../io/transport/transports.ts";

/** How it is started. */
export interface ApplianceOptions extends PbxWatchOptions {
  readonly config: Config;
  /** For reload and for people; null: none. */
  readonly configFile: string | null;
  /** Takes the place of its own log, for the demo and for tests. */
  readonly log?: Log;
}

export class Appliance implements ControlHost {
  readonly version: string = manifest.version;
  readonly configFile: string | null;
  config: Config;
  readonly log: Log;
  readonly metrics = new Metrics();
  readonly trace: TraceRing;
  readonly turn: Turn;
  private messages = 0;
  private readonly collection = new IdleCollection({
    residentBytes: () => process.memoryUsage.rss(),
    readMs: () => performance.now(),
    collect: () => Bun.gc(true),
    log: (message, fields) => this.log.log("info", message, fields),
  });
  private readonly inbox = new Inbox(
    (flow, text) => this.handle(flow, text, this.transports.isPinned(flow), false),
    () => this.metrics.count("rejected_total", "busy"),
  );
  readonly transports: Transports;
  readonly relay: PushRelay;
  readonly store: SqliteStore;
  readonly htables: Htables;
  readonly guard: SourceGuard;
  readonly world: World;
  readonly core: Core;
  readonly startedAtMs: number;
  /** What the start tree warns of, in words. */
  readonly warnings: string[] = [];
  controlUrls: readonly string[] = [];
  /** Called when the control port was asked to end the appliance. The owner of the process sets it. */
  onEndAsked: () => void = () => {};
  private state: ApplianceState = "starting";
  private storeProblem = "";
  private control: ControlServer | null = null;
  private controlToken = "";
  private readonly pbxWatch: PbxWatch;
  private isLoaded = false;
  private newestListener: Listener | undefined = undefined;
  private files: SecretFiles;
  readonly certificates: Certificates;
  private readonly nonceKey = crypto.getRandomValues(new Uint8Array(32));
  private readonly installation: string;
  private stopping: Promise<void> | null = null;
  private readonly drainage = new Drain({
    nowMs: () => this.turn.nowMs,
    owed: (untilMs) => this.core.owed(untilMs),
    endCalls: () => this.core.silo.endAll("latefork is shutting down"),
    say: (level, message) => this.world.log(level, message),
  });

  constructor(options: ApplianceOptions) {
    this.config = options.config;
    this.configFile = options.configFile;
    this.pbxWatch = new PbxWatch({
      pbx: () => this.config.pbx,
      nowMs: () => this.turn.nowMs,
      takeNames: (names) => this.takeNames(names),
      warn: (message) => this.world.log("warn", message),
      onFault: (error) => this.onFault(error),
    }, options);
    this.log = options.log ?? new Log(this.config.log);
    this.trace = new TraceRing(this.config.trace.messages);
    this.turn = new Turn({
      runDue: () => this.runDue(),
      flush: () => {
        this.transports.flush();
        this.world.flushed();
      },
      commit: () => this.world.commit(),
      nextMs: () => this.nextMs(),
      tick: (nowMs) => this.tick(nowMs),
      onFault: (error) => this.onFault(error),
      onLag: (seconds) => this.metrics.measure("loop_lag_seconds", seconds),
    });
    this.startedAtMs = this.turn.nowMs;
    this.store = this.openStore();
    this.htables = new Htables(this.config.htables, this.store);
    this.guard = new SourceGuard(
      this.htables.ensure("banned", { ttl: 600_000, max: 10_000, persist: true }),
      {
        count: (counter, label) => this.metrics.count(counter, label),
        log: (...line) => this.world.log(...line),
        event: (event) => this.world.event(event),
      },
      this.guardSettings(),
    );
    const pushLog = new PushLog();
    this.relay = new PushRelay(this.config.push, {
      rates: this.htables.ensure("push_limits", { ttl: 60_000, max: MAX_RATED_DEVICES, persist: false }),
      now: () => this.turn.readMs(),
    }, {
      verdict: (verdict, request, backend) => {
        const { aor, device, event, callId } = request;
        const { outcome, reason, ms, provider, status } = verdict;
        this.metrics.count("push_total", `${backend.replace(/^(?:webhook|http)\./, "")}|${outcome}`);
        this.metrics.measure("push_seconds", ms / 1000);
        this.world.event({
          type: "push",
          state: outcome,
          event,
          aor,
          device,
          provider,
          call_id: callId,
          status,
          reason,
          ms,
        });
        const level = pushLog.levelOf(verdict, request);
        if (level !== null) this.world.log(level, `Push ${outcome}: ${reason}`, { aor, device });
      },
    });
    this.certificates = new Certificates(this.config);
    this.transports = new Transports({
      listen: this.config.listen,
      advertise: this.config.advertise,
      ownPort: this.config.pbx?.own_port ?? 0,
      sink: {
        message: (flow, text) => this.onMessage(flow, text),
        closed: (flow, reason) => this.turn.run(() => this.core.flowClosed(flow, reason)),
        malformed: (flow, text, problem) => this.onMalformed(flow, text, problem),
      },
      now: () => {
        this.turn.enter();
        return this.turn.nowMs;
      },
      onInput: () => this.turn.enter(),
      log: (level, message, fields) => this.world.log(level, message, fields),
      limits: transportLimits(this.config),
      isExempt: (address) =>
        containsAddress(this.config.security.allow, address) || this.isProxy(address) || this.isPbxAddress(address),
      isProxy: (address) => this.isProxy(address),
      tls: this.certificates.settings(),
      tlsPeer: (address) => this.certificates.peerAt(address, this.isPbxAddress(address)),
      allowsOrigin: (origin) => {
        const { allow_origins } = this.config.web;
        return allow_origins.length === 0 || allow_origins.includes(origin);
      },
      isRefused: (address) => this.guard.isRefused(address, this.turn.nowMs),
      admitsKeepalive: (address, isPinned) => this.guard.admits(address, isPinned, this.turn.nowMs),
      sourceOf,
    });
    this.world = new World({
      transports: this.transports,
      relay: this.relay,
      log: this.log,
      metrics: this.metrics,
      trace: this.trace,
      store: this.store,
      guard: this.guard,
      now: () => this.turn.nowMs,
      clock: () => this.turn.readMs(),
      onVerdict: (verdict, order, sentAtMs) =>
        this.turn.run(() => this.core.pushResult(verdict, order.device, order.prid, sentAtMs)),
    }, () => this.config);
    this.installation = this.installationSecret();
    this.files = readSecretFiles(this.config);
    this.core = new Core(this.world, this.turn, coreSettings(this.config, this.secrets()), this.guard);
    this.core.setPushServices(this.relay);
    registerGauges(this.metrics, {
      core: this.core,
      transports: this.transports,
      relay: this.relay,
      htables: this.htables,
      certificates: this.certificates,
      version: this.version,
      idleMs: () => this.config.wake.idle,
    });
  }

  /**
   * Opens the listeners, puts back what was stored, opens the control port.
   * @throws Error in words if a port cannot be opened; everything is closed again then
   */
  async start(): Promise<void> {
    try {
      // DNS is asked before a socket opens: a REGISTER must not come before the stored locations are loaded.
      const names = await this.pbxWatch.firstNames();
      this.core.setListeners(await this.transports.start());
      this.core.setOwnListeners(this.transports.ownListeners());
      this.newestListener = this.transports.listeners().at(-1);
      if (names !== null) this.pbxWatch.take(names);
      this.restore();
      this.isLoaded = true;
      this.control = await this.openControl();
      this.controlUrls = this.control.urls;
    } catch (error) {
      await this.stop();
      throw error;
    }
    this.warnings.push(...this.relay.problems(), ...this.files.problems, ...this.certificates.problems);
    if (this.storeProblem !== "") this.warnings.push(this.storeProblem);
    this.warnOfNobody();
    for (const aor of this.core.usrloc.all()) for (const contact of aor.contacts) this.world.expectPush(contact);
    this.state = "ready";
    this.turn.enter();
  }

  readiness(): Readiness {
    if (this.state === "ready" && (this.storeProblem !== "" || this.store.state === "failed")) {
      return { state: "store_failed", reason: this.storeProblem || this.store.lastError };
    }
    const reasons: Partial<Record<ApplianceState, string>> = {
      starting: "starting",
      draining: ["draining", this.waitsFor()].filter((words) => words !== "").join(", "),
      stopped: "stopped",
    };
    return { state: this.state, reason: reasons[this.state] ?? "" };
  }

  /** What a drain still waits for, in words; empty: nothing. */
  waitsFor(): string {
    return this.drainage.waitsFor();
  }

  /** Refuses new calls. Resolves when open ones have ended and what is on its way has arrived, within bounds (O-04). */
  drain(): Promise<void> {
    if (this.state === "ready") {
      this.state = "draining";
      this.core.isDraining = true;
    }
    this.turn.enter();
    return this.drainage.begin();
  }

  canonicalAddress(text: string): string | null {
    return canonicalAddress(text);
  }

  endWhenDrained(): void {
    this.drain();
    this.onEndAsked();
  }

  /** Commits what is pending, then closes everything. A second call waits for the same end. */
  stop(): Promise<void> {
    return this.stopping ??= this.close();
  }

  private async close(): Promise<void> {
    this.state = "stopped";
    await this.control?.stop();
    this.relay.stop();
    this.turn.stop();
    this.world.commit();
    this.transports.stop();
    const result = this.store.close();
    if (!result.ok) this.log.log("error", `Store: ${result.error}`);
    this.log.flush();
  }

  /**
   * Reads the config file again, and takes all of it or nothing (O-03).
   * @throws ApiError 422 with the problems
   */
  async reload(): Promise<ReloadResult> {
    if (this.configFile === null) {
      throw new ApiError(409, "no_config_file", "Started without a config file", "Start with -c FILE");
    }
    const loaded = loadConfigFile(this.configFile);
    if (loaded.config !== null) loaded.problems.push(...checkFiles(loaded.config, loaded.placeOf));
    const files = loaded.config === null ? null : readSecretFiles(loaded.config);
    if (files !== null && !hasErrors(loaded.problems)) loaded.problems.push(...secretProblems(files, loaded));
    if (loaded.config === null || files === null || hasErrors(loaded.problems)) {
      throw new ApiError(
        422,
        "config_invalid",
        `${this.configFile} cannot be used; the old config stays`,
        "latefork check shows the lines",
        {
          problems: loaded.problems,
        },
      );
    }
    const certificates = readTlsFiles(loaded.config);
    try {
      this.transports.setTls(this.certificates.settings(certificates));
    } catch (error) {
      const message = `TLS: ${(error as Error).message}; the old config stays`;
      throw new ApiError(422, "config_invalid", message, "latefork check shows the lines");
    }
    const diff = diffConfig(this.config, loaded.config);
    this.turn.enter();
    this.config = mergeLive(this.config, loaded.config, diff.restart_required);
    this.files = files;
    this.certificates.take(this.config, certificates);
    this.log.configure(this.config.log);
    this.core.reconfigure(coreSettings(this.config, this.secrets()));
    this.guard.configure(this.guardSettings());
    this.transports.setLimits(transportLimits(this.config));
    this.readControlToken();
    for (const problem of this.relay.reload(this.config.push)) this.world.log("warn", problem);
    this.world.log(
      "info",
      `Config reloaded: ${diff.applied.join(", ") || "no key has changed, files were read again"}` +
        (diff.restart_required.length === 0 ? "" : `; waits for a restart: ${diff.restart_required.join(", ")}`),
    );
    await this.pbxWatch.resolve();
    return diff;
  }

  private onMessage(flow: Flow, text: string): void {
    if (!this.isLoaded) return;
    this.turn.enter();
    this.messages++;
    // The guard is asked before the trace: a flood must not push out the messages that people look for there.
    const isRegistered = this.transports.isPinned(flow);
    const admission = this.guard.admission(flow.remoteAddress, isRegistered, this.turn.nowMs);
    if (admission === "dropped") return;
    const isStranger = admission !== "known";
    // A datagram comes again. Over a connection silence would cost a phone half a minute.
    if (admission === "busy" && !flow.isReliable) return;
    if (!this.inbox.admits(this.turn.number, flow, text, isStranger)) return;
    if (admission === "busy") this.core.busy(flow, text);
    else this.handle(flow, text, isRegistered, isStranger);
  }

  private handle(flow: Flow, text: string, isRegistered: boolean, isStranger: boolean): void {
    this.trace.add(this.turn.nowMs, true, flow, text);
    try {
      this.core.receive(flow, text, isRegistered, isStranger);
    } catch (error) {
      this.onFault(error);
    }
  }

  private onMalformed(flow: Flow, text: string, problem: FramingProblem): void {
    if (!this.isLoaded) return;
    this.turn.run(() => {
      if (!this.guard.admits(flow.remoteAddress, this.transports.isPinned(flow), this.turn.nowMs)) return;
      this.trace.add(this.turn.nowMs, true, flow, text);
      this.core.malformed(flow, text, problem.status, problem.reason);
    });
  }

  private isProxy(address: string): boolean {
    return containsAddress(this.config.security.proxies, address);
  }

  private isPbxAddress(address: string): boolean {
    return this.core?.pbx?.isPbxAddress(address) ?? false;
  }

  private guardSettings(): GuardSettings {
    return guardSettings(this.config, (address) => this.isPbxAddress(address));
  }

  /** an input that throws is a bug of ours. It is dropped, counted and logged, and the loop goes on. */
  onFault(error: unknown): void {
    this.metrics.count("rejected_total", "fault");
    const text = error instanceof Error ? error.stack ?? error.message : String(error);
    this.world.log("error", `Fault while handling an input, please report it: ${text}`);
  }

  private runDue(): void {
    // What still waits has the next turn, behind what comes in meanwhile for others.
    if (this.inbox.run(this.turn.number)) this.turn.again();
    this.core.schedule.run();
    this.htables.expire(this.turn.nowMs);
    if (this.turn.nowMs >= this.drainage.nextMs) this.drainage.look();
  }

  private nextMs(): number {
    const { core, htables, world, drainage } = this;
    return Math.min(core.schedule.nextMs, htables.nextExpiryMs(), world.nextCommitDueMs, drainage.nextMs);
  }

  private tick(nowMs: number): void {
    this.transports.tick(nowMs);
    this.world.tick(nowMs);
    for (const warning of this.certificates.dueWarnings()) this.world.log("warn", warning);
    const listeners = this.transports.listeners();
    // A wildcard follows the addresses of the machine. New ones come at the end, so the last one tells of a change.
    if (listeners.at(-1) !== this.newestListener) {
      this.newestListener = listeners.at(-1);
      this.core.setListeners(listeners);
      this.core.setOwnListeners(this.transports.ownListeners());
    }
    this.pbxWatch.tick(nowMs);
    const { silo } = this.core;
    this.collection.tick(nowMs, {
      openCalls: silo.openCalls,
      tombstones: silo.tombstoneCount,
      messages: this.messages,
    });
  }

  private takeNames({ addresses }: PbxNames): void {
    if (addresses.length > 0) this.certificates.takeAddresses(addresses);
    this.turn.run(() => {
      if (addresses.length > 0) this.core.setPbxAddresses(addresses);
      this.guard.judgeAnew();
    });
  }

  private openStore(): SqliteStore {
    const { path, sync } = this.config.store;
    const opened = openStore({ path, sync });
    if (opened.store !== null) return opened.store;
    this.storeProblem = opened.problem;
    this.log.log("error", `${opened.problem}; going on in memory`);
    return openStore({ path: ":memory:", sync }).store!;
  }

  private installationSecret(): string {
    const stored = this.store.meta("installation");
    if (stored !== undefined) return stored;
    const secret = this.world.token(32);
    this.store.setMeta("installation", secret);
    return secret;
  }

  private restore(): void {
    const shift = clockShift(this.store, this.turn.nowMs);
    const loaded = this.store.load(this.turn.nowMs - shift.shiftMs);
    if (shift.shiftMs !== 0) moveTimes(this.store, loaded, shift);
    if (loaded.problem !== "") {
      this.storeProblem = loaded.problem;
      this.log.log("error", loaded.problem);
    }
    this.htables.restore(loaded.htableItems, this.turn.nowMs);
    const flowOf = (key: string) => this.transports.flowFromKey(key);
    this.core.restore(loaded.aors, loaded.contacts, flowOf, loaded.remnants, this.isOtherPbx());
    if (shift.shiftMs !== 0) this.world.saveAll(this.core.usrloc.all());
    this.store.commit();
    // The rows that were read are garbage now, and a small box needs the memory.
    if (loaded.contacts.length > 1000) Bun.gc(true);
  }

  /** Notes which PBX we register at, and how. @returns true if the last run had another PBX, or sent it other Contacts */
  private isOtherPbx(): boolean {
    const { pbx } = this.config;
    const now = pbx === null ? "none" : `${pbx.mode} ${pbx.contact_id} ${pbx.uri.map(({ uri }) => uri).join(" ")}`;
    const before = this.store.meta("pbx");
    this.store.setMeta("pbx", now);
    if (before === undefined || before === now) return false;
    this.log.log("info", "The PBX, or what it is told, is not that of last time: every registration goes to it anew");
    return true;
  }

  private async openControl(): Promise<ControlServer> {
    this.readControlToken();
    const app = controlApp(this, () => this.controlToken);
    return await listenControl(app, this.config.control.listen, this.controlToken !== "");
  }

  private readControlToken(): void {
    const { token_file } = this.config.control;
    if (token_file === "") return void (this.controlToken = "");
    const read = readToken(token_file);
    if ("token" in read) this.controlToken = read.token;
    else if (this.controlToken === "") throw new Error(`Cannot read control.token_file ${token_file}: ${read.reason}`);
    else this.world.log("warn", `Cannot read control.token_file ${token_file}: ${read.reason}; the old token stays`);
  }

  private secrets(): CoreSecrets {
    return {
      installation: this.installation,
      nonces: this.nonceKey,
      users: this.files.users,
      credentials: this.files.credentials,
    };
  }

  private warnOfNobody(): void {
    const { pbx, users_file, security } = this.config;
    if (pbx === null && users_file === "" && security.trust.length === 0) {
      this.warnings.push("Nothing can register: there is neither pbx, nor users_file, nor security.trust");
    }
  }
}

function transportLimits({ limits }: Config): Partial<TransportLimits> {
  return {
    maxMessageBytes: limits.message,
    maxConnections: limits.connections,
    maxConnectionsPerSource: limits.connections_per_source,
    maxHandshakes: limits.handshakes,
  };
}
