/**
 * A request and its branches: the response context of RFC 3261 §16.7. Owns when a response goes to the caller and
 * which one. It knows no devices and no pushes: the silo, which keeps it open beyond its branches, sets `isHeld`.
 *
 *   open ─2xx→ answered                        open ─caller's CANCEL, 6xx, close()→ closing
 *   open ─all branches ended, not held→ ended  closing ─2xx→ answered   closing ─all ended or 100 ms→ ended
 */
import { addLength, type Edit } from "../sip/edit.ts";
import { forwardEdit } from "../sip/forward.ts";
import { REASON } from "../sip/header.ts";
import type { Message } from "../sip/message.ts";
import { reasonPhrase } from "../sip/reason.ts";
import { withoutTopVia } from "../sip/response.ts";
import { detached } from "../sip/scan.ts";
import { viaValue } from "../sip/via.ts";
import type { Due } from "../transaction/deadline.ts";
import { RELEASED, type ServerOwner, type ServerTransaction } from "../transaction/server.ts";
import type { Transactions } from "../transaction/table.ts";
import { bestOutcome, otherChallenges, type Outcome } from "./best.ts";
import { Branch, type BranchOwner, type Target } from "./branch.ts";
import { HangUps } from "./hang_up.ts";
import { loopSuffix } from "./loop.ts";
import { breadthOf, setBreadth } from "./max_breadth.ts";
import { recordRoutes } from "./record_route.ts";

export type ForkState = "open" | "closing" | "answered" | "ended";

/** How long a CANCEL or a 6xx waits for its branches to end before the final response goes (W-10). */
export const CLOSING_MS = 100;

const ELSEWHERE = 'Reason: SIP;cause=200;text="Call completed elsewhere"\r\n';

/** The owner of the fork, which follows it. */
export interface ForkOwner {
  /** A 1xx (100 included), first 2xx or final of a branch, after the fork dealt with it; `response` null: made here. */
  onBranchResponse(branch: Branch, status: number, response: Message | null): void;
  /** The last live branch ended and nothing holds the fork: add another, or let it end. */
  onIdle(): void;
  /** The caller sent CANCEL. `reasonLines`: its Reason header lines, which go along to every branch. */
  onCancelled(reasonLines: string): void;
  /** The final response went to the caller. */
  onEnded(status: number, answeredBy: Branch | null): void;
  /** A branch that was given up is told now: at once, or when it is first heard of. */
  onCancelSent?(branch: Branch): void;
}

/** Policies of a fork. */
export interface ForkOptions {
  /** A further 2xx is acknowledged and ended here instead of being relayed (W-12). */
  readonly isSingleAnswer: boolean;
  /** A 6xx of one branch cancels the others (RFC 3261 §16.7 step 5). */
  readonly endsOn6xx: boolean;
  /** 603 too ends the call where the user says so (W-14 `decline: all`); false: it is this device's alone. */
  readonly endsOn603: boolean;
  /** What the caller gets when the only final is our own 503: 480 if a phone was asked, 503 if the PBX was. */
  readonly unreachableStatus: 480 | 503;
}

export class Fork implements ServerOwner, BranchOwner, Due {
  dueMs = 0;
  heapSlot = -1;
  state: ForkState = "open";
  /** While true the fork stays open though all its branches have ended (W-06). */
  isHeld = false;
  readonly branches: Branch[] = [];
  /** What the caller gets when the only final is our own 408: 480 where the phones slept all the time (W-08). */
  silentStatus: 408 | 480 = 408;
  owner: ForkOwner | null = null;
  /** Phones that answered too late; null: none did. */
  hangUps: HangUps | null = null;
  /** Not to be asked for after {@link letGo}. */
  request: Message;
  /** What marks the request as ours in the Via of each of its branches; empty before the first. */
  private loopMark = "";
  /** The branch whose 2xx went to the caller first. */
  private winner: Branch | null = null;
  /** Its To tag where one answer is all there may be: behind one branch, too, several phones may answer. */
  private winnerTag = "";
  private closeStatus = 0;
  private closeReason = "";
  /** Reason lines the branches were cancelled with, for those that come too late (W-13). */
  endLines = "";
  /** Flow token of the calling side, and how many Route elements of the request are ours. */
  private callerToken = "";
  private routesToDrop = 0;
  private isRecordRouting = true;
  private readonly breadth: number;
  /** A re-INVITE: the call goes on with any outcome. */
  private readonly isInDialog: boolean;

  constructor(
    private readonly table: Transactions,
    readonly server: ServerTransaction,
    private readonly options: ForkOptions,
  ) {
    server.owner = this;
    this.request = server.request;
    this.breadth = breadthOf(this.request);
    this.isInDialog = this.request.to.tag !== "";
  }

  /** Set before the first branch. */
  prepare(callerToken: string, routesToDrop: number, isRecordRouting: boolean): this {
    this.callerToken = callerToken;
    this.routesToDrop = routesToDrop;
    this.isRecordRouting = isRecordRouting;
    return this;
  }

  get isOpen(): boolean {
    return this.state === "open";
  }

  /** Sends the request to one more target. The owner hears the outcome, also if it fails at once. */
  addBranch(target: Target, isLate: boolean): Branch {
    const branch = new Branch(this.table, this, this.branches.length + 1, target, isLate);
    // A device forks no further and gets a breadth of 1. The PBX gets all there is.
    const share = target.contactId === "" ? this.breadth : 1;
    const hasBreadth = this.breadth - this.breadthInUse() >= Math.max(1, share);
    this.branches.push(branch);
    if (!hasBreadth) {
      branch.refuse(440);
      return branch;
    }
    if (this.loopMark === "") this.loopMark = loopSuffix(this.request, this.callerToken !== "");
    const id = this.table.newBranch(this.loopMark);
    const edit = forwardEdit(this.request, {
      uri: target.uri,
      via: viaValue(target.flow, id),
      receivedVia: this.server.viaText,
      recordRoute: this.isRecordRouting ? this.recordRoutesTo(target) : [],
      routesToDrop: this.routesToDrop,
      route: target.route,
    });
    setBreadth(edit, this.request, share);
    if (target.flow.isReliable) addLength(edit, this.request);
    branch.send(edit.build(), this.request.method, id);
    return branch;
  }

  private recordRoutesTo({ uri, flow, token }: Target): string[] {
    const isSips = this.request.uri!.scheme === "sips";
    return recordRoutes(
      { flow: this.server.flow, token: this.callerToken, isSips },
      { flow, token, isSips: uri === null ? isSips : isSipsText(uri) },
    );
  }

  /**
   * A branch after the end, to be cancelled at once: none of its responses is passed on, and an answer is hung up (W-13).
   */
  addGhost(target: Target): Branch {
    const branch = this.addBranch(target, true);
    branch.isGhost = true;
    return branch;
  }

  /** No branch will be added any more: the request is let go before the transactions end. */
  letGo(): void {
    this.request = RELEASED;
  }

  private breadthInUse(): number {
    // Fewer branches than allowed: nothing to count.
    if (this.branches.length < this.breadth) return 0;
    let used = 0;
    for (const branch of this.branches) if (!branch.isEnded) used++;
    return used;
  }

  /** Ends a branch by order of the owner; the fork goes on without it. */
  dropBranch(branch: Branch, reasonLines = ""): void {
    branch.cancel(reasonLines);
    this.settle();
  }

  /** Ends the fork: branches are cancelled, the status goes to the caller; 0: the best response there is, else 480. */
  close(status: number, reason = "", reasonLines = ""): void {
    if (this.state !== "open") return;
    this.state = "closing";
    this.closeStatus = status;
    this.closeReason = reason;
    this.endLines = reasonLines;
    for (const branch of this.branches) branch.cancel(reasonLines);
    if (this.finishIfQuiet() || this.isOwedWord()) return;
    this.table.schedule.deadlines.set(this, this.table.schedule.clock.nowMs + CLOSING_MS);
  }

  /**
   * Waits for the phone's own answer to a cancelled re-INVITE, 64·T1 at most (§9.1). A phone may answer it while our CANCEL
   * is on its way: if its 200 came after a 487 of ours, the two sides would be in different sessions of one call.
   */
  private isOwedWord(): boolean {
    if (!this.isInDialog || !this.server.isInvite) return false;
    for (const branch of this.branches) if (!branch.isEnded && branch.isHeardOf) return true;
    return false;
  }

  /** The hold is gone, or branches were added and may all have failed: see whether that is the end. */
  settle(): void {
    if (this.state !== "open" || this.isHeld) return;
    for (const branch of this.branches) if (branch.isLive) return;
    this.owner?.onIdle();
    if (this.state !== "open" || this.isHeld) return;
    for (const branch of this.branches) if (branch.isLive) return;
    this.finish();
  }

  onCancel(cancel: Message): void {
    if (this.state !== "open") return;
    // The caller's Reason goes along to every branch (RFC 3326, W-11).
    let lines = "";
    for (const value of cancel.values(REASON)) lines += "Reason: " + value + "\r\n";
    this.owner?.onCancelled(lines);
    this.close(487, "", lines);
  }

  /** The best final so far goes now, without waiting for silent branches (W-17). */
  onLate(): void {
    this.close(0);
  }

  onBranchProvisional(branch: Branch, response: Message): void {
    // RFC 4320 §4.1: no 1xx but 100 to a non-INVITE.
    const isPassed = this.state === "open" && response.status > 100 && this.server.isInvite;
    if (isPassed) this.pass(response, withoutTopVia(response));
    this.owner?.onBranchResponse(branch, response.status, response);
  }

  onBranchAnswered(branch: Branch, response: Message, isFirst: boolean): void {
    const edit = withoutTopVia(response);
    if (edit === null) {
      // §16.7 step 3: it cannot reach the caller. Neither side may wait for the other.
      this.hangUp(branch, response);
      return isFirst ? branch.spoil() : undefined;
    }
    if (this.state === "open" || this.state === "closing") {
      this.state = "answered";
      this.endLines = ELSEWHERE;
      this.winner = branch;
      if (this.options.isSingleAnswer) this.winnerTag = detached(response.to.tag);
      this.table.schedule.deadlines.cancel(this);
      this.pass(response, edit);
      this.owner?.onBranchResponse(branch, response.status, response);
      for (const other of this.branches) if (other !== branch) other.cancel(ELSEWHERE);
      this.owner?.onEnded(response.status, branch);
      return;
    }
    // RFC 6026 §7.1 and §16.7: retransmissions, and the 2xx of another phone that answered in the same moment.
    const isWanted = !this.options.isSingleAnswer || (branch === this.winner && response.to.tag === this.winnerTag);
    if (this.server.state === "accepted" && !branch.isGhost && isWanted) this.pass(response, edit);
    else this.hangUp(branch, response);
    if (isFirst) this.owner?.onBranchResponse(branch, response.status, response);
  }

  onBranchEnded(branch: Branch, response: Message | null): void {
    this.owner?.onBranchResponse(branch, branch.status, response);
    if (this.state === "closing") this.finishIfQuiet();
    else if (this.state === "open") {
      if (branch.state !== "cancelled" && this.endsCall(branch.status)) this.close(branch.status);
      else this.settle();
    }
  }

  onBranchCancelSent(branch: Branch): void {
    this.owner?.onCancelSent?.(branch);
  }

  /** The closing grace is over. */
  onDue(): void {
    if (this.state === "closing") this.finish();
  }

  private endsCall(status: number): boolean {
    if (status === 603) return this.options.endsOn603;
    return status >= 600 && this.options.endsOn6xx;
  }

  private finishIfQuiet(): boolean {
    if (this.state === "ended") return true;
    for (const branch of this.branches) if (!branch.isEnded) return false;
    this.finish();
    return true;
  }

  private finish(): void {
    const isDecided = this.state === "closing" && this.closeStatus > 0 && this.closeStatus < 600;
    this.state = "ended";
    this.table.schedule.deadlines.cancel(this);
    if (isDecided) this.server.respond(this.closeStatus, this.closeReason);
    else this.sendBest();
    this.owner?.onEnded(this.server.status, null);
  }

  private sendBest(): void {
    const outcomes: Outcome[] = [];
    for (const branch of this.branches) {
      // RFC 4320 §4.2: a 408 to a non-INVITE is not passed on. It says no more than silence.
      if (branch.status === 408 && !this.server.isInvite) continue;
      if (branch.status >= 300 && branch.state !== "cancelled") {
        outcomes.push({ status: branch.status, response: branch.final });
      }
    }
    const best = bestOutcome(outcomes);
    if (best === null) return this.server.isInvite ? this.server.respond(480) : this.server.respond(504, "No answer");
    if (best.response === null) {
      return this.server.respond(this.localStatus(best.status));
    }
    const edit = withoutTopVia(best.response);
    if (edit === null) return this.server.respond(502, "Response without our caller's Via");
    const challenges = otherChallenges(best, outcomes);
    if (challenges !== "") edit.insert(best.response.bodyStart - 2, challenges);
    const status = callersStatus(best.status);
    if (status !== best.status) edit.replace(8, statusLineEnd(best.response), `${status} ${reasonPhrase(status)}`);
    if (this.server.flow.isReliable) addLength(edit, best.response);
    this.server.relay(status, edit.build());
  }

  private localStatus(status: number): number {
    if (status === 408) return this.silentStatus;
    if (status !== 503) return status;
    // 503 speaks of us (§21.5.4): for one phone's lost connection the PBX would leave us alone for a while.
    return this.branches.some(({ target }) => target.contactId !== "") ? 480 : this.options.unreachableStatus;
  }

  private pass(response: Message, edit: Edit | null): void {
    if (edit === null) return;
    if (this.server.flow.isReliable) addLength(edit, response);
    this.server.relay(response.status, edit.build());
  }

  /**
   * W-12: we acknowledge and end a 2xx that comes too late for the caller. A 2xx that began no call is only dropped (§16.7
   * step 5). One inside a call gets no BYE, which would take the phone out of a call that the other side is in.
   */
  private hangUp(branch: Branch, response: Message): void {
    if (!this.server.isInvite) return;
    this.hangUps ??= new HangUps(this.table);
    this.hangUps.end(branch, response, this.isInDialog);
  }
}

/** What speaks of one phone or of one way to it, not of us, is told in words that a caller understands. */
function callersStatus(status: number): number {
  if (status === 503) return 500; // §16.7 step 6
  return status === 430 ? 480 : status; // RFC 5626 §11.5: for us alone
}

function statusLineEnd(response: Message): number {
  return response.raw.indexOf("\r\n");
}

/** `sips:` in whatever case; the text is a SIP URI. */
function isSipsText(uri: string): boolean {
  return (uri.charCodeAt(3) | 0x20) === 0x73 && uri.charCodeAt(4) === 0x3a;
}
