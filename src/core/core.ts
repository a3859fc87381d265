/**
 * The pure core, put together: messages, closed flows, deadlines and push verdicts go in; sends, pushes and changes
 * come out through one port. It reads no clock and does no I/O, so the whole appliance runs in virtual time in tests.
 */
import type { Clock } from "./clock.ts";
import type { SourceGuard } from "./guard/source_guard.ts";
import { OwnAddresses } from "./proxy/address.ts";
import { Dialogs } from "./proxy/dialog.ts";
import { Pbx, type PbxAddress } from "./proxy/pbx.ts";
import { Qualify } from "./proxy/qualify.ts";
import { DialogWake } from "./proxy/dialog_wake.ts";
import { Locator } from "./proxy/locator.ts";
import { RegisterWait } from "./proxy/register_wait.ts";
import { FlowTokens } from "./proxy/record_route.ts";
import { Router, type RouterUser } from "./proxy/router.ts";
import { ContactWriter } from "./registrar/contact_writer.ts";
import type { PushServices } from "./registrar/push_support.ts";
import { LocalRegistrar } from "./registrar/local_registrar.ts";
import { MidRegistrar } from "./registrar/mid_registrar.ts";
import { Purrs } from "./registrar/purr.ts";
import { RefreshPush } from "./registrar/refresh_push.ts";
import { requestUri } from "./registrar/request_uri.ts";
import type { DeviceHints, RegistrarUser } from "./registrar/settings.ts";
import type { CoreSettings } from "./settings.ts";
import { StatelessAnswers } from "./stateless.ts";
import { TrustedSources } from "./trusted.ts";
import { Silo } from "./silo/silo.ts";
import type { SiloPort } from "./silo/settings.ts";
import type { Flow, Listener } from "./sip/flow.ts";
import { USER_AGENT } from "./sip/header.ts";
import { type Message, parseMessage } from "./sip/message.ts";
import type { ServerTransaction } from "./transaction/server.ts";
import { type Owed, Transactions } from "./transaction/table.ts";
import { Schedule } from "./transaction/timers.ts";
import type { Aor, Contact } from "./usrloc/contact.ts";
import type { PushReport } from "./usrloc/push_order.ts";
import type { StoredAor, StoredContact, StoredRemnant } from "./usrloc/stored.ts";
import { type RemovalCause, Usrloc, type UsrlocListener, type UsrlocPort } from "./usrloc/usrloc.ts";

/** Everything the core asks of the world. */
export interface CorePort extends SiloPort, UsrlocPort {}

export class Core implements RouterUser, RegistrarUser, UsrlocListener {
  readonly schedule: Schedule;
  readonly own = new OwnAddresses();
  readonly usrloc: Usrloc;
  readonly table: Transactions;
  readonly dialogs: Dialogs;
  readonly dialogWake: DialogWake;
  readonly silo: Silo;
  /** Null in registrar mode. */
  readonly pbx: Pbx | null;
  /** Null in registrar mode. */
  readonly qualify: Qualify | null = null;
  readonly registerWait: RegisterWait;
  readonly purrs: Purrs;
  readonly writer: ContactWriter;
  /** Null in registrar mode. */
  readonly mid: MidRegistrar | null = null;
  private readonly local: LocalRegistrar | null = null;
  private readonly refreshPush: RefreshPush;
  private readonly locator: Locator;
  private readonly router: Router;
  private readonly trusted: TrustedSources;
  private readonly stateless: StatelessAnswers;
  /** True if the stored bindings are those of another PBX than ours. */
  private isOtherPbx = false;
  /** When draining, new calls are refused (O-04). */
  isDraining = false;

  /**
   * From the bottom up: each part is given what it stands on. What a part tells those above it comes back to the core.
   * @param guard hears of scanners and failed logins; null: nothing is banned
   */
  constructor(
    readonly port: CorePort,
    readonly clock: Clock,
    private settings: CoreSettings,
    private readonly guard: SourceGuard | null = null,
  ) {
    const { own } = this;
    const trusted = this.trusted = new TrustedSources(settings.isTrusted);
    this.schedule = new Schedule(clock);
    const pbx = this.pbx = settings.isMidRegistrar
      ? new Pbx(port, (address) => this.settings.isPbxTrusted(address), settings.hasOwnPort)
      : null;
    const usrloc = this.usrloc = new Usrloc(clock, this.schedule.deadlines, port, this);
    const table = this.table = new Transactions(port, this.schedule, pbx, usrloc);
    table.limits = settings.transactions;
    this.stateless = new StatelessAnswers(table);
    const purrs = this.purrs = new Purrs(settings.installation);
    this.locator = new Locator(usrloc, own, pbx, settings.domains);
    const dialogs = this.dialogs = new Dialogs({
      usrloc,
      own,
      tokens: new FlowTokens(settings.installation, clock),
      locator: this.locator,
      pbx,
      clock,
      isTrusted: (address) => trusted.has(address),
      requestUri,
      deviceOfPurr: (purr) => purrs.read(purr),
    });
    this.dialogWake = new DialogWake(port, this.schedule, usrloc, settings.silo);
    this.silo = new Silo(port, table, usrloc, dialogs, settings.silo);
    const registerWait = this.registerWait = new RegisterWait(this.schedule);
    const writer = this.writer = new ContactWriter({ usrloc, clock, port }, settings.registrar, registerWait);
    const hints: DeviceHints = (request, paramNamed) => this.settings.deviceHints(request, paramNamed);
    if (pbx !== null) {
      this.mid = new MidRegistrar({ port, clock, table, usrloc, writer, pbx, hints }, this);
      this.qualify = new Qualify(table, pbx, this.mid);
    } else {
      this.local = new LocalRegistrar(
        { port, clock, usrloc, writer, hints, isOurDomain: (host) => this.locator.isOurDomain(host) },
        this,
        settings.authenticator(),
      );
    }
    this.refreshPush = new RefreshPush(
      port,
      clock,
      settings.refresh,
      (contact) => this.mid?.ledger.endsMs(contact) ?? contact.expiresAtMs,
    );
    this.router = new Router(
      { table, usrloc, own, locator: this.locator, dialogs, dialogWake: this.dialogWake, registerWait, pbx },
      this,
      {
        isTrusted: (address) => trusted.has(address),
        isKnownUser: (user, domain) => this.settings.isKnownUser(user, domain),
      },
    );
  }

  /** The listeners, with their real ports, once they are open. */
  setListeners(listeners: readonly Listener[]): void {
    for (const listener of listeners) {
      const { transport, address, port } = listener;
      if (this.own.listenerAt(transport, address, port) === undefined) this.own.add(listener);
    }
  }

  /** The listeners of `pbx.own_port`, once they are open. */
  setOwnListeners(listeners: readonly Listener[]): void {
    this.pbx?.setOwnListeners(listeners);
  }

  setPbxAddresses(addresses: readonly PbxAddress[]): void {
    this.pbx?.setAddresses(addresses);
    this.qualify?.start(this.settings.qualifyMs);
  }

  /** Takes new settings where they may change at run time; what needs a restart keeps its old value. */
  reconfigure(settings: CoreSettings): void {
    this.settings = settings;
    this.trusted.replace(settings.isTrusted);
    this.qualify?.start(settings.qualifyMs);
    this.table.limits = settings.transactions;
    this.silo.settings = settings.silo;
    this.dialogWake.settings = settings.silo;
    this.writer.settings = settings.registrar;
    this.refreshPush.settings = settings.refresh;
    this.mid?.reconfigured();
    this.local?.setUsers(settings.users, settings.authenticator);
  }

  /**
   * A complete message came in over a flow (latin1 text).
   * @param isRegistered a phone registered over this flow: it is not taken for a scanner, with any User-Agent
   * @param isStranger neither the PBX nor a phone that we know: it comes after these
   */
  receive(flow: Flow, text: string, isRegistered = false, isStranger = false): void {
    const message = parseMessage(text, !flow.isReliable);
    this.usrloc.heardOver(flow);
    if (!isRegistered && this.guard !== null && message.isRequest && this.isScanner(this.guard, message, flow)) return;
    if (message.problem !== null) return this.stateless.malformed(message, flow);
    // A PBX that speaks is back: it need not be asked.
    if (this.qualify !== null && this.qualify.state === "down" && this.pbx!.isPbxPeer(flow)) this.qualify.heard();
    if (!message.isRequest) return this.table.receiveResponse(message, flow, this.router);
    if (this.local !== null && message.method === "REGISTER" && this.trusted.has(flow.remoteAddress)) {
      if (this.stateless.refuses(message, flow)) return;
      return this.local.registerTrusted(message, flow, this.table.replyFlow(message, flow));
    }
    if (!this.table.receiveRequest(message, flow, this.router, isStranger)) this.stateless.busy(message, flow);
  }

  /** A message that there is no time for: a request is told when to come again. */
  busy(flow: Flow, text: string): void {
    const message = parseMessage(text, !flow.isReliable);
    if (message.problem === null && message.isRequest && message.method !== "ACK") this.stateless.busy(message, flow);
  }

  /**
   * What a stream held cannot be cut into messages (F-08): answered if it is a request, then its connection closes.
   * @param text the header section as far as there is one
   */
  malformed(flow: Flow, text: string, status: number, reason: string): void {
    this.stateless.malformedStream(flow, text, status, reason);
  }

  /** Puts back what was stored. */
  restore(
    aors: readonly StoredAor[],
    contacts: readonly StoredContact[],
    flowOf: (key: string) => Flow | null,
    remnants: readonly StoredRemnant[] = [],
    isOtherPbx = false,
  ): void {
    this.isOtherPbx = isOtherPbx;
    this.usrloc.restore(aors, contacts, flowOf);
    this.mid?.restored(remnants, isOtherPbx);
  }

  /** Tells which push services can be sent to, so that phones hear of it (P-02). */
  setPushServices(services: PushServices): void {
    this.writer.pushServices = services;
  }

  /** A device was set by hand: the PBX gets a REGISTER for its AoR where we make those. */
  deviceSet(contact: Contact): void {
    this.mid?.deviceSet(contact);
  }

  /** A connection closed or could not be opened: its contacts are lost in this turn (T-02). */
  flowClosed(flow: Flow, reason: string): void {
    const lost = this.usrloc.flowClosed(flow);
    this.table.flowClosed(flow);
    if (flow.isReliable && this.pbx !== null && this.pbx.isPbxPeer(flow)) this.qualify?.connectionClosed();
    for (const contact of lost) {
      this.port.event({ type: "flow", state: "lost", aor: contact.aor.key, device: contact.id, reason });
      if (this.port.isLogged("debug", contact.aor.key)) {
        this.port.log("debug", `Connection lost: ${reason}`, {
          aor: contact.aor.key,
          device: contact.id,
          flow: flow.key,
        });
      }
    }
  }

  /**
   * The verdict about a push.
   * @param prid the token it was sent to, `sentAtMs` when
   */
  pushResult(result: PushReport, device: string, prid: string, sentAtMs: number): void {
    const contact = this.usrloc.contact(device);
    const push = contact?.push ?? null;
    // P-04: a verdict about an older token, or one that was registered after the push left, says nothing about this one.
    const isCurrent = push !== null && push.prid === prid && push.registeredAtMs <= sentAtMs;
    this.silo.pushReported(result);
    this.dialogWake.pushResult(result);
    if (contact === undefined || push === null || !isCurrent || !contact.isRegistered) return;
    if (result.outcome === "accepted" && push.tokenState !== "valid" && push.tokenState !== "moved") {
      push.tokenState = "valid";
      this.usrloc.touched(contact);
    } else if (result.outcome === "dead") {
      // The other flows of the phone and the other accounts of its app would be pushed by it in vain.
      for (const other of [contact, ...this.usrloc.sharingToken(contact)]) {
        const { tokenState, registeredAtMs } = other.push!;
        if (tokenState !== "moved" && registeredAtMs <= sentAtMs) this.tokenDied(other, result.reason);
      }
    }
  }

  onRegister(transaction: ServerTransaction, routesToDrop: number): void {
    if (this.mid !== null) this.mid.onRegister(transaction, routesToDrop);
    else this.local!.onRegister(transaction);
  }

  onCall(
    transaction: ServerTransaction,
    aor: Aor,
    device: Contact | null,
    callerToken: string,
    routesToDrop: number,
  ): void {
    if (this.isDraining) {
      const why = "refused: latefork is shutting down";
      this.silo.refused(transaction.request, { kind: "limit", aor: aor.key, status: 503, why });
      return refuseDraining(transaction);
    }
    this.silo.start(transaction, aor, device, callerToken, routesToDrop);
  }

  mayCallOut(transaction: ServerTransaction): boolean {
    if (this.isDraining) refuseDraining(transaction);
    return !this.isDraining;
  }

  /**
   * What peers still wait for (O-04). One pass over all transactions: not for every turn.
   * @param untilMs requests that came later are left out
   */
  owed(untilMs = Infinity): Owed {
    const inFlight = this.table.inFlight(untilMs);
    return { ...inFlight, cancels: inFlight.cancels + this.silo.owedDevices };
  }

  onNobodyCalled(request: Message, aorKey: string, status: number, why: string): void {
    this.silo.refused(request, { kind: "unknown", aor: aorKey, status, why });
  }

  onDialogRequest(request: Message, isFromPbx: boolean, isToPbx: boolean): void {
    this.silo.dialogRequest(request, isFromPbx, isToPbx);
  }

  purrOf(contact: Contact): string {
    return this.purrs.make(contact.id, this.port.token(16));
  }

  authorize(transaction: ServerTransaction): boolean {
    return this.local === null || this.local.authorize(transaction);
  }

  onRegistered(contact: Contact, arrivedAtMs: number): void {
    this.silo.deviceRegistered(contact, arrivedAtMs);
    this.dialogWake.deviceRegistered(contact);
  }

  onLoginPassed(flow: Flow): void {
    this.guard?.authPassed(flow.remoteAddress);
  }

  onLoginFailed(flow: Flow, names: readonly string[]): void {
    for (const name of names) this.guard?.authFailed(flow.remoteAddress, name, this.clock.nowMs);
  }

  onContactRemoved(contact: Contact, cause: RemovalCause, flow: Flow | null): void {
    if (flow !== null) this.dialogs.contactLeft(contact.id, flow);
    this.port.event({ type: "registration", state: "removed", aor: contact.aor.key, device: contact.id, cause });
    if (this.port.isLogged("debug", contact.aor.key)) {
      this.port.log("debug", `Contact removed: ${cause}`, { aor: contact.aor.key, device: contact.id });
    }
    this.silo.deviceRemoved(contact, cause);
    this.dialogWake.deviceRemoved(contact, cause);
    this.mid?.onContactRemoved(contact, cause);
  }

  onAorLeft(aor: Aor): void {
    // Another PBX holds none of our bindings.
    if (!this.isOtherPbx) this.mid?.onAorLeft(aor);
  }

  refreshAtMs(contact: Contact): number {
    return this.refreshPush.firstMs(contact);
  }

  onRefreshDue(contact: Contact): void {
    this.refreshPush.onDue(contact);
  }

  private isScanner(guard: SourceGuard, message: Message, flow: Flow): boolean {
    const userAgent = message.value(USER_AGENT);
    return userAgent !== undefined && guard.isScanner(flow.remoteAddress, userAgent, this.clock.nowMs);
  }

  /** R-08, P-04: without its token a phone that is not awake cannot be reached any more. */
  private tokenDied(contact: Contact, reason: string): void {
    this.port.log("info", `Push token is dead: ${reason}`, { aor: contact.aor.key, device: contact.id });
    if (this.usrloc.reachability(contact, this.silo.settings.idleMs) === "lost") {
      return this.usrloc.remove(contact, "token_dead");
    }
    contact.push!.tokenState = "dead";
    this.usrloc.touched(contact);
  }
}

/** O-04: a call that began now would be cut off. */
function refuseDraining(transaction: ServerTransaction): void {
  transaction.respond(503, "Shutting down", "Retry-After: 10\r\n");
}
