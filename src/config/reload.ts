/** What differs between two configs, and whether it can be applied without a restart (O-03). Must not apply anything. */
import type { Config } from "./schema.ts";
import { keyValues } from "./tree.ts";

export interface ConfigDiff {
  /** Paths whose new value may be used at once. */
  applied: string[];
  /** Paths whose new value waits for a restart. */
  restart_required: string[];
}

/** Changed keys by the schema's `live` or `restart`. Lists count as one key; `pbx` coming or going needs a restart. */
export function diffConfig(before: Config, after: Config): ConfigDiff {
  const diff: ConfigDiff = { applied: [], restart_required: [] };
  if ((before.pbx === null) !== (after.pbx === null)) diff.restart_required.push("pbx");
  const old = comparable(before);
  const fresh = comparable(after);
  for (const path of new Set([...old.keys(), ...fresh.keys()])) {
    if (diff.restart_required.includes("pbx") && path.startsWith("pbx.")) continue;
    const was = old.get(path);
    const is = fresh.get(path);
    if (was?.text === is?.text) continue;
    const isLive = (is ?? was)!.isLive;
    (isLive ? diff.applied : diff.restart_required).push(path);
  }
  return diff;
}

function comparable(config: Config): Map<string, { text: string; isLive: boolean }> {
  const byPath = new Map<string, { text: string; isLive: boolean }>();
  for (const { path, key, value } of keyValues(config)) {
    const bracket = path.indexOf("[");
    const shown = bracket < 0 ? path : path.slice(0, bracket);
    const sofar = byPath.get(shown)?.text ?? "";
    const text = `${sofar}${path}=${JSON.stringify(value)}\n`;
    byPath.set(shown, { text, isLive: key.applies === "live" });
  }
  return byPath;
}
