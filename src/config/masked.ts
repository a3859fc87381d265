/**
 * A config as the file would say it, with all defaults and without secrets: for `/v1/config` and `config show`.
 * Secrets stand in files, which are named and not read. Passwords and query strings of URLs are cut.
 */
import { stringify } from "yaml";
import type { Config } from "./schema.ts";
import { itemOf, ROOT, type TreeNode } from "./tree.ts";

/** Plain JSON: same keys as the file, durations and sizes with their units. */
export function masked(config: Config): Record<string, unknown> {
  return shown(ROOT, config) as Record<string, unknown>;
}

/** The same as YAML that loads again. `pbx` is left out when absent. */
export function configYaml(config: Config): string {
  const { pbx, ...rest } = masked(config);
  return stringify(pbx === null ? rest : { ...rest, pbx }, { lineWidth: 120 });
}

function shown(node: TreeNode, value: unknown): unknown {
  if (node.key !== null) {
    const { kind } = node.key;
    return Array.isArray(value) ? value.map((item) => kind.show(item)) : kind.show(value);
  }
  if (value === null) return null;
  if (node.section?.shape === "list") return (value as unknown[]).map((item) => shown(itemOf(node), item));
  const fields: Record<string, unknown> = {};
  for (const [name, child] of Object.entries(value as object)) {
    const below = node.section?.shape === "map" ? itemOf(node) : node.children.get(name);
    // A rule that has no push section has none in the file either.
    if (below !== undefined && !(child === null && node.name === "[]")) fields[name] = shown(below, child);
  }
  return fields;
}
