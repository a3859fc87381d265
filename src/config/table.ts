/**
 * Owns what the table of keys is made of: kinds of values, keys, sections. The type of a config follows from the table
 * (`ConfigOf`). Must not know any key.
 */
import type { Value } from "./document.ts";
import type { Parsed } from "./parsed.ts";
import type { Place } from "./problem.ts";

/** How one value is read and shown. `T` is the type of the value in the config. */
export interface Kind<T> {
  /** `duration`, `url`, ... */
  readonly name: string;
  /** What may stand there, for messages: "a duration". */
  readonly expected: string;
  /** Of choices: the words; empty otherwise. */
  readonly choices: readonly string[];
  /** Of files: `secret` must not be readable by everyone, `database` is created by us. */
  readonly file?: "plain" | "secret" | "database";
  /** @param key for its bounds */
  read(text: string, key: KeyLimits): Parsed<T>;
  /** As the file would say it, without secrets. */
  show(value: T): unknown;
  /** Of a value that is a structure of its own: reads all of it. undefined: its problems are told. */
  whole?(value: Value, tools: WholeTools): T | undefined;
  /** Of such a value: the files that it names, secrets all, by the key below it. */
  files?(value: T): readonly (readonly [key: string, file: string])[];
}

/** What reads a structure is given. Paths are the names of keys below it. */
export interface WholeTools {
  /** A file name as one that begins at the config file's folder. */
  absolute(file: string): string;
  partOf(value: Value & { kind: "text" }, at: number, length: number): Place;
  /** Where a value below it stands: for what is found out about it later (a file that is not there). */
  stands(place: Place, path: readonly string[]): void;
  error(place: Place, path: readonly string[], message: string, hint: string): void;
}

/** What a kind may ask of the key it reads. */
export interface KeyLimits {
  /** Must be given when its section is (unless it has a default), and must not be empty. */
  readonly isRequired?: boolean;
  /** Bounds of durations (ms), sizes (bytes) and counts. */
  readonly min?: number;
  readonly max?: number;
}

/** What every key says of itself. */
interface KeyWords extends KeyLimits {
  readonly doc: string;
  readonly applies: "live" | "restart";
  /** Shown in the example file where the default says nothing. */
  readonly example?: string;
}

interface OneWords extends KeyWords {
  /** As text of the file. */
  readonly default: string;
}

interface ListWords extends KeyWords {
  readonly default: readonly string[];
  /** A single value may stand there too. */
  readonly takesOne?: boolean;
}

/** A key with one value. */
export interface OneKey<T> extends OneWords {
  readonly kind: Kind<T>;
}

/** A key with a list of values. */
export interface ListKey<T> extends ListWords {
  readonly kind: Kind<T>;
}

export type Key = OneKey<unknown> | ListKey<unknown>;

/**
 * `keys`: a mapping of the keys below. `optional`: the same, null when it is not given. `map`: mappings of these keys, by
 * free names. `list`: a list of such mappings.
 */
export type Shape = "keys" | "optional" | "map" | "list";

/** A section: keys, or further sections, under one name. */
export interface Section<K extends Table = Table, S extends Shape = Shape> extends SectionWords {
  readonly doc: string;
  readonly shape: S;
  readonly keys: K;
}

/** Values of one kind by free names. */
export interface NamedValues<T> {
  readonly doc: string;
  readonly example: readonly string[];
  /** What each of them is. */
  readonly item: OneKey<T>;
}

interface SectionWords {
  /** Names a map holds even if they are not given. */
  readonly names?: readonly string[];
  /** Lines shown in the example file, indented below the section. */
  readonly example?: readonly string[];
}

/** Keys and sections by name, in the order of the file. */
export interface Table {
  readonly [name: string]: Key | Section | NamedValues<unknown>;
}

/** The type of a config with these keys. */
export type ConfigOf<K extends Table> = { -readonly [N in keyof K]: ValueOf<K[N]> };

type ValueOf<N> = N extends NamedValues<infer T> ? Record<string, T>
  : N extends Section<infer K, infer S> ? SectionValue<ConfigOf<K>, S>
  : N extends OneKey<infer T> ? T
  : N extends ListKey<infer T> ? T[]
  : never;

type SectionValue<V, S extends Shape> = S extends "keys" ? V
  : S extends "optional" ? V | null
  : S extends "map" ? Record<string, V>
  : V[];

/** A key with one value. */
export function key<T>(kind: Kind<T>, words: OneWords): OneKey<T> {
  return { kind, ...words };
}

/** A key with a list of values. */
export function list<T>(kind: Kind<T>, words: ListWords): ListKey<T> {
  return { kind, ...words };
}

export function section<K extends Table>(doc: string, keys: K): Section<K, "keys"> {
  return { doc, shape: "keys", keys };
}

/** A section that is null when it is not given. */
export function optional<K extends Table>(doc: string, keys: K): Section<K, "optional"> {
  return { doc, shape: "optional", keys };
}

/** A mapping of free names, each with these keys. */
export function mapOf<K extends Table>(doc: string, words: SectionWords, keys: K): Section<K, "map"> {
  return { doc, shape: "map", ...words, keys };
}

/** A list of mappings with these keys. */
export function listOf<K extends Table>(doc: string, words: SectionWords, keys: K): Section<K, "list"> {
  return { doc, shape: "list", ...words, keys };
}

/** Values of one kind by free names: structures that the table does not describe. */
export function namedValues<T>(doc: string, example: readonly string[], item: OneKey<T>): NamedValues<T> {
  return { doc, example, item };
}
