/** What must hold in every world, whatever happened in it. */
import type { SiloCall } from "../../src/core/silo/call.ts";
import type { PushOrder } from "../../src/core/usrloc/push_order.ts";
import type { Flow } from "../../src/core/sip/flow.ts";
import { parseMessage } from "../../src/core/sip/message.ts";
import { parseUri } from "../../src/core/sip/uri.ts";
import type { Contact } from "../../src/core/usrloc/contact.ts";
import { type Actor, Chaos } from "./chaos.ts";
import { isForgotten, judgeRequests } from "./judge_requests.ts";
import { DOMAIN } from "./pbx.ts";
import type { PhoneCall } from "./phone.ts";

/**
 * Runs one seed.
 * @returns what went wrong, a line each; empty if nothing did
 */
export function judge(seed: number): { wrongs: string[]; story: () => string } {
  const chaos = new Chaos(seed);
  const judgement = new Judgement(chaos);
  try {
    chaos.run();
    judgement.atTheEnd();
  } catch (error) {
    judgement.wrong(`threw ${error instanceof Error ? error.stack ?? error.message : error}`);
  }
  return { wrongs: judgement.wrongs, story: () => story(chaos) };
}

class Judgement {
  readonly wrongs: string[] = [];
  private registered: { aor: string; device: string }[] = [];
  private readonly seen = new Set<string>();
  /** By contact id: the flow over which the PBX accepted it last. */
  private readonly accepted = new Map<string, Flow | null>();
  /** Event, Call-ID and device of each push. */
  private readonly pushed = new Set<string>();
  /** By contact id: what tells the phone, which may have several flows (RFC 5626). */
  private readonly phones = new Map<string, string>();

  constructor(private readonly chaos: Chaos) {
    const { w } = chaos;
    w.onTurn = () => this.afterTurn();
    w.port.onSaved = (contact) => this.onSaved(contact);
    const { event } = w.port;
    w.port.event = (what) => {
      if (what.type === "registration" && what.state === "registered") {
        this.registered.push({ aor: String(what.aor), device: String(what.device) });
      }
      if (what.type === "registration" && what.state === "removed") this.accepted.delete(String(what.device));
      event.call(w.port, what);
    };
    const { push } = w.port;
    w.port.push = (order) => {
      this.onPush(order);
      push.call(w.port, order);
    };
  }

  wrong(text: string): void {
    if (this.wrongs.length < 20 && !this.wrongs.includes(text)) this.wrongs.push(text);
  }

  /** nothing is written without the PBX's 2xx in this very turn. */
  private onSaved(contact: Contact): void {
    const { w } = this.chaos;
    this.phones.set(contact.id, contact.instance === "" ? contact.id : `${contact.aor.key} ${contact.instance}`);
    const isRegistration = !this.seen.has(contact.id) || contact.registeredAtMs === w.nowMs;
    this.seen.add(contact.id);
    if (!isRegistration) return;
    const isAccepted = w.heardInTurn.some((text) => {
      if (!/^SIP\/2\.0 2\d\d/.test(text)) return false;
      const message = parseMessage(text);
      return message.cseqMethod === "REGISTER" && `${message.to.uri!.user}@${DOMAIN}` === contact.aor.key;
    });
    if (isAccepted) this.accepted.set(contact.id, contact.flow);
    // over the flow that the PBX accepted it may be refreshed without another word.
    else if (contact.flow === null || this.accepted.get(contact.id) !== contact.flow) {
      this.wrong(`R-01 R-06 ${contact.id} of ${contact.aor.key} was written without a 2xx of the PBX`);
    }
  }

  /** P-02: never for a binding that is over. P-06, P-07: once a device and call, and never one that iOS must ring for. */
  private onPush({ event, device, callId, prid, provider }: PushOrder): void {
    const { w } = this.chaos;
    const contact = w.core.usrloc.contact(device);
    const isRegistered = contact !== undefined && contact.expiresAtMs > w.nowMs && contact.push?.prid === prid;
    if (!isRegistered) this.wrong(`P-02 a push ${event} for ${device}, which is not registered with that token`);
    if (event === "refresh" || event === "message") return; // these are for no call
    if (provider === "apns" && event !== "call") this.wrong(`P-06 a push ${event} for the VoIP token of ${device}`);
    const id = `${callId} ${this.phones.get(device) ?? device}`;
    // In the other modes the PBX calls each flow of a phone by itself, with one Call-ID.
    if (this.chaos.mode !== "aor") return;
    if (this.pushed.has(`${event} ${id}`)) this.wrong(`P-07 a second push ${event} of ${callId} for ${device}`);
    this.pushed.add(`${event} ${id}`);
    if (event !== "call" && !this.pushed.has(`call ${id}`)) {
      this.wrong(`P-06 a push ${event} of ${callId} for ${device}, which was not pushed for it`);
    }
    const result = w.core.silo.allRecords().find((record) => record.callId === callId)?.result;
    if (event === "missed" && (result === "answered" || result === "declined" || !w.core.silo.settings.tellsMissed)) {
      this.wrong(`P-06 a push missed of ${callId}, which was ${result}`);
    }
  }

  private afterTurn(): void {
    const { silo } = this.chaos.w.core;
    if (silo.openCalls > 0) {
      for (const calls of silo.openByAor().values()) for (const call of calls) this.atMostOne(call);
    }
    for (const { aor, device } of this.registered) for (const call of silo.callsOf(aor)) this.hasJoined(call, device);
    this.registered.length = 0;
  }

  /** W-05: at most one live branch per device and call. */
  private atMostOne(call: SiloCall): void {
    const live = new Set<string>();
    for (const branch of call.fork.branches) {
      if (!branch.isLive) continue;
      const phone = this.phones.get(branch.target.contactId)!;
      if (live.has(phone)) this.wrong(`W-05 R-15 two live branches of ${phone}`);
      live.add(phone);
    }
  }

  /** W-04: a device that registers while the call is open, and has not declined, has the INVITE. */
  private hasJoined(call: SiloCall, device: string): void {
    const contact = this.chaos.w.core.usrloc.contact(device);
    if (!call.isOpen || contact === undefined || contact.flow === null || contact.flow.state === "closed") return;
    if (call.onlyDevice !== null && call.onlyDevice !== device) return;
    if (this.chaos.handled.has(call.record.callId)) return;
    const phone = this.phones.get(device)!;
    const branches = call.fork.branches.filter(({ target }) => this.phones.get(target.contactId) === phone);
    const hasIt = branches.some((branch) =>
      branch.state === "declined" || branch.state === "answered" ||
      // W-05: another user part is a phone that started anew, and knows nothing of what the old one got.
      (isForContact(branch.target.uri, contact) && (branch.state === "ringing" ||
        (branch.target.flow === contact.flow && (branch.isLive || branch.final !== null)))) ||
      // it is asked over another flow of its own, or answered there.
      (branch.target.contactId !== device && (branch.isLive || branch.final !== null))
    );
    if (!hasIt) this.wrong(`W-04 ${device} registered and did not join the open call ${call.record.callId}`);
  }

  /** R-13, W-07: what lapsed or made room was pushed, and may wake: that alone ends no wake. */
  private wakesOutlive(): void {
    const { port, core } = this.chaos.w;
    for (const { callId, startedAtMs, result } of core.silo.allRecords()) {
      const isTaken = startedAtMs > this.chaos.sigtermMs && result !== "refused";
      if (isTaken) this.wrong(`O-04 call ${callId} was taken behind SIGTERM`);
    }
    const takenOut = new Set<string>();
    for (const { type, state, device, cause } of port.events) {
      const isTakenOut = type === "registration" && state === "removed" && cause !== "expired" && cause !== "evicted";
      if (isTakenOut) takenOut.add(this.phones.get(String(device)) ?? String(device));
    }
    for (const { callId, wakes } of core.silo.allRecords()) {
      for (const { device, reason } of wakes) {
        if (reason !== "device is no longer registered" || takenOut.has(this.phones.get(device) ?? device)) continue;
        this.wrong(`W-07 the wake of ${device} in call ${callId} ended with its registration`);
      }
    }
  }

  /** W-07: what went out to a phone that slept through its wake is given up with it, not by Timer B. */
  private branchesEndWithWakes(): void {
    for (const { callId, timeline } of this.chaos.w.core.silo.allRecords()) {
      const sleptOnMs = new Map<string, number>();
      for (const { event, device = "", status, from, note, tMs } of timeline) {
        if (event === "wake_end" && note!.endsWith("did not wake up")) sleptOnMs.set(device, tMs);
        else if (event === "branch") sleptOnMs.delete(device);
        else if (
          event === "response" && status === 408 && from === undefined && tMs > (sleptOnMs.get(device) ?? Infinity)
        ) {
          this.wrong(`W-07 the branch of ${device} in call ${callId} outlived its wake`);
        }
      }
    }
  }

  atTheEnd(): void {
    this.branchesEndWithWakes();
    this.wakesOutlive();

    for (const { call } of this.chaos.calls) if (!isForgotten(this.chaos, call)) this.oneFinal(call);
    judgeRequests(this.chaos, (text) => this.wrong(text));
    this.laddersAreTrue();
    for (const [name, left] of Object.entries(this.chaos.w.dust())) {
      if (left !== 0) this.wrong(`${left} left in ${name} when the dust has settled`);
    }
    this.pins();
    for (const actor of this.chaos.actors) for (const call of actor.phone.calls) this.phoneAtPeace(actor, call);
    for (const log of this.chaos.w.port.logs) if (log.level === "error") this.wrong(`logged an error: ${log.message}`);
  }

  /** W-07: exactly one final response, always; several only if several phones answered. In time. */
  private oneFinal(call: Chaos["calls"][number]["call"]): void {
    const { chaos } = this;
    const { finals, callId } = call;
    const isAnswered = chaos.w.core.silo.allRecords().some((record) =>
      record.callId === callId && record.result === "answered"
    );
    if (finals.length === 0) {
      // A lossy LAN may eat every INVITE, or a 200 whose phone then went to sleep and repeats it no more.
      if (chaos.isLanLossy && (call.isTimedOut || isAnswered)) return;
      return this.wrong(`W-07 call ${callId} never got a final response`);
    }
    const statuses = finals.map((final) => final.status);
    const answers = statuses.filter((status) => status < 300).length;
    if (answers > 0 ? answers !== statuses.length : statuses.length > 1) {
      this.wrong(`W-07 call ${callId} got the finals ${statuses.join(", ")}`);
    }
    if (chaos.w.core.silo.settings.isSingleAnswer && answers > 1) {
      this.wrong(`W-12 call ${callId} got ${answers} answers`);
    }
    const answered = chaos.actors.flatMap(({ phone }) => phone.calls).filter((phoneCall) =>
      phoneCall.invite.callId === callId && (phoneCall.incoming.status === 200 || phoneCall.hasStuttered)
    );
    if (answers > answered.length) this.wrong(`W-12 call ${callId}: ${answers} answers of ${answered.length} phones`);
    const slackMs = 110 + (chaos.isLanLossy ? 8000 : 10);
    // It may have waited for the PBX's word about a REGISTER of its phone.
    const begunMs = Math.max(
      call.startedAtMs,
      ...chaos.w.core.silo.allRecords().filter((record) => record.callId === callId).map((record) =>
        record.startedAtMs
      ),
    );
    const waitedMs = begunMs - call.startedAtMs;
    if (waitedMs > 5000 + slackMs) this.wrong(`W-01 call ${callId} began after ${waitedMs} ms`);
    if (call.finalAfterMs - waitedMs > chaos.ringTimeoutMs + slackMs && answers === 0) {
      this.wrong(`W-07 call ${callId} ended after ${call.finalAfterMs} ms`);
    }
  }

  /** W-22: what left for phones and push services stands in the timelines of its Call-ID, and nothing else does. */
  private laddersAreTrue(): void {
    const { w } = this.chaos;
    const sent = new Map<string, Set<string>>();
    const did = (what: string, id: string) => {
      const known = sent.get(what);
      if (known === undefined) sent.set(what, new Set([id]));
      else known.add(id);
    };
    for (const { isFromCore, text, peer } of w.net.packets) {
      if (!isFromCore || peer === "pbx" || !/^(?:INVITE|CANCEL) /.test(text)) continue;
      const { method, callId, via, to } = parseMessage(text);
      if (to.tag !== "") continue; // a re-INVITE is no new branch
      did(`${method} ${callId}`, via!.branch);
    }
    for (const { order } of w.push.orders) {
      if (order.callId !== "" && order.event !== "message") did(`push ${order.event} ${order.callId}`, order.uuid);
    }
    const told = new Map<string, number>();
    for (const { callId, timeline, outcome } of w.core.silo.allRecords()) {
      const times = timeline.map(({ tMs }) => tMs);
      if (times.some((tMs, n) => n > 0 && tMs < times[n - 1]!)) {
        this.wrong(`W-22 the lines of ${callId} are out of order`);
      }
      if (timeline.filter(({ event }) => event === "end").length !== 1 || outcome === "") {
        this.wrong(`W-22 ${callId} has no end`);
      }
      for (const { event, from, label } of timeline) {
        if (from !== "latefork") continue;
        // What went to a connection that was just closing was told, and is followed by its failure.
        const what = event === "branch"
          ? `INVITE ${callId}`
          : event === "cancel"
          ? `CANCEL ${callId}`
          : `${label} ${callId}`;
        if (event === "branch" || event === "cancel" || event === "push") told.set(what, (told.get(what) ?? 0) + 1);
      }
    }
    for (const what of new Set([...sent.keys(), ...told.keys()])) {
      const [left, lines] = [sent.get(what)?.size ?? 0, told.get(what) ?? 0];
      const isClosing = what.startsWith("INVITE") || w.net.closeGapMs > 0;
      if (left > lines || (left < lines && !isClosing)) {
        this.wrong(`W-22 ${what}: left ${left} times, told ${lines} times`);
      }
    }
  }

  /** No flow is kept for a contact that is not reached over it. */
  private pins(): void {
    const { w } = this.chaos;
    let pinned = 0;
    for (const count of w.port.pins.values()) pinned += count;
    let reached = 0;
    for (const aor of w.core.usrloc.all()) for (const contact of aor.contacts) if (contact.flow !== null) reached++;
    if (pinned !== reached) this.wrong(`${pinned} flows pinned for ${reached} contacts`);
  }

  /** W-10 to W-13: no phone that stayed in reach rings on, or waits for an ACK that never comes. */
  private phoneAtPeace(actor: Actor, call: PhoneCall): void {
    const { chaos } = this;
    if (actor.lastDownMs >= call.atMs || actor.phone.isAsleep || call.incoming.link !== actor.phone.link) return;
    const { link } = call.incoming;
    if (link.state === "closed" || link.isClosedByPeer) return;
    const { callId } = call.invite;
    if (chaos.calls.some((other) => other.call.callId === callId && isForgotten(chaos, other.call))) return;
    // Whoever is evicted in a call is not found any more by what belongs to its dialog.
    if (chaos.w.port.changes.some((change) => change.what === "removed" && change.atMs >= call.atMs - 1000)) return;
    // Where its 180 was lost, nobody knows that it rings.
    const isLossy = chaos.isInternetLossy && !link.isReliable;
    const what = `${actor.phone.name} in call ${call.invite.callId}`;
    // W-12: acknowledged and left alone, with nobody at the other end.
    const callers = chaos.calls.filter(({ call: { callId: id } }) => id === callId).map((other) => other.call);
    const isHeard = callers.some(({ answers }) => answers.some(({ toTag }) => toTag === call.incoming.toTag));
    if (call.state === "confirmed" && !isHeard && !call.hasStuttered && !isLossy && !chaos.isLanLossy) {
      this.wrong(`W-12 ${what} sits in a dead call`);
    }
    if (call.state === "ringing" && !isLossy) this.wrong(`W-11 ${what} rings for ever`);
    if (call.state === "answered" && !(isLossy || chaos.isLanLossy)) this.wrong(`W-12 ${what} never got its ACK`);
  }
}

/** True if what was sent to this URI is for the phone as it is registered now. */
function isForContact(uri: string | null, contact: Contact): boolean {
  return uri === null || parseUri(uri)?.user === parseUri(contact.uri)?.user;
}

function story(chaos: Chaos): string {
  const { w } = chaos;
  const calls = w.core.silo.allRecords().map((record) => {
    const lines = record.timeline.map(({ tMs, event, from, to, label, note, device }) =>
      `  ${(tMs / 1000).toFixed(4).padStart(9)} ${event} ${from ?? ""}→${to ?? ""} ${label ?? ""} ${note ?? ""} ${
        device ?? ""
      }`
    );
    return `call ${record.callId} at ${(record.startedAtMs - START_MS) / 1000}: ${record.outcome}\n${lines.join("\n")}`;
  });
  return `${chaos.deeds.join("\n")}\n\n${w.story()}\n\n${calls.join("\n")}`;
}

const START_MS = Date.parse("2026-01-02T03:04:05Z");
