/** `/v1/htables`: the tables of the config, read and written. */
import { ApiError } from "../control/backend.ts";
import type { HtableEntry, HtableInfo, Page, PageQuery } from "../control/backend.ts";
import type { Htable, HtableItem } from "../core/htable/htable.ts";
import { sourceOf } from "../core/guard/network.ts";
import { canonicalAddress } from "../io/transport/address.ts";
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

  htableGet(table: string, name: string): HtableEntry {
    const htable = this.table(table);
    const key = keyOf(table, name);
    const item = htable.item(key, this.nowMs);
    if (item === undefined) throw unknownKey(table, key);
    return this.entry(item);
  }

  htableSet(table: string, name: string, value: string, ttlMs: number): HtableEntry {
    const htable = this.table(table);
    const key = checkedKey(table, name);
    this.input(() => htable.set(key, value, ttlMs === 0 ? undefined : ttlMs, this.nowMs));
    return this.htableGet(table, key);
  }

  htableDelete(table: string, name: string): void {
    const htable = this.table(table);
    const key = keyOf(table, name);
    if (!this.input(() => htable.delete(key, this.nowMs))) throw unknownKey(table, key);
  }

  htableIncr(table: string, name: string, by: number): HtableEntry {
    const htable = this.table(table);
    const key = checkedKey(table, name);
    const sum = this.input(() => htable.incr(key, by, undefined, this.nowMs));
    if (sum === null) {
      throw new ApiError(409, "not_a_number", `The value of ${key} is not a whole number`, "PUT a number first");
    }
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

/** Bans are kept by source: whoever names an address means its source, however it is spelt. */
function keyOf(table: string, name: string): string {
  return table === "banned" ? banKey(name) ?? name : name;
}

/** As {@link keyOf}; a ban that would hold for nobody is refused. */
function checkedKey(table: string, name: string): string {
  const key = keyOf(table, name);
  if (table !== "banned" || banKey(name) !== null) return key;
  throw new ApiError(
    400,
    "invalid_key",
    `Cannot ban "${name.slice(0, 60)}": it is no address`,
    "Give an address such as 192.0.2.7 or 2001:db8:0:7::1 (its /64 is banned); whole networks go into security.deny",
  );
}

function banKey(name: string): string | null {
  const address = canonicalAddress(name.replace(/::\/64$/, "::"));
  return address === null ? null : sourceOf(address);
}

function unknownKey(table: string, key: string): ApiError {
  return new ApiError(
    404,
    "unknown_key",
    `Table ${table} has no key ${key}`,
    `GET /v1/htables/${table} lists its keys`,
  );
}
