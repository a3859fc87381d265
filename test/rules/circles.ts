/** Circles of files that import each other: found by their imports, shown as the way round. Knows path and text only. */
import { dirname, join } from "node:path/posix";
import type { Sources } from "./imports.ts";
import { importsOf } from "./source_text.ts";

/**
 * The circles of a tree, each once, as `a.ts → b.ts → a.ts`: a shortest way round for each group of files that reach one
 * another. `import type` counts: who needs another's shape cannot be read or changed without it.
 */
export function circlesOf(sources: Sources): string[] {
  const edges = new Map<string, string[]>();
  for (const [path, source] of sources) {
    const to = importsOf(source).map(({ specifier }) => join(dirname(path), specifier));
    edges.set(path, [...new Set(to)].filter((target) => sources.has(target)));
  }
  const circles: string[] = [];
  const seen = new Set<string>();
  for (const path of [...edges.keys()].toSorted()) {
    if (seen.has(path)) continue;
    const way = wayRound(path, edges);
    if (way === null) continue;
    circles.push([...way, path].join(" → "));
    const reached = reachedFrom(path, edges);
    for (const other of reached) if (reachedFrom(other, edges).has(path)) seen.add(other);
  }
  return circles;
}

/** A shortest way from a file back to itself; null: there is none. */
function wayRound(start: string, edges: ReadonlyMap<string, readonly string[]>): string[] | null {
  const cameFrom = new Map<string, string>();
  const queue = [start];
  for (const at of queue) {
    for (const next of edges.get(at) ?? []) {
      if (next === start) {
        const way = [at];
        while (way[0] !== start) way.unshift(cameFrom.get(way[0]!)!);
        return way;
      }
      if (cameFrom.has(next)) continue;
      cameFrom.set(next, at);
      queue.push(next);
    }
  }
  return null;
}

function reachedFrom(start: string, edges: ReadonlyMap<string, readonly string[]>): Set<string> {
  const reached = new Set<string>();
  const queue = [start];
  for (const at of queue) {
    for (const next of edges.get(at) ?? []) {
      if (reached.has(next)) continue;
      reached.add(next);
      queue.push(next);
    }
  }
  return reached;
}
