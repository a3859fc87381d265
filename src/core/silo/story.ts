/**
 * What a call leaves behind for people (W-22): the record, its timeline, the columns of the ladder, and their words. Is told
 * what happened, and decides nothing.
 */
import type { Branch } from "../proxy/branch.ts";
import type { Clock } from "../clock.ts";
import type { Message } from "../sip/message.ts";
import { withoutTag } from "../sip/name_addr.ts";
import { detached } from "../sip/scan.ts";
import type { Contact } from "../usrloc/contact.ts";
import type { PushReport } from "../usrloc/push_order.ts";
import type { Reachability } from "../usrloc/usrloc.ts";
import type { CallRecord, CallResult, TimelineEntry } from "./record.ts";

/** Our own column. */
const HUB = "latefork";
const MAX_TIMELINE = 400;

/** A device, as the timeline names it. */
interface Device {
  /** Contact id, or the URI of a branch added by hand. */
  readonly id: string;
  /** Its column. */
  readonly party: string;
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
    startedAtMs = clock.nowMs,
  ) {
    this.record = {
      id,
      callId: detached(request.callId),
      aor: aorKey,
      from: detached(withoutTag(request.from)),
      to: detached(request.to.uriText),
      state: "open",
      result: "",
      outcome: "",
      status: 0,
      startedAtMs,
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

  /** Since the INVITE, ms. */
  get elapsedMs(): number {
    return this.clock.nowMs - this.record.startedAtMs;
  }

  private append(entry: Omit<TimelineEntry, "tMs">): void {
    const line = entry as TimelineEntry;
    line.tMs = this.elapsedMs;
    this.record.timeline.push(line);
  }

  /** A response that goes to the calling side. */
  toCaller(status: number, note?: string): void {
    this.note({ event: "response", from: HUB, to: this.callerParty, label: String(status), note, status });
  }

  /** The caller's CANCEL. */
  callerCancelled(note: string): void {
    this.note({ event: "cancel", from: this.callerParty, to: HUB, label: "CANCEL", note });
  }

  /** The CANCEL of a branch leaves. */
  cancelled(device: Device, note?: string): void {
    this.note({ event: "cancel", device: device.id, from: HUB, to: device.party, label: "CANCEL", note });
  }

  branch(device: Device, label: "INVITE" | "INVITE (late)", note?: string): void {
    this.note({ event: "branch", device: device.id, from: HUB, to: device.party, label, note });
  }

  /** A response of a phone. */
  response(device: Device, status: number, note?: string): void {
    this.note({
      event: "response",
      device: device.id,
      from: device.party,
      to: HUB,
      label: String(status),
      note,
      status,
    });
  }

  /** A branch that failed without a word of its phone. */
  noResponse(device: Device, status: number): void {
    const note = `${device.party}: ${whyFailed(status)}`;
    this.note({ event: "response", device: device.id, label: String(status), note, status });
  }

  register(device: Device, note: string): void {
    this.note({ event: "register", device: device.id, from: device.party, to: HUB, label: "REGISTER", note });
  }

  push(device: Device, provider: string, label: "push call" | "push cancel" | "push missed", note: string): void {
    this.note({ event: "push", device: device.id, from: HUB, to: this.pushParty(provider), label, note });
  }

  pushReport(device: Device, provider: string, { outcome, status, ms, reason }: PushReport): void {
    const isAccepted = outcome === "accepted";
    this.note({
      event: "push_result",
      device: device.id,
      from: this.pushParty(provider),
      to: HUB,
      label: isAccepted || status === 0 ? outcome : `${outcome} ${status}`,
      note: isAccepted ? `${Math.round(ms)} ms` : reason,
      status,
    });
  }

  /** The call is over. */
  end(status: number, result: CallResult, outcome: string): void {
    const { record } = this;
    record.state = "ended";
    record.status = status;
    record.endedAtMs = this.clock.nowMs;
    record.result = result;
    record.outcome = outcome;
    // An answer is a phone's, and is in the timeline already.
    if (result !== "answered") this.toCaller(status);
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

  /** The column of a push service, made on first use. */
  private pushParty(provider: string): string {
    const party = "push " + provider;
    if (!this.record.parties.includes(party)) this.record.parties.push(party);
    return party;
  }
}

/** `3.912 s` */
export function seconds(ms: number): string {
  return (ms / 1000).toFixed(3) + " s";
}

/** `12 s`, `5 min`, `2 h`, `3 d`: how long something has been so. */
export function ago(ms: number): string {
  const s = Math.max(1, Math.round(ms / 1000));
  if (s < 120) return `${s} s`;
  if (s < 7200) return `${Math.round(s / 60)} min`;
  if (s < 172_800) return `${Math.round(s / 3600)} h`;
  return `${Math.round(s / 86_400)} d`;
}

/** Why a device is pushed at the start of a call. */
export function whyWoken(contact: Contact, reach: Reachability, nowMs: number): string {
  const flow = contact.flow;
  if (reach === "lost" || flow === null) {
    return `no connection, last registered ${ago(nowMs - contact.registeredAtMs)} ago`;
  }
  return flow.lastHeardMs === 0 ? "not heard of since the restart" : `silent for ${ago(nowMs - flow.lastHeardMs)}`;
}

/** Why a device is pushed whose branch came to nothing. */
export function whyWokenAfter({ status }: Branch): string {
  if (status === 408) return "no answer to the INVITE";
  return status === 430 ? "its proxy has no connection to it" : "its connection failed";
}

/** Why a device is neither asked nor woken. */
export function whyNotAsked(party: string, { push }: Contact): string {
  const why = push === null
    ? "no push token"
    : push.tokenState === "moved"
    ? "its push token is another AoR's now"
    : "its push token is dead";
  return `${party}: no connection and ${why}`;
}

/** What a branch came to that failed without a word of its phone. */
export function whyFailed(status: number): string {
  switch (status) {
    case 408:
      return "no answer from the phone";
    case 440:
      return "the call may have no more branches (Max-Breadth)";
    case 502:
      return "its answer lacked the Via of the caller, and was hung up";
    default:
      return "its connection is gone";
  }
}
