/** Copies of the database: written while running (S-04), put back while stopped. Knows files, nothing of the tables. */
import { Database } from "bun:sqlite";
import { chmodSync, closeSync, copyFileSync, existsSync, fsyncSync, openSync, renameSync, rmSync } from "node:fs";
import { dirname } from "node:path";

/**
 * Writes a complete, compact copy, mode 600, on the disk when it returns. Throws if the file exists or cannot be written;
 * an unfinished copy is removed.
 */
export function writeCopy(db: Database, path: string): void {
  // The file is made here: VACUUM INTO would use the process's umask, and "wx" refuses to overwrite. It accepts an empty file.
  closeSync(openSync(path, "wx", 0o600));
  try {
    db.run("VACUUM INTO ?", [path]);
    syncFile(path);
    syncFile(dirname(path));
  } catch (error) {
    rmSync(path, { force: true });
    throw error;
  }
}

/**
 * Puts the copy `from` in the place of the database `to`, which must not be in use. Throws with nothing changed if `from` is
 * damaged or `to` is in use.
 */
export function replaceDatabase(from: string, to: string): void {
  const copy = new Database(from, { readonly: true });
  try {
    const check = copy.prepare<{ quick_check: string }, []>("PRAGMA quick_check(1)");
    const verdict = check.get()?.quick_check;
    check.finalize();
    if (verdict !== "ok") throw Object.assign(new Error(String(verdict)), { code: "SQLITE_CORRUPT" });
  } finally {
    copy.close(true);
  }
  if (existsSync(to)) refuseIfInUse(to);
  const unfinished = `${to}.restoring`;
  rmSync(unfinished, { force: true });
  copyFileSync(from, unfinished);
  chmodSync(unfinished, 0o600);
  syncFile(unfinished);
  // The log of the old database goes first: it must not be applied to the new one.
  rmSync(`${to}-wal`, { force: true });
  rmSync(`${to}-shm`, { force: true });
  renameSync(unfinished, to);
  syncFile(dirname(to));
}

function refuseIfInUse(path: string): void {
  const db = new Database(path, { readwrite: true });
  try {
    db.run("PRAGMA locking_mode = EXCLUSIVE");
    db.run("BEGIN EXCLUSIVE");
    db.run("ROLLBACK");
  } catch (error) {
    const code = (error as { code?: string }).code ?? "";
    // A damaged database may be replaced: it is a reason to restore.
    if (code.startsWith("SQLITE_BUSY")) throw error;
  } finally {
    db.close(true);
  }
}

function syncFile(path: string): void {
  const fd = openSync(path, "r");
  try {
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}
