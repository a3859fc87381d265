/**
 * A sender of the YAML file → as it is used, each problem at its place (P-10). Owns the way between places and the names
 * of keys. Must not know what a sender is.
 */
import type { Value } from "../document.ts";
import type { Kind, WholeTools } from "../table.ts";
import { bad } from "../parsed.ts";
import { duration, MINUTE } from "../kinds.ts";
import { compileSender } from "./compile.ts";
import { isMap } from "./notes.ts";
import type { SenderConfig, SenderRequest, Written, WrittenMap } from "./sender.ts";

/** A mapping that describes a sender. */
export const sender: Kind<SenderConfig> = {
  name: "sender",
  expected: "a mapping that describes a push sender",
  choices: [],
  read: () => bad("is no push sender", "write { preset: NAME }, or url and what is sent"),
  show: ({ written }) => shown(written, ""),
  whole: readSender,
  files: filesOf,
};

function readSender(value: Value, tools: WholeTools): SenderConfig | undefined {
  if (value.kind !== "mapping") {
    if (value.kind !== "broken") tools.error(value.place, [], "expected { preset: NAME }, or url and what is sent", "");
    return undefined;
  }
  const values = new Map<string, Value>();
  const keys = new Map<string, Value["place"]>();
  let isBroken = false;
  const written = (below: Value, path: readonly string[]): Written => {
    values.set(JSON.stringify(path), below);
    switch (below.kind) {
      case "broken":
        isBroken = true;
        return "";
      case "nothing":
        tools.error(below.place, path, "has no value", "write null for nothing");
        isBroken = true;
        return "";
      case "list":
        return below.items.map((item, index) => written(item, [...path, String(index)]));
      case "mapping":
        return mapping(below, path);
      case "text":
        return below.isPlain ? scalar(below.text) : below.text;
    }
  };
  const mapping = (below: Value & { kind: "mapping" }, path: readonly string[]): WrittenMap => {
    const map: Record<string, Written> = Object.create(null);
    for (const { key, keyPlace, value: child } of below.entries) {
      if (Object.hasOwn(map, key)) {
        tools.error(keyPlace, [...path, key], "given twice", "remove one of them");
        isBroken = true;
      }
      keys.set(JSON.stringify([...path, key]), keyPlace);
      tools.stands(child.place, [...path, key]);
      map[key] = written(child, [...path, key]);
    }
    return map;
  };
  const own = mapping(value, []);
  if (isBroken) return undefined;
  const find = (path: readonly string[]): Value => {
    for (let length = path.length; length > 0; length--) {
      const found = values.get(JSON.stringify(path.slice(0, length)));
      if (found !== undefined) return found;
    }
    return value;
  };
  return compileSender(own, {
    file: tools.absolute,
    duration: (text, path) => {
      const parsed = duration.read(text, {});
      if (parsed.ok && parsed.value >= 1 && parsed.value <= MINUTE) return parsed.value;
      const message = parsed.ok ? "must be between 1ms and 60s" : parsed.message;
      tools.error(find(path).place, path, message, parsed.ok ? "" : parsed.hint);
      return undefined;
    },
  }, (path, message, hint, part) => {
    const found = find(path);
    const keyPlace = part === "key" ? keys.get(JSON.stringify(path)) : undefined;
    const isPart = found.kind === "text" && part !== undefined && part !== "key";
    const place = keyPlace ?? (isPart ? tools.partOf(found, part.at, part.length) : found.place);
    tools.error(place, path, message, hint);
  });
}

/** Plain `true`, `5` and `null` are what they look like; everything in quotes is text, and so is what a number would change. */
function scalar(text: string): Written {
  if (text === "null" || text === "~") return null;
  if (text === "true" || text === "false") return text === "true";
  const number = /^-?(?:0|[1-9]\d{0,14})(?:\.\d{1,10})?$/.test(text) ? Number(text) : NaN;
  return String(number) === text ? number : text;
}

/** What stands in a query may be a secret under any name; placeholders are none. */
function shown(written: Written, key: string): Written {
  if (Array.isArray(written)) return written.map((item) => shown(item, ""));
  if (isMap(written)) {
    const map: Record<string, Written> = Object.create(null);
    for (const [name, value] of Object.entries(written)) map[name] = shown(value, name);
    return map;
  }
  const isAddress = typeof written === "string" && (key === "url" || key === "path" || key === "ask");
  return isAddress ? written.replace(/(?<=[?&][^=&{}]*=)[^&{}]+/g, "***") : written;
}

/** The files it names, with the key that does. */
function filesOf(config: SenderConfig): [key: string, file: string][] {
  const files = new Map<string, string>();
  const requests: (SenderRequest | null)[] = Object.values(config.events);
  for (const request of requests) {
    for (const [name, value] of request?.headers ?? []) if ("file" in value) files.set(`headers.${name}`, value.file);
  }
  if (config.token_file !== "") files.set("token_file", config.token_file);
  return [...files];
}
