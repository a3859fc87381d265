/**
 * usrloc: the truth about who is registered, in memory. Owns the indexes, exact expiry and the change log to
 * the store. Must not know SIP messages, the PBX, or calls; whoever wants to hear of a removal is its listener.
 */
import type { Clock } from "../clock.ts";
import type { Flow } from "../sip/flow.ts";
import { SharedTexts } from "./shared_texts.ts";
import { Binding, type ContactFields, type Expiring, type ExpiryOwner, type ExpirySchedule } from "./binding.ts";
import type { Aor, ChangeLog, Contact, StoredAor, StoredContact, Upstream } from "./model.ts";

/** Why a contact left. */
export type RemovalCause = "expired" | "unregistered" | "evicted" | "token_dead" | "token_moved" | "control";

/** Told after the fact, within the turn. */
export interface UsrlocListener {
  /** `flow`: the one it had. */
  onContactRemoved(contact: Contact, cause: RemovalCause, flow: Flow | null): void;
  /** When a contact that was just saved or put back wants to be looked at before it expires, ms; Infinity: never. */
  refreshAtMs(contact: Binding): number;
  /** That time has come; sets `refreshAtMs` of the contact anew. */
  onRefreshDue(contact: Binding): void;
  /** Found at start: the AoR's contacts ran out while we were away, and the PBX still holds ours. */
  onAorLeft(aor: Aor): void;
}

/** The flow table must not forget a flow a contact is reached over. */
export interface FlowPins {
  pin(flow: Flow): void;
  unpin(flow: Flow): void;
}

/** `live`: heard of lately, or its connection is open. `unknown`: UDP and silent. `lost`: no way to it but a push. */
export type Reachability = "live" | "unknown" | "lost";

/** One for all: an upstream binding is replaced, never changed. */
const NO_UPSTREAM: Upstream = Object.freeze({ state: "none", expiresAtMs: 0, callId: "", cseq: 0, lines: "" });

export class Usrloc implements ExpiryOwner {
  private readonly aors = new Map<string, Aor>();
  private readonly aorsById = new Map<string, Aor>();
  private readonly contactsById = new Map<string, Binding>();
  /** By push token, as the phone sent it: an app that changes its user keeps it. */
  private readonly byToken = new Map<string, Binding | Set<Binding>>();
  private readonly texts = new SharedTexts();
  private readonly domainCounts = new Map<string, number>();
  /** AoRs that are kept for the sake of their upstream binding alone. */
  private readonly lapses = new Map<Aor, Lapse>();
  listener: UsrlocListener = { onContactRemoved() {}, onAorLeft() {}, refreshAtMs: () => Infinity, onRefreshDue() {} };

  constructor(
    private readonly clock: Clock,
    private readonly expiries: ExpirySchedule,
    private readonly changes: ChangeLog,
    private readonly pins: FlowPins,
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

  /** The domains that AoRs have, the most used first is not promised. */
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

  contact(id: string): Binding | undefined {
    return this.contactsById.get(id);
  }

  /** The contacts reached over a flow. */
  contactsOver(flow: Flow): Binding[] {
    const over = registeredOver(flow);
    return over === undefined ? [] : over instanceof Set ? [...over] : [over];
  }

  /** True if anybody is registered over this flow. */
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
    this.changes.aorSaved(aor);
    return aor;
  }

  /** Writes a contact: a new one if `known` is null. The flow it came over becomes its flow. */
  save(aor: Aor, known: Binding | null, id: string, fields: ContactFields, flow: Flow | null): Binding {
    let binding = known;
    let isRefresh = false;
    if (binding === null) {
      binding = new Binding(id, aor, fields, this);
      this.shareTexts(binding);
      aor.contacts.push(binding);
      this.contactsById.set(id, binding);
      this.dropLapse(aor);
    } else {
      binding.sent = "";
      isRefresh = isOnlyRefreshed(binding, fields);
      binding.callId = fields.callId;
      binding.cseq = fields.cseq;
      binding.expiresAtMs = fields.expiresAtMs;
      binding.registeredAtMs = fields.registeredAtMs;
      if (!isRefresh) {
        binding.setContact(fields);
        binding.requestUri = "";
        binding.wakesItself = null;
        binding.instance = fields.instance;
        binding.regId = fields.regId;
        binding.q = fields.q;
        binding.path = fields.path;
        binding.userAgent = fields.userAgent;
        binding.kind = fields.kind;
        if (!samePush(binding, fields)) binding.push = fields.push;
        this.shareTexts(binding);
      }
      if (binding.push !== null) binding.push.registeredAtMs = fields.registeredAtMs;
    }
    this.indexToken(binding);
    this.bind(binding, flow);
    if (flow === null) binding.lastFlowKey = fields.flowKey;
    this.changes.contactSaved(binding, isRefresh);
    this.schedule(binding);
    return binding;
  }

  private shareTexts(binding: Binding): void {
    const { texts } = this;
    binding.path = texts.of(binding.path);
    binding.userAgent = texts.of(binding.userAgent);
    const { push } = binding;
    if (push === null) return;
    push.provider = texts.of(push.provider);
    push.param = texts.of(push.param);
  }

  /** A contact came again over its flow, and nothing but its times, Call-ID and CSeq is new. */
  refresh(binding: Binding, callId: string, cseq: number, expiresAtMs: number, nowMs: number): void {
    // A text that is written into an old object has the collector visit that object again, changed or not.
    if (binding.callId !== callId) binding.callId = callId;
    binding.cseq = cseq;
    binding.expiresAtMs = expiresAtMs;
    binding.registeredAtMs = nowMs;
    if (binding.push !== null) binding.push.registeredAtMs = nowMs;
    this.changes.contactSaved(binding, true);
    this.schedule(binding);
  }

  /** What the PBX holds for this device alone: until when, 0 if nothing; whether it let go of it by itself. */
  setDeviceUpstream(binding: Binding, endsMs: number, isDropped: boolean): void {
    if (!binding.isRegistered || (binding.upstreamEndsMs === endsMs && binding.isDropped === isDropped)) return;
    binding.upstreamEndsMs = endsMs;
    binding.isDropped = isDropped;
    this.changes.contactSaved(binding, true);
  }

  /** Tells the store that something else of the contact changed: token state, push parameters set by hand. */
  touched(contact: Contact): void {
    (contact as Binding).sent = "";
    if (this.contactsById.get(contact.id) === contact) this.indexToken(contact as Binding);
    this.changes.contactSaved(contact, false);
  }

  /** What a contact depends on ends at another time now: when it is looked at is asked anew. */
  reschedule(contact: Contact): void {
    const binding = contact as Binding;
    if (!binding.isRegistered) return;
    binding.refreshAtMs = this.listener.refreshAtMs(binding);
    const dueMs = Math.min(binding.expiresAtMs, binding.refreshAtMs);
    if (dueMs < binding.dueMs) this.expiries.set(binding, dueMs);
  }

  remove(contact: Contact, cause: RemovalCause): void {
    const binding = this.contactsById.get(contact.id);
    // Whoever still holds a contact that is gone must not take out the one that has its id now.
    if (binding === undefined || binding !== contact) return;
    this.contactsById.delete(binding.id);
    this.expiries.cancel(binding);
    const { flow } = binding;
    this.bind(binding, null);
    this.unindexToken(binding);
    binding.isRegistered = false;
    const contacts = binding.aor.contacts;
    contacts.splice(contacts.indexOf(binding), 1);
    this.changes.contactRemoved(binding);
    this.listener.onContactRemoved(binding, cause, flow);
    this.forgetIfEmpty(binding.aor);
  }

  /** Writes the upstream binding; of an AoR that is gone nothing is written. */
  setUpstream(aor: Aor, upstream: Upstream): void {
    if (this.aors.get(aor.key) !== aor) return;
    aor.upstream = upstream;
    this.changes.aorSaved(aor);
    this.forgetIfEmpty(aor);
  }

  /** A connection closed: the contacts over it are lost from this moment on, and stay registered. */
  flowClosed(flow: Flow): readonly Contact[] {
    const lost = this.contactsOver(flow);
    for (const binding of lost) this.bind(binding, null);
    return lost;
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
      const binding = new Binding(stored.id, aor, stored, this);
      binding.upstreamEndsMs = stored.upstreamEndsMs;
      binding.isDropped = stored.isDropped;
      aor.contacts.push(binding);
      this.contactsById.set(binding.id, binding);
      this.indexToken(binding);
      this.bind(binding, flowOf(binding.flowKey));
      this.schedule(binding);
    }
    for (const aor of [...this.aors.values()]) {
      if (aor.contacts.length > 0) continue;
      this.forgetIfEmpty(aor);
      if (this.aors.get(aor.key) === aor) this.listener.onAorLeft(aor);
    }
  }

  onExpiryDue(binding: Binding, nowMs: number): void {
    if (!binding.isRegistered) return;
    if (binding.expiresAtMs <= nowMs) return this.remove(binding, "expired");
    if (binding.refreshAtMs <= nowMs) this.listener.onRefreshDue(binding);
    if (binding.isRegistered) this.expiries.set(binding, Math.min(binding.expiresAtMs, binding.refreshAtMs));
  }

  private schedule(binding: Binding): void {
    binding.refreshTries = 0;
    binding.refreshAtMs = this.listener.refreshAtMs(binding);
    const dueMs = Math.min(binding.expiresAtMs, binding.refreshAtMs);
    // Later than the deadline already set: it will be looked at then and set anew, which spares the heap a move per refresh.
    if (binding.heapSlot < 0 || dueMs < binding.dueMs) this.expiries.set(binding, dueMs);
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
    this.changes.aorRemoved(aor);
  }

  /** The other contacts, of whatever AoR, that are woken by the same push token. */
  sharingToken(contact: Contact): Binding[] {
    const { push } = contact;
    if (push === null) return [];
    const same = this.byToken.get(push.prid);
    const all = same === undefined ? [] : same instanceof Set ? [...same] : [same];
    return all.filter((other) =>
      other !== contact && other.push!.provider === push.provider && other.push!.param === push.param
    );
  }

  private indexToken(binding: Binding): void {
    const prid = binding.push?.prid ?? "";
    if (prid === binding.indexedToken) return;
    this.unindexToken(binding);
    if (prid === "") return;
    binding.indexedToken = prid;
    const same = this.byToken.get(prid);
    if (same === undefined) this.byToken.set(prid, binding);
    else if (same instanceof Set) same.add(binding);
    else this.byToken.set(prid, new Set([same, binding]));
  }

  private unindexToken(binding: Binding): void {
    const prid = binding.indexedToken;
    if (prid === "") return;
    binding.indexedToken = "";
    const same = this.byToken.get(prid);
    if (same instanceof Set) {
      same.delete(binding);
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

  private bind(binding: Binding, flow: Flow | null): void {
    const old = binding.flow;
    if (old === flow) return;
    if (old !== null) {
      this.pins.unpin(old);
      const over = registeredOver(old);
      if (over instanceof Set) over.delete(binding);
      if (!(over instanceof Set) || over.size === 0) old.registered = undefined;
      binding.lastFlowKey = old.key;
    }
    binding.flow = flow;
    if (flow === null) return;
    this.pins.pin(flow);
    binding.lastFlowKey = "";
    const over = registeredOver(flow);
    if (over instanceof Set) over.add(binding);
    else flow.registered = over === undefined ? binding : new Set([over, binding]);
  }
}

/** Most flows have one contact, a proxy or a test phone may have thousands. */
function registeredOver(flow: Flow): Binding | Set<Binding> | undefined {
  return flow.registered as Binding | Set<Binding> | undefined;
}

/** The end of an upstream binding nobody needs any more. */
class Lapse implements Expiring {
  dueMs = 0;
  heapSlot = -1;

  constructor(private readonly usrloc: Usrloc, private readonly aor: Aor) {}

  onDue(): void {
    this.usrloc.forgetIfEmpty(this.aor);
  }
}

function isOnlyRefreshed(binding: Binding, fields: ContactFields): boolean {
  return binding.uri === fields.uri && binding.params === fields.params && binding.flowKey === fields.flowKey &&
    binding.instance === fields.instance && binding.regId === fields.regId && binding.q === fields.q &&
    binding.path === fields.path && binding.userAgent === fields.userAgent && binding.kind === fields.kind &&
    samePush(binding, fields);
}

function samePush(binding: Binding, fields: ContactFields): boolean {
  const a = binding.push;
  const b = fields.push;
  if (a === null || b === null) return a === b;
  return a.prid === b.prid && a.provider === b.provider && a.param === b.param && a.tokenState !== "dead";
}
