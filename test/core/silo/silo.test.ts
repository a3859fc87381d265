import { expect, test } from "bun:test";
import type { SiloCall } from "../../../src/core/silo/call.ts";
import { CallIndex } from "../../../src/core/silo/silo.ts";

test("W-21 calls of one key are all found, in order, and none is left behind", () => {
  const [a, b, c] = [{}, {}, {}] as [SiloCall, SiloCall, SiloCall];
  const index = new CallIndex();
  expect([index.of("x"), index.count("x"), index.size]).toEqual([[], 0, 0]);
  expect(index.remove("x", a)).toBe(false);
  for (const call of [a, b, c, a]) index.add("x", call);
  index.add("y", a);
  const before = index.of("x");
  expect([before.length, before[0] === a, before[1] === b, before[2] === c]).toEqual([3, true, true, true]);
  expect([index.count("x"), index.size, [...index.keys()]]).toEqual([3, 2, ["x", "y"]]);
  expect(index.remove("y", b)).toBe(false);
  for (const call of before) expect(index.remove("x", call)).toBe(true);
  expect([before.length, index.count("x"), index.of("x").length, index.size]).toEqual([3, 0, 0, 1]);
  expect([index.remove("y", a), index.size]).toEqual([true, 0]);
});

test("W-21 the only call of a key is added once", () => {
  const call = {} as SiloCall;
  const index = new CallIndex();
  index.add("x", call);
  index.add("x", call);
  expect(index.count("x")).toBe(1);
});
