/**
 * How many messages one turn handles (X-06), so that HTTP, timers and connections get their share of the loop whatever
 * comes in. Strangers' messages beyond the bound are dropped: who needs an answer sends again. The PBX's and those of
 * registered phones wait for the next turn. Knows neither SIP nor who is a stranger.
 */
import type { Flow } from "../core/sip/flow.ts";

/** About 25 ms of work. */
const MAX_PER_TURN = 256;
/** Of strangers, whose requests cost most. */
const MAX_STRANGERS_PER_TURN = 64;
const MAX_WAITING = 8192;
const MAX_WAITING_CHARS = 16 * 1024 * 1024;

export class Inbox {
  private turn = -1;
  private handled = 0;
  private strangers = 0;
  private flows: Flow[] = [];
  private texts: string[] = [];
  private head = 0;
  private waitingChars = 0;

  /**
   * @param handle takes a message of one that is no stranger
   * @param dropped told of each message that is not handled at all
   */
  constructor(private readonly handle: (flow: Flow, text: string) => void, private readonly dropped: () => void) {}

  get waiting(): number {
    return this.flows.length - this.head;
  }

  /**
   * Whether a message is to be handled now. If not, it waits or is dropped.
   * @param turn number of the turn
   */
  admits(turn: number, flow: Flow, text: string, isStranger: boolean): boolean {
    if (turn !== this.turn) this.begin(turn);
    if (isStranger) {
      if (this.strangers >= MAX_STRANGERS_PER_TURN || this.handled >= MAX_PER_TURN) return this.drop();
      this.strangers++;
    } else if (!flow.isReliable && (this.waiting > 0 || this.handled >= MAX_PER_TURN)) {
      // A connection's messages must not be overtaken by its end; what it may bring at once is bounded by its buffer.
      return this.keep(flow, text);
    }
    this.handled++;
    return true;
  }

  /** Handles what waited. @returns true if some of it still does */
  run(turn: number): boolean {
    if (this.waiting === 0) return false;
    if (turn !== this.turn) this.begin(turn);
    while (this.waiting > 0 && this.handled < MAX_PER_TURN) {
      const flow = this.flows[this.head]!;
      const text = this.texts[this.head]!;
      this.texts[this.head++] = "";
      this.waitingChars -= text.length;
      this.handled++;
      this.handle(flow, text);
    }
    if (this.waiting > 0) return true;
    this.flows = [];
    this.texts = [];
    this.head = 0;
    return false;
  }

  private begin(turn: number): void {
    this.turn = turn;
    this.handled = 0;
    this.strangers = 0;
  }

  private keep(flow: Flow, text: string): false {
    if (this.waiting >= MAX_WAITING || this.waitingChars + text.length > MAX_WAITING_CHARS) return this.drop();
    this.flows.push(flow);
    this.texts.push(text);
    this.waitingChars += text.length;
    return false;
  }

  private drop(): false {
    this.dropped();
    return false;
  }
}
