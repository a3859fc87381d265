/**
 * One open call: who is asked and when, and whether it goes on (W-01 to W-07). A branch that fails never ends the call
 * while a wake is pending, and a wake never stands in the way of a response (W-06). Over which flow a
 * device is asked, how it is woken, what people change by hand and what is owed after the end are its parts' own:
 * `asking.ts`, `wakes.ts`, `by_hand.ts`, `after_end.ts`.
 */
import type { Branch } from "../proxy/branch.ts";
import { firstFlows, isFlowFailure } from "../proxy/device_flows.ts";
import { Fork, type ForkOwner } from "../proxy/fork.ts";
import type { Flow } from "../sip/flow.ts";
import type { Message } from "../sip/message.ts";
import { detached } from "../sip/scan.ts";
import type { Due } from "../transaction/deadline.ts";
import type { ServerTransaction } from "../transaction/server.ts";
import type { Aor, Contact } from "../usrloc/contact.ts";
import { AfterEnd } from "./after_end.ts";
import { Asking } from "./asking.ts";
import { ByHand } from "./by_hand.ts";
import type { CallHome } from "./call_home.ts";
import { Legs } from "./legs.ts";
import { isAnsweredElsewhere } from "./reason.ts";
import type { CallRecord } from "./record.ts";
import { MAX_DEVICES, type PushResult } from "./settings.ts";
import { Story } from "./story.ts";
import type { Wake } from "./wake.ts";
import { type HeldCall, Wakes } from "./wakes.ts";
import { type Ending, seconds } from "./words.ts";

/** The silo, as its calls see it. */
export interface CallOwner extends CallHome {
  onCallEnded(call: Call): void;
  onWakeStarted(wake: Wake, call: Call): void;
}

export class Call implements ForkOwner, HeldCall, Due {
  dueMs = 0;
  heapSlot = -1;
  readonly fork: Fork;
  private readonly story: Story;
  private readonly legs: Legs;
  private readonly wakes: Wakes;
  private readonly asking: Asking;
  private readonly byHand: ByHand;
  private readonly afterEnd: AfterEnd;
  private readonly ending: Ending = { isCancelled: false, isElsewhere: false, isTimedOut: false, reason: "" };

  constructor(
    private readonly owner: CallOwner,
    id: string,
    readonly server: ServerTransaction,
    readonly aor: Aor,
    /** Set where the PBX calls one device (modes `contact` and `mirror`): nobody else joins (W-21). */
    readonly onlyDevice: string | null,
    callerToken: string,
    routesToDrop: number,
  ) {
    const request = server.request;
    const { settings, table } = owner;
    this.fork = new Fork(table, server, {
      isSingleAnswer: settings.isSingleAnswer,
      endsOn6xx: true,
      endsOn603: settings.decline === "all",
      unreachableStatus: 480,
    }).prepare(callerToken, routesToDrop, true);
    this.fork.owner = this;
    this.fork.isHeld = true;
    this.story = new Story(id, request, aor.key, settings.callerParty, table.schedule.clock);
    this.legs = new Legs(this.fork, owner.dialogs, this.story, aor.user, table.schedule.clock);
    this.wakes = new Wakes(owner, this.fork, this.legs, this.story, this);
    this.asking = new Asking(owner, this.fork, this.legs, this.wakes, this.story, aor.key, onlyDevice !== null);
    this.byHand = new ByHand(this.fork, this.legs, this.wakes, this.story, this);
    this.afterEnd = new AfterEnd(owner, this.legs, this.wakes, this.story.record);
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

  /** 100 is sent and the call is in the silo: now everybody is asked at once (W-02). */
  begin(contacts: readonly Contact[]): void {
    this.owner.table.schedule.deadlines.set(this, this.nowMs + this.owner.settings.ringTimeoutMs);
    this.story.toCaller(100);
    this.asking.isBusy = true;
    for (const contact of firstFlows(contacts, this.owner.reach)) {
      if (this.legs.hasPlaceFor(contact)) this.asking.ask(contact);
      else this.noteNoPlace(contact.id);
    }
    this.asking.isBusy = false;
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
    if (!this.isOpen) return this.afterEnd.registeredWhileEnding(contact);
    if (!this.legs.hasPlaceFor(contact)) return this.noteNoPlace(contact.id);
    const leg = this.legs.ensure(contact);
    const decision = leg.onRegistered(contact, this.asking.isSilent(leg));
    const isOverBranch = decision.action !== "none" || leg.branch?.target.flow === flow;
    // what is heard over one flow is no word about the other, over which the INVITE went.
    const woke = isOverBranch || leg.wake?.isPending ? this.wakes.deviceRegistered(leg) : "";
    const why = decision.action === "none" ? decision.why : "";
    this.story.register(leg, [woke, why].filter((text) => text !== "").join(", "));
    if (decision.action !== "none") this.asking.join(leg, contact, flow, registeredAtMs);
    else if (isOverBranch) leg.branch?.nudge();
    this.settle();
  }

  /** A device woken for this call registers after its end (W-13). */
  deviceRegisteredLate(contact: Contact): void {
    this.afterEnd.deviceRegistered(contact);
  }

  /** A contact left usrloc. A ringing branch goes on. */
  deviceRemoved(contact: Contact): void {
    this.wakes.deviceRemoved(contact);
  }

  /** The relay's verdict about a push of this call. */
  pushResult(wake: Wake, result: PushResult): void {
    this.wakes.pushResult(wake, result);
  }

  /** P-07: see {@link Wakes.share}. */
  shareWake(contact: Contact): boolean {
    return this.wakes.share(contact);
  }

  /** P-07: see {@link Wakes.sharedRefused}. */
  sharedWakeRefused(contact: Contact, reason: string): void {
    this.wakes.sharedRefused(contact, reason);
  }

  /** By hand (W-18): see {@link ByHand.appendDevice}. */
  appendDevice(contact: Contact): boolean {
    return this.byHand.appendDevice(contact);
  }

  /** By hand (W-18): see {@link ByHand.appendAddress}. */
  appendAddress(uri: string, flow: Flow, token: string): boolean {
    return this.byHand.appendAddress(uri, flow, token);
  }

  /** By hand (W-18): see {@link ByHand.removeBranch}. */
  removeBranch(number: number): boolean {
    return this.byHand.removeBranch(number);
  }

  /** By hand, or at shutdown: ends the call. */
  end(reason: string): void {
    if (!this.isOpen) return;
    this.ending.reason = reason;
    this.fork.close(480, reason);
  }

  /** The record with branches and wakes as they are now. */
  snapshot(): CallRecord {
    this.story.write(this.fork.branches, this.legs);
    return this.record;
  }

  /** ACK, BYE and the like, for the ladder, if one of this call's phones has that dialog: each 2xx made its own. */
  dialogRequest(request: Message): void {
    for (const { dialogTag, party } of this.legs.all) {
      if (dialogTag === "") continue;
      if (request.to.tag === dialogTag) return this.story.noteDialog(request.method, party, true);
      if (request.from.tag === dialogTag) return this.story.noteDialog(request.method, party, false);
    }
  }

  /** Lets go of a push whose verdict never came. */
  forgetWake(device: string, forget: (uuid: string) => void): void {
    const wake = this.legs.find(device)?.wake;
    if (wake !== undefined && wake !== null) forget(wake.uuid);
  }

  onWakeStarted(wake: Wake): void {
    this.owner.onWakeStarted(wake, this);
    this.hold();
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
      this.wakes.dropHedge(leg);
      if (status > 100 && status < 300) this.wakes.spoke(leg, status);
      this.story.response(leg, status, branch.isHungUp ? "answered too late: ended by latefork" : undefined);
      if (this.isPassedOn(branch, status)) this.story.toCaller(status);
    } else if (status !== 0 && branch.state === "failed") this.story.noResponse(leg, status);
    if (!this.isOpen) return;
    if (status < 200) return this.hold();
    if (branch.state === "declined") {
      leg.hasDeclined = true;
      // It answered without waking: there is nothing to wait for any more (W-07).
      if (leg.wake !== null && leg.wake.isPending) this.wakes.end(leg.wake, "cancelled", "its user declined");
    } else if (isCurrent && isFlowFailure(branch)) this.asking.elsewhere(leg, branch);
    this.hold();
  }

  onIdle(): void {
    // Every device has decided and no wake is pending: the fork ends now, not at some later timer (W-07).
    this.judgeSilence();
  }

  onCancelled(reasonLines: string): void {
    this.ending.isCancelled = true;
    this.ending.isElsewhere = isAnsweredElsewhere(reasonLines);
    this.story.callerCancelled(this.ending);
  }

  /** `wake.ring_timeout`. */
  onDue(): void {
    this.judgeSilence();
    this.ending.isTimedOut = true;
    this.ending.reason = `nobody answered within ${seconds(this.owner.settings.ringTimeoutMs)}`;
    this.fork.close(0);
  }

  onCancelSent(branch: Branch): void {
    const leg = this.legs.find(branch.target.contactId);
    if (leg === undefined) return;
    const why = this.fork.state === "answered" ? "completed elsewhere" : this.ending.reason;
    this.story.cancelled(leg, why === "" ? undefined : why);
  }

  onEnded(status: number, answeredBy: Branch | null): void {
    this.owner.table.schedule.deadlines.cancel(this);
    this.story.end(status, answeredBy, this.legs, this.ending);
    this.afterEnd.run();
    this.snapshot();
    if (!this.afterEnd.isOwed) this.fork.letGo();
    this.owner.onCallEnded(this);
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
    this.fork.isHeld = this.asking.isBusy || this.legs.hasPendingWake;
  }

  /** W-20 */
  private noteNoPlace(device: string): void {
    this.owner.port.count("rejected_total", "devices_per_call_limit");
    this.story.note({ event: "skip", device, note: `device ${device} is not asked: ${MAX_DEVICES} are already` });
  }

  private get nowMs(): number {
    return this.owner.table.schedule.clock.nowMs;
  }
}
