/**
 * Keeping the PBX's binding alive while phones sleep: REGISTERs of our own where `pbx.credentials_file` has the
 * user or the PBX trusts us, as long as a device of the AoR can be reached or woken. Owns which AoRs, and what
 * concerns all of them; one is in `renewal.ts`.
 */
import type { Clock } from "../../clock.ts";
import type { Aor } from "../../usrloc/contact.ts";
import type { Usrloc } from "../../usrloc/usrloc.ts";
import type { UpstreamLedger } from "./ledger.ts";
import type { UpstreamLink } from "./own_register.ts";
import { Renewal, type RenewalOwner, type RenewalState } from "./renewal.ts";

/** What comes due for many bindings at one moment is spread, this much for each of them. */
const SPREAD_EACH_MS = 5;
const MIN_SPREAD_MS = 5_000;

export class Renewals implements RenewalOwner {
  private readonly renewals = new Map<string, Renewal>();
  private readonly unreachable = new Set<Renewal>();

  constructor(
    readonly link: UpstreamLink,
    readonly ledger: UpstreamLedger,
    readonly usrloc: Usrloc,
    readonly clock: Clock,
    /** A REGISTER of ours was answered or failed, and what came of it is written. */
    readonly onAnswered: (aorKey: string, order: number) => void,
  ) {}

  /** The PBX granted a Contact of this AoR, or one was set by hand: the next refresh is timed by it. */
  granted(aor: Aor, id: string): void {
    if (this.link.policy.canRenew(aor.user)) this.renewalOf(aor, id).rest();
  }

  /**
   * What was stored is there again: our refreshes begin where they were. Bindings that lapsed meanwhile come at
   * once, so their number is known first.
   */
  restored(): void {
    const renewals: Renewal[] = [];
    for (const aor of this.usrloc.all()) {
      if (aor.contacts.length === 0 || !this.link.policy.canRenew(aor.user)) continue;
      if (this.link.policy.isOneForAll) renewals.push(this.renewalOf(aor, aor.id));
      else for (const { id } of aor.contacts) renewals.push(this.renewalOf(aor, id));
    }
    for (const renewal of renewals) renewal.rest();
  }

  private renewalOf(aor: Aor, id: string): Renewal {
    let renewal = this.renewals.get(id);
    if (renewal === undefined) this.renewals.set(id, renewal = new Renewal(this, aor.key, id));
    return renewal;
  }

  /** The PBX answers: what failed because it did not is tried again soon, not all of it at once. */
  pbxAnswered(): void {
    if (this.unreachable.size === 0) return;
    const spreadMs = this.spreadMs(this.unreachable.size);
    for (const renewal of this.unreachable) renewal.hurry(spreadMs);
    this.unreachable.clear();
  }

  /**
   * The PBX may have lost what it held: all of it is renewed soon, not at once.
   * @param withinMs the time over which they are spread, if they need no more
   * @returns how many
   */
  renewAll(withinMs: number): number {
    const spreadMs = Math.max(withinMs, this.spreadMs(this.renewals.size));
    this.unreachable.clear();
    for (const renewal of this.renewals.values()) renewal.hurry(spreadMs);
    return this.renewals.size;
  }

  /** One binding is renewed at once: the PBX does not list it any more. */
  renew(id: string): void {
    this.renewals.get(id)?.hurry(0);
  }

  /** The AoR of a binding we renew. */
  aorOf(id: string): Aor | undefined {
    const renewal = this.renewals.get(id);
    return renewal === undefined ? undefined : this.usrloc.find(renewal.aorKey);
  }

  /** Ids of the bindings we renew, from the one behind `after` on, `most` at most; begins anew at the end. */
  idsAfter(after: string, most: number): string[] {
    const ids = [...this.renewals.keys()];
    const start = ids.indexOf(after) + 1;
    return [...ids.slice(start), ...ids.slice(0, start)].slice(0, most);
  }

  stateOf(id: string): RenewalState | null {
    return this.renewals.get(id)?.state() ?? null;
  }

  /** True if the last refresh of this binding failed. */
  isFailing(id: string): boolean {
    const renewal = this.renewals.get(id);
    return renewal !== undefined && renewal.failure !== "none";
  }

  /** Bindings whose last refresh failed. */
  get failing(): number {
    let count = 0;
    for (const renewal of this.renewals.values()) if (renewal.failure !== "none") count++;
    return count;
  }

  get size(): number {
    return this.renewals.size;
  }

  /** For the renewals alone: the time over which so many REGISTERs are spread. */
  spreadMs(count: number): number {
    return Math.max(MIN_SPREAD_MS, count * SPREAD_EACH_MS);
  }

  /** For the renewals alone; see {@link RenewalOwner}. */
  noteUnreachable(renewal: Renewal): boolean {
    return this.unreachable.add(renewal).size === 1;
  }

  /** For the renewals alone. */
  noteReachable(renewal: Renewal): void {
    this.unreachable.delete(renewal);
  }

  /** For the renewals alone. */
  forget(id: string, renewal: Renewal): void {
    this.unreachable.delete(renewal);
    this.renewals.delete(id);
  }
}
