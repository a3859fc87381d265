/**
 * What a call leaves behind for people (W-22): the record, its timeline, and the columns of the ladder. Decides nothing
 * about the call.
 */
import type { Branch } from "../proxy/branch.ts";
import type { Clock } from "../sip/clock.ts";
import type { Message } from "../sip/message.ts";
import { detached } from "../sip/scan.ts";
import type { Aor } from "../usrloc/model.ts";
import type { DeviceLeg } from "./device_leg.ts";
import type { CallRecord, TimelineEntry } from "./record.ts";
import { callerText } from "./words.ts";

/** Our own column. */
export const HUB = "latefork";
const MAX_TIMELINE = 400;

export class Story {
  readonly record: CallRecord;

  constructor(id: string, request: Message, aor: Aor, readonly callerParty: string, private readonly clock: Clock) {
    this.record = {
      id,
      callId: detached(request.callId),
      aor: aor.key,
      from: callerText(request),
      to: detached(request.to.uriText),
      state: "open",
      result: "",
      outcome: "",
      status: 0,
      startedAtMs: clock.nowMs,
      endedAtMs: 0,
      parties: [callerParty, HUB],
      branches: [],
      wakes: [],
      timeline: [],
    };
    this.note({ event: "invite", from: callerParty, to: HUB, label: "INVITE" });
  }

  /** One line of the timeline, at this moment. */
  note(entry: Omit<TimelineEntry, "tMs">): void {
    // A phone that never stops sending 1xx fills no memory.
    if (this.record.timeline.length >= MAX_TIMELINE && entry.event !== "end") return;
    this.record.timeline.push({ tMs: this.clock.nowMs - this.record.startedAtMs, ...entry });
  }

  /** A request of the dialog, both ways over us; `party` is the device. */
  noteDialog(method: string, party: string, isFromCaller: boolean): void {
    const event = method === "ACK" ? "ack" : method === "BYE" ? "bye" : null;
    if (event === null) return;
    const [from, to] = isFromCaller ? [this.callerParty, party] : [party, this.callerParty];
    this.note({ event, from, to: HUB, label: method });
    this.note({ event, from: HUB, to, label: method });
  }

  /** A column for a device; devices stand left of the push services. */
  addDevice(party: string): void {
    const { parties } = this.record;
    const pushAt = parties.findIndex((other) => other.startsWith("push "));
    if (pushAt < 0) parties.push(party);
    else parties.splice(pushAt, 0, party);
  }

  /** The column of a push service, made on first use. */
  pushParty(provider: string): string {
    const party = "push " + provider;
    if (!this.record.parties.includes(party)) this.record.parties.push(party);
    return party;
  }

  /** The column of a branch's device. */
  partyOf(branch: Branch, legs: ReadonlyMap<string, DeviceLeg>): string {
    return legs.get(branch.target.contactId)?.party ?? branch.target.contactId;
  }

  /** Brings branches and wakes of the record up to date. */
  write(branches: readonly Branch[], legs: ReadonlyMap<string, DeviceLeg>): void {
    this.record.branches = branches.map((branch) => ({
      id: String(branch.number),
      device: branch.target.contactId,
      party: this.partyOf(branch, legs),
      state: branch.state,
      status: branch.status,
      late: branch.isLate,
    }));
    this.record.wakes = [];
    for (const leg of legs.values()) {
      const wake = leg.wake;
      if (wake === null || wake.state === "hedged") continue;
      this.record.wakes.push({
        device: leg.id,
        party: leg.party,
        state: wake.state,
        pushMs: wake.pushMs,
        wakeMs: wake.wakeMs,
        reason: wake.reason,
      });
    }
  }
}
