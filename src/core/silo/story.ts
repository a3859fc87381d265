/**
 * What a call leaves behind for people (W-22): the record, its timeline, and the columns of the ladder. Says what
 * happened, in the words of the ladder; decides nothing about the call.
 */
import type { Branch } from "../proxy/branch.ts";
import type { Clock } from "../clock.ts";
import type { Message } from "../sip/message.ts";
import { detached } from "../sip/scan.ts";
import type { DeviceLeg } from "./device_leg.ts";
import type { CallRecord, TimelineEntry } from "./record.ts";
import type { PushResult } from "./settings.ts";
import { callerText, type Ending, outcomeWords, resultOf, seconds, whyCancelled, whyFailed } from "./words.ts";

/** Our own column. */
const HUB = "latefork";
const MAX_TIMELINE = 400;

/** The devices of the call, as the record needs them; `Legs` is one. */
interface LegsOfCall {
  readonly all: readonly DeviceLeg[];
  /** By the id of any of its contacts. */
  find(id: string): DeviceLeg | undefined;
}

export class Story {
  readonly record: CallRecord;
  /** Lines there was no room for. */
  private left = 0;

  constructor(
    id: string,
    request: Message,
    aorKey: string,
    readonly callerParty: string,
    private readonly clock: Clock,
  ) {
    this.record = {
      id,
      callId: detached(request.callId),
      aor: aorKey,
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
    const { timeline } = this.record;
    // A phone that never stops sending 1xx, or flaps, fills no memory and crowds out nothing else.
    const isEnd = entry.event === "end";
    const isRepeated = entry.event === "register" || (entry.event === "response" && entry.status! < 200);
    if (!isEnd && timeline.length >= (isRepeated ? MAX_TIMELINE / 2 : MAX_TIMELINE)) {
      this.left++;
      return;
    }
    if (isEnd && this.left > 0) this.append({ event: "skip", note: `${this.left} lines were left out` });
    this.append(entry);
  }

  private append(entry: Omit<TimelineEntry, "tMs">): void {
    const { timeline, startedAtMs } = this.record;
    const line = entry as TimelineEntry;
    line.tMs = this.clock.nowMs - startedAtMs;
    timeline.push(line);
  }

  /** A response that goes to the calling side. */
  toCaller(status: number, note?: string): void {
    this.note({ event: "response", from: HUB, to: this.callerParty, label: String(status), note, status });
  }

  /** The caller's CANCEL. */
  callerCancelled(ending: Ending): void {
    this.note({ event: "cancel", from: this.callerParty, to: HUB, label: "CANCEL", note: whyCancelled(ending) });
  }

  /** The CANCEL of a branch leaves. */
  cancelled(leg: DeviceLeg, note?: string): void {
    this.note({ event: "cancel", device: leg.id, from: HUB, to: leg.party, label: "CANCEL", note });
  }

  branch(leg: DeviceLeg, label: "INVITE" | "INVITE (late)", note?: string): void {
    this.note({ event: "branch", device: leg.id, from: HUB, to: leg.party, label, note });
  }

  /** A response of a phone. */
  response(leg: DeviceLeg, status: number, note?: string): void {
    this.note({ event: "response", device: leg.id, from: leg.party, to: HUB, label: String(status), note, status });
  }

  /** A branch that failed without a word of its phone. */
  noResponse(leg: DeviceLeg, status: number): void {
    const note = `${leg.party}: ${whyFailed(status)}`;
    this.note({ event: "response", device: leg.id, label: String(status), note, status });
  }

  register(leg: DeviceLeg, note: string): void {
    this.note({ event: "register", device: leg.id, from: leg.party, to: HUB, label: "REGISTER", note });
  }

  push(leg: DeviceLeg, provider: string, label: "push call" | "push cancel" | "push missed", note: string): void {
    this.note({ event: "push", device: leg.id, from: HUB, to: this.pushParty(provider), label, note });
  }

  pushResult(leg: DeviceLeg, provider: string, { outcome, status, ms, reason }: PushResult): void {
    const isAccepted = outcome === "accepted";
    this.note({
      event: "push_result",
      device: leg.id,
      from: this.pushParty(provider),
      to: HUB,
      label: isAccepted || status === 0 ? outcome : `${outcome} ${status}`,
      note: isAccepted ? `${Math.round(ms)} ms` : reason,
      status,
    });
  }

  /** The call is over: how, in the record, and what that meant for every device. */
  end(status: number, answeredBy: Branch | null, legs: LegsOfCall, ending: Ending): void {
    const { record } = this;
    const elapsedMs = this.clock.nowMs - record.startedAtMs;
    record.state = "ended";
    record.status = status;
    record.endedAtMs = this.clock.nowMs;
    if (answeredBy !== null) {
      record.result = "answered";
      record.outcome = `answered by ${this.partyOf(answeredBy, legs)} after ${seconds(elapsedMs)}`;
    } else {
      const devices = legs.all;
      record.result = resultOf(status, ending, devices);
      record.outcome = outcomeWords(devices, record, elapsedMs, ending);
    }
    for (const { id, party, branch } of legs.all) {
      if (branch === null || branch.state !== "cancelled" || branch.isCancelSent || branch.isEnded) continue;
      this.note({ event: "cancel", device: id, note: `${party} has said nothing yet: its CANCEL goes when it does` });
    }
    if (answeredBy === null) this.toCaller(status);
    this.note({ event: "end", note: record.outcome, status });
  }

  /** The call was over before it began. */
  refused(status: number, outcome: string): void {
    const { record } = this;
    record.state = "ended";
    record.status = status;
    record.endedAtMs = record.startedAtMs;
    record.result = "refused";
    record.outcome = outcome;
    this.toCaller(status);
    this.note({ event: "end", note: outcome, status });
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

  /** Brings branches and wakes of the record up to date. */
  write(branches: readonly Branch[], legs: LegsOfCall): void {
    this.record.branches = branches.map((branch) => ({
      id: String(branch.number),
      device: branch.target.contactId,
      party: this.partyOf(branch, legs),
      state: branch.state,
      status: branch.status,
      late: branch.isLate,
    }));
    this.record.wakes = [];
    for (const leg of legs.all) {
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

  /** The column of a push service, made on first use. */
  private pushParty(provider: string): string {
    const party = "push " + provider;
    if (!this.record.parties.includes(party)) this.record.parties.push(party);
    return party;
  }

  /** The column of a branch's device, over whichever of its flows the branch went. */
  private partyOf(branch: Branch, legs: LegsOfCall): string {
    return legs.find(branch.target.contactId)?.party ?? branch.target.contactId;
  }
}
