/**
 * Bounds the lines of the log that strangers cause in a minute. How many were left out is logged when the minute is over.
 * The metrics count all. Knows no clock.
 */
import type { LogFields, LogLevel } from "../port.ts";

/** Lines in a minute. */
const MAX_LINES = 20;
const MINUTE_MS = 60_000;

export class LineBudget {
  private sinceMs = -Infinity;
  private lines = 0;

  /** @param about what the lines are about, in the plural */
  constructor(
    private readonly log: (level: LogLevel, message: string, fields?: LogFields) => void,
    private readonly about: string,
  ) {}

  /** Writes the line, if there is room for it in this minute. */
  tell(level: LogLevel, message: string, fields: LogFields, nowMs: number): void {
    if (nowMs - this.sinceMs >= MINUTE_MS) {
      const leftOut = this.lines - MAX_LINES;
      this.sinceMs = nowMs;
      this.lines = 0;
      if (leftOut > 0) this.log("info", `Left out ${leftOut} lines about ${this.about}`);
    }
    if (this.lines++ < MAX_LINES) this.log(level, message, fields);
  }
}
