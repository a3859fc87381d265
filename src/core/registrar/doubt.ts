/**
 * A REGISTER is on its way to the PBX that may end or shorten what it holds. Until its answer tells, nothing is answered
 * here that builds on more than this REGISTER leaves there: should the answer never come, or we be killed meanwhile, the
 * next REGISTER goes to the PBX, too. A refusal takes the doubt back.
 */
import type { Aor, Contact } from "../usrloc/contact.ts";
import type { Upstream } from "../usrloc/model.ts";
import type { Usrloc } from "../usrloc/usrloc.ts";

/** Id of a Contact at the PBX → seconds it is asked for, 0: to remove it; null: all of the AoR's are removed. */
export type Asked = ReadonlyMap<string, number> | null;

export class Doubts {
  private readonly byAor = new Map<string, Set<Doubt>>();

  constructor(private readonly usrloc: Usrloc) {}

  /**
   * A REGISTER goes to the PBX. What it asks for may be less only than what one before it is about to be granted, even
   * if nobody is registered yet.
   * @param isOneForAll the PBX holds one Contact for all devices
   */
  begin(aorKey: string, order: number, asked: Asked, isOneForAll: boolean, nowMs: number): Doubt | null {
    if (asked?.size === 0) return null; // a question changes nothing
    const doubt = new Doubt(this.usrloc, aorKey, order, asked, isOneForAll, nowMs);
    doubt.apply();
    const ofAor = this.byAor.get(aorKey);
    if (ofAor === undefined) this.byAor.set(aorKey, new Set([doubt]));
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
  private devices: Map<Contact, { beforeMs: number; afterMs: number }> | null = null;

  constructor(
    private readonly usrloc: Usrloc,
    private readonly aorKey: string,
    readonly order: number,
    private readonly asked: Asked,
    private readonly isOneForAll: boolean,
    private readonly nowMs: number,
  ) {}

  /** Believes no more than is left then. */
  apply(): void {
    const aor = this.usrloc.find(this.aorKey);
    if (aor === undefined) return;
    if (this.isOneForAll) this.applyToAor(aor);
    else this.applyToDevices(aor);
  }

  /** The PBX refused: things are as they were, where nobody has told anew since. */
  lift(): void {
    const aor = this.usrloc.find(this.aorKey);
    if (this.before !== null && aor !== undefined && aor.upstream === this.after) {
      this.usrloc.setUpstream(aor, this.before);
    }
    for (const [contact, { beforeMs, afterMs }] of this.devices ?? []) {
      if (contact.upstreamEndsMs === afterMs) this.usrloc.setDeviceUpstream(contact, beforeMs, contact.isDropped);
    }
  }

  private applyToAor(aor: Aor): void {
    const { upstream } = aor;
    const untilMs = this.nowMs + Math.max(0, ...(this.asked?.values() ?? [])) * 1000;
    // What is in doubt may be there all the same, and is to be ended when the time has come.
    if (upstream.state !== "registered" || (upstream.provenMs ?? upstream.expiresAtMs) <= untilMs) return;
    this.before = upstream;
    this.after = { ...upstream, provenMs: untilMs };
    this.usrloc.setUpstream(aor, this.after);
  }

  private applyToDevices(aor: Aor): void {
    for (const contact of aor.contacts) {
      const seconds = this.asked === null ? 0 : this.asked.get(contact.id);
      if (seconds === undefined) continue;
      const [beforeMs, afterMs] = [contact.upstreamEndsMs, this.nowMs + seconds * 1000];
      if (beforeMs <= afterMs) continue;
      (this.devices ??= new Map()).set(contact, { beforeMs, afterMs });
      this.usrloc.setDeviceUpstream(contact, afterMs, contact.isDropped);
    }
  }
}
