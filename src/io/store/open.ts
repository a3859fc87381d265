/** Opens a database file the way the store needs it: rights, pragmas, integrity, schema. Knows nothing of the rows. */
import { Database } from "bun:sqlite";
import { closeSync, fchmodSync, mkdirSync, openSync, statSync } from "node:fs";
import { dirname } from "node:path";
import { migrate, refusal } from "./migrations.ts";
import { damage, describeProblem, logWithoutDatabase } from "./problem.ts";

/** How to open a store. `path` and `sync` are those of the config's `store`. */
export interface StoreOptions {
  /** A file, made with its folder if it is not there, or `:memory:`. */
  path: string;
  /** `full`: a commit is on the disk when it returns. `relaxed`: power loss may cost the last seconds, `kill -9` nothing. */
  sync: "full" | "relaxed";
  /** Upper bound of the file in pages of 1 KiB; absent or 0: the disk's. */
  maxPages?: number;
}

/** A database ready to use, or the problem in words. */
export type OpenedDatabase = { db: Database; problem: "" } | { db: null; problem: string };

/** Why these values: the measurements are in this folder's README. */
const PRAGMAS = [
  "PRAGMA page_size = 1024",
  "PRAGMA journal_mode = WAL",
  "PRAGMA wal_autocheckpoint = 4000",
  "PRAGMA journal_size_limit = 8388608",
  "PRAGMA cache_size = -4000",
  "PRAGMA temp_store = MEMORY",
];

/** Never throws: a file that cannot be used gives a problem that names it and says what to do (S-02). */
export function openDatabase(options: StoreOptions): OpenedDatabase {
  const { path } = options;
  let db: Database | null = null;
  let problem = "";
  try {
    if (path !== ":memory:") {
      problem = strayLog(path);
      if (problem !== "") return { db: null, problem };
      makePrivateFile(path);
    }
    db = new Database(path, { create: true, readwrite: true });
    // A predecessor may still be closing its database when the service manager starts us.
    db.run("PRAGMA busy_timeout = 1000");
    // No second latefork on one file, and no -shm file, which some file systems cannot share.
    db.run("PRAGMA locking_mode = EXCLUSIVE");
    // Before the first pragma that writes: a database that is not ours stays as it is.
    problem = refusal(db, path) || prepare(db, options);
    if (problem === "") return { db, problem };
  } catch (error) {
    problem = describeProblem("open", path, error);
  }
  db?.close();
  return { db: null, problem };
}

/** A database begins with so many bytes of header; a log with a header and no row has 32. */
const HEADER_BYTES = 100;
const LOG_HEADER_BYTES = 32;

/**
 * The problem in words if a log lies beside a file that is empty, cut off in its first bytes, or missing; else empty. SQLite
 * takes such a file for a new database and throws the log away, with everything that was not folded into the file yet.
 */
export function strayLog(path: string): string {
  const logBytes = sizeOf(`${path}-wal`) ?? 0;
  const bytes = sizeOf(path);
  if (logBytes <= LOG_HEADER_BYTES || (bytes !== null && bytes >= HEADER_BYTES)) return "";
  return logWithoutDatabase(path, bytes, logBytes);
}

/** Bytes of a file; null: there is none. */
function sizeOf(path: string): number | null {
  return statSync(path, { throwIfNoEntry: false })?.size ?? null;
}

function prepare(db: Database, options: StoreOptions): string {
  for (const pragma of PRAGMAS) db.run(pragma);
  db.run(`PRAGMA synchronous = ${options.sync === "full" ? "FULL" : "NORMAL"}`);
  if (options.maxPages) db.run(`PRAGMA max_page_count = ${options.maxPages}`);
  return unsound(db, options.path) || migrate(db, options.path);
}

/**
 * The problem in words if the file is damaged, empty if it is sound. 1–2 µs a contact, so it can be afforded at every
 * start: a damaged page is found before it is written to.
 */
export function unsound(db: Database, path: string): string {
  const check = db.prepare<{ quick_check: string }, []>("PRAGMA quick_check(1)");
  try {
    return check.get()?.quick_check === "ok" ? "" : `Cannot open ${path}: ${damage(path)}`;
  } finally {
    check.finalize();
  }
}

/** Tokens and secrets are inside: only the owner may read it. SQLite gives the -wal file the same mode. */
function makePrivateFile(path: string): void {
  mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
  const fd = openSync(path, "a", 0o600);
  try {
    fchmodSync(fd, 0o600);
  } finally {
    closeSync(fd);
  }
}
