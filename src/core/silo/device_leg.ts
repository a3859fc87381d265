/**
 * One device in one call: its branch, its wake, and whether it may be asked (again). A phone with several flows (RFC
 * 5626) is one device, asked over one of them at a time.
 */
import type { Branch } from "../proxy/branch.ts";
import { isFlowFailure } from "../proxy/device_flows.ts";
import type { Contact } from "../usrloc/contact.ts";
import type { Wake } from "./wake.ts";

export class DeviceLeg {
  /** The newest branch; earlier ones failed or were replaced. */
  branch: Branch | null = null;
  wake: Wake | null = null;
  /** Its user said no: not asked again (W-05). */
  hasDeclined = false;
  /** It answered something, or got the INVITE right after its REGISTER: a delayed one would be a second ring (W-13). */
  hasTakenPart = false;
  /** To tag of its 2xx, by which what is said in its dialog is known; empty before. */
  dialogTag = "";
  /** When the newest branch was added, ms since the epoch. */
  invitedAtMs = 0;

  constructor(
    /** Id of the contact it was first asked by, or the URI of a branch added by hand. */
    readonly id: string,
    /** Its contacts have this instance; empty: there is only one. */
    readonly instance: string,
    /** Column of the ladder: `alice/2`. */
    readonly party: string,
  ) {}

  /** True while the device rings or is being woken. */
  get isInvolved(): boolean {
    return (this.branch !== null && this.branch.isLive) || (this.wake !== null && this.wake.isPending);
  }

  /** True if it was pushed and never heard of. */
  get hasSleptOn(): boolean {
    return !this.hasTakenPart && this.wake !== null && this.wake.wasSent;
  }

  /**
   * What a REGISTER of this device over `contact.flow` means for the call (W-05).
   * `add`: it gets a branch. `replace`: its branch is on another flow and has not rung. `none`: why not, in words.
   * @param isSilent the phone should have been heard of over the flow of its branch by now
   */
  onRegistered(contact: Contact, isSilent: boolean): { action: "add" | "replace" } | { action: "none"; why: string } {
    const branch = this.branch;
    if (this.hasDeclined) return { action: "none", why: "declined before" };
    if (branch === null) return { action: "add" };
    const isOtherFlow = branch.target.contactId !== contact.id;
    switch (branch.state) {
      case "trying":
        if (branch.target.flow === contact.flow) return { action: "none", why: "has the INVITE" };
        // each of its flows is registered by itself, and this one says nothing against the other.
        return isOtherFlow && branch.target.flow.state !== "closed" && !isSilent
          ? { action: "none", why: "has the INVITE over another flow" }
          : { action: "replace" };
      case "ringing":
        return { action: "none", why: "rings already" };
      case "answered":
        return { action: "none", why: "answered" };
      case "failed":
        // What we made up (408, 503) was about the flow, not about the phone. What came over another flow may have
        // been somebody else's word: a stranger behind the NAT says 404 at the port our phone had yesterday.
        return isFlowFailure(branch) || (branch.target.flow !== contact.flow && !isOtherFlow)
          ? { action: "add" }
          : { action: "none", why: `answered ${branch.status}` };
      case "declined":
        return { action: "none", why: "declined before" };
      case "cancelled":
        return { action: "none", why: "removed from the call" };
    }
  }
}
