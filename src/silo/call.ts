/**
 * One open call: a fork, the devices it may reach, and the wakes that hold it open (W-01 to W-13). A branch that
 * fails never ends the call while a wake is pending, and a wake never stands in the way of a response (W-06).
 */
import type { Branch } from "../proxy/branch.ts";
import { Fork, type ForkOwner } from "../proxy/fork.ts";
import type { Router } from "../proxy/router.ts";
import type { Flow } from "../sip/flow.ts";
import type { Message } from "../sip/message.ts";
import { detached } from "../sip/scan.ts";
import type { Due } from "../transaction/deadline.ts";
import type { ServerTransaction } from "../transaction/server.ts";
import type { Transactions } from "../transaction/table.ts";
import type { Aor, Contact } from "../usrloc/model.ts";
import type { Reachability, Usrloc } from "../usrloc/usrloc.ts";
import { DeviceLeg } from "./device_leg.ts";
import type { CallRecord } from "./record.ts";
import { MAX_DEVICES, type PushOrder, type PushResult, type SiloPort, type SiloSettings } from "./settings.ts";
import { HUB, Story } from "./story.ts";
import { Wake, type WakeOwner } from "./wake.ts";
import { ago, callerName, outcomeWords, resultOf, seconds } from "./words.ts";

/** What a call needs of its silo. */
export interface CallHome {
  readonly port: SiloPort;
  readonly table: Transactions;
  readonly usrloc: Usrloc;
  readonly router: Router;
  readonly settings: SiloSettings;
  onCallEnded(call: Call): void;
  onWakeStarted(wake: Wake, call: Call): void;
}

/** Devices and branches a call remembers, those that failed included. */
const MAX_LEGS = 8 * MAX_DEVICES;

export class Call implements ForkOwner, WakeOwner, Due {
  dueMs = 0;
  heapSlot = -1;
  readonly fork: Fork;
  private readonly story: Story;
  private readonly legs = new Map<string, DeviceLeg>();
  /** Devices that registered between the caller's CANCEL (or a 6xx) and the final response. */
  private readonly latecomers = new Set<string>();
  private isCancelled = false;
  private isTimedOut = false;
  /** While devices are being asked no failure of one of them may end the call. */
  private isAsking = false;
  private endReason = "";
  private readonly fromUri: string;
  private readonly fromName: string;

  constructor(
    private readonly home: CallHome,
    id: string,
    readonly server: ServerTransaction,
    readonly aor: Aor,
    /** Set where the PBX calls one device (modes `contact` and `mirror`): nobody else joins (W-21). */
    readonly onlyDevice: string | null,
    callerToken: string,
    routesToDrop: number,
  ) {
    const request = server.request;
    const { settings } = home;
    this.fork = new Fork(home.table, server, request, {
      isSingleAnswer: settings.isSingleAnswer,
      endsOn6xx: true,
      endsOn603: settings.decline === "all",
      unreachableStatus: 480,
    }).prepare(callerToken, routesToDrop, true);
    this.fork.owner = this;
    this.fork.isHeld = true;
    this.fromUri = detached(request.from.uriText);
    this.fromName = callerName(request);
    this.story = new Story(id, request, aor, settings.callerParty, home.table.schedule.clock);
  }

  /** The record, with branches and wakes as they were when it was last written; see {@link snapshot}. */
  get record(): CallRecord {
    return this.story.record;
  }

  get isOpen(): boolean {
    return this.fork.isOpen;
  }

  /** True while a device is being woken. */
  get isHeld(): boolean {
    return this.fork.isHeld;
  }

  private get nowMs(): number {
    return this.home.table.schedule.clock.nowMs;
  }

  /** 100 is sent and the call is in the silo: now everybody is asked at once (W-02). */
  begin(contacts: readonly Contact[]): void {
    this.home.table.schedule.deadlines.set(this, this.nowMs + this.home.settings.ringTimeoutMs);
    this.story.note({ event: "response", from: HUB, to: this.home.settings.callerParty, label: "100", status: 100 });
    this.isAsking = true;
    for (const contact of contacts) {
      if (this.hasPlace()) this.ask(contact);
      else this.noteNoPlace(contact.id);
    }
    this.isAsking = false;
    this.settle();
  }

  private ask(contact: Contact): void {
    const leg = this.legOf(contact.id);
    const reach = this.home.usrloc.reachability(contact, this.home.settings.idleMs);
    const isPushable = contact.push !== null && contact.push.tokenState !== "dead";
    if (reach !== "lost") this.addBranch(leg, contact, contact.flow!, false);
    if (!isPushable) {
      if (reach === "lost") {
        this.story.note({ event: "skip", device: leg.id, note: `${leg.party}: no connection and no push token` });
      }
      return;
    }
    if (reach !== "live") this.wake(leg, contact, whyWoken(contact, reach, this.nowMs));
    else if (contact.kind === "mobile" && leg.wake === null) this.hedge(leg, contact);
  }

  /** W-03: a live flow may lead to a frozen app; if nothing is heard of it, a push goes too. */
  private hedge(leg: DeviceLeg, contact: Contact): void {
    const { hedgeMs } = this.home.settings;
    if (hedgeMs === 0) return this.wake(leg, contact, "hedge");
    leg.wake = new Wake(this, this.home.port.token(16), contact.id);
    this.home.table.schedule.deadlines.set(leg.wake, this.nowMs + hedgeMs);
  }

  /** Sends the push of a device, once per call (P-07). */
  private wake(leg: DeviceLeg, contact: Contact, why: string): void {
    const push = contact.push;
    if (push === null || push.tokenState === "dead" || leg.wake?.wasSent || leg.hasDeclined) return;
    const wake = leg.wake ?? new Wake(this, this.home.port.token(16), contact.id);
    leg.wake = wake;
    wake.state = "waiting";
    wake.sentAtMs = this.nowMs;
    this.home.table.schedule.deadlines.set(wake, this.nowMs + this.home.settings.windowMs);
    this.home.onWakeStarted(wake, this);
    this.story.note({
      event: "push",
      device: leg.id,
      from: HUB,
      to: this.story.pushParty(push.provider),
      label: "push call",
      note: why,
    });
    this.home.port.push(this.pushOrder(contact, wake.uuid, "call"));
    this.sendProgress();
  }

  private pushOrder(contact: Contact, uuid: string, event: "call" | "cancel", reason?: PushOrder["reason"]): PushOrder {
    const push = contact.push!;
    return {
      uuid,
      event,
      provider: push.provider,
      param: push.param,
      prid: push.prid,
      aor: this.aor.key,
      device: contact.id,
      callId: this.record.callId,
      fromUri: this.fromUri,
      fromName: this.fromName,
      toUri: this.record.to,
      ttlMs: this.home.settings.windowMs,
      reason,
    };
  }

  /** Early answer while waking (W-09): once, and only if no phone speaks for itself. */
  private sendProgress(): void {
    const { progress, callerParty } = this.home.settings;
    if (progress === "none" || !this.isOpen || this.server.status > 100) return;
    this.server.respond(Number(progress));
    this.story.note({
      event: "response",
      from: HUB,
      to: callerParty,
      label: progress,
      note: "while waking",
      status: Number(progress),
    });
  }

  private addBranch(leg: DeviceLeg, contact: Contact, flow: Flow, isLate: boolean): void {
    const label = isLate ? "INVITE (late)" : "INVITE";
    // Over the flow of its REGISTER it surely gets it; over one from before it has to be heard of first.
    if (isLate) leg.hasTakenPart = true;
    this.story.note({ event: "branch", device: leg.id, from: HUB, to: leg.party, label });
    const branchTarget = this.home.router.targetOf(contact, flow, this.record.callId);
    leg.branch = this.fork.addBranch(branchTarget, isLate);
  }

  /**
   * A device was accepted by the registrar: it joins, in this very turn (W-04, W-05).
   * @param registeredAtMs when its REGISTER came in
   */
  deviceRegistered(contact: Contact, registeredAtMs: number): void {
    if (this.onlyDevice !== null && this.onlyDevice !== contact.id) return;
    // Its connection closed while the PBX was asked: it will come again.
    if (contact.flow === null || contact.flow.state === "closed") return;
    // The 100 ms between CANCEL and 487: the device is as late as after the end, and is dealt with then.
    if (!this.isOpen) return void this.latecomers.add(contact.id);
    const known = this.legs.get(contact.id);
    if (known === undefined ? !this.hasPlace() : !isInvolved(known) && !this.hasPlace()) {
      return this.noteNoPlace(contact.id);
    }
    const leg = known ?? this.legOf(contact.id);
    this.dropHedge(leg);
    const wake = leg.wake;
    let note = "";
    if (wake !== null && wake.isPending) {
      wake.wakeMs = this.nowMs - wake.sentAtMs;
      note = `woke after ${seconds(wake.wakeMs)}`;
      this.home.port.measure("wake_seconds", wake.wakeMs / 1000);
      this.endWake(wake, "registered", note);
    }
    const decision = leg.onRegistered(contact);
    const why = decision.action === "none" ? decision.why : "";
    this.story.note({
      event: "register",
      device: leg.id,
      from: leg.party,
      to: HUB,
      label: "REGISTER",
      note: [note, why].filter((text) => text !== "").join(", "),
    });
    if (decision.action !== "none") {
      const old = decision.action === "replace" ? leg.branch : null;
      this.isAsking = true;
      this.addBranch(leg, contact, contact.flow, true);
      const entry = this.record.timeline.findLast((line) => line.event === "branch");
      if (entry !== undefined) {
        entry.note = `${Math.max(0, Math.round(this.nowMs - registeredAtMs))} ms after its REGISTER`;
      }
      this.home.port.count("late_branches_total", "");
      this.home.port.measure("late_branch_seconds", (this.nowMs - registeredAtMs) / 1000);
      // The old way to this device leads nowhere it could still ring from.
      if (old !== null) {
        this.story.note({
          event: "cancel",
          device: leg.id,
          note: `${leg.party}: gave up the branch over its old flow`,
        });
        old.cancel("");
      }
      this.isAsking = false;
    } else leg.branch?.nudge();
    this.settle();
  }

  /** The relay's verdict about a push of this call. */
  pushResult(wake: Wake, result: PushResult): void {
    const leg = this.legs.get(wake.contactId);
    if (leg === undefined) return;
    wake.pushMs = result.ms;
    const party = this.story.pushParty(this.home.usrloc.contact(wake.contactId)?.push?.provider ?? "");
    const label = result.outcome === "accepted"
      ? "accepted"
      : result.status === 0
      ? result.outcome
      : `${result.outcome} ${result.status}`;
    const note = result.outcome === "accepted" ? `${Math.round(result.ms)} ms` : result.reason;
    this.story.note({ event: "push_result", device: leg.id, from: party, to: HUB, label, note, status: result.status });
    if (result.outcome === "accepted") wake.isAccepted = true;
    else if (wake.isPending && result.outcome !== "failed") {
      this.endWake(wake, "refused", result.reason);
      this.settle();
    } else wake.reason = result.reason;
  }

  /** A contact left usrloc: nobody will register for it. A ringing branch goes on. */
  deviceRemoved(contact: Contact): void {
    const wake = this.legs.get(contact.id)?.wake;
    if (wake === undefined || wake === null || wake.state !== "waiting") return;
    this.endWake(wake, "refused", "device is no longer registered");
    this.settle();
  }

  /** By hand (W-18): one more branch; false if the device has a live one. */
  appendDevice(contact: Contact): boolean {
    if (!this.isOpen || contact.flow === null || contact.flow.state === "closed") return false;
    const known = this.legs.get(contact.id);
    if ((known === undefined || !isInvolved(known)) && !this.hasPlace()) return false;
    const leg = known ?? this.legOf(contact.id);
    if (leg.branch !== null && (leg.branch.isLive || leg.branch.state === "answered")) return false;
    if (leg.hasDeclined) return false;
    if (leg.wake !== null && leg.wake.isPending) this.endWake(leg.wake, "cancelled", "branch added by hand");
    this.addBranch(leg, contact, contact.flow, true);
    this.settle();
    return true;
  }

  /**
   * By hand: a branch to an address that is no registered device. `token` routes the dialog back to it.
   * @returns false if the call is ending, full, or has a live branch to that address
   */
  appendAddress(uri: string, flow: Flow, token: string): boolean {
    if (!this.isOpen || !this.hasPlace()) return false;
    const leg = this.legOf(uri);
    if (leg.branch !== null && (leg.branch.isLive || leg.branch.state === "answered")) return false;
    leg.hasTakenPart = true;
    this.story.note({
      event: "branch",
      device: leg.id,
      from: HUB,
      to: leg.party,
      label: "INVITE (late)",
      note: "added by hand",
    });
    leg.branch = this.fork.addBranch({ uri, flow, route: "", token, contactId: uri }, true);
    this.settle();
    return true;
  }

  /** By hand: takes a branch out. */
  removeBranch(number: number): boolean {
    const branch = this.fork.branches[number - 1];
    if (branch === undefined || !branch.isLive) return false;
    this.story.note({
      event: "cancel",
      from: HUB,
      to: this.legs.get(branch.target.contactId)?.party,
      label: "CANCEL",
      note: "removed by hand",
    });
    this.fork.dropBranch(branch);
    return true;
  }

  /** By hand, or at shutdown: ends the call. */
  end(reason: string): void {
    if (!this.isOpen) return;
    this.endReason = reason;
    this.fork.close(480, reason);
  }

  onBranchResponse(branch: Branch, status: number, response: Message | null): void {
    const leg = this.legs.get(branch.target.contactId);
    if (leg === undefined) return;
    // A branch may fail before addBranch returns: then the leg does not know it yet.
    const isCurrent = leg.branch === null || branch.number >= leg.branch.number;
    if (response !== null) {
      leg.hasTakenPart = true;
      this.dropHedge(leg);
      const isPassed = status > 100 && status < 300 && !branch.isGhost && !branch.isHungUp &&
        (this.fork.state === "open" || this.fork.state === "answered");
      this.story.note({
        event: "response",
        device: leg.id,
        from: leg.party,
        to: HUB,
        label: String(status),
        note: branch.isHungUp ? "answered too late: ended by latefork" : undefined,
        status,
      });
      if (isPassed) {
        this.story.note({
          event: "response",
          from: HUB,
          to: this.home.settings.callerParty,
          label: String(status),
          status,
        });
      }
    } else if (status !== 0 && branch.state === "failed") {
      const why = status === 408 ? "no answer from the phone" : "its connection is gone";
      this.story.note({
        event: "response",
        device: leg.id,
        label: String(status),
        note: `${leg.party}: ${why}`,
        status,
      });
    }
    if (status < 200 || !this.isOpen) return;
    if (branch.state === "declined") {
      leg.hasDeclined = true;
      // It answered without waking: there is nothing to wait for any more (W-07).
      if (leg.wake !== null && leg.wake.isPending) this.endWake(leg.wake, "cancelled", "its user declined");
    } else if (isCurrent && branch.state === "failed" && branch.isLocal) {
      // The flow was dead: if a push can reach the device, it is woken now.
      const contact = this.home.usrloc.contact(leg.id);
      if (contact !== undefined) this.wake(leg, contact, "its connection failed");
    }
    this.hold();
  }

  private dropHedge(leg: DeviceLeg): void {
    if (leg.wake === null || leg.wake.state !== "hedged") return;
    this.home.table.schedule.deadlines.cancel(leg.wake);
    leg.wake = null;
  }

  onHedgeDue(wake: Wake): void {
    const leg = this.legs.get(wake.contactId);
    const contact = this.home.usrloc.contact(wake.contactId);
    if (leg === undefined || contact === undefined || !this.isOpen) return;
    this.wake(leg, contact, `no answer within ${this.home.settings.hedgeMs} ms`);
    this.hold();
  }

  onWindowOver(wake: Wake): void {
    this.endWake(wake, "expired", `did not register within ${seconds(this.home.settings.windowMs)}`);
    const party = this.legs.get(wake.contactId)?.party ?? "";
    this.story.note({ event: "wake_end", device: wake.contactId, note: `${party} did not wake up` });
    this.settle();
  }

  /** `wake.ring_timeout`. */
  onDue(): void {
    this.isTimedOut = true;
    this.endReason = `nobody answered within ${seconds(this.home.settings.ringTimeoutMs)}`;
    this.fork.close(0);
  }

  onIdle(): void {
    // Every device has decided and no wake is pending: the fork ends now, not at some later timer (W-07).
  }

  onCancelled(): void {
    this.isCancelled = true;
    this.story.note({
      event: "cancel",
      from: this.home.settings.callerParty,
      to: HUB,
      label: "CANCEL",
      note: "caller gave up",
    });
  }

  onEnded(status: number, answeredBy: Branch | null): void {
    const { deadlines } = this.home.table.schedule;
    deadlines.cancel(this);
    const { record } = this;
    const { callerParty } = this.home.settings;
    const elapsed = this.nowMs - record.startedAtMs;
    record.state = "ended";
    record.status = status;
    record.endedAtMs = this.nowMs;
    if (answeredBy !== null) {
      record.result = "answered";
      record.outcome = `answered by ${this.story.partyOf(answeredBy, this.legs)} after ${seconds(elapsed)}`;
      for (const leg of this.legs.values()) {
        if (leg.branch !== null && leg.branch !== answeredBy && leg.branch.state === "cancelled") {
          this.story.note({
            event: "cancel",
            device: leg.id,
            from: HUB,
            to: leg.party,
            label: "CANCEL",
            note: "completed elsewhere",
          });
        }
      }
    } else {
      record.result = this.isTimedOut && !this.isCancelled ? "timeout" : resultOf(status, this.isCancelled);
      record.outcome = outcomeWords([...this.legs.values()], record, elapsed, {
        isCancelled: this.isCancelled,
        reason: this.endReason,
      });
      for (const leg of this.legs.values()) {
        if (leg.branch?.state === "cancelled") {
          this.story.note({ event: "cancel", device: leg.id, from: HUB, to: leg.party, label: "CANCEL" });
        }
      }
      this.story.note({ event: "response", from: HUB, to: callerParty, label: String(status), status });
    }
    this.story.note({ event: "end", note: record.outcome, status });
    for (const leg of this.legs.values()) this.endLeg(leg, answeredBy !== null);
    for (const id of this.latecomers) {
      const contact = this.home.usrloc.contact(id);
      if (contact !== undefined) this.deviceRegisteredLate(contact);
    }
    this.snapshot();
    this.home.onCallEnded(this);
  }

  private endLeg(leg: DeviceLeg, isAnswered: boolean): void {
    const wake = leg.wake;
    if (wake === null) return;
    if (wake.state === "hedged") return this.dropHedge(leg);
    const wasPending = wake.isPending;
    if (wasPending) this.endWake(wake, "cancelled", isAnswered ? "answered elsewhere" : "the call ended first");
    if (!wasPending || leg.hasTakenPart) return;
    const contact = this.home.usrloc.contact(leg.id);
    // P-06: the app shows a call that no longer is; iOS must get no VoIP push for that.
    if (contact === undefined || contact.push === null || isVoipToken(contact)) return;
    const reason = isAnswered
      ? "answered_elsewhere"
      : this.isCancelled
      ? "caller_gave_up"
      : this.record.result === "declined"
      ? "declined"
      : "timeout";
    this.story.note({
      event: "push",
      device: leg.id,
      from: HUB,
      to: this.story.pushParty(contact.push.provider),
      label: "push cancel",
      note: reason.replaceAll("_", " "),
    });
    this.home.port.push(this.pushOrder(contact, this.home.port.token(16), "cancel", reason));
  }

  /**
   * A device woken for this call registers after its end (W-13): it gets INVITE and CANCEL, so that its app can close
   * the call it had to show.
   */
  deviceRegisteredLate(contact: Contact): void {
    const { delayedCancel } = this.home.settings;
    const leg = this.legs.get(contact.id);
    if (leg === undefined || leg.hasTakenPart || leg.wake === null || !leg.wake.wasSent) return;
    if (contact.flow === null || contact.flow.state === "closed") return;
    if (delayedCancel === "false" || (delayedCancel === "auto" && !isVoipToken(contact))) return;
    leg.hasTakenPart = true;
    const branch = this.fork.addGhost(this.home.router.targetOf(contact, contact.flow, this.record.callId));
    leg.branch = branch;
    branch.cancel(this.fork.endLines);
    this.story.note({
      event: "branch",
      device: leg.id,
      from: HUB,
      to: leg.party,
      label: "INVITE, CANCEL",
      note: "woke after the end",
    });
  }

  /** The record with branches and wakes as they are now. */
  snapshot(): CallRecord {
    this.story.write(this.fork.branches, this.legs);
    return this.record;
  }

  /** ACK, BYE and the like of the dialog, for the ladder. */
  dialogRequest(method: string, isFromCaller: boolean): void {
    const answered = [...this.legs.values()].find((leg) => leg.branch?.state === "answered");
    if (answered !== undefined) this.story.noteDialog(method, answered.party, isFromCaller);
  }

  /** Lets go of a push whose verdict never came. */
  forgetWake(device: string, forget: (uuid: string) => void): void {
    const wake = this.legs.get(device)?.wake;
    if (wake !== undefined && wake !== null) forget(wake.uuid);
  }

  private endWake(wake: Wake, state: "registered" | "refused" | "expired" | "cancelled", reason: string): void {
    wake.state = state;
    wake.reason = reason;
    this.home.table.schedule.deadlines.cancel(wake);
    // A push that is still being tried would wake a device that is awake, or for nothing.
    if (wake.pushMs === null) this.home.port.cancelPush(wake.uuid);
  }

  private hasPendingWake(): boolean {
    for (const leg of this.legs.values()) if (leg.wake !== null && leg.wake.isPending) return true;
    return false;
  }

  private hold(): void {
    this.fork.isHeld = this.isAsking || this.hasPendingWake();
  }

  private settle(): void {
    this.hold();
    this.fork.settle();
  }

  /** W-20: a device that is rung or woken takes a place; one that failed or declined does not. */
  private hasPlace(): boolean {
    if (this.legs.size >= MAX_LEGS || this.fork.branches.length >= MAX_LEGS) return false;
    let taken = 0;
    for (const leg of this.legs.values()) if (isInvolved(leg)) taken++;
    return taken < MAX_DEVICES;
  }

  private noteNoPlace(device: string): void {
    this.story.note({ event: "skip", device, note: `more than ${MAX_DEVICES} devices` });
  }

  private legOf(id: string): DeviceLeg {
    let leg = this.legs.get(id);
    if (leg === undefined) {
      leg = new DeviceLeg(id, `${this.aor.user}/${this.legs.size + 1}`);
      this.legs.set(id, leg);
      this.story.addDevice(leg.party);
    }
    return leg;
  }
}

/** True while the device rings or is being woken. */
function isInvolved(leg: DeviceLeg): boolean {
  return (leg.branch !== null && leg.branch.isLive) || (leg.wake !== null && leg.wake.isPending);
}

function whyWoken(contact: Contact, reach: Reachability, nowMs: number): string {
  const flow = contact.flow;
  if (reach === "lost" || flow === null) {
    return `no connection, last registered ${ago(nowMs - contact.registeredAtMs)} ago`;
  }
  return flow.lastHeardMs === 0 ? "not heard of since the restart" : `silent for ${ago(nowMs - flow.lastHeardMs)}`;
}

/** An APNs token that makes iOS show a call for each push: as RFC 8599 says it, or with a token of each kind. */
function isVoipToken(contact: Contact): boolean {
  const push = contact.push;
  if (push === null || !push.provider.startsWith("apns")) return false;
  if (push.prid.includes(":")) return push.prid.split("&").some((token) => token.endsWith(":voip"));
  return /\.(?:voip|voip&remote|remote&voip)(?:\.(?:dev|prod))?$/.test(push.param);
}
