/**
 * What the PBX's answers say of the PBX itself: its Server header, how it makes To tags, its clock. If that changes,
 * another process answers: it was restarted or replaced, and may have lost our Contacts. Must not know what
 * follows from it.
 */
import type { Message } from "../sip/message.ts";
import { detached } from "../sip/scan.ts";

/** Stateless answers of many servers begin their To tag with a value of the process. So long it is no accident. */
const HABIT_LENGTH = 8;
/** Answers with the same beginning before it counts as a habit. */
const HABIT_AFTER = 3;
/** Its clock against ours, ms: a Date header has whole seconds, and clocks are set now and then. */
const CLOCK_JUMP_MS = 60_000;
const MAX_SERVER = 200;

export class PbxSignature {
  private server: string | null = null;
  /** What all To tags so far have in common at their beginning. */
  private tagStart: string | null = null;
  private tags = 0;
  private clockOffsetMs: number | null = null;

  /**
   * Notes one answer.
   * @returns what changed since the answer before, in words; empty: nothing, or nothing to compare with
   */
  changed(response: Message, nowMs: number): string {
    const changes = [
      this.serverChanged(response),
      this.tagsChanged(response.to.tag),
      this.clockChanged(response, nowMs),
    ];
    return changes.find((change) => change !== "") ?? "";
  }

  private serverChanged(response: Message): string {
    const value = response.valueOf("server") ?? response.valueOf("user-agent");
    if (value === undefined) return "";
    const server = detached(value.slice(0, MAX_SERVER));
    const before = this.server;
    this.server = server;
    return before === null || before === server ? "" : `it says to be "${server}" now, "${before}" before`;
  }

  private tagsChanged(tag: string): string {
    if (tag === "") return "";
    if (this.tagStart === null) {
      this.tagStart = detached(tag);
      this.tags = 1;
      return "";
    }
    const common = commonStart(this.tagStart, tag);
    if (this.tags >= HABIT_AFTER && this.tagStart.length >= HABIT_LENGTH && common.length < HABIT_LENGTH) {
      this.tagStart = detached(tag);
      this.tags = 1;
      return "its To tags begin with something else than before";
    }
    this.tagStart = common;
    this.tags++;
    return "";
  }

  private clockChanged(response: Message, nowMs: number): string {
    const dateMs = Date.parse(response.valueOf("date") ?? "");
    if (Number.isNaN(dateMs)) return "";
    const offsetMs = dateMs - nowMs;
    const before = this.clockOffsetMs;
    this.clockOffsetMs = offsetMs;
    return before === null || Math.abs(offsetMs - before) < CLOCK_JUMP_MS ? "" : "its clock has jumped";
  }
}

function commonStart(a: string, b: string): string {
  let length = 0;
  while (length < a.length && length < b.length && a.charCodeAt(length) === b.charCodeAt(length)) length++;
  return a.slice(0, length);
}
