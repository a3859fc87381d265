/**
 * Owns the health of push services: the last answer of each host, and when hosts make the whole backend ill. It must know
 * no time, no retries and no service.
 *
 * A host is ill if its last answer was `retry` or a fault of ours. A fault that may be the phone's own (it subscribed with
 * another key) counts once a second device gets it, or if no other device was ever served. A backend is ill if one of its
 * hosts fails several devices, or if no host is well: a single phone may name a service that cannot be reached at all.
 */
import type { AttemptAnswer } from "./backend.ts";

/** Hosts remembered; the one that spoke longest ago is forgotten first. Phones choose them. */
export const MAX_HEALTH_HOSTS = 64;
/** So many failing devices count as several. */
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
  /** Devices that failed since one was served, at most {@link SEVERAL}. */
  readonly failed: Set<string>;
  /** The device served last; empty: none yet. */
  served: string;
}

export class Health {
  private readonly byHost = new Map<string, Host>();

  /**
   * What a host said.
   * @param device to be woken: its contact id, or its token
   */
  note(host: string, device: string, answer: AttemptAnswer): void {
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

  private fail(host: Host, device: string, answer: AttemptAnswer): void {
    if (host.failed.size < SEVERAL) host.failed.add(device);
    const isOwnFault = answer.isPerhapsThePhones === true && host.failed.size < SEVERAL && host.served !== "" &&
      host.served !== device;
    if (isOwnFault) return;
    host.isFailing = true;
    host.reason = answer.reason;
  }
}
