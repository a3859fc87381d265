/**
 * The htables by name (S-03): those of the config, and those the product makes for itself. Gives the owner one deadline
 * for all of them. Knows no clock and no disk.
 */
import { Htable, type HtableDefinition, type HtableItem, type HtableListener } from "./htable.ts";

/** An entry with the table it belongs to, as the store keeps it. */
export interface StoredHtableItem extends HtableItem {
  table: string;
}

/** All tables. A name that was never defined has no table: `get` gives undefined. */
export class Htables {
  private readonly tables = new Map<string, Htable>();
  private readonly listener: HtableListener | null;

  /**
   * @param definitions the config's `htables`
   * @param listener told of the changes of tables with `persist`
   */
  constructor(definitions: Readonly<Record<string, HtableDefinition>>, listener: HtableListener | null = null) {
    this.listener = listener;
    for (const [name, definition] of Object.entries(definitions)) this.ensure(name, definition);
  }

  get(name: string): Htable | undefined {
    return this.tables.get(name);
  }

  /** The table of that name, made with `definition` if the config did not define it: for bans and limits of our own. */
  ensure(name: string, definition: HtableDefinition): Htable {
    let table = this.tables.get(name);
    if (table === undefined) {
      table = new Htable(name, definition, this.listener);
      this.tables.set(name, table);
    }
    return table;
  }

  /** All tables, in the order they were defined. */
  all(): Htable[] {
    return [...this.tables.values()];
  }

  /** The soonest expiry of all tables, ms since the epoch; `Infinity` if none. */
  nextExpiryMs(): number {
    let soonestMs = Infinity;
    for (const table of this.tables.values()) soonestMs = Math.min(soonestMs, table.nextExpiryMs());
    return soonestMs;
  }

  /** Frees what has expired in all tables; says how many entries. */
  expire(nowMs: number): number {
    let count = 0;
    for (const table of this.tables.values()) count += table.expire(nowMs);
    return count;
  }

  /**
   * Restores what the store loaded, oldest first. Entries of a table that is not defined, or not persisted any more, are
   * left alone: a mistake in the config must not cost data.
   * @returns how many entries were taken back
   */
  restore(items: Iterable<StoredHtableItem>, nowMs: number): number {
    let count = 0;
    for (const item of items) {
      const table = this.tables.get(item.table);
      if (table === undefined || !table.isPersisted) continue;
      table.restore(item, nowMs);
      count++;
    }
    return count;
  }
}
