/**
 * Owns the kinds of values: how each is read and shown. The type of a value is what its reader returns. Must not know keys.
 */
import { Cidr } from "./cidr.ts";
import {
  type ControlEntry,
  type ListenEntry,
  parseAdvertise,
  parseControl,
  parseHost,
  parseListen,
  parsePbxUri,
  parseWebUrl,
  type PbxUri,
} from "./endpoint.ts";
import { ok, type Parsed } from "./parsed.ts";
import type { KeyLimits, Kind } from "./table.ts";
import {
  formatDuration,
  formatRate,
  formatSize,
  type HeaderMatch,
  type LogOverride,
  parseBoolean,
  parseChoice,
  parseCidr,
  parseCount,
  parseDatabaseFile,
  parseDuration,
  parseFile,
  parseHeaderMatch,
  parseLogOverride,
  parseMethod,
  parsePattern,
  parseRate,
  parseSize,
  parseText,
  parseTokenSource,
  type Rate,
  type TokenSource,
} from "./values.ts";

/** For bounds of durations, in ms. */
export const SECOND = 1000;
export const MINUTE = 60 * SECOND;
export const HOUR = 60 * MINUTE;
export const DAY = 24 * HOUR;

type Read<T> = (text: string, key: KeyLimits) => Parsed<T>;

function kind<T>(name: string, expected: string, read: Read<T>, show: (value: T) => unknown): Kind<T> {
  return { name, expected, choices: [], read, show };
}

/** Values that are shown as they are. */
function plain<T>(name: string, expected: string, read: Read<T>): Kind<T> {
  return kind(name, expected, read, (value) => value);
}

/** Text that may hold a URL: passwords and query strings are not shown. */
function open(name: string, expected: string, read: Read<string>): Kind<string> {
  return kind(name, expected, read, withoutSecrets);
}

function fileKind(file: Kind<string>["file"], read: Read<string>): Kind<string> {
  return { ...plain("file", "a file name", read), file };
}

/** One of these words. */
export function choice<const W extends readonly string[]>(...words: W): Kind<W[number]> {
  const read = (text: string) => parseChoice<W[number]>(text, words);
  return { ...plain("choice", "a word", read), choices: words };
}

export const boolean = plain("boolean", "true or false", parseBoolean);
export const count = plain("count", "a number", parseCount);
/** ms */
export const duration = kind("duration", "a duration", parseDuration, formatDuration);
/** Bytes. */
export const size = kind("size", "a size", parseSize, formatSize);
export const rate = kind<Rate>("rate", "a rate", parseRate, formatRate);

export const text = open("text", "text", parseText);
/** Of http or https. */
export const url = open("url", "a URL", parseWebUrl);
/** Domain or address, lower-case. */
export const host = plain("host", "text", parseHost);
/** `host` or `host:port`, or "". */
export const advertise = plain("advertise", "text", (value) => value === "" ? ok("") : parseAdvertise(value));
export const listen = kind<ListenEntry>("listen", "a URL", parseListen, ({ url, advertise }) => {
  return advertise === "" ? url : { url, advertise };
});
export const control = kind<ControlEntry>("control", "text", parseControl, (entry) => entry.url);
export const pbxUri = kind<PbxUri>("pbx_uri", "text", parsePbxUri, ({ uri }) => uri);
export const network = kind<Cidr>("cidr", "text", parseCidr, (cidr) => cidr.text);

/** Absolute, or "" (not set). */
export const file = fileKind("plain", parseFile);
export const secretFile = fileKind("secret", parseFile);
export const databaseFile = fileKind("database", parseDatabaseFile);

/** A SIP method, upper-case. */
export const method = plain("method", "text", parseMethod);
/** A regular expression; "" = any. */
export const pattern = plain("pattern", "text", parsePattern);
/** null = none */
export const headerMatch = kind<HeaderMatch | null>("header_match", "text", parseHeaderMatch, (match) => {
  return match === null ? "" : `${match.name}: ${match.pattern}`;
});
export const tokenSource = kind<TokenSource>("token_source", "text", parseTokenSource, ({ source, name }) => {
  return `${source}:${name}`;
});
export const logOverride = kind<LogOverride>("log_override", "text", parseLogOverride, (override) => override.text);

/** `redis://:secret@host/?token=abc` → `redis://***@host/?***` */
function withoutSecrets(text: string): string {
  return text.replace(/^([A-Za-z][A-Za-z0-9+.-]*:\/\/)[^/?#]*@/, "$1***@").replace(
    /^([a-z]+:\/\/[^?#]*\?).+$/i,
    "$1***",
  );
}
