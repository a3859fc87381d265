import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { Htable, type HtableDefinition, type HtableListener } from "../../../src/core/htable/htable.ts";

const DEFINITION: HtableDefinition = { ttl: 100, max: 1000, persist: true };

function table(definition: Partial<HtableDefinition> = {}, listener: HtableListener | null = null): Htable {
  return new Htable("t", { ...DEFINITION, ...definition }, listener);
}

describe("expiry", () => {
  const cases: { name: string; ttl: number; ttlMs: number | undefined; liveAt: number[]; goneAt: number[] }[] = [
    { name: "the table's ttl by default", ttl: 100, ttlMs: undefined, liveAt: [1000, 1099], goneAt: [1100, 5000] },
    { name: "the writer's ttl instead", ttl: 100, ttlMs: 7, liveAt: [1006], goneAt: [1007] },
    { name: "fractions of a millisecond", ttl: 100, ttlMs: 0.5, liveAt: [1000.4], goneAt: [1000.5] },
    { name: "0 is for ever", ttl: 100, ttlMs: 0, liveAt: [1e15], goneAt: [] },
    { name: "a table's 0 is for ever", ttl: 0, ttlMs: undefined, liveAt: [1e15], goneAt: [] },
    { name: "Infinity is for ever", ttl: 100, ttlMs: Infinity, liveAt: [1e15], goneAt: [] },
    { name: "a number that is none is for ever", ttl: 100, ttlMs: NaN, liveAt: [1e15], goneAt: [] },
    { name: "a negative one is gone at once", ttl: 100, ttlMs: -1, liveAt: [], goneAt: [1000] },
  ];
  for (const { name, ttl, ttlMs, liveAt, goneAt } of cases) {
    test(`S-03 expiry is exact: ${name}`, () => {
      const t = table({ ttl });
      t.set("k", "v", ttlMs, 1000);
      for (const at of liveAt) expect([at, t.get("k", at), t.list(at).length]).toEqual([at, "v", 1]);
      for (const at of goneAt) expect([at, t.get("k", at), t.list(at).length]).toEqual([at, undefined, 0]);
    });
  }

  test("S-03 the next expiry is the soonest of mixed ttls, and expire frees exactly what is due", () => {
    const t = table();
    for (const ttlMs of [50, 10, 90, 10, 0, 30]) t.set(`k${t.size}`, "v", ttlMs, 0);
    const freed: [number, number][] = [];
    for (let at = t.nextExpiryMs(); at !== Infinity; at = t.nextExpiryMs()) {
      expect(t.expire(at - 1)).toBe(0);
      freed.push([at, t.expire(at)]);
    }
    expect(freed).toEqual([[10, 2], [30, 1], [50, 1], [90, 1]]);
    expect(t.list(1e9).map((item) => item.key)).toEqual(["k4"]);
  });

  test("S-03 a longer ttl written over a shorter one holds, and the other way round", () => {
    const t = table();
    t.set("longer", "1", 10, 0);
    t.set("longer", "2", 50, 0);
    t.set("shorter", "1", 50, 0);
    t.set("shorter", "2", 10, 0);
    expect(t.expire(10)).toBe(1);
    expect([t.get("longer", 10), t.get("shorter", 10)]).toEqual(["2", undefined]);
  });
});

describe("incr", () => {
  const cases: { name: string; value?: string; by: number; gives: number | null; then: string | undefined }[] = [
    { name: "an absent key counts as 0", by: 3, gives: 3, then: "3" },
    { name: "adds", value: "40", by: 2, gives: 42, then: "42" },
    { name: "subtracts", value: "1", by: -3, gives: -2, then: "-2" },
    { name: "refuses a value that is not a number", value: "abc", by: 1, gives: null, then: "abc" },
    { name: "refuses the empty value", value: "", by: 1, gives: null, then: "" },
    { name: "refuses a fraction", value: "1.5", by: 1, gives: null, then: "1.5" },
    { name: "refuses a step that is no whole number", value: "1", by: 0.5, gives: null, then: "1" },
    { name: "refuses NaN", by: NaN, gives: null, then: undefined },
    { name: "refuses to lose digits", value: "9007199254740991", by: 1, gives: null, then: "9007199254740991" },
  ];
  for (const { name, value, by, gives, then } of cases) {
    test(`S-03 increment: ${name}`, () => {
      const t = table();
      if (value !== undefined) t.set("k", value, undefined, 0);
      expect([t.incr("k", by, undefined, 0), t.get("k", 0)]).toEqual([gives, then]);
    });
  }

  test("S-03 a counter covers a fixed window: counting on does not prolong it", () => {
    const t = table();
    expect([t.incr("k", 1, 60, 0), t.incr("k", 1, 60, 59), t.incr("k", 1, 60, 60)]).toEqual([1, 2, 1]);
  });
});

describe("bound", () => {
  test("S-03 beyond max the entry written longest ago goes, a rewritten one counts as young", () => {
    const t = table({ max: 3 });
    for (const key of ["a", "b", "c", "a", "d"]) t.set(key, key, undefined, 0);
    expect(t.list(0).map((item) => item.key)).toEqual(["c", "a", "d"]);
    expect(t.evictions).toBe(1);
  });

  test("S-03 what has expired makes room before anything alive has to go", () => {
    const t = table({ max: 2 });
    t.set("old", "v", 1000, 0);
    t.set("due", "v", 5, 0);
    t.set("new", "v", 1000, 5);
    expect(t.list(5).map((item) => item.key)).toEqual(["old", "new"]);
    expect(t.evictions).toBe(0);
  });

  test("S-03 setting one key again and again does not grow the table", () => {
    const t = table();
    for (let i = 0; i < 100_000; i++) t.set("k", String(i), 1 + i % 97, i);
    expect(t.size).toBe(1);
    expect(t.expire(1e9)).toBe(1);
    expect([t.size, t.nextExpiryMs()]).toEqual([0, Infinity]);
  });

  test("a max below 1 holds one entry", () => {
    const t = table({ max: 0 });
    t.set("a", "1", undefined, 0);
    t.set("b", "2", undefined, 0);
    expect(t.list(0).map((item) => item.key)).toEqual(["b"]);
  });
});

/** The slow, obvious table: an array in the order of writing. */
class Model {
  items: { key: string; value: string; expiresAtMs: number }[] = [];
  constructor(readonly ttlMs: number, readonly max: number) {}

  live(nowMs: number) {
    return this.items.filter((item) => item.expiresAtMs > nowMs);
  }

  get(key: string, nowMs: number) {
    return this.live(nowMs).find((item) => item.key === key)?.value;
  }

  put(key: string, value: string, expiresAtMs: number, nowMs: number) {
    const isNew = !this.items.some((item) => item.key === key);
    this.items = this.items.filter((item) => item.key !== key);
    if (expiresAtMs <= nowMs) return;
    // Only a new key may push another one out, and only if nothing can be swept.
    if (isNew && this.items.length >= this.max) {
      const live = this.live(nowMs);
      this.items = live.length < this.items.length ? live : this.items.slice(1);
    }
    this.items.push({ key, value, expiresAtMs });
  }

  set(key: string, value: string, ttlMs: number | undefined, nowMs: number) {
    const ttl = ttlMs ?? this.ttlMs;
    this.put(key, value, ttl === 0 ? Infinity : nowMs + ttl, nowMs);
  }

  incr(key: string, by: number, ttlMs: number | undefined, nowMs: number) {
    const old = this.live(nowMs).find((item) => item.key === key);
    if (old === undefined) {
      this.set(key, String(by), ttlMs, nowMs);
      return by;
    }
    if (!/^-?\d+$/.test(old.value)) return null;
    this.put(key, String(Number(old.value) + by), old.expiresAtMs, nowMs);
    return Number(old.value) + by;
  }

  delete(key: string, nowMs: number) {
    const wasLive = this.get(key, nowMs) !== undefined;
    this.items = this.items.filter((item) => item.key !== key);
    return wasLive;
  }

  expire(nowMs: number) {
    const before = this.items.length;
    this.items = this.live(nowMs);
    return before - this.items.length;
  }

  nextExpiryMs() {
    return Math.min(Infinity, ...this.items.map((item) => item.expiresAtMs));
  }
}

/** What a disk would hold if it did as the listener is told. */
class Mirror implements HtableListener {
  readonly items = new Map<string, { value: string; expiresAtMs: number }>();
  changed(_table: string, key: string, value: string, expiresAtMs: number) {
    this.items.set(key, { value, expiresAtMs });
  }
  removed(_table: string, key: string) {
    this.items.delete(key);
  }
}

test("S-03 any mix of operations and times behaves as the naive table, and the listener hears all of it", () => {
  const key = fc.constantFrom("a", "b", "c", "d", "e", "f", "g");
  const ttlMs = fc.constantFrom(undefined, 0, -1, 1, 2, 3, 5, 8, 13, 40);
  const operation = fc.oneof(
    {
      weight: 4,
      arbitrary: fc.record({ op: fc.constant("set"), key, ttlMs, value: fc.constantFrom("", "x", "7", "-2") }),
    },
    { weight: 3, arbitrary: fc.record({ op: fc.constant("incr"), key, ttlMs, by: fc.integer({ min: -3, max: 3 }) }) },
    fc.record({ op: fc.constant("delete"), key }),
    fc.record({ op: fc.constant("expire"), key }),
  );
  const step = fc.record({ afterMs: fc.integer({ min: -1, max: 6 }), operation });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60, size: "max" }), fc.integer({ min: 1, max: 6 }), (steps, max) => {
      const mirror = new Mirror();
      const real = table({ ttl: 10, max }, mirror);
      const model = new Model(10, max);
      let nowMs = 1000;
      for (const { afterMs, operation } of steps) {
        nowMs += afterMs;
        const results = ([real, model] as (Htable | Model)[]).map((t) => {
          const o = operation as { op: string; key: string; value: string; by: number; ttlMs: number | undefined };
          switch (o.op) {
            case "set":
              return t.set(o.key, o.value, o.ttlMs, nowMs);
            case "incr":
              return t.incr(o.key, o.by, o.ttlMs, nowMs);
            case "delete":
              return t.delete(o.key, nowMs);
            default:
              return t.expire(nowMs);
          }
        });
        expect(results[0]).toEqual(results[1]);
        expect(real.list(nowMs)).toEqual(model.live(nowMs));
        expect(real.nextExpiryMs()).toBe(model.nextExpiryMs());
        expect(real.size).toBe(model.items.length);
        expect([...mirror.items.keys()].sort()).toEqual(model.items.map((item) => item.key).sort());
        for (const item of model.items) {
          expect(mirror.items.get(item.key)).toEqual({ value: item.value, expiresAtMs: item.expiresAtMs });
          expect(real.get(item.key, nowMs)).toEqual(model.get(item.key, nowMs));
        }
      }
    }),
    { numRuns: 300 },
  );
});
