/**
 * The devices of one call, the branch that each of them has at the fork, and the places that are left (W-20). Knows
 * neither why a device is asked nor how it is woken.
 */
import type { Dialogs } from "../proxy/dialog.ts";
import type { Fork } from "../proxy/fork.ts";
import type { Clock } from "../clock.ts";
import type { Flow } from "../sip/flow.ts";
import type { Contact } from "../usrloc/contact.ts";
import { DeviceLeg } from "./device_leg.ts";
import { MAX_DEVICES } from "./settings.ts";
import type { Story } from "./story.ts";

/** A contact, or an address that is none: its URI, without an instance. */
type LegKey = Pick<Contact, "id" | "instance">;

/** Devices and branches a call remembers, those that failed included. */
const MAX_LEGS = 8 * MAX_DEVICES;

export class Legs {
  /** Few, so that a list is searched as fast as a Map, which weighs five times as much for the 32 s after the end of a call. */
  private readonly legs: DeviceLeg[] = [];
  /** By the ids of further contacts that lead to the same device. */
  private byOtherFlow: Map<string, DeviceLeg> | null = null;

  constructor(
    private readonly fork: Fork,
    private readonly dialogs: Dialogs,
    private readonly story: Story,
    /** User part of the AoR: devices are called `alice/1`, `alice/2` in the order they come. */
    private readonly user: string,
    private readonly clock: Clock,
  ) {}

  /** Each device once: by the id of the contact it was first asked by, or by the URI of a branch added by hand. */
  get all(): readonly DeviceLeg[] {
    return this.legs;
  }

  /** True while a device is being woken. */
  get hasPendingWake(): boolean {
    for (const leg of this.legs) if (leg.wake !== null && leg.wake.isPending) return true;
    return false;
  }

  /** @param id of any of the device's contacts that was asked, or the URI of a branch added by hand */
  find(id: string): DeviceLeg | undefined {
    for (const leg of this.legs) if (leg.id === id) return leg;
    return this.byOtherFlow?.get(id);
  }

  /** The leg of the device that this contact leads to, over whichever of its flows it was asked. */
  of({ id, instance }: LegKey): DeviceLeg | undefined {
    const known = this.find(id);
    if (known !== undefined || instance === "") return known;
    for (const leg of this.legs) {
      if (leg.instance !== instance) continue;
      (this.byOtherFlow ??= new Map()).set(id, leg);
      return leg;
    }
    return undefined;
  }

  /** The leg of a device, made on first use. */
  ensure(contact: LegKey): DeviceLeg {
    const known = this.of(contact);
    if (known !== undefined) return known;
    const leg = new DeviceLeg(contact.id, contact.instance, `${this.user}/${this.legs.length + 1}`);
    this.legs.push(leg);
    this.story.addDevice(leg.party);
    return leg;
  }

  /** W-20: a device that is rung or woken takes a place, and has it; one that failed or declined does not. */
  hasPlaceFor(contact: LegKey): boolean {
    if (this.of(contact)?.isInvolved) return true;
    if (this.legs.length >= MAX_LEGS || this.fork.branches.length >= MAX_LEGS) return false;
    let taken = 0;
    for (const leg of this.legs) if (leg.isInvolved) taken++;
    return taken < MAX_DEVICES;
  }

  /** Sends the INVITE to a device over one of its flows. It may have failed when this returns. */
  invite(leg: DeviceLeg, contact: Contact, flow: Flow, isLate: boolean, note?: string): void {
    // Over the flow of its REGISTER it surely gets it; over one from before it has to be heard of first.
    if (isLate) leg.hasTakenPart = true;
    leg.invitedAtMs = this.clock.nowMs;
    this.story.branch(leg, isLate ? "INVITE (late)" : "INVITE", note);
    const branch = this.fork.addBranch(this.dialogs.targetOf(contact, flow, this.story.record.callId), isLate);
    // If it failed at once, the device may have a newer one already, over another flow.
    if (leg.branch === null || branch.number > leg.branch.number) leg.branch = branch;
  }

  /** Reason lines of the CANCEL that ended the call; empty: none. */
  get endLines(): string {
    return this.fork.endLines;
  }

  /** After the end (W-13): INVITE and CANCEL, so that its app can close the call it had to show. */
  inviteAndCancel(leg: DeviceLeg, contact: Contact, flow: Flow): void {
    leg.hasTakenPart = true;
    this.story.branch(leg, "INVITE (late)", "to hear that it is over");
    leg.branch = this.fork.addGhost(this.dialogs.targetOf(contact, flow, this.story.record.callId));
    leg.branch.cancel(this.fork.endLines);
  }
}
