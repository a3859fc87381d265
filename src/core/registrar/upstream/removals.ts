/**
 * REGISTERs of our own: ending the PBX's binding when the last device is gone without having said so.
 * Owns which are under way, held back or undecided, and how many go at once; one on its way is in `removal.ts`.
 */
import type { Clock } from "../../clock.ts";
import type { Aor, Contact } from "../../usrloc/contact.ts";
import type { StoredRemnant } from "../../usrloc/stored.ts";
import type { RemovalCause, Usrloc } from "../../usrloc/usrloc.ts";
import { LogLimit } from "../log_limit.ts";
import type { UpstreamLedger } from "./ledger.ts";
import type { UpstreamLink } from "./own_register.ts";
import { SendRate } from "../send_rate.ts";
import { Removal, type RemovalOwner } from "./removal.ts";

/** Removals go no faster than one in this time, so many at once aside: after a restart there may be thousands. */
const EACH_MS = 5;
const BURST = 20;

export class Removals implements RemovalOwner {
  /** Removals at the PBX or waiting for their next try, by id of the upstream Contact. */
  private readonly removals = new Map<string, Removal>();
  /** How many of them each AoR has. */
  private readonly countOf = new Map<Aor, number>();
  /** Contacts to take off the PBX unless the REGISTER that is there now is accepted: by AoR, their ids. */
  private readonly undecided = new Map<string, Set<string>>();
  readonly rate = new SendRate(EACH_MS, BURST);
  private readonly complaints = new LogLimit();

  constructor(
    readonly link: UpstreamLink,
    private readonly ledger: UpstreamLedger,
    private readonly usrloc: Usrloc,
    readonly clock: Clock,
  ) {}

  /** A contact left by itself: the PBX must not go on believing in it. */
  onContactRemoved(contact: Contact, cause: RemovalCause): void {
    const { aor } = contact;
    // A removal by REGISTER went through the PBX.
    if (cause === "unregistered") return;
    if (this.link.policy.isOneForAll) {
      if (aor.contacts.length === 0) this.end(aor, aor.id);
    } else if (this.link.policy.mode === "contact" || cause !== "expired") this.end(aor, contact.id);
    // In mode mirror the PBX granted the very expiry that has just passed.
    else if (aor.contacts.length === 0) this.over(aor);
  }

  /** The last contact ran out while we were away. */
  onAorLeft(aor: Aor): void {
    if (this.link.policy.isOneForAll) this.end(aor, aor.id);
  }

  /** Devices ran out while we were away, whose own Contacts the PBX still holds. */
  onRemnants(remnants: readonly StoredRemnant[]): void {
    if (this.link.policy.mode !== "contact") return;
    for (const { aorKey, id } of remnants) {
      const aor = this.usrloc.find(aorKey);
      if (aor !== undefined) this.end(aor, id);
    }
  }

  /** The devices a binding was asked for may have left while the PBX was thinking. */
  endIfDeserted(aorKey: string): void {
    const aor = this.link.policy.isOneForAll ? this.usrloc.find(aorKey) : undefined;
    if (aor !== undefined && aor.contacts.length === 0) this.end(aor, aor.id);
  }

  /** Takes our Contact with this id off the PBX. */
  end(aor: Aor, id: string): void {
    if (!this.isHeld(aor)) return this.over(aor);
    if (this.link.inFlight.askedFor(aor.key, id) > 0) return this.decideLater(aor.key, id);
    if (this.removals.has(id)) return;
    const removal = new Removal(this, aor, id);
    this.removals.set(id, removal);
    this.countOf.set(aor, (this.countOf.get(aor) ?? 0) + 1);
    removal.start();
  }

  /**
   * A REGISTER that adds this Contact goes to the PBX: a removal must not arrive behind it. Should the PBX refuse the
   * REGISTER, {@link answered} takes the removal up again.
   */
  hold(aorKey: string, id: string): void {
    const removal = this.removals.get(id);
    if (removal === undefined) return;
    removal.stop();
    this.decideLater(aorKey, id);
  }

  /** A REGISTER of this AoR was answered, and what came of it is written. */
  answered(aorKey: string): void {
    const ids = this.undecided.get(aorKey);
    if (ids === undefined) return;
    this.undecided.delete(aorKey);
    const aor = this.usrloc.find(aorKey);
    if (aor === undefined) return;
    for (const id of ids) if (!this.ledger.isWanted(aor, id)) this.end(aor, id);
  }

  /** True while the PBX holds a Contact of ours for this AoR, as far as we know. */
  isHeld(aor: Aor): boolean {
    return this.usrloc.find(aor.key) === aor && aor.upstream.state === "registered" &&
      aor.upstream.expiresAtMs > this.clock.nowMs;
  }

  /** The AoR is held no longer for the PBX's sake, unless another Contact of it is still to be ended there. */
  over(aor: Aor): void {
    if (aor.contacts.length > 0 || this.countOf.has(aor)) return;
    this.usrloc.setUpstream(aor, { ...aor.upstream, state: "removed", expiresAtMs: 0 });
  }

  /** For the removals alone: nothing more of it is sent. */
  done(aor: Aor, id: string, removal: Removal): void {
    if (this.removals.get(id) !== removal) return;
    this.removals.delete(id);
    const left = this.countOf.get(aor)! - 1;
    if (left > 0) this.countOf.set(aor, left);
    else this.countOf.delete(aor);
  }

  /** For the removals alone: the PBX keeps a Contact of ours. */
  complain(aor: Aor, why: string): void {
    const { port } = this.link;
    const left = Math.max(0, Math.round((aor.upstream.expiresAtMs - this.clock.nowMs) / 1000));
    const { level, note } = this.complaints.next(why, this.clock.nowMs);
    port.log(level, `Cannot end the PBX's binding, it keeps our Contact for another ${left} s: ${why}${note}`, {
      aor: aor.key,
    });
    port.count("registrations_total", "upstream_not_ended");
  }

  private decideLater(aorKey: string, id: string): void {
    const ids = this.undecided.get(aorKey);
    if (ids === undefined) this.undecided.set(aorKey, new Set([id]));
    else ids.add(id);
  }
}
