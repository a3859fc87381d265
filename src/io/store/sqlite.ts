/**
 * The durable copy of usrloc, htables and the installation's secrets (S-01, S-02, S-04). Owns the transaction: changes are
 * collected while the loop turn runs, and one commit writes them all. Memory stays the truth: a failing disk is reported,
 * never thrown, and its changes are kept for the next commit. Knows no clock: the owner decides when to commit and retry.
 */
import type { Database, Statement } from "bun:sqlite";
import type { HtableListener } from "../../core/htable/htable.ts";
import type { StoredHtableItem } from "../../core/htable/htables.ts";
import type { Aor, Contact } from "../../core/usrloc/contact.ts";
import type { ChangeLog, StoredAor, StoredContact, StoredRemnant } from "../../core/usrloc/stored.ts";
import { writeCopy } from "./backup.ts";
import { FileWatch } from "./file_watch.ts";
import { HtableRows } from "./htable_rows.ts";
import { openDatabase, type StoreOptions } from "./open.ts";
import { damage, describeProblem, misplaced } from "./problem.ts";
import { UsrlocRows } from "./usrloc_rows.ts";

export type { StoreOptions };

/**
 * ```
 * ok      commit fails                    → failed
 * failed  a commit succeeds               → ok
 * ok      load finds the file damaged     → failed, for good: nothing is written any more
 * ok      checkFile misses the file       → failed, until the file is back; commits go on, for a backup
 * any     close                           → closed
 * ```
 */
export type StoreState = "ok" | "failed" | "closed";

/** What a commit did. */
export interface CommitResult {
  /** Everything that was pending is on the disk (`sync: full`) or with the operating system (`relaxed`). */
  readonly ok: boolean;
  /** Rows written and deleted; 0: there was nothing to do, or it failed. */
  readonly rows: number;
  /** Empty if ok, else words for people. */
  readonly error: string;
}

/** What was stored. */
export interface LoadResult {
  aors: StoredAor[];
  contacts: StoredContact[];
  /** Of the contacts left out, those for which the PBX may hold a Contact of their own. */
  remnants: StoredRemnant[];
  htableItems: StoredHtableItem[];
  /** Contacts left out because they had expired. Their AoRs are there: they may hold an upstream binding. */
  expired: number;
  /** Empty if all is well, else words for people; the lists are then incomplete or empty. */
  problem: string;
}

/** A store, or the problem in words: the caller may go on without, or with `:memory:`. */
export type OpenedStore = { store: SqliteStore; problem: "" } | { store: null; problem: string };

const NOTHING_TO_DO: CommitResult = Object.freeze({ ok: true, rows: 0, error: "" });

/** Made by `openStore`. No method throws. */
export class SqliteStore implements ChangeLog, HtableListener {
  readonly path: string;
  /** True for `:memory:`: commits may then wait until a copy is asked for ({@link backup}). */
  readonly isVolatile: boolean;
  private currentState: StoreState = "ok";
  private latestError = "";
  private isDamaged = false;
  /** Null for a store in memory. */
  private readonly watch: FileWatch | null;
  private isMisplaced = false;
  private readonly db: Database;
  private readonly usrloc: UsrlocRows;
  private readonly htables: HtableRows;
  private readonly metaValues = new Map<string, string>();
  private readonly metaChanges = new Set<string>();
  private readonly putMeta: Statement;
  private readonly begin: Statement;
  private readonly commitStatement: Statement;
  private readonly rollback: Statement;

  /** @param db opened and migrated by `openDatabase`; throws what SQLite throws. */
  constructor(db: Database, path: string) {
    this.path = path;
    this.isVolatile = path === ":memory:";
    this.watch = this.isVolatile ? null : new FileWatch(path);
    this.db = db;
    this.usrloc = new UsrlocRows(db);
    this.htables = new HtableRows(db);
    this.putMeta = db.prepare("INSERT OR REPLACE INTO meta (key, value) VALUES (?, ?)");
    this.begin = db.prepare("BEGIN IMMEDIATE");
    this.commitStatement = db.prepare("COMMIT");
    this.rollback = db.prepare("ROLLBACK");
    const select = db.prepare<{ key: string; value: string }, []>("SELECT key, value FROM meta");
    for (const { key, value } of select.iterate()) this.metaValues.set(key, value);
    select.finalize();
  }

  get state(): StoreState {
    return this.isMisplaced && this.currentState === "ok" ? "failed" : this.currentState;
  }

  /** The last problem in words; empty while `state` is `ok`. */
  get lastError(): string {
    return this.isMisplaced && this.currentState === "ok" ? misplaced(this.path) : this.latestError;
  }

  /** Rows waiting for a commit. */
  get pending(): number {
    return this.usrloc.pending + this.htables.pending + this.metaChanges.size;
  }

  contactSaved(contact: Contact, isRefresh: boolean): void {
    this.usrloc.contactSaved(contact, isRefresh);
  }

  contactRemoved(contact: Contact): void {
    this.usrloc.contactRemoved(contact);
  }

  aorSaved(aor: Aor): void {
    this.usrloc.aorSaved(aor);
  }

  aorRemoved(aor: Aor): void {
    this.usrloc.aorRemoved(aor);
  }

  changed(table: string, key: string, value: string, expiresAtMs: number): void {
    this.htables.changed(table, key, value, expiresAtMs);
  }

  removed(table: string, key: string): void {
    this.htables.removed(table, key);
  }

  /** A value of the installation that is no row of usrloc: flow-token key, boot count. */
  meta(key: string): string | undefined {
    return this.metaValues.get(key);
  }

  /** Set at once for `meta`, durable with the next commit. */
  setMeta(key: string, value: string): void {
    if (this.metaValues.get(key) === value) return;
    this.metaValues.set(key, value);
    this.metaChanges.add(key);
  }

  /**
   * Writes everything pending in one transaction. On failure it stays pending, `state` is `failed`, and the next call tries
   * again: how soon is the caller's choice.
   */
  commit(): CommitResult {
    const rows = this.pending;
    if (this.isDamaged || this.currentState === "closed") return { ok: false, rows: 0, error: this.latestError };
    if (rows === 0) {
      this.recovered();
      return NOTHING_TO_DO;
    }
    try {
      this.begin.run();
      this.usrloc.write();
      this.htables.write();
      for (const key of this.metaChanges) this.putMeta.run(key, this.metaValues.get(key)!);
      this.commitStatement.run();
    } catch (error) {
      return this.failed(error);
    }
    this.usrloc.committed();
    this.htables.committed();
    this.metaChanges.clear();
    this.recovered();
    return { ok: true, rows, error: "" };
  }

  /** Looks whether the file is still there (S-02): what is written to a removed or replaced file is lost at the next start. */
  checkFile(): void {
    if (this.watch !== null && this.currentState !== "closed") this.isMisplaced = !this.watch.isInPlace();
  }

  /**
   * When the last REGISTER of a stored contact came in, in ms of the clock it was stored in.
   * @returns 0 if it was not after `afterMs`, or cannot be read
   */
  newestAfter(afterMs: number): number {
    try {
      return this.usrloc.newestAfter(afterMs);
    } catch {
      return 0;
    }
  }

  /**
   * Reads everything that lives at `nowMs`; what has expired is deleted by the next commit. Call once, before any
   * change is told.
   */
  load(nowMs: number): LoadResult {
    const result: LoadResult = { aors: [], contacts: [], remnants: [], htableItems: [], expired: 0, problem: "" };
    try {
      result.expired = this.usrloc.load(nowMs, result.aors, result.contacts, result.remnants);
      this.htables.load(nowMs, result.htableItems);
      // Frees the pages that were read: the commits of the next hour do not need them.
      this.db.run("PRAGMA shrink_memory");
    } catch (error) {
      // Rows that were not read have no number here: writing would lose or double them.
      this.isDamaged = true;
      this.currentState = "failed";
      this.latestError = result.problem = describeProblem("read", this.path, error);
    }
    return result;
  }

  /**
   * Writes a complete copy of everything up to now (S-04), mode 600. The loop stands still meanwhile (README: how long).
   * @returns the problem in words, empty if the copy is on the disk; an existing file is refused
   */
  backup(path: string): string {
    const { ok, error } = this.commit();
    if (!ok) return error;
    try {
      writeCopy(this.db, path);
      return "";
    } catch (error) {
      if ((error as { code?: string }).code === "EEXIST") return `Cannot back up to ${path}: the file exists`;
      return describeProblem("back up to", path, error);
    }
  }

  /** Commits, folds the log into the file and lets go of it. The result is that of the commit. */
  close(): CommitResult {
    const result = this.isVolatile ? NOTHING_TO_DO : this.commit();
    if (this.currentState === "closed") return result;
    this.currentState = "closed";
    this.latestError = `Cannot write ${this.path}: the store is closed`;
    // A statement left open keeps the connection, and with it the lock on the file.
    for (const statement of [this.putMeta, this.begin, this.commitStatement, this.rollback]) statement.finalize();
    this.usrloc.finalize();
    this.htables.finalize();
    try {
      this.db.close(true);
    } catch (error) {
      return result.ok ? { ok: false, rows: result.rows, error: describeProblem("close", this.path, error) } : result;
    }
    return result;
  }

  private failed(error: unknown): CommitResult {
    try {
      if (this.db.inTransaction) this.rollback.run();
    } catch {
      // SQLite has rolled back by itself; the next BEGIN shows whether the connection still works.
    }
    this.currentState = "failed";
    this.latestError = describeProblem("write", this.path, error);
    return { ok: false, rows: 0, error: this.latestError };
  }

  private recovered(): void {
    if (this.currentState !== "failed") return;
    this.currentState = "ok";
    this.latestError = "";
  }
}

/** Opens the store of the config. Never throws (S-02). */
export function openStore(options: StoreOptions): OpenedStore {
  const { db, problem } = openDatabase(options);
  if (db === null) return { store: null, problem };
  try {
    return { store: new SqliteStore(db, options.path), problem: "" };
  } catch {
    db.close();
    return { store: null, problem: `Cannot open ${options.path}: ${damage(options.path)}` };
  }
}
