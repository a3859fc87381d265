/** A transaction table in virtual time: a port that records, flows that can close, and the timers run at their instants. */
import { expect } from "bun:test";
import type { Flow, Listener, Transport } from "../../../src/core/sip/flow.ts";
import { type Message, parseMessage } from "../../../src/core/sip/message.ts";
import type { ClientFailure, ClientOwner, ClientTransaction } from "../../../src/core/transaction/client.ts";
import type { ServerTransaction } from "../../../src/core/transaction/server.ts";
import { Transactions, type TransactionUser } from "../../../src/core/transaction/table.ts";
import { Schedule, type TransactionPort } from "../../../src/core/transaction/timers.ts";

/** Nothing may depend on the clock starting at 0. */
const START_MS = 1_000_000;

export interface TestFlow extends Flow {
  state: "open" | "closed";
  /** True: sends fail, though nobody was told that the flow closed. */
  isDead: boolean;
}

/** Something that left: when (ms after the start), over which flow, `486` or `INVITE`. */
export interface Sent {
  atMs: number;
  flow: Flow;
  what: string;
  wire: string;
  isDurable: boolean;
}

export class Rig implements TransactionPort, TransactionUser {
  readonly clock = { nowMs: START_MS };
  readonly schedule = new Schedule(this.clock);
  readonly sent: Sent[] = [];
  /** What the table told its user: `request INVITE`, `ack`, `cancel`, `stray 200`. */
  readonly told: string[] = [];
  readonly requests: ServerTransaction[] = [];
  /** For the last CANCEL: the INVITE it was matched with. */
  cancelled: ServerTransaction | null = null;
  readonly counted: string[] = [];
  /** Flows of other hosts that may answer. */
  readonly answerers = new Set<Flow>();
  readonly table = new Transactions(this, this.schedule);
  /** What `flowTo` gives. */
  reachable: Flow | null = null;
  readonly asked: [Transport, string, number, Listener | undefined][] = [];
  private tokens = 0;

  flow(transport: Transport = "udp", remotePort = 5070): TestFlow {
    return {
      id: remotePort,
      transport,
      isReliable: transport !== "udp",
      listener: { transport, address: "192.0.2.100", port: 5060, advertised: "us:5060" },
      remoteAddress: "192.0.2.1",
      remotePort,
      state: "open",
      lastHeardMs: 0,
      key: "",
      isDead: false,
    };
  }

  get nowMs(): number {
    return this.clock.nowMs - START_MS;
  }

  /** Lets time pass up to `ms` after the start, every deadline at its instant. */
  runTo(ms: number): this {
    const untilMs = START_MS + ms;
    while (this.schedule.nextMs <= untilMs) {
      expect(this.schedule.nextMs).toBeGreaterThanOrEqual(this.clock.nowMs);
      this.clock.nowMs = this.schedule.nextMs;
      this.schedule.run();
    }
    this.clock.nowMs = untilMs;
    return this;
  }

  /** Runs every timer there is, and claims that nothing remembers anything. Returns when the last one ran. */
  settle(): number {
    while (this.schedule.nextMs < Infinity) this.runTo(this.schedule.nextMs - START_MS);
    expect({
      servers: this.table.serverCount,
      clients: this.table.clientCount,
      flows: this.table["byFlow"].size,
      deadlines: this.schedule.deadlines.size,
      short: this.schedule.shortLinger.size,
      long: this.schedule.longLinger.size,
    }).toEqual({ servers: 0, clients: 0, flows: 0, deadlines: 0, short: 0, long: 0 });
    return this.nowMs;
  }

  /** What left since the last time this was asked. */
  take(): string[] {
    return this.sent.splice(0).map(({ what }) => what);
  }

  /** When each left that left since the last time, and what. */
  takeTimes(): [number, string][] {
    return this.sent.splice(0).map(({ atMs, what }) => [atMs, what]);
  }

  send(flow: Flow, wire: string): boolean {
    return this.record(flow, wire, false);
  }

  sendDurable(flow: Flow, wire: string): boolean {
    return this.record(flow, wire, true);
  }

  private record(flow: Flow, wire: string, isDurable: boolean): boolean {
    if (flow.state === "closed" || (flow as TestFlow).isDead) return false;
    const first = wire.slice(0, wire.indexOf("\r\n")).split(" ");
    this.sent.push({ atMs: this.nowMs, flow, what: first[0] === "SIP/2.0" ? first[1]! : first[0]!, wire, isDurable });
    return true;
  }

  flowTo(transport: Transport, address: string, port: number, via?: Listener): Flow | null {
    this.asked.push([transport, address, port, via]);
    return this.reachable;
  }

  closeFlow(): void {}

  token(length: number): string {
    return String(++this.tokens).padStart(length, "t");
  }

  count(counter: string, label: string): void {
    this.counted.push(`${counter} ${label}`);
  }
  measure(): void {}
  isLogged(): boolean {
    return false;
  }
  log(): void {}
  event(): void {}

  onRequest(transaction: ServerTransaction): void {
    this.told.push(`request ${transaction.request.method}`);
    this.requests.push(transaction);
  }
  onAck(): void {
    this.told.push("ack");
  }
  onCancel(cancel: ServerTransaction, invite: ServerTransaction | null): void {
    this.told.push("cancel");
    this.requests.push(cancel);
    this.cancelled = invite;
  }
  isAnswerer(_transaction: ClientTransaction, flow: Flow): boolean {
    return this.answerers.has(flow);
  }
  onForeignResponse(_transaction: ClientTransaction, response: Message): void {
    this.told.push(`foreign ${response.status}`);
  }
  onStrayResponse(response: Message): void {
    this.told.push(`stray ${response.status}`);
  }

  /** A request comes in; gives the transaction that was made for it, if one was. */
  receive(raw: string, flow: Flow): ServerTransaction | undefined {
    const before = this.requests.length;
    this.table.receiveRequest(good(raw), flow, this);
    return this.requests[before];
  }

  /** A response comes in to what was sent on `branch`. */
  respond(status: number, branch: string, method: string, flow: Flow): void {
    this.table.receiveResponse(good(responseText(status, branch, method)), flow, this);
  }
}

/** Records what a client transaction says. */
export class Owner implements ClientOwner {
  readonly heard: string[] = [];
  constructor(private readonly rig: Rig) {}
  onResponse(response: Message): void {
    this.heard.push(`${response.status} at ${this.rig.nowMs}`);
  }
  onFailure(failure: ClientFailure, transaction: ClientTransaction): void {
    // An INVITE goes on listening after Timer B.
    expect(transaction.state).toBe(failure === "timeout" && transaction.isInvite ? "calling" : "terminated");
    this.heard.push(`${failure} at ${this.rig.nowMs}`);
  }
}

function good(raw: string): Message {
  const message = parseMessage(raw);
  expect(message.problem).toBeNull();
  return message;
}

interface RequestParts {
  branch?: string;
  sentBy?: string;
  callId?: string;
  cseq?: number;
  uri?: string;
  fromTag?: string;
  toTag?: string;
  viaParams?: string;
}

/** A request as a peer at 192.0.2.1:5070 sends it. */
export function requestText(method: string, parts: RequestParts = {}): string {
  const { branch = "z9hG4bKa", sentBy = "192.0.2.1:5070", callId = "c1", cseq = 7 } = parts;
  const { uri = "sip:alice@us", fromTag = "f1", toTag = "", viaParams = "" } = parts;
  return `${method} ${uri} SIP/2.0\r\nVia: SIP/2.0/UDP ${sentBy}${
    branch === "" ? "" : ";branch=" + branch
  }${viaParams}\r\n` +
    `From: <sip:bob@example.org>;tag=${fromTag}\r\nTo: <sip:alice@us>${toTag === "" ? "" : ";tag=" + toTag}\r\n` +
    `Call-ID: ${callId}\r\nCSeq: ${cseq} ${method}\r\n\r\n`;
}

export function responseText(status: number, branch: string, method: string): string {
  return `SIP/2.0 ${status} Words\r\nVia: SIP/2.0/UDP us:5060;branch=${branch}\r\nFrom: <sip:us>;tag=f1\r\n` +
    `To: <sip:alice@us>;tag=t${status}\r\nCall-ID: c1\r\nCSeq: 7 ${method}\r\n\r\n`;
}
