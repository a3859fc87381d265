/** The config of an empty file, read from the table by the same readers as a file. Must not know YAML. */
import type { Config } from "./schema.ts";
import { itemOf, type KeyRow, ROOT, type TreeNode } from "./tree.ts";

/** A fresh object each time: the caller may change it. */
export function defaultConfig(): Config {
  return defaultOf(ROOT) as Config;
}

/** The value of a key or section that is not given. */
export function defaultOf(node: TreeNode): unknown {
  if (node.key !== null) return defaultValue(node.key);
  if (node.section?.shape === "optional") return null;
  return defaultSection(node);
}

/** As `defaultOf`, for a section that is given but empty. */
export function defaultSection(node: TreeNode): unknown {
  if (node.section?.shape === "list") return [];
  const isMap = node.section?.shape === "map";
  const names = isMap ? node.section?.names ?? [] : [...node.children.keys()];
  const values: Record<string, unknown> = isMap ? Object.create(null) : {};
  for (const name of names) values[name] = isMap ? defaultOf(itemOf(node)) : defaultOf(node.children.get(name)!);
  return values;
}

function defaultValue(row: KeyRow): unknown {
  if (typeof row.default !== "string") return row.default.map((text) => valueOf(row, text));
  return row.isRequired === true ? "" : valueOf(row, row.default);
}

function valueOf(row: KeyRow, text: string): unknown {
  const parsed = row.kind.read(text, row);
  if (!parsed.ok) throw new Error(`Cannot read the default ${text} of ${row.path}: ${parsed.message}`);
  return parsed.value;
}
