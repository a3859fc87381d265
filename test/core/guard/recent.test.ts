import { expect, test } from "bun:test";
import fc from "fast-check";
import { Recent } from "../../../src/core/guard/recent.ts";

test("X-06 property: it never holds more than its bound, and what was asked for lately is there", () => {
  const keys = fc.array(fc.nat(40).map(String), { maxLength: 300 });
  fc.assert(fc.property(keys, (asked) => {
    const map = new Recent<string>(16);
    const lately: string[] = [];
    for (const key of asked) {
      if (map.get(key) === undefined) map.set(key, `value ${key}`);
      expect(map.get(key)).toBe(`value ${key}`);
      expect(map.size).toBeLessThanOrEqual(16);
      lately.push(key);
      for (const recent of new Set(lately.slice(-8))) expect(map.get(recent)).toBe(`value ${recent}`);
    }
  }));
});

test("deleted is deleted, cleared is empty", () => {
  const map = new Recent<number>(4);
  for (const key of ["a", "b", "c"]) map.set(key, 1);
  map.delete("a");
  map.delete("c");
  expect([map.get("a"), map.get("b"), map.get("c"), map.size]).toEqual([undefined, 1, undefined, 1]);
  map.clear();
  expect(map.size).toBe(0);
});
