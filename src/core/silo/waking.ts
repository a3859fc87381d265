/**
 * How a call wakes a device: when it is pushed, and how its wake ends (W-02, W-03, W-07). Functions over one leg. Branches,
 * and whether the call goes on, are the call's own.
 */
import { hasPushToken } from "../proxy/device_flows.ts";
import type { Contact } from "../usrloc/contact.ts";
import type { PushOrder, PushReport } from "../usrloc/push_order.ts";
import type { RemovalCause } from "../usrloc/usrloc.ts";
import { callPush, MISSED_TTL_MS } from "./call_push.ts";
import { type CallOfLeg, type Leg, Wake } from "./leg.ts";
import { seconds } from "./story.ts";

/** W-03: a live flow may lead to a frozen app. If nothing is heard of it, a push goes too. */
export function hedge(leg: Leg, contact: Contact): void {
  const { home } = leg.call;
  const { hedgeMs } = home.settings;
  if (hedgeMs === 0) return wake(leg, contact, "at once, as wake.hedge is 0");
  leg.wake = new Wake(leg, home.port.token(16));
  home.table.schedule.deadlines.set(leg.wake, nowMs(leg.call) + hedgeMs);
}

/** The device was heard of: no push is needed. */
export function dropHedge(leg: Leg): void {
  if (leg.wake === null || leg.wake.state !== "hedged") return;
  leg.call.home.table.schedule.deadlines.cancel(leg.wake);
  leg.wake = null;
}

/** Pushes the device, once per call (P-07). Does nothing if it cannot be pushed or has declined. */
export function wake(leg: Leg, contact: Contact, why: string): void {
  if (!hasPushToken(contact) || leg.wake?.wasSent || leg.hasDeclined) return;
  const { call } = leg;
  const { windowMs } = call.home.settings;
  const wake = leg.wake ??= new Wake(leg, call.home.port.token(16));
  wake.state = "waiting";
  wake.sentAtMs = nowMs(call);
  call.home.table.schedule.deadlines.set(wake, wake.sentAtMs + windowMs);
  call.story.push(leg, contact.push!.provider, "push call", why);
  // P-03: `wake.window`, or what `wake.ring_timeout` leaves of it: a call that is over must not ring.
  const ttlMs = Math.min(windowMs, Math.max(0, callEndMs(call) - wake.sentAtMs));
  order(leg, contact, { uuid: wake.uuid, event: "call", ttlMs });
  call.onPushed(wake);
}

/**
 * The device came, and its connection failed before the call was answered: a phone that changes from Wi-Fi to mobile.
 * It has the rest of the window to come back. It gets no second push (P-07).
 */
export function awaitReturn(leg: Leg, wake: Wake): void {
  const { call } = leg;
  const endMs = Math.min(wake.sentAtMs + call.home.settings.windowMs, callEndMs(call));
  const leftMs = endMs - nowMs(call);
  if (leftMs <= 0) return;
  wake.state = "waiting";
  wake.reason = "";
  call.home.table.schedule.deadlines.set(wake, endMs);
  call.story.note({ event: "wake", device: leg.id, note: `${leg.party} has ${seconds(leftMs)} to come back` });
}

/** Ends a wake that is pending, or one whose device came after its window. */
export function endWake(
  leg: Leg,
  wake: Wake,
  state: "registered" | "refused" | "expired" | "cancelled",
  reason: string,
): void {
  const { home } = leg.call;
  wake.state = state;
  wake.reason = reason;
  home.table.schedule.deadlines.cancel(wake);
  // A push that is still being tried would wake a device that is awake, or for nothing.
  if (wake.pushMs === null && !wake.hasSharers) home.port.cancelPush(wake.uuid);
}

/** The time of its hedge is over, or the window of its wake. */
export function wakeDue(leg: Leg, { state }: Wake): void {
  if (state === "hedged") hedgeOver(leg);
  else if (state === "waiting" && leg.wake!.isCalledOff) calledOff(leg, leg.wake!);
  else if (state === "waiting") windowOver(leg, leg.wake!);
}

/** The device rings or answers over the connection it had: it need not register. */
export function spoke(leg: Leg, status: number): void {
  const { wake } = leg;
  if (wake === null || !wake.isPending) return;
  wake.hasWoken = true;
  endWake(leg, wake, "cancelled", `${status < 200 ? "rang" : "answered"} without registering`);
}

/**
 * The device registered: its wake is over.
 * @returns what there is to say about it; empty: it was not being woken
 */
export function woke(leg: Leg): string {
  dropHedge(leg);
  const { wake } = leg;
  if (wake === null || (!wake.isPending && wake.state !== "expired")) return "";
  const isLate = wake.state === "expired";
  const note = wake.hasWoken ? "came back" : noteWoken(leg, wake) + (isLate ? ", later than wake.window" : "");
  endWake(leg, wake, "registered", note);
  return note;
}

/** The device registered after the end of the call. That is told once, as people ask whether it woke at all. */
export function wokeTooLate(leg: Leg): void {
  const { wake } = leg;
  if (wake === null || !leg.hasSleptOn || wake.hasWoken || wake.isTurnedAway) return;
  leg.call.story.register(leg, `${noteWoken(leg, wake)}, when the call was over`);
}

/**
 * A contact of the device left usrloc, and the device has no other. One that lapsed, or made room for another device,
 * was pushed and may wake as well as before (W-07, R-13). One that was taken out is not waited for any more; but the
 * call ends behind the REGISTER that took it out, which may bring a device to take its place.
 */
export function contactRemoved(leg: Leg, cause: RemovalCause): void {
  const { wake, call } = leg;
  if (wake === null || !wake.isPending || leg.pushContact !== undefined) return;
  if (cause === "expired" || cause === "evicted") {
    const what = cause === "expired" ? "'s registration lapsed" : " made room for another device";
    call.story.note({ event: "wake", device: leg.id, note: `${leg.party}${what}, and may still wake` });
    return;
  }
  wake.isCalledOff = true;
  call.home.table.schedule.deadlines.set(wake, nowMs(call));
}

/** The push service has answered. */
export function pushReported(leg: Leg, wake: Wake, report: PushReport): void {
  const { home, story } = leg.call;
  const contact = leg.pushContact;
  wake.pushMs = report.ms;
  wake.isTurnedAway = report.outcome === "refused" || report.outcome === "dead";
  wake.isShared = wake.isPending && report.isRateLimited === true && contact !== undefined && home.shareWake(contact);
  const reason = wake.isShared ? `${report.reason}; an earlier push may wake it yet` : report.reason;
  story.pushReport(leg, contact?.push?.provider ?? "", { ...report, reason });
  if (wake.isShared) wake.reason = reason;
  else if (report.outcome === "accepted") wake.isAccepted = true;
  else if (wake.isPending && wake.isTurnedAway) {
    endWake(leg, wake, "refused", report.reason);
    leg.call.settle();
  } else wake.reason = report.reason;
}

/** P-07: true if the push of this call may still wake the device. Another call counts on it from now on. */
export function shareWake(leg: Leg, contact: Contact): boolean {
  const { wake } = leg;
  if (wake === null) return false;
  const isPushed = wake.isAccepted || (wake.isPending && wake.pushMs === null);
  const isOver = nowMs(leg.call) >= wake.sentAtMs + leg.call.home.settings.windowMs;
  if (!isPushed || isOver || contact.registeredAtMs >= wake.sentAtMs) return false;
  wake.hasSharers = true;
  return true;
}

/** The push of another call was refused. If this call waited for that one, it has nothing left to wait for. */
export function sharedWakeRefused(leg: Leg, contact: Contact, reason: string): void {
  const { wake, call } = leg;
  if (wake === null || !wake.isPending || !wake.isShared || call.home.shareWake(contact)) return;
  endWake(leg, wake, "refused", reason);
  call.story.note({ event: "wake_end", device: leg.id, note: `${leg.party}: the earlier push failed, ${reason}` });
  call.settle();
}

/** P-06: the app shows a call that no longer is. Nothing goes where the service has nothing for it. */
export function pushCancel(leg: Leg, contact: Contact, reason: NonNullable<PushOrder["reason"]>): void {
  const { home, story } = leg.call;
  const { provider } = contact.push!;
  if (home.settings.untold.cancel.has(provider)) return;
  story.push(leg, provider, "push cancel", reason.replaceAll("_", " "));
  order(leg, contact, { uuid: home.port.token(16), event: "cancel", ttlMs: home.settings.windowMs, reason });
}

/** P-06: the call was not answered, and the device never got it. */
export function pushMissed(leg: Leg, contact: Contact): void {
  const { home, story } = leg.call;
  const { provider } = contact.push!;
  if (home.settings.untold.missed.has(provider)) return;
  story.push(leg, provider, "push missed", "");
  order(leg, contact, { uuid: home.port.token(16), event: "missed", ttlMs: MISSED_TTL_MS });
}

function hedgeOver(leg: Leg): void {
  const { fork, home } = leg.call;
  const contact = leg.pushContact;
  if (contact !== undefined && fork.isOpen) wake(leg, contact, `no answer within ${home.settings.hedgeMs} ms`);
}

function calledOff(leg: Leg, wake: Wake): void {
  const { call } = leg;
  wake.isCalledOff = false;
  if (leg.pushContact !== undefined) {
    // It came back in the same REGISTER.
    call.home.table.schedule.deadlines.set(wake, wake.sentAtMs + call.home.settings.windowMs);
    return;
  }
  endWake(leg, wake, "refused", "device is no longer registered");
  call.story.note({ event: "wake_end", device: leg.id, note: `${leg.party} is no longer registered` });
  call.settle();
}

function windowOver(leg: Leg, wake: Wake): void {
  const { call } = leg;
  const [did, what] = wake.hasWoken ? ["come back", "come back"] : ["register", "wake up"];
  endWake(leg, wake, "expired", `did not ${did} within ${seconds(call.home.settings.windowMs)}`);
  call.story.note({ event: "wake_end", device: leg.id, note: `${leg.party} did not ${what}` });
  // An INVITE that went out over a flow we were not sure of holds the call no longer than the push does.
  leg.branch?.lapse();
  call.settle();
}

/** @returns how long it took, in words */
function noteWoken(leg: Leg, wake: Wake): string {
  wake.hasWoken = true;
  wake.wakeMs = nowMs(leg.call) - wake.sentAtMs;
  leg.call.home.port.measure("wake_seconds", wake.wakeMs / 1000);
  return `woke after ${seconds(wake.wakeMs)}`;
}

function order(leg: Leg, contact: Contact, what: Pick<PushOrder, "uuid" | "event" | "ttlMs" | "reason">): void {
  const { fork, home, story } = leg.call;
  home.port.push(callPush(story.record, fork.request, contact, what));
}

function callEndMs({ home, story }: CallOfLeg): number {
  return story.record.startedAtMs + home.settings.ringTimeoutMs;
}

function nowMs({ home }: CallOfLeg): number {
  return home.table.schedule.clock.nowMs;
}
