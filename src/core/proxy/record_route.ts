/**
 * Record-Route with a flow token (F-03): the user part of our Record-Route URI names the device whose flow the
 * dialog uses, signed so that it cannot be made up. An in-dialog request that brings it back is sent over the flow
 * the device has then, not the one it had when the call began: a phone that changed networks in a call stays in it.
 *
 * A token is signed together with the Call-ID of its dialog: it is seen on the way, and worth nothing in another call. It says in which hour it was made; who may use it for how long is the dialogs' to decide.
 */
import { createHmac, timingSafeEqual } from "node:crypto";
import type { Clock } from "../clock.ts";
import type { Flow } from "../sip/flow.ts";

const MAC_LENGTH = 16;
const HOUR_MS = 3_600_000;
/** Stands before the hour; no base64url and no id has it. */
const TIME_MARK = "~";
const DEVICE = 100; // d
const ADDRESS = 97; // a
const MOVED = 109; // m
/** So many MACs are remembered: most tokens come back soon, with the ACK. */
const MACS_REMEMBERED = 4096;

/** What a token says of the way to its side of the dialog. */
export interface FlowToken {
  /** Empty: no registered device. */
  readonly contactId: string;
  /** `Flow.key` of the flow the request came over; empty: ask the device. */
  readonly flowKey: string;
  /** When it was made, to the hour; 0: by a version that wrote no time. */
  readonly issuedAtMs: number;
  /** When the flow was seen; a device that registered since then is asked first. */
  readonly atMs: number;
}

/** Makes and checks tokens. The secret belongs to the installation and outlives restarts. */
export class FlowTokens {
  private readonly macs = new Map<string, string>();
  private hour = -1;
  private hourMark = "";

  constructor(private readonly secret: string, private readonly clock: Clock) {}

  /** Token of a contact, reached over the flow it has then. */
  ofDevice(contactId: string, callId: string): string {
    return this.sign("d" + contactId, callId);
  }

  /** Token of a contact that calls from an address it has not registered: until it does, that is the way back. */
  ofMovedDevice(contactId: string, flow: Flow, callId: string): string {
    return this.sign(
      "m" + encoded(Math.floor(this.clock.nowMs).toString(36) + "|" + contactId + "|" + flow.key),
      callId,
    );
  }

  /** Token of an address without a registered device. */
  ofAddress(flow: Flow, callId: string): string {
    return this.sign("a" + encoded(flow.key), callId);
  }

  /**
   * Reads a token.
   * @returns null if it is not ours, was tampered with, or is another call's
   */
  read(token: string, callId: string): FlowToken | null {
    const dot = token.length - MAC_LENGTH - 1;
    if (dot < 2 || token.charCodeAt(dot) !== 46) return null;
    const payload = token.slice(0, dot);
    const expected = Buffer.from(payload + "." + this.macOf(payload, callId), "latin1");
    const given = Buffer.from(token, "latin1");
    if (given.length !== expected.length || !timingSafeEqual(given, expected)) return null;
    const mark = payload.lastIndexOf(TIME_MARK);
    const text = mark < 0 ? payload.slice(1) : payload.slice(1, mark);
    const issuedAtMs = mark < 0 ? 0 : parseInt(payload.slice(mark + 1), 36) * HOUR_MS;
    switch (payload.charCodeAt(0)) {
      case DEVICE:
        return { contactId: text, flowKey: "", issuedAtMs, atMs: 0 };
      case ADDRESS:
        return { contactId: "", flowKey: decoded(text), issuedAtMs, atMs: 0 };
      case MOVED: {
        const [at = "", contactId = "", ...key] = decoded(text).split("|");
        return { contactId, flowKey: key.join("|"), issuedAtMs, atMs: parseInt(at, 36) };
      }
    }
    return null;
  }

  private sign(content: string, callId: string): string {
    const payload = content + this.hourText();
    const mac = this.macOf(payload, callId);
    if (this.macs.size >= MACS_REMEMBERED) this.macs.clear();
    this.macs.set(payload + "\n" + callId, mac);
    return payload + "." + mac;
  }

  /** The same text for all tokens of an hour. */
  private hourText(): string {
    const hour = Math.floor(this.clock.nowMs / HOUR_MS);
    if (hour !== this.hour) {
      this.hour = hour;
      this.hourMark = TIME_MARK + hour.toString(36);
    }
    return this.hourMark;
  }

  private macOf(payload: string, callId: string): string {
    const text = payload + "\n" + callId;
    const known = this.macs.get(text);
    if (known !== undefined) return known;
    // "route" keeps these apart from the other things this secret signs.
    return createHmac("sha256", this.secret).update("route\n" + text, "latin1").digest("hex").slice(0, MAC_LENGTH);
  }
}

function encoded(text: string): string {
  return Buffer.from(text, "latin1").toString("base64url");
}

function decoded(text: string): string {
  return Buffer.from(text, "base64url").toString("latin1");
}

/**
 * One Record-Route value that leads back to us over the listener of `flow`. `token` may be empty.
 * @param isSips the Request-URI of that side is a SIPS URI: so is the value where the flow is secure (RFC 3261 §16.6 item 4).
 *   A side that is not secure, a PBX by UDP in the LAN, keeps `sip:`: `sips:` would lead nowhere there.
 */
export function recordRouteValue(flow: Flow, token: string, isSips = false): string {
  const user = token === "" ? "" : token + "@";
  const { transport } = flow;
  if (isSips && (transport === "tls" || transport === "wss")) {
    // RFC 5630 §3.1.3: `sips:` has no transport=tls.
    return "<sips:" + user + flow.listener.advertised + (transport === "wss" ? ";transport=ws" : "") + ";lr>";
  }
  const param = transport === "udp" ? "" : ";transport=" + (transport === "wss" ? "ws" : transport);
  return "<sip:" + user + flow.listener.advertised + param + ";lr>";
}

/** One side of a request that is forwarded. */
export interface RecordedSide {
  readonly flow: Flow;
  /** May be empty. */
  readonly token: string;
  /** Its Request-URI. */
  readonly isSips: boolean;
}

/**
 * The Record-Route values of a request that came over `from` and leaves over `to`, the top one first. One is enough
 * where both sides are the same listener and one token does; else each side gets one it can use (double Record-Route).
 */
export function recordRoutes(from: RecordedSide, to: RecordedSide): string[] {
  if (from.flow.listener === to.flow.listener && from.isSips === to.isSips && (from.token === "" || to.token === "")) {
    return [recordRouteValue(to.flow, to.token === "" ? from.token : to.token, to.isSips)];
  }
  return [recordRouteValue(to.flow, to.token, to.isSips), recordRouteValue(from.flow, from.token, from.isSips)];
}
