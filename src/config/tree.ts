/**
 * The tables of the schema as a tree: what stands below what. Built once; walked by load, defaults, example, reload
 * and masked. Must not know values.
 */
import { type KeyRow, KEYS, type SectionRow, SECTIONS } from "./schema.ts";

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
        child = draft(name, node.path === "" ? name : `${node.path}.${name}`);
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
