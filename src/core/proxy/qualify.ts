/** OPTIONS to the PBX every `pbx.qualify`: whether it answers, how fast, and since when not (F-07's first half). */
import type { Flow } from "../sip/flow.ts";
import { hostPort } from "../sip/host.ts";
import type { Message } from "../sip/message.ts";
import { viaValue } from "../sip/via.ts";
import type { ClientFailure, ClientOwner } from "../transaction/client.ts";
import type { Due } from "../transaction/deadline.ts";
import type { Transactions } from "../transaction/table.ts";
import type { Pbx } from "./pbx.ts";

/** A PBX that is away is asked again this soon after a question it did not answer. */
const AWAY_INTERVAL_MS = 5000;

/** `unknown` until the first answer or failure; any answer means that it is there. */
export type PbxState = "unknown" | "up" | "down";

/** Whoever acts on it. */
export interface QualifyUser {
  /** The PBX answers after it did not. */
  onPbxBack(): void;
}

export class Qualify implements ClientOwner, Due {
  dueMs = 0;
  heapSlot = -1;
  state: PbxState = "unknown";
  /** Of the last answer, null before the first. */
  rttMs: number | null = null;
  /** Why it is down, in words. */
  reason = "";
  private sentAtMs = 0;
  private isWaiting = false;

  private intervalMs = 0;

  constructor(private readonly table: Transactions, private readonly pbx: Pbx, private readonly user: QualifyUser) {}

  /** Starts, or takes a new interval; 0 stops. */
  start(intervalMs: number): void {
    this.intervalMs = intervalMs;
    const { deadlines, clock } = this.table.schedule;
    if (intervalMs === 0) deadlines.cancel(this);
    else deadlines.set(this, clock.nowMs);
  }

  onDue(nowMs: number): void {
    if (this.intervalMs === 0) return;
    this.table.schedule.deadlines.set(this, nowMs + this.intervalMs);
    if (this.isWaiting) return;
    const flow = this.pbx.flow();
    if (flow === null) return this.isDown("its name is not resolved, or no listener fits its address");
    this.sentAtMs = nowMs;
    this.isWaiting = true;
    sendOptions(this.table, flow, this);
  }

  onResponse(response: Message): void {
    if (response.status < 200) return;
    this.isWaiting = false;
    const received = response.via?.received;
    if (received !== undefined) this.pbx.heardOurAddress(received);
    this.rttMs = this.table.schedule.clock.nowMs - this.sentAtMs;
    if (this.state === "down") this.heard();
    else this.state = "up";
  }

  /** A message came from the address that did not answer. */
  heard(): void {
    this.state = "up";
    this.reason = "";
    this.table.port.log("info", "The PBX answers again");
    this.user.onPbxBack();
  }

  onFailure(failure: ClientFailure): void {
    this.isWaiting = false;
    this.isDown(failure === "timeout" ? "it did not answer OPTIONS within 32 s" : "the connection to it failed");
    const { deadlines, clock } = this.table.schedule;
    if (this.intervalMs > AWAY_INTERVAL_MS) deadlines.set(this, clock.nowMs + AWAY_INTERVAL_MS);
  }

  private isDown(reason: string): void {
    if (this.state !== "down") this.table.port.log("warn", `The PBX does not answer: ${reason}`);
    this.state = "down";
    this.reason = reason;
  }
}

/** Asks the PBX at the other end of `flow` for a sign of life; also what `latefork check --live` asks (O-02). */
export function sendOptions(table: Transactions, flow: Flow, owner: ClientOwner): void {
  const { port } = table;
  const branch = table.newBranch();
  const target = hostPort(flow.remoteAddress, flow.remotePort);
  const wire = `OPTIONS sip:${target} SIP/2.0\r\n` +
    `Via: ${viaValue(flow, branch)}\r\nMax-Forwards: 70\r\n` +
    `From: <sip:latefork@${flow.listener.advertised}>;tag=${port.token(8)}\r\n` +
    `To: <sip:${target}>\r\nCall-ID: ${port.token(20)}\r\nCSeq: 1 OPTIONS\r\n` +
    `Contact: <sip:latefork@${flow.listener.advertised}>\r\nAccept: application/sdp\r\nContent-Length: 0\r\n\r\n`;
  table.send(wire, "OPTIONS", branch, flow, owner);
}
