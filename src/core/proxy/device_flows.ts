/**
 * Several flows of one device (RFC 5626): contacts of one AoR with the same instance lead to one phone, which is asked
 * over one of them at a time. Owns which one comes first and which one next; knows no calls and no pushes.
 */
import type { Contact } from "../usrloc/contact.ts";
import type { Reachability, Usrloc } from "../usrloc/usrloc.ts";
import type { Branch } from "./branch.ts";
import type { Fork, ForkOwner } from "./fork.ts";

/** How a contact can be reached now. */
export type Reach = (contact: Contact) => Reachability;

/** For what is not worth a push: a flow that is open, or UDP, may be live. */
export const byConnection: Reach = ({ flow }) => flow === null || flow.state === "closed" ? "lost" : "live";

const RANK: Readonly<Record<Reachability, number>> = { live: 0, unknown: 1, lost: 2 };

/** True if both lead to one phone: the same contact, or flows of one instance. */
function isSameDevice(a: Contact, b: Contact): boolean {
  return a === b || (a.instance !== "" && a.instance === b.instance && a.aor === b.aor);
}

/** True if a push can be sent to it. */
export function hasPushToken(contact: Contact): boolean {
  return contact.hasUsableToken;
}

/** The contacts that lead to this phone, itself among them. */
export function flowsOf(contact: Contact): readonly Contact[] {
  const { contacts } = contact.aor;
  return contact.instance === "" ? [contact] : contacts.filter((other) => isSameDevice(other, contact));
}

/**
 * One contact of each device, in the order of `contacts`: the one over which it is asked first. RFC 5626 §7: never two
 * flows of one instance at the same time, the one most recently registered before the others; a live one before all.
 */
export function firstFlows(contacts: readonly Contact[], reach: Reach): readonly Contact[] {
  const firsts: Contact[] = [];
  for (const contact of contacts) {
    const n = firsts.findIndex((first) => isSameDevice(first, contact));
    if (n < 0) firsts.push(contact);
    else if (isBefore(contact, firsts[n]!, reach)) firsts[n] = contact;
  }
  return firsts;
}

/** The contact that leads to this phone now: itself if its flow is open, else its newest other flow; null: none is. */
export function connectedFlow(contact: Contact): Contact | null {
  return byConnection(contact) === "live" ? contact : nextFlow(contact, [], byConnection);
}

/**
 * The flow of the device to try after those that `branches` tried in vain.
 * @returns null if there is none that could be live
 */
export function nextFlow(contact: Contact, branches: readonly Branch[], reach: Reach): Contact | null {
  let next: Contact | null = null;
  for (const other of flowsOf(contact)) {
    if (reach(other) === "lost" || branches.some(({ target }) => target.flow === other.flow)) continue;
    if (next === null || isBefore(other, next, reach)) next = other;
  }
  return next;
}

/**
 * True if a branch ended because its flow does not lead to the phone, and another one may: a timeout or a dead flow seen
 * here, or 430 (Flow Failed) of an edge proxy on the Path (RFC 5626 §11.5). Any other answer is the phone's, and final.
 */
export function isFlowFailure(branch: Branch): boolean {
  return branch.state === "failed" && (branch.isLocal || branch.status === 430);
}

/** Follows a request that is not a call from one flow of a device to its next. */
export class NextFlows implements ForkOwner {
  constructor(
    private readonly fork: Fork,
    private readonly usrloc: Usrloc,
    private readonly add: (contact: Contact) => void,
  ) {}

  onBranchResponse(branch: Branch): void {
    const contact = isFlowFailure(branch) ? this.usrloc.contact(branch.target.contactId) : undefined;
    const next = contact === undefined ? null : nextFlow(contact, this.fork.branches, byConnection);
    if (next !== null && this.fork.isOpen) this.add(next);
  }

  onIdle(): void {}

  onCancelled(): void {}

  onEnded(): void {}
}

function isBefore(a: Contact, b: Contact, reach: Reach): boolean {
  const difference = RANK[reach(a)] - RANK[reach(b)];
  return difference !== 0 ? difference < 0 : a.registeredAtMs >= b.registeredAtMs;
}
