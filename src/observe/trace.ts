/**
 * The message ring: the last messages in and out, kept cheaply and looked at rarely (O-07). Bounded in messages and in
 * bytes. Must not parse SIP beyond finding a header when somebody asks.
 */
import { maskPrivate, maskSecrets } from "./privacy.ts";
import { readable } from "./display.ts";

export interface TraceFilter {
  /** Canonical `user@domain`; empty: all. Finds every message of the dialogs in which one message names the AoR. */
  aor?: string;
  /** Call-ID; empty: all. */
  callId?: string;
  /** The newest this many. */
  limit?: number;
  /** With `log.privacy: mask`; credentials are masked in any case. */
  isPrivate?: boolean;
}

export interface TraceMessage {
  atMs: number;
  direction: "in" | "out";
  flow: string;
  callId: string;
  message: string;
}

/** On average a message may take this much of the ring before old ones make room. */
const BYTES_PER_SLOT = 2048;

export class TraceRing {
  readonly #slots: number;
  readonly #maxChars: number;
  readonly #times: Float64Array;
  readonly #isIn: Uint8Array;
  readonly #flows: string[];
  readonly #wires: string[];
  /** Slot of the oldest message, and how many there are. */
  #oldest = 0;
  #size = 0;
  #chars = 0;

  /** @param messages `trace.messages`; 0 keeps none. */
  constructor(messages: number) {
    this.#slots = messages;
    this.#maxChars = messages * BYTES_PER_SLOT;
    this.#times = new Float64Array(messages);
    this.#isIn = new Uint8Array(messages);
    this.#flows = new Array<string>(messages).fill("");
    this.#wires = new Array<string>(messages).fill("");
  }

  get size(): number {
    return this.#size;
  }

  /**
   * @param flow `Flow.key`.
   * @param wire the message as latin1 text; only the reference is kept, so it must not be a slice of something large.
   */
  add(atMs: number, isIn: boolean, flow: string, wire: string): void {
    if (this.#slots === 0) return;
    while (this.#size > 0 && (this.#size === this.#slots || this.#chars + wire.length > this.#maxChars)) this.#forget();
    const slot = (this.#oldest + this.#size) % this.#slots;
    this.#times[slot] = atMs;
    this.#isIn[slot] = isIn ? 1 : 0;
    this.#flows[slot] = flow;
    this.#wires[slot] = wire;
    this.#size++;
    this.#chars += wire.length;
  }

  /** Oldest first. */
  find(filter: TraceFilter = {}): TraceMessage[] {
    const slots: number[] = [];
    for (let i = 0; i < this.#size; i++) slots.push((this.#oldest + i) % this.#slots);
    const callIds = slots.map((slot) => callIdOf(this.#wires[slot]!));
    let wanted: Set<string> | null = null;
    if (filter.aor) {
      wanted = new Set();
      const uri = ":" + filter.aor.toLowerCase();
      slots.forEach((slot, i) => {
        if (callIds[i] !== "" && namesAor(this.#wires[slot]!, uri)) wanted!.add(callIds[i]!);
      });
    }
    const mask = filter.isPrivate ? maskPrivate : maskSecrets;
    const found: TraceMessage[] = [];
    for (let i = slots.length - 1; i >= 0 && found.length < (filter.limit ?? Infinity); i--) {
      if (wanted !== null && !wanted.has(callIds[i]!)) continue;
      if (filter.callId && callIds[i] !== filter.callId) continue;
      const slot = slots[i]!;
      found.push({
        atMs: this.#times[slot]!,
        direction: this.#isIn[slot] === 1 ? "in" : "out",
        flow: this.#flows[slot]!,
        callId: callIds[i]!,
        message: mask(this.#wires[slot]!),
      });
    }
    return found.reverse();
  }

  #forget(): void {
    this.#chars -= this.#wires[this.#oldest]!.length;
    this.#flows[this.#oldest] = this.#wires[this.#oldest] = "";
    this.#oldest = (this.#oldest + 1) % this.#slots;
    this.#size--;
  }
}

/** One block a message, as people read it: a line of when and where, then the message. */
export function renderTrace(
  messages: readonly { at: string; direction: "in" | "out"; flow: string; message: string }[],
): string {
  return messages.map(({ at, direction, flow, message }) => {
    const lines = message.replace(/\r\n/g, "\n").trimEnd().split("\n").map(readable);
    return `${at}  ${direction === "in" ? "received from" : "sent to"} ${readable(flow)}\n${lines.join("\n")}\n`;
  }).join("\n");
}

/** The Call-ID of a message; empty if it has none. */
function callIdOf(wire: string): string {
  const match = /\r?\n(?:call-id|i)[ \t]*:[ \t]*([^\r\n]*)/i.exec(headersOf(wire));
  return match === null ? "" : match[1]!.trim();
}

/** True if a URI of the head names this user at this host (`uri` begins with the colon, in lower case). */
function namesAor(wire: string, uri: string): boolean {
  const head = headersOf(wire).toLowerCase();
  for (let at = head.indexOf(uri); at >= 0; at = head.indexOf(uri, at + 1)) {
    const after = head[at + uri.length];
    if (after === undefined || !/[\w.-]/.test(after)) return true;
  }
  return false;
}

function headersOf(wire: string): string {
  const end = wire.indexOf("\r\n\r\n");
  return end < 0 ? wire : wire.slice(0, end);
}
