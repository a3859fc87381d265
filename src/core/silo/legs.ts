/**
 * The devices of one call, and the places that are left for more (W-20). Why a device is asked, and how it is woken, is not
 * known here.
 */
import type { Contact } from "../usrloc/contact.ts";
import { type CallOfLeg, Leg } from "./leg.ts";
import { MAX_DEVICES } from "./settings.ts";

/** A contact, or an address that is none: its URI, without an instance. */
type LegKey = Pick<Contact, "id" | "instance">;

/** Devices and branches a call remembers, those that failed included. */
const MAX_LEGS = 8 * MAX_DEVICES;

export class Legs {
  /** Few, so that a list is searched as fast as a Map, which weighs five times as much for the 32 s after the end of a call. */
  private readonly legs: Leg[] = [];
  /** By the ids of further contacts that lead to the same device. */
  private byOtherFlow: Map<string, Leg> | null = null;

  constructor(
    private readonly call: CallOfLeg,
    /** User part of the AoR: devices are called `alice/1`, `alice/2` in the order they come. */
    private readonly user: string,
  ) {}

  /** Each device once: by the id of the contact it was first asked by, or by the URI of a branch added by hand. */
  get all(): readonly Leg[] {
    return this.legs;
  }

  /** True while a device is being woken. */
  get hasPendingWake(): boolean {
    for (const leg of this.legs) if (leg.isBeingWoken) return true;
    return false;
  }

  /** @param id of any of the device's contacts that was asked, or the URI of a branch added by hand */
  find(id: string): Leg | undefined {
    for (const leg of this.legs) if (leg.id === id) return leg;
    return this.byOtherFlow?.get(id);
  }

  /** The leg of the device that this contact leads to, over whichever of its flows it was asked. */
  of({ id, instance }: LegKey): Leg | undefined {
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
  ensure(contact: LegKey): Leg {
    const known = this.of(contact);
    if (known !== undefined) return known;
    const leg = new Leg(this.call, contact.id, contact.instance, `${this.user}/${this.legs.length + 1}`);
    this.legs.push(leg);
    this.call.story.addDevice(leg.party);
    return leg;
  }

  /** W-20: a device that is rung or woken takes a place, and has it; one that failed or declined does not. */
  hasPlaceFor(contact: LegKey): boolean {
    if (this.of(contact)?.isInvolved) return true;
    if (this.legs.length >= MAX_LEGS || this.call.fork.branches.length >= MAX_LEGS) return false;
    let taken = 0;
    for (const leg of this.legs) if (leg.isInvolved) taken++;
    return taken < MAX_DEVICES;
  }
}
