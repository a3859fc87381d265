/**
 * What the control port asks, handed to the resource it is about. Every change runs as an input of a loop turn, so
 * that it is committed and sent like any other. Answers nothing itself.
 */
import type { Appliance } from "./appliance.ts";
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
  PushReply,
  Readiness,
  ReloadResult,
  SiloEntry,
  Status,
  TraceItem,
  TraceQuery,
} from "../control/backend.ts";
import type { CallState } from "../core/silo/record.ts";
import type { LogLevel } from "../core/port.ts";
import { ControlCalls } from "./control_calls.ts";
import { ControlHtables } from "./control_htables.ts";
import { ControlLocations } from "./control_locations.ts";
import { ControlOperation } from "./control_operation.ts";
import { ControlPush } from "./control_push.ts";

export class ApplianceControl implements ControlBackend {
  private readonly ofLocations: ControlLocations;
  private readonly ofCalls: ControlCalls;
  private readonly ofHtables: ControlHtables;
  private readonly ofPush: ControlPush;
  private readonly operation: ControlOperation;

  constructor(appliance: Appliance) {
    this.ofLocations = new ControlLocations(appliance);
    this.ofCalls = new ControlCalls(appliance);
    this.ofHtables = new ControlHtables(appliance);
    this.ofPush = new ControlPush(appliance);
    this.operation = new ControlOperation(appliance, this.ofPush);
  }

  resolveAor(text: string): string {
    return this.ofLocations.resolveAor(text);
  }

  locations(query: PageQuery & { filter: string }): Page<Location> {
    return this.ofLocations.locations(query);
  }

  location(aor: string): Location {
    return this.ofLocations.location(aor);
  }

  deleteLocation(aor: string): void {
    this.ofLocations.deleteLocation(aor);
  }

  putDevice(aor: string, id: string, patch: DevicePatch): LocationDevice {
    return this.ofLocations.putDevice(aor, id, patch);
  }

  deleteDevice(aor: string, id: string): void {
    this.ofLocations.deleteDevice(aor, id);
  }

  calls(query: PageQuery & { state: CallState | ""; aor: string }): Page<Call> {
    return this.ofCalls.calls(query);
  }

  call(id: string): Call {
    return this.ofCalls.call(id);
  }

  ladder(id: string): string {
    return this.ofCalls.ladder(id);
  }

  endCall(id: string): void {
    this.ofCalls.endCall(id);
  }

  addBranch(id: string, target: { contact: string } | { device: string }): CallBranch {
    return this.ofCalls.addBranch(id, target);
  }

  removeBranch(id: string, branch: string): void {
    this.ofCalls.removeBranch(id, branch);
  }

  silo(): SiloEntry[] {
    return this.ofCalls.silo();
  }

  siloOf(aor: string): SiloEntry {
    return this.ofCalls.siloOf(aor);
  }

  append(aor: string): { calls: number; branches: number } {
    return this.ofCalls.append(aor);
  }

  htables(): HtableInfo[] {
    return this.ofHtables.htables();
  }

  htable(table: string, query: PageQuery): Page<HtableEntry> {
    return this.ofHtables.htable(table, query);
  }

  htableGet(table: string, key: string): HtableEntry {
    return this.ofHtables.htableGet(table, key);
  }

  htableSet(table: string, key: string, value: string, ttlMs: number): HtableEntry {
    return this.ofHtables.htableSet(table, key, value, ttlMs);
  }

  htableDelete(table: string, key: string): void {
    this.ofHtables.htableDelete(table, key);
  }

  htableIncr(table: string, key: string, by: number): HtableEntry {
    return this.ofHtables.htableIncr(table, key, by);
  }

  pushBackends(): PushBackendInfo[] {
    return this.ofPush.pushBackends();
  }

  push(body: PushBody): Promise<PushReply> {
    return this.ofPush.push(body);
  }

  pushRecent(): PushRecent[] {
    return this.ofPush.pushRecent();
  }

  info(): Info {
    return this.operation.info();
  }

  status(): Status {
    return this.operation.status();
  }

  readiness(): Readiness {
    return this.operation.readiness();
  }

  metricsText(): string {
    return this.operation.metricsText();
  }

  trace(query: TraceQuery): TraceItem[] {
    return this.operation.trace(query);
  }

  configMasked(): Record<string, unknown> {
    return this.operation.configMasked();
  }

  configCheck(yaml: string): ConfigProblem[] {
    return this.operation.configCheck(yaml);
  }

  reload(): Promise<ReloadResult> | ReloadResult {
    return this.operation.reload();
  }

  setLog(change: LogChange): { level: LogLevel; overrides: string[]; expires_in: number | null } {
    return this.operation.setLog(change);
  }

  drain(): { calls_open: number } {
    return this.operation.drain();
  }

  backup(): { path: string; dispose(): void } {
    return this.operation.backup();
  }

  subscribe(listener: EventListener): () => void {
    return this.operation.subscribe(listener);
  }

  hostNames(): readonly string[] {
    return this.operation.hostNames();
  }

  log(level: LogLevel, message: string): void {
    this.operation.log(level, message);
  }
}
