/**
 * What happens to a request (RFC 3261 §16.3 to §16.6, F-06): from phones to the PBX, from the PBX to phones, inside a
 * dialog where its flow token says, and nowhere else. Registrations and calls to an AoR are handed to their owners.
 */
import { addLength, Edit } from "../sip/edit.ts";
import type { Flow } from "../sip/flow.ts";
import { forwardEdit } from "../sip/forward.ts";
import { PROXY_AUTHORIZATION, ROUTE } from "../sip/header.ts";
import { type Message, parseMessage } from "../sip/message.ts";
import { receivedVia } from "../sip/response.ts";
import { detached, withoutParam } from "../sip/scan.ts";
import { aorOf, isSipScheme, type Uri, uriParam } from "../sip/uri.ts";
import { isAtSentBy, viaValue } from "../sip/via.ts";
import type { ClientTransaction } from "../transaction/client.ts";
import type { ServerTransaction } from "../transaction/server.ts";
import type { Transactions, TransactionUser } from "../transaction/table.ts";
import type { Aor, Contact } from "../usrloc/contact.ts";
import type { Usrloc } from "../usrloc/usrloc.ts";
import { type OwnAddresses, portOf } from "./address.ts";
import { Branch } from "./branch.ts";
import type { Dialogs } from "./dialog.ts";
import type { DialogWake } from "./dialog_wake.ts";
import { Dropped } from "./dropped.ts";
import { byConnection, firstFlows, NextFlows } from "./device_flows.ts";
import { Fork, type ForkOptions } from "./fork.ts";
import type { Locator } from "./locator.ts";
import { isLoop } from "./loop.ts";
import { NO_ROUTES, type OwnRoutes, ownRoutes } from "./own_routes.ts";
import type { Pbx } from "./pbx.ts";
import type { RegisterWait } from "./register_wait.ts";
import { fromStrictRouter, isLoose, towardsStrictRouter } from "./strict_route.ts";
import { hasNoHopsLeft, refusalOf } from "./validate.ts";
import { retryLines } from "./waiting_request.ts";

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
  /** May a phone begin a call to the PBX? If not, its INVITE has been answered. */
  mayCallOut(transaction: ServerTransaction): boolean;
  /** An INVITE for an AoR without contacts is answered `status`; `why` in words. */
  onNobodyCalled(request: Message, aorKey: string, status: number, why: string): void;
  /** A request inside a dialog goes on, for the ladder. What goes neither from nor to the PBX is between phones. */
  onDialogRequest(request: Message, isFromPbx: boolean, isToPbx: boolean): void;
  /** Registrar mode: may this request pass? If not, it has been answered (407). */
  authorize(transaction: ServerTransaction): boolean;
}

export interface RouterSettings {
  /** Registrar mode: sources believed without digest. */
  readonly isTrusted: (address: string) => boolean;
  /** Registrar mode: users that exist, registered or not (480 rather than 404). */
  readonly isKnownUser: (user: string, domain: string) => boolean;
}

const PLAIN: ForkOptions = { isSingleAnswer: false, endsOn6xx: true, endsOn603: true, unreachableStatus: 503 };
/** Methods that make no dialog: a Record-Route would only cost bytes. */
const WITHOUT_DIALOG = new Set(["MESSAGE", "OPTIONS", "PUBLISH"]);
/** Allow of our answer to OPTIONS (§11.2). A proxy passes every method; these are the ones it has rules for. */
const CAPABILITIES = "Allow: INVITE, ACK, CANCEL, BYE, OPTIONS, REGISTER, PRACK, UPDATE, INFO, REFER, NOTIFY, " +
  "SUBSCRIBE, PUBLISH, MESSAGE\r\nAccept: */*\r\nSupported: path\r\n";

/** What it routes with. */
export interface RouterParts {
  readonly table: Transactions;
  readonly usrloc: Usrloc;
  readonly own: OwnAddresses;
  readonly locator: Locator;
  readonly dialogs: Dialogs;
  readonly dialogWake: DialogWake;
  readonly registerWait: RegisterWait;
  /** Null in registrar mode. */
  readonly pbx: Pbx | null;
}

export class Router implements TransactionUser {
  private readonly table: Transactions;
  private readonly usrloc: Usrloc;
  private readonly own: OwnAddresses;
  private readonly locator: Locator;
  private readonly dialogs: Dialogs;
  private readonly dialogWake: DialogWake;
  private readonly registerWait: RegisterWait;
  private readonly pbx: Pbx | null;
  private readonly dropped: Dropped;

  constructor(parts: RouterParts, private readonly user: RouterUser, private readonly settings: RouterSettings) {
    this.table = parts.table;
    this.usrloc = parts.usrloc;
    this.own = parts.own;
    this.locator = parts.locator;
    this.dialogs = parts.dialogs;
    this.dialogWake = parts.dialogWake;
    this.registerWait = parts.registerWait;
    this.pbx = parts.pbx;
    this.dropped = new Dropped(this.table.port, this.table.schedule.clock);
  }

  onRequest(transaction: ServerTransaction): void {
    const { flow } = transaction;
    let { request } = transaction;
    const isFromPbx = this.locator.isFromPbx(flow);
    const isInDialog = request.to.tag !== "" || (isFromPbx && this.hasToken(request));
    if (request.method === "OPTIONS" && !isInDialog && this.locator.isForUs(request.uri!, isFromPbx)) {
      // For every sender: nothing is remembered of a stranger.
      if (isFromPbx || this.usrloc.isPhoneFlow(flow)) return transaction.respond(200, "", CAPABILITIES);
      return transaction.respondOnce(200, "", CAPABILITIES);
    }
    if (isInDialog && this.isStrictRouted(request)) {
      const loose = fromStrictRouter(request);
      if (loose === null) return this.refuse(transaction, isFromPbx, 400, "Malformed Route");
      request = transaction.request = loose;
    }
    const refusal = refusalOf(request, isLoop(request, this.table.branchStart, !isInDialog && !isFromPbx));
    if (refusal !== null) {
      return this.refuse(transaction, isFromPbx, refusal.status, refusal.reason, refusal.lines);
    }
    const routes = this.routesOf(request, isInDialog, isFromPbx);
    if (routes === null) return this.refuse(transaction, isFromPbx, 400, "Malformed Route");
    if (request.method === "REGISTER") return this.user.onRegister(transaction, routes.count);
    if (isInDialog) this.routeInDialog(transaction, routes, isFromPbx);
    else if (isFromPbx) this.routeFromPbx(transaction, routes);
    else this.routeFromPhone(transaction, routes);
  }

  /** ACK for a 2xx goes end to end without a transaction (F-04); there is nothing to answer if it cannot. */
  onAck(ack: Message, flow: Flow): void {
    const bare = this.forCallee(ack);
    const loose = this.isStrictRouted(bare) ? fromStrictRouter(bare) : bare;
    const isFromPbx = this.locator.isFromPbx(flow);
    const routes = loose === null ? null : this.routesOf(loose, true, isFromPbx);
    if (loose === null || routes === null) return this.dropAck(ack, flow, isFromPbx, "its Route cannot be read");
    if (hasNoHopsLeft(loose)) return this.dropAck(ack, flow, isFromPbx, "Max-Forwards is 0");
    const hop = this.dialogs.hop(loose, flow, routes, isFromPbx, this.table.port);
    if (!("target" in hop)) return this.dropAck(ack, flow, isFromPbx, hop.reason);
    const { target } = hop;
    this.user.onDialogRequest(loose, isFromPbx, this.locator.isFromPbx(target.flow));
    const [request, routesToDrop] = this.towardsNext(loose, routes);
    const edit = forwardEdit(request, {
      uri: target.uri,
      via: viaValue(target.flow, this.table.newBranch()),
      receivedVia: receivedVia(request, flow),
      recordRoute: [],
      routesToDrop,
      route: target.route,
    });
    if (target.flow.isReliable) addLength(edit, request);
    this.table.port.send(target.flow, edit.build());
  }

  private dropAck(ack: Message, flow: Flow, isFromPbx: boolean, why: string): void {
    const isFromPhone = !isFromPbx && this.usrloc.isPhoneFlow(flow);
    this.dropped.ack(ack, flow, isFromPbx ? "the PBX" : isFromPhone ? "a phone" : "a stranger", why);
  }

  onCancel(cancel: ServerTransaction, invite: ServerTransaction | null): void {
    if (invite === null) return cancel.respondOnce(481);
    const { request } = cancel;
    // §9.2: both answers carry one To tag.
    cancel.toTag = invite.toTag = invite.toTag === "" ? this.table.port.token(10) : invite.toTag;
    cancel.respond(200);
    invite.owner?.onCancel(request);
  }

  /** Nodes of the PBX answer for each other. A phone may have registered in another network since it was asked. */
  isAnswerer({ flow: sentTo, owner }: ClientTransaction, flow: Flow): boolean {
    if (this.isPbxAddress(sentTo) && this.isPbxAddress(flow)) return true;
    const id = owner instanceof Branch ? owner.target.contactId : "";
    const contact = id === "" ? undefined : this.usrloc.contact(id);
    return contact !== undefined && contact.flow === flow;
  }

  onForeignResponse({ flow: sentTo }: ClientTransaction, response: Message, flow: Flow): void {
    this.dropped.foreignResponse(response, sentTo, flow, this.isPbxAddress(sentTo));
  }

  onStrayResponse(): void {
    this.dropped.strayResponse();
  }

  private isPbxAddress(flow: Flow): boolean {
    return this.pbx !== null && this.pbx.isPbxAddress(flow.remoteAddress);
  }

  /**
   * Refuses before anything is known of the request. Strangers leave no state: a flood does not fill the memory, and no
   * answer is repeated to a forged address.
   */
  private refuse(transaction: ServerTransaction, isFromPbx: boolean, status: number, reason: string, lines = ""): void {
    this.table.port.count("rejected_total", String(status));
    if (isFromPbx || this.usrloc.isPhoneFlow(transaction.flow)) transaction.respond(status, reason, lines);
    else transaction.respondOnce(status, reason, lines);
  }

  private routeFromPhone(transaction: ServerTransaction, routes: OwnRoutes): void {
    const { request, flow } = transaction;
    const caller = this.callerOf(request, flow);
    if (this.pbx === null) {
      if (!this.settings.isTrusted(flow.remoteAddress) && !this.user.authorize(transaction)) return;
      transaction.request = this.forCallee(request);
      return this.routeToAor(transaction, this.callerToken(caller, flow, request), routes);
    }
    if (caller === null) {
      this.table.port.count("rejected_total", "stranger");
      return transaction.respondOnce(403, "Forbidden (not registered here)");
    }
    if (transaction.isInvite && !this.user.mayCallOut(transaction)) return;
    // A phone's request goes to the PBX, with any Route and Request-URI (F-06).
    const pbxFlow = this.pbx.flow();
    if (pbxFlow === null) return transaction.respond(503, "PBX not reachable");
    const target = {
      uri: this.withoutOwnMaddr(request.uri!, flow),
      flow: pbxFlow,
      route: "",
      token: "",
      contactId: "",
    };
    this.plainFork(transaction, this.callerToken(caller, flow, request), routes.count, true)
      .addBranch(target, false);
  }

  /** Who sent this, also a phone that listens at another port than it sends from (T-03) and does not say who it is. */
  private callerOf(request: Message, flow: Flow): Contact | null {
    const caller = this.locator.senderOf(request, flow);
    if (caller !== null || !isAtSentBy(request.via!, flow)) return caller;
    const listening = this.table.replyFlow(request, flow);
    return listening === null || listening === flow ? null : this.usrloc.contactsOver(listening)[0] ?? null;
  }

  /** What may find its phone only when the PBX has answered the REGISTER it has of it, waits for that. */
  private routeFromPbx(transaction: ServerTransaction, routes: OwnRoutes): void {
    if (!this.registerWait.isBusy) return this.routeToAor(transaction, "", routes);
    const { request } = transaction;
    const { method } = request;
    // A call takes in phones that register later (W-04), and OPTIONS asks about those that are here.
    const isForThoseHere = (method === "INVITE" || method === "OPTIONS") &&
      this.locator.resolve(request.uri!, request.to.uri!.host) !== null;
    const goOn = () => this.routeToAor(transaction, "", routes);
    if (isForThoseHere || !this.registerWait.hold(transaction, request.uri!, goOn)) goOn();
  }

  private routeToAor(transaction: ServerTransaction, callerToken: string, routes: OwnRoutes): void {
    const { request } = transaction;
    const found = this.locator.resolve(request.uri!, request.to.uri!.host);
    if (found === null) return this.respondUnknown(transaction);
    if (request.method === "INVITE") {
      return this.user.onCall(transaction, found.aor, found.device, callerToken, routes.count);
    }
    const devices = found.device === null ? found.aor.contacts : [found.device];
    if (request.method === "OPTIONS") {
      // qualify must not see a sleeping phone as gone.
      const isReachable = devices.some((device) => device.flow !== null || device.hasUsableToken);
      return isReachable ? transaction.respond(200, "", CAPABILITIES) : transaction.respond(480);
    }
    const awake = firstFlows(devices, byConnection).filter((device) => byConnection(device) === "live");
    if (awake.length === 0) return transaction.respond(480);
    const fork = this.plainFork(transaction, callerToken, routes.count, true);
    const add = (device: Contact) => fork.addBranch(this.dialogs.targetOf(device, device.flow!, request.callId), false);
    if (awake.length < devices.length) fork.owner = new NextFlows(fork, this.usrloc, add);
    fork.isHeld = true;
    for (const device of awake) add(device);
    fork.isHeld = false;
    fork.settle();
  }

  /** No contact is registered under this URI (W-08): 480 if it can be an AoR of ours. */
  private respondUnknown(transaction: ServerTransaction): void {
    const { request } = transaction;
    const uri = request.uri!;
    if (!isSipScheme(uri)) return transaction.respond(404);
    const isOurs = this.locator.isOurDomain(uri.host);
    const isKnown = this.pbx !== null || this.settings.isKnownUser(uri.user, uri.host);
    const status = !isOurs ? 403 : isKnown ? 480 : 404;
    if (!isOurs) this.table.port.count("rejected_total", "foreign_domain");
    if (request.method === "INVITE" && uri.user !== "") {
      const why = !isOurs ? `${detached(uri.host)} is no domain of ours` : isKnown ? whyNobody(uri) : "no such user";
      // A PBX calls its user at our address; To has the domain people know.
      const { host } = request.to.uri!;
      const aor = aorOf(
        uri,
        isOurs && isSipScheme(request.to.uri!) && this.locator.isOurDomain(host) ? host : uri.host,
      );
      this.user.onNobodyCalled(request, detached(aor), status, why);
    }
    transaction.respond(status, isOurs ? "" : "Forbidden (not a domain of ours)");
  }

  /** `isHeldOnce`: it has waited for its device already, and does not wait again. */
  private routeInDialog(
    transaction: ServerTransaction,
    routes: OwnRoutes,
    isFromPbx: boolean,
    isHeldOnce = false,
  ): void {
    const original = this.forCallee(transaction.request);
    const hop = this.dialogs.hop(original, transaction.flow, routes, isFromPbx, this.table.port);
    if (!("target" in hop)) {
      const goOn = () => this.routeInDialog(transaction, routes, isFromPbx, true);
      const isHeld = hop.asleep !== undefined && !isHeldOnce && this.dialogWake.hold(transaction, hop.asleep, goOn);
      if (isHeld) return;
      const lines = hop.status === 480 ? retryLines(original) : "";
      return this.refuse(transaction, isFromPbx, hop.status, hop.reason, lines);
    }
    const { target } = hop;
    this.user.onDialogRequest(original, isFromPbx, this.locator.isFromPbx(target.flow));
    const [request, routesToDrop] = this.towardsNext(original, routes);
    transaction.request = request;
    const fork = this.plainFork(transaction, "", routesToDrop, false);
    const device = target.contactId === "" ? undefined : this.usrloc.contact(target.contactId);
    if (device !== undefined && this.dialogWake.isWatched(request, device, isHeldOnce)) {
      this.dialogWake.watch(fork, device, () => {
        const again = this.dialogs.hop(original, transaction.flow, routes, isFromPbx, this.table.port);
        return "target" in again ? again.target : null;
      });
    }
    fork.addBranch(target, false);
  }

  private plainFork(
    transaction: ServerTransaction,
    callerToken: string,
    routesToDrop: number,
    isInitial: boolean,
  ): Fork {
    const isRecordRouting = isInitial && !WITHOUT_DIALOG.has(transaction.request.method);
    const fork = new Fork(this.table, transaction, PLAIN)
      .prepare(callerToken, routesToDrop, isRecordRouting);
    if (transaction.isInvite && transaction.status === 0) transaction.respond(100);
    return fork;
  }

  private routesOf(request: Message, isInDialog: boolean, isFromPbx: boolean): OwnRoutes | null {
    if (!request.has(ROUTE)) return NO_ROUTES;
    return ownRoutes(request, (uri, isTop) => {
      if (isInDialog ? this.own.isUs(uri) || this.isOurToken(uri, request) : this.isOurRoute(uri)) return true;
      return isTop && this.locator.isUnderOtherName(uri, isFromPbx);
    });
  }

  /** A dialog with a phone that forgot its To tag (RFC 3261 §12.1.2 has the other side do without). */
  private hasToken(request: Message): boolean {
    const routes = request.has(ROUTE) ? this.routesOf(request, true, true) : null;
    return routes !== null && this.dialogs.isToken(routes.token, request.callId);
  }

  private isOurRoute(uri: Uri): boolean {
    return this.own.isUs(uri) || this.locator.isOutboundProxy(uri);
  }

  /** True for our own URI with another address: some PBXs put the source address of a request into its Record-Route. */
  private isOurToken(uri: Uri, request: Message): boolean {
    return uri.user !== "" && isLoose(uri) && this.dialogs.isToken(uri.user, request.callId);
  }

  /** Registrar mode: phones send their credentials with everything that follows a challenge, ACK and BYE too. */
  private forCallee(request: Message): Message {
    return this.pbx === null && request.has(PROXY_AUTHORIZATION) ? withoutCredentials(request) : request;
  }

  private callerToken(caller: Contact | null, flow: Flow, request: Message): string {
    return this.dialogs.callerToken(caller, flow, request);
  }

  /** §16.4: the Request-URI is a Record-Route value that we made. */
  private isStrictRouted(request: Message): boolean {
    const uri = request.uri!;
    if (uri.params === "" || !isLoose(uri) || !request.has(ROUTE) || !this.own.isUs(uri)) return false;
    return uri.user === "" || this.dialogs.isToken(uri.user, request.callId);
  }

  /** §16.6 step 6: what goes to a strict router is turned round; its Route is dropped with ours. */
  private towardsNext(request: Message, routes: OwnRoutes): [Message, number] {
    const { next, count } = routes;
    const strict = next === null || isLoose(next) ? null : towardsStrictRouter(request, next);
    return strict === null ? [request, count] : [strict, count + 1];
  }

  /**
   * §16.4: a maddr that names us has done its work, with the port and transport that led here.
   * @returns null if the Request-URI stays as it is
   */
  private withoutOwnMaddr(uri: Uri, flow: Flow): string | null {
    const maddr = uri.params === "" ? undefined : uriParam(uri, "maddr");
    if (maddr === undefined || !this.own.isOurHost(maddr.toLowerCase())) return null;
    const transport = uriParam(uri, "transport")?.toLowerCase() ?? "udp";
    if (portOf(uri) !== flow.listener.port || transport !== flow.transport) return null;
    const head = uri.text.slice(0, uri.text.length - uri.params.length);
    const host = uri.port === 0 ? head : head.slice(0, head.lastIndexOf(":"));
    return host + withoutParam(withoutParam(uri.params, "maddr"), "transport");
  }
}

function whyNobody(uri: Uri): string {
  const isDevice = uri.params !== "" && uriParam(uri, "lf") !== undefined;
  return isDevice ? "the device that the PBX called is not registered any more" : "nobody is registered";
}

/** Our own challenge was answered with it. It goes no further: the other phone would get a hash of the password. */
function withoutCredentials(request: Message): Message {
  const edit = new Edit(request.raw);
  for (let n = request.find(PROXY_AUTHORIZATION); n >= 0; n = request.find(PROXY_AUTHORIZATION, n + 1)) {
    edit.removeLine(request, n);
  }
  return parseMessage(edit.build(), false);
}
