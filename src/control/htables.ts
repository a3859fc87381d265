/** `/v1/htables`: the tables of the config, read and written (S-03). */
import { sourceOf } from "../core/guard/network.ts";
import type { Htable, HtableItem } from "../core/htable/htable.ts";
import { renderTable } from "../observe/table.ts";
import { doneAnswer, either, jsonAnswer, listAnswer, type Page, pageAnswer, pageQuery, param } from "./answer.ts";
import { ApiError } from "./api_error.ts";
import { asDurableInput, type ControlHost } from "./host.ts";
import { parseDurationMs, parseWhole, readText } from "./request.ts";
import { type ControlContext, FORMAT, PAGE, type Route, route } from "./route.ts";
import { duration } from "./text.ts";

/** A table in `GET /v1/htables`. */
interface HtableJson {
  name: string;
  /** Default time to live in seconds; 0 = none. */
  ttl: number;
  max: number;
  persist: boolean;
  size: number;
}

/** An entry in `GET /v1/htables/{t}`. */
interface EntryJson {
  key: string;
  value: string;
  /** Seconds; null: never. */
  expires_in: number | null;
}

const VALUE_BYTES = 64 * 1024;

export const HTABLES: readonly Route[] = [
  route({
    id: "htables",
    method: "GET",
    path: "/v1/htables",
    summary: "tables",
    query: [FORMAT],
    example: "/v1/htables",
    isList: true,
    answer: (c, host) => listAnswer(c, host.htables.all().map(htableJson), htablesText),
  }),
  route({
    id: "htable",
    method: "GET",
    path: "/v1/htables/{t}",
    summary: "entries of a table",
    query: [...PAGE, FORMAT],
    example: "/v1/htables/banned",
    isList: true,
    answer: (c, host) => pageAnswer(c, entriesPage(c, host), entriesText),
  }),
  route({
    id: "htableGet",
    method: "GET",
    path: "/v1/htables/{t}/{key}",
    summary: "one entry",
    query: [FORMAT],
    example: "/v1/htables/banned/192.0.2.7",
    answer(c, host) {
      const table = tableOf(c, host);
      return either(c, entry(host, table, keyOf(c, host, table)), ({ value }) => value + "\n");
    },
  }),
  route({
    id: "htableSet",
    method: "PUT",
    path: "/v1/htables/{t}/{key}",
    summary: "set an entry; the body is the raw value",
    query: [{ name: "ttl", what: "seconds, or with unit: 90s, 10m, 1h; 0 or absent: the table's own" }],
    body: "text",
    example: "/v1/htables/banned/192.0.2.7?ttl=10m -d 1",
    async answer(c, host) {
      const ttlMs = parseDurationMs(c.req.query("ttl") || "0", "ttl");
      const value = await readText(c.req.raw, VALUE_BYTES);
      const table = tableOf(c, host);
      const key = checkedKey(c, host, table);
      const stored = await asDurableInput(host, () => {
        table.set(key, value, ttlMs === 0 ? undefined : ttlMs, host.turn.nowMs);
        return entry(host, table, key);
      });
      return jsonAnswer(stored);
    },
  }),
  route({
    id: "htableDelete",
    method: "DELETE",
    path: "/v1/htables/{t}/{key}",
    summary: "remove an entry",
    example: "/v1/htables/banned/192.0.2.7",
    async answer(c, host) {
      const table = tableOf(c, host);
      const key = keyOf(c, host, table);
      await asDurableInput(host, () => {
        if (!table.delete(key, host.turn.nowMs)) throw unknownKey(table.name, key);
      });
      return doneAnswer();
    },
  }),
  route({
    id: "htableIncr",
    method: "POST",
    path: "/v1/htables/{t}/{key}/incr",
    summary: "count an entry up, from 0 if absent",
    query: [{ name: "by", what: "whole number, default 1" }],
    example: "/v1/htables/seen/alice/incr?by=1",
    async answer(c, host) {
      const by = parseWhole(c.req.query("by"), "by", { min: -1e12, max: 1e12, default: 1 });
      const table = tableOf(c, host);
      const key = checkedKey(c, host, table);
      const stored = await asDurableInput(host, () => {
        if (table.incr(key, by, undefined, host.turn.nowMs) === null) {
          throw new ApiError(409, "not_a_number", `The value of ${key} is not a whole number`, "PUT a number first");
        }
        return entry(host, table, key);
      });
      return jsonAnswer(stored);
    },
  }),
];

/** The table that the path names. */
function tableOf(c: ControlContext, { htables }: ControlHost): Htable {
  const name = param(c, "t");
  const table = htables.get(name);
  if (table !== undefined) return table;
  throw new ApiError(404, "unknown_table", `There is no table ${name}`, "Tables are named in the config under htables");
}

/** The key that the path names. Bans are kept by source: whoever names an address means its source, however it is spelt. */
function keyOf(c: ControlContext, host: ControlHost, table: Htable): string {
  const name = param(c, "key");
  return table.name === "banned" ? banKey(host, name) ?? name : name;
}

/** As {@link keyOf}; a ban that would hold for nobody is refused. */
function checkedKey(c: ControlContext, host: ControlHost, table: Htable): string {
  const name = param(c, "key");
  if (table.name !== "banned" || banKey(host, name) !== null) return keyOf(c, host, table);
  throw new ApiError(
    400,
    "invalid_key",
    `Cannot ban "${name.slice(0, 60)}": it is no address`,
    "Give an address such as 192.0.2.7 or 2001:db8:0:7::1 (its /64 is banned); whole networks go into security.deny",
  );
}

function banKey(host: ControlHost, name: string): string | null {
  const address = host.canonicalAddress(name.replace(/::\/64$/, "::"));
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

function entriesPage(c: ControlContext, host: ControlHost): Page<EntryJson> {
  const table = tableOf(c, host);
  const { limit, after } = pageQuery(c);
  const { nowMs } = host.turn;
  const items = table.list(nowMs).sort((a, b) => a.key < b.key ? -1 : 1).filter(({ key }) => key > after);
  const page = items.slice(0, limit);
  return {
    items: page.map((item) => entryJson(item, nowMs)),
    next: items.length > page.length ? page.at(-1)!.key : null,
  };
}

/** @throws ApiError 404 `unknown_key` */
function entry({ turn }: ControlHost, table: Htable, key: string): EntryJson {
  const item = table.item(key, turn.nowMs);
  if (item === undefined) throw unknownKey(table.name, key);
  return entryJson(item, turn.nowMs);
}

function htableJson({ name, ttlMs, max, isPersisted, size }: Htable): HtableJson {
  return { name, ttl: ttlMs / 1000, max, persist: isPersisted, size };
}

function entryJson({ key, value, expiresAtMs }: HtableItem, nowMs: number): EntryJson {
  return {
    key,
    value,
    expires_in: Number.isFinite(expiresAtMs) ? Math.max(0, Math.round((expiresAtMs - nowMs) / 1000)) : null,
  };
}

function htablesText(tables: readonly HtableJson[]): string {
  return renderTable(tables, [
    { title: "table", value: (table) => table.name },
    { title: "entries", value: (table) => table.size, align: "right" },
    { title: "max", value: (table) => table.max, align: "right" },
    { title: "ttl", value: (table) => table.ttl === 0 ? "until deleted" : duration(table.ttl), align: "right" },
    { title: "persist", value: (table) => table.persist ? "yes" : "no" },
  ], "no tables");
}

function entriesText(entries: readonly EntryJson[]): string {
  return renderTable(entries, [
    { title: "key", value: ({ key }) => key },
    { title: "value", value: ({ value }) => value },
    {
      title: "expires",
      value: ({ expires_in }) => expires_in === null ? "never" : duration(expires_in),
      align: "right",
    },
  ], "no entries");
}
