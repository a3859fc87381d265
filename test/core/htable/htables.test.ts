import { expect, test } from "bun:test";
import { Htables } from "../../../src/core/htable/htables.ts";

const kept = { ttl: 100, max: 10, persist: true };
const forgotten = { ttl: 100, max: 10, persist: false };

function listening() {
  const heard: string[] = [];
  return {
    heard,
    listener: {
      changed: (table: string, key: string, value: string, expiresAtMs: number) =>
        void heard.push(`${table}/${key}=${value}@${expiresAtMs}`),
      removed: (table: string, key: string) => void heard.push(`${table}/${key} gone`),
    },
  };
}

test("S-03 a name that was never defined has no table", () => {
  const tables = new Htables({ banned: kept });
  expect(tables.get("banned")?.name).toBe("banned");
  for (const name of ["other", "__proto__", "toString", ""]) expect(tables.get(name)).toBeUndefined();
});

test("S-03 the config wins over the product's own definition of a table", () => {
  const tables = new Htables({ banned: kept });
  expect(tables.ensure("banned", forgotten).isPersisted).toBe(true);
  expect(tables.ensure("push_limit", forgotten)).toBe(tables.get("push_limit")!);
  expect(tables.all().map((table) => table.name)).toEqual(["banned", "push_limit"]);
});

test("S-03 one deadline covers all tables", () => {
  const tables = new Htables({ a: kept, b: forgotten });
  expect(tables.nextExpiryMs()).toBe(Infinity);
  tables.get("a")!.set("k", "v", 30, 0);
  tables.get("b")!.set("k", "v", 20, 0);
  expect(tables.nextExpiryMs()).toBe(20);
  expect([tables.expire(20), tables.nextExpiryMs()]).toEqual([1, 30]);
  expect([tables.expire(30), tables.nextExpiryMs()]).toEqual([1, Infinity]);
});

test("S-03 only a persisted table tells the listener: writes, deletions, expiry and eviction", () => {
  const { heard, listener } = listening();
  const tables = new Htables({ a: { ttl: 100, max: 1, persist: true }, b: forgotten }, listener);
  tables.get("b")!.set("k", "v", undefined, 0);
  const a = tables.get("a")!;
  a.set("k1", "v", undefined, 0);
  a.incr("k2", 5, 7, 0);
  a.delete("k2", 0);
  a.delete("k2", 0);
  a.set("k3", "v", 0, 0);
  a.set("k3", "v", 2, 0);
  tables.expire(2);
  expect(heard).toEqual([
    "a/k1=v@100",
    "a/k1 gone",
    "a/k2=5@7",
    "a/k2 gone",
    "a/k3=v@Infinity",
    "a/k3=v@2",
    "a/k3 gone",
  ]);
});

test("S-03 restored entries keep their remaining time and are not written again", () => {
  const { heard, listener } = listening();
  const tables = new Htables({ a: { ttl: 100, max: 2, persist: true }, b: forgotten }, listener);
  const items = [
    { table: "a", key: "due", value: "0", expiresAtMs: 1000 },
    { table: "a", key: "oldest", value: "1", expiresAtMs: 1500 },
    { table: "a", key: "k1", value: "2", expiresAtMs: 1600 },
    { table: "a", key: "k2", value: "3", expiresAtMs: Infinity },
    { table: "b", key: "k", value: "4", expiresAtMs: 1700 },
    { table: "unknown", key: "k", value: "5", expiresAtMs: 1700 },
  ];
  expect(tables.restore(items, 1000)).toBe(4);
  expect(tables.get("a")!.list(1000)).toEqual([
    { key: "k1", value: "2", expiresAtMs: 1600 },
    { key: "k2", value: "3", expiresAtMs: Infinity },
  ]);
  expect(tables.get("b")!.size).toBe(0);
  expect(heard).toEqual(["a/due gone", "a/oldest gone"]);
});
