/**
 * What every scripted peer has: transactions over links (RFC 3261 §17), nothing else. Requests are repeated over UDP
 * until answered, a repeated request gets the same response, a final response to an INVITE is repeated until its ACK.
 */
import { type Message, parseMessage } from "../../src/core/sip/message.ts";
import type { Appointment } from "./agenda.ts";
import type { Host, Link, Path } from "./net.ts";
import { responseText } from "./wire.ts";
import type { World } from "./world.ts";

export interface Reaction {
  /** Every 1xx and final; a 2xx to an INVITE each time it comes. */
  onResponse(response: Message): void;
  /** 64·T1 without an answer, or the link closed. */
  onFailure?(reason: string): void;
}

class Outgoing {
  timer: Appointment | null = null;
  intervalMs = 500;
  endMs = 0;
  hasProvisional = false;
  isOver = false;
  constructor(readonly link: Link, readonly text: string, readonly request: Message, readonly reaction: Reaction) {}
}

/** A request of latefork and the answer to it. */
export class Incoming {
  last = "";
  status = 0;
  timer: Appointment | null = null;
  intervalMs = 500;
  endMs = 0;
  readonly toTag: string;
  constructor(readonly ua: Ua, readonly link: Link, readonly request: Message) {
    // Inside a dialog it has one.
    this.toTag = request.to.tag === "" ? ua.world.prng.token(8) : request.to.tag;
  }

  /** Answers; an INVITE's final is repeated until the ACK comes. */
  respond(status: number, lines = "", body = ""): void {
    if (this.status >= 200) return;
    this.status = status;
    this.last = responseText(this.request, status, status === 100 ? "" : this.toTag, lines, body);
    this.ua.transmit(this.link, this.last);
    if (status < 200 || this.request.method !== "INVITE" || (status >= 300 && this.link.isReliable)) return;
    this.endMs = this.ua.world.nowMs + 32_000;
    this.repeat();
  }

  acked(): void {
    this.timer?.cancel();
    this.timer = null;
  }

  private repeat(): void {
    const { world } = this.ua;
    this.timer = world.in(this.intervalMs, () => {
      this.timer = null;
      if (world.nowMs >= this.endMs) return this.ua.onNoAck(this);
      this.ua.transmit(this.link, this.last);
      this.intervalMs = Math.min(this.intervalMs * 2, 4000);
      this.repeat();
    });
  }
}

export abstract class Ua implements Host {
  path: Path;
  /** Asleep: nothing goes out, nothing comes in. */
  isAsleep = false;
  protected readonly outgoing = new Map<string, Outgoing>();
  protected readonly incoming = new Map<string, Incoming>();

  constructor(readonly world: World, readonly name: string, path: Path) {
    this.path = path;
  }

  /** A request of latefork that is not ACK. */
  protected abstract onRequest(incoming: Incoming): void;
  protected onAck(_ack: Message): void {}

  /** An answer of ours that nobody acknowledged. */
  onNoAck(_incoming: Incoming): void {}
  onLinkClosed(link: Link): void {
    for (const [key, out] of this.outgoing) {
      if (out.link !== link || out.hasProvisional) continue;
      this.forget(key, out);
      out.reaction.onFailure?.("connection closed");
    }
  }

  /** A restart: it knows of no transaction any more. */
  protected forgetAll(): void {
    for (const [key, out] of this.outgoing) this.forget(key, out);
    for (const incoming of this.incoming.values()) incoming.acked();
    this.incoming.clear();
  }

  transmit(link: Link, text: string): void {
    if (!this.isAsleep && !link.isClosedByPeer && link.state !== "closed") this.world.net.toCore(link, text);
  }

  /** Sends a request and follows its transaction. */
  transact(link: Link, text: string, reaction: Reaction): void {
    const request = parseMessage(text);
    const key = request.via!.branch + request.method;
    const out = new Outgoing(link, text, request, reaction);
    out.endMs = this.world.nowMs + 32_000;
    this.outgoing.set(key, out);
    this.transmit(link, text);
    this.repeat(key, out);
  }

  /** Sends a request that makes no transaction: an ACK for a 2xx. */
  sendAck(link: Link, text: string): void {
    this.transmit(link, text);
  }

  private repeat(key: string, out: Outgoing): void {
    const { world } = this;
    const isInvite = out.request.method === "INVITE";
    const waitMs = out.link.isReliable ? out.endMs - world.nowMs : Math.min(out.intervalMs, out.endMs - world.nowMs);
    out.timer = world.in(Math.max(0, waitMs), () => {
      if (out.isOver || (isInvite && out.hasProvisional)) return;
      if (world.nowMs >= out.endMs) {
        this.forget(key, out);
        return out.reaction.onFailure?.("timeout");
      }
      this.transmit(out.link, out.text);
      out.intervalMs = isInvite ? out.intervalMs * 2 : Math.min(out.intervalMs * 2, 4000);
      this.repeat(key, out);
    });
  }

  private forget(key: string, out: Outgoing): void {
    out.isOver = true;
    out.timer?.cancel();
    this.outgoing.delete(key);
  }

  onMessage(link: Link, text: string): void {
    if (this.isAsleep) return;
    const message = parseMessage(text, !link.isReliable);
    if (message.problem !== null) throw new Error(`latefork sent ${this.name} a bad message: ${message.problem.text}`);
    if (message.isRequest) this.receiveRequest(link, message);
    else this.receiveResponse(message);
  }

  private receiveRequest(link: Link, request: Message): void {
    const branch = request.via!.branch;
    if (request.method === "ACK") {
      for (const [key, incoming] of this.incoming) {
        const isSame = incoming.request.method === "INVITE" && incoming.request.callId === request.callId &&
          (key === branch + "INVITE" || incoming.toTag === request.to.tag);
        if (isSame && incoming.status >= 200) incoming.acked();
      }
      return this.onAck(request);
    }
    const key = branch + request.method;
    const known = this.incoming.get(key);
    if (known !== undefined) {
      if (known.last !== "") this.transmit(link, known.last);
      return;
    }
    const incoming = new Incoming(this, link, request);
    this.incoming.set(key, incoming);
    this.onRequest(incoming);
  }

  private receiveResponse(response: Message): void {
    const key = response.via!.branch + response.cseqMethod;
    const out = this.outgoing.get(key);
    if (out === undefined) return;
    const { status } = response;
    const isInvite = response.cseqMethod === "INVITE";
    if (status < 200) {
      out.hasProvisional = true;
      if (isInvite) out.timer?.cancel();
      else out.intervalMs = 4000;
    } else if (!isInvite) this.forget(key, out);
    else {
      // The transaction stays to answer what comes again.
      out.timer?.cancel();
      if (status >= 300) {
        const { request } = out;
        const top = request.raw.slice(request.via!.start, request.via!.end);
        this.transmit(
          out.link,
          `ACK ${request.uri!.text} SIP/2.0\r\nVia: ${top}\r\nMax-Forwards: 70\r\n` +
            `From: ${request.valueOf("from")}\r\nTo: ${response.valueOf("to")}\r\nCall-ID: ${request.callId}\r\n` +
            `CSeq: ${request.cseq} ACK\r\nContent-Length: 0\r\n\r\n`,
        );
        if (out.isOver) return;
      }
      out.isOver = true;
    }
    out.reaction.onResponse(response);
  }
}
