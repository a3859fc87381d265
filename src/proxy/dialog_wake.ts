/**
 * Owns the requests inside a dialog that wait for their phone to wake (RFC 8599 §6, P-02): one push for a device however
 * many wait, a deadline for each request, and its end. Must not know how a request finds its way: whoever has it held says
 * how it goes on.
 *
 *   held ─device registers→ (goes on)     ─deadline, push refused or dead, device removed→ 480     ─CANCEL, BYE→ 487
 */
import type { Message } from "../sip/message.ts";
import { unquote } from "../sip/scan.ts";
import type { Due } from "../transaction/deadline.ts";
import type { ServerOwner, ServerTransaction } from "../transaction/server.ts";
import type { Schedule, TransactionPort } from "../transaction/timers.ts";
import type { Contact } from "../usrloc/model.ts";
import type { PushOrder } from "../usrloc/push_order.ts";
import { flowsOf } from "./device_flows.ts";

/** What it asks of the world. */
export interface DialogWakePort extends TransactionPort {
  /** Starts a push; the verdict comes back through {@link DialogWake.pushResult}. */
  push(order: PushOrder): void;
  /** Takes a push back that waits for a retry. */
  cancelPush(uuid: string): void;
}

/** Requests held for one device, and for all of them. */
const MAX_HELD_OF_DEVICE = 4;
const MAX_HELD = 1000;
/** Timer F of the sender is 32 s: both our 480 and the phone's own answer have to be there before. */
const NON_INVITE_MS = 20_000;
/** A phone need not wake to hear that a call is over or to be asked whether it is, nor for what follows its own answer. */
const NOT_WORTH_WAKING = new Set(["BYE", "ACK", "CANCEL", "PRACK", "OPTIONS"]);

/** A device that is being woken. */
interface Sleeper {
  readonly deviceId: string;
  /** Of the push. */
  readonly uuid: string;
  hasVerdict: boolean;
  /** In the order they came. */
  readonly held: Set<HeldRequest>;
}

export class DialogWake {
  private readonly byDevice = new Map<string, Sleeper>();
  private readonly byUuid = new Map<string, Sleeper>();
  private count = 0;

  constructor(
    private readonly port: DialogWakePort,
    private readonly schedule: Schedule,
    /** How long a wake may take, ms (`wake.window`). */
    private readonly windowMs: () => number,
  ) {}

  /** Requests that wait; 0: nothing is kept. */
  get heldCount(): number {
    return this.count;
  }

  /**
   * Holds a request whose device has no connection and sends the device a push, unless one is on its way.
   * @param goOn sends the request on, once the device is back
   * @returns false if it is not to wait: its method is not worth it, the device cannot be pushed, too many wait already
   */
  hold(transaction: ServerTransaction, device: Contact, goOn: () => void): boolean {
    const { push } = device;
    if (transaction.request.method === "BYE") this.dialogOver(transaction.request, device);
    if (NOT_WORTH_WAKING.has(transaction.request.method)) return false;
    if (push === null || push.tokenState === "dead" || device.expiresAtMs <= this.schedule.clock.nowMs) return false;
    const known = this.byDevice.get(device.id);
    if (this.count >= MAX_HELD || (known !== undefined && known.held.size >= MAX_HELD_OF_DEVICE)) {
      this.port.count("rejected_total", "held_limit");
      return false;
    }
    const waitMs = transaction.isInvite ? this.windowMs() : Math.min(this.windowMs(), NON_INVITE_MS);
    const sleeper = known ?? { deviceId: device.id, uuid: this.port.token(16), hasVerdict: false, held: new Set() };
    const held = new HeldRequest(transaction, sleeper, goOn, (one, status, reason) => this.end(one, status, reason));
    sleeper.held.add(held);
    this.count++;
    transaction.owner = held;
    this.schedule.deadlines.set(held, this.schedule.clock.nowMs + waitMs);
    if (transaction.isInvite) transaction.respond(100);
    if (known !== undefined) return true;
    this.byDevice.set(device.id, sleeper);
    this.byUuid.set(sleeper.uuid, sleeper);
    if (this.port.isLogged("debug", device.aor.key)) {
      const { method } = transaction.request;
      this.port.log("debug", `Push for ${method} in a dialog`, { aor: device.aor.key, device: device.id });
    }
    this.port.push(orderOf(transaction, device, sleeper.uuid, waitMs));
    return true;
  }

  /** A REGISTER of the device was accepted: what waits for it goes, in the order it came. */
  deviceRegistered(device: Contact): void {
    if (device.flow === null || device.flow.state === "closed") return;
    // whichever of its flows comes first.
    for (const { id } of flowsOf(device)) {
      for (const held of this.heldOf(this.byDevice.get(id))) if (this.leave(held)) held.goOn();
    }
  }

  /** A contact left usrloc: nobody will register for it. */
  deviceRemoved(device: Contact): void {
    this.giveUp(this.byDevice.get(device.id), "Phone is no longer registered");
  }

  /** The relay's verdict; those of other pushes are ignored. `failed` ends nothing: an older push may still arrive. */
  pushResult(result: { readonly uuid: string; readonly outcome: "accepted" | "dead" | "refused" | "failed" }): void {
    const sleeper = this.byUuid.get(result.uuid);
    if (sleeper === undefined) return;
    sleeper.hasVerdict = true;
    if (result.outcome === "dead" || result.outcome === "refused") this.giveUp(sleeper, "Phone cannot be woken");
  }

  /** RFC 3261 §15.1.2: what was asked in a dialog that is over is not asked any more. The phone wakes for others only. */
  private dialogOver({ callId, from, to }: Message, device: Contact): void {
    for (const held of this.heldOf(this.byDevice.get(device.id))) {
      const { request } = held.transaction;
      if (request.callId !== callId || request.from.tag !== from.tag || request.to.tag !== to.tag) continue;
      this.end(held, 487, "The call is over");
    }
  }

  private giveUp(sleeper: Sleeper | undefined, reason: string): void {
    for (const held of this.heldOf(sleeper)) this.end(held, 480, reason);
  }

  private heldOf(sleeper: Sleeper | undefined): readonly HeldRequest[] {
    return sleeper === undefined ? [] : [...sleeper.held];
  }

  private end(held: HeldRequest, status: number, reason: string): void {
    if (this.leave(held)) held.transaction.respond(status, reason);
  }

  /** @returns false if it had gone already */
  private leave(held: HeldRequest): boolean {
    const { sleeper } = held;
    if (!sleeper.held.delete(held)) return false;
    this.count--;
    this.schedule.deadlines.cancel(held);
    held.transaction.owner = null;
    if (sleeper.held.size === 0) {
      this.byDevice.delete(sleeper.deviceId);
      this.byUuid.delete(sleeper.uuid);
      // A push that is still being tried would wake a phone that is awake, or for nothing.
      if (!sleeper.hasVerdict) this.port.cancelPush(sleeper.uuid);
    }
    return true;
  }
}

class HeldRequest implements Due, ServerOwner {
  dueMs = 0;
  heapSlot = -1;

  constructor(
    readonly transaction: ServerTransaction,
    readonly sleeper: Sleeper,
    readonly goOn: () => void,
    private readonly end: (held: HeldRequest, status: number, reason: string) => void,
  ) {}

  onDue(): void {
    this.end(this, 480, "Phone did not wake up");
  }

  onCancel(): void {
    this.end(this, 487, "");
  }
}

function orderOf({ request }: ServerTransaction, device: Contact, uuid: string, ttlMs: number): PushOrder {
  const { provider, param, prid, keys } = device.push!;
  return {
    uuid,
    event: "message",
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
