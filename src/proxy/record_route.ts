/**
 * Record-Route with a flow token (F-03): the user part of our Record-Route URI names the device whose flow the
 * dialog uses, signed so that nobody can make one up. An in-dialog request that brings it back is sent over the flow
 * the device has then, not the one it had when the call began: a phone that changed networks in a call stays in it.
 */
import { createHmac, timingSafeEqual } from "node:crypto";
import type { Flow } from "../sip/flow.ts";

const MAC_LENGTH = 16;

/** Makes and checks tokens. The secret belongs to the installation and outlives restarts. */
export class FlowTokens {
  constructor(private readonly secret: string) {}

  /** Token of a contact: `d` + id + MAC. */
  ofDevice(contactId: string): string {
    return this.sign("d" + contactId);
  }

  /** Token of an address a branch was added to by hand: `a` + hex of `transport|address|port` + MAC. */
  ofAddress(flow: Flow): string {
    const text = flow.transport + "|" + flow.remoteAddress + "|" + flow.remotePort;
    return this.sign("a" + Buffer.from(text, "latin1").toString("hex"));
  }

  /**
   * Reads a token.
   * @returns the contact id or address it names, null if it is not ours or was tampered with
   */
  read(token: string): { contactId: string } | { transport: "udp" | "tcp"; address: string; port: number } | null {
    const dot = token.length - MAC_LENGTH - 1;
    if (dot < 2 || token.charCodeAt(dot) !== 46) return null;
    const payload = token.slice(0, dot);
    const expected = Buffer.from(this.sign(payload), "latin1");
    const given = Buffer.from(token, "latin1");
    if (given.length !== expected.length || !timingSafeEqual(given, expected)) return null;
    if (payload.charCodeAt(0) === 100) return { contactId: payload.slice(1) };
    const [transport, address, port] = Buffer.from(payload.slice(1), "hex").toString("latin1").split("|");
    if ((transport !== "udp" && transport !== "tcp") || address === undefined) return null;
    return { transport, address, port: Number(port) };
  }

  private sign(payload: string): string {
    return payload + "." + createHmac("sha256", this.secret).update(payload).digest("hex").slice(0, MAC_LENGTH);
  }
}

/** One Record-Route value that leads back to us over the listener of `flow`. `token` may be empty. */
export function recordRouteValue(flow: Flow, token: string): string {
  const user = token === "" ? "" : token + "@";
  const transport = flow.transport === "udp" ? "" : ";transport=" + (flow.transport === "wss" ? "ws" : flow.transport);
  return "<sip:" + user + flow.listener.advertised + transport + ";lr>";
}

/**
 * The Record-Route values of a request that came over `from` and leaves over `to`, the top one first. One is enough
 * where both sides are the same listener and one token does; else each side gets one it can use (double Record-Route).
 */
export function recordRoutes(from: Flow, fromToken: string, to: Flow, toToken: string): string[] {
  if (from.listener === to.listener && (fromToken === "" || toToken === "")) {
    return [recordRouteValue(to, toToken === "" ? fromToken : toToken)];
  }
  return [recordRouteValue(to, toToken), recordRouteValue(from, fromToken)];
}
