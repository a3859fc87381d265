/** `/v1/htables`: the tables of the config, read and written. */
import { ApiError } from "../control/backend.ts";
import type { HtableEntry, HtableInfo, Page, PageQuery } from "../control/backend.ts";
import type { Htable, HtableItem } from "../htable/htable.ts";
import { ControlResource } from "./control_resource.ts";

export class ControlHtables extends ControlResource {
  htables(): HtableInfo[] {
    return this.appliance.htables.all().map(({ name, ttlMs, max, isPersisted, size }) => ({
      name,
      ttl: ttlMs / 1000,
      max,
      persist: isPersisted,
      size,
    }));
  }

  htable(table: string, query: PageQuery): Page<HtableEntry> {
    const items = this.table(table).list(this.nowMs).sort((a, b) => a.key < b.key ? -1 : 1).filter(({ key }) =>
      key > query.after
    );
    const page = items.slice(0, query.limit);
    return { items: page.map((item) => this.entry(item)), next: items.length > page.length ? page.at(-1)!.key : null };
  }

  htableGet(table: string, key: string): HtableEntry {
    const item = this.table(table).item(key, this.nowMs);
    if (item === undefined) throw new ApiError(404, "unknown_key", `Table ${table} has no key ${key}`);
    return this.entry(item);
  }

  htableSet(table: string, key: string, value: string, ttlMs: number): HtableEntry {
    const htable = this.table(table);
    this.input(() => htable.set(key, value, ttlMs === 0 ? undefined : ttlMs, this.nowMs));
    return this.htableGet(table, key);
  }

  htableDelete(table: string, key: string): void {
    const htable = this.table(table);
    if (!this.input(() => htable.delete(key, this.nowMs))) {
      throw new ApiError(404, "unknown_key", `Table ${table} has no key ${key}`);
    }
  }

  htableIncr(table: string, key: string, by: number): HtableEntry {
    const htable = this.table(table);
    const sum = this.input(() => htable.incr(key, by, undefined, this.nowMs));
    if (sum === null) throw new ApiError(409, "not_a_number", `The value of ${key} is not a whole number`);
    return this.htableGet(table, key);
  }

  private table(name: string): Htable {
    const table = this.appliance.htables.get(name);
    if (table === undefined) {
      throw new ApiError(
        404,
        "unknown_table",
        `There is no table ${name}`,
        "Tables are named in the config under htables",
      );
    }
    return table;
  }

  private entry({ key, value, expiresAtMs }: HtableItem): HtableEntry {
    return {
      key,
      value,
      expires_in: Number.isFinite(expiresAtMs) ? Math.max(0, Math.round((expiresAtMs - this.nowMs) / 1000)) : null,
    };
  }
}
