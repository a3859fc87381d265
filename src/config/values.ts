/**
 * Reads the text of one value: durations, sizes, rates, choices and other plain ones. Writes durations, sizes and rates
 * back. URLs and addresses are in endpoint.ts. Must not know YAML, files or keys.
 */
import { LOG_LEVELS, type LogLevel } from "../core/port.ts";
import { Cidr } from "./cidr.ts";
import { isHostName } from "./endpoint.ts";
import { nearest } from "./nearest.ts";
import { bad, didYouMean, ok, type Parsed, quoted } from "./parsed.ts";
import { compilePattern, Pattern } from "./pattern.ts";
import type { KeyLimits } from "./table.ts";

/** So many in so long. */
export interface Rate {
  count: number;
  per_ms: number;
}

/** `aor=alice@example.org -> debug` */
export interface LogOverride {
  text: string;
  field: (typeof LOG_FIELDS)[number];
  value: string;
  level: LogLevel;
}

/** A header and a regular expression on its value. */
export interface HeaderMatch {
  name: string;
  pattern: string;
}

/** Where a rule finds the token of a push: a Contact parameter or a header. */
export interface TokenSource {
  source: "contact" | "header";
  /** Parameter or header name, lower-case. */
  name: string;
}

const DURATION_UNITS: Readonly<Record<string, number>> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 };
const SIZE_UNITS: Readonly<Record<string, number>> = { "": 1, b: 1, k: 1024, m: 1024 ** 2, g: 1024 ** 3 };

/** `1500ms`, `1.5s`, `30s`, `2m`, `1h`, `30d` → ms; a bare `0` is 0. */
export function parseDuration(text: string, limits: KeyLimits = {}): Parsed<number> {
  if (text === "0") return within(limits, 0, formatDuration);
  const [number, unit] = splitUnit(text);
  if (number === null) {
    return bad(`${quoted(text)} is not a duration`, "write a number and ms, s, m, h or d, such as 30s");
  }
  if (unit === "") return bad(`duration ${quoted(text)} has no unit`, `did you mean "${text}s"?`);
  const factor = DURATION_UNITS[unit];
  if (factor === undefined || !Object.hasOwn(DURATION_UNITS, unit)) {
    return bad(`unknown unit ${quoted(unit)}`, "use ms, s, m, h or d", text.length - unit.length, unit.length);
  }
  const value = Math.round(number * factor);
  return Number.isSafeInteger(value)
    ? within(limits, value, formatDuration)
    : bad(`duration ${quoted(text)} is too long`);
}

/** ms → the shortest text that `parseDuration` reads back. */
export function formatDuration(ms: number): string {
  if (ms === 0) return "0s";
  for (const unit of ["d", "h", "m", "s"]) {
    const factor = DURATION_UNITS[unit]!;
    // 60s and 120s stay as people write them; from 5 min on minutes are used.
    if (ms % factor === 0 && (unit === "s" || ms / factor >= (unit === "m" ? 5 : 1))) return `${ms / factor}${unit}`;
  }
  return `${ms}ms`;
}

/** `512`, `64k`, `4m`, `1g` (powers of 1024) → bytes. */
export function parseSize(text: string, limits: KeyLimits = {}): Parsed<number> {
  const [number, unit] = splitUnit(text);
  if (number === null) {
    return bad(`${quoted(text)} is not a size`, "write bytes, or a number and k, m or g, such as 64k");
  }
  const factor = SIZE_UNITS[unit.toLowerCase()];
  if (factor === undefined || !Object.hasOwn(SIZE_UNITS, unit.toLowerCase())) {
    return bad(`unknown unit ${quoted(unit)}`, "use k, m or g", text.length - unit.length, unit.length);
  }
  const value = number * factor;
  return Number.isSafeInteger(value)
    ? within(limits, value, formatSize)
    : bad(`${quoted(text)} is not a whole number of bytes`);
}

export function formatSize(bytes: number): string {
  for (const unit of ["g", "m", "k"]) {
    const factor = SIZE_UNITS[unit]!;
    if (bytes !== 0 && bytes % factor === 0) return `${bytes / factor}${unit}`;
  }
  return `${bytes}`;
}

/** `50/s`, `10/m`, `100/h`, `5/10s` → count per time. */
export function parseRate(text: string): Parsed<Rate> {
  const match = /^(\d{1,9})\/(\d{0,6})(s|m|h|d)$/.exec(text);
  const count = Number(match?.[1] ?? 0);
  const units = match?.[2] === "" ? 1 : Number(match?.[2] ?? 0);
  if (match === null) return bad(`${quoted(text)} is not a rate`, "write a number per s, m or h, such as 50/s");
  if (count === 0 || units === 0) {
    return bad(`rate ${quoted(text)} is zero`, "write a number per s, m or h, such as 50/s");
  }
  return ok({ count, per_ms: units * DURATION_UNITS[match[3]!]! });
}

export function formatRate(rate: Rate): string {
  for (const unit of ["d", "h", "m", "s"]) {
    const factor = DURATION_UNITS[unit]!;
    if (rate.per_ms === factor) return `${rate.count}/${unit}`;
  }
  return `${rate.count}/${rate.per_ms / 1000}s`;
}

const LOG_FIELDS = ["aor", "call", "device", "flow"] as const;

/** `aor=alice@example.org -> debug` */
export function parseLogOverride(text: string): Parsed<LogOverride> {
  const example = 'write it like "aor=alice@example.org -> debug"';
  const arrow = text.indexOf("->");
  const equals = text.indexOf("=");
  if (arrow < 0 || equals < 0 || equals > arrow) return bad(`${quoted(text)} is not an override`, example);
  const field = LOG_FIELDS.find((name) => name === text.slice(0, equals).trim());
  const value = text.slice(equals + 1, arrow).trim();
  const levelText = text.slice(arrow + 2).trim();
  const level = LOG_LEVELS.find((name) => name === levelText);
  if (field === undefined) {
    const name = text.slice(0, equals).trim();
    return bad(`unknown field ${quoted(name)}`, didYouMean(name, LOG_FIELDS, oneOf(LOG_FIELDS)), 0, equals);
  }
  if (value === "") return bad(`${quoted(text)} is not an override`, example);
  if (level === undefined) {
    const at = text.length - text.slice(arrow + 2).trimStart().length;
    const hint = didYouMean(levelText, LOG_LEVELS, oneOf(LOG_LEVELS));
    return bad(`unknown level ${quoted(levelText)}`, hint, at, levelText.length);
  }
  // Lines carry the whole AoR: a user alone would match none of them.
  if (field === "aor" && !value.includes("@")) {
    return bad(`${quoted(value)} is no AoR`, example, text.indexOf(value, equals), value.length);
  }
  return ok({ text, field, value, level });
}

function splitUnit(text: string): [number | null, string] {
  const match = /^(\d{1,15}(?:\.\d{1,6})?)([A-Za-zµ]*)$/.exec(text);
  return match === null ? [null, ""] : [Number(match[1]), match[2]!];
}

function within({ min, max }: KeyLimits, value: number, format: (value: number) => string): Parsed<number> {
  if (min !== undefined && value < min) return bad(`must be at least ${format(min)}`);
  if (max !== undefined && value > max) return bad(`must be at most ${format(max)}`);
  return ok(value);
}

function oneOf(words: readonly string[]): string {
  return `one of ${words.filter((word) => word !== "").join(", ")}`;
}

export function parseBoolean(text: string): Parsed<boolean> {
  if (text === "true" || text === "false") return ok(text === "true");
  const meant = new Map([["yes", "true"], ["on", "true"], ["1", "true"], ["no", "false"], ["off", "false"], [
    "0",
    "false",
  ]]);
  const word = meant.get(text.toLowerCase()) ?? nearest(text, ["true", "false"]);
  return bad(`${quoted(text)} is neither true nor false`, word === null ? "" : `did you mean "${word}"?`);
}

/** One of these words. */
export function parseChoice<W extends string>(text: string, choices: readonly W[]): Parsed<W> {
  const word = choices.find((choice) => choice === text);
  if (word !== undefined) return ok(word);
  return bad(`unknown value ${quoted(text)}`, didYouMean(text, choices, oneOf(choices)));
}

export function parseCount(text: string, limits: KeyLimits): Parsed<number> {
  if (!/^\d{1,15}$/.test(text)) return bad(`${quoted(text)} is not a whole number`);
  return within(limits, Number(text), String);
}

export function parseCidr(text: string): Parsed<Cidr> {
  const cidr = Cidr.parse(text);
  if (cidr !== null) {
    return cidr.hasHostBits
      ? ok(cidr, `${quoted(text)} has address bits beyond its prefix, which are ignored`)
      : ok(cidr);
  }
  const hint = isHostName(text) && !/^[\d.]+$/.test(text)
    ? "names are not looked up here; write the address"
    : "write an address, or address/prefix such as 192.168.1.0/24";
  return bad(`${quoted(text)} is not an IP address or network`, hint);
}

// deno-lint-ignore no-control-regex
const CONTROL_CHARACTER = /[\u0000-\u001f\u007f]/;

export function parseText(text: string, { isRequired }: KeyLimits): Parsed<string> {
  if (text.length > 1024) return bad("is longer than 1024 characters");
  if (CONTROL_CHARACTER.test(text)) return bad("has a control character");
  if (text.includes("${")) return bad(`${quoted(text)} is not expanded`, "write the value itself, or name a file");
  if (text === "" && isRequired === true) return bad("must not be empty");
  return ok(text);
}

/** A file name; "" = not set. */
export function parseFile(text: string, limits: KeyLimits): Parsed<string> {
  if (text.startsWith("~/")) return bad(`${quoted(text)} is not expanded`, "write the path in full");
  return parseText(text, limits);
}

/** A file name, or `:memory:`. */
export function parseDatabaseFile(text: string, limits: KeyLimits): Parsed<string> {
  return text === "" ? bad("must not be empty", 'write a path, or ":memory:"') : parseFile(text, limits);
}

/** A regular expression in RE2's syntax; "" = any. */
export function parsePattern(text: string): Parsed<string> {
  if (text.length > 256) return bad("is longer than 256 characters");
  if (text === "") return ok(text);
  const compiled = compilePattern(text);
  if (compiled instanceof Pattern) return ok(text);
  return bad(`${quoted(text)} is not a regular expression that can be used here`, compiled.reason);
}

const TOKEN = /^[A-Za-z0-9.!%*_+`'~-]{1,64}$/;

export function parseHeaderMatch(text: string): Parsed<HeaderMatch | null> {
  if (text === "") return ok(null);
  const colon = text.indexOf(":");
  const name = text.slice(0, Math.max(0, colon)).trim();
  if (!TOKEN.test(name)) return bad(`${quoted(text)} has no header name`, 'write "Name: regular expression"');
  const pattern = parsePattern(text.slice(colon + 1).trim());
  return pattern.ok ? ok({ name, pattern: pattern.value }) : pattern;
}

export function parseTokenSource(text: string): Parsed<TokenSource> {
  const colon = text.indexOf(":");
  const source = text.slice(0, Math.max(0, colon));
  const name = text.slice(colon + 1);
  const isKnown = source === "contact" || source === "header";
  if (isKnown && TOKEN.test(name)) return ok({ source, name: name.toLowerCase() });
  return bad(`${quoted(text)} does not say where the token is`, "write contact:PARAMETER or header:NAME");
}

export function parseMethod(text: string): Parsed<string> {
  const method = text.toUpperCase();
  if (!TOKEN.test(text)) return bad(`${quoted(text)} is not a SIP method`);
  if (IN_DIALOG_METHODS.includes(method)) {
    return bad(`${quoted(text)} cannot be held`, "it belongs to a call that is up");
  }
  return ok(method);
}

const IN_DIALOG_METHODS = ["ACK", "BYE", "CANCEL", "PRACK", "UPDATE", "REGISTER"];
