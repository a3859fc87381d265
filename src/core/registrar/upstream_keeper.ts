/**
 * Keeping the PBX's binding alive while phones sleep: REGISTERs of our own where `pbx.credentials_file` has the
 * user or the PBX trusts us, as long as a device of the AoR can be reached or woken. Owns for whom, and what
 * concerns all of them; one is in `upstream_keep.ts`.
 */
import type { Clock } from "../clock.ts";
import type { Aor } from "../usrloc/contact.ts";
import type { Usrloc } from "../usrloc/usrloc.ts";
import type { MidRegistrar } from "./mid_registrar.ts";
import { Keep, type KeeperState } from "./upstream_keep.ts";

/** What comes due for many bindings at one moment is spread, this much for each of them. */
const SPREAD_EACH_MS = 5;
const MIN_SPREAD_MS = 5_000;

export class UpstreamKeeper {
  private readonly keeps = new Map<string, Keep>();
  private readonly unreachable = new Set<Keep>();

  constructor(readonly registrar: MidRegistrar, readonly usrloc: Usrloc, readonly clock: Clock) {}

  /** True if we can register for this user ourselves. */
  canKeep(user: string): boolean {
    const { settings, mode } = this.registrar;
    return mode !== "mirror" && (settings.trustsUs || settings.credentials(user) !== null);
  }

  /** True if we can, and the PBX did not say no to it for the binding with this id. */
  isKeeping(user: string, id: string): boolean {
    return this.canKeep(user) && this.keeps.get(id)?.failure !== "refused";
  }

  /** The PBX granted a Contact of this AoR, or one was set by hand: the next refresh is timed by it. */
  granted(aor: Aor, id: string): void {
    if (this.canKeep(aor.user)) this.keepOf(aor, id).rest();
  }

  /**
   * What was stored is there again: our refreshes begin where they were. Bindings that lapsed meanwhile come at
   * once, so their number is known first.
   */
  restored(): void {
    const keeps: Keep[] = [];
    for (const aor of this.usrloc.all()) {
      if (aor.contacts.length === 0 || !this.canKeep(aor.user)) continue;
      if (this.registrar.mode === "aor") keeps.push(this.keepOf(aor, aor.id));
      else for (const { id } of aor.contacts) keeps.push(this.keepOf(aor, id));
    }
    for (const keep of keeps) keep.rest();
  }

  private keepOf(aor: Aor, id: string): Keep {
    let keep = this.keeps.get(id);
    if (keep === undefined) this.keeps.set(id, keep = new Keep(this, aor.key, id));
    return keep;
  }

  /** The PBX answers: what failed because it did not is tried again soon, not all of it at once. */
  pbxAnswered(): void {
    if (this.unreachable.size === 0) return;
    const spreadMs = this.spreadMs(this.unreachable.size);
    for (const keep of this.unreachable) keep.hurry(spreadMs);
    this.unreachable.clear();
  }

  /** The PBX was away, and may have lost what it held: all of it is renewed soon, not at once. */
  renewAll(): void {
    const spreadMs = this.spreadMs(this.keeps.size);
    this.unreachable.clear();
    for (const keep of this.keeps.values()) keep.hurry(spreadMs);
  }

  stateOf(id: string): KeeperState | null {
    return this.keeps.get(id)?.state() ?? null;
  }

  /** True if the last refresh of this binding failed. */
  isFailing(id: string): boolean {
    const keep = this.keeps.get(id);
    return keep !== undefined && keep.failure !== "none";
  }

  /** Bindings whose last refresh failed. */
  get failing(): number {
    let count = 0;
    for (const keep of this.keeps.values()) if (keep.failure !== "none") count++;
    return count;
  }

  get size(): number {
    return this.keeps.size;
  }

  /** For the keeps alone: the time over which so many REGISTERs are spread. */
  spreadMs(count: number): number {
    return Math.max(MIN_SPREAD_MS, count * SPREAD_EACH_MS);
  }

  /** For the keeps alone. @returns true if it is the first: one line in the log tells of a PBX that is away, not thousands */
  noteUnreachable(keep: Keep): boolean {
    return this.unreachable.add(keep).size === 1;
  }

  /** For the keeps alone. */
  noteReachable(keep: Keep): void {
    this.unreachable.delete(keep);
  }

  /** For the keeps alone. */
  forget(id: string, keep: Keep): void {
    this.unreachable.delete(keep);
    this.keeps.delete(id);
  }
}
