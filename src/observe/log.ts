/**
 * The structured log: one line a fact, on stderr (O-05). Owns levels, their overrides for one AoR, the bound against
 * floods, masking, and buffering. Must not know SIP. Never throws, even if the stream fails.
 */
import { writeSync } from "node:fs";
import type { LogFields, LogLevel } from "../core/port.ts";
import { jsonText, withoutControls } from "./display.ts";
import { isSecretField, maskPrivate, maskSecrets } from "./privacy.ts";

export interface LogConfig {
  level: LogLevel;
  /** `auto`: text for a terminal, one JSON object a line otherwise. */
  format: "auto" | "text" | "json";
  /** `mask`: no numbers, names, tokens. */
  privacy: "full" | "mask";
  overrides: readonly LogOverride[];
}

const FIELDS = ["aor", "call", "device", "flow"] as const;

/** Another level for the lines about one thing. */
export interface LogOverride {
  /** As written: `aor=alice@example.org -> debug`. */
  text: string;
  field: typeof FIELDS[number];
  value: string;
  level: LogLevel;
}

/** The world of the log; the defaults are the process's own. */
export interface LogOutput {
  isTty: boolean;
  /** Takes bytes of UTF-8 text and says how many it took; may throw (EPIPE, EAGAIN). */
  write(bytes: Uint8Array): number;
  /** The clock of the machine, for the time in a line. */
  nowMs(): number;
  /** A clock that is never set, for durations; absent: `nowMs` is such a clock. */
  steadyMs?(): number;
  /** Runs `flush` after so long. */
  later(flush: () => void, delayMs: number): void;
}

/** What {@link Log.change} sets for a while. */
export interface LogChangeRequest {
  level?: LogLevel;
  overrides?: readonly LogOverride[];
  /** 0: until the config is applied again. */
  forMs: number;
}

const RANK: Record<LogLevel, number> = { debug: 0, info: 1, warn: 2, error: 3 };
/** Lines of one message (level and text) written in a second. */
const PER_SECOND = 50;
/** Different messages told apart in a second; the rest share one allowance. */
const KINDS = 256;
/** Held back while the stream takes nothing; beyond it lines are dropped and counted. */
const BUFFER_BYTES = 256 * 1024;
/** A field longer than this is cut. */
const FIELD_CHARS = 2000;
const FLUSH_DELAY_MS = 20;

export class Log {
  private readonly output: LogOutput;
  private config: LogConfig;
  private overrides!: readonly LogOverride[];
  /** Overrides by `field=value`. */
  private readonly levels = new Map<string, LogLevel>();
  /** Lowest rank of all overrides that are not for an AoR. */
  private lowestOther = Infinity;
  private level: LogLevel;
  /** Until when a change holds; 0: there is none with an end. */
  private changeEndsAtMs = 0;
  private buffer = "";
  private unsent: Uint8Array | null = null;
  /** When the next flush comes by itself; 0: none is due. */
  private flushDueMs = 0;
  private dropped = 0;
  private windowStartMs = 0;
  private readonly kinds = new Map<string, { level: LogLevel; message: string; written: number; suppressed: number }>();
  private suppressed = 0;

  constructor(config: LogConfig, output: LogOutput = stderrOutput()) {
    this.output = output;
    this.config = config;
    this.level = config.level;
    this.setOverrides(config.overrides);
  }

  /** Applies the config's log section; a change made at run time ends. */
  configure(config: LogConfig): void {
    this.config = config;
    this.endChange();
  }

  /**
   * `PUT /v1/log`: replaces an earlier change, so that no part of that one outlives its time. What it does not name is as
   * in the config; its overrides are added to the config's.
   */
  change(request: LogChangeRequest): void {
    this.level = request.level ?? this.config.level;
    this.setOverrides([...this.config.overrides, ...request.overrides ?? []]);
    this.changeEndsAtMs = request.forMs > 0 ? this.steadyMs() + request.forMs : 0;
  }

  /** The settings in force; `expiresInMs` is null unless a change with an end is in force. */
  state(): { level: LogLevel; overrides: string[]; expiresInMs: number | null } {
    this.expireChange();
    return {
      level: this.level,
      overrides: this.overrides.map(({ text }) => text),
      expiresInMs: this.changeEndsAtMs === 0 ? null : this.changeEndsAtMs - this.steadyMs(),
    };
  }

  /** True if a line of this level about this AoR would be written, or might be because of an override for a call, device or flow. */
  isLogged(level: LogLevel, aor?: string): boolean {
    if (this.changeEndsAtMs !== 0) this.expireChange();
    if (this.levels.size > 0) {
      if (RANK[level] >= this.lowestOther) return true;
      const override = aor === undefined ? undefined : this.levels.get("aor=" + aor);
      if (override !== undefined) return RANK[level] >= RANK[override];
    }
    return RANK[level] >= RANK[this.level];
  }

  log(level: LogLevel, message: string, fields?: LogFields): void {
    if (this.changeEndsAtMs !== 0) this.expireChange();
    if (RANK[level] < RANK[this.levelFor(fields)]) return;
    const nowMs = this.steadyMs();
    if (nowMs - this.windowStartMs >= 1000) this.startWindow(nowMs);
    if (!this.isAllowed(level, message)) return;
    this.append(this.line(level, message, fields));
  }

  /** Writes what is buffered. It happens soon by itself if it is not called, as at the end of a turn. */
  flush(): void {
    if (this.suppressed > 0) {
      const nowMs = this.steadyMs();
      const leftMs = this.windowStartMs + 1000 - nowMs;
      if (leftMs <= 0) this.startWindow(nowMs);
      else this.schedule(leftMs);
    }
    if (this.dropped > 0 && this.unsent === null) {
      const dropped = this.dropped;
      this.dropped = 0;
      this.buffer += this.line("warn", "Log lines dropped, stderr took nothing", { lines: dropped });
    }
    for (;;) {
      if (this.unsent === null) {
        if (this.buffer === "") return;
        this.unsent = new TextEncoder().encode(this.buffer);
        this.buffer = "";
      }
      let taken = 0;
      try {
        taken = this.output.write(this.unsent);
      } catch (error) {
        // A full pipe is tried again with the next line; a closed one never comes back.
        if ((error as { code?: string }).code !== "EAGAIN") this.unsent = null;
        return;
      }
      this.unsent = taken >= this.unsent.length ? null : this.unsent.subarray(taken);
      if (taken === 0) return;
    }
  }

  private expireChange(): void {
    if (this.changeEndsAtMs !== 0 && this.steadyMs() >= this.changeEndsAtMs) this.endChange();
  }

  private endChange(): void {
    this.changeEndsAtMs = 0;
    this.level = this.config.level;
    this.setOverrides(this.config.overrides);
  }

  private setOverrides(overrides: readonly LogOverride[]): void {
    this.overrides = overrides;
    this.levels.clear();
    this.lowestOther = Infinity;
    for (const { field, value, level } of overrides) {
      this.levels.set(`${field}=${value}`, level);
      if (field !== "aor") this.lowestOther = Math.min(this.lowestOther, RANK[level]);
    }
  }

  /** The level for a line: of several overrides that fit, the one that writes most. */
  private levelFor(fields: LogFields | undefined): LogLevel {
    if (this.levels.size === 0 || fields === undefined) return this.level;
    let lowest: LogLevel | undefined;
    for (const field of FIELDS) {
      const level = this.levels.get(`${field}=${fields[field]}`);
      if (level !== undefined && (lowest === undefined || RANK[level] < RANK[lowest])) lowest = level;
    }
    return lowest ?? this.level;
  }

  private isAllowed(level: LogLevel, message: string): boolean {
    let key = level + message;
    if (!this.kinds.has(key) && this.kinds.size >= KINDS) {
      key = "";
      message = "Other messages";
    }
    let kind = this.kinds.get(key);
    if (kind === undefined) this.kinds.set(key, kind = { level, message, written: 0, suppressed: 0 });
    if (kind.written < PER_SECOND) {
      kind.written++;
      return true;
    }
    kind.suppressed++;
    // The flood may end here: a flush after this second tells the count.
    if (this.suppressed++ === 0) this.schedule(1000);
    return false;
  }

  private startWindow(nowMs: number): void {
    this.windowStartMs = nowMs;
    if (this.suppressed > 0) {
      this.suppressed = 0;
      for (const kind of this.kinds.values()) {
        if (kind.suppressed === 0) continue;
        this.append(this.line(kind.level, `${kind.message}: ${kind.suppressed} more suppressed`));
      }
    }
    this.kinds.clear();
  }

  private append(line: string): void {
    if (this.buffer.length + (this.unsent?.length ?? 0) > BUFFER_BYTES) {
      this.dropped++;
      return;
    }
    this.buffer += line;
    this.schedule(FLUSH_DELAY_MS);
  }

  private schedule(delayMs: number): void {
    const dueMs = this.steadyMs() + delayMs;
    if (this.flushDueMs !== 0 && this.flushDueMs <= dueMs) return;
    this.flushDueMs = dueMs;
    this.output.later(() => {
      if (this.flushDueMs === dueMs) this.flushDueMs = 0;
      this.flush();
    }, delayMs);
  }

  private steadyMs(): number {
    return this.output.steadyMs?.() ?? this.output.nowMs();
  }

  private line(level: LogLevel, message: string, fields?: LogFields): string {
    const mask = this.config.privacy === "mask" ? maskPrivate : maskSecrets;
    const at = new Date(this.output.nowMs()).toISOString();
    const isText = this.config.format === "text" || (this.config.format === "auto" && this.output.isTty);
    if (isText) {
      let line = `${at} ${level.toUpperCase().padEnd(5)} ${withoutControls(mask(message))}`;
      for (const name in fields) {
        const value = fields[name];
        if (value === undefined) continue;
        line += ` ${name}=${
          isSecretField(name) ? "***" : textValue(typeof value === "string" ? mask(cut(value)) : value)
        }`;
      }
      return line + "\n";
    }
    const object: Record<string, unknown> = { at, level, message: mask(message) };
    for (const name in fields) {
      const value = fields[name];
      if (value === undefined || name in object) continue;
      object[name] = isSecretField(name) ? "***" : typeof value === "string" ? mask(cut(value)) : value;
    }
    return jsonText(object) + "\n";
  }
}

/**
 * Reads `aor=alice@example.org -> debug`; besides `aor` the fields `call`, `device` and `flow`.
 * @throws RangeError that says what was expected.
 */
export function parseOverride(text: string): LogOverride {
  const match = /^\s*(aor|call|device|flow)\s*=\s*(\S+)\s*->\s*(debug|info|warn|error)\s*$/.exec(text);
  if (match === null) {
    throw new RangeError(`Cannot parse log override "${text}": expected "aor=alice@example.org -> debug"`);
  }
  const [, field, value, level] = match as unknown as [string, LogOverride["field"], string, LogLevel];
  return { text: `${field}=${value} -> ${level}`, field, value, level };
}

function textValue(value: string | number | boolean): string {
  if (typeof value !== "string") return String(value);
  return withoutControls(value === "" || /[\s"=]/.test(value) ? JSON.stringify(value) : value);
}

function cut(text: string): string {
  return text.length <= FIELD_CHARS ? text : text.slice(0, FIELD_CHARS) + "…";
}

function stderrOutput(): LogOutput {
  return {
    isTty: process.stderr.isTTY === true,
    write: (bytes) => writeSync(2, bytes),
    nowMs: () => Date.now(),
    steadyMs: () => performance.now(),
    later: (flush, delayMs) => void setTimeout(flush, delayMs),
  };
}
