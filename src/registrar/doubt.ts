/**
 * A REGISTER is on its way to the PBX that may end or shorten what it holds. Until its answer tells, nothing is answered
 * here that builds on more than this REGISTER leaves there: should the answer never come, or we be killed meanwhile, the
 * next REGISTER goes to the PBX, too. A refusal takes the doubt back.
 */
import type { Binding } from "../usrloc/binding.ts";
import type { Aor, Upstream } from "../usrloc/model.ts";
import type { Usrloc } from "../usrloc/usrloc.ts";

/** Id of a Contact at the PBX → seconds it is asked for, 0: to remove it; null: all of the AoR's are removed. */
export type Asked = ReadonlyMap<string, number> | null;

export class Doubts {
  private readonly byAor = new Map<string, Set<Doubt>>();

  constructor(private readonly usrloc: Usrloc) {}

  /**
   * A REGISTER goes to the PBX.
   * @param isOneForAll the PBX holds one Contact for all devices
   */
  begin(aor: Aor | undefined, order: number, asked: Asked, isOneForAll: boolean, nowMs: number): Doubt | null {
    // A question changes nothing, and of whom nobody is registered nothing is answered here.
    if (asked?.size === 0 || aor === undefined || aor.contacts.length === 0) return null;
    const doubt = new Doubt(this.usrloc, aor, order, asked, isOneForAll, nowMs);
    if (!doubt.apply()) return null;
    const ofAor = this.byAor.get(aor.key);
    if (ofAor === undefined) this.byAor.set(aor.key, new Set([doubt]));
    else ofAor.add(doubt);
    return doubt;
  }

  /** A REGISTER was answered or failed, and what came of it is written: what was sent behind it is in doubt as before. */
  end(aorKey: string, order: number, doubt: Doubt | null): void {
    const ofAor = this.byAor.get(aorKey);
    if (ofAor === undefined) return;
    if (doubt !== null) ofAor.delete(doubt);
    if (ofAor.size === 0) this.byAor.delete(aorKey);
    for (const later of ofAor) if (later.order > order) later.apply();
  }

  get size(): number {
    return this.byAor.size;
  }
}

export class Doubt {
  private before: Upstream | null = null;
  private after: Upstream | null = null;
  /** Until when each device was believed in, and is now. */
  private readonly devices = new Map<Binding, { beforeMs: number; afterMs: number }>();

  constructor(
    private readonly usrloc: Usrloc,
    private readonly aor: Aor,
    readonly order: number,
    private readonly asked: Asked,
    private readonly isOneForAll: boolean,
    private readonly nowMs: number,
  ) {}

  /** Believes no more than is left then. @returns false if that is no less than before */
  apply(): boolean {
    return this.isOneForAll ? this.applyToAor() : this.applyToDevices();
  }

  /** The PBX refused: things are as they were, where nobody has told anew since. */
  lift(): void {
    if (this.before !== null && this.aor.upstream === this.after) this.usrloc.setUpstream(this.aor, this.before);
    for (const [binding, { beforeMs, afterMs }] of this.devices) {
      if (binding.upstreamEndsMs === afterMs) this.usrloc.setDeviceUpstream(binding, beforeMs, binding.isDropped);
    }
  }

  private applyToAor(): boolean {
    const { upstream } = this.aor;
    const untilMs = this.nowMs + Math.max(0, ...(this.asked?.values() ?? [])) * 1000;
    // What is in doubt may be there all the same, and is to be ended when the time has come.
    if (upstream.state !== "registered" || (upstream.provenMs ?? upstream.expiresAtMs) <= untilMs) return false;
    this.before = upstream;
    this.after = { ...upstream, provenMs: untilMs };
    this.usrloc.setUpstream(this.aor, this.after);
    return true;
  }

  private applyToDevices(): boolean {
    let isLess = false;
    for (const contact of this.aor.contacts) {
      const binding = contact as Binding;
      const seconds = this.asked === null ? 0 : this.asked.get(binding.id);
      if (seconds === undefined) continue;
      const [beforeMs, afterMs] = [binding.upstreamEndsMs, this.nowMs + seconds * 1000];
      if (beforeMs <= afterMs) continue;
      this.devices.set(binding, { beforeMs, afterMs });
      this.usrloc.setDeviceUpstream(binding, afterMs, binding.isDropped);
      isLess = true;
    }
    return isLess;
  }
}
