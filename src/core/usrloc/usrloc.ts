/**
 * usrloc: the registered contacts, in memory, which are the truth at run time. Owns the indexes, exact expiry and
 * the change log to the store. Must not know SIP messages, the PBX, or calls: listeners hear of a removal.
 */
import type { Clock } from "../clock.ts";
import type { Flow } from "../sip/flow.ts";
import { splitHostPort } from "../sip/host.ts";
import { SharedTexts } from "./shared_texts.ts";
import {
  type Aor,
  Contact,
  type ContactFields,
  type Expiring,
  type ExpiryOwner,
  type ExpirySchedule,
} from "./contact.ts";
import type { Upstream } from "./model.ts";
import type { ChangeLog, StoredAor, StoredContact } from "./stored.ts";

/** Why a contact left. */
export type RemovalCause = "expired" | "unregistered" | "evicted" | "token_dead" | "control";

/** Told after the fact, within the turn. */
export interface UsrlocListener {
  /** `flow`: the one it had. */
  onContactRemoved(contact: Contact, cause: RemovalCause, flow: Flow | null): void;
  /** When a contact that was just saved or restored must be looked at before it expires, ms; Infinity: never. */
  refreshAtMs(contact: Contact): number;
  /** Called at that time; sets `refreshAtMs` of the contact anew. */
  onRefreshDue(contact: Contact): void;
  /** Found at start: the AoR's contacts ran out while we were away, and the PBX still holds ours. */
  onAorLeft(aor: Aor): void;
}

/** The flow table must not forget a flow a contact is reached over. */
export interface FlowPins {
  pin(flow: Flow): void;
  unpin(flow: Flow): void;
}

/** The guard must know which addresses phones registered from. One call for each contact. */
export interface PhoneAddresses {
  phoneArrived(address: string): void;
  phoneLeft(address: string): void;
}

/** What it tells the store, the flow table and the guard. */
export interface UsrlocPort extends ChangeLog, FlowPins, PhoneAddresses {}

/** `live`: heard of lately, or its connection is open. `unknown`: UDP and silent. `lost`: no way to it but a push. */
export type Reachability = "live" | "unknown" | "lost";

/** One object for all: an upstream binding is replaced, never changed. */
const NO_UPSTREAM: Upstream = Object.freeze({ state: "none", expiresAtMs: 0, callId: "", cseq: 0, lines: "" });

export class Usrloc implements ExpiryOwner {
  private readonly aors = new Map<string, Aor>();
  private readonly aorsById = new Map<string, Aor>();
  private readonly contactsById = new Map<string, Contact>();
  /** By push token, as the phone sent it: an app that changes its user keeps it. */
  private readonly byToken = new Map<string, Contact | Set<Contact>>();
  private readonly texts = new SharedTexts();
  private readonly domainCounts = new Map<string, number>();
  /** AoRs without contacts, kept for their upstream binding. */
  private readonly lapses = new Map<Aor, Lapse>();

  constructor(
    private readonly clock: Clock,
    private readonly expiries: ExpirySchedule,
    private readonly port: UsrlocPort,
    private readonly listener: UsrlocListener,
  ) {}

  get aorCount(): number {
    return this.aors.size;
  }

  get contactCount(): number {
    return this.contactsById.size;
  }

  /** Every AoR, in order of first registration. */
  all(): IterableIterator<Aor> {
    return this.aors.values();
  }

  /** The domains of all AoRs, in no particular order. */
  domains(): IterableIterator<string> {
    return this.domainCounts.keys();
  }

  hasDomain(domain: string): boolean {
    return this.domainCounts.has(domain);
  }

  /** @param key canonical `user@domain` */
  find(key: string): Aor | undefined {
    return this.aors.get(key);
  }

  /** @param id `lf=` of the mode `aor` */
  findById(id: string): Aor | undefined {
    return this.aorsById.get(id);
  }

  contact(id: string): Contact | undefined {
    return this.contactsById.get(id);
  }

  /** The contacts reached over a flow. */
  contactsOver(flow: Flow): Contact[] {
    const over = registeredOver(flow);
    return over === undefined ? [] : over instanceof Set ? [...over] : [over];
  }

  /** True if a contact is registered over this flow. */
  isPhoneFlow(flow: Flow): boolean {
    return flow.registered !== undefined;
  }

  /** The AoR of a key, made if it is new. `id` is used only then. */
  ensure(key: string, user: string, domain: string, id: string): Aor {
    const known = this.aors.get(key);
    if (known !== undefined) return known;
    const aor: Aor = {
      key,
      user,
      domain: this.texts.of(domain),
      id,
      contacts: [],
      upstream: NO_UPSTREAM,
    };
    this.index(aor);
    this.port.aorSaved(aor);
    return aor;
  }

  /** Writes a contact: a new one if `known` is null. The flow it came over becomes its flow. */
  save(aor: Aor, known: Contact | null, id: string, fields: ContactFields, flow: Flow | null): Contact {
    let contact = known;
    let isRefresh = false;
    if (contact === null) {
      contact = new Contact(id, aor, fields, this);
      this.shareTexts(contact);
      aor.contacts.push(contact);
      this.contactsById.set(id, contact);
      this.dropLapse(aor);
    } else {
      contact.sent = "";
      isRefresh = isOnlyRefreshed(contact, fields);
      contact.callId = fields.callId;
      contact.cseq = fields.cseq;
      contact.expiresAtMs = fields.expiresAtMs;
      contact.registeredAtMs = fields.registeredAtMs;
      if (!isRefresh) {
        contact.setContact(fields);
        contact.requestUri = "";
        contact.wakesItself = null;
        contact.instance = fields.instance;
        contact.regId = fields.regId;
        contact.q = fields.q;
        contact.path = fields.path;
        contact.userAgent = fields.userAgent;
        contact.kind = fields.kind;
        if (!samePush(contact, fields)) contact.push = fields.push;
        this.shareTexts(contact);
      }
      if (contact.push !== null) contact.push.registeredAtMs = fields.registeredAtMs;
    }
    this.indexToken(contact);
    this.bind(contact, flow);
    if (flow === null) contact.lastFlowKey = fields.flowKey;
    this.heardFrom(contact, addressOf(contact));
    this.port.contactSaved(contact, isRefresh);
    this.schedule(contact);
    return contact;
  }

  private shareTexts(contact: Contact): void {
    const { texts } = this;
    contact.path = texts.of(contact.path);
    contact.userAgent = texts.of(contact.userAgent);
    const { push } = contact;
    if (push === null) return;
    push.provider = texts.of(push.provider);
    push.param = texts.of(push.param);
  }

  /** A refresh over the same flow: only times, Call-ID and CSeq are new. */
  refresh(contact: Contact, callId: string, cseq: number, expiresAtMs: number, nowMs: number): void {
    // Writing a string into an old object makes the collector visit it again, so an equal string is not written.
    if (contact.callId !== callId) contact.callId = callId;
    contact.cseq = cseq;
    contact.expiresAtMs = expiresAtMs;
    contact.registeredAtMs = nowMs;
    if (contact.push !== null) contact.push.registeredAtMs = nowMs;
    this.port.contactSaved(contact, true);
    this.schedule(contact);
  }

  /** Notes until when the PBX holds a Contact for this device alone (0: none), and whether the PBX ended it by itself. */
  setDeviceUpstream(contact: Contact, endsMs: number, isDropped: boolean): void {
    if (!contact.isRegistered || (contact.upstreamEndsMs === endsMs && contact.isDropped === isDropped)) return;
    contact.upstreamEndsMs = endsMs;
    contact.isDropped = isDropped;
    this.port.contactSaved(contact, true);
  }

  /** Tells the store that something else of the contact changed: token state, push parameters set by hand. */
  touched(contact: Contact): void {
    contact.sent = "";
    if (this.contactsById.get(contact.id) === contact) this.indexToken(contact);
    this.port.contactSaved(contact, false);
  }

  /** The time at which a contact must be looked at has changed: it is asked anew. */
  reschedule(contact: Contact): void {
    if (!contact.isRegistered) return;
    contact.refreshAtMs = this.listener.refreshAtMs(contact);
    const dueMs = Math.min(contact.expiresAtMs, contact.refreshAtMs);
    if (dueMs < contact.dueMs) this.expiries.set(contact, dueMs);
  }

  remove(contact: Contact, cause: RemovalCause): void {
    // A reference to a contact that is gone must not remove the one that has its id now.
    if (this.contactsById.get(contact.id) !== contact) return;
    this.contactsById.delete(contact.id);
    this.expiries.cancel(contact);
    const { flow } = contact;
    this.bind(contact, null);
    this.heardFrom(contact, "");
    this.unindexToken(contact);
    contact.isRegistered = false;
    const contacts = contact.aor.contacts;
    contacts.splice(contacts.indexOf(contact), 1);
    this.port.contactRemoved(contact);
    this.listener.onContactRemoved(contact, cause, flow);
    this.forgetIfEmpty(contact.aor);
  }

  /** Writes the upstream binding; of an AoR that is gone nothing is written. */
  setUpstream(aor: Aor, upstream: Upstream): void {
    if (this.aors.get(aor.key) !== aor) return;
    aor.upstream = upstream;
    this.port.aorSaved(aor);
    this.forgetIfEmpty(aor);
  }

  /** A connection closed: the contacts over it are lost from this moment on, and stay registered. */
  flowClosed(flow: Flow): readonly Contact[] {
    const lost = this.contactsOver(flow);
    for (const contact of lost) this.bind(contact, null);
    return lost;
  }

  /** A message came over a flow: the answer is waited for there, as long as the flow is open. */
  heardOver(flow: Flow): void {
    if (flow.former !== undefined) (flow.former as Former).isBack = true;
  }

  /**
   * The flow that a phone has registered since it left this one: for answers to what it asked over this one.
   * @param aorKey whose phone it is, where several have left; empty: not known
   * @returns null if the phone is still here, or where it is now is not known for sure
   */
  newerFlow(flow: Flow, aorKey: string): Flow | null {
    const former = flow.former as Former | undefined;
    if (former === undefined) return null;
    const isBack = former.isBack || flow.lastHeardMs > former.leftAtMs;
    if (flow.state !== "closed" && (flow.registered !== undefined || isBack)) return null;
    const left = former.contacts.filter((contact) => contact.isRegistered);
    const own = left.filter(({ aor }) => aor.key === aorKey);
    const [first, ...others] = own.length > 0 || former.contacts.length === MAX_FORMER ? own : left;
    // The accounts of one app leave together. Of several phones none gets what may be another's.
    const newer = first?.flow ?? null;
    return newer === null || newer.state === "closed" || others.some((other) => other.flow !== newer) ? null : newer;
  }

  /** How a contact can be reached now. `idleMs`: silence after which UDP is unknown (W-02). */
  reachability(contact: Contact, idleMs: number): Reachability {
    const flow = contact.flow;
    if (flow === null || flow.state === "closed") return "lost";
    if (flow.isReliable) return "live";
    return this.clock.nowMs - flow.lastHeardMs < idleMs ? "live" : "unknown";
  }

  /** Puts back what the store had at start. `flowOf` rebuilds UDP flows. */
  restore(aors: readonly StoredAor[], contacts: readonly StoredContact[], flowOf: (key: string) => Flow | null): void {
    for (const stored of aors) this.index({ ...stored, contacts: [] });
    for (const stored of contacts) {
      const aor = this.aors.get(stored.aorKey);
      if (aor === undefined || this.contactsById.has(stored.id)) continue;
      const contact = new Contact(stored.id, aor, stored, this);
      contact.upstreamEndsMs = stored.upstreamEndsMs;
      contact.isDropped = stored.isDropped;
      aor.contacts.push(contact);
      this.contactsById.set(contact.id, contact);
      this.indexToken(contact);
      this.bind(contact, flowOf(contact.flowKey));
      this.heardFrom(contact, addressOf(contact));
      this.schedule(contact);
    }
    for (const aor of [...this.aors.values()]) {
      if (aor.contacts.length > 0) continue;
      this.forgetIfEmpty(aor);
      if (this.aors.get(aor.key) === aor) this.listener.onAorLeft(aor);
    }
  }

  onExpiryDue(contact: Contact, nowMs: number): void {
    if (!contact.isRegistered) return;
    if (contact.expiresAtMs <= nowMs) return this.remove(contact, "expired");
    if (contact.refreshAtMs <= nowMs) this.listener.onRefreshDue(contact);
    if (contact.isRegistered) this.expiries.set(contact, Math.min(contact.expiresAtMs, contact.refreshAtMs));
  }

  private schedule(contact: Contact): void {
    contact.refreshTries = 0;
    contact.refreshAtMs = this.listener.refreshAtMs(contact);
    const dueMs = Math.min(contact.expiresAtMs, contact.refreshAtMs);
    // Later than the deadline that is set: that one stays, and is set anew when it is due. A refresh then moves nothing.
    if (contact.heapSlot < 0 || dueMs < contact.dueMs) this.expiries.set(contact, dueMs);
  }

  private index(aor: Aor): void {
    this.aors.set(aor.key, aor);
    this.aorsById.set(aor.id, aor);
    this.domainCounts.set(aor.domain, (this.domainCounts.get(aor.domain) ?? 0) + 1);
  }

  /** An AoR without contacts is kept only while the PBX still holds our Contact for it, to the millisecond. */
  forgetIfEmpty(aor: Aor): void {
    if (aor.contacts.length > 0 || this.aors.get(aor.key) !== aor) return;
    const { state, expiresAtMs } = aor.upstream;
    if (state === "registered" && expiresAtMs > this.clock.nowMs) return this.awaitLapse(aor, expiresAtMs);
    this.dropLapse(aor);
    this.aors.delete(aor.key);
    this.aorsById.delete(aor.id);
    const left = this.domainCounts.get(aor.domain)! - 1;
    if (left > 0) this.domainCounts.set(aor.domain, left);
    else this.domainCounts.delete(aor.domain);
    this.port.aorRemoved(aor);
  }

  /** The other contacts, of any AoR, that are woken by the same push token. */
  sharingToken(contact: Contact): Contact[] {
    const { push } = contact;
    if (push === null) return [];
    const same = this.byToken.get(push.prid);
    const all = same === undefined ? [] : same instanceof Set ? [...same] : [same];
    return all.filter((other) =>
      other !== contact && other.push!.provider === push.provider && other.push!.param === push.param
    );
  }

  private indexToken(contact: Contact): void {
    const prid = contact.push?.prid ?? "";
    if (prid === contact.indexedToken) return;
    this.unindexToken(contact);
    if (prid === "") return;
    contact.indexedToken = prid;
    const same = this.byToken.get(prid);
    if (same === undefined) this.byToken.set(prid, contact);
    else if (same instanceof Set) same.add(contact);
    else this.byToken.set(prid, new Set([same, contact]));
  }

  private unindexToken(contact: Contact): void {
    const prid = contact.indexedToken;
    if (prid === "") return;
    contact.indexedToken = "";
    const same = this.byToken.get(prid);
    if (same instanceof Set) {
      same.delete(contact);
      if (same.size === 0) this.byToken.delete(prid);
    } else this.byToken.delete(prid);
  }

  private awaitLapse(aor: Aor, dueMs: number): void {
    let lapse = this.lapses.get(aor);
    if (lapse === undefined) this.lapses.set(aor, lapse = new Lapse(this, aor));
    if (lapse.heapSlot < 0 || lapse.dueMs !== dueMs) this.expiries.set(lapse, dueMs);
  }

  private dropLapse(aor: Aor): void {
    const lapse = this.lapses.get(aor);
    if (lapse === undefined) return;
    this.lapses.delete(aor);
    this.expiries.cancel(lapse);
  }

  /** @param address empty: nowhere */
  private heardFrom(contact: Contact, address: string): void {
    const before = contact.address;
    if (before === address) return;
    contact.address = address;
    if (before !== "") this.port.phoneLeft(before);
    if (address !== "") this.port.phoneArrived(address);
  }

  private bind(contact: Contact, flow: Flow | null): void {
    const old = contact.flow;
    if (old === flow) return;
    if (old !== null) {
      this.port.unpin(old);
      const over = registeredOver(old);
      if (over instanceof Set) over.delete(contact);
      if (!(over instanceof Set) || over.size === 0) old.registered = undefined;
      contact.lastFlowKey = old.key;
      noteLeft(old, contact, this.clock.nowMs);
    }
    contact.flow = flow;
    if (flow === null) return;
    flow.former = undefined;
    this.port.pin(flow);
    contact.lastFlowKey = "";
    const over = registeredOver(flow);
    if (over instanceof Set) over.add(contact);
    else flow.registered = over === undefined ? contact : new Set([over, contact]);
  }
}

/** The remote address of the flow it has or had. */
function addressOf({ flow, lastFlowKey }: Contact): string {
  return flow !== null ? flow.remoteAddress : splitHostPort(lastFlowKey.slice(lastFlowKey.lastIndexOf("|") + 1))[0];
}

/** Most flows have one contact, a proxy or a test phone may have thousands. */
function registeredOver(flow: Flow): Contact | Set<Contact> | undefined {
  return flow.registered as Contact | Set<Contact> | undefined;
}

/** The contacts that were registered over a flow, and have left it. */
class Former {
  readonly contacts: Contact[] = [];
  leftAtMs = 0;
  /** Something was heard over the flow since. */
  isBack = false;
}

/** Of the many phones behind a proxy's connection no more are remembered. */
const MAX_FORMER = 16;

function noteLeft(flow: Flow, contact: Contact, nowMs: number): void {
  const former = (flow.former ??= new Former()) as Former;
  former.leftAtMs = nowMs;
  former.isBack = false;
  if (former.contacts.length < MAX_FORMER && !former.contacts.includes(contact)) former.contacts.push(contact);
}

/** The end of an upstream binding that no contact needs any more. */
class Lapse implements Expiring {
  dueMs = 0;
  heapSlot = -1;

  constructor(private readonly usrloc: Usrloc, private readonly aor: Aor) {}

  onDue(): void {
    this.usrloc.forgetIfEmpty(this.aor);
  }
}

function isOnlyRefreshed(contact: Contact, fields: ContactFields): boolean {
  return contact.uri === fields.uri && contact.params === fields.params && contact.flowKey === fields.flowKey &&
    contact.instance === fields.instance && contact.regId === fields.regId && contact.q === fields.q &&
    contact.path === fields.path && contact.userAgent === fields.userAgent && contact.kind === fields.kind &&
    samePush(contact, fields);
}

function samePush(contact: Contact, fields: ContactFields): boolean {
  const a = contact.push;
  const b = fields.push;
  if (a === null || b === null) return a === b;
  if (!contact.hasUsableToken) return false;
  return a.prid === b.prid && a.provider === b.provider && a.param === b.param;
}
