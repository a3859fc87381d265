/**
 * The tables of the schema as a tree: what stands below what. Built once; walked by load, defaults, example, reload
 * and masked. Must not know values.
 */
import { type Config, type KeyRow, KEYS, type SectionRow, SECTIONS } from "./schema.ts";

/** A key or a section. `children` is empty for keys; maps and lists have the one child `*` or `[]`. */
export interface TreeNode {
  readonly name: string;
  /** As in the tables. */
  readonly path: string;
  readonly key: KeyRow | null;
  readonly section: SectionRow | null;
  readonly children: ReadonlyMap<string, TreeNode>;
}

interface Draft extends TreeNode {
  key: KeyRow | null;
  children: Map<string, Draft>;
}

function build(): TreeNode {
  const root = draft("", "");
  for (const row of KEYS) {
    let node = root;
    for (const name of row.path.split(".")) {
      let child = node.children.get(name);
      if (child === undefined) {
        child = draft(name, join(node.path, name));
        node.children.set(name, child);
      }
      node = child;
    }
    node.key = row;
  }
  return root;
}

function draft(name: string, path: string): Draft {
  const section = SECTIONS.find((row) => row.path === path) ?? null;
  return { name, path, key: null, section, children: new Map() };
}

/** The top of the file. */
export const ROOT: TreeNode = build();

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
      const below = node.section?.kind === "map" ? itemOf(node) : node.children.get(name);
      if (below !== undefined) collect(below, child, join(path, name), found);
    }
  }
}

/** `wake` and `window` → `wake.window` */
export function join(path: string, name: string): string {
  return path === "" ? name : `${path}.${name}`;
}
