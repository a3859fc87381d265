/**
 * Owns the wait of requests inside a dialog for a phone that sleeps (RFC 8599 §6, P-02): one push for a device, a deadline
 * for each request, and its end. Must not know how a request finds its way: its owner says how it goes on.
 *
 *   no connection:   held ─device registers→ (goes on)     ─deadline, push refused or dead, device taken out→ 480     ─CANCEL, BYE→ 487
 *   no answer yet:   sent ─any response→ (nothing)     ─hedge, connection failed→ pushed ─device registers→ (sent again)     ─…→ as above
 */
import type { Message } from "../sip/message.ts";
import { unquote } from "../sip/scan.ts";
import type { ServerTransaction } from "../transaction/server.ts";
import { type Schedule, T1_MS, type TransactionPort } from "../transaction/timers.ts";
import type { Contact } from "../usrloc/contact.ts";
import type { PushOrder, PushPort } from "../usrloc/push_order.ts";
import type { RemovalCause } from "../usrloc/usrloc.ts";
import type { Usrloc } from "../usrloc/usrloc.ts";
import type { Target } from "./branch.ts";
import { flowsOf, hasPushToken } from "./device_flows.ts";
import type { Fork } from "./fork.ts";
import { isSameDialog, isSameSubscription, type Worth, worthOf } from "./dialog_worth.ts";
import { HeldRequest, UnansweredRequest, type WaitingOwner, type WaitingRequest } from "./waiting_request.ts";

/** What it asks of the world; verdicts come back through {@link DialogWake.pushResult}. */
export interface DialogWakePort extends TransactionPort, PushPort {}

/** What the config says of it. */
export interface DialogWakeSettings {
  /** How long a wake may take, ms (`wake.window`). */
  readonly windowMs: number;
  /** How long a phone may be silent before it is pushed, ms (`wake.hedge`). */
  readonly hedgeMs: number;
  /** `wake.methods`: of what belongs to a subscription, NOTIFY and SUBSCRIBE wake a phone if they are named here. */
  readonly wakeMethods: ReadonlySet<string>;
}

/** Requests that wait for one device, and for all of them. */
const MAX_HELD_OF_DEVICE = 4;
const MAX_HELD = 1000;
/** Timer F of the sender is 32 s: both our 480 and the phone's own answer have to be there before. */
const NON_INVITE_MS = 20_000;
const REPLACED = "Replaced by a newer NOTIFY";
/** A device for which requests wait. */
interface Sleeper {
  readonly deviceId: string;
  /** Of the push under way; empty: there is none. */
  uuid: string;
  hasVerdict: boolean;
  /** What comes later than this needs a push of its own. */
  pushEndsMs: number;
  /** In the order they came. */
  readonly waiting: Set<WaitingRequest>;
}

export class DialogWake implements WaitingOwner {
  private readonly byDevice = new Map<string, Sleeper>();
  private readonly byUuid = new Map<string, Sleeper>();
  private count = 0;

  constructor(
    private readonly port: DialogWakePort,
    private readonly schedule: Schedule,
    private readonly usrloc: Usrloc,
    public settings: DialogWakeSettings,
  ) {}

  /** Requests that wait for a device to wake; 0: nothing is kept. */
  get heldCount(): number {
    return this.count;
  }

  /**
   * True if a request that goes to its phone is to be watched over ({@link watch}): a BYE always, others if the phone may
   * be asleep and can be pushed. A request that has waited brings no second push.
   */
  isWatched(request: Message, device: Contact, hasWaited: boolean): boolean {
    const worth = worthOf(request, this.settings.wakeMethods);
    return worth === "wait" ||
      (worth === "push" && !hasWaited && device.kind === "mobile" && this.isPushable(device));
  }

  /**
   * Holds a request whose device has no connection and sends the device a push, unless one is on its way. A BYE waits
   * without a push: a phone need not wake to hear that its call is over, but one that just lost its connection comes back
   * in a moment, and would sit in a dead call.
   * @param goOn sends the request on, once the device is back
   * @returns false if it does not wait: its method is not worth a push, the device cannot be pushed, or too many wait
   */
  hold(transaction: ServerTransaction, device: Contact, goOn: () => void): boolean {
    const { request } = transaction;
    const worth = worthOf(request, this.settings.wakeMethods);
    if (request.method === "BYE") this.dialogOver(request, device);
    if (worth === "none" || (worth === "push" && !this.isPushable(device))) return false;
    const others = this.sameNotifies(request, device.id);
    if (others.some((other) => other.request.cseq > request.cseq)) return false;
    if (others.length === 0 && !this.hasRoom(device.id)) return false;
    const held = new HeldRequest(this, device.id, transaction, goOn);
    if (transaction.isInvite) transaction.respond(100);
    this.wait(held, device, worth);
    for (const older of others) this.end(older, 480, REPLACED);
    return true;
  }

  /**
   * Watches a request to a device that may be asleep behind an open connection, or behind a NAT that has closed. If it is
   * silent for the time of the hedge, it is pushed (W-03). A BYE
   * pushes no phone, but goes again when its phone registers.
   * @param retarget where the request would go now
   */
  watch(fork: Fork, device: Contact, retarget: () => Target | null): void {
    const sent = new UnansweredRequest(this, device.id, fork, retarget);
    this.sleeperOf(device.id).waiting.add(sent);
    if (worthOf(fork.request, this.settings.wakeMethods) !== "push") return;
    this.schedule.deadlines.set(sent, this.nowMs + Math.max(T1_MS, this.settings.hedgeMs));
  }

  /** A REGISTER of the device was accepted: what waits for it goes, in the order it came. */
  deviceRegistered(device: Contact): void {
    if (this.byDevice.size === 0 || device.flow === null || device.flow.state === "closed") return;
    // whichever of its flows comes first.
    for (const { id } of flowsOf(device)) {
      const sleeper = this.byDevice.get(id);
      if (sleeper === undefined) continue;
      // It may sleep again before it answered all: what comes then needs another push.
      this.endPush(sleeper);
      for (const waiting of this.waitingFor(sleeper)) this.resume(waiting);
    }
  }

  /** A contact left usrloc. One that lapsed or made room for another was pushed, and may wake as well as before. */
  deviceRemoved(device: Contact, cause: RemovalCause): void {
    if (cause === "expired" || cause === "evicted") return;
    const sleeper = this.byDevice.get(device.id);
    if (sleeper !== undefined) this.giveUp(sleeper, "Phone is no longer registered", false);
  }

  /** The relay's verdict on this push; others are ignored. `failed` ends nothing: an older push may still arrive. */
  pushResult(result: { readonly uuid: string; readonly outcome: "accepted" | "dead" | "refused" | "failed" }): void {
    const sleeper = this.byUuid.get(result.uuid);
    if (sleeper === undefined) return;
    sleeper.hasVerdict = true;
    if (result.outcome === "dead" || result.outcome === "refused") this.giveUp(sleeper, "Phone cannot be woken", true);
  }

  /** For the waiting requests alone. */
  onDue(waiting: WaitingRequest): void {
    if (waiting instanceof UnansweredRequest && !waiting.isWaiting) this.wake(waiting);
    else this.end(waiting, 480, "Phone did not wake up");
  }

  /** For the waiting requests alone. */
  onUnreachable(sent: UnansweredRequest): void {
    this.wake(sent);
  }

  /** For the waiting requests alone: the phone is awake. */
  onHeard(sent: UnansweredRequest): void {
    const sleeper = this.byDevice.get(sent.deviceId);
    if (sleeper !== undefined) this.endPush(sleeper);
  }

  /** For the waiting requests alone. */
  onOver(waiting: WaitingRequest): void {
    this.leave(waiting);
  }

  /** A BYE that left is watched on: its phone may change its connection once more before it answers. */
  private resume(waiting: WaitingRequest): void {
    const isBye = waiting instanceof UnansweredRequest && waiting.request.method === "BYE" && !waiting.hasGoneFar;
    if (!isBye) return this.leave(waiting) ? waiting.resume(true) : undefined;
    if (isWaiting(waiting)) this.count--;
    this.schedule.deadlines.cancel(waiting);
    waiting.resume(false);
  }

  /** One that left waits from now on, and its device is pushed if the request is worth it. */
  private wake(sent: UnansweredRequest): void {
    const device = this.usrloc.contact(sent.deviceId);
    const worth = worthOf(sent.request, this.settings.wakeMethods);
    if (device === undefined || (worth === "push" && !this.isPushable(device))) return void this.leave(sent);
    const others = this.sameNotifies(sent.request, device.id);
    if (others.some(({ request }) => request.cseq > sent.request.cseq)) return this.end(sent, 480, REPLACED);
    if (others.length === 0 && !this.hasRoom(device.id)) return void this.leave(sent);
    sent.hold();
    this.wait(sent, device, worth);
    for (const older of others) this.end(older, 480, REPLACED);
  }

  private wait(waiting: WaitingRequest, device: Contact, worth: Worth): void {
    const { windowMs } = this.settings;
    const waitMs = waiting.request.method === "INVITE"
      ? windowMs
      : worth === "push"
      ? Math.min(windowMs, NON_INVITE_MS)
      : NON_INVITE_MS;
    const sleeper = this.sleeperOf(device.id);
    sleeper.waiting.add(waiting);
    this.count++;
    this.schedule.deadlines.set(waiting, this.nowMs + waitMs);
    if (worth !== "push" || (sleeper.uuid !== "" && this.nowMs < sleeper.pushEndsMs)) return;
    this.endPush(sleeper);
    sleeper.pushEndsMs = this.nowMs + waitMs;
    sleeper.hasVerdict = false;
    sleeper.uuid = this.port.token(16);
    this.byUuid.set(sleeper.uuid, sleeper);
    if (this.port.isLogged("debug", device.aor.key)) {
      const { method } = waiting.request;
      this.port.log("debug", `Push for ${method} in a dialog`, { aor: device.aor.key, device: device.id });
    }
    this.port.push(orderOf(waiting.request, device, sleeper.uuid, waitMs));
  }

  private sleeperOf(deviceId: string): Sleeper {
    let sleeper = this.byDevice.get(deviceId);
    if (sleeper === undefined) {
      this.byDevice.set(
        deviceId,
        sleeper = { deviceId, uuid: "", hasVerdict: false, pushEndsMs: 0, waiting: new Set() },
      );
    }
    return sleeper;
  }

  private isPushable(device: Contact): boolean {
    return hasPushToken(device) && device.expiresAtMs > this.nowMs;
  }

  private hasRoom(deviceId: string): boolean {
    let ofDevice = 0;
    for (const waiting of this.byDevice.get(deviceId)?.waiting ?? []) if (isWaiting(waiting)) ofDevice++;
    if (this.count < MAX_HELD && ofDevice < MAX_HELD_OF_DEVICE) return true;
    this.port.count("rejected_total", "held_limit");
    return false;
  }

  /** RFC 3261 §15.1.2: what was asked in a dialog that is over is not asked any more. The phone wakes for others only. */
  private dialogOver(bye: Message, device: Contact): void {
    for (const waiting of this.waitingFor(this.byDevice.get(device.id))) {
      const { request } = waiting;
      if (request.method !== "BYE" && isSameDialog(request, bye)) this.end(waiting, 487, "The call is over");
    }
  }

  /** NOTIFYs of one subscription that wait. Each tells the state as it is, so that the newest is of use alone (RFC 6665 §4.2.2). */
  private sameNotifies(notify: Message, deviceId: string): readonly WaitingRequest[] {
    if (notify.method !== "NOTIFY") return [];
    return this.waitingFor(this.byDevice.get(deviceId)).filter((waiting) =>
      isWaiting(waiting) && isSameSubscription(waiting.request, notify)
    );
  }

  /** @param isOfPush what waits without a push waits on */
  private giveUp(sleeper: Sleeper, reason: string, isOfPush: boolean): void {
    for (const waiting of this.waitingFor(sleeper)) {
      if (!isWaiting(waiting) || (isOfPush && worthOf(waiting.request, this.settings.wakeMethods) !== "push")) continue;
      if (this.leave(waiting)) waiting.giveUp(reason);
    }
  }

  private waitingFor(sleeper: Sleeper | undefined): readonly WaitingRequest[] {
    return sleeper === undefined ? [] : [...sleeper.waiting];
  }

  private end(waiting: WaitingRequest, status: number, reason: string): void {
    if (this.leave(waiting)) waiting.end(status, reason);
  }

  /** @returns false if it had gone already */
  private leave(waiting: WaitingRequest): boolean {
    const sleeper = this.byDevice.get(waiting.deviceId);
    if (sleeper === undefined || !sleeper.waiting.delete(waiting)) return false;
    if (isWaiting(waiting)) this.count--;
    this.schedule.deadlines.cancel(waiting);
    if (sleeper.waiting.size > 0) return true;
    this.byDevice.delete(sleeper.deviceId);
    this.endPush(sleeper);
    return true;
  }

  /** Its phone came, or its time is over: what comes from now on needs a push of its own. */
  private endPush(sleeper: Sleeper): void {
    const { uuid } = sleeper;
    if (uuid === "") return;
    sleeper.uuid = "";
    this.byUuid.delete(uuid);
    // A push that is still being tried would wake a phone that is awake already, or for nothing.
    if (!sleeper.hasVerdict) this.port.cancelPush(uuid);
  }

  private get nowMs(): number {
    return this.schedule.clock.nowMs;
  }
}

/** True if it waits for its phone to come back; false: an answer may come any moment. */
function isWaiting(waiting: WaitingRequest): boolean {
  return waiting instanceof HeldRequest || waiting.isWaiting;
}

function orderOf(request: Message, device: Contact, uuid: string, ttlMs: number): PushOrder {
  const { provider, param, prid, keys } = device.push!;
  return {
    uuid,
    event: "message",
    method: request.method,
    provider,
    param,
    prid,
    keys,
    aor: device.aor.key,
    device: device.id,
    callId: request.callId,
    fromUri: request.from.uriText,
    fromName: unquote(request.from.display),
    toUri: request.to.uriText,
    ttlMs,
  };
}
