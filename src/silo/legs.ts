/**
 * The devices of one call, the branch that each of them has at the fork, and the places that are left (W-20). Knows
 * neither why a device is asked nor how it is woken.
 */
import type { Fork } from "../proxy/fork.ts";
import type { Router } from "../proxy/router.ts";
import type { Flow } from "../sip/flow.ts";
import type { Contact } from "../usrloc/model.ts";
import { DeviceLeg } from "./device_leg.ts";
import { MAX_DEVICES } from "./settings.ts";
import type { Story } from "./story.ts";

/** Devices and branches a call remembers, those that failed included. */
const MAX_LEGS = 8 * MAX_DEVICES;

export class Legs {
  private readonly byId = new Map<string, DeviceLeg>();

  constructor(
    private readonly fork: Fork,
    private readonly router: Router,
    private readonly story: Story,
    /** User part of the AoR: devices are called `alice/1`, `alice/2` in the order they come. */
    private readonly user: string,
  ) {}

  /** By contact id, or by the URI of a branch added by hand. */
  get all(): ReadonlyMap<string, DeviceLeg> {
    return this.byId;
  }

  /** True while a device is being woken. */
  get hasPendingWake(): boolean {
    for (const leg of this.byId.values()) if (leg.wake !== null && leg.wake.isPending) return true;
    return false;
  }

  find(id: string): DeviceLeg | undefined {
    return this.byId.get(id);
  }

  /** The leg of a device, made on first use. */
  ensure(id: string): DeviceLeg {
    let leg = this.byId.get(id);
    if (leg === undefined) {
      leg = new DeviceLeg(id, `${this.user}/${this.byId.size + 1}`);
      this.byId.set(id, leg);
      this.story.addDevice(leg.party);
    }
    return leg;
  }

  /** W-20: a device that is rung or woken takes a place, and has it; one that failed or declined does not. */
  hasPlaceFor(id: string): boolean {
    if (this.byId.get(id)?.isInvolved) return true;
    if (this.byId.size >= MAX_LEGS || this.fork.branches.length >= MAX_LEGS) return false;
    let taken = 0;
    for (const leg of this.byId.values()) if (leg.isInvolved) taken++;
    return taken < MAX_DEVICES;
  }

  /** Sends the INVITE to a device over one of its flows. It may have failed when this returns. */
  invite(leg: DeviceLeg, contact: Contact, flow: Flow, isLate: boolean, note?: string): void {
    // Over the flow of its REGISTER it surely gets it; over one from before it has to be heard of first.
    if (isLate) leg.hasTakenPart = true;
    this.story.branch(leg, isLate ? "INVITE (late)" : "INVITE", note);
    leg.branch = this.fork.addBranch(this.router.targetOf(contact, flow, this.story.record.callId), isLate);
  }

  /** After the end (W-13): INVITE and CANCEL, so that its app can close the call it had to show. */
  inviteAndCancel(leg: DeviceLeg, contact: Contact, flow: Flow): void {
    leg.hasTakenPart = true;
    leg.branch = this.fork.addGhost(this.router.targetOf(contact, flow, this.story.record.callId));
    leg.branch.cancel(this.fork.endLines);
    this.story.branch(leg, "INVITE, CANCEL", "woke after the end");
  }
}
