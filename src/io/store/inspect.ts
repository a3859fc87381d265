/**
 * Looks into a database without changing it (O-02): nothing is made, migrated or checkpointed, and a running appliance does
 * not wait for it. Knows nothing of usrloc.
 */
import { constants, Database } from "bun:sqlite";
import { existsSync, unlinkSync } from "node:fs";
import { isNew, refusal } from "./migrations.ts";
import { strayLog, unsound } from "./open.ts";
import { describeProblem, isBusy } from "./problem.ts";

/** What stands in it; nothing if there is a problem. */
export interface Inspected {
  /** Why it cannot be used, in words; empty if it can. */
  readonly problem: string;
  /** Another process has it open; the caller knows whether it may. */
  readonly isBusy: boolean;
  readonly aors: number;
  readonly contacts: number;
  /** Provider and token of the devices with a push token that is not dead; secret. */
  readonly tokens: readonly { provider: string; prid: string }[];
}

const NOTHING: Inspected = { problem: "", isBusy: false, aors: 0, contacts: 0, tokens: [] };
/** So many tokens are read; most phones share few services. */
const MAX_TOKENS = 100_000;

/** @param path of a file that exists, or whose log does. Never throws. */
export function inspectStore(path: string): Inspected {
  let db: Database | null = null;
  try {
    const stray = strayLog(path);
    if (stray !== "") return { ...NOTHING, problem: stray };
    db = openReadOnly(path);
    const problem = refusal(db, path) || unsound(db, path);
    if (problem !== "") return { ...NOTHING, problem };
    // A file that was made and never filled is a new database.
    if (isNew(db)) return NOTHING;
    const count = (table: "aor" | "contact") =>
      db!.query<{ count: number }, []>(`SELECT count(*) AS count FROM ${table}`).get()!.count;
    const tokens = db.query<{ provider: string; prid: string }, [number]>(
      "SELECT pn_provider AS provider, pn_prid AS prid FROM contact " +
        "WHERE pn_prid <> '' AND pn_token_state NOT IN ('dead', 'moved') LIMIT ?",
    ).all(MAX_TOKENS);
    return { ...NOTHING, aors: count("aor"), contacts: count("contact"), tokens };
  } catch (error) {
    return { ...NOTHING, problem: describeProblem("open", path, error), isBusy: isBusy(error) };
  } finally {
    db?.close();
  }
}

/**
 * Without a log beside it the file is not open in any process (README) and can be read as it is. With a log it is open, or
 * its appliance was killed: SQLite then reads the log too, and makes a -shm file for it, which it removes again.
 */
function openReadOnly(path: string): Database {
  if (!existsSync(`${path}-wal`)) {
    const uri = `file:${encodeURI(path).replace(/[?#]/g, encodeURIComponent)}?immutable=1`;
    return new Database(uri, constants.SQLITE_OPEN_READONLY | constants.SQLITE_OPEN_URI);
  }
  const index = `${path}-shm`;
  const wasThere = existsSync(index);
  const db = new Database(path, { readonly: true });
  try {
    // Takes the lock, and with it the right to the index.
    db.query("SELECT 1 FROM sqlite_master LIMIT 1").get();
    if (!wasThere && existsSync(index)) unlinkSync(index);
    return db;
  } catch (error) {
    db.close();
    throw error;
  }
}
