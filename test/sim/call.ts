/** One INVITE of a scripted caller, from the first packet to the BYE, as RFC 3261 has a UAC do it. */
import type { Message } from "../../src/core/sip/message.ts";
import { Exchange } from "./exchange.ts";
import type { Link } from "./net.ts";
import type { Ua } from "./ua.ts";
import { contactOf, requestText, routeLines } from "./wire.ts";

/** A final response, the first time it came. */
export interface Final {
  status: number;
  toTag: string;
  atMs: number;
  message: Message;
}

export interface CallParts {
  /** Request-URI. */
  uri: string;
  /** Whole value of From without tag: `"Bob" <sip:bob@pbx.example.org>`. */
  from: string;
  to: string;
  callId?: string;
  /** Further header lines with CRLF. */
  lines?: string;
  body?: string;
}

export class SimCall {
  readonly callId: string;
  readonly fromTag: string;
  readonly startedAtMs: number;
  /** Every status that came, in order. */
  readonly statuses: number[] = [];
  readonly responses: Message[] = [];
  /** Different finals; a repetition counts once. */
  readonly finals: Final[] = [];
  /** The INVITE died unanswered: the network lost everything. */
  isTimedOut = false;
  isCancelled = false;
  isHungUp = false;
  /** What was asked inside the dialog of the first answer. */
  readonly exchanges: Exchange[] = [];
  /** To tags of the answers this side sent BYE for, and when. */
  readonly hungUp = new Map<string, number>();
  private readonly cseq = 1;
  private lastCseq = 1;
  private readonly branch: string;
  private readonly from: string;
  private readonly uri: string;
  private readonly to: string;
  private cancelLines: string | null = null;

  constructor(readonly ua: Ua, readonly link: Link, readonly sentBy: string, parts: CallParts) {
    const { prng } = ua.world;
    this.callId = parts.callId ?? prng.token(16) + "@caller";
    this.fromTag = prng.token(8);
    this.startedAtMs = ua.world.nowMs;
    this.branch = "z9hG4bK" + prng.token(12);
    this.from = `${parts.from};tag=${this.fromTag}`;
    this.uri = parts.uri;
    this.to = parts.to;
    const lines = `Contact: <sip:${sentBy};transport=${link.transport}>\r\n` + (parts.lines ?? "");
    const text = this.text("INVITE", this.uri, this.branch, this.to, this.cseq, lines, parts.body ?? "");
    ua.transact(link, text, {
      onResponse: (response) => this.onResponse(response),
      onFailure: () => {
        this.isTimedOut = true;
      },
    });
  }

  /** Status of the first final, 0 while there is none. */
  get status(): number {
    return this.finals[0]?.status ?? 0;
  }

  /** When the first final came, ms after the INVITE left. */
  get finalAfterMs(): number {
    return (this.finals[0]?.atMs ?? NaN) - this.startedAtMs;
  }

  get answers(): Final[] {
    return this.finals.filter((final) => final.status < 300);
  }

  /**
   * CANCEL, as soon as RFC 3261 §9.1 allows. `lines`: a Reason for instance.
   * @param isRude at once, though nobody may have seen the INVITE yet
   */
  cancel(lines = "", isRude = false): void {
    if (this.isCancelled || this.status !== 0) return;
    this.isCancelled = true;
    if (isRude || this.statuses.length > 0) this.sendCancel(lines);
    else this.cancelLines = lines;
  }

  hangUp(answer = 0): void {
    const final = this.answers[answer];
    if (final === undefined || this.isHungUp) return;
    this.isHungUp = answer === 0;
    this.bye(final);
  }

  /**
   * A request inside the dialog of the first answer, along its route set.
   * @param cancelMs CANCEL this long after it; null: never
   */
  ask(method: string, cancelMs: number | null = null): Exchange | null {
    const final = this.answers[0];
    if (final === undefined || this.isHungUp) return null;
    const { prng } = this.ua.world;
    const [uri, to, cseq] = [contactOf(final.message), this.toOf(final), ++this.lastCseq];
    const branch = "z9hG4bK" + prng.token(12);
    const route = routeLines(final.message, true);
    const contact = `Contact: <sip:${this.sentBy};transport=${this.link.transport}>\r\n`;
    const exchange = new Exchange(
      this.ua,
      this.link,
      method,
      this.text(method, uri, branch, to, cseq, route + contact),
      ({ status }) => {
        if (method !== "INVITE" || status >= 300) return;
        this.ua.sendAck(this.link, this.text("ACK", uri, "z9hG4bK" + prng.token(12), to, cseq, route));
      },
    );
    this.exchanges.push(exchange);
    if (cancelMs === null) return exchange;
    this.ua.world.in(cancelMs, () => {
      if (!exchange.isCancellable) return;
      exchange.isCancelled = true;
      this.ua.transact(this.link, this.text("CANCEL", uri, branch, to, cseq, route), { onResponse() {} });
    });
    return exchange;
  }

  private sendCancel(lines: string): void {
    const text = this.text("CANCEL", this.uri, this.branch, this.to, this.cseq, lines);
    this.ua.transact(this.link, text, { onResponse() {} });
  }

  private onResponse(response: Message): void {
    const { status } = response;
    this.statuses.push(status);
    this.responses.push(response);
    if (status < 200) {
      if (this.cancelLines === null) return;
      this.sendCancel(this.cancelLines);
      this.cancelLines = null;
      return;
    }
    const toTag = response.to.tag;
    const known = this.finals.find((final) => final.status === status && final.toTag === toTag);
    const final = known ?? { status, toTag, atMs: this.ua.world.nowMs, message: response };
    if (known === undefined) this.finals.push(final);
    if (status >= 300) return;
    this.ack(final);
    if (known !== undefined) return;
    // RFC 3261 §13.2.2.4: a second answer, or one that came too late, is ended.
    if (this.isCancelled || this.answers.length > 1) this.bye(final);
  }

  private ack(final: Final): void {
    const uri = contactOf(final.message);
    const lines = routeLines(final.message, true);
    const branch = "z9hG4bK" + this.ua.world.prng.token(12);
    this.ua.sendAck(this.link, this.text("ACK", uri, branch, this.toOf(final), this.cseq, lines));
  }

  private bye(final: Final): void {
    const branch = "z9hG4bK" + this.ua.world.prng.token(12);
    const lines = routeLines(final.message, true);
    this.hungUp.set(final.toTag, this.ua.world.nowMs);
    const text = this.text("BYE", contactOf(final.message), branch, this.toOf(final), ++this.lastCseq, lines);
    this.ua.transact(this.link, text, { onResponse() {} });
  }

  private toOf(final: Final): string {
    return final.message.valueOf("to")!;
  }

  private text(
    method: string,
    uri: string,
    branch: string,
    to: string,
    cseq: number,
    lines: string,
    body = "",
  ): string {
    const { link, sentBy, callId } = this;
    return requestText({ method, uri, link, sentBy, branch, from: this.from, to, callId, cseq, lines, body });
  }
}
