/**
 * What the PBX is believed to hold: for each AoR or device until when, what its 2xx changes in that, and who is told if
 * it is not what it should be. Sends nothing.
 */
import type { Clock } from "../../clock.ts";
import type { Flow } from "../../sip/flow.ts";
import type { Message } from "../../sip/message.ts";
import type { Aor, Contact } from "../../usrloc/contact.ts";
import type { Upstream } from "../../usrloc/model.ts";
import type { Usrloc } from "../../usrloc/usrloc.ts";
import type { Port } from "../../port.ts";
import type { ContactWriter } from "../contact_writer.ts";
import { isPushable, isShort, ROOM_MS } from "../refresh_push.ts";
import type { RegisterRequest } from "../register.ts";
import { grantOf } from "./contact.ts";
import type { UpstreamPolicy } from "./policy.ts";

/** What a 2xx grants, in seconds. */
export interface Grants {
  /** To each of the phone's contacts; 0: it is not registered. */
  phone: number[];
  /** To our Contact for each of them. */
  each: number[];
  /** To us; 0: the PBX holds nothing of what was asked. */
  upstream: number;
  /** What is said again whenever we answer in the PBX's place. */
  lines: string;
}

/** Why it is not sure that the PBX still holds what it granted. */
export interface PbxDoubt {
  /** `lost`: it was away, or is known to have lost Contacts. `maybe`: there are signs that it was started anew. */
  readonly kind: "lost" | "maybe";
  readonly sinceMs: number;
  /** In words, about "the PBX". */
  readonly reason: string;
}

/** What the PBX granted to a REGISTER of our own. */
export interface OwnGrant {
  /** Seconds. */
  readonly granted: number;
  readonly order: number;
  readonly sentAtMs: number;
  readonly callId: string;
  readonly cseq: number;
  /** Header lines that are said again where we answer in the PBX's place. */
  readonly lines: string;
}

export class UpstreamLedger {
  /** AoRs whose sleeping phones the PBX drops sooner than is good for a push, with what it grants, seconds. */
  readonly shortGrants = new Map<Aor, number>();
  /** AoRs of which the PBX dropped a Contact, and which it was told of. */
  private readonly dropping = new Set<Aor>();
  /** What the PBX granted since the doubt; null: there was none. */
  private fresh: WeakSet<Upstream | Contact> | null = null;
  /** The last doubt, also one that every binding has outlived; null: there was none. */
  private lastDoubt: PbxDoubt | null = null;

  constructor(
    private readonly policy: UpstreamPolicy,
    private readonly usrloc: Usrloc,
    private readonly writer: ContactWriter,
    private readonly port: Port,
    private readonly clock: Clock,
  ) {}

  /** When the PBX's binding that a contact depends on ends, ms; 0: none that we know of. */
  upstreamEndsMs(contact: Contact): number {
    if (!this.policy.isOneForAll) return contact.isDropped ? 0 : contact.upstreamEndsMs;
    const { upstream } = contact.aor;
    return upstream.state === "registered" ? upstream.expiresAtMs : 0;
  }

  /** The last doubt about what the PBX holds; null: there was none. */
  get doubt(): PbxDoubt | null {
    return this.lastDoubt;
  }

  /**
   * The PBX may have lost what it held.
   * @param kind `lost`: it was away, or is known to have lost some. `maybe`: there are signs
   * @returns false if it is in doubt already, and nothing is to be done anew
   */
  noteDoubt(kind: PbxDoubt["kind"], reason: string): boolean {
    const { nowMs } = this.clock;
    const last = this.lastDoubt;
    // One doubt makes every binding be asked for once: further signs within that time are the same doubt.
    if (kind === "maybe" && last !== null && nowMs - last.sinceMs < this.policy.settings.verifyMs) return false;
    this.lastDoubt = { kind, sinceMs: nowMs, reason };
    this.fresh = new WeakSet();
    // A phone that must renew what may be lost is to hear of it in time.
    if (kind === "lost") {
      for (const aor of this.usrloc.all()) for (const contact of aor.contacts) this.usrloc.reschedule(contact);
    }
    return true;
  }

  /** True if the PBX has granted nothing for this contact since it may have lost what it held. */
  isInDoubt(contact: Contact): boolean {
    return this.fresh !== null && !this.fresh.has(this.policy.isOneForAll ? contact.aor.upstream : contact) &&
      this.upstreamEndsMs(contact) > this.clock.nowMs;
  }

  /** Contacts whose binding at the PBX is in doubt. Goes through all of them. */
  countInDoubt(): number {
    let count = 0;
    if (this.fresh === null) return count;
    for (const aor of this.usrloc.all()) for (const contact of aor.contacts) if (this.isInDoubt(contact)) count++;
    return count;
  }

  /** It is another PBX than before, or it is told other Contacts: nothing is known of what it holds. */
  forgetAll(): void {
    for (const aor of [...this.usrloc.all()]) {
      for (const contact of aor.contacts) this.usrloc.setDeviceUpstream(contact, 0, false);
      if (aor.upstream.state === "none") continue;
      this.usrloc.setUpstream(aor, { ...aor.upstream, state: "none", expiresAtMs: 0, provenMs: undefined, lines: "" });
    }
  }

  /** As far as the PBX's answers prove it: what a REGISTER may be answered on. */
  provenEndsMs(contact: Contact): number {
    const endsMs = Math.min(this.upstreamEndsMs(contact), contact.aor.upstream.provenMs ?? Infinity);
    if (!this.isInDoubt(contact)) return endsMs;
    const { kind, sinceMs } = this.lastDoubt!;
    return kind === "lost" ? 0 : Math.min(endsMs, sinceMs + this.policy.settings.verifyMs);
  }

  /** True if there is a device the PBX must hold this Contact for. */
  isWanted(aor: Aor, id: string): boolean {
    return this.policy.isOneForAll ? aor.contacts.length > 0 : this.usrloc.contact(id) !== undefined;
  }

  /**
   * Writes how long the PBX holds the Contact of each device.
   * @returns the devices it holds one for
   */
  noteDeviceGrants(request: RegisterRequest, grants: Grants, order: number, arrivedAtMs: number): Contact[] {
    const granted: Contact[] = [];
    const aor = this.usrloc.find(request.aorKey);
    request.contacts.forEach((wanted, i) => {
      const contact = this.writer.known(aor, wanted);
      if (contact === null || grants.each[i]! === 0) return;
      // what a later one was granted counts.
      if (this.writer.inFlight.isOvertaken(aor!.key, contact.id, order)) return;
      this.usrloc.setDeviceUpstream(contact, arrivedAtMs + grants.each[i]! * 1000, false);
      this.fresh?.add(contact);
      granted.push(contact);
    });
    return granted;
  }

  /**
   * A 2xx lists every Contact the PBX holds (RFC 3261 §10.3): one of ours that is missing was evicted there. It is told,
   * and not registered again at once: that would evict the next.
   */
  noteDropped(response: Message, aorKey: string, order: number, flow: Flow): void {
    const aor = this.usrloc.find(aorKey);
    if (this.policy.isOneForAll || aor === undefined || !this.writer.inFlight.isLast(aorKey, order)) return;
    const held = aor.contacts.filter(({ upstreamEndsMs }) => upstreamEndsMs > this.clock.nowMs);
    // One device that is not dropped: nothing to learn, so the PBX's Contacts are not read a second time per REGISTER.
    if (held.length === 0 || (held.length === 1 && !held[0]!.isDropped)) return;
    const listed = held.map(({ id }) => grantOf(response, aor.user, id, flow).isListed);
    if (!listed.includes(true)) return;
    // It has room for all of them now.
    if (held.length > 1 && !listed.includes(false)) this.dropping.delete(aor);
    held.forEach((contact, i) => {
      if (!listed[i] && !contact.isDropped) this.tellDropped(contact);
      this.usrloc.setDeviceUpstream(contact, contact.upstreamEndsMs, !listed[i]);
    });
  }

  /** Two devices in turns would fill the log with one and the same. */
  private tellDropped({ aor, id }: Contact): void {
    const level = this.dropping.has(aor) ? "debug" : "warn";
    this.dropping.add(aor);
    this.port.log(
      level,
      "The PBX dropped this device's Contact when another one registered: raise its max_contacts, or take pbx.mode aor",
      { aor: aor.key, device: id },
    );
  }

  /** Id of the Contact at the PBX that a device depends on. */
  upstreamId(contact: Contact): string {
    return this.policy.isOneForAll ? contact.aor.id : contact.id;
  }

  /** When our Contact with this id ends at the PBX, ms; 0: it holds none that we know of. */
  contactEndsMs(aorKey: string, id: string): number {
    const aor = this.usrloc.find(aorKey);
    if (aor === undefined) return 0;
    if (!this.policy.isOneForAll) return this.usrloc.contact(id)?.upstreamEndsMs ?? 0;
    return aor.upstream.state === "registered" ? aor.upstream.expiresAtMs : 0;
  }

  /** The PBX granted a REGISTER of our own for the Contact with this id. */
  writeOwn(aor: Aor, id: string, grant: OwnGrant): void {
    const { granted, order, sentAtMs, callId, cseq, lines } = grant;
    const expiresAtMs = sentAtMs + granted * 1000;
    const device = this.policy.isOneForAll ? null : this.usrloc.contact(id) ?? null;
    if (device !== null) {
      this.usrloc.setDeviceUpstream(device, expiresAtMs, false);
      this.fresh?.add(device);
    }
    if (this.policy.isOneForAll && !this.writer.inFlight.takesUpstream(aor.key, order)) return;
    const longest = this.policy.isOneForAll ? expiresAtMs : Math.max(expiresAtMs, aor.upstream.expiresAtMs);
    this.usrloc.setUpstream(aor, { state: "registered", expiresAtMs: longest, callId, cseq, lines });
    this.fresh?.add(aor.upstream);
  }

  /** When what a phone depends on ends: with our own refreshes its binding here, else the earlier of both. */
  endsMs(contact: Contact): number {
    const upstreamMs = this.upstreamEndsMs(contact);
    if (upstreamMs === 0 || this.policy.isRenewing(contact.aor.user, this.upstreamId(contact))) {
      return contact.expiresAtMs;
    }
    // what the PBX lost is as good as ended, and only the phone can bring it back.
    const doubtMs = this.lastDoubt?.kind === "lost" && this.isInDoubt(contact)
      ? this.lastDoubt.sinceMs + this.policy.settings.verifyMs
      : Infinity;
    return Math.min(contact.expiresAtMs, upstreamMs, doubtMs);
  }

  /**
   * The PBX answered a phone's REGISTER with 2xx.
   * @returns the AoR whose one Contact for all devices it granted; null: none
   */
  write(request: RegisterRequest, grants: Grants, order: number, arrivedAtMs: number): Aor | null {
    const { aorKey, callId, cseq } = request;
    const { upstream, lines } = grants;
    const known = this.usrloc.find(aorKey);
    const { isOneForAll } = this.policy;
    if (isOneForAll && !this.writer.inFlight.takesUpstream(aorKey, order)) return null;
    if (upstream === 0) {
      if (known === undefined || (!isOneForAll && known.contacts.length > 0)) return null;
      if (known.contacts.length > 0) {
        this.port.log("warn", "The PBX ended its binding though devices are registered", { aor: aorKey });
      }
      this.usrloc.setUpstream(known, { state: "removed", expiresAtMs: 0, callId, cseq, lines });
      return null;
    }
    const aor = known ?? this.usrloc.ensure(aorKey, request.user, request.domain, this.writer.aorId(aorKey));
    let expiresAtMs = arrivedAtMs + upstream * 1000;
    // One Contact per device: what counts is how long the PBX holds any of them.
    if (!isOneForAll && aor.upstream.state === "registered") {
      expiresAtMs = Math.max(expiresAtMs, aor.upstream.expiresAtMs);
    }
    const isSooner = isOneForAll && aor.upstream.state === "registered" && expiresAtMs < aor.upstream.expiresAtMs;
    this.usrloc.setUpstream(aor, { state: "registered", expiresAtMs, callId, cseq, lines });
    this.fresh?.add(aor.upstream);
    // The PBX took back what it granted before: the other devices are to refresh earlier than they thought.
    if (isSooner) { for (const contact of aor.contacts) this.usrloc.reschedule(contact); }
    this.warnOfShortGrant(aor, upstream, request);
    return isOneForAll ? aor : null;
  }

  /** less than a refresh push needs, and we may not renew in the phone's place. */
  private warnOfShortGrant(aor: Aor, granted: number, request: RegisterRequest): void {
    // In mode mirror the phone itself may have asked for no more.
    const isCut = this.policy.mode !== "mirror" ||
      request.contacts.some((wanted) => this.policy.asked(wanted) > granted);
    const isTold = isCut && isShort(granted * 1000, this.policy.settings.refreshLeadMs) &&
      !this.policy.canRenew(aor.user) &&
      aor.contacts.some((contact) => isPushable(contact));
    if (!isTold) return void this.shortGrants.delete(aor);
    const isNew = !this.shortGrants.has(aor);
    this.shortGrants.set(aor, granted);
    if (isNew) this.port.log("warn", this.shortGrantOf(aor), { aor: aor.key });
  }

  /** What an admin is told of a grant that is too short for a sleeping phone, and what to change; empty: it is not. */
  shortGrantOf(aor: Aor): string {
    const granted = this.shortGrants.get(aor);
    return granted === undefined ? "" : shortGrantWords(granted, this.policy);
  }

  /** A device left: what its AoR was told of may be over. */
  onContactRemoved(aor: Aor): void {
    if (aor.contacts.length === 0) this.shortGrants.delete(aor);
    if (aor.contacts.length < 2) this.dropping.delete(aor);
  }
}

/** In mode mirror we never refresh. Where the PBX grants all it was asked for, the key to change is ours. */
function shortGrantWords(granted: number, { settings, mode }: UpstreamPolicy): string {
  const needed = Math.round((settings.refreshLeadMs + ROOM_MS) / 1000);
  const isOurs = mode !== "mirror" && granted >= settings.upstreamExpires;
  const raise = isOurs ? "raise pbx.expires" : RAISE;
  return `The PBX grants only ${granted} s, a sleeping phone needs more than ${needed} s: ${raise}, or ${
    mode === "mirror" ? "take pbx.mode aor or contact with" : "set"
  } pbx.credentials_file so that latefork refreshes it`;
}

/** The setting of each PBX that makes registrations last longer. */
const RAISE =
  "raise its maximum registration time (Asterisk: maximum_expiration of the aor, Kamailio: max_expires of " +
  "registrar, FreeSWITCH: sip-force-expires)";
