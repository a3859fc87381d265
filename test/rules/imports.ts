/** Who may import whom, and the check that source text keeps to it. Knows files by path and text only. */
import { dirname, join } from "node:path/posix";
import { importsOf } from "./source_text.ts";

/** Source files of `src/`: path from there (`core/sip/via.ts`) → text. */
export type Sources = ReadonlyMap<string, string>;

/** The one file outside src/ that the product may import. */
const versionFile = "../package.json";

/**
 * Who may import whom. The longest key that names a file or a folder above it counts. An entry allows a file, or all of a
 * folder; with `(types)` behind it by `import type` only. A folder may import itself.
 *
 * `core/` imports nothing outside itself: no row of it names anything else, and a test says so.
 */
export const table: Readonly<Record<string, readonly string[]>> = {
  "core/clock.ts": [],
  "core/port.ts": ["core/sip"],
  "core/sip": [],
  "core/htable": [],
  "core/guard": ["core/port.ts", "core/sip"],
  "core/transaction": ["core/clock.ts", "core/port.ts", "core/sip"],
  "core/usrloc": ["core/clock.ts", "core/sip"],
  "core/rfc8599": ["core/sip", "core/usrloc"],
  "core/proxy": ["core/clock.ts", "core/port.ts", "core/sip", "core/transaction", "core/usrloc (types)"],
  "core/registrar": [
    "core/clock.ts",
    "core/port.ts",
    "core/guard/recent.ts",
    "core/sip",
    "core/transaction",
    "core/usrloc",
    "core/rfc8599",
  ],
  "core/silo": ["core/clock.ts", "core/port.ts", "core/sip", "core/transaction", "core/usrloc", "core/proxy"],
  core: ["core"],
  config: ["core"],
  observe: ["core"],
  io: [
    "core",
    "config (types)",
    "config/apns_key.ts",
    "config/service_account.ts",
    "config/vapid_keys.ts",
    "observe",
  ],
  control: ["core", "config", "observe", versionFile],
  appliance: ["core", "config", "observe", "io", "control", versionFile],
  demo: ["core", "config", "observe", "appliance"],
  cli: ["core/sip/host.ts", "config", "observe", versionFile],
  "cli/serve.ts": ["core/sip/host.ts", "config", "observe", "appliance", versionFile],
  "cli/demo.ts": ["config", "observe", "appliance", "demo", versionFile],
  "cli/appliance_probes.ts": ["appliance"],
  "main.ts": ["cli"],
};

/** The row that judges a file. */
function rowOf(path: string): string | undefined {
  for (let name = path; name !== "."; name = dirname(name)) if (name in table) return name;
  return undefined;
}

/** Whether an entry of a row, without `(types)`, covers a path. */
function covers(entry: string, path: string): boolean {
  return path === entry || path.startsWith(entry + "/");
}

/** The folder that may import itself: the one of a row, or that of a row about one file. */
function homeOf(row: string): string {
  return row.includes(".") ? dirname(row) : row;
}

/**
 * Breaches of the table and of the form of imports, as `path:line: what`.
 * @param dependencies packages that the product may import; `bun:` and `node:` modules are judged by the purity rule
 */
export function importBreaches(sources: Sources, dependencies: readonly string[]): string[] {
  const breaches: string[] = [];
  for (const [path, source] of sources) {
    const row = rowOf(path);
    if (row === undefined) {
      breaches.push(`${path}:1: no row of the table of imports covers this file`);
      continue;
    }
    for (const { specifier, isTypeOnly, line } of importsOf(source)) {
      const breach = judge(path, row, specifier, isTypeOnly);
      if (breach !== undefined) breaches.push(`${path}:${line}: ${breach}`);
    }
  }
  return breaches;

  function judge(path: string, row: string, specifier: string, isTypeOnly: boolean): string | undefined {
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
    const home = homeOf(row);
    // A row below a folder narrows it: `core/clock.ts` is not allowed all of core because it stands in it.
    if (home !== "." && (row === home || !row.startsWith("core/")) && covers(home, to)) return undefined;
    const allowed = table[row]!;
    if (allowed.some((entry) => covers(entry, to))) return undefined;
    if (allowed.some((entry) => entry.endsWith(" (types)") && covers(entry.slice(0, -" (types)".length), to))) {
      return isTypeOnly ? undefined : `imports "${specifier}": only types are allowed here`;
    }
    return `imports "${specifier}": ${row} may not import ${to}`;
  }
}
