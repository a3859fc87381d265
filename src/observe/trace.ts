/**
 * The message ring: the last messages in and out, kept cheaply and looked at rarely (O-07). Bounded in messages and in
 * bytes. Must not parse SIP, except to find a header for a question of the control port.
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

/** Where a message came from or went. Its key is read only when the trace is shown. */
export interface TracedFlow {
  readonly key: string;
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
const MIN_BYTES = 64 * 1024;

/** Every Buffer of Bun has it, its types do not: half the cost of `write` with the name of an encoding. */
type Latin1Bytes = Buffer & { latin1Write(text: string, offset: number, length: number): number };

/**
 * The texts are copied into one ring of bytes. As strings, thousands of messages would outlive the collections of young
 * garbage, which then carry them along: two messages cost a REGISTER 0.8 µs of 16, and the process 30 MiB.
 */
export class TraceRing {
  private readonly slots: number;
  /** Allocated with the first message. Only pages that were written count as memory. */
  private bytes: Latin1Bytes | null = null;
  private readonly times: Float64Array;
  private readonly isIn: Uint8Array;
  private readonly flows: (TracedFlow | null)[];
  /** Where in the ring of bytes each message stands, and how long it is. */
  private readonly starts: Uint32Array;
  private readonly lengths: Uint32Array;
  /** Slot of the oldest message, and how many there are. */
  private oldest = 0;
  private capacity = 0;
  /** Where the newest message ends in the ring of bytes. */
  private end = 0;

  /** @param messages `trace.messages`; 0 keeps none. */
  constructor(messages: number) {
    this.slots = messages;
    this.times = new Float64Array(messages);
    this.isIn = new Uint8Array(messages);
    this.flows = new Array<TracedFlow | null>(messages).fill(null);
    this.starts = new Uint32Array(messages);
    this.lengths = new Uint32Array(messages);
  }

  get size(): number {
    return this.capacity;
  }

  /**
   * @param wire the message as latin1 text; one that is larger than the whole ring loses its end.
   */
  add(atMs: number, isIn: boolean, flow: TracedFlow, wire: string): void {
    if (this.slots === 0) return;
    const bytes = this.bytes ??= ringOf(Math.max(this.slots * BYTES_PER_SLOT, MIN_BYTES));
    const length = Math.min(wire.length, bytes.length);
    const start = this.makeRoom(length, bytes.length);
    bytes.latin1Write(wire, start, length);
    const slot = (this.oldest + this.capacity) % this.slots;
    this.times[slot] = atMs;
    this.isIn[slot] = isIn ? 1 : 0;
    this.flows[slot] = flow;
    this.starts[slot] = start;
    this.lengths[slot] = length;
    this.capacity++;
    this.end = start + length;
  }

  /** Oldest first. */
  find(filter: TraceFilter = {}): TraceMessage[] {
    const slots: number[] = [];
    for (let i = 0; i < this.capacity; i++) slots.push((this.oldest + i) % this.slots);
    const wires = slots.map((slot) => this.wireAt(slot));
    const callIds = wires.map(callIdOf);
    let wanted: Set<string> | null = null;
    if (filter.aor) {
      wanted = new Set();
      const uri = ":" + filter.aor.toLowerCase();
      wires.forEach((wire, i) => {
        if (callIds[i] !== "" && namesAor(wire, uri)) wanted!.add(callIds[i]!);
      });
    }
    const mask = filter.isPrivate ? maskPrivate : maskSecrets;
    const found: TraceMessage[] = [];
    for (let i = slots.length - 1; i >= 0 && found.length < (filter.limit ?? Infinity); i--) {
      if (wanted !== null && !wanted.has(callIds[i]!)) continue;
      if (filter.callId && callIds[i] !== filter.callId) continue;
      const slot = slots[i]!;
      found.push({
        atMs: this.times[slot]!,
        direction: this.isIn[slot] === 1 ? "in" : "out",
        flow: this.flows[slot]!.key,
        callId: callIds[i]!,
        message: mask(wires[i]!),
      });
    }
    return found.reverse();
  }

  private wireAt(slot: number): string {
    const start = this.starts[slot]!;
    return this.bytes!.toString("latin1", start, start + this.lengths[slot]!);
  }

  /** Forgets the messages in the slot and the bytes of a new one. @returns where the new one is written */
  private makeRoom(length: number, capacity: number): number {
    let start = this.end;
    if (start + length > capacity) {
      // A message stands in one piece: the end of the ring stays empty, and messages there from the last round go.
      while (this.capacity > 0 && this.starts[this.oldest]! >= start) this.forget();
      start = 0;
    }
    while (this.capacity > 0 && (this.capacity === this.slots || this.isOldestIn(start, start + length))) this.forget();
    return start;
  }

  private isOldestIn(start: number, end: number): boolean {
    const at = this.starts[this.oldest]!;
    return at >= start && at < end;
  }

  private forget(): void {
    this.flows[this.oldest] = null;
    this.oldest = (this.oldest + 1) % this.slots;
    this.capacity--;
  }
}

function ringOf(bytes: number): Latin1Bytes {
  return Buffer.allocUnsafeSlow(bytes) as Latin1Bytes;
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
