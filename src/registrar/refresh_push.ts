/**
 * Refresh pushes (R-09, RFC 8599 §5): a sleeping phone is asked to register again before its binding ends, and again
 * with less and less patience. Keeps nothing of its own: what it knows of a device is on its binding.
 */
import type { Clock } from "../sip/clock.ts";
import type { Port } from "../sip/port.ts";
import type { Binding } from "../usrloc/binding.ts";
import type { Usrloc } from "../usrloc/usrloc.ts";

/** A push that asks for a REGISTER; the relay's request, field by field. */
export interface RefreshOrder {
  readonly uuid: string;
  readonly event: "refresh";
  readonly provider: string;
  readonly param: string;
  readonly prid: string;
  readonly aor: string;
  readonly device: string;
  readonly callId: string;
  readonly fromUri: string;
  readonly fromName: string;
  readonly toUri: string;
  readonly ttlMs: number;
}

export interface RefreshPort extends Port {
  push(order: RefreshOrder): void;
}

export interface RefreshSettings {
  /** How long before the end the first push goes (`push.refresh_before`). */
  readonly leadMs: number;
  /** Silence after which a UDP flow is unknown. */
  readonly idleMs: number;
}

/** Between the first push and the second; doubles. */
const REPEAT_MS = 15_000;
/** A phone needs about this long to wake up and register: later pushes help nobody. */
const LAST_CALL_MS = 5_000;
/** How often a phone that is awake is looked at again. */
const AWAKE_MS = 20_000;

export class RefreshPush {
  constructor(
    private readonly port: RefreshPort,
    private readonly clock: Clock,
    private readonly usrloc: Usrloc,
    public settings: RefreshSettings,
    /** When what keeps the device reachable ends: its binding, or the PBX's where nobody else keeps that alive. */
    private readonly endsMs: (binding: Binding) => number,
  ) {}

  /** When the device is to be looked at next, after a REGISTER; Infinity: never, it cannot be woken. */
  firstMs(binding: Binding): number {
    if (!isPushable(binding)) return Infinity;
    const { leadMs } = this.settings;
    const nowMs = this.clock.nowMs;
    // Granted less than the lead: half of it is better than nothing.
    return Math.max(this.endsMs(binding) - leadMs, nowMs + (binding.expiresAtMs - nowMs) / 2);
  }

  /** It is time to look at the device. Sets when to look again. */
  onDue(binding: Binding): void {
    const nowMs = this.clock.nowMs;
    const endMs = this.endsMs(binding);
    if (!isPushable(binding) || endMs - nowMs < LAST_CALL_MS) return void (binding.refreshAtMs = Infinity);
    if (binding.refreshTries === 0 && nowMs < this.firstMs(binding) - 1 && endMs - nowMs > this.settings.leadMs) {
      return void (binding.refreshAtMs = endMs - this.settings.leadMs);
    }
    // Whoever is awake refreshes by itself; its app may still fall asleep before.
    if (this.usrloc.reachability(binding, this.settings.idleMs) === "live" && endMs - nowMs > AWAKE_MS) {
      return void (binding.refreshAtMs = nowMs + AWAKE_MS);
    }
    this.push(binding, endMs - nowMs);
    if (binding.refreshTries === 1) {
      this.port.log("warn", "Device is at risk: it did not answer a refresh push", {
        aor: binding.aor.key,
        device: binding.id,
      });
    }
    binding.refreshAtMs = nowMs + REPEAT_MS * 2 ** binding.refreshTries;
    binding.refreshTries++;
  }

  private push(binding: Binding, leftMs: number): void {
    const { provider, param, prid } = binding.push!;
    if (this.port.isLogged("debug", binding.aor.key)) {
      this.port.log("debug", `Refresh push, ${Math.round(leftMs / 1000)} s before the end`, {
        aor: binding.aor.key,
        device: binding.id,
      });
    }
    this.port.push({
      uuid: this.port.token(16),
      event: "refresh",
      provider,
      param,
      prid,
      aor: binding.aor.key,
      device: binding.id,
      callId: "",
      fromUri: "",
      fromName: "",
      toUri: "sip:" + binding.aor.key,
      ttlMs: leftMs,
    });
  }
}

/** True if a refresh push was not answered: the device may be gone at its next call. */
export function isAtRisk(binding: Binding): boolean {
  return binding.refreshTries > 1;
}

function isPushable(binding: Binding): boolean {
  return binding.kind === "mobile" && binding.push !== null && binding.push.tokenState !== "dead";
}
