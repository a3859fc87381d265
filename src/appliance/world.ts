/**
 * The core's port on the real world: sockets, store, push relay, log, metrics, trace. Every effect returns at once. What comes
 * of it is a later input.
 */
import type { CorePort } from "../core/core.ts";
import type { Config } from "../config/schema.ts";
import type { EventFollower } from "../control/host.ts";
import type { SourceGuard } from "../core/guard/source_guard.ts";
import type { Log } from "../observe/log.ts";
import type { Metrics } from "../observe/metrics.ts";
import type { TraceRing } from "../observe/trace.ts";
import { canonicalUuid } from "../io/push/payload.ts";
import type { PushRelay } from "../io/push/relay.ts";
import type { PushVerdict } from "../io/push/types.ts";
import type { PushOrder } from "../core/usrloc/push_order.ts";
import type { Flow, Listener, Transport } from "../core/sip/flow.ts";
import type { ApplianceEvent, Counter, Histogram, LogFields, LogLevel } from "../core/port.ts";
import { noteClock } from "../io/store/clock_shift.ts";
import type { SqliteStore } from "../io/store/sqlite.ts";
import type { Transports } from "../io/transport/transports.ts";
import type { Aor, Contact } from "../core/usrloc/contact.ts";

/** The parts behind the port. */
export interface WorldParts {
  readonly transports: Transports;
  readonly relay: PushRelay;
  readonly log: Log;
  readonly metrics: Metrics;
  readonly trace: TraceRing;
  readonly store: SqliteStore;
  readonly guard: SourceGuard;
  now(): number;
  /** The clock at this moment, where `now` stands still within a turn. */
  clock(): number;
  /** A verdict came: to be handed to the core as an input. */
  onVerdict(verdict: PushVerdict, order: PushOrder, sentAtMs: number): void;
}

/** How long after a failed commit the next one is tried. */
const COMMIT_RETRY_MS = 1000;
/** How often it looks whether the database file is still the one that is open. */
const FILE_CHECK_MS = 5000;
const ALPHABET = "abcdefghijklmnopqrstuvwxyz012345";
/** All pairs of them: a token is joined from half as many pieces. */
const PAIRS = Array.from({ length: 1024 }, (_, i) => ALPHABET[i >> 5]! + ALPHABET[i & 31]!);
const PROBLEMS_KEPT = 50;

export class World implements CorePort {
  readonly followers = new Set<EventFollower>();
  /** Newest last: what the status screen shows. */
  readonly problems: { atMs: number; level: LogLevel; message: string }[] = [];
  private durableFlows: Flow[] = [];
  private durableWires: string[] = [];
  private randomPool = new Uint8Array(0);
  private randomAt = 0;
  private nextCommitMs = 0;
  private fileCheckedMs = -Infinity;
  private isStoreOk = true;
  /** Arrival times of the REGISTERs whose late branches leave at the end of this turn. */
  private lateSinceMs: number[] = [];

  constructor(readonly parts: WorldParts, private readonly config: () => Config) {}

  send(flow: Flow, wire: string): boolean {
    if (!this.parts.transports.send(flow, wire)) return false;
    this.parts.trace.add(this.parts.now(), false, flow, wire);
    return true;
  }

  sendDurable(flow: Flow, wire: string): boolean {
    if (flow.state === "closed") return false;
    this.durableFlows.push(flow);
    this.durableWires.push(wire);
    return true;
  }

  /** S-01: writes one transaction for the turn, then sends the answers that promise it. */
  commit(): void {
    const { store, metrics } = this.parts;
    const { flush } = this.config().store;
    const nowMs = this.parts.now();
    // A database in memory is written only for a backup.
    if (!store.isVolatile && nowMs >= this.nextCommitMs && store.pending > 0) {
      const startedMs = performance.now();
      const result = store.commit();
      metrics.measure("store_commit_seconds", (performance.now() - startedMs) / 1000);
      this.nextCommitMs = result.ok ? nowMs + flush : nowMs + COMMIT_RETRY_MS;
      this.tellStore();
    }
    if (this.durableFlows.length === 0) return;
    const flows = this.durableFlows;
    const wires = this.durableWires;
    this.durableFlows = [];
    this.durableWires = [];
    for (let i = 0; i < flows.length; i++) this.send(flows[i]!, wires[i]!);
    this.parts.transports.flush();
  }

  /** Looks after the file of the store, and the clock its times are in; about once a second. */
  tick(nowMs: number): void {
    if (nowMs - this.fileCheckedMs < FILE_CHECK_MS) return;
    this.fileCheckedMs = nowMs;
    this.parts.store.checkFile();
    this.tellStore();
    const setByMs = noteClock(this.parts.store, Date.now() - nowMs);
    if (setByMs !== 0) {
      const seconds = Math.round(setByMs / 1000);
      this.log("info", `The clock of the machine was set by ${seconds} s: times here follow it from the next start`);
    }
  }

  /** Says once that the store fails, and once that it works again (S-02). */
  private tellStore(): void {
    const { state, lastError } = this.parts.store;
    if ((state === "ok") === this.isStoreOk) return;
    this.isStoreOk = state === "ok";
    if (this.isStoreOk) this.log("info", "Store works again");
    else this.log("error", `Store failed, going on in memory: ${lastError}`);
  }

  /**
   * A copy of everything (S-04). A store in memory is told only now who is registered: nothing else ever reads it.
   * @returns the problem in words; empty: it is written
   */
  backup(path: string, aors: Iterable<Aor>): string {
    const { store } = this.parts;
    if (store.isVolatile) this.saveAll(aors);
    return store.backup(path);
  }

  /** Has every row written anew with the next commit. */
  saveAll(aors: Iterable<Aor>): void {
    for (const aor of aors) {
      this.parts.store.aorSaved(aor);
      for (const contact of aor.contacts) this.parts.store.contactSaved(contact, false);
    }
  }

  /** When {@link commit} wants to be called again; Infinity: nothing waits. */
  get nextCommitDueMs(): number {
    const { store } = this.parts;
    return !store.isVolatile && store.pending > 0 ? this.nextCommitMs : Infinity;
  }

  flowTo(transport: Transport, address: string, port: number, via?: Listener): Flow | null {
    return this.parts.transports.flowTo(transport, address, port, via);
  }

  closeFlow(flow: Flow, reason: string): void {
    this.parts.transports.close(flow, reason);
  }

  pin(flow: Flow): void {
    this.parts.transports.pin(flow);
  }

  unpin(flow: Flow): void {
    this.parts.transports.unpin(flow);
  }

  phoneArrived(address: string): void {
    this.parts.guard.phoneArrived(address);
  }

  phoneLeft(address: string): void {
    this.parts.guard.phoneLeft(address);
  }

  /** Push services and apps want UUIDs; the core knows the push by its own token. */
  push(order: PushOrder): void {
    const sentAtMs = this.parts.now();
    const request = { ...order, uuid: canonicalUuid(order.uuid) };
    this.parts.relay.send(
      request,
      (verdict) =>
        this.parts.onVerdict(
          { ...verdict, uuid: order.uuid },
          order,
          Math.min(sentAtMs, verdict.deadSinceMs ?? sentAtMs),
        ),
    );
  }

  cancelPush(uuid: string): void {
    this.parts.relay.cancel(canonicalUuid(uuid));
  }

  count(counter: Counter, label: string): void {
    this.parts.metrics.count(counter, label);
  }

  measure(histogram: Histogram, seconds: number): void {
    // Within a turn no time passes, and most late branches leave in the turn of their REGISTER. They are measured when sent.
    if (histogram === "late_branch_seconds") return void this.lateSinceMs.push(this.parts.now() - seconds * 1000);
    this.parts.metrics.measure(histogram, seconds);
  }

  /** Called when the kernel has what the turn sent. */
  flushed(): void {
    if (this.lateSinceMs.length === 0) return;
    const nowMs = this.parts.clock();
    for (const sinceMs of this.lateSinceMs) {
      this.parts.metrics.measure("late_branch_seconds", (nowMs - sinceMs) / 1000);
    }
    this.lateSinceMs = [];
  }

  isLogged(level: LogLevel, aor?: string): boolean {
    return this.parts.log.isLogged(level, aor);
  }

  log(level: LogLevel, message: string, fields?: LogFields): void {
    this.parts.log.log(level, message, fields);
    if (level !== "warn" && level !== "error") return;
    const about = fields?.aor ? ` (${fields.aor})` : "";
    this.problems.push({ atMs: this.parts.now(), level, message: message + about });
    if (this.problems.length > PROBLEMS_KEPT) this.problems.shift();
  }

  event(event: ApplianceEvent): void {
    for (const follower of this.followers) follower(event);
  }

  /** Each character is 5 random bits, from a pool that is filled in one go. */
  token(length: number): string {
    if (this.randomAt + length > this.randomPool.length) {
      this.randomPool = crypto.getRandomValues(new Uint8Array(4096));
      this.randomAt = 0;
    }
    const pool = this.randomPool;
    let text = "";
    let left = length;
    for (; left > 1; left -= 2) text += PAIRS[(pool[this.randomAt++]! & 31) << 5 | pool[this.randomAt++]! & 31];
    return left === 0 ? text : text + ALPHABET[pool[this.randomAt++]! & 31];
  }

  /** Opens the connection to the push service of a phone, once there is one to push (P-05). */
  expectPush(contact: Contact, isRefresh = false): void {
    if (!isRefresh && contact.hasUsableToken) this.parts.relay.expect(contact.push!);
  }

  contactSaved(contact: Contact, isRefresh: boolean): void {
    this.expectPush(contact, isRefresh);
    if (!this.parts.store.isVolatile) this.parts.store.contactSaved(contact, isRefresh);
  }

  contactRemoved(contact: Contact): void {
    this.parts.store.contactRemoved(contact);
  }

  aorSaved(aor: Aor): void {
    if (!this.parts.store.isVolatile) this.parts.store.aorSaved(aor);
  }

  aorRemoved(aor: Aor): void {
    this.parts.store.aorRemoved(aor);
  }
}
