/**
 * Mid-registrar: every REGISTER goes to the PBX with our Contact; what the PBX accepts is written.
 * The PBX stays in charge of users and passwords; no REGISTER changes anything here without its 2xx.
 */
import type { Clock } from "../clock.ts";
import type { Flow } from "../sip/flow.ts";
import type { Message } from "../sip/message.ts";
import type { Port } from "../port.ts";
import { viaValue } from "../sip/via.ts";
import { aorOf } from "../sip/uri.ts";
import type { ServerTransaction } from "../transaction/server.ts";
import type { Transactions } from "../transaction/table.ts";
import type { Contact } from "../usrloc/contact.ts";
import type { RemovalCause, Usrloc } from "../usrloc/usrloc.ts";
import { type Applied, type Bindings, NO_ORDER } from "./apply.ts";
import { type Doubt, Doubts } from "./doubt.ts";
import type { InFlight } from "./in_flight.ts";
import { LogLimit } from "./log_limit.ts";
import { type DeviceHintReader, isProblem, readRegister, type RegisterRequest } from "./register.ts";
import { type Grants, RegisterRelay, upstreamRegister } from "./relay.ts";
import type { RegistrarMode, RegistrarSettings, RegistrarUser } from "./settings.ts";
import { Challenged, isAbsorbable } from "./throttle.ts";
import { grantedCaps, type PushOffer, upstreamCaps } from "./push_support.ts";
import { contactLines } from "./reply_contacts.ts";
import { UpstreamAgent } from "./upstream_agent.ts";
import { UpstreamKeeper } from "./upstream_keeper.ts";
import { UpstreamLedger } from "./upstream_ledger.ts";
import { askedOf, type UpstreamPlan, UpstreamPlanner } from "./upstream_plan.ts";

/** The PBX, as the registrar sees it. */
export interface UpstreamSide {
  flow(): Flow | null;
}

/** Results of REGISTERs that the PBX did not decide, in words for the log. */
const UNANSWERED: Readonly<Record<string, string>> = {
  pbx_timeout: "The PBX did not answer a REGISTER within 32 s",
  pbx_unreachable: "A REGISTER could not be sent to the PBX: it is not reachable",
  pbx_unusable: "The PBX answered a REGISTER without our Via: the phone cannot be told",
};

export class MidRegistrar {
  /** Takes our Contacts off the PBX. */
  readonly agent: UpstreamAgent;
  private readonly challenged = new Challenged();
  private readonly complaints = new LogLimit();
  private readonly doubts: Doubts;
  readonly keeper: UpstreamKeeper;
  readonly ledger: UpstreamLedger;
  readonly planner: UpstreamPlanner;

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
    this.ledger = new UpstreamLedger(this, usrloc, bindings, clock);
    this.planner = new UpstreamPlanner(this, usrloc, bindings, clock);
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
    const plan = this.planner.planFor(request, upstreamFlow);
    const asked = askedOf(plan);
    for (const [id, seconds] of asked) if (seconds > 0) this.agent.hold(request.aorKey, id);
    const order = this.inFlight.begin(request.aorKey, asked);
    const doubt = this.doubts.begin(
      request.aorKey,
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
    const asked = request.contacts.map((wanted) => this.planner.asked(wanted));
    const isAbsorbed = isAbsorbable(request, {
      nowMs,
      flow: server.flow,
      known: request.contacts.map((wanted) => this.bindings.known(aor, wanted)),
      asked,
      upstreamEndsMs: (contact) => this.ledger.provenEndsMs(contact),
    });
    if (!isAbsorbed) return false;
    const applied = this.bindings.apply(request, asked, server.flow, NO_ORDER);
    this.count("absorbed", request, 200);
    server.respond(200, "", this.replyLines(request, applied.listed, offers) + aor.upstream.lines, true);
    this.resume(applied, nowMs, Math.round((aor.upstream.expiresAtMs - nowMs) / 1000));
    return true;
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

  /** true if another REGISTER took the last place while this one was at the PBX. */
  isFull(request: RegisterRequest): boolean {
    return this.bindings.isFull(request);
  }

  /** The PBX accepted: usrloc is written. */
  accept(request: RegisterRequest, grants: Grants, flow: Flow, order: number, arrivedAtMs: number): Applied {
    const applied = this.bindings.apply(request, grants.phone, flow, order);
    if (this.mode !== "aor") this.ledger.noteDeviceGrants(request, grants, order, arrivedAtMs);
    if (request.isWildcard || request.contacts.length > 0) {
      const isOurs = this.mode === "aor" || request.isWildcard || grants.upstream === 0 || applied.saved.length > 0;
      if (isOurs) this.ledger.write(request, grants, order, arrivedAtMs);
      this.agent.endIfDeserted(request.aorKey);
    }
    this.count(applied.listed.length > 0 ? "accepted" : applied.removed > 0 ? "removed" : "fetched", request, 200);
    return applied;
  }

  /** A REGISTER of our own was answered or failed. */
  answered(aorKey: string, order: number): void {
    this.inFlight.end(aorKey, order);
    this.agent.answered(aorKey);
  }

  /** The PBX answers again after it did not: perhaps it was started anew. */
  onPbxBack(): void {
    this.ledger.onPbxBack();
    this.keeper.renewAll();
  }

  /** The PBX accepted what we cannot keep: it is taken off the PBX again where it is not another device's too. */
  takeBack(request: RegisterRequest, plan: UpstreamPlan, grants: Grants, order: number, arrivedAtMs: number): void {
    this.ledger.write(request, grants, order, arrivedAtMs);
    this.agent.endIfDeserted(request.aorKey);
    const aor = this.usrloc.find(request.aorKey);
    if (aor === undefined || this.mode === "aor") return;
    for (const id of plan.ids) if (!this.ledger.isWanted(aor, id)) this.agent.end(aor, id);
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
    for (const contact of applied.saved) {
      if (!contact.isRegistered) continue;
      this.report(contact, upstreamExpires);
      this.user.onRegistered(contact, arrivedAtMs);
    }
  }

  private report(contact: Contact, upstreamExpires: number): void {
    const aor = contact.aor.key;
    this.port.event({
      type: "registration",
      state: "registered",
      aor,
      device: contact.id,
      transport: contact.flow?.transport,
    });
    if (!this.port.isLogged("debug", aor)) return;
    this.port.log("debug", "Registered", {
      aor,
      device: contact.id,
      flow: contact.flowKey,
      expires: Math.round((contact.expiresAtMs - this.clock.nowMs) / 1000),
      upstream_expires: upstreamExpires,
      user_agent: contact.userAgent,
    });
  }

  /** A contact left. */
  onContactRemoved(contact: Contact, cause: RemovalCause): void {
    this.ledger.onContactRemoved(contact.aor);
    this.agent.onContactRemoved(contact, cause);
  }

  /** the 2xx does not list our Contact. Coped with, but the admin should know. */
  onContactMissing(request: RegisterRequest): void {
    const { level, note } = this.complaints.next("missing", this.clock.nowMs);
    this.port.log(
      level,
      `The PBX's 200 to REGISTER does not list our Contact; its Expires header is taken instead${note}`,
      { aor: request.aorKey },
    );
  }

  onAuthResult(flow: Flow, isPassed: boolean): void {
    this.user.onAuthResult(flow, isPassed);
  }

  count(result: string, request: RegisterRequest, status: number): void {
    this.port.count("registrations_total", result);
    const fields = { aor: request.aorKey, call: request.callId };
    if (result === "rejected") return this.port.log("info", `The PBX refused a REGISTER with ${status}`, fields);
    if (!result.startsWith("pbx_")) return;
    // A PBX that is away does not answer thousands.
    const { level, note } = this.complaints.next(result, this.clock.nowMs);
    this.port.log(level, (UNANSWERED[result] ?? "The PBX did not answer a REGISTER") + note, fields);
  }

  private refuse(server: ServerTransaction, status: number, reason: string, lines = ""): void {
    this.port.count("registrations_total", "refused");
    this.port.log("info", `REGISTER refused: ${status} ${reason}`.trimEnd(), {
      aor: server.request.to.uri === null ? server.request.to.uriText : aorOf(server.request.to.uri),
      flow: server.flow.key,
    });
    server.respond(status, reason, lines);
  }
}
