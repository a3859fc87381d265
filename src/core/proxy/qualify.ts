/**
 * OPTIONS to the PBX every `pbx.qualify`: whether it answers, how fast, since when not (F-07), and whether it is the PBX
 * it was before.
 *
 *   unknown, up ─no answer for 2 s→ the same, asked again, in doubt ─no answer for 2 s more→ down
 *   down ─asked every 5 s; an answer, or any message of its─→ up
 */
import type { Flow } from "../sip/flow.ts";
import { hostPort } from "../sip/host.ts";
import type { Message } from "../sip/message.ts";
import { viaValue } from "../sip/via.ts";
import type { ClientFailure, ClientOwner, ClientTransaction } from "../transaction/client.ts";
import type { Due } from "../transaction/deadline.ts";
import type { Transactions } from "../transaction/table.ts";
import type { Pbx } from "./pbx.ts";
import { PbxSignature } from "./pbx_signature.ts";

/** A PBX that is away is asked again this soon after a question it did not answer. */
const AWAY_INTERVAL_MS = 5000;
/**
 * Silence that counts. Lost datagrams are repeated after 0.5 and 1.5 s, so an answer takes longer only if the PBX
 * was away, or three in a row were lost.
 */
const PATIENCE_MS = 2000;

/** `unknown` until the first answer or failure; any answer means that it is there. */
export type PbxState = "unknown" | "up" | "down";

/** Who acts on it. */
export interface QualifyUser {
  /** The PBX answers after it did not: it may have been started anew. */
  onPbxBack(): void;
  /** Something says that it may have been started anew. @param reason in words, about "the PBX" */
  onPbxDoubt(reason: string): void;
}

export class Qualify implements ClientOwner, Due {
  dueMs = 0;
  heapSlot = -1;
  state: PbxState = "unknown";
  /** Of the last answer, null before the first. */
  rttMs: number | null = null;
  /** Why it is down, in words. */
  reason = "";
  private readonly signature = new PbxSignature();
  private sentAtMs = 0;
  private flow: Flow | null = null;
  /** The question at the PBX; null: none. */
  private question: ClientTransaction | null = null;
  /** Questions in a row that it left without an answer. */
  private silences = 0;
  private intervalMs = 0;
  /** When it was, or is to be, asked because a connection closed. */
  private hurriedMs = -Infinity;

  constructor(private readonly table: Transactions, private readonly pbx: Pbx, private readonly user: QualifyUser) {}

  /** Starts, or takes a new interval; 0 stops. */
  start(intervalMs: number): void {
    this.intervalMs = intervalMs;
    const { deadlines, clock } = this.table.schedule;
    if (intervalMs !== 0) return deadlines.set(this, clock.nowMs);
    deadlines.cancel(this);
    this.drop();
  }

  onDue(nowMs: number): void {
    if (this.intervalMs === 0) return;
    if (this.question !== null) this.onSilence(nowMs);
    else this.ask(nowMs);
  }

  onResponse(response: Message): void {
    if (response.status < 200) return;
    const { nowMs } = this.table.schedule.clock;
    this.question = null;
    this.silences = 0;
    const received = response.via?.received;
    if (received !== undefined) this.pbx.heardOurAddress(received);
    this.rttMs = nowMs - this.sentAtMs;
    this.next(this.intervalMs);
    const change = this.signature.changed(response, nowMs);
    if (this.state === "down") return this.heard();
    this.state = "up";
    if (change !== "") this.user.onPbxDoubt(change);
  }

  /** A message came from the address that did not answer. */
  heard(): void {
    this.state = "up";
    this.reason = "";
    this.table.port.log("info", "The PBX answers again");
    this.user.onPbxBack();
  }

  /**
   * Its end of a connection closed, which may be its own end: it is asked at once, and so every 2 s at most. Some close
   * each connection when they have answered, and the question opens the next.
   */
  connectionClosed(): void {
    if (this.state === "down") return;
    this.user.onPbxDoubt("it closed its connection");
    if (this.intervalMs === 0) return;
    this.drop();
    const { nowMs } = this.table.schedule.clock;
    if (this.hurriedMs <= nowMs) this.hurriedMs = Math.max(nowMs, this.hurriedMs + PATIENCE_MS);
    this.next(this.hurriedMs - nowMs);
  }

  onFailure(failure: ClientFailure): void {
    this.question = null;
    this.isDown(failure === "timeout" ? "it does not answer OPTIONS" : "the connection to it failed");
    this.next(Math.min(this.intervalMs, AWAY_INTERVAL_MS));
  }

  private ask(nowMs: number): void {
    const flow = this.flow = this.pbx.flow();
    if (flow === null) {
      this.next(this.intervalMs);
      return this.isDown("its name is not resolved, or no listener fits its address");
    }
    this.sentAtMs = nowMs;
    this.next(this.state === "down" ? AWAY_INTERVAL_MS : PATIENCE_MS);
    const question = sendOptions(this.table, flow, this);
    if (question.isPending) this.question = question;
  }

  private onSilence(nowMs: number): void {
    this.silences++;
    const flow = this.flow;
    const sentAtMs = this.sentAtMs;
    this.drop();
    const waitedMs = this.silences * PATIENCE_MS;
    if (this.silences === 1 && this.state !== "down") {
      this.user.onPbxDoubt(`it did not answer OPTIONS within ${waitedMs / 1000} s`);
    } else {
      this.isDown("it does not answer OPTIONS");
      // T-10: a connection over which nothing is heard is not used again.
      if (flow !== null) this.pbx.onSilence(flow, sentAtMs);
    }
    this.ask(nowMs);
  }

  /** Takes back the question at the PBX: its answer would come too late to be believed. */
  private drop(): void {
    this.question?.abandon();
    this.question = null;
  }

  private next(inMs: number): void {
    const { deadlines, clock } = this.table.schedule;
    if (this.intervalMs !== 0) deadlines.set(this, clock.nowMs + inMs);
  }

  private isDown(reason: string): void {
    if (this.state !== "down") this.table.port.log("warn", `The PBX does not answer: ${reason}`);
    this.state = "down";
    this.reason = reason;
  }
}

/** The OPTIONS that asks the PBX over `flow` whether it is there; `latefork check --live` sends it too (O-02). */
export function sendOptions(table: Transactions, flow: Flow, owner: ClientOwner): ClientTransaction {
  const { port } = table;
  const branch = table.newBranch();
  const target = hostPort(flow.remoteAddress, flow.remotePort);
  const wire = `OPTIONS sip:${target} SIP/2.0\r\n` +
    `Via: ${viaValue(flow, branch)}\r\nMax-Forwards: 70\r\n` +
    `From: <sip:latefork@${flow.listener.advertised}>;tag=${port.token(8)}\r\n` +
    `To: <sip:${target}>\r\nCall-ID: ${port.token(20)}\r\nCSeq: 1 OPTIONS\r\n` +
    `Contact: <sip:latefork@${flow.listener.advertised}>\r\nAccept: application/sdp\r\nContent-Length: 0\r\n\r\n`;
  return table.send(wire, "OPTIONS", branch, flow, owner);
}
