/**
 * The transaction table: matches messages to transactions (RFC 3261 §17.1.3, §17.2.3, RFC 2543 fall-back) and makes
 * new ones. What a request means is its user's business.
 */
import type { Flow } from "../sip/flow.ts";
import { requestHash } from "../sip/hash.ts";
import { defaultPort } from "../sip/host.ts";
import type { Message } from "../sip/message.ts";
import { aorOf } from "../sip/uri.ts";
import { type ClientOwner, type ClientTable, ClientTransaction } from "./client.ts";
import { type ServerTable, ServerTransaction } from "./server.ts";
import type { Schedule, TransactionPort } from "./timers.ts";

/** RFC 3261 §8.1.1.7, in lower case as branches are compared. */
export const MAGIC_COOKIE = "z9hg4bk";

/** Takes messages that belong to no transaction yet. */
export interface TransactionUser {
  /** A new request, not ACK or CANCEL. */
  onRequest(transaction: ServerTransaction): void;
  /** An ACK that belongs to no failure of ours: one for a 2xx, or a stray. */
  onAck(ack: Message, flow: Flow): void;
  /** A CANCEL; `invite` is the transaction it cancels, null if there is none. Answer `cancel` first. */
  onCancel(cancel: ServerTransaction, invite: ServerTransaction | null): void;
  /** True if the request may be answered over this flow of another host than the one it was sent to. */
  isAnswerer(transaction: ClientTransaction, flow: Flow): boolean;
  /** A response to a request of ours from another host than was asked. */
  onForeignResponse(transaction: ClientTransaction, response: Message, flow: Flow): void;
  /** A response to nothing we know. */
  onStrayResponse(response: Message, flow: Flow): void;
}

/** Owns the connections that requests go over. */
export interface SilenceListener {
  /** See {@link ClientTable.onSilence}. */
  onSilence(flow: Flow, sentAtMs: number): void;
}

/** Messages that peers still wait for. */
export interface Owed {
  /** INVITEs outside a dialog without a final response. */
  calls: number;
  /** ACKs to finals of an INVITE. */
  acks: number;
  /** INVITEs that are over, of whose end their phone has not heard or not told yet. */
  cancels: number;
  /** Other requests without a final response. */
  requests: number;
}

/** Knows which flow a peer uses by now. */
export interface NewerFlows {
  /** The flow that the peer behind this one uses since; null: this one still, or not known. `aorKey`: who it is, or empty. */
  newerFlow(flow: Flow, aorKey: string): Flow | null;
}

/** How many transactions there may be. */
export interface TransactionLimits {
  /** Beyond it those that only wait end early. */
  readonly transactions: number;
  /** Requests of strangers without a final response. */
  readonly strangersInFlight: number;
}

/** With so many more than the limit, what only waits is not enough: nobody gets another one. */
const HARD_FACTOR = 2;
/** Share of the limit that is freed at once. */
const FREED_SHARE = 1 / 16;

export class Transactions implements ClientTable, ServerTable {
  private readonly servers = new Map<string, ServerTransaction>();
  private readonly clients = new Map<string, ClientTransaction>();
  /** Client transactions by connection, so that a close fails them at once; UDP flows do not close. */
  private readonly byFlow = new Map<Flow, Set<ClientTransaction>>();
  /**
   * How many ACKs are still to come for the 2xx that went to callers, by the hash of Call-ID and CSeq: a call that a PBX
   * passes on with its Call-ID goes through here twice. Forgotten with Timer L.
   */
  private readonly unacknowledged = new Map<number, number>();
  /** How every branch of this process begins. */
  readonly branchStart: string;
  private branchCount = 0;
  private strangersOpen = 0;
  limits: TransactionLimits = { transactions: Infinity, strangersInFlight: Infinity };

  constructor(
    readonly port: TransactionPort,
    readonly schedule: Schedule,
    private readonly listener: SilenceListener | null = null,
    private readonly newerFlows: NewerFlows | null = null,
  ) {
    this.branchStart = "z9hG4bK" + port.token(12);
  }

  get serverCount(): number {
    return this.servers.size;
  }

  get clientCount(): number {
    return this.clients.size;
  }

  /**
   * A branch value no transaction had before, across restarts too. Each one is unguessable: a response is believed by its
   * branch, so a phone that has seen its own must not be able to answer a REGISTER or a call of another phone.
   * @param suffix what the proxy wants to find again in its Via
   */
  newBranch(suffix = ""): string {
    this.branchCount++;
    return this.branchStart + this.branchCount.toString(36) + this.port.token(10) + suffix;
  }

  /** Requests of strangers that have no final response yet. */
  get strangersInFlight(): number {
    return this.strangersOpen;
  }

  /**
   * A request without a problem.
   * @param user takes it, if it is new
   * @param isStranger neither the PBX nor a registered phone sent it
   * @returns false if it is new and there is no room for it
   */
  receiveRequest(request: Message, flow: Flow, user: TransactionUser, isStranger = false): boolean {
    const isAck = request.method === "ACK";
    const key = serverKey(request, isAck ? "INVITE" : request.method);
    const known = this.servers.get(key);
    if (known !== undefined) {
      // An ACK is matched by its branch alone: some have a CSeq of their own.
      if (isAck) {
        if (known.state === "completed" || known.state === "confirmed") {
          known.onAck();
          return true;
        }
      } else if (known.isSameRequest(request)) {
        known.onRetransmission();
        return true;
      }
    }
    if (isAck) {
      this.acknowledged(requestHash(request));
      user.onAck(request, flow);
      return true;
    }
    if (request.method !== "CANCEL" && !this.hasRoom(isStranger)) return false;
    const transaction = new ServerTransaction(this, key, request, flow, request.method === "INVITE");
    this.servers.set(key, transaction);
    if (isStranger) {
      transaction.isStranger = true;
      this.strangersOpen++;
    }
    if (request.method === "CANCEL") {
      user.onCancel(transaction, this.servers.get(serverKey(request, "INVITE")) ?? null);
    } else {
      user.onRequest(transaction);
      transaction.onTaken();
    }
    return true;
  }

  private hasRoom(isStranger: boolean): boolean {
    const { transactions, strangersInFlight } = this.limits;
    if (isStranger && this.strangersOpen >= strangersInFlight) return false;
    if (this.servers.size + this.clients.size < transactions) return true;
    this.schedule.endOldest(Math.ceil(transactions * FREED_SHARE));
    const left = this.servers.size + this.clients.size;
    return left < (isStranger ? transactions : transactions * HARD_FACTOR);
  }

  /** For the transactions alone. */
  strangerAnswered(transaction: ServerTransaction): void {
    if (!transaction.isStranger) return;
    transaction.isStranger = false;
    this.strangersOpen--;
  }

  /**
   * A response without a problem.
   * @param user is told if nothing we sent is answered by it
   */
  receiveResponse(response: Message, flow: Flow, user: TransactionUser): void {
    const key = clientKey(response.via!.branch, response.cseqMethod);
    const transaction = this.clients.get(key);
    // §17.1.3: branch and CSeq method must both match.
    if (transaction === undefined || transaction.method !== response.cseqMethod) {
      return user.onStrayResponse(response, flow);
    }
    const { flow: sentTo } = transaction;
    // A NAT may change the port, and over a new connection comes what the old one could not carry (§18.2.2).
    const isFromThere = flow === sentTo || flow.remoteAddress === sentTo.remoteAddress;
    if (isFromThere || user.isAnswerer(transaction, flow)) transaction.receive(response);
    else user.onForeignResponse(transaction, response, flow);
  }

  /**
   * Sends a request.
   * @param branch the branch of its top Via, from {@link newBranch} (a CANCEL has its INVITE's)
   */
  send(wire: string, method: string, branch: string, flow: Flow, owner: ClientOwner | null): ClientTransaction {
    const key = clientKey(branch.toLowerCase(), method);
    const transaction = new ClientTransaction(this, key, method, wire, flow, owner);
    this.clients.set(key, transaction);
    if (flow.isReliable) {
      let ofFlow = this.byFlow.get(flow);
      if (ofFlow === undefined) this.byFlow.set(flow, ofFlow = new Set());
      ofFlow.add(transaction);
    }
    transaction.start();
    return transaction;
  }

  /** A connection closed, or could not be opened. */
  flowClosed(flow: Flow): void {
    const ofFlow = this.byFlow.get(flow);
    if (ofFlow === undefined) return;
    this.byFlow.delete(flow);
    for (const transaction of ofFlow) transaction.onFlowClosed();
  }

  /** Where a reply goes that is said once: see {@link newerFlow} and {@link wayBack}. */
  replyFlow(request: Message, flow: Flow): Flow | null {
    return this.newerFlow(request, flow) ?? this.wayBack(request, flow);
  }

  /** The flow that the phone has registered since its request came over this one; null: it is still where it was. */
  newerFlow(request: Message | null, flow: Flow): Flow | null {
    if (flow.former === undefined || this.newerFlows === null) return null;
    return this.newerFlows.newerFlow(flow, request === null ? "" : aorOf(request.from.uri!));
  }

  /** Where a reply goes (§18.2.2, RFC 3581): the flow the request came on, else the source address and sent-by port. */
  wayBack(request: Message | null, flow: Flow | null): Flow | null {
    if (flow === null || request === null) return flow;
    const via = request.via!;
    const sentByPort = via.port === 0 ? defaultPort(flow.transport) : via.port;
    if (flow.isReliable) {
      if (flow.state !== "closed") return flow;
      return this.port.flowTo(flow.transport, flow.remoteAddress, sentByPort);
    }
    if (via.rport !== undefined || flow.remotePort === sentByPort) return flow;
    return this.port.flowTo("udp", flow.remoteAddress, sentByPort, flow.listener) ?? flow;
  }

  /** For the transactions alone. */
  onSilence(flow: Flow, sentAtMs: number): void {
    this.listener?.onSilence(flow, sentAtMs);
  }

  /**
   * What is still in flight (O-04). One pass over all transactions: not for every turn.
   * @param untilMs requests that came later are left out
   */
  inFlight(untilMs: number): Owed {
    const found: Owed = { calls: 0, acks: 0, cancels: 0, requests: 0 };
    for (const count of this.unacknowledged.values()) found.acks += count;
    for (const server of this.servers.values()) {
      if (server.isInvite && server.state === "completed") found.acks++;
      // An OPTIONS needs no answer: its sender asks whether we are there, and the silence tells.
      if (!server.isPending || server.request.method === "OPTIONS") continue;
      if (!server.isInvite && server.arrivedAtMs > untilMs) continue;
      if (server.isInvite && server.request.to.tag === "") found.calls++;
      else found.requests++;
    }
    for (const client of this.clients.values()) {
      if (!client.isPending) continue;
      if (client.isInvite && client.owner?.isGivenUp === true) found.cancels++;
      // A BYE of our own: what we forward is counted where it came from.
      else if (client.method === "BYE" && client.owner === null) found.requests++;
    }
    return found;
  }

  /** For the transactions alone. */
  onAccepted({ requestHash }: ServerTransaction): void {
    this.unacknowledged.set(requestHash, (this.unacknowledged.get(requestHash) ?? 0) + 1);
  }

  /** For the transactions alone. */
  removeServer(transaction: ServerTransaction): void {
    if (transaction.isInvite && transaction.status < 300) this.unacknowledged.delete(transaction.requestHash);
    if (this.servers.get(transaction.key) === transaction) this.servers.delete(transaction.key);
  }

  private acknowledged(hash: number): void {
    const left = (this.unacknowledged.get(hash) ?? 0) - 1;
    if (left > 0) this.unacknowledged.set(hash, left);
    else this.unacknowledged.delete(hash);
  }

  /** For the transactions alone. */
  removeClient(transaction: ClientTransaction): void {
    if (this.clients.get(transaction.key) === transaction) this.clients.delete(transaction.key);
    if (!transaction.flow.isReliable) return;
    const ofFlow = this.byFlow.get(transaction.flow);
    if (ofFlow === undefined) return;
    ofFlow.delete(transaction);
    if (ofFlow.size === 0) this.byFlow.delete(transaction.flow);
  }
}

function clientKey(branch: string, method: string): string {
  return method === "CANCEL" ? branch + "|CANCEL" : branch;
}

/** RFC 3261 §17.2.3: branch, sent-by and method; without the magic cookie what RFC 2543 matched by. */
function serverKey(request: Message, method: string): string {
  const via = request.via!;
  if (via.branch.length > MAGIC_COOKIE.length && via.branch.startsWith(MAGIC_COOKIE)) {
    return via.branch + "|" + via.sentBy + "|" + method;
  }
  // The To tag is left out: an ACK has ours, the INVITE has none.
  const toTag = method === "INVITE" ? "" : request.to.tag;
  return "2543|" + method + "|" + request.uri!.text + "|" + request.from.tag + "|" + request.from.uriText + "|" +
    toTag +
    "|" + request.callId + "|" + request.cseq + "|" + request.raw.slice(via.start, via.end);
}
