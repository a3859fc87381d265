/**
 * Owns how a push service is seen to do: the last word of each host, and which of them make the whole backend ill. It must
 * know no time, no retries and no service.
 *
 * A host is ill by its last word, `retry` or a fault of ours. A fault that may as well be the phone's own (it subscribed with
 * another key) is believed of the host once a second device hears it, or where nobody else was ever served. A backend is ill
 * by a host that fails several devices, or when no host is well: a phone may name a service that nobody else can reach.
 */
import type { PushAnswer } from "./backend.ts";

/** Hosts remembered; the one that spoke longest ago is forgotten first. Phones choose them. */
export const MAX_HEALTH_HOSTS = 64;
/** So many devices that fail are several. */
const SEVERAL = 2;

/** One entry of `hosts` in `GET /v1/push`. */
export interface HostHealth {
  /** Scheme, host and port. */
  host: string;
  state: "healthy" | "failing";
  /** Why it is failing; empty while it is not. */
  last_reason: string;
}

interface Host {
  isFailing: boolean;
  reason: string;
  /** That failed since somebody was served, at most {@link SEVERAL}. */
  readonly failed: Set<string>;
  /** The device served last; empty: none yet. */
  served: string;
}

export class Health {
  private readonly byHost = new Map<string, Host>();

  /**
   * What a host said.
   * @param device whoever was to be woken: its contact id, or its token
   */
  note(host: string, device: string, answer: PushAnswer): void {
    const isRefused = answer.kind === "refused" && !answer.isOurFault;
    // We refused it: the service was not asked.
    if (isRefused && answer.status === 0) return;
    const known = this.byHost.get(host) ?? { isFailing: false, reason: "", failed: new Set<string>(), served: "" };
    this.byHost.delete(host);
    this.byHost.set(host, known);
    if (this.byHost.size > MAX_HEALTH_HOSTS) this.byHost.delete(this.byHost.keys().next().value!);
    if (answer.kind === "retry" || answer.isOurFault) this.fail(known, device, answer);
    else {
      known.isFailing = false;
      known.reason = "";
      known.failed.clear();
      if (answer.kind === "accepted") known.served = device;
    }
  }

  get isFailing(): boolean {
    let isAnyWell = this.byHost.size === 0;
    for (const { isFailing, failed } of this.byHost.values()) {
      if (isFailing && failed.size >= SEVERAL) return true;
      if (!isFailing) isAnyWell = true;
    }
    return !isAnyWell;
  }

  /** The host that spoke last stands first. */
  hosts(): HostHealth[] {
    return [...this.byHost].reverse().map(([host, { isFailing, reason }]) => ({
      host,
      state: isFailing ? "failing" : "healthy",
      last_reason: reason,
    }));
  }

  private fail(host: Host, device: string, answer: PushAnswer): void {
    if (host.failed.size < SEVERAL) host.failed.add(device);
    const isOwnFault = answer.isPerhapsThePhones === true && host.failed.size < SEVERAL && host.served !== "" &&
      host.served !== device;
    if (isOwnFault) return;
    host.isFailing = true;
    host.reason = answer.reason;
  }
}
