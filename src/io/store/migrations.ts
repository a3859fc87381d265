/**
 * The schema of the database and the steps that lead to it (S-02). A step is never changed once released: what comes
 * later is a new step at the end. `PRAGMA user_version` counts the steps a file has taken.
 */
import type { Database } from "bun:sqlite";
import { renameSync, rmSync } from "node:fs";
import { writeCopy } from "./backup.ts";
import { describeProblem } from "./problem.ts";

/** `PRAGMA application_id` of our files: "LTFK". */
export const APPLICATION_ID = 0x4c54464b;

/**
 * Step N leads from version N to N+1. Every column is NOT NULL with a default, so INSERT OR REPLACE heals a missing value
 * and one bad row cannot block the commits of all others. No secondary index: the only reader scans at start.
 */
export const STEPS: readonly string[] = [
  `CREATE TABLE meta (
    key TEXT NOT NULL PRIMARY KEY,
    value TEXT NOT NULL DEFAULT ''
  ) WITHOUT ROWID;
  CREATE TABLE aor (
    row INTEGER PRIMARY KEY,
    key TEXT NOT NULL DEFAULT '',
    user TEXT NOT NULL DEFAULT '',
    domain TEXT NOT NULL DEFAULT '',
    id TEXT NOT NULL DEFAULT '',
    upstream_state TEXT NOT NULL DEFAULT 'none',
    upstream_expires_at INTEGER NOT NULL DEFAULT 0,
    upstream_call_id TEXT NOT NULL DEFAULT '',
    upstream_cseq INTEGER NOT NULL DEFAULT 0
  );
  CREATE TABLE contact (
    row INTEGER PRIMARY KEY,
    id TEXT NOT NULL DEFAULT '',
    aor_key TEXT NOT NULL DEFAULT '',
    uri TEXT NOT NULL DEFAULT '',
    params TEXT NOT NULL DEFAULT '',
    instance TEXT NOT NULL DEFAULT '',
    reg_id INTEGER NOT NULL DEFAULT 0,
    q INTEGER NOT NULL DEFAULT 1000,
    path TEXT NOT NULL DEFAULT '',
    user_agent TEXT NOT NULL DEFAULT '',
    kind TEXT NOT NULL DEFAULT 'desk',
    pn_provider TEXT NOT NULL DEFAULT '',
    pn_param TEXT NOT NULL DEFAULT '',
    pn_prid TEXT NOT NULL DEFAULT '',
    pn_token_state TEXT NOT NULL DEFAULT 'unknown',
    flow_key TEXT NOT NULL DEFAULT ''
  );
  CREATE TABLE binding (
    seq INTEGER PRIMARY KEY,
    contact_row INTEGER NOT NULL DEFAULT 0,
    expires_at INTEGER NOT NULL DEFAULT 0,
    registered_at INTEGER NOT NULL DEFAULT 0,
    pn_registered_at INTEGER NOT NULL DEFAULT 0,
    cseq INTEGER NOT NULL DEFAULT 0,
    call_id TEXT NOT NULL DEFAULT ''
  );
  CREATE TABLE htable (
    name TEXT NOT NULL,
    key TEXT NOT NULL,
    value TEXT NOT NULL DEFAULT '',
    expires_at INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (name, key)
  ) WITHOUT ROWID;`,
  // Keys of Web Push subscriptions; empty: none.
  `ALTER TABLE contact ADD COLUMN pn_p256dh TEXT NOT NULL DEFAULT '';
  ALTER TABLE contact ADD COLUMN pn_auth TEXT NOT NULL DEFAULT '';`,
  // 1: the token was set by hand, and no REGISTER takes it away.
  `ALTER TABLE contact ADD COLUMN pn_by_hand INTEGER NOT NULL DEFAULT 0;`,
  // What the PBX holds for this one device: until when, and 1 if the PBX ended it by itself.
  `ALTER TABLE binding ADD COLUMN upstream_ends_at INTEGER NOT NULL DEFAULT 0;
  ALTER TABLE binding ADD COLUMN upstream_dropped INTEGER NOT NULL DEFAULT 0;`,
  // Header lines of the PBX's last 2xx, for the answers to absorbed REGISTERs.
  `ALTER TABLE aor ADD COLUMN upstream_lines TEXT NOT NULL DEFAULT '';`,
  // Until when REGISTERs are answered in the PBX's place; 0: as long as the PBX granted.
  `ALTER TABLE aor ADD COLUMN upstream_proven INTEGER NOT NULL DEFAULT 0;`,
];

/** Why this database is not ours, in words; empty if it is ours or new. Reads only. */
export function refusal(db: Database, path: string, steps: readonly string[] = STEPS): string {
  const version = number(db, "PRAGMA user_version");
  if (!isNew(db) && number(db, "PRAGMA application_id") !== APPLICATION_ID) {
    return `Cannot open ${path}: it is a database of another program`;
  }
  if (version > steps.length) {
    return `Cannot open ${path}: it was written by a newer latefork (schema ${version}, this one knows ${steps.length}); ` +
      `run the newer one, or move the file away to start empty`;
  }
  return "";
}

/**
 * Brings a database that `refusal` let pass to the newest version, each step in its own transaction, after a copy
 * `<path>.before-v<N>` of anything that holds data.
 * @returns the problem in words, empty if all is well; the database is then at the last version that worked
 */
export function migrate(db: Database, path: string, steps: readonly string[] = STEPS): string {
  const version = number(db, "PRAGMA user_version");
  if (version === steps.length) return "";
  try {
    if (!isNew(db) && path !== ":memory:") copyBefore(db, `${path}.before-v${steps.length}`);
    for (let step = version; step < steps.length; step++) take(db, steps[step]!, step + 1);
    return "";
  } catch (error) {
    return describeProblem("migrate", path, error);
  }
}

function take(db: Database, sql: string, version: number): void {
  db.run("BEGIN IMMEDIATE");
  try {
    db.run(sql);
    db.run(`PRAGMA user_version = ${version}`);
    db.run(`PRAGMA application_id = ${APPLICATION_ID}`);
    db.run("COMMIT");
  } catch (error) {
    if (db.inTransaction) db.run("ROLLBACK");
    throw error;
  }
}

/** An earlier copy of that name comes from a migration that failed; it is replaced only once the new one is whole. */
function copyBefore(db: Database, path: string): void {
  const unfinished = `${path}.tmp`;
  rmSync(unfinished, { force: true });
  writeCopy(db, unfinished);
  renameSync(unfinished, path);
}

/** True if nothing was ever written to it. */
export function isNew(db: Database): boolean {
  return number(db, "SELECT count(*) FROM sqlite_schema") === 0;
}

function number(db: Database, sql: string): number {
  const statement = db.prepare<Record<string, number>, []>(sql);
  try {
    return Object.values(statement.get() ?? {})[0] ?? 0;
  } finally {
    statement.finalize();
  }
}
