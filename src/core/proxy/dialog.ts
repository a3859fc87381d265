/**
 * The way of a request inside a dialog (F-03, F-04): where its flow token leads, and the tokens that make it come back.
 * Knows no transactions; both ACK and everything that has one ask here.
 */
import type { Clock } from "../clock.ts";
import type { Flow } from "../sip/flow.ts";
import { hostKey, splitHostPort } from "../sip/host.ts";
import type { Message } from "../sip/message.ts";
import { detached } from "../sip/scan.ts";
import { parseUri, type Uri, uriParam } from "../sip/uri.ts";
import { isAtSentBy } from "../sip/via.ts";
import type { TransactionPort } from "../transaction/timers.ts";
import type { Contact } from "../usrloc/contact.ts";
import type { Usrloc } from "../usrloc/usrloc.ts";
import { type OwnAddresses, portOf } from "./address.ts";
import type { Target } from "./branch.ts";
import { byConnection, connectedFlow, firstFlows } from "./device_flows.ts";
import type { Locator } from "./locator.ts";
import type { OwnRoutes } from "./own_routes.ts";
import type { Pbx } from "./pbx.ts";
import type { FlowToken, FlowTokens } from "./record_route.ts";

/** A destination, or why there is none; `asleep`: the device it would be, which has no connection now. */
export type Hop = { target: Target } | { status: number; reason: string; asleep?: Contact };

const FORGED: Hop = { status: 403, reason: "Forbidden (flow token not valid)" };
const STRANGER: Hop = { status: 403, reason: "Forbidden (not registered here)" };
const NO_DIALOG: Hop = { status: 481, reason: "No route to this dialog" };
const NO_CONNECTION: Hop = { status: 480, reason: "Phone has no connection" };
const NO_PBX: Hop = { status: 503, reason: "PBX not reachable" };

/** Contacts that left and are remembered: a call lasts longer than some registrations. */
const MAX_LEFT = 10_000;
/** How long a token lets in a sender that has nothing else to show; longer if its dialog is heard of meanwhile. */
const TOKEN_MS = 24 * 3_600_000;
/** Dialogs that are older than half of that and still heard of. */
const MAX_LASTING = 10_000;

/** What the way of a request is found by. */
export interface DialogParts {
  readonly usrloc: Usrloc;
  readonly own: OwnAddresses;
  readonly tokens: FlowTokens;
  readonly locator: Locator;
  /** Null in registrar mode. */
  readonly pbx: Pbx | null;
  readonly clock: Clock;
  /** Registrar mode: sources believed without digest. */
  isTrusted(address: string): boolean;
  /** The Contact URI of a device as a Request-URI: without what only registrations carry. */
  requestUri(contact: Contact): string;
  /** Id of the device that a `pn-purr` names (RFC 8599 §6.1); empty if we did not make it. */
  deviceOfPurr(purr: string): string;
}

export class Dialogs {
  /** Last flows of contacts that are no longer registered, the oldest first. */
  private readonly left = new Map<string, Flow>();
  /** Call-IDs of long calls: when one of those in it was last heard of there, the longest ago first. */
  private readonly lasting = new Map<string, number>();

  constructor(private readonly parts: DialogParts) {}

  /**
   * Where a request goes. With two tokens (phone to phone) the sender's own stands first, so the last one is the other
   * side; with one it names the phone, and the other side is the PBX. A PURR (RFC 8599 §6.1) leads to its device where
   * no token does; by itself it proves nothing, so only the PBX and registered phones may use one.
   */
  hop(request: Message, flow: Flow, routes: OwnRoutes, isFromPbx: boolean, port: TransactionPort): Hop {
    const uri = request.uri!;
    if (routes.token !== "") {
      const named = this.parts.tokens.read(routes.token, request.callId);
      if (named === null) return FORGED;
      if (!this.mayUse(routes, named, request, flow, isFromPbx)) return STRANGER;
      if (this.parts.pbx === null || isFromPbx || this.isThroughTwice(routes, request.callId)) {
        const hop = this.withPhonesTarget(this.tokenHop(named, port), uri, isFromPbx);
        return hop === NO_CONNECTION ? this.purrHop(uri, routes) ?? hop : hop;
      }
      return pbxHop(this.parts.pbx.flowTowards(routes.next ?? uri));
    }
    if (isFromPbx) return this.purrHop(uri, routes) ?? this.hopWithoutRoute(uri);
    if (this.parts.locator.senderOf(request, flow) === null) return STRANGER;
    // A phone dropped our Record-Route. Then only the PBX may send into the dialog: other hosts prove nothing.
    if (this.parts.pbx === null) return this.purrHop(uri, routes) ?? NO_DIALOG;
    return pbxHop(this.parts.pbx.flow());
  }

  /**
   * True if the sender may follow the tokens he brings. They are no more than a route for the PBX, for phones that are
   * registered where they send from, and for trusted sources: those may use them for as long as a call lasts. Others
   * have nothing but the token of their own side to show: a phone that changed networks in a call, and sends before its
   * REGISTER is accepted. So that token must be of these days, and its phone must be known: registered, or gone and
   * sending from the host that it was at.
   */
  private mayUse(
    { firstToken, token }: OwnRoutes,
    named: FlowToken,
    request: Message,
    flow: Flow,
    isFromPbx: boolean,
  ): boolean {
    const { pbx, tokens, locator } = this.parts;
    const own = firstToken === token ? named : tokens.read(firstToken, request.callId);
    const isKnown = isFromPbx || locator.senderOf(request, flow) !== null ||
      (pbx === null && this.parts.isTrusted(flow.remoteAddress));
    if (!isKnown) {
      // Registrar mode: who has the other's token alone is on neither side. In front of a PBX it leads to the PBX.
      if (pbx === null && (own === null || own === named)) return false;
      const side = own ?? named;
      if (!this.isInTime(request.callId, side.issuedAtMs) || !this.isPartyAt(side, flow)) return false;
      // Who is gone does not keep his own way open.
      if (this.parts.usrloc.contact(side.contactId) === undefined) return true;
    }
    this.heardOf(request.callId, named.issuedAtMs);
    return true;
  }

  /** True if the phone of this side may be at the other end of the flow. */
  private isPartyAt({ contactId, flowKey }: FlowToken, flow: Flow): boolean {
    if (contactId === "") return addressOfKey(flowKey) === flow.remoteAddress;
    if (this.parts.usrloc.contact(contactId) !== undefined) return true;
    return this.left.get(contactId)?.remoteAddress === flow.remoteAddress;
  }

  private isInTime(callId: string, issuedAtMs: number): boolean {
    const { nowMs } = this.parts.clock;
    return nowMs - issuedAtMs < TOKEN_MS || nowMs - (this.lasting.get(callId) ?? -Infinity) < TOKEN_MS;
  }

  /** A call of many hours: its tokens count for as long as it is heard of (session refreshes, RFC 4028). */
  private heardOf(callId: string, issuedAtMs: number): void {
    const { nowMs } = this.parts.clock;
    if (nowMs - issuedAtMs < TOKEN_MS / 2) return;
    this.lasting.delete(callId);
    this.lasting.set(detached(callId), nowMs);
    if (this.lasting.size > MAX_LASTING) this.lasting.delete(this.lasting.keys().next().value!);
  }

  /**
   * A contact expired, was evicted or de-registered. Its phone does not hang up for that: its dialogs go on over the flow
   * it had.
   */
  contactLeft(contactId: string, flow: Flow): void {
    this.left.delete(contactId);
    this.left.set(contactId, flow);
    if (this.left.size > MAX_LEFT) this.left.delete(this.left.keys().next().value!);
  }

  /**
   * True for a dialog between two phones that a proxying PBX has left: each has a token. One token cannot be doubled, nor
   * the other made up, to get past the PBX.
   */
  private isThroughTwice({ firstToken, token }: OwnRoutes, callId: string): boolean {
    return firstToken !== token && this.parts.tokens.read(firstToken, callId) !== null;
  }

  /** True if this user part of a URI of ours was made here, for this dialog. */
  isToken(user: string, callId: string): boolean {
    return this.parts.tokens.read(user, callId) !== null;
  }

  /** The branch target of a device over a flow, for the dialog of this Call-ID. */
  targetOf(device: Contact, flow: Flow, callId: string): Target {
    const token = this.parts.tokens.ofDevice(device.id, callId);
    return { uri: this.parts.requestUri(device), flow, route: device.path, token, contactId: device.id };
  }

  /** Flow token of a peer that is no registered device. */
  addressToken(flow: Flow, callId: string): string {
    return this.parts.tokens.ofAddress(flow, callId);
  }

  /** Flow token of the calling side. */
  callerToken(caller: Contact | null, flow: Flow, request: Message): string {
    const { callId } = request;
    if (caller === null) return this.parts.tokens.ofAddress(flow, callId);
    const registered = caller.flow;
    // A phone that sends a large INVITE over TCP is still reached over the UDP flow it registered.
    const isElsewhere = registered !== null && registered.state !== "closed" &&
      (registered.isReliable || registered.transport !== flow.transport);
    // T-03: it listens where it has registered, and only sends from here.
    const isListeningThere = registered !== null && registered.remoteAddress === flow.remoteAddress &&
      isAtSentBy(request.via!, flow);
    if (registered === flow || isElsewhere || isListeningThere) return this.parts.tokens.ofDevice(caller.id, callId);
    return this.parts.tokens.ofMovedDevice(caller.id, flow, callId);
  }

  /** A PBX that drops our Record-Route but kept the Contact we registered. */
  private hopWithoutRoute(uri: Uri): Hop {
    const found = this.parts.locator.resolve(uri);
    const devices = found === null ? [] : firstFlows(found.aor.contacts, byConnection);
    const device = found?.device ?? (devices.length === 1 ? devices[0]! : null);
    return device === null ? NO_DIALOG : deviceHop(device, (way) => this.parts.requestUri(way));
  }

  /** @returns null if there is no PURR, or its device is gone */
  private purrHop(uri: Uri, routes: OwnRoutes): Hop | null {
    const purr = uriParam(uri, "pn-purr") ?? routes.purr;
    const id = purr === "" ? "" : this.parts.deviceOfPurr(purr);
    const device = id === "" ? undefined : this.parts.usrloc.contact(id);
    return device === undefined ? null : deviceHop(device, () => null);
  }

  /**
   * A PBX that rewrites Contacts takes a phone's target in a dialog for one at our address, as in-dialog messages have no
   * Record-Route of ours. The phone is told its own Contact instead.
   */
  private withPhonesTarget(hop: Hop, uri: Uri, isFromPbx: boolean): Hop {
    const { locator, usrloc, requestUri } = this.parts;
    if (!isFromPbx || !("target" in hop) || !locator.isOurHost(uri.host) || uriParam(uri, "lr") !== undefined) {
      return hop;
    }
    const { target } = hop;
    const contact = usrloc.contact(target.contactId);
    if (contact === undefined) return hop;
    const text = requestUri(contact);
    const own = parseUri(text);
    // A phone on our machine has our host, and a port of its own.
    const isItsOwn = own !== null && hostKey(own.host) === hostKey(uri.host) && portOf(own) === portOf(uri);
    return isItsOwn ? hop : { target: { ...target, uri: text } };
  }

  private tokenHop(named: FlowToken, port: TransactionPort): Hop {
    const contact = named.contactId === "" ? undefined : this.parts.usrloc.contact(named.contactId);
    const isNewer = contact !== undefined && contact.registeredAtMs > named.atMs;
    const registered = contact === undefined ? this.left.get(named.contactId) : contact.flow;
    const flow = named.flowKey === "" || isNewer ? registered ?? null : this.flowOf(named.flowKey, port);
    if (flow === null || flow.state === "closed") {
      const way = contact === undefined ? null : connectedFlow(contact);
      // the phone is still there, over another flow of its own.
      if (way !== null && way !== contact) {
        return { target: { uri: null, flow: way.flow!, route: "", token: "", contactId: way.id } };
      }
      return contact === undefined || way !== null ? NO_CONNECTION : { ...NO_CONNECTION, asleep: contact };
    }
    return { target: { uri: null, flow, route: "", token: "", contactId: named.contactId } };
  }

  /** The flow a `Flow.key` names: the open one, or over UDP one like it out of the same socket. */
  private flowOf(key: string, port: TransactionPort): Flow | null {
    const [transport = "", local = "", remote = ""] = key.split("|");
    const [localAddress, localPort] = splitHostPort(local);
    const listener = this.parts.own.listenerAt(transport, localAddress, localPort);
    if (listener === undefined) return null;
    const [address, remotePort] = splitHostPort(remote);
    return port.flowTo(listener.transport, address, remotePort, listener);
  }
}

/** The remote address of a `Flow.key`. */
function addressOfKey(key: string): string {
  return splitHostPort(key.slice(key.lastIndexOf("|") + 1))[0];
}

/** To a device over whichever of its flows is open. */
function deviceHop(device: Contact, uriOf: (way: Contact) => string | null): Hop {
  const way = connectedFlow(device);
  if (way === null) return { ...NO_CONNECTION, asleep: device };
  return { target: { uri: uriOf(way), flow: way.flow!, route: way.path, token: "", contactId: way.id } };
}

function pbxHop(flow: Flow | null): Hop {
  return flow === null ? NO_PBX : { target: { uri: null, flow, route: "", token: "", contactId: "" } };
}
