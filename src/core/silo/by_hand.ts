/** Branches that people add and take out through the control port (W-18). Decides nothing by itself. */
import type { Fork } from "../proxy/fork.ts";
import type { Flow } from "../sip/flow.ts";
import type { Contact } from "../usrloc/contact.ts";
import type { DeviceLeg } from "./device_leg.ts";
import type { Legs } from "./legs.ts";
import { isVoipToken } from "./push_token.ts";
import type { Story } from "./story.ts";
import type { HeldCall, Wakes } from "./wakes.ts";

const BY_HAND = "added by hand";

export class ByHand {
  constructor(
    private readonly fork: Fork,
    private readonly legs: Legs,
    private readonly wakes: Wakes,
    private readonly story: Story,
    private readonly call: HeldCall,
  ) {}

  /**
   * One more branch, over the device's flow.
   * @returns false if the call is ending or full, or the device has no connection, has a live branch, or declined
   */
  appendDevice(contact: Contact): boolean {
    if (!this.fork.isOpen || contact.flow === null || contact.flow.state === "closed") return false;
    if (!this.legs.hasPlaceFor(contact)) return false;
    const leg = this.legs.ensure(contact);
    if (isServed(leg) || leg.hasDeclined) return false;
    if (leg.wake !== null && leg.wake.isPending) this.wakes.end(leg.wake, "cancelled", "branch added by hand");
    this.legs.invite(leg, contact, contact.flow, true, BY_HAND);
    this.call.settle();
    return true;
  }

  /**
   * A branch to an address that is no registered device. `token` routes the dialog back to it.
   * @returns false if the call is ending, full, or has a live branch to that address
   */
  appendAddress(uri: string, flow: Flow, token: string): boolean {
    const address = { id: uri, instance: "" };
    if (!this.fork.isOpen || !this.legs.hasPlaceFor(address)) return false;
    const leg = this.legs.ensure(address);
    if (isServed(leg)) return false;
    leg.hasTakenPart = true;
    this.story.branch(leg, "INVITE (late)", `${BY_HAND}: ${uri}`);
    leg.branch = this.fork.addBranch({ uri, flow, route: "", token, contactId: uri }, true);
    this.call.settle();
    return true;
  }

  /**
   * Takes a branch out, by its number from 1, and with it its device, which is not woken for this call any more.
   * @returns false if there is no such live branch
   */
  removeBranch(number: number): boolean {
    const branch = this.fork.branches[number - 1];
    if (branch === undefined || !branch.isLive) return false;
    const leg = this.legs.find(branch.target.contactId);
    this.story.note({ event: "cancel", device: leg?.id, note: `${leg?.party ?? "its branch"} removed by hand` });
    if (leg !== undefined && leg.branch === branch) this.wakeNoMore(leg);
    this.fork.dropBranch(branch);
    this.call.settle();
    return true;
  }

  private wakeNoMore(leg: DeviceLeg): void {
    this.wakes.dropHedge(leg);
    const { wake } = leg;
    if (wake === null || !wake.isPending) return;
    this.wakes.end(wake, "cancelled", "removed by hand");
    const push = this.wakes.contactOf(leg)?.push ?? null;
    if (leg.hasTakenPart || wake.isShared || push === null || isVoipToken(push)) return;
    this.wakes.pushCancel(leg, this.wakes.contactOf(leg)!, "timeout");
  }
}

function isServed({ branch }: DeviceLeg): boolean {
  return branch !== null && (branch.isLive || branch.state === "answered");
}
