/**
 * The requests inside a dialog that wait for their phone: one that never left, as there is no connection, and one that
 * left and is not answered. Owns the moves of each. `dialog_wake.ts` owns deadlines and pushes.
 */
import type { Message } from "../sip/message.ts";
import type { Due } from "../transaction/deadline.ts";
import type { ServerOwner, ServerTransaction } from "../transaction/server.ts";
import type { Branch, Target } from "./branch.ts";
import type { Fork, ForkOwner } from "./fork.ts";

/** Hears what happens to a waiting request. */
export interface WaitingOwner {
  onDue(waiting: WaitingRequest): void;
  /** The wait is over: it was answered, or its sender gave it up. */
  onOver(waiting: WaitingRequest): void;
  /** Its phone said something, which is more than an answer to this one. */
  onHeard(waiting: UnansweredRequest): void;
  /** Its connection failed: no answer will come over it. */
  onUnreachable(waiting: UnansweredRequest): void;
}

export type WaitingRequest = HeldRequest | UnansweredRequest;

/** One that never left. */
export class HeldRequest implements Due, ServerOwner {
  dueMs = 0;
  heapSlot = -1;

  constructor(
    private readonly owner: WaitingOwner,
    readonly deviceId: string,
    private readonly transaction: ServerTransaction,
    private readonly goOn: () => void,
  ) {
    transaction.owner = this;
  }

  get request(): Message {
    return this.transaction.request;
  }

  /** The device is back. */
  resume(): void {
    this.transaction.owner = null;
    this.goOn();
  }

  /** Its time is over. */
  end(status: number, reason: string): void {
    const { transaction } = this;
    transaction.owner = null;
    transaction.respond(status, reason, status === 480 ? retryLines(transaction.request) : "");
  }

  /** The device cannot be woken. */
  giveUp(reason: string): void {
    this.end(480, reason);
  }

  onDue(): void {
    this.owner.onDue(this);
  }

  onCancel(): void {
    this.owner.onOver(this);
    this.end(487, "");
  }
}

/** A phone that changes its connection this often while one BYE is under way gets it no more. */
const MAX_FLOWS = 8;

/** One that left over a flow that may lead nowhere. Any response of its phone ends the wait. */
export class UnansweredRequest implements Due, ForkOwner {
  dueMs = 0;
  heapSlot = -1;
  /** True once it waits for the phone to come back; before that, an answer may come any moment. */
  isWaiting = false;

  constructor(
    private readonly owner: WaitingOwner,
    readonly deviceId: string,
    private readonly fork: Fork,
    /** Where it would go now; null: nowhere. */
    private readonly retarget: () => Target | null,
  ) {
    fork.owner = this;
  }

  get request(): Message {
    return this.fork.request;
  }

  /** Keeps the fork open though its branch may fail. */
  hold(): void {
    this.isWaiting = true;
    this.fork.isHeld = true;
  }

  /**
   * The device is back: over the same flow the request is repeated, over another one it goes anew.
   * @param isLast it is watched no longer
   */
  resume(isLast: boolean): void {
    const { fork } = this;
    if (isLast) fork.owner = null;
    this.isWaiting = false;
    const old = fork.branches.at(-1)!;
    const target = this.retarget();
    if (target !== null && target.flow === old.target.flow && old.isLive) old.nudge();
    else if (target !== null) {
      fork.isHeld = true;
      fork.addBranch(target, false);
      old.cancel("");
    }
    fork.isHeld = false;
    fork.settle();
  }

  /** Its time is over. */
  end(status: number, reason: string): void {
    this.fork.owner = null;
    this.fork.close(status, reason);
  }

  /** The device cannot be woken; if its flow is open, a slow answer may still come over it. */
  giveUp(reason: string): void {
    this.fork.owner = null;
    this.fork.isHeld = false;
    if (!this.fork.branches.some((branch) => branch.isLive)) this.fork.close(480, reason);
  }

  onDue(): void {
    this.owner.onDue(this);
  }

  /** True if it went over so many flows that one more is the last. */
  get hasGoneFar(): boolean {
    return this.fork.branches.length >= MAX_FLOWS - 1;
  }

  onBranchResponse(branch: Branch, status: number, response: Message | null): void {
    if (response !== null) {
      this.owner.onHeard(this);
      this.release();
    } else if (status !== 0 && !this.isWaiting && branch === this.fork.branches.at(-1)) this.owner.onUnreachable(this);
  }

  onIdle(): void {}

  onCancelled(): void {
    this.release();
  }

  onEnded(): void {
    this.release();
  }

  private release(): void {
    this.fork.owner = null;
    this.fork.isHeld = false;
    this.owner.onOver(this);
  }
}

/** How long a notifier is to wait for a phone that sleeps, seconds. */
const NOTIFY_RETRY_S = 60;

/**
 * Header lines of a 480 in a dialog. RFC 6665 §4.2.2: without Retry-After a notifier takes the subscription for over, and
 * the phone would have to subscribe anew when it wakes.
 */
export function retryLines(request: Message): string {
  return request.method === "NOTIFY" ? `Retry-After: ${NOTIFY_RETRY_S}\r\n` : "";
}
