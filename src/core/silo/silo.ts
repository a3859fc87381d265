/**
 * The silo: open calls by AoR, the ended ones that may still matter (tombstones), and the records kept for people.
 * A call is in here before anything is sent to anyone (W-01), so a REGISTER can never miss it, however close it comes.
 */
import { firstFlows, type Reach } from "../proxy/device_flows.ts";
import type { Dialogs } from "../proxy/dialog.ts";
import type { Message } from "../sip/message.ts";
import type { ServerTransaction } from "../transaction/server.ts";
import type { Lingering } from "../transaction/deadline.ts";
import type { Transactions } from "../transaction/table.ts";
import type { Aor, Contact } from "../usrloc/contact.ts";
import type { Usrloc } from "../usrloc/usrloc.ts";
import { Call, type CallOwner } from "./call.ts";
import { CallIndex } from "./call_index.ts";
import type { CallRecord } from "./record.ts";
import { type Refusal, Refusals } from "./refusals.ts";
import type { PushResult, SiloPort, SiloSettings } from "./settings.ts";
import type { Wake } from "./wake.ts";

/** A limit that was reached is warned of this often at most. */
const WARN_EVERY_MS = 60_000;

export class Silo implements CallOwner {
  private readonly open = new CallIndex();
  private readonly ended = new CallIndex();
  private readonly byId = new Map<string, Call>();
  /** A PBX may call every Contact of a user with one Call-ID (W-21). */
  private readonly byCallId = new CallIndex();
  private readonly wakes = new Map<string, { wake: Wake; call: Call }>();
  private readonly records = new Map<string, CallRecord>();
  private readonly refusals: Refusals;
  private warnedAtMs = -Infinity;
  private openCount = 0;
  private tombstones = 0;

  constructor(
    readonly port: SiloPort,
    readonly table: Transactions,
    readonly usrloc: Usrloc,
    readonly dialogs: Dialogs,
    public settings: SiloSettings,
  ) {
    this.refusals = new Refusals(table.schedule.clock);
  }

  readonly reach: Reach = (contact) => this.usrloc.reachability(contact, this.settings.idleMs);

  get openCalls(): number {
    return this.openCount;
  }

  get heldCalls(): number {
    let held = 0;
    for (const key of this.open.keys()) for (const call of this.open.of(key)) if (call.isHeld) held++;
    return held;
  }

  get tombstoneCount(): number {
    return this.tombstones;
  }

  /** Entries of every index of calls; 0 when no call is open and no ended one may still matter. */
  get indexedCount(): number {
    return this.open.size + this.ended.size + this.byId.size + this.byCallId.size + this.wakes.size;
  }

  /** An INVITE for an AoR (W-01): 100, stored, then everybody is asked. */
  start(server: ServerTransaction, aor: Aor, device: Contact | null, callerToken: string, routesToDrop: number): void {
    const { settings } = this;
    if (this.openCount >= settings.maxCalls) {
      this.port.count("rejected_total", "calls_limit");
      this.overLimit(
        server.request,
        aor.key,
        503,
        `refused: as many calls are open as limits.calls allows (${settings.maxCalls})`,
      );
      return server.respond(503, "Too many calls", "Retry-After: 5\r\n");
    }
    if (this.open.count(aor.key) >= settings.maxCallsPerAor) {
      this.port.count("rejected_total", "calls_per_aor_limit");
      const why =
        `refused: as many calls for this user are open as limits.calls_per_aor allows (${settings.maxCallsPerAor})`;
      this.overLimit(server.request, aor.key, 486, why);
      return server.respond(486, "Too many calls for this user");
    }
    server.respond(100);
    const call = new Call(this, this.port.token(6), server, aor, device?.id ?? null, callerToken, routesToDrop);
    this.open.add(aor.key, call);
    this.byId.set(call.record.id, call);
    this.byCallId.add(call.record.callId, call);
    this.openCount++;
    this.port.event({ type: "call", state: "open", call: call.record.id, aor: aor.key, from: call.record.from });
    call.begin(device === null ? aor.contacts : [device]);
  }

  /** An INVITE was, or is about to be, answered without a call: what is kept of it for people. */
  refused(request: Message, refusal: Refusal): void {
    const { keptCalls, callerParty } = this.settings;
    const { aor, status, why } = refusal;
    const record = this.refusals.add(request, refusal, callerParty, () => this.port.token(6), keptCalls >> 2);
    if (record === null) return;
    this.trimRecords();
    this.port.event({ type: "call", state: "ended", call: record.id, aor, result: "refused", status });
    if (this.port.isLogged("info", aor)) this.port.log("info", `Call ended: ${why}`, { call: record.id, aor });
  }

  /** W-20: told on the status page too, and there not once for each call of a flood. */
  private overLimit(request: Message, aor: string, status: number, why: string): void {
    const { nowMs } = this.table.schedule.clock;
    if (nowMs - this.warnedAtMs >= WARN_EVERY_MS) {
      this.warnedAtMs = nowMs;
      this.port.log("warn", `Call ${why}`, { aor });
    }
    this.refused(request, { kind: "limit", aor, status, why });
  }

  /** A REGISTER of a device was accepted: it joins every open call of its AoR, not only the first (W-04, W-21). */
  deviceRegistered(contact: Contact, registeredAtMs: number): void {
    for (const call of this.open.of(contact.aor.key)) call.deviceRegistered(contact, registeredAtMs);
    for (const call of this.ended.of(contact.aor.key)) call.deviceRegisteredLate(contact);
  }

  /** A contact left usrloc. */
  deviceRemoved(contact: Contact): void {
    for (const call of this.open.of(contact.aor.key)) call.deviceRemoved(contact);
  }

  /** The relay's verdict; unknown uuids (the call is long over) are ignored. */
  pushResult(result: PushResult): void {
    const found = this.wakes.get(result.uuid);
    if (found === undefined) return;
    this.wakes.delete(result.uuid);
    found.call.pushResult(found.wake, result);
    if (!found.wake.hasSharers || (result.outcome !== "refused" && result.outcome !== "dead")) return;
    const contact = this.usrloc.contact(found.wake.contactId);
    if (contact === undefined) return;
    for (const call of this.callsOf(contact.aor.key)) call.sharedWakeRefused(contact, result.reason);
  }

  /** P-07: too many pushes to a device are refused, but one that went for another call, open or over, may yet wake it. */
  shareWake(contact: Contact): boolean {
    const { key } = contact.aor;
    return [...this.open.of(key), ...this.ended.of(key)].some((call) => call.shareWake(contact));
  }

  /** ACK or BYE of a dialog, for the ladder. */
  dialogRequest(request: Message): void {
    for (const call of this.byCallId.of(request.callId)) call.dialogRequest(request);
  }

  /** An open call by its id. */
  call(id: string): Call | undefined {
    const call = this.byId.get(id);
    return call !== undefined && call.record.state === "open" ? call : undefined;
  }

  /** Open calls of an AoR. */
  callsOf(aorKey: string): readonly Call[] {
    return this.open.of(aorKey);
  }

  /** Open calls by AoR. */
  openByAor(): Map<string, readonly Call[]> {
    return new Map([...this.open.keys()].map((key) => [key, this.open.of(key)]));
  }

  /** What is known of a call, open or ended. */
  record(id: string): CallRecord | undefined {
    return this.byId.get(id)?.snapshot() ?? this.records.get(id) ?? this.refusals.find(id);
  }

  /** Newest first. */
  allRecords(): CallRecord[] {
    const open: CallRecord[] = [];
    for (const key of this.open.keys()) for (const call of this.open.of(key)) open.push(call.snapshot());
    open.sort((a, b) => b.startedAtMs - a.startedAtMs);
    const ended = [...this.records.values()].map((record) => this.byId.get(record.id)?.snapshot() ?? record);
    ended.push(...this.refusals.records);
    ended.reverse().sort((a, b) => b.endedAtMs - a.endedAtMs);
    return [...open, ...ended];
  }

  /** By hand: a branch for every live device to every open call of the AoR (`ts_append`). */
  appendAll(aor: Aor): { calls: number; branches: number } {
    let branches = 0;
    const calls = this.callsOf(aor.key);
    for (const call of calls) {
      for (const contact of firstFlows(aor.contacts, this.reach)) {
        if (this.reach(contact) !== "lost" && call.appendDevice(contact)) branches++;
      }
    }
    return { calls: calls.length, branches };
  }

  onWakeStarted(wake: Wake, call: Call): void {
    this.wakes.set(wake.uuid, { wake, call });
  }

  onCallEnded(call: Call): void {
    const { record } = call;
    if (!this.open.remove(record.aor, call)) return;
    this.openCount--;
    this.keep(record);
    this.port.count("calls_total", record.result);
    this.port.event({
      type: "call",
      state: "ended",
      call: record.id,
      aor: record.aor,
      result: record.result,
      status: record.status,
    });
    if (this.port.isLogged("info", record.aor)) {
      this.port.log("info", `Call ended: ${record.outcome}`, { call: record.id, aor: record.aor });
    }
    this.bury(call);
  }

  private keep(record: CallRecord): void {
    this.records.set(record.id, record);
    this.trimRecords();
  }

  /** `trace.calls` in all; a reload may have made it smaller. */
  private trimRecords(): void {
    const room = Math.max(0, this.settings.keptCalls - this.refusals.size);
    for (const id of this.records.keys()) {
      if (this.records.size <= room) return;
      this.records.delete(id);
    }
  }

  /** 64·T1 longer: late REGISTERs, late answers, ACK and BYE still find the call (W-11, W-13). */
  private bury(call: Call): void {
    this.ended.add(call.record.aor, call);
    this.tombstones++;
    this.table.schedule.longLinger.add(new Tombstone(this, call), this.table.schedule.clock.nowMs);
  }

  /** For the tombstones alone. */
  forget(call: Call): void {
    // What the branches said after the end belongs to the record too.
    const record = call.snapshot();
    this.ended.remove(record.aor, call);
    this.tombstones--;
    this.byId.delete(record.id);
    this.byCallId.remove(record.callId, call);
    for (const wake of record.wakes) call.forgetWake(wake.device, (uuid) => this.wakes.delete(uuid));
    if (this.settings.keptCalls === 0) this.records.delete(record.id);
  }
}

class Tombstone implements Lingering {
  constructor(private readonly silo: Silo, private readonly call: Call) {}

  onLingerEnd(): void {
    this.silo.forget(this.call);
  }
}
