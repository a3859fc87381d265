/**
 * One device in one call: its branch, its wake, and whether it may be asked (again). A phone with several flows (RFC 5626)
 * is one device, asked over one of them at a time. Knows the states of a wake; `waking.ts` moves it through them:
 *
 *   hedged ─hedge time, branch failed→ waiting        hedged ─1xx, end of call→ (gone)
 *   waiting ─REGISTER→ registered   ─dead, refused→ refused   ─window→ expired   ─end of call→ cancelled
 *   expired ─REGISTER, while the call goes on→ registered
 *   registered ─its connection failed, within the window→ waiting
 */
import type { Branch } from "../proxy/branch.ts";
import { hasPushToken, isFlowFailure } from "../proxy/device_flows.ts";
import type { Fork } from "../proxy/fork.ts";
import type { Flow } from "../sip/flow.ts";
import { parseUri } from "../sip/uri.ts";
import type { Due } from "../transaction/deadline.ts";
import type { Contact } from "../usrloc/contact.ts";
import type { WakeState } from "./record.ts";
import type { CallHome } from "./settings.ts";
import type { Story } from "./story.ts";

/** The call, as its devices see it. */
export interface CallOfLeg {
  readonly home: CallHome;
  readonly fork: Fork;
  readonly story: Story;
  /** A push has left: the call is held from now on. */
  onPushed(wake: Wake): void;
  /** The time of a hedge, or the window of a wake, is over. */
  onWakeDue(leg: Leg, wake: Wake): void;
  /** A wake has ended: the call ends too, if nothing else is waited for. */
  settle(): void;
}

/** One attempt to wake one device. */
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
  /** True once the service did not take the push: the device hears nothing of it. */
  isTurnedAway = false;
  /** P-07: its own push was not allowed; the device is being woken for another call. */
  isShared = false;
  /** Another call waits for what this push does: it is not taken back. */
  hasSharers = false;
  /** True once its device is not to be waited for any more: its contact was taken out. */
  isCalledOff = false;
  /** True if its device came, or spoke over the connection it had. */
  hasWoken = false;

  /** @param uuid of the push; the service's answer names it */
  constructor(private readonly leg: Leg, readonly uuid: string) {}

  /** True while it holds the call open. */
  get isPending(): boolean {
    return this.state === "waiting";
  }

  /** True if a push left for it. */
  get wasSent(): boolean {
    return this.state !== "hedged";
  }

  onDue(): void {
    this.leg.call.onWakeDue(this.leg, this);
  }
}

export class Leg {
  /** The newest branch; earlier ones failed or were replaced. */
  branch: Branch | null = null;
  wake: Wake | null = null;
  /** Its user said no: not asked again (W-05). */
  hasDeclined = false;
  /** It answered something, or got the INVITE right after its REGISTER: an INVITE after the end would ring it a second time (W-13). */
  hasTakenPart = false;
  /** To tag of its 2xx, by which requests of its dialog are known; empty before. */
  dialogTag = "";
  /** The ACK of its 2xx has passed. */
  isAcknowledged = false;
  /** When the newest branch was added, ms since the epoch. */
  invitedAtMs = 0;

  constructor(
    readonly call: CallOfLeg,
    /** Id of the contact it was first asked by, or the URI of a branch added by hand. */
    readonly id: string,
    /** Its contacts have this instance; empty: there is only one. */
    readonly instance: string,
    /** Column of the ladder: `alice/2`. */
    readonly party: string,
  ) {}

  /** True while the device rings or is being woken. */
  get isInvolved(): boolean {
    return (this.branch !== null && this.branch.isLive) || this.isBeingWoken;
  }

  /** True while a wake of it holds the call open. */
  get isBeingWoken(): boolean {
    return this.wake !== null && this.wake.isPending;
  }

  /** True if it has a branch that is live or was answered. */
  get isServed(): boolean {
    return this.branch !== null && (this.branch.isLive || this.branch.state === "answered");
  }

  /** True if it was pushed and never heard of. */
  get hasSleptOn(): boolean {
    return !this.hasTakenPart && this.wake !== null && this.wake.wasSent;
  }

  /**
   * What a REGISTER of this device over `contact.flow` means for the call (W-05).
   * `add`: it gets a branch. `replace`: its branch is on another flow and has not rung, or is for the phone it was before
   * it started anew. `none`: why not, in words.
   * @param isSilent the phone should have been heard of over the flow of its branch by now
   */
  onRegistered(contact: Contact, isSilent: boolean): { action: "add" | "replace" } | { action: "none"; why: string } {
    const branch = this.branch;
    if (this.hasDeclined) return { action: "none", why: "declined before" };
    if (branch === null) return { action: "add" };
    const { target } = branch;
    const isOtherFlow = target.contactId !== contact.id;
    const change = isOtherFlow ? "none" : changeOf(target.uri, contact);
    // Behind an edge proxy the flow is the proxy's, and the Contact's address is the phone's.
    const isSameWay = target.flow === contact.flow && (change === "none" || contact.path === "");
    switch (branch.state) {
      case "trying":
        if (change === "user") return { action: "replace" };
        if (isSameWay) return { action: "none", why: "has the INVITE" };
        // each of its flows is registered by itself, and this one says nothing against the other.
        return isOtherFlow && target.flow.state !== "closed" && !isSilent
          ? { action: "none", why: "has the INVITE over another flow" }
          : { action: "replace" };
      case "ringing":
        return change === "user" ? { action: "replace" } : { action: "none", why: "rings already" };
      case "answered":
        return { action: "none", why: "answered" };
      case "failed":
        // What we made up (408, 503) was about the flow, not about the phone. What came over another flow may have
        // been a stranger's word: behind the NAT, yesterday's port of our phone answers 404.
        return isFlowFailure(branch) || change === "user" || (!isSameWay && !isOtherFlow)
          ? { action: "add" }
          : { action: "none", why: `answered ${branch.status}` };
      case "declined":
        return { action: "none", why: "declined before" };
      case "cancelled":
        return { action: "none", why: "removed from the call" };
    }
  }

  /** Sends the INVITE to it over one of its flows. The branch may have failed when this returns. */
  invite(contact: Contact, flow: Flow, isLate: boolean, note?: string): void {
    const { fork, home, story } = this.call;
    // Over the flow of its REGISTER it surely gets it; over one from before it has to be heard of first.
    if (isLate) this.hasTakenPart = true;
    this.invitedAtMs = home.table.schedule.clock.nowMs;
    story.branch(this, isLate ? "INVITE (late)" : "INVITE", note);
    const branch = fork.addBranch(home.dialogs.targetOf(contact, flow, story.record.callId), isLate);
    // If it failed at once, the device may have a newer one already, over another flow.
    if (this.branch === null || branch.number > this.branch.number) this.branch = branch;
  }

  /** What the device is pushed by: the contact it was asked by first, or another that leads to the same phone. */
  get pushContact(): Contact | undefined {
    const { home, story } = this.call;
    const first = home.usrloc.contact(this.id);
    if (this.instance === "" || (first !== undefined && hasPushToken(first))) return first;
    const contacts = home.usrloc.find(story.record.aor)?.contacts;
    return contacts?.find((other) => other.instance === this.instance && hasPushToken(other)) ?? first;
  }
}

/**
 * What is new in the Contact since its branch was sent. `user`: it is a phone that started anew (baresip makes itself a
 * new user part each time), and knows nothing of what was sent to the old one. `address`: the same phone may have learned
 * how it looks from outside.
 */
function changeOf(sentUri: string | null, contact: Contact): "none" | "user" | "address" {
  if (sentUri === null || sentUri === contact.requestUri) return "none";
  const [old, now] = [parseUri(sentUri), parseUri(contact.uri)];
  if (old === null || now === null) return "none";
  if (old.user !== now.user) return "user";
  return old.host === now.host && old.port === now.port ? "none" : "address";
}
