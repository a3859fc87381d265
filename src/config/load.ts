/**
 * YAML text → config, or every problem at once with its place (O-02). Walks the file along the table of keys. Must not open
 * files (files.ts) and holds no rule about two keys (rules.ts).
 */
import { isAbsolute, resolve } from "node:path";
import { defaultOf, defaultSection } from "./defaults.ts";
import { type Document, type Entry, readDocument, type Value } from "./document.ts";
import { listen } from "./kinds.ts";
import { nearest } from "./nearest.ts";
import { didYouMean, quoted } from "./parsed.ts";
import { hasErrors, type Place, type Problem } from "./problem.ts";
import { checkRules, type FileView } from "./rules.ts";
import type { Config, ListenEntry } from "./schema.ts";
import { itemOf, join, type KeyRow, KEYS, ROOT, type TreeNode } from "./tree.ts";
import { unavailableFor } from "./unavailable.ts";

export interface LoadOptions {
  /** The config file's folder, where relative file names begin. Without it they stay as written. */
  folder?: string;
}

export interface Loaded {
  /** null if there is any error; warnings leave it usable. */
  config: Config | null;
  /** In the order of the file. */
  problems: Problem[];
  /** Where the value of a key stands, or the nearest section that is in the file, or the start. */
  placeOf(path: string): Place;
}

const MAX_PROBLEMS = 100;

/** Never throws, whatever the text is. */
export function loadConfig(text: string, options: LoadOptions = {}): Loaded {
  const document = readDocument(text);
  const walk = new Walk(document, options.folder);
  const config = walk.section(ROOT, document.root, "", TOP) as Config;
  const isWhole = document.soundBeforeLine === Infinity;
  const found = walk.problems.filter((problem) => problem.line < document.soundBeforeLine);
  const rules = isWhole ? checkRules(config, walk) : [];
  const problems = [...document.problems, ...found, ...rules].sort((a, b) => a.line - b.line || a.column - b.column);
  const isUsable = isWhole && !hasErrors(problems);
  return { config: isUsable ? config : null, problems: bounded(problems), placeOf: walk.placeOf.bind(walk) };
}

const TOP: Place = { line: 1, column: 1, length: 0 };

function bounded(problems: Problem[]): Problem[] {
  if (problems.length <= MAX_PROBLEMS) return problems;
  const shown = problems.slice(0, MAX_PROBLEMS);
  const last = problems[MAX_PROBLEMS]!;
  const message = `${problems.length - MAX_PROBLEMS} further problems are not shown`;
  // An error beyond the bound must not turn into a mere warning.
  return [...shown, { ...last, path: "", message, hint: "", severity: hasErrors(problems) ? "error" : "warning" }];
}

class Walk implements FileView {
  readonly problems: Problem[] = [];
  private document: Document;
  private folder: string | undefined;
  private places = new Map<string, Place>();
  private unsound = new Set<string>();

  constructor(document: Document, folder: string | undefined) {
    this.document = document;
    this.folder = folder;
  }

  /** False if the key, or anything below it, had an error: rules about it would only repeat it. */
  isSound(path: string): boolean {
    if (this.unsound.has(path) || this.unsound.has("")) return false;
    for (const unsound of this.unsound) {
      if (unsound.startsWith(`${path}.`) || unsound.startsWith(`${path}[`)) return false;
    }
    return true;
  }

  isGiven(path: string): boolean {
    return this.places.has(path);
  }

  placeOf(path: string): Place {
    for (let at = path; at !== ""; at = at.slice(0, Math.max(0, at.lastIndexOf("."), at.lastIndexOf("[")))) {
      const place = this.places.get(at);
      if (place !== undefined) return place;
    }
    return TOP;
  }

  /** @param keyPlace where the section's name stands, for what is missing in it */
  section(node: TreeNode, value: Value, path: string, keyPlace: Place): unknown {
    if (value.kind === "broken") return this.fallback(node, path);
    if (node.section?.shape === "list") return this.sectionList(node, value, path);
    if (value.kind !== "mapping" && value.kind !== "nothing") {
      const what = path === ""
        ? "the file must be a mapping of keys"
        : `expected a mapping of keys, found ${named(value)}`;
      this.error(value.place, path, what, "");
      return this.fallback(node, path);
    }
    const entries = this.withoutDuplicates(value.kind === "mapping" ? value.entries : [], path);
    return node.section?.shape === "map" ? this.map(node, entries, path) : this.keys(node, entries, path, keyPlace);
  }

  private keys(node: TreeNode, entries: ReadonlyMap<string, Entry>, path: string, keyPlace: Place): unknown {
    const values = defaultSection(node) as Record<string, unknown>;
    for (const [name, entry] of entries) {
      const child = node.children.get(name);
      if (child === undefined) {
        this.error(
          entry.keyPlace,
          join(path, name),
          "unknown key",
          this.problems.length < MAX_PROBLEMS ? suggestion(node, name) : "",
        );
      } else {
        values[name] = this.child(child, entry, join(path, name));
      }
    }
    for (const child of node.children.values()) {
      if (entries.has(child.name) || child.key?.isRequired !== true || child.key.default.length > 0) continue;
      const hint = child.key.example === undefined ? "" : `for instance ${child.name}: ${child.key.example}`;
      this.error(keyPlace, join(path, child.name), "is missing", hint);
    }
    return values;
  }

  private map(node: TreeNode, entries: ReadonlyMap<string, Entry>, path: string): unknown {
    const values = defaultSection(node) as Record<string, unknown>;
    const isWebhook = node.path === "push.webhook";
    const isProvider = isWebhook || node.path === "push.http";
    const given = new Set<string>();
    for (const [written, entry] of entries) {
      // pn-provider is compared in lower case.
      const name = isProvider ? written.toLowerCase() : written;
      if (!MAP_NAME.test(name) && !(isWebhook && name === "*")) {
        this.error(entry.keyPlace, join(path, name), "is not a name", "use letters, digits, -, _ and .");
      } else if (given.has(name)) {
        this.error(entry.keyPlace, join(path, name), "given twice", "");
      } else {
        given.add(name);
        const value = this.child(itemOf(node), entry, join(path, name));
        if (value !== undefined) values[name] = value;
      }
    }
    return values;
  }

  private sectionList(node: TreeNode, value: Value, path: string): unknown {
    if (value.kind === "nothing") return [];
    if (value.kind !== "list") {
      this.error(value.place, path, `expected a list, found ${named(value)}`, "begin each item with a dash");
      return [];
    }
    return value.items.map((item, index) => {
      const itemPath = `${path}[${index}]`;
      this.places.set(itemPath, item.place);
      return this.section(itemOf(node), item, itemPath, item.place);
    });
  }

  private child(node: TreeNode, entry: Entry, path: string): unknown {
    this.places.set(path, entry.value.kind === "nothing" ? entry.keyPlace : entry.value.place);
    if (node.key === null) {
      // The place of a section is its name: carets below a whole block say nothing.
      this.places.set(path, entry.keyPlace);
      if (path === "tls" && entry.value.kind === "list") return this.tlsPairs(node, entry.value.items, path);
      return this.section(node, entry.value, path, entry.keyPlace);
    }
    if (node.key.kind.whole !== undefined) return this.whole(node.key, entry, path);
    if (typeof node.key.default !== "string") return this.list(node, node.key, entry, path);
    return this.scalar(node, node.key, entry, path);
  }

  /** `- { cert_file: a.pem, key_file: a.key }`, one for each name: the same as two lists. */
  private tlsPairs(node: TreeNode, items: readonly Value[], path: string): unknown {
    const all = defaultSection(node) as Config["tls"];
    items.forEach((item, index) => {
      const itemPath = `${path}[${index}]`;
      this.places.set(itemPath, item.place);
      const pair = this.section(node, item, itemPath, item.place) as Config["tls"];
      for (const name of ["cert_file", "key_file"] as const) {
        this.places.set(`${path}.${name}[${all[name].length}]`, this.placeOf(`${itemPath}.${name}`));
        if (pair[name].length === 1) all[name].push(pair[name][0]!);
        else if (this.isSound(`${itemPath}.${name}`)) {
          this.error(
            item.place,
            `${itemPath}.${name}`,
            pair[name].length === 0 ? "is missing" : "must be one file",
            "",
          );
        }
      }
      if (pair.client_ca_file !== "") all.client_ca_file = pair.client_ca_file;
    });
    return all;
  }

  private list(node: TreeNode, row: KeyRow, entry: Entry, path: string): unknown {
    const { value } = entry;
    if (value.kind === "broken") return this.fallback(node, path);
    if (value.kind === "nothing" && row.isRequired !== true) return defaultOf(node);
    const isOne = "takesOne" in row && row.takesOne === true && value.kind === "text";
    if (!isOne && value.kind !== "list") {
      const hint = value.kind === "text" ? `write it as a list: [${value.text}]` : "begin each item with a dash";
      const place = value.kind === "nothing" ? entry.keyPlace : value.place;
      this.error(
        place,
        path,
        value.kind === "nothing" ? "has no value" : `expected a list, found ${named(value)}`,
        hint,
      );
      return this.fallback(node, path);
    }
    const items = value.kind === "list" ? value.items : [value];
    if (items.length === 0 && row.isRequired === true) this.error(value.place, path, "must not be empty", "");
    const values: unknown[] = [];
    items.forEach((item, index) => {
      const itemPath = value.kind === "list" ? `${path}[${index}]` : path;
      this.places.set(itemPath, item.place);
      const parsed = row.kind === listen && item.kind === "mapping"
        ? this.listenMapping(row, item, itemPath)
        : this.value(row, item, itemPath);
      if (parsed !== undefined) values.push(parsed);
    });
    return values;
  }

  /** `{ url: "wss://0.0.0.0:8443/sip", advertise: sip.example.org:443 }` */
  private listenMapping(row: KeyRow, item: Value & { kind: "mapping" }, path: string): unknown {
    const entries = this.withoutDuplicates(item.entries, path);
    for (const [name, entry] of entries) {
      if (name === "url" || name === "advertise") continue;
      this.error(entry.keyPlace, join(path, name), "unknown key", didYouMean(name, ["url", "advertise"]));
    }
    const url = entries.get("url");
    if (url === undefined) this.error(item.place, `${path}.url`, "is missing", "for instance udp://0.0.0.0:5060");
    const entry = url === undefined ? undefined : this.value(row, url.value, `${path}.url`) as ListenEntry | undefined;
    const advertise = entries.get("advertise");
    const advertiseRow = KEYS.find((key) => key.path === "advertise")!;
    const text = advertise === undefined ? "" : this.value(advertiseRow, advertise.value, `${path}.advertise`);
    return entry === undefined || text === undefined ? undefined : { ...entry, advertise: text };
  }

  /** A structure of its own; undefined after its problems were noted. */
  private whole({ kind }: KeyRow, { value, keyPlace }: Entry, path: string): unknown {
    // A caret below a whole block says nothing.
    this.places.set(path, keyPlace);
    const read = kind.whole!(value, {
      absolute: (file) => this.absolute(file),
      stands: (place, below) => this.places.set([path, ...below].join("."), place),
      partOf: (part, at, length) => this.document.partOf(part, at, length),
      error: (place, below, message, hint) => {
        const isWhole = place === value.place && value.kind === "mapping";
        this.error(isWhole ? keyPlace : place, [path, ...below].join("."), message, hint);
      },
    });
    if (read === undefined) this.unsound.add(path);
    return read;
  }

  private scalar(node: TreeNode, row: KeyRow, entry: Entry, path: string): unknown {
    const { value } = entry;
    if (value.kind === "nothing") {
      if (row.default === "" && row.isRequired !== true) return defaultOf(node);
      const hint = row.default === "" ? "" : `remove the key for the default, ${String(row.default)}`;
      this.error(entry.keyPlace, path, "has no value", hint);
      return this.fallback(node, path);
    }
    const parsed = this.value(row, value, path);
    return parsed === undefined ? this.fallback(node, path) : parsed;
  }

  /** The value, or undefined after its problem was noted. */
  private value(row: KeyRow, value: Value, path: string): unknown {
    if (value.kind === "broken") {
      this.unsound.add(path);
      return undefined;
    }
    if (value.kind !== "text") {
      return this.error(value.place, path, `expected ${row.kind.expected}, found ${named(value)}`, "");
    }
    if (value.isPlain && (value.text === "null" || value.text === "~") && row.kind.choices.length === 0) {
      return this.error(value.place, path, "there is no null here", "remove the key for its default");
    }
    const parsed = row.kind.read(value.text, row);
    if (!parsed.ok) {
      const place = parsed.at === undefined
        ? value.place
        : this.document.partOf(value, parsed.at, parsed.length ?? value.text.length - parsed.at);
      return this.error(place, path, parsed.message, parsed.hint);
    }
    if (parsed.warning !== undefined) this.problem("warning", value.place, path, parsed.warning, "");
    const unavailable = unavailableFor(row.path);
    if (unavailable !== undefined) {
      const isMeant = unavailable.when === undefined
        ? value.text !== row.default
        : unavailable.when(parsed.value as never);
      if (isMeant) {
        return this.error(value.place, path, `${unavailable.what} not available in this version`, unavailable.instead);
      }
    }
    return row.kind.file !== undefined ? this.absolute(parsed.value as string) : parsed.value;
  }

  private absolute(file: string): string {
    if (this.folder === undefined || file === "" || file === ":memory:" || isAbsolute(file)) return file;
    return resolve(this.folder, file);
  }

  private withoutDuplicates(entries: readonly Entry[], path: string): Map<string, Entry> {
    const byName = new Map<string, Entry>();
    for (const entry of entries) {
      const first = byName.get(entry.key);
      if (first === undefined) byName.set(entry.key, entry);
      else {
        const message = `given twice, first on line ${first.keyPlace.line}`;
        this.error(entry.keyPlace, join(path, entry.key), message, "remove one of them");
      }
    }
    return byName;
  }

  private fallback(node: TreeNode, path: string): unknown {
    this.unsound.add(path);
    return node.key === null ? defaultSection(node) : defaultOf(node);
  }

  private error(place: Place, path: string, message: string, hint: string): undefined {
    this.unsound.add(path);
    this.problem("error", place, path, message, hint);
  }

  private problem(severity: Problem["severity"], place: Place, path: string, message: string, hint: string): void {
    const { line, column, length } = place;
    this.problems.push({ severity, line, column, length, path: shownPath(path), message, hint });
  }
}

const MAP_NAME = /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/;

function named(value: Value): string {
  if (value.kind === "list") return "a list";
  if (value.kind === "mapping") return "a mapping";
  return value.kind === "nothing" ? "nothing" : quoted(value.kind === "text" ? value.text : "");
}

/** A path from the file may be any text: in messages it is bounded and printable. */
function shownPath(path: string): string {
  return quoted(path, 160).slice(1, -1);
}

/** A key of this section that is spelled alike, or the section where this very key lives. */
function suggestion(node: TreeNode, name: string): string {
  const near = nearest(name, [...node.children.keys()]);
  if (near !== null) return `did you mean "${near}"?`;
  const elsewhere = KEYS.find((row) =>
    row.path.endsWith(`.${name}`) && !row.path.includes("*") && !row.path.includes("[")
  );
  return elsewhere === undefined ? "" : `did you mean "${elsewhere.path}"?`;
}
