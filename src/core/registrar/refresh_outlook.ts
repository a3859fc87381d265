/**
 * Who refreshes a registration, here and at the PBX, what comes next and why, in words for people. Reads only;
 * must not know shapes of an API.
 */
import type { Aor, Contact } from "../usrloc/contact.ts";
import { isAtRisk, isPushable } from "./refresh_push.ts";
import type { UpstreamLedger } from "./upstream/ledger.ts";
import type { UpstreamPolicy } from "./upstream/policy.ts";
import type { Renewals } from "./upstream/renewals.ts";

/** The PBX's side, as far as it is asked here; the mid-registrar has it. */
export interface UpstreamView {
  readonly policy: UpstreamPolicy;
  readonly ledger: UpstreamLedger;
  readonly renewals: Renewals;
}

/** `latefork`: our own REGISTERs. `push`: the phone, which we wake for it. `phone`: the phone alone. */
export type Refresher = "phone" | "latefork" | "push";

/**
 * What the PBX is believed to hold for a device. `in_doubt`: it granted it, and may have lost it since. `dropped`: it
 * let go of it by itself. `lapsed`: it was not renewed in time.
 */
export type HeldState = "none" | "registered" | "in_doubt" | "lapsed" | "dropped";

/** Who renews the phone's own registration here: the phone by itself, or a push that wakes it. For the PBX's side see {@link RefreshOutlook}. */
export interface PhoneOutlook {
  by: "phone" | "push";
  /** When it is pushed, or must have come by itself, ms. */
  nextMs: number;
  /** Which sign there is that it may not come, in words; empty: none. */
  lastFailure: string;
}

/** What keeps one device (or, in mode `aor`, one AoR at the PBX) registered. */
export interface RefreshOutlook {
  refreshedBy: Refresher;
  /** What is done next, in words. */
  next: string;
  /** When, ms; Infinity: not planned. */
  nextMs: number;
  /** Why it is done by this one, in words. */
  why: string;
  /** It did not answer a refresh push, or the PBX's binding is gone and the phone sleeps. */
  isAtRisk: boolean;
  /** What went wrong last, in words; empty: nothing since the last success. */
  lastFailure: string;
  /** When the PBX's binding it depends on ends, ms; 0: none, or not known. */
  upstreamEndsMs: number;
  held: HeldState;
  phone: PhoneOutlook;
}

/** @param mid null: registrar mode */
export function deviceOutlook(contact: Contact, mid: UpstreamView | null, nowMs: number): RefreshOutlook {
  const upstreamEndsMs = mid?.ledger.upstreamEndsMs(contact) ?? 0;
  const user = contact.aor.user;
  const id = mid?.ledger.upstreamId(contact) ?? "";
  const state = mid?.renewals.stateOf(id) ?? null;
  const isOurs = mid !== null && state !== null && mid.policy.isRenewing(user, id);
  const failed = pushFailure(contact);
  const shortGrant = mid?.ledger.shortGrantOf(contact.aor) ?? "";
  const lastFailure = state !== null && state.reason !== "" ? state.reason : failed;
  const isInDoubt = mid?.ledger.isInDoubt(contact) ?? false;
  const held = isInDoubt && !contact.isDropped ? "in_doubt" : heldState(contact, upstreamEndsMs, nowMs);
  const isGone = held === "dropped" || held === "lapsed";
  const base = {
    upstreamEndsMs,
    lastFailure,
    held,
    phone: phoneOutlook(contact),
  };
  if (isOurs) {
    return {
      ...base,
      refreshedBy: "latefork",
      next: state.state === "idle" ? "looked at again: no device can be reached or woken" : "our REGISTER to the PBX",
      nextMs: state.nextMs,
      why: mid.policy.settings.trustsUs ? "pbx.trusts_us" : `pbx.credentials_file has ${user}`,
      isAtRisk: isGone || isAtRisk(contact),
    };
  }
  if (isPushable(contact)) {
    return {
      ...base,
      refreshedBy: "push",
      next: contact.refreshTries === 0 ? "refresh push" : `refresh push ${contact.refreshTries + 1}`,
      nextMs: contact.refreshAtMs,
      why: whyNotWe(mid, user, state !== null) + "its phone is woken to refresh by itself" +
        (shortGrant === "" ? "" : ". " + shortGrant),
      isAtRisk: isGone || isAtRisk(contact),
    };
  }
  // Whichever ends first, the phone's own binding or the PBX's: only the phone can renew it.
  return {
    ...base,
    refreshedBy: "phone",
    next: "the phone's own REGISTER",
    nextMs: Math.min(contact.expiresAtMs, upstreamEndsMs || Infinity),
    why: whyNotWe(mid, user, state !== null) + whyNoPush(contact),
    isAtRisk: isGone,
  };
}

/** What keeps the PBX's binding of an AoR: that of the device that does most for it. */
export function aorOutlook(aor: Aor, mid: UpstreamView | null, nowMs: number): RefreshOutlook | null {
  let best: RefreshOutlook | null = null;
  for (const contact of aor.contacts) {
    const outlook = deviceOutlook(contact, mid, nowMs);
    if (best === null || WEIGHT[outlook.refreshedBy] > WEIGHT[best.refreshedBy]) best = outlook;
  }
  return best;
}

/** AoRs by what is known of their binding at the PBX, the worst word that fits each. */
export type UpstreamState = "none" | "registered" | "in_doubt" | "removed" | "lapsed" | "at_risk" | "failing";

/** How many AoRs there are in each state; every state is listed. */
export function upstreamStates(
  aors: Iterable<Aor>,
  mid: UpstreamView | null,
  nowMs: number,
): Map<UpstreamState, number> {
  const counts = new Map<UpstreamState, number>();
  for (const state of ["registered", "none", "in_doubt", "removed", "lapsed", "at_risk", "failing"] as const) {
    counts.set(state, 0);
  }
  for (const aor of aors) {
    const state = upstreamState(aor, mid, nowMs);
    counts.set(state, counts.get(state)! + 1);
  }
  return counts;
}

function upstreamState(aor: Aor, mid: UpstreamView | null, nowMs: number): UpstreamState {
  const { state, expiresAtMs } = aor.upstream;
  if (mid !== null && aor.contacts.some((contact) => mid.renewals.isFailing(mid.ledger.upstreamId(contact)))) {
    return "failing";
  }
  if (state === "registered" && expiresAtMs <= nowMs) return "lapsed";
  if (aor.contacts.some((contact) => isAtRisk(contact) || contact.isDropped)) return "at_risk";
  return mid !== null && aor.contacts.some((contact) => mid.ledger.isInDoubt(contact)) ? "in_doubt" : state;
}

const WEIGHT: Record<Refresher, number> = { phone: 0, push: 1, latefork: 2 };

function heldState(contact: Contact, upstreamEndsMs: number, nowMs: number): HeldState {
  if (contact.isDropped) return "dropped";
  if (upstreamEndsMs === 0) return "none";
  return upstreamEndsMs > nowMs ? "registered" : "lapsed";
}

function phoneOutlook(contact: Contact): PhoneOutlook {
  // Too late for a push: it comes by itself, or not at all.
  const isPushed = isPushable(contact) && contact.refreshAtMs < contact.expiresAtMs;
  return {
    by: isPushed ? "push" : "phone",
    nextMs: isPushed ? contact.refreshAtMs : contact.expiresAtMs,
    lastFailure: silence(contact),
  };
}

function pushFailure(contact: Contact): string {
  if (contact.isDropped) return "the PBX dropped its Contact when another device registered";
  return silence(contact);
}

function silence(contact: Contact): string {
  if (contact.push?.tokenState === "dead") return "its push token is dead";
  if (contact.push?.tokenState === "moved") return "its push token is another AoR's now";
  const tries = Math.max(0, contact.refreshTries - 1);
  return tries === 0
    ? ""
    : tries === 1
    ? "a refresh push was not answered"
    : `${tries} refresh pushes were not answered`;
}

function whyNotWe(mid: UpstreamView | null, user: string, wasTried: boolean): string {
  if (mid === null) return "";
  if (mid.policy.mode === "mirror") return "mode mirror leaves it to the phones: ";
  return wasTried ? "the PBX refuses our own REGISTER: " : `pbx.credentials_file does not have ${user}: `;
}

function whyNoPush(contact: Contact): string {
  const only = "only its phone can, ";
  if (contact.push === null) return only + "which has no push token";
  if (contact.push.tokenState === "moved") return only + "whose push token is another AoR's now";
  return only + (contact.push.tokenState === "dead" ? "whose push token is dead" : "which is a desk phone");
}
