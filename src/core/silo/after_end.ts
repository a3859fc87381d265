/**
 * What a call that is over still owes the devices it woke: a cancel push (P-06), or INVITE and CANCEL when they come too
 * late (W-13). Knows how the call ended from its record alone.
 */
import type { Contact } from "../usrloc/contact.ts";
import type { PushOrder } from "../usrloc/push_order.ts";
import type { SiloCall } from "./call.ts";
import { canTellMissed, isApns, isVoipToken } from "./call_push.ts";
import type { Leg } from "./leg.ts";
import { isAnsweredElsewhere } from "./outcome.ts";
import type { CallResult } from "./record.ts";
import { dropHedge, endWake, pushCancel, pushMissed, wokeTooLate } from "./waking.ts";

/** The final response went, and the record says how the call ended: every device that was woken is told. */
export function tellDevices(call: SiloCall): void {
  for (const leg of call.legs.all) release(call, leg);
  for (const id of call.latecomers ?? []) {
    const contact = call.home.usrloc.contact(id);
    if (contact !== undefined) registeredTooLate(call, contact);
  }
  call.latecomers = null;
  call.snapshot();
  // No device will get the INVITE any more: the message is not kept for the 32 s of the tombstone.
  if (!call.legs.all.some(isOwed)) call.fork.letGo();
}

/**
 * A device woken for this call registers after its end (W-13): it gets INVITE and CANCEL, so that its app can close the
 * call it had to show.
 */
export function registeredTooLate(call: SiloCall, contact: Contact): void {
  const { fork, home, legs, story } = call;
  const leg = legs.of(contact);
  if (leg === undefined) return;
  // W-12: one that answered too late, and lost its connection before our BYE came, would sit in a dead call.
  if (contact.flow !== null) fork.hangUps?.phoneIsBack((id) => legs.find(id) === leg, contact.flow);
  wokeTooLate(leg);
  if (!isOwed(leg)) return;
  if (contact.flow === null || contact.flow.state === "closed") return;
  if (!isToldLate(call, contact)) return;
  leg.hasTakenPart = true;
  story.branch(leg, "INVITE (late)", "to hear that it is over");
  leg.branch = fork.addGhost(home.dialogs.targetOf(contact, contact.flow, story.record.callId));
  leg.branch.cancel(fork.endLines);
}

function release(call: SiloCall, leg: Leg): void {
  const { wake } = leg;
  if (wake === null) return;
  if (wake.state === "hedged") return dropHedge(leg);
  const isAnswered = isAnsweredAnywhere(call);
  if (wake.isPending) endWake(leg, wake, "cancelled", isAnswered ? "answered elsewhere" : "the call ended first");
  // One whose window is over may have got the push all the same, and show the call.
  else if (wake.state !== "expired") return;
  const contact = leg.pushContact;
  if (leg.hasTakenPart || contact === undefined || contact.push === null) return;
  const { push } = contact;
  const { result } = call.record;
  // `push.missed`: as far as we know, the user has not heard of the call by any device.
  const isMissed = call.home.settings.tellsMissed && !isAnswered && result !== "declined" && contact.hasUsableToken &&
    canTellMissed(push);
  // P-06: iOS must get no VoIP push for a call that no longer is. An alert about the missed call replaces that of the
  // call; a silent push that crossed it might take it away again.
  const isCancelled = !wake.isShared && !isVoipToken(push) && !(isMissed && isApns(push));
  if (isCancelled) pushCancel(leg, contact, isAnswered ? "answered_elsewhere" : cancelReason(result));
  if (isMissed) pushMissed(leg, contact);
}

/** How many devices of a call that is over are owed INVITE and CANCEL, should they wake now. */
export function owedDevices(call: SiloCall): number {
  let owed = 0;
  for (const leg of call.legs.all) if (isOwed(leg) && isToldLate(call, leg.pushContact)) owed++;
  return owed;
}

/** `wake.delayed_cancel`: whether this device is told by SIP of a call that is over. */
function isToldLate({ home }: SiloCall, contact: Contact | undefined): boolean {
  const { delayedCancel, untold } = home.settings;
  if (delayedCancel !== "auto") return delayedCancel !== "false";
  const push = contact?.push ?? null;
  return push !== null && (isVoipToken(push) || untold.cancel.has(push.provider));
}

/** By a device here, or, as the PBX that cancelled says, by another phone it rang. */
function isAnsweredAnywhere({ fork, record }: SiloCall): boolean {
  return record.result === "answered" || isAnsweredElsewhere(fork.endLines);
}

/** True if its push may have shown it the call, which it has not seen by SIP. */
function isOwed(leg: Leg): boolean {
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
