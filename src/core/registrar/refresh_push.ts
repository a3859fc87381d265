/**
 * Refresh pushes (R-09, RFC 8599 §5): a sleeping phone is asked to register again before its binding ends, and again
 * with less and less patience. Keeps nothing of its own: what it knows of a device is on its binding.
 */
import type { Clock } from "../clock.ts";
import type { Port } from "../port.ts";
import { paramOf } from "../sip/scan.ts";
import type { Contact } from "../usrloc/contact.ts";
import type { PushPort } from "../usrloc/push_order.ts";
import { SendRate } from "./send_rate.ts";

export type RefreshPort = Port & Pick<PushPort, "push">;

export interface RefreshSettings {
  /** How long before the end the first push goes (`push.refresh_before`). */
  readonly leadMs: number;
  /** Silence after which a phone may be asleep (`wake.idle`). */
  readonly idleMs: number;
}

/**
 * What a registration must last beyond `push.refresh_before`. With less the phone would be pushed again as soon as it has
 * registered.
 */
export const ROOM_MS = 60_000;
/** Between the first push and the second; doubles up to the second. */
const REPEAT_MS = 15_000;
const MAX_REPEAT_MS = 600_000;
/** A phone needs about this long to wake up and register: a later push comes too late. */
const LAST_CALL_MS = 5_000;
/** RFC 8599 §5.5: at least this long before the end. */
const SELF_WAKING_LEAD_MS = 120_000;
/** Pushes go no faster than one in this time, so many at once aside: after a restart thousands may be late. */
const EACH_MS = 5;
const BURST = 100;
/** How often a phone that is awake is looked at again. */
const AWAKE_MS = 20_000;

export class RefreshPush {
  private readonly pace = new SendRate(EACH_MS, BURST);
  /** Devices that wait for their turn to be pushed. */
  private readonly waiting = new WeakSet<Contact>();

  constructor(
    private readonly port: RefreshPort,
    private readonly clock: Clock,
    public settings: RefreshSettings,
    /** When the device stops being reachable, ms: its registration ends here, or the PBX's where the phone alone renews it. */
    private readonly endsMs: (contact: Contact) => number,
  ) {}

  /** When the device is to be looked at next, after a REGISTER; Infinity: never, it cannot be woken. */
  firstMs(contact: Contact): number {
    if (!isPushable(contact)) return Infinity;
    const nowMs = this.clock.nowMs;
    const endMs = this.endsMs(contact);
    const plannedMs = this.plannedMs(contact, endMs);
    return plannedMs > nowMs ? plannedMs : nowMs + Math.max(0, endMs - nowMs) / 2;
  }

  /** When the first push is to go. In a short registration it goes after half of it: sooner would not help. */
  private plannedMs(contact: Contact, endMs: number): number {
    const leadMs = this.leadMs(contact);
    const lengthMs = endMs - contact.registeredAtMs;
    return isShort(lengthMs, leadMs) ? endMs - lengthMs / 2 : endMs - leadMs;
  }

  /** It is time to look at the device. Sets when to look again. */
  onDue(contact: Contact): void {
    const nowMs = this.clock.nowMs;
    const endMs = this.endsMs(contact);
    if (!isPushable(contact)) return void (contact.refreshAtMs = Infinity);
    const plannedMs = this.plannedMs(contact, endMs);
    // The PBX's binding was renewed by another device or by us, and lasts longer now.
    if (plannedMs > nowMs) {
      contact.refreshTries = 0;
      return void (contact.refreshAtMs = plannedMs);
    }
    if (contact.expiresAtMs - nowMs < LAST_CALL_MS) return void (contact.refreshAtMs = Infinity);
    // Whoever is awake refreshes by itself; its app may still fall asleep before.
    if (this.isAwake(contact) && endMs - nowMs > AWAKE_MS) return void (contact.refreshAtMs = nowMs + AWAKE_MS);
    const turnMs = this.waiting.delete(contact) ? nowMs : this.pace.take(nowMs);
    if (turnMs > nowMs) {
      this.waiting.add(contact);
      return void (contact.refreshAtMs = turnMs);
    }
    // The PBX's binding may have lapsed already: only the phone can bring it back.
    this.push(contact, (endMs > nowMs ? endMs : contact.expiresAtMs) - nowMs);
    if (contact.refreshTries === 1) {
      this.port.log("warn", "Device is at risk: it did not answer a refresh push", {
        aor: contact.aor.key,
        device: contact.id,
      });
    }
    contact.refreshAtMs = nowMs + Math.min(REPEAT_MS * 2 ** contact.refreshTries, MAX_REPEAT_MS);
    contact.refreshTries++;
  }

  /** RFC 8599 §5.5: a phone that can wake itself is pushed only if it did not. */
  private leadMs(contact: Contact): number {
    contact.wakesItself ??= wakesItself(contact.params);
    return contact.wakesItself ? Math.min(this.settings.leadMs, SELF_WAKING_LEAD_MS) : this.settings.leadMs;
  }

  /** Heard of lately. An open connection alone says nothing: that of a sleeping phone stays open for hours. */
  private isAwake({ flow }: Contact): boolean {
    return flow !== null && flow.state === "open" && this.clock.nowMs - flow.lastHeardMs < this.settings.idleMs;
  }

  private push(contact: Contact, leftMs: number): void {
    const { provider, param, prid, keys } = contact.push!;
    if (this.port.isLogged("debug", contact.aor.key)) {
      this.port.log("debug", `Refresh push, ${Math.round(leftMs / 1000)} s before the end`, {
        aor: contact.aor.key,
        device: contact.id,
      });
    }
    this.port.push({
      uuid: this.port.token(16),
      event: "refresh",
      provider,
      param,
      prid,
      keys,
      aor: contact.aor.key,
      device: contact.id,
      callId: "",
      fromUri: "",
      fromName: "",
      toUri: "sip:" + contact.aor.key,
      ttlMs: leftMs,
    });
  }
}

/** True if a registration of this length ends soon after the first refresh push for it could be sent. */
export function isShort(lengthMs: number, leadMs: number): boolean {
  return lengthMs <= leadMs + ROOM_MS;
}

/** True if a refresh push was not answered: the device may be gone at its next call. */
export function isAtRisk(contact: Contact): boolean {
  return contact.refreshTries > 1;
}

/** True if the device can be woken. */
export function isPushable(contact: Contact): boolean {
  return contact.kind === "mobile" && contact.hasUsableToken;
}

/** True if a Contact with these header parameters said that it wakes itself in time to refresh (RFC 8599 §4.1.4 `+sip.pnsreg`). */
export function wakesItself(params: string): boolean {
  return params !== "" && paramOf(params, "+sip.pnsreg") !== undefined;
}
