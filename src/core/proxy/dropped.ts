/**
 * Reports dropped messages that have no answer: an ACK without a way, a response that fits no request. Always by a counter,
 * and by a warning where something is set up wrongly. Decides nothing.
 */
import type { LogFields, Port } from "../port.ts";
import type { Clock } from "../clock.ts";
import type { Flow } from "../sip/flow.ts";
import { statelessTag } from "../sip/hash.ts";
import { ROUTE } from "../sip/header.ts";
import type { Message } from "../sip/message.ts";
import { detached } from "../sip/scan.ts";

/** Of each kind one is warned of in this time: a 2xx that is not acknowledged is repeated for 32 s, and so is its ACK. */
const WARN_EVERY_MS = 10_000;

/** Who sent it. */
export type Sender = "the PBX" | "a phone" | "a stranger";

export class Dropped {
  /** Strangers have a limit of their own, so that they hide nobody else's. */
  private readonly ackWarnedAtMs: Record<Sender, number> = {
    "the PBX": -Infinity,
    "a phone": -Infinity,
    "a stranger": -Infinity,
  };
  private answerWarnedAtMs = -Infinity;

  constructor(private readonly port: Port, private readonly clock: Clock) {}

  /** An ACK for a 2xx that finds no way. That of a refusal without a transaction is known by its tag, and is as it should be. */
  ack(ack: Message, flow: Flow, sender: Sender, why: string): void {
    const { port, clock: { nowMs } } = this;
    port.count("rejected_total", "stray_ack");
    const isOfRefusal = ack.to.tag === statelessTag(ack);
    const isWarned = !isOfRefusal && nowMs - this.ackWarnedAtMs[sender] >= WARN_EVERY_MS;
    if (isWarned) this.ackWarnedAtMs[sender] = nowMs;
    const level = isWarned ? "warn" : "debug";
    if (!port.isLogged(level)) return;
    port.log(level, `Dropped an ACK of ${sender}: ${why}`, {
      ...fieldsOf(ack, flow),
      uri: detached(ack.uri!.text),
      route: detached(ack.value(ROUTE) ?? ""),
    });
  }

  /**
   * A response with the branch of a request that went to another host. A branch cannot be guessed: it is the PBX at an address
   * that we were not told, or a host that sees what we send.
   * @param isPbxAsked the request went to the PBX
   */
  foreignResponse(response: Message, sentTo: Flow, flow: Flow, isPbxAsked: boolean): void {
    const { port, clock: { nowMs } } = this;
    port.count("rejected_total", "response_source");
    const isWarned = isPbxAsked && nowMs - this.answerWarnedAtMs >= WARN_EVERY_MS;
    if (isWarned) this.answerWarnedAtMs = nowMs;
    const level = isWarned ? "warn" : "debug";
    if (!port.isLogged(level)) return;
    const what = `${response.status} to ${response.cseqMethod} from ${flow.remoteAddress}`;
    const hint = isPbxAsked ? "; if it is the PBX, name the address in pbx.trust" : "";
    port.log(
      level,
      `Dropped a ${what}: the request went to ${sentTo.remoteAddress}${hint}`,
      fieldsOf(response, flow),
    );
  }

  /** RFC 3261 §18.1.2, RFC 6026 §7.1: a response to nothing we sent goes nowhere. */
  strayResponse(): void {
    this.port.count("rejected_total", "stray_response");
  }
}

function fieldsOf(message: Message, flow: Flow): LogFields {
  return { flow: flow.key, call_id: detached(message.callId) };
}
