/**
 * What a call that is over still owes the devices it woke: a cancel push (P-06), or INVITE and CANCEL when they come
 * too late (W-13). Knows how the call ended from its record alone.
 */
import type { Contact } from "../usrloc/contact.ts";
import type { PushOrder } from "../usrloc/push_order.ts";
import type { CallHome } from "./call_home.ts";
import type { DeviceLeg } from "./device_leg.ts";
import type { Legs } from "./legs.ts";
import { isAnsweredElsewhere } from "./reason.ts";
import type { CallRecord, CallResult } from "./record.ts";
import { canTellMissed, isApns, isVoipToken } from "./push_token.ts";
import type { Wakes } from "./wakes.ts";

export class AfterEnd {
  /** Devices that registered between the caller's CANCEL (or a 6xx) and the final response. */
  private latecomers: Set<string> | null = null;

  constructor(
    private readonly home: CallHome,
    private readonly legs: Legs,
    private readonly wakes: Wakes,
    private readonly record: CallRecord,
  ) {}

  /** The 100 ms between CANCEL and 487: the device is as late as after the end, and is dealt with then. */
  registeredWhileEnding(contact: Contact): void {
    (this.latecomers ??= new Set()).add(contact.id);
  }

  /** The final response went, and the record says how it ended. */
  run(): void {
    for (const leg of this.legs.all) this.release(leg);
    for (const id of this.latecomers ?? []) {
      const contact = this.home.usrloc.contact(id);
      if (contact !== undefined) this.deviceRegistered(contact);
    }
  }

  /** True if a device may yet come for which this call has to be told once more. */
  get isOwed(): boolean {
    for (const leg of this.legs.all) if (isOwed(leg)) return true;
    return false;
  }

  /**
   * A device woken for this call registers after its end (W-13): it gets INVITE and CANCEL, so that its app can close
   * the call it had to show.
   */
  deviceRegistered(contact: Contact): void {
    const { delayedCancel } = this.home.settings;
    const leg = this.legs.of(contact);
    if (leg === undefined) return;
    this.wakes.deviceCameLate(leg);
    if (!isOwed(leg)) return;
    if (contact.flow === null || contact.flow.state === "closed") return;
    const isVoip = contact.push !== null && isVoipToken(contact.push);
    if (delayedCancel === "false" || (delayedCancel === "auto" && !isVoip)) return;
    this.legs.inviteAndCancel(leg, contact, contact.flow);
  }

  private release(leg: DeviceLeg): void {
    const { wake } = leg;
    if (wake === null) return;
    if (wake.state === "hedged") return this.wakes.dropHedge(leg);
    const { isAnswered } = this;
    if (wake.isPending) this.wakes.end(wake, "cancelled", isAnswered ? "answered elsewhere" : "the call ended first");
    // One whose window is over may have got the push all the same, and show the call.
    else if (wake.state !== "expired") return;
    const contact = this.wakes.contactOf(leg);
    if (leg.hasTakenPart || contact === undefined || contact.push === null) return;
    const { push } = contact;
    const isMissed = this.isMissed && canTellMissed(push);
    // P-06: iOS must get no VoIP push for a call that no longer is. An alert about the missed call replaces that of the
    // call; a silent push that crossed it might take it away again.
    const isCancelled = !wake.isShared && !isVoipToken(push) && !(isMissed && isApns(push));
    if (isCancelled) {
      this.wakes.pushCancel(leg, contact, isAnswered ? "answered_elsewhere" : cancelReason(this.record.result));
    }
    if (isMissed) this.wakes.pushMissed(leg, contact);
  }

  /** Here, or, as the PBX that cancelled says, by somebody else it rang. */
  private get isAnswered(): boolean {
    return this.record.result === "answered" || isAnsweredElsewhere(this.legs.endLines);
  }

  /** Nobody of this user knows of the call by now, as far as we do, and people are to be told (`push.missed`). */
  private get isMissed(): boolean {
    const { result } = this.record;
    return this.home.settings.tellsMissed && !this.isAnswered && result !== "declined";
  }
}

/** Its push may have shown it the call, which it has not seen by SIP. */
function isOwed(leg: DeviceLeg): boolean {
  return leg.hasSleptOn && !leg.wake!.isShared && !leg.wake!.isTurnedAway;
}

function cancelReason(result: CallResult | ""): NonNullable<PushOrder["reason"]> {
  switch (result) {
    case "cancelled":
      return "caller_gave_up";
    case "declined":
      return "declined";
    default:
      return "timeout";
  }
}
