/** Writing an accepted REGISTER into usrloc: the one path for both modes. */
import type { Clock } from "../clock.ts";
import type { Flow } from "../sip/flow.ts";
import { bareHost, defaultPort } from "../sip/host.ts";
import { parseUri, uriParam } from "../sip/uri.ts";
import type { TransactionPort } from "../transaction/timers.ts";
import type { Aor, Contact } from "../usrloc/contact.ts";
import { findDevice, identityText } from "../usrloc/identity.ts";
import type { Usrloc } from "../usrloc/usrloc.ts";
import { stableId } from "./ids.ts";
import { EVERY_DEVICE, InFlight, type InFlightListener } from "./in_flight.ts";
import { NO_PUSH_SERVICES, type PushAnswer, pushAnswer, type PushServices } from "./push_support.ts";
import type { KnownAors, RegisterRequest, WantedContact } from "./register.ts";
import type { RegistrarSettings } from "./settings.ts";

/** What came of one REGISTER. */
export interface Applied {
  /** Contacts this REGISTER wrote. One of them may be gone again: evicted for the next. */
  saved: Contact[];
  /** Its contacts that are registered now, in its order, written by it or by a later one: what the phone is told. */
  listed: Contact[];
  removed: number;
}

/** `order` where answers cannot overtake each other: registrar mode. */
export const NO_ORDER = 0;

/** 64·T1: as long as a request may be repeated (RFC 3261 §17.1.2.2). */
const REPEAT_MS = 32_000;

/** What the writer stands on. */
export interface ContactWriterParts {
  readonly usrloc: Usrloc;
  readonly clock: Clock;
  readonly port: Pick<TransactionPort, "flowTo" | "log" | "event">;
}

export class ContactWriter {
  readonly inFlight: InFlight;
  /** Set by the appliance once it knows; until then nothing is announced (P-02). */
  pushServices: PushServices = NO_PUSH_SERVICES;

  private readonly usrloc: Usrloc;
  private readonly clock: Clock;
  private readonly port: ContactWriterParts["port"];

  constructor(
    { usrloc, clock, port }: ContactWriterParts,
    public settings: RegistrarSettings,
    listener: InFlightListener | null = null,
  ) {
    this.usrloc = usrloc;
    this.clock = clock;
    this.port = port;
    this.inFlight = new InFlight(listener);
  }

  aorId(key: string): string {
    return this.usrloc.find(key)?.id ?? stableId(this.settings.idSecret, "a:" + key);
  }

  /** What a REGISTER is told of push (P-02). */
  pushAnswer(request: RegisterRequest): PushAnswer {
    return pushAnswer(request, this.pushServices, this.settings);
  }

  /** The contact of the AoR that is this device. */
  known(aor: Aor | undefined, wanted: WantedContact): Contact | null {
    if (aor === undefined) return null;
    const { repeats } = wanted;
    // The PBX may have taken its time, and the contact gone or changed meanwhile.
    const isStill = repeats !== null && repeats.isRegistered && repeats.aor === aor && repeats.sent === wanted.sent;
    return isStill ? repeats : findDevice(aor.contacts, wanted);
  }

  /** Where contacts that are only repeated may be found; null: what is known of them may be out of date. */
  get repeatable(): KnownAors | null {
    return this.settings.hasDeviceRules ? null : this.usrloc;
  }

  /** Id of the device behind a wanted contact, known or new. */
  deviceId(aorKey: string, wanted: WantedContact): string {
    const known = this.known(this.usrloc.find(aorKey), wanted);
    if (known !== null) return known.id;
    const text = "d:" + aorKey + ":" + identityText(wanted);
    let id = stableId(this.settings.idSecret, text);
    // A device keeps its id when it takes another instance or token. What comes with the old one later is another device.
    for (let n = 2; this.usrloc.contact(id) !== undefined; n++) id = stableId(this.settings.idSecret, text + "#" + n);
    return id;
  }

  /** True if this contact was written by a later REGISTER of the same sequence. */
  isOlder(known: Contact | null, request: RegisterRequest): boolean {
    return known !== null && known.callId === request.callId && request.cseq < known.cseq;
  }

  /** True if one more device would be too many and none may be evicted for it. */
  isFull(request: RegisterRequest): boolean {
    const aor = this.usrloc.find(request.aorKey);
    let left = aor?.contacts.length ?? 0;
    let isNew = false;
    for (const wanted of request.contacts) {
      const known = this.known(aor, wanted);
      if (wanted.expires === 0) left -= known === null ? 0 : 1;
      else if (known === null) {
        left++;
        isNew = true;
      }
    }
    if (!isNew) return false;
    if (this.usrloc.contactCount >= this.settings.maxBindings) return true;
    return this.settings.overflow === "reject" && left > this.settings.maxContacts;
  }

  /**
   * Writes what was accepted.
   * @param grants seconds for each of `request.contacts`; 0 removes
   * @param order of the REGISTER's arrival ({@link InFlight}), or {@link NO_ORDER}
   */
  apply(request: RegisterRequest, grants: readonly number[], flow: Flow, order: number): Applied {
    const applied: Applied = { saved: [], listed: [], removed: 0 };
    if (request.isWildcard) {
      this.removeAll(request, order, applied);
      return applied;
    }
    for (let i = 0; i < request.contacts.length; i++) {
      this.applyOne(request, request.contacts[i]!, i, grants[i]!, flow, order, applied);
    }
    if (request.contacts.length > 1) {
      applied.listed = applied.listed.filter((contact, i, all) => contact.isRegistered && all.indexOf(contact) === i);
    }
    return applied;
  }

  private applyOne(
    request: RegisterRequest,
    wanted: WantedContact,
    at: number,
    granted: number,
    cameOver: Flow,
    order: number,
    applied: Applied,
  ): void {
    const { aorKey } = request;
    const known = this.known(this.usrloc.find(aorKey), wanted);
    const isWhereItWas = known !== null && known === wanted.repeats && known.flow === cameOver;
    const flow = isWhereItWas ? cameOver : this.flowTowards(request, wanted, cameOver);
    const id = known !== null ? known.id : granted === 0 && order === NO_ORDER ? "" : this.deviceId(aorKey, wanted);
    if (
      this.isOlder(known, request) || this.isOvertaken(aorKey, id, order) || this.isRepeat(request, known, flow, order)
    ) {
      if (known !== null && granted > 0) applied.listed.push(known);
      return;
    }
    if (order !== NO_ORDER) this.inFlight.settle(aorKey, id, order);
    if (granted > 0) {
      const contact = this.save(request, wanted, known, id, granted, flow);
      if (!applied.saved.includes(contact)) applied.saved.push(contact);
      applied.listed.push(contact);
    } else if (known !== null && !this.comesBack(request, known, at)) {
      this.usrloc.remove(known, "unregistered");
      applied.removed++;
    }
  }

  /**
   * The flow a contact is reached over: the one its REGISTER came over. A UDP phone that asks for no `rport`, and whose Via
   * and Contact name the host that it sends from, has no NAT before it, and listens at its Contact's port (T-03).
   */
  private flowTowards({ sentByHost }: RegisterRequest, { uriText, expires }: WantedContact, flow: Flow): Flow {
    const { remoteAddress, remotePort, listener } = flow;
    if (sentByHost === "" || flow.isReliable || expires === 0 || bareHost(sentByHost) !== remoteAddress) return flow;
    const uri = parseUri(uriText);
    if (uri === null || uri.scheme !== "sip" || bareHost(uri.host) !== remoteAddress) return flow;
    const transport = uriParam(uri, "transport") ?? "udp";
    const port = uri.port === 0 ? defaultPort("udp") : uri.port;
    if (port === remotePort || transport.toLowerCase() !== "udp") return flow;
    return this.port.flowTo("udp", remoteAddress, port, listener) ?? flow;
  }

  private removeAll(request: RegisterRequest, order: number, applied: Applied): void {
    const { aorKey } = request;
    for (const contact of [...this.usrloc.find(aorKey)?.contacts ?? []]) {
      if (this.isOlder(contact, request) || this.isOvertaken(aorKey, contact.id, order)) continue;
      this.usrloc.remove(contact, "unregistered");
      applied.removed++;
    }
    if (order !== NO_ORDER) this.inFlight.settle(aorKey, EVERY_DEVICE, order);
  }

  private isOvertaken(aorKey: string, id: string, order: number): boolean {
    return order !== NO_ORDER && this.inFlight.isOvertaken(aorKey, id, order);
  }

  /**
   * True if this REGISTER was processed already and comes again because its answer was lost: trusted sources are
   * answered without a transaction that would know. A device that never counts its CSeq up is taken at its word later.
   */
  private isRepeat(request: RegisterRequest, known: Contact | null, flow: Flow, order: number): boolean {
    return order === NO_ORDER && known !== null && known.callId === request.callId && known.cseq === request.cseq &&
      known.flow === flow && this.clock.nowMs - known.registeredAtMs < REPEAT_MS &&
      request.contacts.every((wanted) => wanted.expires !== 0);
  }

  /** A phone that moves takes out its old address and adds the new one in one REGISTER: that is no removal. */
  private comesBack(request: RegisterRequest, known: Contact, after: number): boolean {
    return request.contacts.some((other, i) =>
      i > after && other.expires !== 0 && this.known(known.aor, other) === known
    );
  }

  private save(
    request: RegisterRequest,
    wanted: WantedContact,
    known: Contact | null,
    id: string,
    granted: number,
    flow: Flow,
  ): Contact {
    const nowMs = this.clock.nowMs;
    if (known !== null && this.isOnlyRefreshed(request, wanted, known, flow)) {
      this.usrloc.refresh(known, request.callId, request.cseq, nowMs + granted * 1000, nowMs);
      return known;
    }
    const aor = this.usrloc.ensure(request.aorKey, request.user, request.domain, this.aorId(request.aorKey));
    const oldToken = known?.push?.tokenState === "moved" ? "" : known?.push?.prid ?? "";
    // the phone names no token. One that was set by hand stays.
    const byHand = wanted.prid === "" && known?.push?.isByHand ? known : null;
    const contact = this.usrloc.save(aor, known, id, {
      uri: wanted.uriText,
      params: wanted.params,
      instance: wanted.instance,
      regId: wanted.regId,
      q: wanted.q,
      callId: request.callId,
      cseq: request.cseq,
      expiresAtMs: nowMs + granted * 1000,
      registeredAtMs: nowMs,
      path: request.path,
      userAgent: request.userAgent,
      kind: byHand?.kind ?? wanted.kind,
      push: byHand !== null ? byHand.push : wanted.prid === "" ? null : {
        provider: wanted.provider,
        param: wanted.param,
        prid: wanted.prid,
        tokenState: "unknown",
        registeredAtMs: nowMs,
        // No REGISTER tells them: they were set by hand, and are of that subscription.
        keys: known?.push?.prid === wanted.prid ? known.push.keys : undefined,
      },
      flowKey: flow.key,
      // The connection may have gone while the PBX was thinking.
    }, flow.state === "closed" ? null : flow);
    contact.sent = wanted.sent;
    if (contact.push !== null && contact.push.prid !== oldToken) this.takePush(contact);
    // After the save: an AoR whose only contact is evicted first would be forgotten, and its PBX binding ended.
    while (known === null && aor.contacts.length > this.settings.maxContacts && this.evict(aor, contact));
    return contact;
  }

  /** True if times, Call-ID and CSeq are all that is new. */
  private isOnlyRefreshed(request: RegisterRequest, wanted: WantedContact, known: Contact, flow: Flow): boolean {
    return wanted.repeats === known && known.flow === flow && flow.state !== "closed" && known.path === request.path &&
      known.userAgent === request.userAgent;
  }

  /**
   * a token names one app. Calls for its former user must not wake it once it registers as another. But a token
   * proves nothing about its sender, and one app may have several accounts: what is live stays as it is. Of a lost
   * binding the push alone is taken, and its own phone gets it back with its next REGISTER.
   */
  private takePush(contact: Contact): void {
    for (const other of this.usrloc.sharingToken(contact)) {
      const { aor } = other;
      const push = other.push!;
      if (aor === contact.aor || !other.hasUsableToken) continue;
      // The admin knows whose it is.
      if (push.isByHand || this.usrloc.reachability(other, this.settings.idleMs) !== "lost") continue;
      push.tokenState = "moved";
      this.usrloc.touched(other);
      this.usrloc.reschedule(other);
      const to = contact.aor.key;
      this.port.event({ type: "token_moved", aor: aor.key, device: other.id, to });
      this.port.log("info", `Its push token is ${to}'s now: the app registered as another user`, {
        aor: aor.key,
        device: other.id,
      });
    }
  }

  /** the oldest lost flow first, then the oldest; never the one it is done for. */
  private evict(aor: Aor, newcomer: Contact): boolean {
    let victim: Contact | null = null;
    let victimIsLost = false;
    for (const contact of aor.contacts) {
      if (contact === newcomer) continue;
      const isLost = this.usrloc.reachability(contact, this.settings.idleMs) === "lost";
      const isOlder = victim === null || contact.registeredAtMs < victim.registeredAtMs;
      if (victim === null || (isLost && !victimIsLost) || (isLost === victimIsLost && isOlder)) {
        victim = contact;
        victimIsLost = isLost;
      }
    }
    if (victim !== null) this.usrloc.remove(victim, "evicted");
    return victim !== null;
  }
}
