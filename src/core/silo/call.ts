/**
 * One call: which devices are asked and when, and whether it goes on (W-01 to W-07). A branch that fails never ends the call
 * while a wake is pending, and a wake never stands in the way of a response (W-06). Its devices are legs (`leg.ts`, woken
 * by `waking.ts`). What people change by hand, and what it owes its devices after the end, is done to it from outside
 * (`by_hand.ts`, `after_end.ts`).
 */
import type { Branch } from "../proxy/branch.ts";
import { firstFlows, hasPushToken, isFlowFailure, nextFlow } from "../proxy/device_flows.ts";
import { Fork, type ForkOwner } from "../proxy/fork.ts";
import type { Flow } from "../sip/flow.ts";
import type { Message } from "../sip/message.ts";
import { detached } from "../sip/scan.ts";
import type { Due } from "../transaction/deadline.ts";
import type { ServerTransaction } from "../transaction/server.ts";
import { T1_MS } from "../transaction/timers.ts";
import type { Aor, Contact } from "../usrloc/contact.ts";
import type { CallOfLeg, Leg, Wake } from "./leg.ts";
import { Legs } from "./legs.ts";
import { type Ending, isAnsweredElsewhere, tellEnd, whyCancelled, writeDevices } from "./outcome.ts";
import type { CallRecord } from "./record.ts";
import { type CallHome, MAX_DEVICES } from "./settings.ts";
import { seconds, Story, whyNotAsked, whyWoken, whyWokenAfter } from "./story.ts";
import { awaitReturn, dropHedge, endWake, hedge, spoke, wake, wakeDue, woke } from "./waking.ts";

export class SiloCall implements ForkOwner, CallOfLeg, Due {
  dueMs = 0;
  heapSlot = -1;
  readonly fork: Fork;
  readonly story: Story;
  readonly legs: Legs;
  /** Ids of the contacts that registered between the caller's CANCEL (or a 6xx) and the final response; null: none. */
  latecomers: Set<string> | null = null;
  /** The PBX is the caller; false: a phone. */
  private readonly isFromPbx: boolean;
  /** CSeq number of the INVITE, which its ACK has. */
  private readonly cseq: number;
  /** While devices are being asked, no failure of one of them may end the call. */
  private isAsking = false;
  private readonly ending: Ending = { isCancelled: false, isElsewhere: false, isTimedOut: false, reason: "" };

  constructor(
    readonly home: CallHome,
    id: string,
    server: ServerTransaction,
    readonly aor: Aor,
    /** Set where the PBX calls one device (modes `contact` and `mirror`): no other joins, nor another flow of it (W-21). */
    readonly onlyDevice: string | null,
    callerToken: string,
    routesToDrop: number,
  ) {
    const { settings, table } = home;
    this.fork = new Fork(table, server, {
      isSingleAnswer: settings.isSingleAnswer,
      endsOn6xx: true,
      endsOn603: settings.decline === "all",
      unreachableStatus: 480,
    }).prepare(callerToken, routesToDrop, true);
    this.isFromPbx = callerToken === "";
    this.cseq = server.request.cseq;
    this.fork.owner = this;
    this.fork.isHeld = true;
    this.story = new Story(id, server.request, aor.key, settings.callerParty, table.schedule.clock, server.arrivedAtMs);
    this.legs = new Legs(this, aor.user);
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

  /** 100 is sent and the call is in the silo: now every device is asked at once (W-02). */
  begin(contacts: readonly Contact[]): void {
    const { home } = this;
    home.table.schedule.deadlines.set(this, this.fork.server.arrivedAtMs + home.settings.ringTimeoutMs);
    this.story.toCaller(100);
    this.isAsking = true;
    for (const contact of firstFlows(contacts, home.reach)) {
      if (this.legs.hasPlaceFor(contact)) this.ask(contact);
      else this.noteNoPlace(contact.id);
    }
    this.isAsking = false;
    this.settle();
  }

  /**
   * A device was accepted by the registrar: it joins, in this very turn (W-04, W-05).
   * @param registeredAtMs when its REGISTER came in
   */
  deviceRegistered(contact: Contact, registeredAtMs: number): void {
    if (this.onlyDevice !== null && this.onlyDevice !== contact.id) return;
    const { flow } = contact;
    // Its connection closed while the PBX was asked: it will come again.
    if (flow === null || flow.state === "closed") return;
    // In the 100 ms between CANCEL and 487 it is as late as after the end, and is dealt with then.
    if (!this.isOpen) return void (this.latecomers ??= new Set()).add(contact.id);
    if (!this.legs.hasPlaceFor(contact)) return this.noteNoPlace(contact.id);
    const leg = this.legs.ensure(contact);
    const decision = leg.onRegistered(contact, this.isSilent(leg));
    const isOverBranch = decision.action !== "none" || leg.branch?.target.flow === flow;
    // what is heard over one flow is no word about the other, over which the INVITE went.
    const note = isOverBranch || leg.isBeingWoken ? woke(leg) : "";
    const why = decision.action === "none" ? decision.why : "";
    this.story.register(leg, [note, why].filter((text) => text !== "").join(", "));
    if (decision.action !== "none") this.join(leg, contact, flow, registeredAtMs);
    else if (isOverBranch) leg.branch?.nudge();
    this.settle();
  }

  /** Ends the call: by hand, or at shutdown. */
  end(reason: string): void {
    if (!this.isOpen) return;
    this.ending.reason = reason;
    this.fork.close(480, reason);
  }

  /** The record with branches and wakes as they are now. */
  snapshot(): CallRecord {
    writeDevices(this.record, this.fork.branches, this.legs);
    return this.record;
  }

  /**
   * ACK or BYE, for the ladder, if a phone of this call has that dialog: each 2xx made its own. Where a PBX keeps the Call-ID
   * of a phone that calls a phone, the same request goes through here twice: between the caller and the PBX, which is none of
   * this call, and between the PBX and the phone that was called.
   */
  dialogRequest(request: Message, isFromPbx: boolean, isToPbx: boolean): void {
    const leg = this.legs.all.find(({ dialogTag }) =>
      dialogTag !== "" && (dialogTag === request.to.tag || dialogTag === request.from.tag)
    );
    if (leg === undefined) return;
    const isToPhone = leg.dialogTag === request.to.tag;
    if ((isToPhone ? isFromPbx : isToPbx) !== this.isFromPbx) return;
    if (request.method === "ACK") {
      // The ACK of a re-INVITE would stand there without its INVITE; one that comes again is the same message.
      if (request.cseq !== this.cseq || leg.isAcknowledged) return;
      leg.isAcknowledged = true;
    }
    this.story.noteDialog(request.method, leg.party, isToPhone);
  }

  onPushed({ uuid }: Wake): void {
    this.home.onPushed(uuid, this.record.id);
    this.hold();
    this.sendProgress();
  }

  onWakeDue(leg: Leg, wake: Wake): void {
    wakeDue(leg, wake);
  }

  /** Branches or wakes changed: the fork ends here if nothing is left to wait for. */
  settle(): void {
    this.hold();
    this.fork.settle();
  }

  onBranchResponse(branch: Branch, status: number, response: Message | null): void {
    const leg = this.legs.find(branch.target.contactId);
    if (leg === undefined) return;
    // A branch may fail before addBranch returns: then the leg does not know it yet.
    const isCurrent = leg.branch === null || branch.number >= leg.branch.number;
    if (response !== null) {
      leg.hasTakenPart = true;
      if (status >= 200 && status < 300 && leg.dialogTag === "") leg.dialogTag = detached(response.to.tag);
      dropHedge(leg);
      if (status > 100 && status < 300) spoke(leg, status);
      this.story.response(leg, status, branch.isHungUp ? "answered too late: ended by latefork" : undefined);
      if (this.isPassedOn(branch, status)) this.story.toCaller(status);
    } else if (status !== 0 && branch.state === "failed") this.story.noResponse(leg, status);
    if (!this.isOpen) return;
    if (status < 200) return this.hold();
    if (branch.state === "declined") {
      leg.hasDeclined = true;
      // It answered without waking: there is nothing to wait for any more (W-07).
      if (leg.wake !== null && leg.wake.isPending) endWake(leg, leg.wake, "cancelled", "its user declined");
    } else if (isCurrent && isFlowFailure(branch)) this.askElsewhere(leg, branch);
    this.hold();
  }

  onIdle(): void {
    // Every device has decided and no wake is pending: the fork ends now, not at some later timer (W-07).
    this.judgeSilence();
  }

  onCancelled(reasonLines: string): void {
    this.ending.isCancelled = true;
    this.ending.isElsewhere = isAnsweredElsewhere(reasonLines);
    this.story.callerCancelled(whyCancelled(this.ending));
  }

  /** `wake.ring_timeout`. */
  onDue(): void {
    this.judgeSilence();
    this.ending.isTimedOut = true;
    this.ending.reason = `nobody answered within ${seconds(this.home.settings.ringTimeoutMs)}`;
    this.fork.close(0);
  }

  onCancelSent(branch: Branch): void {
    const leg = this.legs.find(branch.target.contactId);
    if (leg === undefined) return;
    const why = this.fork.state === "answered" ? "completed elsewhere" : this.ending.reason;
    this.story.cancelled(leg, why === "" ? undefined : why);
  }

  onEnded(status: number, answeredBy: Branch | null): void {
    this.home.table.schedule.deadlines.cancel(this);
    tellEnd(this.story, this.legs, this.ending, status, answeredBy);
    this.home.onCallEnded(this.record.id);
  }

  /** The start of the call for one device, or its next flow: INVITE, push, or both (W-02). */
  private ask(contact: Contact): void {
    const leg = this.legs.ensure(contact);
    const reach = this.home.reach(contact);
    if (reach !== "lost") leg.invite(contact, contact.flow!, false);
    const pushed = this.pushedBy(leg, contact);
    if (!hasPushToken(pushed)) {
      if (reach === "lost") this.story.note({ event: "skip", device: leg.id, note: whyNotAsked(leg.party, pushed) });
      return;
    }
    if (reach !== "live") wake(leg, pushed, whyWoken(contact, reach, this.nowMs));
    else if (pushed.kind === "mobile" && leg.wake === null) hedge(leg, pushed);
  }

  /** The flow was dead: the device is asked over its next one. Without another, it is woken now. */
  private askElsewhere(leg: Leg, failed: Branch): void {
    const { reach, usrloc } = this.home;
    const others = leg.instance === "" ? undefined : usrloc.find(this.aor.key)?.contacts;
    // The contact it was asked by may have been removed meanwhile; the phone may have another.
    const contact = usrloc.contact(failed.target.contactId) ?? usrloc.contact(leg.id) ??
      others?.find(({ instance }) => instance === leg.instance);
    if (contact === undefined) return;
    const next = this.onlyDevice !== null ? null : nextFlow(contact, this.fork.branches, reach);
    if (next !== null) this.ask(next);
    else if (leg.wake?.hasWoken) awaitReturn(leg, leg.wake);
    else wake(leg, this.pushedBy(leg, contact), whyWokenAfter(failed));
  }

  /** A late branch over the flow of the REGISTER, in place of one that leads to it no more. */
  private join(leg: Leg, contact: Contact, flow: Flow, registeredAtMs: number): void {
    const old = leg.branch;
    const lateMs = this.nowMs - registeredAtMs;
    this.isAsking = true;
    leg.invite(contact, flow, true, `${Math.max(0, Math.round(lateMs))} ms after its REGISTER`);
    this.home.port.count("late_branches_total", "");
    this.home.port.measure("late_branch_seconds", lateMs / 1000);
    // The old way to this device leads nowhere it could still ring from.
    if (old !== null && old.isLive) {
      const way = old.target.flow === flow ? "to its old Contact" : "over its old flow";
      this.story.note({ event: "cancel", device: leg.id, note: `${leg.party}: gave up the branch ${way}` });
      old.cancel("");
    }
    this.isAsking = false;
  }

  /** a phone that is there has answered something over its flow within the time of the hedge, or is being woken. */
  private isSilent(leg: Leg): boolean {
    if (leg.branch === null || leg.branch.isHeardOf) return false;
    if (leg.isBeingWoken) return true;
    return this.nowMs - leg.invitedAtMs >= Math.max(T1_MS, this.home.settings.hedgeMs);
  }

  /** The contact whose token wakes the device: maybe that of another flow, which is its leg's from then on. */
  private pushedBy(leg: Leg, contact: Contact): Contact {
    const pushed = leg.pushContact ?? contact;
    this.legs.of(pushed);
    return pushed;
  }

  /** Early answer while waking (W-09): once, and only if no phone speaks for itself. */
  private sendProgress(): void {
    const { progress } = this.home.settings;
    const { server, isOpen } = this.fork;
    if (progress === "none" || !isOpen || server.status > 100) return;
    server.respond(Number(progress));
    this.story.toCaller(Number(progress), "while waking");
  }

  /** True if the response of a branch went to the caller before we heard of it. */
  private isPassedOn(branch: Branch, status: number): boolean {
    return status > 100 && status < 300 && !branch.isGhost && !branch.isHungUp &&
      (this.fork.state === "open" || this.fork.state === "answered");
  }

  /** W-08: our own 408 is 480 where a phone slept on. */
  private judgeSilence(): void {
    for (const leg of this.legs.all) if (leg.hasSleptOn) this.fork.silentStatus = 480;
  }

  private hold(): void {
    this.fork.isHeld = this.isAsking || this.legs.hasPendingWake;
  }

  /** W-20 */
  private noteNoPlace(device: string): void {
    this.home.port.count("rejected_total", "devices_per_call_limit");
    this.story.note({ event: "skip", device, note: `device ${device} is not asked: ${MAX_DEVICES} are already` });
  }

  private get nowMs(): number {
    return this.home.table.schedule.clock.nowMs;
  }
}
