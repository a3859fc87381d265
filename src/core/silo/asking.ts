/**
 * How one call asks its devices: at the start, over another flow when one fails, and as a late branch when they register
 * (W-02, W-04, W-05, R-15). Knows nothing of how the call ends.
 */
import type { Branch } from "../proxy/branch.ts";
import { hasPushToken, nextFlow } from "../proxy/device_flows.ts";
import type { Fork } from "../proxy/fork.ts";
import type { Flow } from "../sip/flow.ts";
import { T1_MS } from "../transaction/timers.ts";
import type { Contact } from "../usrloc/contact.ts";
import type { CallHome } from "./call_home.ts";
import type { DeviceLeg } from "./device_leg.ts";
import type { Legs } from "./legs.ts";
import type { Story } from "./story.ts";
import type { Wakes } from "./wakes.ts";
import { whyNotAsked, whyWoken, whyWokenAfter } from "./words.ts";

export class Asking {
  /** While devices are being asked no failure of one of them may end the call. */
  isBusy = false;

  constructor(
    private readonly home: CallHome,
    private readonly fork: Fork,
    private readonly legs: Legs,
    private readonly wakes: Wakes,
    private readonly story: Story,
    private readonly aorKey: string,
    /** The PBX calls one contact: nobody else joins, not even another flow of its phone (W-21). */
    private readonly isAlone: boolean,
  ) {}

  /** The start of the call for one device, or its next flow: INVITE, push, or both (W-02). */
  ask(contact: Contact): void {
    const leg = this.legs.ensure(contact);
    const reach = this.home.reach(contact);
    if (reach !== "lost") this.legs.invite(leg, contact, contact.flow!, false);
    const pushed = this.pushedBy(leg, contact);
    if (!hasPushToken(pushed)) {
      if (reach === "lost") this.story.note({ event: "skip", device: leg.id, note: whyNotAsked(leg.party, pushed) });
      return;
    }
    if (reach !== "live") this.wakes.start(leg, pushed, whyWoken(contact, reach, this.nowMs));
    else if (pushed.kind === "mobile" && leg.wake === null) this.wakes.hedge(leg, pushed);
  }

  /** The flow was dead: the device is asked over its next one; without another, it is woken now. */
  elsewhere(leg: DeviceLeg, failed: Branch): void {
    const { usrloc } = this.home;
    const others = leg.instance === "" ? undefined : usrloc.find(this.aorKey)?.contacts;
    // The contact it was asked by may have been removed meanwhile; the phone may have another.
    const contact = usrloc.contact(failed.target.contactId) ?? usrloc.contact(leg.id) ??
      others?.find(({ instance }) => instance === leg.instance);
    if (contact === undefined) return;
    const next = this.isAlone ? null : nextFlow(contact, this.fork.branches, this.home.reach);
    if (next !== null) this.ask(next);
    else if (leg.wake?.hasWoken) this.wakes.resume(leg, leg.wake);
    else this.wakes.start(leg, this.pushedBy(leg, contact), whyWokenAfter(failed));
  }

  /** A late branch over the flow of the REGISTER, in place of one that is still silent. */
  join(leg: DeviceLeg, contact: Contact, flow: Flow, registeredAtMs: number): void {
    const old = leg.branch;
    const lateMs = this.nowMs - registeredAtMs;
    this.isBusy = true;
    this.legs.invite(leg, contact, flow, true, `${Math.max(0, Math.round(lateMs))} ms after its REGISTER`);
    this.home.port.count("late_branches_total", "");
    this.home.port.measure("late_branch_seconds", lateMs / 1000);
    // The old way to this device leads nowhere it could still ring from.
    if (old !== null && old.isLive) {
      this.story.note({ event: "cancel", device: leg.id, note: `${leg.party}: gave up the branch over its old flow` });
      old.cancel("");
    }
    this.isBusy = false;
  }

  /** a phone that is there has answered something over its flow within the time of the hedge, or is being woken. */
  isSilent(leg: DeviceLeg): boolean {
    if (leg.branch === null || leg.branch.isHeardOf) return false;
    if (leg.wake !== null && leg.wake.isPending) return true;
    return this.nowMs - leg.invitedAtMs >= Math.max(T1_MS, this.home.settings.hedgeMs);
  }

  /** The contact whose token wakes the device: maybe that of another flow, which is its leg's from then on. */
  private pushedBy(leg: DeviceLeg, contact: Contact): Contact {
    const pushed = this.wakes.contactOf(leg) ?? contact;
    this.legs.of(pushed);
    return pushed;
  }

  private get nowMs(): number {
    return this.home.table.schedule.clock.nowMs;
  }
}
