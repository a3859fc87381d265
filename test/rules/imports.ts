/** The table of who may import whom, and the check that source text keeps to it. Knows files by path and text only. */
import { dirname, join } from "node:path/posix";
import { isPure } from "./purity.ts";
import { importsOf } from "./source_text.ts";

/** Source files of `src/`: path from there (`sip/port.ts`) → text. */
export type Sources = ReadonlyMap<string, string>;

/** The one file outside src/ that the product may import. */
const versionFile = "../package.json";

/** Folders and files of src/ that decide and do nothing else: no clock, timer, randomness, async or runtime in them. */
export const pureRooms = [
  "sip",
  "transaction",
  "proxy",
  "usrloc",
  "registrar",
  "silo",
  "htable",
  "guard",
  "core.ts",
  "core_settings.ts",
];

const pureFolders = pureRooms.filter((room) => !room.endsWith(".ts"));

/** `(types)` after a room: by `import type` only. `push (pure)`: those files of push/ that are pure, and import only such. */
const table: Record<string, string[]> = {
  sip: [],
  htable: [],
  guard: ["sip"],
  transaction: ["sip"],
  usrloc: ["sip"],
  proxy: ["sip", "transaction", "usrloc (types)"],
  registrar: ["sip", "transaction", "usrloc", "push (pure)"],
  silo: ["sip", "transaction", "proxy", "usrloc"],
  push: ["sip", "usrloc", "htable (types)", "config (types)", "observe"],
  transport: ["sip", "usrloc", "htable (types)", "config (types)", "observe"],
  store: ["sip", "usrloc", "htable (types)", "config (types)", "observe"],
  config: ["sip"],
  observe: ["sip"],
  control: [...pureFolders, "push (pure)", "config", "observe", versionFile],
  "core.ts": [...pureFolders, "core_settings.ts", "push (pure)", "config (types)"],
  "core_settings.ts": [...pureFolders, "config (types)"],
  "appliance.ts": [
    ...pureRooms,
    "appliance",
    "push",
    "transport",
    "store",
    "control",
    "config",
    "observe",
    versionFile,
  ],
  // The appliance's own pieces: turn, port, control backend.
  appliance: [...pureRooms, "appliance.ts", "push", "transport", "store", "control", "config", "observe", versionFile],
  demo: ["appliance.ts", "sip", "config", "observe"],
  cli: ["config", "observe", versionFile],
  "cli/serve.ts": ["config", "observe", "appliance.ts", versionFile],
  "cli/demo.ts": ["config", "observe", "appliance.ts", "demo", versionFile],
  "cli/probe.ts": ["appliance"],
  "main.ts": ["cli"],
};

/** What the table names a file by: its folder, or itself if it stands beside the folders. */
export function roomOf(path: string): string {
  return path.split("/")[0];
}

/** Whether a file of push/ belongs to its pure part: pure by its text, and all it imports of push/ is too. */
function isPurePush(path: string, sources: Sources, seen = new Set<string>()): boolean {
  const source = sources.get(path);
  if (source === undefined || !isPure(source)) return false;
  seen.add(path);
  return importsOf(source)
    .filter(({ specifier }) => specifier.startsWith("."))
    .map(({ specifier }) => join(dirname(path), specifier))
    .every((to) => {
      if (roomOf(to) !== "push") return ["sip", "usrloc", "config"].includes(roomOf(to));
      return seen.has(to) || isPurePush(to, sources, seen);
    });
}

/**
 * Breaches of the table and of the form of imports, as `path:line: what`.
 * @param dependencies packages that the product may import; `bun:` and `node:` modules are judged by the purity rule
 */
export function importBreaches(sources: Sources, dependencies: readonly string[]): string[] {
  const breaches: string[] = [];
  for (const [path, source] of sources) {
    const allowed = table[path] ?? table[roomOf(path)];
    if (allowed === undefined) {
      breaches.push(`${path}:1: "${roomOf(path)}" has no row in the table of imports`);
      continue;
    }
    for (const { specifier, isTypeOnly, line } of importsOf(source)) {
      const breach = judge(path, specifier, isTypeOnly, allowed);
      if (breach !== undefined) breaches.push(`${path}:${line}: ${breach}`);
    }
  }
  return breaches;

  function judge(path: string, specifier: string, isTypeOnly: boolean, allowed: string[]): string | undefined {
    if (/^(node|bun):/.test(specifier) || specifier === "bun") return undefined;
    if (!specifier.startsWith(".")) {
      const name = specifier.split("/").slice(0, specifier.startsWith("@") ? 2 : 1).join("/");
      return dependencies.includes(name)
        ? undefined
        : `imports "${specifier}", which is not a dependency of the product`;
    }
    const to = join(dirname(path), specifier);
    if (to.startsWith("..") && to !== versionFile) return `imports "${specifier}" from outside src/`;
    if (!/\.\w+$/.test(specifier)) return `imports "${specifier}" without its ending`;
    const room = to === versionFile ? to : roomOf(to);
    if (room === roomOf(path) || allowed.includes(room)) return undefined;
    if (allowed.includes(`${room} (types)`)) {
      return isTypeOnly ? undefined : `imports "${specifier}": of ${room} only types are allowed here`;
    }
    if (allowed.includes(`${room} (pure)`)) {
      return isPurePush(to, sources) ? undefined : `imports "${specifier}", which is not in the pure part of ${room}`;
    }
    return `imports "${specifier}": ${roomOf(path)} may not import ${room}`;
  }
}
