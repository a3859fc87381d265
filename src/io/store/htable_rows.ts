/**
 * The persisted htables in SQLite (S-03): which entries changed since the last commit, and the statements that write and
 * load them. Knows nothing of transactions and files; `SqliteStore` drives it.
 */
import type { Database } from "bun:sqlite";
import type { HtableListener } from "../../core/htable/htable.ts";
import type { StoredHtableItem } from "../../core/htable/htables.ts";

interface HtableRow {
  name: string;
  key: string;
  value: string;
  expires_at: number;
}

/** A value to write, or null for a row to delete. */
type Change = { value: string; expiresAtMs: number } | null;

interface TableRows {
  /** Keys with a row on the disk. */
  readonly stored: Set<string>;
  /** Bounded by the table's `max` and by `stored`: a key that was never on the disk needs no deletion. */
  readonly changes: Map<string, Change>;
}

/** The changes of all persisted htables since the last commit. */
export class HtableRows implements HtableListener {
  private readonly db: Database;
  private readonly put;
  private readonly delete;
  private readonly tables = new Map<string, TableRows>();

  constructor(db: Database) {
    this.db = db;
    this.put = db.prepare("INSERT OR REPLACE INTO htable (name, key, value, expires_at) VALUES (?, ?, ?, ?)");
    this.delete = db.prepare("DELETE FROM htable WHERE name = ? AND key = ?");
  }

  changed(table: string, key: string, value: string, expiresAtMs: number): void {
    this.table(table).changes.set(key, { value, expiresAtMs });
  }

  removed(table: string, key: string): void {
    const { stored, changes } = this.table(table);
    if (stored.has(key)) changes.set(key, null);
    else changes.delete(key);
  }

  /** Rows waiting to be written or deleted. */
  get pending(): number {
    let count = 0;
    for (const { changes } of this.tables.values()) count += changes.size;
    return count;
  }

  /** Writes what is pending; it stays pending until `committed`. Throws what SQLite throws. */
  write(): void {
    for (const [name, { changes }] of this.tables) {
      for (const [key, change] of changes) {
        if (change === null) this.delete.run(name, key);
        // 0 stands for never: the column holds whole numbers.
        else this.put.run(name, key, change.value, change.expiresAtMs === Infinity ? 0 : change.expiresAtMs);
      }
    }
  }

  /** The transaction with what `write` wrote is on the disk. */
  committed(): void {
    for (const { stored, changes } of this.tables.values()) {
      for (const [key, change] of changes) {
        if (change === null) stored.delete(key);
        else stored.add(key);
      }
      changes.clear();
    }
  }

  /** Adds the entries that live at `nowMs` to the list, those that expire first at the front; the others wait for deletion. */
  load(nowMs: number, items: StoredHtableItem[]): void {
    const select = this.db.prepare<HtableRow, []>(
      "SELECT name, key, value, expires_at FROM htable ORDER BY expires_at",
    );
    try {
      for (const { name, key, value, expires_at } of select.iterate()) {
        this.table(name).stored.add(key);
        const expiresAtMs = expires_at === 0 ? Infinity : expires_at;
        if (expiresAtMs > nowMs) items.push({ table: name, key, value, expiresAtMs });
        else this.removed(name, key);
      }
    } finally {
      select.finalize();
    }
  }

  finalize(): void {
    this.put.finalize();
    this.delete.finalize();
  }

  private table(name: string): TableRows {
    let rows = this.tables.get(name);
    if (rows === undefined) {
      rows = { stored: new Set(), changes: new Map() };
      this.tables.set(name, rows);
    }
    return rows;
  }
}
