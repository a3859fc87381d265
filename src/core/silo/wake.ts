/**
 * One attempt to wake one device for one call.
 *
 *   hedged ─hedge time, branch failed→ waiting        hedged ─1xx, end of call→ (gone)
 *   waiting ─REGISTER→ registered   ─dead, refused→ refused   ─window→ expired   ─end of call→ cancelled
 *   expired ─REGISTER, while the call goes on→ registered
 *   registered ─its connection failed, within the window→ waiting
 */
import type { Due } from "../transaction/deadline.ts";
import type { WakeState } from "./record.ts";

/** The call, as its wakes see it. */
export interface WakeOwner {
  onHedgeDue(wake: Wake): void;
  onWindowOver(wake: Wake): void;
}

export class Wake implements Due {
  dueMs = 0;
  heapSlot = -1;
  state: "hedged" | WakeState = "hedged";
  sentAtMs = 0;
  pushMs: number | null = null;
  wakeMs: number | null = null;
  reason = "";
  /** True once the service accepted the push: the device may light up at any time. */
  isAccepted = false;
  /** True once the service did not take the push: nobody hears of it. */
  isTurnedAway = false;
  /** P-07: its own push was not allowed; the device is being woken for another call. */
  isShared = false;
  /** Another call waits for what this push does: it is not taken back. */
  hasSharers = false;

  constructor(
    private readonly owner: WakeOwner,
    /** Of the push; the verdict names it. */
    readonly uuid: string,
    readonly contactId: string,
  ) {}

  /** True while it holds the call open. */
  get isPending(): boolean {
    return this.state === "waiting";
  }

  /** True if its device came, or spoke over the connection it had. */
  hasWoken = false;

  /** True if a push left for it. */
  get wasSent(): boolean {
    return this.state !== "hedged";
  }

  /** True if its push may yet bring a device that last registered at `registeredAtMs`. */
  isUnderWay(registeredAtMs: number, windowMs: number, nowMs: number): boolean {
    const isPushed = this.isAccepted || (this.isPending && this.pushMs === null);
    return isPushed && registeredAtMs < this.sentAtMs && nowMs < this.sentAtMs + windowMs;
  }

  onDue(): void {
    if (this.state === "hedged") this.owner.onHedgeDue(this);
    else if (this.state === "waiting") this.owner.onWindowOver(this);
  }
}
