/**
 * Mid-registrar: every REGISTER goes to the PBX with our Contact; what the PBX accepts is written.
 * The PBX stays in charge of users and passwords; no REGISTER changes anything here without its 2xx.
 */
import type { Clock } from "../sip/clock.ts";
import type { Flow } from "../sip/flow.ts";
import type { Message } from "../sip/message.ts";
import type { Port } from "../sip/port.ts";
import { viaValue } from "../sip/via.ts";
import type { ServerTransaction } from "../transaction/server.ts";
import type { Transactions } from "../transaction/table.ts";
import type { Binding } from "../usrloc/binding.ts";
import type { Aor, Contact, StoredRemnant } from "../usrloc/model.ts";
import type { RemovalCause, Usrloc } from "../usrloc/usrloc.ts";
import { type Applied, type Bindings, NO_ORDER } from "./apply.ts";
import { type Doubt, Doubts } from "./doubt.ts";
import type { InFlight } from "./in_flight.ts";
import {
  type DeviceHintReader,
  isProblem,
  readRegister,
  type RegisterRequest,
  type WantedContact,
} from "./register.ts";
import { type Grants, RegisterRelay, type UpstreamPlan, upstreamRegister } from "./relay.ts";
import type { RegistrarMode, RegistrarSettings, RegistrarUser } from "./settings.ts";
import { Challenged, isAbsorbable } from "./throttle.ts";
import { grantedCaps, type PushOffer, upstreamCaps } from "./push_support.ts";
import { isPushable } from "./refresh_push.ts";
import { contactLines } from "./reply_contacts.ts";
import { UpstreamAgent } from "./upstream_agent.ts";
import { UpstreamKeeper } from "./upstream_keeper.ts";
import { grantOf, upstreamUri } from "./upstream_contact.ts";

/** The PBX, as the registrar sees it. */
export interface UpstreamSide {
  flow(): Flow | null;
}

export class MidRegistrar {
  private readonly agent: UpstreamAgent;
  private readonly challenged = new Challenged();
  private readonly doubts: Doubts;
  readonly keeper: UpstreamKeeper;
  /** AoRs whose sleeping phones the PBX drops sooner than a push can wake them. */
  readonly shortGrants = new Set<Aor>();
  /** AoRs of which the PBX dropped a Contact, and which it was told of. */
  private readonly dropping = new Set<Aor>();

  constructor(
    readonly port: Port,
    private readonly clock: Clock,
    readonly table: Transactions,
    private readonly usrloc: Usrloc,
    private readonly bindings: Bindings,
    readonly pbx: UpstreamSide,
    private readonly user: RegistrarUser,
    private readonly hints: DeviceHintReader,
  ) {
    this.agent = new UpstreamAgent(this, usrloc, clock);
    this.doubts = new Doubts(usrloc);
    this.keeper = new UpstreamKeeper(this, usrloc, clock);
  }

  get settings(): RegistrarSettings {
    return this.bindings.settings;
  }

  get inFlight(): InFlight {
    return this.bindings.inFlight;
  }

  /** Contacts without an id are the same for all devices, so there can be only one of them per AoR. */
  get mode(): RegistrarMode {
    return this.settings.placement === "aor" ? "aor" : this.settings.mode;
  }

  onRegister(server: ServerTransaction, routesToDrop: number): void {
    const message = server.request;
    if (this.isOwn(message)) return this.refuse(server, 482, "");
    const request = readRegister(message, this.hints, this.bindings.repeatable);
    if (isProblem(request)) return this.refuse(server, request.status, request.reason);
    // Before the general minimum: a phone told that one would be told this one next.
    const push = this.bindings.pushAnswer(request);
    if (push.status !== 0) return this.refuse(server, push.status, "", push.lines);
    const { minExpires } = this.settings;
    if (
      request.contacts.some((wanted) => wanted.expires !== 0 && wanted.expires !== null && wanted.expires < minExpires)
    ) {
      return this.refuse(server, 423, "", `Min-Expires: ${minExpires}\r\n`);
    }
    if (this.bindings.isFull(request)) return this.refuse(server, 403, "Too many devices");
    if (this.absorb(server, request, push.offers)) return;
    const upstreamFlow = this.pbx.flow();
    if (upstreamFlow === null) {
      this.count("pbx_unreachable", request, 503);
      return server.respond(503, "PBX not reachable", "Retry-After: 10\r\n");
    }
    const plan = this.planFor(request, upstreamFlow);
    const asked = askedOf(plan);
    for (const [id, seconds] of asked) if (seconds > 0) this.agent.hold(request.aorKey, id);
    const order = this.inFlight.begin(request.aorKey, asked);
    const doubt = this.doubts.begin(
      this.usrloc.find(request.aorKey),
      order,
      request.isWildcard ? null : asked,
      this.mode === "aor",
      this.clock.nowMs,
    );
    const branch = this.table.newBranch();
    const via = viaValue(upstreamFlow, branch);
    const wire = upstreamRegister(
      message,
      plan,
      via,
      server.viaText,
      routesToDrop,
      upstreamFlow.isReliable,
      upstreamCaps(push.offers),
    );
    const relay = new RegisterRelay(
      this,
      server,
      server.flow,
      upstreamFlow,
      request,
      plan,
      order,
      this.clock.nowMs,
      push.offers,
      doubt,
    );
    this.table.send(wire, "REGISTER", branch, upstreamFlow, relay);
  }

  /** Answers a refresh here if the PBX need not hear of it. */
  private absorb(server: ServerTransaction, request: RegisterRequest, offers: readonly PushOffer[]): boolean {
    const isAnswer = this.challenged.take(request.callId);
    if (isAnswer || this.mode === "mirror" || this.inFlight.isBusy(request.aorKey)) return false;
    const aor = this.usrloc.find(request.aorKey);
    if (aor === undefined) return false;
    const nowMs = this.clock.nowMs;
    const asked = request.contacts.map((wanted) => this.asked(wanted));
    const isAbsorbed = isAbsorbable(request, {
      nowMs,
      flow: server.flow,
      known: request.contacts.map((wanted) => this.bindings.known(aor, wanted)),
      asked,
      upstreamEndsMs: (contact) => Math.min(this.upstreamEndsMs(contact), contact.aor.upstream.provenMs ?? Infinity),
    });
    if (!isAbsorbed) return false;
    const applied = this.bindings.apply(request, asked, server.flow, NO_ORDER);
    this.count("absorbed", request, 200);
    server.respond(200, "", this.replyLines(request, applied.listed, offers) + aor.upstream.lines, true);
    this.resume(applied, nowMs, Math.round((aor.upstream.expiresAtMs - nowMs) / 1000));
    return true;
  }

  /** When the PBX's binding that a contact depends on ends, ms; 0: none that we know of. */
  upstreamEndsMs(contact: Binding): number {
    if (this.mode !== "aor") return contact.isDropped ? 0 : contact.upstreamEndsMs;
    const { upstream } = contact.aor;
    return upstream.state === "registered" ? upstream.expiresAtMs : 0;
  }

  /** A challenge was relayed: its answer must reach the PBX. */
  onChallenged(request: RegisterRequest): void {
    this.challenged.add(request.callId);
  }

  /** REGISTERs go one way: one that we sent and that comes back, changed or not, goes round in circles. */
  private isOwn(message: Message): boolean {
    const at = message.raw.indexOf(this.table.branchStart);
    return at >= 0 && at < message.bodyStart;
  }

  /** Seconds a phone asks for, within our bounds. */
  asked(wanted: WantedContact): number {
    return Math.min(wanted.expires ?? this.settings.defaultExpires, this.settings.maxExpires);
  }

  /** Which Contacts the PBX is told. */
  private planFor(request: RegisterRequest, flow: Flow): UpstreamPlan {
    if (request.isWildcard || request.contacts.length === 0) {
      return { contactLines: "", ids: [], asked: [], contradicted: null };
    }
    return this.mode === "aor" ? this.planForAor(request, flow) : this.planForDevices(request, flow);
  }

  private planForAor(request: RegisterRequest, flow: Flow): UpstreamPlan {
    const id = this.bindings.aorId(request.aorKey);
    const aor = this.usrloc.find(request.aorKey);
    const named = new Set(request.contacts.map((wanted) => this.bindings.known(aor, wanted)));
    const staying = (aor?.contacts ?? []).filter((contact) => !named.has(contact as Binding));
    let expires = 0;
    for (const wanted of request.contacts) {
      if (wanted.expires !== 0) expires = Math.max(expires, this.askedUpstream(request.user, id, this.asked(wanted)));
    }
    // No device may take from another what it was granted, or asks for right now: the PBX's binding is one for all.
    let needed = this.inFlight.askedFor(request.aorKey, id);
    for (const contact of staying) {
      needed = Math.max(needed, this.askedUpstream(request.user, id, this.secondsLeft(contact)));
    }
    // digest covers neither Contact nor Expires, so the PBX can judge a removal that leaves the AoR registered.
    const contradicted = expires === 0 && needed > 0 ? Math.max(needed, this.settings.upstreamExpires) : null;
    expires = contradicted ?? (expires > 0 ? Math.max(expires, needed) : 0);
    return {
      contactLines: this.upstreamLine(request.user, id, flow, expires),
      ids: request.contacts.map(() => id),
      asked: request.contacts.map((wanted) => wanted.expires === 0 && contradicted === null ? 0 : expires),
      contradicted,
    };
  }

  private planForDevices(request: RegisterRequest, flow: Flow): UpstreamPlan {
    const ids = request.contacts.map((wanted) => this.bindings.deviceId(request.aorKey, wanted));
    const asked = request.contacts.map((wanted, i) => {
      if (wanted.expires === 0) return 0;
      const seconds = this.asked(wanted);
      return this.mode === "mirror" ? seconds : this.askedUpstream(request.user, ids[i]!, seconds);
    });
    // A device that leaves its old address and comes with a new one is one Contact there.
    const told = new Map<string, number>();
    ids.forEach((id, i) => told.set(id, Math.max(asked[i]!, told.get(id) ?? 0)));
    let lines = "";
    for (const [id, seconds] of told) lines += this.upstreamLine(request.user, id, flow, seconds);
    return { contactLines: lines, ids, asked, contradicted: null };
  }

  /** What the PBX is asked for, for a device that needs so many seconds: no more than usual where we renew it ourselves. */
  private askedUpstream(user: string, id: string, seconds: number): number {
    const { upstreamExpires } = this.settings;
    return this.keeper.isKeeping(user, id) ? upstreamExpires : Math.max(seconds, upstreamExpires);
  }

  private secondsLeft(contact: Contact): number {
    return Math.ceil((contact.expiresAtMs - this.clock.nowMs) / 1000);
  }

  /** One Contact header line for the PBX. */
  upstreamLine(user: string, id: string, flow: Flow, expires: number): string {
    return "Contact: <" + upstreamUri(this.settings.placement, user, id, flow) + ">;expires=" + expires + "\r\n";
  }

  /** True if there is a device the PBX must hold this Contact for. */
  isWanted(aor: Aor, id: string): boolean {
    return this.mode === "aor" ? aor.contacts.length > 0 : this.usrloc.contact(id) !== undefined;
  }

  /** true if another REGISTER took the last place while this one was at the PBX. */
  isFull(request: RegisterRequest): boolean {
    return this.bindings.isFull(request);
  }

  /** The PBX accepted: usrloc is written. */
  accept(request: RegisterRequest, grants: Grants, flow: Flow, order: number, arrivedAtMs: number): Applied {
    const applied = this.bindings.apply(request, grants.phone, flow, order);
    if (this.mode !== "aor") this.noteDeviceGrants(request, grants, order, arrivedAtMs);
    if (request.isWildcard || request.contacts.length > 0) {
      const isOurs = this.mode === "aor" || request.isWildcard || grants.upstream === 0 || applied.saved.length > 0;
      if (isOurs) this.writeUpstream(request, grants, order, arrivedAtMs);
      this.endIfDeserted(request.aorKey);
    }
    this.count(applied.listed.length > 0 ? "accepted" : applied.removed > 0 ? "removed" : "fetched", request, 200);
    return applied;
  }

  /** How long the PBX holds the Contact of each device. */
  private noteDeviceGrants(request: RegisterRequest, grants: Grants, order: number, arrivedAtMs: number): void {
    const aor = this.usrloc.find(request.aorKey);
    request.contacts.forEach((wanted, i) => {
      const binding = this.bindings.known(aor, wanted);
      if (binding === null || grants.each[i]! === 0) return;
      // what a later one was granted counts.
      if (this.inFlight.isOvertaken(aor!.key, binding.id, order)) return;
      this.usrloc.setDeviceUpstream(binding, arrivedAtMs + grants.each[i]! * 1000, false);
      this.keeper.granted(binding.aor, binding.id);
    });
  }

  /**
   * A 2xx lists every Contact the PBX holds (RFC 3261 §10.3): one of ours that is missing was evicted there. It is told,
   * and not registered again at once: that would evict the next.
   */
  noteDropped(response: Message, aorKey: string, flow: Flow): void {
    const aor = this.usrloc.find(aorKey);
    if (this.mode === "aor" || aor === undefined || !this.inFlight.isAlone(aorKey)) return;
    const held = (aor.contacts as Binding[]).filter(({ upstreamEndsMs }) => upstreamEndsMs > this.clock.nowMs);
    const listed = held.map(({ id }) => grantOf(response, aor.user, id, flow).isListed);
    if (!listed.includes(true)) return;
    // It has room for all of them now.
    if (held.length > 1 && !listed.includes(false)) this.dropping.delete(aor);
    held.forEach((binding, i) => {
      if (!listed[i] && !binding.isDropped) this.tellDropped(binding);
      this.usrloc.setDeviceUpstream(binding, binding.upstreamEndsMs, !listed[i]);
    });
  }

  /** Two devices in turns would fill the log with one and the same. */
  private tellDropped({ aor, id }: Binding): void {
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
    return this.mode === "aor" ? contact.aor.id : contact.id;
  }

  /** When our Contact with this id ends at the PBX, ms; 0: it holds none that we know of. */
  contactEndsMs(aorKey: string, id: string): number {
    const aor = this.usrloc.find(aorKey);
    if (aor === undefined) return 0;
    if (this.mode !== "aor") return this.usrloc.contact(id)?.upstreamEndsMs ?? 0;
    return aor.upstream.state === "registered" ? aor.upstream.expiresAtMs : 0;
  }

  /** The PBX granted a REGISTER of our own. */
  writeOwnGrant(
    aor: Aor,
    id: string,
    granted: number,
    order: number,
    sentAtMs: number,
    callId: string,
    cseq: number,
    lines: string,
  ): void {
    const expiresAtMs = sentAtMs + granted * 1000;
    const device = this.mode === "aor" ? null : this.usrloc.contact(id) ?? null;
    if (device !== null) this.usrloc.setDeviceUpstream(device, expiresAtMs, false);
    if (this.mode === "aor" && !this.inFlight.takesUpstream(aor.key, order)) return;
    const longest = this.mode === "aor" ? expiresAtMs : Math.max(expiresAtMs, aor.upstream.expiresAtMs);
    this.usrloc.setUpstream(aor, { state: "registered", expiresAtMs: longest, callId, cseq, lines });
  }

  /** A REGISTER of our own was answered or failed. */
  answered(aorKey: string, order: number): void {
    this.inFlight.end(aorKey, order);
    this.agent.answered(aorKey);
  }

  /** What was stored is there again: our own refreshes begin where they were. */
  onRestored(): void {
    const contacts: { aor: Aor; id: string }[] = [];
    for (const aor of this.usrloc.all()) {
      if (this.mode !== "aor") { for (const { id } of aor.contacts) contacts.push({ aor, id }); }
      else if (aor.contacts.length > 0) contacts.push({ aor, id: aor.id });
    }
    this.keeper.restored(contacts);
  }

  /** When what a phone depends on ends: with our own refreshes its binding here, else the earlier of both. */
  endsMs(contact: Binding): number {
    const upstreamMs = this.upstreamEndsMs(contact);
    if (upstreamMs === 0 || this.keeper.isKeeping(contact.aor.user, this.upstreamId(contact))) {
      return contact.expiresAtMs;
    }
    return Math.min(contact.expiresAtMs, upstreamMs);
  }

  /** The PBX accepted what we cannot keep: it is taken off the PBX again where it is not another device's too. */
  takeBack(request: RegisterRequest, plan: UpstreamPlan, grants: Grants, order: number, arrivedAtMs: number): void {
    this.writeUpstream(request, grants, order, arrivedAtMs);
    this.endIfDeserted(request.aorKey);
    const aor = this.usrloc.find(request.aorKey);
    if (aor === undefined || this.mode === "aor") return;
    for (const id of plan.ids) if (!this.isWanted(aor, id)) this.agent.end(aor, id);
  }

  private writeUpstream(request: RegisterRequest, grants: Grants, order: number, arrivedAtMs: number): void {
    const { aorKey, callId, cseq } = request;
    const { upstream, lines } = grants;
    const known = this.usrloc.find(aorKey);
    const isOneForAll = this.mode === "aor";
    if (isOneForAll && !this.inFlight.takesUpstream(aorKey, order)) return;
    if (upstream === 0) {
      if (known === undefined || (!isOneForAll && known.contacts.length > 0)) return;
      if (known.contacts.length > 0) {
        this.port.log("warn", "The PBX ended its binding though devices are registered", { aor: aorKey });
      }
      return this.usrloc.setUpstream(known, { state: "removed", expiresAtMs: 0, callId, cseq, lines });
    }
    const aor = known ?? this.usrloc.ensure(aorKey, request.user, request.domain, this.bindings.aorId(aorKey));
    let expiresAtMs = arrivedAtMs + upstream * 1000;
    // One Contact per device: what counts is how long the PBX holds any of them.
    if (!isOneForAll && aor.upstream.state === "registered") {
      expiresAtMs = Math.max(expiresAtMs, aor.upstream.expiresAtMs);
    }
    const isSooner = isOneForAll && aor.upstream.state === "registered" && expiresAtMs < aor.upstream.expiresAtMs;
    this.usrloc.setUpstream(aor, { state: "registered", expiresAtMs, callId, cseq, lines });
    if (isOneForAll) this.keeper.granted(aor, aor.id);
    // The PBX took back what it granted before: the other devices are to refresh earlier than they thought.
    if (isSooner) { for (const contact of aor.contacts) this.usrloc.reschedule(contact); }
    this.warnOfShortGrant(aor, upstream, request);
  }

  /** The devices a binding was asked for may have left while the PBX was thinking. */
  private endIfDeserted(aorKey: string): void {
    const aor = this.mode === "aor" ? this.usrloc.find(aorKey) : undefined;
    if (aor !== undefined && aor.contacts.length === 0) this.agent.end(aor, aor.id);
  }

  /** less than a refresh push needs, and nobody to refresh in the phone's place. */
  private warnOfShortGrant(aor: Aor, granted: number, request: RegisterRequest): void {
    // In mode mirror the phone itself may have asked for no more.
    const isCut = this.mode !== "mirror" || request.contacts.some((wanted) => this.asked(wanted) > granted);
    const isShort = isCut && granted * 1000 <= this.settings.refreshLeadMs && !this.keeper.canKeep(aor.user) &&
      aor.contacts.some((contact) => isPushable(contact));
    if (!isShort) return void this.shortGrants.delete(aor);
    if (this.shortGrants.has(aor)) return;
    this.shortGrants.add(aor);
    this.port.log("warn", shortGrantWords(granted, this.settings.refreshLeadMs), { aor: aor.key });
  }

  /** The REGISTER was answered or failed, and what came of it is written. */
  over(request: RegisterRequest, order: number, doubt: Doubt | null): void {
    this.doubts.end(request.aorKey, order, doubt);
    this.answered(request.aorKey, order);
  }

  /** Lines of the 2xx to the phone: Contacts, and the Path we kept from the PBX (RFC 3327 §5.3). */
  replyLines(request: RegisterRequest, listed: readonly Contact[], offers: readonly PushOffer[]): string {
    const isFetch = request.contacts.length === 0 && !request.isWildcard;
    const all = this.usrloc.find(request.aorKey)?.contacts ?? [];
    let lines = contactLines(isFetch || this.settings.repliesWithAll ? all : listed, listed, this.clock.nowMs);
    lines += grantedCaps(offers, listed, this.clock.nowMs, this.settings, (device) => this.user.purrOf(device));
    return request.path === "" ? lines : lines + "Path: " + request.path + "\r\n";
  }

  /** After the 200 is on its way: the devices join their calls, in this same turn (W-04). */
  resume(applied: Applied, arrivedAtMs: number, upstreamExpires: number): void {
    for (const binding of applied.saved) {
      if (!binding.isRegistered) continue;
      this.report(binding, upstreamExpires);
      this.user.onRegistered(binding, arrivedAtMs);
    }
  }

  private report(binding: Binding, upstreamExpires: number): void {
    const aor = binding.aor.key;
    this.port.event({
      type: "registration",
      state: "registered",
      aor,
      device: binding.id,
      transport: binding.flow?.transport,
    });
    if (!this.port.isLogged("debug", aor)) return;
    this.port.log("debug", "Registered", {
      aor,
      device: binding.id,
      flow: binding.flowKey,
      expires: Math.round((binding.expiresAtMs - this.clock.nowMs) / 1000),
      upstream_expires: upstreamExpires,
      user_agent: binding.userAgent,
    });
  }

  /** A contact left by itself: the PBX must not go on believing in it. */
  onContactRemoved(contact: Contact, cause: RemovalCause): void {
    const { aor } = contact;
    if (aor.contacts.length === 0) this.shortGrants.delete(aor);
    if (aor.contacts.length < 2) this.dropping.delete(aor);
    // A removal by REGISTER went through the PBX.
    if (cause === "unregistered") return;
    if (this.mode === "aor") {
      if (aor.contacts.length === 0) this.agent.end(aor, aor.id);
    } else if (this.mode === "contact" || cause !== "expired") this.agent.end(aor, contact.id);
    // In mode mirror the PBX granted the very expiry that has just passed.
    else if (aor.contacts.length === 0) this.agent.over(aor);
  }

  /** The last contact ran out while we were away. */
  onAorLeft(aor: Aor): void {
    if (this.mode === "aor") this.agent.end(aor, aor.id);
  }

  /** Devices ran out while we were away, whose own Contacts the PBX still holds. */
  onRemnants(remnants: readonly StoredRemnant[]): void {
    if (this.mode !== "contact") return;
    for (const { aorKey, id } of remnants) {
      const aor = this.usrloc.find(aorKey);
      if (aor !== undefined) this.agent.end(aor, id);
    }
  }

  /** the 2xx does not list our Contact. Coped with, but the admin should know. */
  onContactMissing(request: RegisterRequest): void {
    this.port.log("warn", "The PBX's 200 to REGISTER does not list our Contact; its Expires header is taken instead", {
      aor: request.aorKey,
    });
  }

  onAuthResult(flow: Flow, isPassed: boolean): void {
    this.user.onAuthResult(flow, isPassed);
  }

  count(result: string, request: RegisterRequest, status: number): void {
    this.port.count("registrations_total", result);
    if (result !== "rejected" && !result.startsWith("pbx_")) return;
    const words = result === "rejected"
      ? `The PBX refused a REGISTER with ${status}`
      : "The PBX did not answer a REGISTER";
    this.port.log(result === "rejected" ? "info" : "warn", words, { aor: request.aorKey, call: request.callId });
  }

  private refuse(server: ServerTransaction, status: number, reason: string, lines = ""): void {
    this.port.count("registrations_total", "refused");
    this.port.log("info", `REGISTER refused: ${status} ${reason}`.trimEnd(), {
      aor: server.request.to.uriText,
      flow: server.flow.key,
    });
    server.respond(status, reason, lines);
  }
}

/** What each Contact is asked for; one that a phone takes out and adds again is added. */
function askedOf({ ids, asked }: UpstreamPlan): Map<string, number> {
  const seconds = new Map<string, number>();
  ids.forEach((id, i) => seconds.set(id, Math.max(asked[i]!, seconds.get(id) ?? 0)));
  return seconds;
}

/** What an admin is told where the PBX grants less than a refresh push needs. */
export function shortGrantWords(granted: number, leadMs: number): string {
  return `The PBX grants only ${granted} s, a sleeping phone needs more than ${Math.round(leadMs / 1000)} s: ` +
    "raise its maximum registration time (Asterisk: maximum_expiration of the aor, Kamailio: max_expires of registrar, " +
    "FreeSWITCH: sip-force-expires), or set pbx.credentials_file so that latefork refreshes it";
}
