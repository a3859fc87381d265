/** Branches that people add to a call and take out through the control port (W-18). */
import type { Flow } from "../sip/flow.ts";
import type { Contact } from "../usrloc/contact.ts";
import type { SiloCall } from "./call.ts";
import { isVoipToken } from "./call_push.ts";
import type { Leg } from "./leg.ts";
import { dropHedge, endWake, pushCancel } from "./waking.ts";

const BY_HAND = "added by hand";

/**
 * One more branch, over the device's flow.
 * @returns false if the call is ending or full, or the device has no connection, has a live branch, or declined
 */
export function appendDevice(call: SiloCall, contact: Contact): boolean {
  const { legs } = call;
  if (!call.isOpen || contact.flow === null || contact.flow.state === "closed") return false;
  if (!legs.hasPlaceFor(contact)) return false;
  const leg = legs.ensure(contact);
  if (leg.isServed || leg.hasDeclined) return false;
  if (leg.wake !== null && leg.wake.isPending) endWake(leg, leg.wake, "cancelled", "branch added by hand");
  leg.invite(contact, contact.flow, true, BY_HAND);
  call.settle();
  return true;
}

/**
 * A branch to an address that is no registered device. `token` routes the dialog back to it.
 * @returns false if the call is ending, full, or has a live branch to that address
 */
export function appendAddress(call: SiloCall, uri: string, flow: Flow, token: string): boolean {
  const { fork, legs, story } = call;
  const address = { id: uri, instance: "" };
  if (!call.isOpen || !legs.hasPlaceFor(address)) return false;
  const leg = legs.ensure(address);
  if (leg.isServed) return false;
  leg.hasTakenPart = true;
  story.branch(leg, "INVITE (late)", `${BY_HAND}: ${uri}`);
  leg.branch = fork.addBranch({ uri, flow, route: "", token, contactId: uri }, true);
  call.settle();
  return true;
}

/**
 * Takes a branch out, by its number from 1, and with it its device, which is not woken for this call any more.
 * @returns false if there is no such live branch
 */
export function removeBranch(call: SiloCall, number: number): boolean {
  const { fork, legs, story } = call;
  const branch = fork.branches[number - 1];
  if (branch === undefined || !branch.isLive) return false;
  const leg = legs.find(branch.target.contactId);
  story.note({ event: "cancel", device: leg?.id, note: `${leg?.party ?? "its branch"} removed by hand` });
  if (leg !== undefined && leg.branch === branch) wakeNoMore(leg);
  fork.dropBranch(branch);
  call.settle();
  return true;
}

function wakeNoMore(leg: Leg): void {
  dropHedge(leg);
  const { wake } = leg;
  if (wake === null || !wake.isPending) return;
  endWake(leg, wake, "cancelled", "removed by hand");
  const contact = leg.pushContact;
  if (leg.hasTakenPart || wake.isShared || contact === undefined) return;
  if (contact.push !== null && !isVoipToken(contact.push)) pushCancel(leg, contact, "timeout");
}
