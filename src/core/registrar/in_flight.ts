/**
 * The REGISTERs that are at the PBX right now, by AoR: what a later one already settled, so that an earlier one whose
 * answer comes late does not undo it, and what is about to be added, so that it is not taken off the PBX meanwhile.
 * Forgets everything about an AoR with its last answer. Must not know messages, contacts or the PBX.
 */

/** In place of a device id: all devices of the AoR (`Contact: *`). */
export const EVERY_DEVICE = "*";

/** Ids of the upstream Contacts a REGISTER adds or refreshes → seconds the PBX is asked for. */
export type Adding = ReadonlyMap<string, number>;

interface AorInFlight {
  /** Order of arrival → the upstream Contacts it adds. */
  readonly pending: Map<number, Adding>;
  /** Device id → order of the latest accepted REGISTER about it. */
  readonly settled: Map<string, number>;
  /** Order of the latest that went to the PBX. */
  latest: number;
  /** Order of the latest accepted REGISTER that told the upstream expiry. */
  upstreamOrder: number;
}

/** Whoever has something wait for the PBX's answer. */
export interface InFlightListener {
  /** A REGISTER went to the PBX; `ids`: of the upstream Contacts it adds or refreshes. */
  onAsked(aorKey: string, ids: Iterable<string>): void;
  /** It was answered, or will never be. */
  onAnswered(aorKey: string, ids: Iterable<string>): void;
}

export class InFlight {
  private readonly byAor = new Map<string, AorInFlight>();
  private count = 0;

  constructor(private readonly listener: InFlightListener | null = null) {}

  /** AoRs with a REGISTER at the PBX. */
  get size(): number {
    return this.byAor.size;
  }

  /** True if a REGISTER of this AoR is at the PBX. */
  isBusy(aorKey: string): boolean {
    return this.byAor.has(aorKey);
  }

  /** True if no REGISTER of this AoR went to the PBX behind this one, nor is another there: its answer tells how things are. */
  isLast(aorKey: string, order: number): boolean {
    const ofAor = this.byAor.get(aorKey);
    return ofAor !== undefined && ofAor.pending.size === 1 && ofAor.latest === order;
  }

  /**
   * A REGISTER goes to the PBX.
   * @returns its order, from 1, higher than that of all before it
   */
  begin(aorKey: string, adds: Adding): number {
    const order = ++this.count;
    let ofAor = this.byAor.get(aorKey);
    if (ofAor === undefined) {
      this.byAor.set(aorKey, ofAor = { pending: new Map(), settled: new Map(), latest: 0, upstreamOrder: 0 });
    }
    ofAor.latest = order;
    ofAor.pending.set(order, adds);
    this.listener?.onAsked(aorKey, adds.keys());
    return order;
  }

  /** It was answered, or will never be; to be told after what came of it was written. */
  end(aorKey: string, order: number): void {
    const ofAor = this.byAor.get(aorKey);
    const adds = ofAor?.pending.get(order);
    if (ofAor === undefined || adds === undefined) return;
    ofAor.pending.delete(order);
    const oldest = ofAor.pending.keys().next().value;
    if (oldest === undefined) this.byAor.delete(aorKey);
    // Orders rise, so the first one left is the lowest. What was settled before it can be forgotten.
    else for (const [device, settled] of ofAor.settled) if (settled < oldest) ofAor.settled.delete(device);
    this.listener?.onAnswered(aorKey, adds.keys());
  }

  /** The longest that REGISTERs at the PBX ask for this upstream Contact, seconds; 0: none adds it. */
  askedFor(aorKey: string, id: string): number {
    let longest = 0;
    for (const adds of this.byAor.get(aorKey)?.pending.values() ?? []) longest = Math.max(longest, adds.get(id) ?? 0);
    return longest;
  }

  /** The PBX accepted a REGISTER about this device, or about {@link EVERY_DEVICE}. */
  settle(aorKey: string, device: string, order: number): void {
    const ofAor = this.byAor.get(aorKey);
    if (ofAor === undefined || ofAor.pending.size < 2) return;
    ofAor.settled.set(device, Math.max(order, ofAor.settled.get(device) ?? 0));
  }

  /** True if a later REGISTER about this device was accepted already. */
  isOvertaken(aorKey: string, device: string, order: number): boolean {
    const settled = this.byAor.get(aorKey)?.settled;
    if (settled === undefined) return false;
    return order < (settled.get(device) ?? 0) || order < (settled.get(EVERY_DEVICE) ?? 0);
  }

  /** True if this REGISTER may write the upstream expiry: no later one has. */
  takesUpstream(aorKey: string, order: number): boolean {
    const ofAor = this.byAor.get(aorKey);
    if (ofAor === undefined) return true;
    if (order < ofAor.upstreamOrder) return false;
    ofAor.upstreamOrder = order;
    return true;
  }
}
