/**
 * Reads the text of one value: durations, sizes, rates, choices and the other plain ones (URLs and addresses are in
 * endpoint.ts), and writes durations, sizes and rates back. Must not know YAML, files or other keys.
 */
import { Cidr } from "./cidr.ts";
import {
  isHostName,
  parseAdvertise,
  parseControl,
  parseHost,
  parseListen,
  parsePbxUri,
  parseWebUrl,
} from "./endpoint.ts";
import { nearest } from "./nearest.ts";
import { bad, didYouMean, ok, type Parsed, quoted } from "./parsed.ts";
import type { KeyRow, LogOverride, Rate, TokenSource, ValueType } from "./schema.ts";

/** Reads the text of one value of this key (of one item, for lists). */
export function parseValue(row: KeyRow, text: string): Parsed<unknown> {
  return READERS[row.type](text, row);
}

type Reader = (text: string, row: KeyRow) => Parsed<unknown>;

const READERS: Readonly<Record<ValueType, Reader>> = {
  advertise: (text) => text === "" ? ok("") : parseAdvertise(text),
  boolean: parseBoolean,
  choice: parseChoice,
  cidr: parseCidr,
  control: parseControl,
  count: parseCount,
  duration: (text, row) => within(row, parseDuration(text), formatDuration),
  file: parseFile,
  header_match: parseHeaderMatch,
  host: parseHost,
  listen: parseListen,
  log_override: parseLogOverride,
  method: parseMethod,
  pattern: parsePattern,
  pbx_uri: parsePbxUri,
  rate: parseRate,
  size: (text, row) => within(row, parseSize(text), formatSize),
  text: parseText,
  token_source: parseTokenSource,
  url: parseWebUrl,
};

const DURATION_UNITS: Readonly<Record<string, number>> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 };
const SIZE_UNITS: Readonly<Record<string, number>> = { "": 1, b: 1, k: 1024, m: 1024 ** 2, g: 1024 ** 3 };

/** `1500ms`, `1.5s`, `30s`, `2m`, `1h`, `30d` → ms; a bare `0` is 0. */
export function parseDuration(text: string): Parsed<number> {
  if (text === "0") return ok(0);
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
  return Number.isSafeInteger(value) ? ok(value) : bad(`duration ${quoted(text)} is too long`);
}

/** ms → the shortest text that `parseDuration` reads back. */
export function formatDuration(ms: number): string {
  if (ms === 0) return "0s";
  for (const unit of ["d", "h", "m", "s"]) {
    const factor = DURATION_UNITS[unit]!;
    // 60s stays 60s and 120s stays 120s, as people write them; a day is a day.
    if (ms % factor === 0 && (unit === "s" || ms / factor >= (unit === "m" ? 5 : 1))) return `${ms / factor}${unit}`;
  }
  return `${ms}ms`;
}

/** `512`, `64k`, `4m`, `1g` (powers of 1024) → bytes. */
export function parseSize(text: string): Parsed<number> {
  const [number, unit] = splitUnit(text);
  if (number === null) {
    return bad(`${quoted(text)} is not a size`, "write bytes, or a number and k, m or g, such as 64k");
  }
  const factor = SIZE_UNITS[unit.toLowerCase()];
  if (factor === undefined || !Object.hasOwn(SIZE_UNITS, unit.toLowerCase())) {
    return bad(`unknown unit ${quoted(unit)}`, "use k, m or g", text.length - unit.length, unit.length);
  }
  const value = number * factor;
  return Number.isSafeInteger(value) ? ok(value) : bad(`${quoted(text)} is not a whole number of bytes`);
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

const LOG_LEVELS = ["debug", "info", "warn", "error"] as const;
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

function within(row: KeyRow, parsed: Parsed<number>, format: (value: number) => string): Parsed<number> {
  if (!parsed.ok) return parsed;
  if (row.min !== undefined && parsed.value < row.min) return bad(`must be at least ${format(row.min)}`);
  if (row.max !== undefined && parsed.value > row.max) return bad(`must be at most ${format(row.max)}`);
  return parsed;
}

function oneOf(words: readonly string[]): string {
  return `one of ${words.filter((word) => word !== "").join(", ")}`;
}

function parseBoolean(text: string): Parsed<boolean> {
  if (text === "true" || text === "false") return ok(text === "true");
  const meant = new Map([["yes", "true"], ["on", "true"], ["1", "true"], ["no", "false"], ["off", "false"], [
    "0",
    "false",
  ]]);
  const word = meant.get(text.toLowerCase()) ?? nearest(text, ["true", "false"]);
  return bad(`${quoted(text)} is neither true nor false`, word === null ? "" : `did you mean "${word}"?`);
}

function parseChoice(text: string, row: KeyRow): Parsed<string> {
  const choices = row.choices ?? [];
  if (choices.includes(text)) return ok(text);
  return bad(`unknown value ${quoted(text)}`, didYouMean(text, choices, oneOf(choices)));
}

function parseCount(text: string, row: KeyRow): Parsed<number> {
  if (!/^\d{1,15}$/.test(text)) return bad(`${quoted(text)} is not a whole number`);
  return within(row, ok(Number(text)), (value) => `${value}`);
}

function parseCidr(text: string): Parsed<Cidr> {
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

function parseText(text: string, row: KeyRow): Parsed<string> {
  if (text.length > 1024) return bad("is longer than 1024 characters");
  if (CONTROL_CHARACTER.test(text)) return bad("has a control character");
  if (text.includes("${")) return bad(`${quoted(text)} is not expanded`, "write the value itself, or name a file");
  if (text === "" && row.isRequired === true) return bad("must not be empty");
  return ok(text);
}

function parseFile(text: string, row: KeyRow): Parsed<string> {
  if (text === "" && row.file === "database") return bad("must not be empty", 'write a path, or ":memory:"');
  if (text.startsWith("~/")) return bad(`${quoted(text)} is not expanded`, "write the path in full");
  return parseText(text, row);
}

function parsePattern(text: string): Parsed<string> {
  if (text.length > 256) return bad("is longer than 256 characters");
  try {
    new RegExp(text);
    return ok(text);
  } catch (error) {
    const reason = error instanceof Error ? error.message.replace(/^Invalid regular expression: /, "") : "";
    return bad(`${quoted(text)} is not a regular expression`, reason);
  }
}

const TOKEN = /^[A-Za-z0-9.!%*_+`'~-]{1,64}$/;

function parseHeaderMatch(text: string): Parsed<{ name: string; pattern: string } | null> {
  if (text === "") return ok(null);
  const colon = text.indexOf(":");
  const name = text.slice(0, Math.max(0, colon)).trim();
  if (!TOKEN.test(name)) return bad(`${quoted(text)} has no header name`, 'write "Name: regular expression"');
  const pattern = parsePattern(text.slice(colon + 1).trim());
  return pattern.ok ? ok({ name, pattern: pattern.value }) : pattern;
}

function parseTokenSource(text: string): Parsed<TokenSource> {
  const colon = text.indexOf(":");
  const source = text.slice(0, Math.max(0, colon));
  const name = text.slice(colon + 1);
  const isKnown = source === "contact" || source === "header";
  if (isKnown && TOKEN.test(name)) return ok({ source, name: name.toLowerCase() });
  return bad(`${quoted(text)} does not say where the token is`, "write contact:PARAMETER or header:NAME");
}

function parseMethod(text: string): Parsed<string> {
  const method = text.toUpperCase();
  if (!TOKEN.test(text)) return bad(`${quoted(text)} is not a SIP method`);
  if (IN_DIALOG_METHODS.includes(method)) {
    return bad(`${quoted(text)} cannot be held`, "it belongs to a call that is up");
  }
  return ok(method);
}

const IN_DIALOG_METHODS = ["ACK", "BYE", "CANCEL", "PRACK", "UPDATE", "REGISTER"];
