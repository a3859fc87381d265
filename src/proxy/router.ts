/**
 * Where a request goes (RFC 3261 §16.4, §16.5, F-06): from phones to the PBX, from the PBX to phones, inside a
 * dialog where its flow token says, and nowhere else. Registrations and calls to an AoR are handed to their owners.
 */
import type { Flow } from "../sip/flow.ts";
import { forwardedRequest } from "../sip/forward.ts";
import { ROUTE } from "../sip/header.ts";
import type { Message } from "../sip/message.ts";
import { parseNameAddr } from "../sip/name_addr.ts";
import { receivedVia } from "../sip/response.ts";
import { aorOf, isSipScheme, type Uri, uriParam } from "../sip/uri.ts";
import { viaValue } from "../sip/via.ts";
import type { ServerTransaction } from "../transaction/server.ts";
import type { Transactions, TransactionUser } from "../transaction/table.ts";
import type { Aor, Contact } from "../usrloc/model.ts";
import type { Binding } from "../usrloc/binding.ts";
import type { Usrloc } from "../usrloc/usrloc.ts";
import type { OwnAddresses } from "./address.ts";
import type { Target } from "./branch.ts";
import { Fork, type ForkOptions, loopSuffix } from "./fork.ts";
import type { Pbx } from "./pbx.ts";
import type { FlowTokens } from "./record_route.ts";
import { refusalOf } from "./validate.ts";

/** Who takes what the router does not forward itself. */
export interface RouterUser {
  /** `routesToDrop`: how many Route elements at the top are ours. */
  onRegister(transaction: ServerTransaction, routesToDrop: number): void;
  /** An INVITE for an AoR, or for one device of it. `callerToken`: flow token of the caller, empty for the PBX. */
  onCall(
    transaction: ServerTransaction,
    aor: Aor,
    device: Contact | null,
    callerToken: string,
    routesToDrop: number,
  ): void;
  /** A request inside a dialog went on; `isToDevice`: towards a registered device, for the ladder. */
  onDialogRequest(request: Message, isToDevice: boolean): void;
  /** Registrar mode: may this request pass? If not, it has been answered (407). */
  authorize(transaction: ServerTransaction): boolean;
}

export interface RouterSettings {
  /** Domains of our AoRs; empty: every host that is ours. */
  readonly domains: readonly string[];
  /** Registrar mode: sources believed without digest. */
  readonly isTrusted: (address: string) => boolean;
}

const PLAIN: ForkOptions = { isSingleAnswer: false, endsOn6xx: true, endsOn603: true, unreachableStatus: 503 };
/** Methods that make no dialog: a Record-Route would only cost bytes. */
const WITHOUT_DIALOG = new Set(["MESSAGE", "OPTIONS", "PUBLISH"]);

/** What the Route headers of a request say about us. */
interface OwnRoutes {
  count: number;
  tokens: string[];
  next: Uri | null;
}

/** A destination, or why there is none. */
type Hop = { target: Target } | { status: number; reason: string };

export class Router implements TransactionUser {
  table!: Transactions;
  private readonly addressTokens = new WeakMap<Flow, string>();

  constructor(
    private readonly usrloc: Usrloc,
    private readonly own: OwnAddresses,
    private readonly tokens: FlowTokens,
    /** Null in registrar mode. */
    readonly pbx: Pbx | null,
    private readonly user: RouterUser,
    private readonly settings: RouterSettings,
  ) {}

  onRequest(transaction: ServerTransaction): void {
    const request = transaction.request;
    const refusal = refusalOf(request);
    if (refusal !== null) {
      this.table.port.count("rejected_total", String(refusal.status));
      return transaction.respond(refusal.status, refusal.reason, refusal.lines);
    }
    if (this.isLoop(request)) return transaction.respond(482);
    const routes = this.ownRoutes(request);
    if (request.method === "REGISTER") return this.user.onRegister(transaction, routes.count);
    if (request.to.tag !== "" || routes.tokens.length > 0) this.routeInDialog(transaction, routes);
    else if (this.isFromPbx(transaction.flow)) this.routeFromPbx(transaction, routes);
    else this.routeFromPhone(transaction, routes);
  }

  /** ACK for a 2xx goes end to end without a transaction (F-04); there is nothing to answer if it cannot. */
  onAck(ack: Message, flow: Flow): void {
    const routes = this.ownRoutes(ack);
    const hop = refusalOf(ack) === null ? this.dialogHop(ack, flow, routes) : null;
    if (hop === null || !("target" in hop)) return this.table.port.count("rejected_total", "stray_ack");
    this.user.onDialogRequest(ack, hop.target.contactId !== "");
    this.table.port.send(
      hop.target.flow,
      forwardedRequest(ack, {
        uri: hop.target.uri,
        via: viaValue(hop.target.flow, this.table.newBranch()),
        receivedVia: receivedVia(ack, flow),
        recordRoute: [],
        routesToDrop: routes.count,
        route: hop.target.route,
      }),
    );
  }

  onCancel(cancel: ServerTransaction, invite: ServerTransaction | null): void {
    if (invite === null) return cancel.respond(481);
    const request = cancel.request;
    cancel.respond(200);
    invite.owner?.onCancel(request);
  }

  onStrayResponse(): void {
    // RFC 3261 §18.1.2, RFC 6026 §7.1: a response to nothing we sent goes nowhere.
    this.table.port.count("rejected_total", "stray_response");
  }

  /** Flow token of a contact, made once per device. */
  deviceToken(contact: Contact): string {
    const binding = contact as Binding;
    if (binding.routeToken === "") binding.routeToken = this.tokens.ofDevice(binding.id);
    return binding.routeToken;
  }

  /** The AoR a Request-URI means: by our id, by user and domain, by user alone where the host is ours. */
  resolve(uri: Uri): { aor: Aor; device: Contact | null } | null {
    if (!isSipScheme(uri)) return null;
    const id = uriParam(uri, "lf");
    if (id !== undefined) {
      const found = this.byId(id);
      if (found !== null) return found;
    }
    if (uri.user === "") return null;
    if (this.isOurDomain(uri.host)) {
      const aor = this.usrloc.find(aorOf(uri));
      if (aor !== undefined) return { aor, device: null };
      // contact_id: user, or a PBX that dropped the parameter of mode aor
      const byUser = this.byId(uri.user);
      if (byUser !== null) return byUser;
      for (const domain of this.usrloc.domains()) {
        const elsewhere = this.usrloc.find(aorOf(uri, domain));
        if (elsewhere !== undefined) return { aor: elsewhere, device: null };
      }
    }
    return null;
  }

  private byId(id: string): { aor: Aor; device: Contact | null } | null {
    const device = this.usrloc.contact(id);
    if (device !== undefined) return { aor: device.aor, device };
    const aor = this.usrloc.findById(id);
    return aor === undefined ? null : { aor, device: null };
  }

  /** True for the configured domains; without any, for our own addresses and the PBX's. */
  isOurDomain(host: string): boolean {
    if (this.settings.domains.includes(host)) return true;
    if (this.own.isOurHost(host)) return true;
    if (this.settings.domains.length > 0) return false;
    return this.pbx !== null && (this.pbx.isPbxAddress(host) || this.usrloc.hasDomain(host));
  }

  /** The PBX's requests come from its addresses; a phone that is registered on the same machine is still a phone. */
  private isFromPbx(flow: Flow): boolean {
    return this.pbx !== null && this.pbx.isPbxAddress(flow.remoteAddress) && !this.usrloc.isPhoneFlow(flow);
  }

  private routeFromPbx(transaction: ServerTransaction, routes: OwnRoutes): void {
    const request = transaction.request;
    const uri = request.uri!;
    if (request.method === "OPTIONS" && uri.user === "" && this.isOurDomain(uri.host)) return transaction.respond(200);
    this.routeToAor(transaction, "", routes);
  }

  private routeFromPhone(transaction: ServerTransaction, routes: OwnRoutes): void {
    const request = transaction.request;
    const uri = request.uri!;
    if (request.method === "OPTIONS" && uri.user === "" && this.own.isOurHost(uri.host)) {
      return transaction.respond(200);
    }
    const caller = this.callerContact(request, transaction.flow);
    if (this.pbx === null) {
      if (!this.settings.isTrusted(transaction.flow.remoteAddress) && !this.user.authorize(transaction)) return;
      const token = caller === null ? this.addressToken(transaction.flow) : this.deviceToken(caller);
      return this.routeToAor(transaction, token, routes);
    }
    if (caller === null) {
      this.table.port.count("rejected_total", "stranger");
      return transaction.respond(403, "Forbidden (not registered here)");
    }
    const flow = this.pbx.flowTowards(routes.next ?? uri);
    if (flow === null) return transaction.respond(503, "PBX not reachable");
    this.forward(
      transaction,
      { uri: null, flow, route: "", token: "", contactId: "" },
      this.deviceToken(caller),
      routes,
    );
  }

  private routeToAor(transaction: ServerTransaction, callerToken: string, routes: OwnRoutes): void {
    const request = transaction.request;
    const found = this.resolve(request.uri!);
    if (found === null) return transaction.respond(404);
    if (request.method === "INVITE") {
      return this.user.onCall(transaction, found.aor, found.device, callerToken, routes.count);
    }
    const devices = found.device === null ? found.aor.contacts : [found.device];
    if (request.method === "OPTIONS") {
      // qualify must not see a sleeping phone as gone.
      const isReachable = devices.some((device) =>
        device.flow !== null || (device.push !== null && device.push.tokenState !== "dead")
      );
      return transaction.respond(isReachable ? 200 : 480);
    }
    const awake = devices.filter((device) => device.flow !== null && device.flow.state !== "closed");
    if (awake.length === 0) return transaction.respond(480);
    const fork = this.plainFork(transaction, callerToken, routes);
    fork.isHeld = true;
    for (const device of awake) fork.addBranch(this.targetOf(device, device.flow!), false);
    fork.isHeld = false;
    fork.settle();
  }

  /** The branch target of a device over a flow. */
  targetOf(device: Contact, flow: Flow): Target {
    return { uri: device.uri, flow, route: device.path, token: this.deviceToken(device), contactId: device.id };
  }

  private routeInDialog(transaction: ServerTransaction, routes: OwnRoutes): void {
    const hop = this.dialogHop(transaction.request, transaction.flow, routes);
    if ("target" in hop) {
      this.user.onDialogRequest(transaction.request, hop.target.contactId !== "");
      return this.forward(transaction, hop.target, "", routes, false);
    }
    this.table.port.count("rejected_total", String(hop.status));
    transaction.respond(hop.status, hop.reason);
  }

  /**
   * Inside a dialog. With two tokens (phone to phone) the sender's own stands first, so the last one is the other
   * side; with one it names the phone, and the other side is the PBX.
   */
  private dialogHop(request: Message, flow: Flow, routes: OwnRoutes): Hop {
    const uri = request.uri!;
    const token = routes.tokens.at(-1);
    const isFromPbx = this.isFromPbx(flow);
    if (token !== undefined) {
      const isFromThatPhone = routes.tokens.length === 1 && !isFromPbx && this.pbx !== null;
      if (!isFromThatPhone) return this.tokenHop(token);
      return this.pbxHop(routes.next ?? uri);
    }
    if (isFromPbx) {
      // A PBX that drops our Record-Route but kept the Contact we registered.
      const found = this.resolve(uri);
      const device = found?.device ??
        (found !== null && found.aor.contacts.length === 1 ? found.aor.contacts[0]! : null);
      if (device !== null && device.flow !== null) {
        return { target: { uri: device.uri, flow: device.flow, route: device.path, token: "", contactId: device.id } };
      }
      return { status: 481, reason: "No route to this dialog" };
    }
    if (this.pbx !== null && this.usrloc.isPhoneFlow(flow)) return this.pbxHop(routes.next ?? uri);
    return this.own.isUs(uri) || this.usrloc.isPhoneFlow(flow)
      ? { status: 481, reason: "" }
      : { status: 403, reason: "Forbidden (not registered here)" };
  }

  private tokenHop(token: string): Hop {
    const named = this.tokens.read(token);
    if (named === null) return { status: 403, reason: "Forbidden (flow token not valid)" };
    let flow: Flow | null;
    let contactId = "";
    if ("contactId" in named) {
      flow = this.usrloc.contact(named.contactId)?.flow ?? null;
      contactId = named.contactId;
    } else flow = this.table.port.flowTo(named.transport, named.address, named.port);
    if (flow === null || flow.state === "closed") return { status: 480, reason: "Phone has no connection" };
    return { target: { uri: null, flow, route: "", token: "", contactId } };
  }

  private pbxHop(uri: Uri): Hop {
    const flow = this.pbx?.flowTowards(uri) ?? null;
    if (flow === null) return { status: 503, reason: "PBX not reachable" };
    return { target: { uri: null, flow, route: "", token: "", contactId: "" } };
  }

  private forward(
    transaction: ServerTransaction,
    target: Target,
    callerToken: string,
    routes: OwnRoutes,
    isInitial = true,
  ): void {
    const isRecordRouting = isInitial && !WITHOUT_DIALOG.has(transaction.request.method);
    const fork = new Fork(this.table, transaction, transaction.request, PLAIN).prepare(
      callerToken,
      routes.count,
      isRecordRouting,
    );
    if (transaction.isInvite) transaction.respond(100);
    fork.addBranch(target, false);
  }

  private plainFork(transaction: ServerTransaction, callerToken: string, routes: OwnRoutes): Fork {
    const isRecordRouting = !WITHOUT_DIALOG.has(transaction.request.method);
    return new Fork(this.table, transaction, transaction.request, PLAIN).prepare(
      callerToken,
      routes.count,
      isRecordRouting,
    );
  }

  /** Who calls: the contact of the From AoR on this flow, or at this address if its NAT changed the port. */
  private callerContact(request: Message, flow: Flow): Contact | null {
    const from = request.from.uri!;
    const aor = this.usrloc.find(aorOf(from));
    for (const contact of aor?.contacts ?? []) if (contact.flow === flow) return contact;
    const over = this.usrloc.contactsOver(flow);
    if (over.length > 0) return over[0]!;
    for (const contact of aor?.contacts ?? []) if (contact.flow?.remoteAddress === flow.remoteAddress) return contact;
    return null;
  }

  /** Flow token of a peer that is no registered device. */
  addressToken(flow: Flow): string {
    let token = this.addressTokens.get(flow);
    if (token === undefined) this.addressTokens.set(flow, token = this.tokens.ofAddress(flow));
    return token;
  }

  private ownRoutes(request: Message): OwnRoutes {
    const routes: OwnRoutes = { count: 0, tokens: [], next: null };
    if (!request.has(ROUTE)) return routes;
    for (const element of request.list(ROUTE) ?? []) {
      const uri = parseNameAddr(element)?.uri ?? null;
      if (uri === null) break;
      if (!this.own.isUs(uri)) {
        routes.next = uri;
        break;
      }
      routes.count++;
      if (uri.user !== "") routes.tokens.push(uri.user);
    }
    return routes;
  }

  /** RFC 5393 §4.2: one of our own branches in the Via list, made for this very request. */
  private isLoop(request: Message): boolean {
    const at = request.raw.indexOf(this.table.branchStart);
    if (at < 0 || at > request.bodyStart) return false;
    const suffix = loopSuffix(request);
    const header = request.raw.slice(at, request.bodyStart);
    const end = header.search(/[;,\s]/);
    return header.slice(0, end).endsWith(suffix);
  }
}
