/** One device in one call: its branch, its wake, and whether it may be asked (again). */
import type { Branch } from "../proxy/branch.ts";
import type { Contact } from "../usrloc/model.ts";
import type { Wake } from "./wake.ts";

export class DeviceLeg {
  /** The newest branch; earlier ones failed or were replaced. */
  branch: Branch | null = null;
  wake: Wake | null = null;
  /** Its user said no: not asked again (W-05). */
  hasDeclined = false;
  /** It answered something, or got the INVITE right after its REGISTER: a delayed one would be a second ring (W-13). */
  hasTakenPart = false;

  constructor(
    /** Contact id, or the URI of a branch added by hand. */
    readonly id: string,
    /** Column of the ladder: `alice/2`. */
    readonly party: string,
  ) {}

  /** True while the device rings or is being woken. */
  get isInvolved(): boolean {
    return (this.branch !== null && this.branch.isLive) || (this.wake !== null && this.wake.isPending);
  }

  /**
   * What a REGISTER of this device over `contact.flow` means for the call (W-05).
   * `add`: it gets a branch. `replace`: its branch is on another flow and has not rung. `none`: why not, in words.
   */
  onRegistered(contact: Contact): { action: "add" | "replace" } | { action: "none"; why: string } {
    const branch = this.branch;
    if (this.hasDeclined) return { action: "none", why: "declined before" };
    if (branch === null) return { action: "add" };
    switch (branch.state) {
      case "trying":
        return branch.target.flow === contact.flow ? { action: "none", why: "has the INVITE" } : { action: "replace" };
      case "ringing":
        return { action: "none", why: "rings already" };
      case "answered":
        return { action: "none", why: "answered" };
      case "failed":
        // What we made up (408, 503) was about the flow, not about the phone. What came over another flow may have
        // been somebody else's word: a stranger behind the NAT says 404 at the port our phone had yesterday.
        return branch.isLocal || branch.target.flow !== contact.flow
          ? { action: "add" }
          : { action: "none", why: `answered ${branch.status}` };
      case "declined":
        return { action: "none", why: "declined before" };
      case "cancelled":
        return { action: "none", why: "removed from the call" };
    }
  }
}
