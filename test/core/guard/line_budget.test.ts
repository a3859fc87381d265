import { expect, test } from "bun:test";
import { LineBudget } from "../../../src/core/guard/line_budget.ts";

test("X-06 twenty lines a minute, and with the first of the next how many were left out", () => {
  const told: string[] = [];
  const lines = new LineBudget(
    (level, message, fields) => told.push([level, message, fields?.source].join(" ")),
    "pings",
  );
  for (let i = 0; i < 25; i++) lines.tell("warn", "Too many pings", { source: `s${i}` }, 1000 + i);
  expect(told).toHaveLength(20);
  expect(told[19]).toBe("warn Too many pings s19");
  for (const nowMs of [60_999, 61_000]) lines.tell("warn", "Too many pings", { source: "next" }, nowMs);
  expect(told.slice(20)).toEqual(["info Left out 6 lines about pings ", "warn Too many pings next"]);
  lines.tell("warn", "Too many pings", { source: "later" }, 200_000);
  expect(told.slice(22)).toEqual(["warn Too many pings later"]);
});
