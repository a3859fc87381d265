/**
 * The wakes of one call: when a device is pushed, what is pushed, and how each wake ends (W-02, W-03, W-07). Knows no
 * branches: who is asked again, and when the call ends, is the call's own business.
 */
import { hasPushToken } from "../proxy/device_flows.ts";
import type { Fork } from "../proxy/fork.ts";
import { detached } from "../sip/scan.ts";
import type { Contact } from "../usrloc/contact.ts";
import type { PushOrder } from "../usrloc/push_order.ts";
import type { CallHome } from "./call_home.ts";
import type { DeviceLeg } from "./device_leg.ts";
import type { Legs } from "./legs.ts";
import type { PushResult } from "./settings.ts";
import type { Story } from "./story.ts";
import { Wake, type WakeOwner } from "./wake.ts";
import { callerName, seconds } from "./words.ts";

/** How long a push about a missed call is kept for a phone that is off. */
const MISSED_TTL_MS = 86_400_000;

/** The call, as its wakes hold it open. */
export interface HeldCall {
  /** Before the push goes. */
  onWakeStarted(wake: Wake): void;
  /** A wake ended, or may have: see whether the call is to go on. */
  settle(): void;
}

export class Wakes implements WakeOwner {
  constructor(
    private readonly home: CallHome,
    private readonly fork: Fork,
    private readonly legs: Legs,
    private readonly story: Story,
    private readonly call: HeldCall,
  ) {}

  /** W-03: a live flow may lead to a frozen app; if nothing is heard of it, a push goes too. */
  hedge(leg: DeviceLeg, contact: Contact): void {
    const { hedgeMs } = this.home.settings;
    if (hedgeMs === 0) return this.start(leg, contact, "at once, as wake.hedge is 0");
    leg.wake = new Wake(this, this.home.port.token(16), contact.id);
    this.home.table.schedule.deadlines.set(leg.wake, this.nowMs + hedgeMs);
  }

  /** It was heard of: no push is needed. */
  dropHedge(leg: DeviceLeg): void {
    if (leg.wake === null || leg.wake.state !== "hedged") return;
    this.home.table.schedule.deadlines.cancel(leg.wake);
    leg.wake = null;
  }

  /** Sends the push of a device, once per call (P-07); nothing if it cannot be pushed or has declined. */
  start(leg: DeviceLeg, contact: Contact, why: string): void {
    if (!hasPushToken(contact) || leg.wake?.wasSent || leg.hasDeclined) return;
    const wake = leg.wake ?? new Wake(this, this.home.port.token(16), contact.id);
    leg.wake = wake;
    wake.state = "waiting";
    wake.sentAtMs = this.nowMs;
    this.home.table.schedule.deadlines.set(wake, this.nowMs + this.home.settings.windowMs);
    this.call.onWakeStarted(wake);
    this.story.push(leg, contact.push!.provider, "push call", why);
    this.home.port.push(this.pushOrder(contact, wake.uuid, "call"));
    this.sendProgress();
  }

  /**
   * The device came, and its connection failed before anybody answered, as when a phone changes from Wi-Fi to mobile:
   * what is left of the window is its time to come back, without another push (P-07).
   */
  resume(leg: DeviceLeg, wake: Wake): void {
    const endMs = Math.min(wake.sentAtMs + this.home.settings.windowMs, this.callEndMs);
    if (endMs <= this.nowMs) return;
    wake.state = "waiting";
    wake.reason = "";
    this.home.table.schedule.deadlines.set(wake, endMs);
    this.story.note({
      event: "wake",
      device: leg.id,
      note: `${leg.party} has ${seconds(endMs - this.nowMs)} to come back`,
    });
  }

  end(wake: Wake, state: "registered" | "refused" | "expired" | "cancelled", reason: string): void {
    wake.state = state;
    wake.reason = reason;
    this.home.table.schedule.deadlines.cancel(wake);
    // A push that is still being tried would wake a device that is awake, or for nothing.
    if (wake.pushMs === null && !wake.hasSharers) this.home.port.cancelPush(wake.uuid);
  }

  /** P-06: the app shows a call that no longer is. */
  pushCancel(leg: DeviceLeg, contact: Contact, reason: NonNullable<PushOrder["reason"]>): void {
    this.story.push(leg, contact.push!.provider, "push cancel", reason.replaceAll("_", " "));
    this.home.port.push(this.pushOrder(contact, this.home.port.token(16), "cancel", reason));
  }

  /** P-06: nobody answered, and the device never got the call. Of use for as long as people look for missed calls. */
  pushMissed(leg: DeviceLeg, contact: Contact): void {
    this.story.push(leg, contact.push!.provider, "push missed", "");
    this.home.port.push({ ...this.pushOrder(contact, this.home.port.token(16), "missed"), ttlMs: MISSED_TTL_MS });
  }

  /** The device rings or answers over the connection it had: it need not register. */
  spoke(leg: DeviceLeg, status: number): void {
    const { wake } = leg;
    if (wake === null || !wake.isPending) return;
    wake.hasWoken = true;
    this.end(wake, "cancelled", `${status < 200 ? "rang" : "answered"} without registering`);
  }

  /**
   * The device registered: nothing is left to wait for.
   * @returns what there is to say about it; empty: it was not being woken
   */
  deviceRegistered(leg: DeviceLeg): string {
    this.dropHedge(leg);
    const wake = leg.wake;
    if (wake === null || (!wake.isPending && wake.state !== "expired")) return "";
    const isLate = wake.state === "expired";
    const note = wake.hasWoken ? "came back" : this.noteWoken(wake) + (isLate ? ", later than wake.window" : "");
    this.end(wake, "registered", note);
    return note;
  }

  /** The device registered after the end: said once, as people ask whether it woke at all. */
  deviceCameLate(leg: DeviceLeg): void {
    const { wake } = leg;
    if (wake === null || !leg.hasSleptOn || wake.hasWoken || wake.isTurnedAway) return;
    this.story.register(leg, `${this.noteWoken(wake)}, when the call was over`);
  }

  /** @returns how long it took, in words */
  private noteWoken(wake: Wake): string {
    wake.hasWoken = true;
    wake.wakeMs = this.nowMs - wake.sentAtMs;
    this.home.port.measure("wake_seconds", wake.wakeMs / 1000);
    return `woke after ${seconds(wake.wakeMs)}`;
  }

  /** A contact left usrloc: nobody will register for it, unless the device has another flow. */
  deviceRemoved(contact: Contact): void {
    const leg = this.legs.of(contact);
    const wake = leg?.wake ?? null;
    if (leg === undefined || wake === null || !wake.isPending) return;
    if (this.contactOf(leg) !== undefined) return;
    this.end(wake, "refused", "device is no longer registered");
    this.story.note({ event: "wake_end", device: leg.id, note: `${leg.party} is no longer registered` });
    this.call.settle();
  }

  /** The relay's verdict about a push of this call. */
  pushResult(wake: Wake, result: PushResult): void {
    const leg = this.legs.find(wake.contactId);
    if (leg === undefined) return;
    wake.pushMs = result.ms;
    wake.isTurnedAway = result.outcome === "refused" || result.outcome === "dead";
    const contact = this.contactOf(leg);
    wake.isShared = wake.isPending && result.isRateLimited === true && contact !== undefined &&
      this.home.shareWake(contact);
    const reason = wake.isShared ? `${result.reason}; an earlier push may wake it yet` : result.reason;
    this.story.pushResult(leg, contact?.push?.provider ?? "", { ...result, reason });
    if (wake.isShared) wake.reason = reason;
    else if (result.outcome === "accepted") wake.isAccepted = true;
    else if (wake.isPending && result.outcome !== "failed") {
      this.end(wake, "refused", result.reason);
      this.call.settle();
    } else wake.reason = result.reason;
  }

  /** P-07: true if a push of this call may yet bring the device to another one, which then counts on it. */
  share(contact: Contact): boolean {
    const wake = this.legs.of(contact)?.wake ?? null;
    if (wake === null || !wake.isUnderWay(contact.registeredAtMs, this.home.settings.windowMs, this.nowMs)) {
      return false;
    }
    wake.hasSharers = true;
    return true;
  }

  /** A push of another call was refused: whoever shared it has nothing left to wait for. */
  sharedRefused(contact: Contact, reason: string): void {
    const leg = this.legs.of(contact);
    const wake = leg?.wake ?? null;
    if (leg === undefined || wake === null || !wake.isPending || !wake.isShared) return;
    if (this.home.shareWake(contact)) return;
    this.end(wake, "refused", reason);
    this.story.note({ event: "wake_end", device: leg.id, note: `${leg.party}: the earlier push failed, ${reason}` });
    this.call.settle();
  }

  onHedgeDue(wake: Wake): void {
    const leg = this.legs.find(wake.contactId);
    const contact = leg === undefined ? undefined : this.contactOf(leg);
    if (leg === undefined || contact === undefined || !this.fork.isOpen) return;
    this.start(leg, contact, `no answer within ${this.home.settings.hedgeMs} ms`);
  }

  onWindowOver(wake: Wake): void {
    const what = wake.hasWoken ? "come back" : "wake up";
    const within = seconds(this.home.settings.windowMs);
    this.end(wake, "expired", `did not ${wake.hasWoken ? what : "register"} within ${within}`);
    const party = this.legs.find(wake.contactId)?.party ?? "";
    this.story.note({ event: "wake_end", device: wake.contactId, note: `${party} did not ${what}` });
    this.call.settle();
  }

  /** What the device is pushed by: the contact it was asked by first, or another that leads to the same phone. */
  contactOf(leg: DeviceLeg): Contact | undefined {
    const first = this.home.usrloc.contact(leg.id);
    if (leg.instance === "" || (first !== undefined && hasPushToken(first))) return first;
    const contacts = this.home.usrloc.find(this.story.record.aor)?.contacts;
    return contacts?.find((other) => other.instance === leg.instance && hasPushToken(other)) ?? first;
  }

  /** Early answer while waking (W-09): once, and only if no phone speaks for itself. */
  private sendProgress(): void {
    const { progress } = this.home.settings;
    const { server } = this.fork;
    if (progress === "none" || !this.fork.isOpen || server.status > 100) return;
    server.respond(Number(progress));
    this.story.toCaller(Number(progress), "while waking");
  }

  private pushOrder(
    contact: Contact,
    uuid: string,
    event: PushOrder["event"],
    reason?: PushOrder["reason"],
  ): PushOrder {
    const push = contact.push!;
    const { record } = this.story;
    return {
      uuid,
      event,
      provider: push.provider,
      param: push.param,
      prid: push.prid,
      keys: push.keys,
      aor: record.aor,
      device: contact.id,
      callId: record.callId,
      fromUri: detached(this.fork.request.from.uriText),
      fromName: callerName(this.fork.request),
      toUri: record.to,
      ttlMs: event === "call" ? this.callTtlMs : this.home.settings.windowMs,
      reason,
    };
  }

  /** P-03: `wake.window`, or what `wake.ring_timeout` leaves of it: a call that is over must ring nobody. */
  private get callTtlMs(): number {
    return Math.min(this.home.settings.windowMs, Math.max(0, this.callEndMs - this.nowMs));
  }

  private get callEndMs(): number {
    return this.story.record.startedAtMs + this.home.settings.ringTimeoutMs;
  }

  private get nowMs(): number {
    return this.home.table.schedule.clock.nowMs;
  }
}
