/**
 * Mid-registrar: every REGISTER goes to the PBX with our Contact; what the PBX accepts is written.
 * The PBX stays in charge of users and passwords; no REGISTER changes anything here without its 2xx.
 */
import type { Clock } from "../clock.ts";
import type { Port } from "../port.ts";
import type { Message } from "../sip/message.ts";
import { AUTHORIZATION, PROXY_AUTHORIZATION } from "../sip/header.ts";
import { viaValue } from "../sip/via.ts";
import { aorOf } from "../sip/uri.ts";
import type { ServerTransaction } from "../transaction/server.ts";
import type { Transactions } from "../transaction/table.ts";
import type { Aor, Contact } from "../usrloc/contact.ts";
import type { StoredRemnant } from "../usrloc/stored.ts";
import type { RemovalCause, Usrloc } from "../usrloc/usrloc.ts";
import { type Applied, type ContactWriter, NO_ORDER } from "./contact_writer.ts";
import { LogLimit } from "./log_limit.ts";
import { Logins } from "./logins.ts";
import { grantedCaps, type PushOffer, upstreamCaps } from "./push_support.ts";
import { type DeviceHintReader, isProblem, readRegister, type RegisterRequest } from "./register.ts";
import { contactLines } from "./reply_contacts.ts";
import type { RegistrarSettings, RegistrarUser } from "./settings.ts";
import { Challenged, isAbsorbable } from "./throttle.ts";
import {
  type Acceptance,
  type ForwardedOwner,
  ForwardedRegister,
  type Forwarding,
  type NoAnswer,
  upstreamRegister,
} from "./upstream/forwarded.ts";
import { type Grants, type PbxDoubt, UpstreamLedger } from "./upstream/ledger.ts";
import { BindingWatch, type BindingWatchUser } from "./upstream/binding_watch.ts";
import { UpstreamLink, type UpstreamSide } from "./upstream/own_register.ts";
import { askedOf, UpstreamPlanner } from "./upstream/plan.ts";
import { UpstreamPolicy } from "./upstream/policy.ts";
import { Removals } from "./upstream/removals.ts";
import { Renewals } from "./upstream/renewals.ts";
import { UnansweredRegisters } from "./upstream/unanswered.ts";

/** What the mid-registrar stands on. */
export interface MidRegistrarParts {
  readonly port: Port;
  readonly clock: Clock;
  readonly table: Transactions;
  readonly usrloc: Usrloc;
  readonly writer: ContactWriter;
  readonly pbx: UpstreamSide;
  readonly hints: DeviceHintReader;
}

/** Between one renewal and the next after a mere sign that the PBX may have lost them. */
const DOUBT_EACH_MS = 50;

/** Results of REGISTERs that the PBX did not decide, in words for the log. */
const UNANSWERED: Readonly<Record<NoAnswer, string>> = {
  pbx_timeout: "The PBX did not answer a REGISTER within 32 s",
  pbx_unreachable: "A REGISTER could not be sent to the PBX: it is not reachable",
  pbx_unusable: "The PBX answered a REGISTER without our Via: the phone cannot be told",
};

/** What a resync does, in numbers of bindings and devices. */
export interface Resync {
  /** Bindings that our own REGISTERs renew. */
  readonly renewing: number;
  /** Devices that are woken to renew theirs. */
  readonly waking: number;
  /** Devices that renew theirs with their next REGISTER, which goes to the PBX. */
  readonly waiting: number;
}

export class MidRegistrar implements ForwardedOwner, BindingWatchUser {
  readonly policy: UpstreamPolicy;
  readonly ledger: UpstreamLedger;
  /** Our own REGISTERs that keep the PBX's bindings alive. */
  readonly renewals: Renewals;
  private readonly removals: Removals;
  private readonly watch: BindingWatch;
  private readonly planner: UpstreamPlanner;
  private readonly unanswered: UnansweredRegisters;
  private readonly challenged = new Challenged();
  private readonly logins = new Logins();
  private readonly complaints = new LogLimit();
  private hasToldOfNoPassword = false;
  private readonly port: Port;
  private readonly clock: Clock;
  private readonly table: Transactions;
  private readonly usrloc: Usrloc;
  private readonly writer: ContactWriter;
  private readonly pbx: UpstreamSide;
  private readonly hints: DeviceHintReader;

  constructor(parts: MidRegistrarParts, private readonly user: RegistrarUser) {
    const { port, clock, table, usrloc, writer, pbx } = parts;
    this.port = port;
    this.clock = clock;
    this.table = table;
    this.usrloc = usrloc;
    this.writer = writer;
    this.pbx = pbx;
    this.hints = parts.hints;
    const policy = this.policy = new UpstreamPolicy(() => writer.settings);
    const ledger = this.ledger = new UpstreamLedger(policy, usrloc, writer, port, clock);
    this.planner = new UpstreamPlanner(policy, usrloc, writer, clock);
    this.unanswered = new UnansweredRegisters(usrloc);
    const link = new UpstreamLink(port, table, pbx, policy, writer.inFlight);
    this.removals = new Removals(link, ledger, usrloc, clock);
    this.renewals = new Renewals(link, ledger, usrloc, clock, (aorKey, order) => this.onAnswered(aorKey, order));
    this.watch = new BindingWatch(link, ledger, usrloc, this.renewals, this);
    this.watch.start();
  }

  private get settings(): RegistrarSettings {
    return this.policy.settings;
  }

  onRegister(server: ServerTransaction, routesToDrop: number): void {
    const message = server.request;
    if (this.isOwn(message)) return this.refuse(server, 482, "");
    const request = readRegister(message, this.hints, this.writer.repeatable);
    if (isProblem(request)) return this.refuse(server, request.status, request.reason);
    // Before the general minimum: a phone told that one would be told this one next.
    const push = this.writer.pushAnswer(request);
    if (push.status !== 0) return this.refuse(server, push.status, "", push.lines);
    const { minExpires } = this.settings;
    if (
      request.contacts.some((wanted) => wanted.expires !== 0 && wanted.expires !== null && wanted.expires < minExpires)
    ) {
      return this.refuse(server, 423, "", `Min-Expires: ${minExpires}\r\n`);
    }
    if (this.writer.isFull(request)) return this.refuse(server, 403, "Too many devices");
    if (this.absorb(server, request, push.offers)) return;
    const upstreamFlow = this.pbx.flow();
    if (upstreamFlow === null) {
      this.count("pbx_unreachable", request, 503);
      return server.respond(503, "PBX not reachable", "Retry-After: 10\r\n");
    }
    const plan = this.planner.planFor(request, upstreamFlow);
    const asked = askedOf(plan);
    for (const [id, seconds] of asked) if (seconds > 0) this.removals.hold(request.aorKey, id);
    const order = this.writer.inFlight.begin(request.aorKey, asked);
    const arrivedAtMs = this.clock.nowMs;
    const { isOneForAll } = this.policy;
    const unanswered = this.unanswered.begin(
      request.aorKey,
      order,
      request.isWildcard ? null : asked,
      isOneForAll,
      arrivedAtMs,
    );
    const login = this.logins.begin(message, server.flow);
    for (let i = 0; i < login.dropped.length; i++) this.port.count("rejected_total", "credentials");
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
      login.dropped,
    );
    const forwarded = new ForwardedRegister(this, {
      server,
      flow: server.flow,
      upstreamFlow,
      request,
      plan,
      order,
      arrivedAtMs,
      offers: push.offers,
      unanswered,
      login,
    });
    this.table.send(wire, "REGISTER", branch, upstreamFlow, forwarded);
  }

  /** Answers a refresh here if the PBX need not hear of it. */
  private absorb(server: ServerTransaction, request: RegisterRequest, offers: readonly PushOffer[]): boolean {
    const isAnswer = this.challenged.take(request.callId);
    if (isAnswer || this.policy.mode === "mirror" || this.writer.inFlight.isBusy(request.aorKey)) return false;
    const aor = this.usrloc.find(request.aorKey);
    if (aor === undefined) return false;
    const nowMs = this.clock.nowMs;
    const asked = request.contacts.map((wanted) => this.policy.asked(wanted));
    const isAbsorbed = isAbsorbable(request, {
      nowMs,
      flow: server.flow,
      known: request.contacts.map((wanted) => this.writer.known(aor, wanted)),
      asked,
      upstreamEndsMs: (contact) => this.ledger.provenEndsMs(contact),
    });
    if (!isAbsorbed) return false;
    const applied = this.writer.apply(request, asked, server.flow, NO_ORDER);
    this.count("absorbed", request, 200);
    server.respond(200, "", this.replyLines(request, applied.listed, offers) + aor.upstream.lines, true);
    this.resume(applied, nowMs, Math.round((aor.upstream.expiresAtMs - nowMs) / 1000));
    return true;
  }

  onPbxHeard(): void {
    this.renewals.pbxAnswered();
  }

  onRefused({ request }: Forwarding, status: number): void {
    const isChallenge = status === 401 || status === 407;
    // Its answer must reach the PBX.
    if (isChallenge) this.challenged.add(request.callId);
    this.count(isChallenge ? "challenged" : "rejected", request, status);
  }

  onNoAnswer({ request }: Forwarding, why: NoAnswer, status: number): void {
    this.count(why, request, status);
  }

  onAccepted(forwarding: Forwarding, grants: Grants, response: Message): Acceptance | null {
    const { request, order, arrivedAtMs, upstreamFlow, offers } = forwarding;
    // another REGISTER took the last place while this one was at the PBX.
    if (this.writer.isFull(request)) {
      this.takeBack(forwarding, grants);
      this.count("rejected", request, 403);
      return null;
    }
    if (grants.upstream > 0 && !hasCredentials(forwarding.server.request)) this.tellOfNoPassword(request);
    const applied = this.accept(forwarding, grants);
    this.ledger.noteDropped(response, request.aorKey, order, upstreamFlow);
    return {
      lines: this.replyLines(request, applied.listed, offers),
      onRelayed: () => this.resume(applied, arrivedAtMs, grants.upstream),
    };
  }

  onOver({ request, order, unanswered }: Forwarding): void {
    this.unanswered.end(request.aorKey, order, unanswered);
    this.onAnswered(request.aorKey, order);
  }

  /** A REGISTER, a phone's or our own, was answered or failed, and what came of it is written. */
  private onAnswered(aorKey: string, order: number): void {
    this.writer.inFlight.end(aorKey, order);
    this.removals.answered(aorKey);
  }

  /** REGISTERs go one way: one that we sent and that comes back, changed or not, goes round in circles. */
  private isOwn(message: Message): boolean {
    const at = message.raw.indexOf(this.table.branchStart);
    return at >= 0 && at < message.bodyStart;
  }

  /** The PBX accepted: usrloc is written. */
  private accept({ request, flow, order, arrivedAtMs }: Forwarding, grants: Grants): Applied {
    const applied = this.writer.apply(request, grants.phone, flow, order);
    const { isOneForAll } = this.policy;
    if (!isOneForAll) {
      for (const contact of this.ledger.noteDeviceGrants(request, grants, order, arrivedAtMs)) {
        this.renewals.granted(contact.aor, contact.id);
      }
    }
    if (request.isWildcard || request.contacts.length > 0) {
      const isOurs = isOneForAll || request.isWildcard || grants.upstream === 0 || applied.saved.length > 0;
      if (isOurs) this.write(request, grants, order, arrivedAtMs);
      // When they were saved, the PBX's binding still ended when it did before this REGISTER.
      for (const contact of applied.saved) this.usrloc.reschedule(contact);
      this.removals.endIfDeserted(request.aorKey);
    }
    this.count(applied.listed.length > 0 ? "accepted" : applied.removed > 0 ? "removed" : "fetched", request, 200);
    return applied;
  }

  /** What the PBX grants is written, and renewed in time where that is ours to do. */
  private write(request: RegisterRequest, grants: Grants, order: number, arrivedAtMs: number): void {
    const granted = this.ledger.write(request, grants, order, arrivedAtMs);
    if (granted !== null) this.renewals.granted(granted, granted.id);
  }

  /** The PBX accepted what we cannot keep: it is taken off the PBX again where it is not another device's too. */
  private takeBack({ request, plan, order, arrivedAtMs }: Forwarding, grants: Grants): void {
    this.write(request, grants, order, arrivedAtMs);
    this.removals.endIfDeserted(request.aorKey);
    const aor = this.usrloc.find(request.aorKey);
    if (aor === undefined || this.policy.isOneForAll) return;
    for (const id of plan.ids) if (!this.ledger.isWanted(aor, id)) this.removals.end(aor, id);
  }

  /** The PBX answers again after it did not: perhaps it was started anew. */
  onPbxBack(): void {
    this.distrust("lost", "it was away");
  }

  onPbxDoubt(reason: string): void {
    this.distrust("maybe", reason);
  }

  onBindingsLost(reason: string): void {
    this.distrust("lost", reason);
  }

  /** By hand: every binding is renewed, by us where we may, else by its phone. */
  resync(): Resync {
    const renewing = this.distrust("lost", "resync was asked for");
    let waking = 0;
    let waiting = 0;
    for (const aor of this.usrloc.all()) {
      for (const contact of aor.contacts) {
        if (this.policy.isRenewing(aor.user, this.ledger.upstreamId(contact))) continue;
        if (contact.refreshAtMs !== Infinity) waking++;
        else waiting++;
      }
    }
    return { renewing, waking, waiting };
  }

  /**
   * the PBX may have lost what it held. Nothing is absorbed for long before it has granted anew, and our own
   * REGISTERs go, spread: over as little time as possible if it has lost them, else more gently.
   * @returns how many bindings we renew
   */
  private distrust(kind: PbxDoubt["kind"], reason: string): number {
    if (!this.ledger.noteDoubt(kind, reason)) return 0;
    const isLost = kind === "lost";
    this.port.count("pbx_doubts_total", kind);
    this.port.event({ type: "pbx", state: isLost ? "lost" : "doubt", reason });
    this.port.log(
      isLost ? "warn" : "info",
      `The PBX may have lost its registrations: ${reason}. They are renewed; phones' refreshes go to it until then`,
    );
    // A mere sign costs the PBX no more than twenty REGISTERs a second, where that is soon enough.
    const gentlyMs = Math.min(this.settings.verifyMs / 2, this.renewals.size * DOUBT_EACH_MS);
    return this.renewals.renewAll(isLost ? 0 : gentlyMs);
  }

  /**
   * What was stored is there again.
   * @param isOtherPbx it tells of another PBX, or of other Contacts than this one gets: every registration goes to it anew
   */
  restored(remnants: readonly StoredRemnant[], isOtherPbx: boolean): void {
    if (isOtherPbx) this.ledger.forgetAll();
    else this.removals.onRemnants(remnants);
    this.renewals.restored();
  }

  /** The settings changed: other users may be ours to renew. */
  reconfigured(): void {
    this.renewals.restored();
    this.watch.start();
  }

  /** A device was set by hand: the PBX's binding is renewed where that is ours to do. */
  deviceSet(contact: Contact): void {
    this.renewals.granted(contact.aor, this.ledger.upstreamId(contact));
  }

  /** The last contact of an AoR ran out while we were away. */
  onAorLeft(aor: Aor): void {
    this.removals.onAorLeft(aor);
  }

  /** Lines of the 2xx to the phone: Contacts, and the Path we kept from the PBX (RFC 3327 §5.3). */
  private replyLines(request: RegisterRequest, listed: readonly Contact[], offers: readonly PushOffer[]): string {
    const isFetch = request.contacts.length === 0 && !request.isWildcard;
    const all = this.usrloc.find(request.aorKey)?.contacts ?? [];
    let lines = contactLines(isFetch || this.settings.repliesWithAll ? all : listed, listed, this.clock.nowMs);
    lines += grantedCaps(offers, listed, this.clock.nowMs, this.settings, (device) => this.user.purrOf(device));
    return request.path === "" ? lines : lines + "Path: " + request.path + "\r\n";
  }

  /** After the 200 is on its way: the devices join their calls, in this same turn (W-04). */
  private resume(applied: Applied, arrivedAtMs: number, upstreamExpires: number): void {
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
    this.removals.onContactRemoved(contact, cause);
    if (!this.policy.isOneForAll && !contact.isDropped) this.fillPlaceOf(contact);
  }

  /**
   * To the PBX every phone comes from our address. If it trusts that, a stranger registers as anybody. One that has no
   * passwords at all looks the same.
   */
  private tellOfNoPassword({ aorKey, contacts }: RegisterRequest): void {
    if (this.hasToldOfNoPassword || !contacts.some(({ expires }) => expires !== 0)) return;
    this.hasToldOfNoPassword = true;
    this.port.log(
      "info",
      "The PBX registered a phone without a password: if it trusts latefork's address, anybody can register as anybody",
      { aor: aorKey },
    );
  }

  /** A device left whose Contact the PBX held: one that it had dropped before has room there now. */
  private fillPlaceOf({ aor }: Contact): void {
    const dropped = aor.contacts.find((contact) => contact.isDropped);
    if (dropped !== undefined) this.renewals.renew(dropped.id);
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

  onJudged({ login, flow }: Forwarding, response: Message | null): void {
    const verdict = this.logins.judged(login, flow, response);
    if (verdict === "passed") this.user.onLoginPassed(flow);
    else if (verdict.length > 0) this.user.onLoginFailed(flow, verdict);
  }

  private count(result: string, request: RegisterRequest, status: number): void {
    this.port.count("registrations_total", result);
    const fields = { aor: request.aorKey, call: request.callId };
    if (result === "rejected") return this.port.log("info", `The PBX refused a REGISTER with ${status}`, fields);
    if (!result.startsWith("pbx_")) return;
    // A PBX that is away does not answer thousands.
    const { level, note } = this.complaints.next(result, this.clock.nowMs);
    this.port.log(level, UNANSWERED[result as NoAnswer] + note, fields);
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

function hasCredentials(request: Message): boolean {
  return request.has(AUTHORIZATION) || request.has(PROXY_AUTHORIZATION);
}
