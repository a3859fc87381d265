/**
 * Owns the wait of requests inside a dialog for a phone that sleeps (RFC 8599 §6, P-02): one push for a device however
 * many wait, a deadline for each request, and its end. Must not know how a request finds its way: whoever has it held says
 * how it goes on.
 *
 *   no connection:   held ─device registers→ (goes on)     ─deadline, push refused or dead, device removed→ 480     ─CANCEL, BYE→ 487
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
import { HeldRequest, UnansweredRequest, type WaitingOwner, type WaitingRequest } from "./waiting_request.ts";

/** What it asks of the world; verdicts come back through {@link DialogWake.pushResult}. */
export interface DialogWakePort extends TransactionPort, PushPort {}

/** What the config says of it, ms. */
export interface DialogWakeTimes {
  /** How long a wake may take (`wake.window`). */
  readonly windowMs: number;
  /** How long a phone may be silent before it is pushed (`wake.hedge`). */
  readonly hedgeMs: number;
}

/** Requests that wait for one device, and for all of them. */
const MAX_HELD_OF_DEVICE = 4;
const MAX_HELD = 1000;
/** Timer F of the sender is 32 s: both our 480 and the phone's own answer have to be there before. */
const NON_INVITE_MS = 20_000;
/** A phone need not wake to hear that a call is over or to be asked whether it is, nor for what follows its own answer. */
const NOT_WORTH_WAKING = new Set(["BYE", "ACK", "CANCEL", "PRACK", "OPTIONS"]);

/** A device for which requests wait. */
interface Sleeper {
  readonly deviceId: string;
  /** Of the push; empty before one was sent. */
  uuid: string;
  hasVerdict: boolean;
  /** In the order they came. */
  readonly waiting: Set<WaitingRequest>;
}

/** True if a request of this method is worth a push. */
export function isWorthWaking(method: string): boolean {
  return !NOT_WORTH_WAKING.has(method);
}

export class DialogWake implements WaitingOwner {
  private readonly byDevice = new Map<string, Sleeper>();
  private readonly byUuid = new Map<string, Sleeper>();
  private count = 0;

  constructor(
    private readonly port: DialogWakePort,
    private readonly schedule: Schedule,
    private readonly usrloc: Usrloc,
    public times: DialogWakeTimes,
  ) {}

  /** Requests that wait for a device to wake; 0: nothing is kept. */
  get heldCount(): number {
    return this.count;
  }

  /**
   * Holds a request whose device has no connection and sends the device a push, unless one is on its way.
   * @param goOn sends the request on, once the device is back
   * @returns false if it is not to wait: its method is not worth it, the device cannot be pushed, too many wait already
   */
  hold(transaction: ServerTransaction, device: Contact, goOn: () => void): boolean {
    if (transaction.request.method === "BYE") this.dialogOver(transaction.request, device);
    if (!isWorthWaking(transaction.request.method) || !this.isPushable(device)) return false;
    if (!this.hasRoom(device.id)) return false;
    const held = new HeldRequest(this, device.id, transaction, goOn);
    if (transaction.isInvite) transaction.respond(100);
    this.wait(held, device);
    return true;
  }

  /**
   * Watches over a request that is about to leave towards a device that may be asleep behind an open connection, or
   * behind a NAT that has closed: nothing heard within the time of the hedge, and it is pushed (W-03).
   * @param retarget where the request would go now
   */
  watch(fork: Fork, device: Contact, retarget: () => Target | null): void {
    if (!this.isPushable(device)) return;
    const sent = new UnansweredRequest(this, device.id, fork, retarget);
    this.sleeperOf(device.id).waiting.add(sent);
    this.schedule.deadlines.set(sent, this.nowMs + Math.max(T1_MS, this.times.hedgeMs));
  }

  /** A REGISTER of the device was accepted: what waits for it goes, in the order it came. */
  deviceRegistered(device: Contact): void {
    if (this.byDevice.size === 0 || device.flow === null || device.flow.state === "closed") return;
    // whichever of its flows comes first.
    for (const { id } of flowsOf(device)) {
      for (const waiting of this.waitingFor(this.byDevice.get(id))) if (this.leave(waiting)) waiting.resume();
    }
  }

  /** A contact left usrloc. One that lapsed or made room for another was pushed, and may wake as well as before. */
  deviceRemoved(device: Contact, cause: RemovalCause): void {
    if (cause === "expired" || cause === "evicted") return;
    this.giveUp(this.byDevice.get(device.id), "Phone is no longer registered");
  }

  /** The relay's verdict; those of other pushes are ignored. `failed` ends nothing: an older push may still arrive. */
  pushResult(result: { readonly uuid: string; readonly outcome: "accepted" | "dead" | "refused" | "failed" }): void {
    const sleeper = this.byUuid.get(result.uuid);
    if (sleeper === undefined) return;
    sleeper.hasVerdict = true;
    if (result.outcome === "dead" || result.outcome === "refused") this.giveUp(sleeper, "Phone cannot be woken");
  }

  /** For the waiting requests alone. */
  onDue(waiting: WaitingRequest): void {
    if (waiting instanceof UnansweredRequest && !waiting.isPushed) this.wake(waiting);
    else this.end(waiting, 480, "Phone did not wake up");
  }

  /** For the waiting requests alone. */
  onUnreachable(sent: UnansweredRequest): void {
    this.wake(sent);
  }

  /** For the waiting requests alone. */
  onOver(waiting: WaitingRequest): void {
    this.leave(waiting);
  }

  /** One that left waits from now on, and its device is pushed. */
  private wake(sent: UnansweredRequest): void {
    const device = this.usrloc.contact(sent.deviceId);
    if (device === undefined || !this.isPushable(device) || !this.hasRoom(device.id)) return void this.leave(sent);
    sent.hold();
    this.wait(sent, device);
  }

  private wait(waiting: WaitingRequest, device: Contact): void {
    const { windowMs } = this.times;
    const waitMs = waiting.request.method === "INVITE" ? windowMs : Math.min(windowMs, NON_INVITE_MS);
    const sleeper = this.sleeperOf(device.id);
    sleeper.waiting.add(waiting);
    this.count++;
    this.schedule.deadlines.set(waiting, this.nowMs + waitMs);
    if (sleeper.uuid !== "") return;
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
      this.byDevice.set(deviceId, sleeper = { deviceId, uuid: "", hasVerdict: false, waiting: new Set() });
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
  private dialogOver({ callId, from, to }: Message, device: Contact): void {
    for (const waiting of this.waitingFor(this.byDevice.get(device.id))) {
      const { request } = waiting;
      if (request.callId !== callId || request.from.tag !== from.tag || request.to.tag !== to.tag) continue;
      this.end(waiting, 487, "The call is over");
    }
  }

  private giveUp(sleeper: Sleeper | undefined, reason: string): void {
    for (const waiting of this.waitingFor(sleeper)) {
      if (isWaiting(waiting) && this.leave(waiting)) waiting.giveUp(reason);
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
    if (sleeper.uuid === "") return true;
    this.byUuid.delete(sleeper.uuid);
    // A push that is still being tried would wake a phone that is awake, or for nothing.
    if (!sleeper.hasVerdict) this.port.cancelPush(sleeper.uuid);
    return true;
  }

  private get nowMs(): number {
    return this.schedule.clock.nowMs;
  }
}

/** True if it waits for its phone to wake; false: an answer may come any moment. */
function isWaiting(waiting: WaitingRequest): boolean {
  return waiting instanceof HeldRequest || waiting.isPushed;
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
