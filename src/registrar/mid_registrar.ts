/**
 * Mid-registrar: every REGISTER goes to the PBX with our Contact; what the PBX accepts is written.
 * The PBX stays in charge of users and passwords; no REGISTER changes anything here without its 2xx.
 */
import type { Clock } from "../sip/clock.ts";
import type { Flow } from "../sip/flow.ts";
import type { Port } from "../sip/port.ts";
import { viaValue } from "../sip/via.ts";
import type { ServerTransaction } from "../transaction/server.ts";
import type { Transactions } from "../transaction/table.ts";
import type { Binding } from "../usrloc/binding.ts";
import type { Contact } from "../usrloc/model.ts";
import type { RemovalCause, Usrloc } from "../usrloc/usrloc.ts";
import { type Applied, type Bindings, contactLines } from "./apply.ts";
import {
  type DeviceHintReader,
  isProblem,
  readRegister,
  type RegisterRequest,
  type WantedContact,
} from "./register.ts";
import { RegisterRelay, type UpstreamPlan, upstreamRegister } from "./relay.ts";
import type { RegistrarSettings, RegistrarUser } from "./settings.ts";
import { UpstreamAgent } from "./upstream_agent.ts";
import { upstreamUri } from "./upstream_contact.ts";

/** The PBX, as the registrar sees it. */
export interface UpstreamSide {
  flow(): Flow | null;
}

export class MidRegistrar {
  private readonly agent: UpstreamAgent;
  private orderCount = 0;

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
  }

  get settings(): RegistrarSettings {
    return this.bindings.settings;
  }

  onRegister(server: ServerTransaction, routesToDrop: number): void {
    const message = server.request;
    const request = readRegister(message, this.hints);
    if (isProblem(request)) return this.refuse(server, request.status, request.reason);
    const { minExpires } = this.settings;
    if (
      request.contacts.some((wanted) => wanted.expires !== 0 && wanted.expires !== null && wanted.expires < minExpires)
    ) {
      return this.refuse(server, 423, "", `Min-Expires: ${minExpires}\r\n`);
    }
    if (this.bindings.isFull(request)) return this.refuse(server, 403, "Too many devices");
    const upstreamFlow = this.pbx.flow();
    if (upstreamFlow === null) {
      this.count("pbx_unreachable", request, 503);
      return server.respond(503, "PBX not reachable", "Retry-After: 10\r\n");
    }
    const plan = this.planFor(request, upstreamFlow);
    const branch = this.table.newBranch();
    const wire = upstreamRegister(message, plan, viaValue(upstreamFlow, branch), server.viaText, routesToDrop);
    const order = ++this.orderCount;
    const relay = new RegisterRelay(this, server, server.flow, upstreamFlow, request, plan, order, this.clock.nowMs);
    this.table.send(wire, "REGISTER", branch, upstreamFlow, relay);
  }

  /** Seconds a phone asks for, within our bounds. */
  asked(wanted: WantedContact): number {
    return Math.min(wanted.expires ?? this.settings.defaultExpires, this.settings.maxExpires);
  }

  /** Which Contacts the PBX is told. */
  private planFor(request: RegisterRequest, flow: Flow): UpstreamPlan {
    if (request.isWildcard || request.contacts.length === 0) return { contactLines: "", ids: [], expires: null };
    return this.settings.mode === "aor" ? this.planForAor(request, flow) : this.planForDevices(request, flow);
  }

  private planForAor(request: RegisterRequest, flow: Flow): UpstreamPlan {
    const id = this.bindings.aorId(request.aorKey);
    const ids = request.contacts.map(() => id);
    const aor = this.usrloc.find(request.aorKey);
    let longest = 0;
    for (const wanted of request.contacts) if (wanted.expires !== 0) longest = Math.max(longest, this.asked(wanted));
    let contradicted: number | null = null;
    let expires = 0;
    if (longest > 0) expires = Math.max(longest, this.settings.upstreamExpires);
    else {
      const removed = new Set(request.contacts.map((wanted) => this.bindings.known(aor, wanted)));
      // digest covers neither Contact nor Expires, so the PBX can judge a removal that leaves the AoR registered.
      if (aor !== undefined && aor.contacts.some((contact) => !removed.has(contact as Binding))) {
        contradicted = expires = this.settings.upstreamExpires;
      }
    }
    return { contactLines: this.upstreamLine(request.user, id, flow, expires), ids, expires: contradicted };
  }

  private planForDevices(request: RegisterRequest, flow: Flow): UpstreamPlan {
    const ids = request.contacts.map((wanted) => this.bindings.deviceId(request, wanted));
    const staying = new Set(ids.filter((_, i) => request.contacts[i]!.expires !== 0));
    let lines = "";
    const told = new Set<string>();
    for (let i = 0; i < ids.length; i++) {
      const wanted = request.contacts[i]!;
      const id = ids[i]!;
      if (told.has(id) || (wanted.expires === 0 && staying.has(id))) continue;
      told.add(id);
      const asked = wanted.expires === 0
        ? 0
        : this.settings.mode === "mirror"
        ? this.asked(wanted)
        : Math.max(this.asked(wanted), this.settings.upstreamExpires);
      lines += this.upstreamLine(request.user, id, flow, asked);
    }
    return { contactLines: lines, ids, expires: null };
  }

  /** One Contact header line for the PBX. */
  upstreamLine(user: string, id: string, flow: Flow, expires: number): string {
    return "Contact: <" + upstreamUri(this.settings.placement, user, id, flow) + ">;expires=" + expires + "\r\n";
  }

  /** The PBX accepted: usrloc is written. */
  accept(
    request: RegisterRequest,
    grants: { phone: number[]; upstream: number },
    flow: Flow,
    order: number,
    arrivedAtMs: number,
  ): { applied: Applied; upstreamExpires: number } {
    const applied = this.bindings.apply(request, grants.phone, flow, order);
    const aor = this.usrloc.find(request.aorKey);
    if (aor !== undefined && (request.isWildcard || request.contacts.length > 0)) {
      const isGone = grants.upstream === 0 && aor.contacts.length === 0;
      if (grants.upstream > 0) {
        this.usrloc.setUpstream(aor, {
          state: "registered",
          expiresAtMs: arrivedAtMs + grants.upstream * 1000,
          callId: request.callId,
          cseq: request.cseq,
        });
      } else if (isGone) {
        this.usrloc.setUpstream(aor, { state: "removed", expiresAtMs: 0, callId: request.callId, cseq: request.cseq });
      }
    }
    this.count(applied.saved.length > 0 ? "accepted" : applied.removed > 0 ? "removed" : "fetched", request, 200);
    return { applied, upstreamExpires: grants.upstream };
  }

  /** Contact lines of the 2xx to the phone. */
  replyContacts(request: RegisterRequest, saved: readonly Contact[]): string {
    const isFetch = request.contacts.length === 0 && !request.isWildcard;
    const all = this.usrloc.find(request.aorKey)?.contacts ?? [];
    return contactLines(isFetch || this.settings.repliesWithAll ? all : saved, this.clock.nowMs);
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
    // A removal by REGISTER went through the PBX.
    if (cause === "unregistered") return;
    const { aor } = contact;
    if (this.settings.mode === "aor") {
      if (aor.contacts.length === 0) this.agent.end(aor, aor.id);
    } else this.agent.end(aor, contact.id);
  }

  /** the 2xx does not list our Contact. Coped with, but the admin should know. */
  onContactMissing(request: RegisterRequest): void {
    this.port.log("warn", "The PBX's 200 to REGISTER does not list our Contact; its Expires header is taken instead", {
      aor: request.aorKey,
    });
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
