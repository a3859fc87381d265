/**
 * The silo: open calls by AoR, and the ended ones that may still matter (tombstones).
 * A call is in here before anything is sent to anyone (W-01), so a REGISTER can never miss it, however close it comes.
 */
import { firstFlows, type Reach } from "../proxy/device_flows.ts";
import type { Dialogs } from "../proxy/dialog.ts";
import type { Message } from "../sip/message.ts";
import type { ServerTransaction } from "../transaction/server.ts";
import type { Lingering } from "../transaction/deadline.ts";
import type { Transactions } from "../transaction/table.ts";
import type { Aor, Contact } from "../usrloc/contact.ts";
import type { PushReport } from "../usrloc/push_order.ts";
import type { RemovalCause, Usrloc } from "../usrloc/usrloc.ts";
import { owedDevices, registeredTooLate, tellDevices } from "./after_end.ts";
import { appendDevice } from "./by_hand.ts";
import { SiloCall } from "./call.ts";
import type { CallRecord } from "./record.ts";
import { Records, type RefusedCall } from "./records.ts";
import type { CallHome, SiloPort, SiloSettings } from "./settings.ts";
import { contactRemoved, pushReported, sharedWakeRefused, shareWake } from "./waking.ts";

/** A limit that was reached is warned of this often at most. */
const WARN_EVERY_MS = 60_000;

export class Silo implements CallHome {
  private readonly open = new CallIndex();
  private readonly ended = new CallIndex();
  private readonly byId = new Map<string, SiloCall>();
  /** A PBX may call every Contact of a user with one Call-ID (W-21). */
  private readonly byCallId = new CallIndex();
  /** The call of each push that is not answered yet, by the push's uuid: the call's id. */
  private readonly pushes = new Map<string, string>();
  private readonly records: Records;
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
    this.records = new Records(table.schedule.clock);
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
    return this.open.size + this.ended.size + this.byId.size + this.byCallId.size + this.pushes.size;
  }

  /** An INVITE for an AoR (W-01): 100, stored, then its devices are asked. */
  start(server: ServerTransaction, aor: Aor, device: Contact | null, callerToken: string, routesToDrop: number): void {
    const { settings } = this;
    if (this.openCount >= settings.maxCalls) {
      const why = `as many calls are open as limits.calls allows (${settings.maxCalls})`;
      this.overLimit(server.request, aor.key, "calls_limit", 503, why);
      return server.respond(503, "Too many calls", "Retry-After: 5\r\n");
    }
    if (this.open.count(aor.key) >= settings.maxCallsPerAor) {
      const why = `as many calls for this user are open as limits.calls_per_aor allows (${settings.maxCallsPerAor})`;
      this.overLimit(server.request, aor.key, "calls_per_aor_limit", 486, why);
      return server.respond(486, "Too many calls for this user");
    }
    // It has had one if it waited for its phone's REGISTER.
    if (server.status === 0) server.respond(100);
    const call = new SiloCall(this, this.port.token(6), server, aor, device?.id ?? null, callerToken, routesToDrop);
    this.open.add(aor.key, call);
    this.byId.set(call.record.id, call);
    this.byCallId.add(call.record.callId, call);
    this.openCount++;
    this.port.event({ type: "call", state: "open", call: call.record.id, aor: aor.key, from: call.record.from });
    call.begin(device === null ? aor.contacts : [device]);
  }

  /** An INVITE was, or is about to be, answered without a call: what is kept of it for people. */
  refused(request: Message, refusal: RefusedCall): void {
    const { keptCalls, callerParty } = this.settings;
    const { aor, status, why } = refusal;
    const record = this.records.addRefused(request, refusal, callerParty, () => this.port.token(6), keptCalls);
    if (record === null) return;
    this.port.event({ type: "call", state: "ended", call: record.id, aor, result: "refused", status });
    if (this.port.isLogged("info", aor)) this.port.log("info", `Call ended: ${why}`, { call: record.id, aor });
  }

  /** W-20: the status page tells it, too. Of a flood it tells one call in a minute. */
  private overLimit(request: Message, aor: string, limit: string, status: number, reason: string): void {
    this.port.count("rejected_total", limit);
    const { nowMs } = this.table.schedule.clock;
    const why = `refused: ${reason}`;
    if (nowMs - this.warnedAtMs >= WARN_EVERY_MS) {
      this.warnedAtMs = nowMs;
      this.port.log("warn", `Call ${why}`, { aor });
    }
    this.refused(request, { kind: "limit", aor, status, why });
  }

  /** A REGISTER of a device was accepted: it joins every open call of its AoR, not only the first (W-04, W-21). */
  deviceRegistered(contact: Contact, registeredAtMs: number): void {
    for (const call of this.open.of(contact.aor.key)) call.deviceRegistered(contact, registeredAtMs);
    for (const call of this.ended.of(contact.aor.key)) registeredTooLate(call, contact);
  }

  /** A contact left usrloc. A branch of it that rings goes on. */
  deviceRemoved(contact: Contact, cause: RemovalCause): void {
    for (const call of this.open.of(contact.aor.key)) {
      const leg = call.legs.of(contact);
      if (leg !== undefined) contactRemoved(leg, cause);
    }
  }

  /** What a push service answered. Unknown uuids (the call is long over) are ignored. */
  pushReported(report: PushReport): void {
    const call = this.byId.get(this.pushes.get(report.uuid) ?? "");
    this.pushes.delete(report.uuid);
    const leg = call?.legs.all.find(({ wake }) => wake?.uuid === report.uuid);
    if (leg === undefined) return;
    const wake = leg.wake!;
    const contact = leg.pushContact;
    pushReported(leg, wake, report);
    if (!wake.hasSharers || !wake.isTurnedAway || contact === undefined) return;
    for (const other of this.callsOf(contact.aor.key)) {
      const sharer = other.legs.of(contact);
      if (sharer !== undefined) sharedWakeRefused(sharer, contact, report.reason);
    }
  }

  /** P-07: a push beyond the device's limit is refused. One that went for another call, open or over, may still wake it. */
  shareWake(contact: Contact): boolean {
    const { key } = contact.aor;
    for (const calls of [this.open.of(key), this.ended.of(key)]) {
      for (const call of calls) {
        const leg = call.legs.of(contact);
        if (leg !== undefined && shareWake(leg, contact)) return true;
      }
    }
    return false;
  }

  /** ACK or BYE of a dialog, for the ladder. */
  dialogRequest(request: Message, isFromPbx: boolean, isToPbx: boolean): void {
    for (const call of this.byCallId.of(request.callId)) call.dialogRequest(request, isFromPbx, isToPbx);
  }

  /** An open call by its id. */
  call(id: string): SiloCall | undefined {
    const call = this.byId.get(id);
    return call !== undefined && call.record.state === "open" ? call : undefined;
  }

  /** Open calls of an AoR. */
  callsOf(aorKey: string): readonly SiloCall[] {
    return this.open.of(aorKey);
  }

  /** Open calls by AoR. */
  openByAor(): Map<string, readonly SiloCall[]> {
    return new Map([...this.open.keys()].map((key) => [key, this.open.of(key)]));
  }

  /** What is known of a call, open or ended. */
  record(id: string): CallRecord | undefined {
    return this.byId.get(id)?.snapshot() ?? this.records.find(id);
  }

  /** Newest first. */
  allRecords(): CallRecord[] {
    const open: CallRecord[] = [];
    for (const key of this.open.keys()) for (const call of this.open.of(key)) open.push(call.snapshot());
    open.sort((a, b) => b.startedAtMs - a.startedAtMs);
    const ended = this.records.all.map((record) => this.byId.get(record.id)?.snapshot() ?? record);
    return [...open, ...ended];
  }

  /** By hand: a branch for every live device to every open call of the AoR (`ts_append`). */
  appendAll(aor: Aor): { calls: number; branches: number } {
    let branches = 0;
    const calls = this.callsOf(aor.key);
    for (const call of calls) {
      for (const contact of firstFlows(aor.contacts, this.reach)) {
        if (this.reach(contact) !== "lost" && appendDevice(call, contact)) branches++;
      }
    }
    return { calls: calls.length, branches };
  }

  /** Devices that calls which are over still owe INVITE and CANCEL (W-13). One pass over the tombstones. */
  get owedDevices(): number {
    let owed = 0;
    for (const key of this.ended.keys()) for (const call of this.ended.of(key)) owed += owedDevices(call);
    return owed;
  }

  /** Ends every open call (O-04). */
  endAll(reason: string): void {
    for (const key of [...this.open.keys()]) for (const call of this.open.of(key)) call.end(reason);
  }

  onPushed(uuid: string, callId: string): void {
    this.pushes.set(uuid, callId);
  }

  onCallEnded(callId: string): void {
    const call = this.byId.get(callId)!;
    tellDevices(call);
    const { record } = call;
    if (!this.open.remove(record.aor, call)) return;
    this.openCount--;
    this.records.add(record, this.settings.keptCalls);
    this.port.count("calls_total", record.result);
    const { id, aor, result, status } = record;
    this.port.event({ type: "call", state: "ended", call: id, aor, result, status });
    if (this.port.isLogged("info", record.aor)) {
      this.port.log("info", `Call ended: ${record.outcome}`, { call: record.id, aor: record.aor });
    }
    this.bury(call);
  }

  /** 64·T1 longer: late REGISTERs, late answers, ACK and BYE still find the call (W-11, W-13). */
  private bury(call: SiloCall): void {
    this.ended.add(call.record.aor, call);
    this.tombstones++;
    this.table.schedule.longLinger.add(new Tombstone(this, call), this.table.schedule.clock.nowMs);
  }

  /** For the tombstones alone. */
  forget(call: SiloCall): void {
    // What the branches said after the end belongs to the record too.
    const record = call.snapshot();
    this.ended.remove(record.aor, call);
    this.tombstones--;
    this.byId.delete(record.id);
    this.byCallId.remove(record.callId, call);
    for (const { wake } of call.legs.all) if (wake !== null) this.pushes.delete(wake.uuid);
    if (this.settings.keptCalls === 0) this.records.forget(record.id);
  }
}

class Tombstone implements Lingering {
  constructor(private readonly silo: Silo, private readonly call: SiloCall) {}

  /** A call that is owed nothing any more may be forgotten early where there are too many (W-11, W-13). */
  get isSpare(): boolean {
    return owedDevices(this.call) === 0;
  }

  onLingerEnd(): void {
    this.silo.forget(this.call);
  }
}

const NO_CALLS: readonly SiloCall[] = [];

/**
 * Calls by a text they share: AoR or Call-ID. Most keys have one call, and a Set for each would be a quarter of what an
 * ended call weighs.
 */
export class CallIndex {
  private readonly byKey = new Map<string, SiloCall | Set<SiloCall>>();

  /** Keys that have a call. */
  get size(): number {
    return this.byKey.size;
  }

  keys(): IterableIterator<string> {
    return this.byKey.keys();
  }

  /** The calls of a key in the order they were added, as they are now: what happens to them meanwhile changes no list. */
  of(key: string): readonly SiloCall[] {
    const calls = this.byKey.get(key);
    return calls === undefined ? NO_CALLS : calls instanceof Set ? [...calls] : [calls];
  }

  count(key: string): number {
    const calls = this.byKey.get(key);
    return calls === undefined ? 0 : calls instanceof Set ? calls.size : 1;
  }

  add(key: string, call: SiloCall): void {
    const calls = this.byKey.get(key);
    if (calls === undefined) this.byKey.set(key, call);
    else if (calls instanceof Set) calls.add(call);
    else if (calls !== call) this.byKey.set(key, new Set([calls, call]));
  }

  /** @returns false if it was not there */
  remove(key: string, call: SiloCall): boolean {
    const calls = this.byKey.get(key);
    if (calls === call) return this.byKey.delete(key);
    if (!(calls instanceof Set) || !calls.delete(call)) return false;
    if (calls.size === 0) this.byKey.delete(key);
    return true;
  }
}
