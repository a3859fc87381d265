/**
 * REGISTERs that are at the PBX and may end or shorten what it holds. Until one is answered, nothing is absorbed that
 * relies on more than it leaves there: if the answer never comes, or this process is killed, the next REGISTER goes to
 * the PBX, too. A refusal restores what was believed before.
 */
import type { Aor, Contact } from "../../usrloc/contact.ts";
import type { Upstream } from "../../usrloc/model.ts";
import type { Usrloc } from "../../usrloc/usrloc.ts";

/** Id of a Contact at the PBX → seconds it is asked for, 0: to remove it; null: all of the AoR's are removed. */
export type Asked = ReadonlyMap<string, number> | null;

export class UnansweredRegisters {
  private readonly byAor = new Map<string, Set<UnansweredRegister>>();

  constructor(private readonly usrloc: Usrloc) {}

  /**
   * A REGISTER goes to the PBX. What it asks for may be less only than what one before it is about to be granted, even
   * if no device is registered yet.
   * @param isOneForAll the PBX holds one Contact for all devices
   */
  begin(aorKey: string, order: number, asked: Asked, isOneForAll: boolean, nowMs: number): UnansweredRegister | null {
    if (asked?.size === 0) return null; // a question changes nothing
    const unanswered = new UnansweredRegister(this.usrloc, aorKey, order, asked, isOneForAll, nowMs);
    unanswered.apply();
    const ofAor = this.byAor.get(aorKey);
    if (ofAor === undefined) this.byAor.set(aorKey, new Set([unanswered]));
    else ofAor.add(unanswered);
    return unanswered;
  }

  /** A REGISTER was answered or failed, and what came of it is written: what was sent behind it still counts. */
  end(aorKey: string, order: number, unanswered: UnansweredRegister | null): void {
    const ofAor = this.byAor.get(aorKey);
    if (ofAor === undefined) return;
    if (unanswered !== null) ofAor.delete(unanswered);
    if (ofAor.size === 0) this.byAor.delete(aorKey);
    for (const later of ofAor) if (later.order > order) later.apply();
  }

  get size(): number {
    return this.byAor.size;
  }
}

export class UnansweredRegister {
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

  /** From now on no more is relied on than this REGISTER leaves. */
  apply(): void {
    const aor = this.usrloc.find(this.aorKey);
    if (aor === undefined) return;
    if (this.isOneForAll) this.applyToAor(aor);
    else this.applyToDevices(aor);
  }

  /** The PBX refused: what was believed before holds again, unless a later answer changed it. */
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
    // The PBX may hold it all the same, and is to be ended when the time has come.
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
