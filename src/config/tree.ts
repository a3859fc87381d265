/**
 * The table of keys as a tree, each key and section with its path. Built once; walked by load, defaults, example, reload
 * and masked. Must not know values.
 */
import { type Config, TABLE } from "./schema.ts";
import type { Key, NamedValues, Section, Table } from "./table.ts";

/** A key and where it stands. */
export type KeyRow = Key & {
  /** Dotted; `*` stands for a name of a map, `[]` for an item of a list. */
  readonly path: string;
};

/** A key or a section. `children` is empty for keys; maps and lists have the one child `*` or `[]`, which is neither. */
export interface TreeNode {
  readonly name: string;
  /** As that of a key. */
  readonly path: string;
  readonly key: KeyRow | null;
  readonly section: Section | null;
  readonly children: ReadonlyMap<string, TreeNode>;
}

/** The top of the file. */
export const ROOT: TreeNode = { name: "", path: "", key: null, section: null, children: childrenOf(TABLE, "") };

/** Every key, in the order of the file. */
export const KEYS: readonly KeyRow[] = keysBelow(ROOT);

function childrenOf(table: Table, path: string): Map<string, TreeNode> {
  return new Map(Object.entries(table).map(([name, child]) => [name, nodeOf(name, join(path, name), child)]));
}

function nodeOf(name: string, path: string, child: Key | Section | NamedValues<unknown>): TreeNode {
  if ("item" in child) {
    const { doc, example } = child;
    const item = nodeOf("*", join(path, "*"), child.item);
    return {
      name,
      path,
      key: null,
      section: { doc, example, shape: "map", keys: {} },
      children: new Map([["*", item]]),
    };
  }
  if (!("keys" in child)) return { name, path, key: { path, ...child }, section: null, children: new Map() };
  const item = child.shape === "map" ? "*" : child.shape === "list" ? "[]" : null;
  if (item === null) return { name, path, key: null, section: child, children: childrenOf(child.keys, path) };
  const itemPath = join(path, item);
  const node = { name: item, path: itemPath, key: null, section: null, children: childrenOf(child.keys, itemPath) };
  return { name, path, key: null, section: child, children: new Map([[item, node]]) };
}

function keysBelow({ key, children }: TreeNode): KeyRow[] {
  return key === null ? [...children.values()].flatMap(keysBelow) : [key];
}

/** What a list or a map is made of. */
export function itemOf(node: TreeNode): TreeNode {
  return node.children.get("*") ?? node.children.get("[]")!;
}

/** One key of a config, with its value: `path` is concrete (`push.webhook.acme.url`, `devices[0].kind`). */
export interface KeyValue {
  readonly path: string;
  readonly key: KeyRow;
  readonly value: unknown;
}

/** Every key that has a value, in the order of the table; sections that are null have none. */
export function keyValues(config: Config): KeyValue[] {
  const found: KeyValue[] = [];
  collect(ROOT, config, "", found);
  return found;
}

function collect(node: TreeNode, value: unknown, path: string, found: KeyValue[]): void {
  if (node.key !== null) {
    found.push({ path, key: node.key, value });
  } else if (Array.isArray(value)) {
    value.forEach((item, index) => collect(itemOf(node), item, `${path}[${index}]`, found));
  } else if (typeof value === "object" && value !== null) {
    for (const [name, child] of Object.entries(value)) {
      const below = node.section?.shape === "map" ? itemOf(node) : node.children.get(name);
      if (below !== undefined) collect(below, child, join(path, name), found);
    }
  }
}

/** `wake` and `window` → `wake.window` */
export function join(path: string, name: string): string {
  return path === "" ? name : `${path}.${name}`;
}
