/**
 * Random schedules: calls, REGISTERs, sleep, closed connections, declines, CANCELs, push outcomes, loss, delay,
 * duplicates, and what must hold in all of them (judge.ts).
 *
 *   LATEFORK_SEED=4711 bun test test/sim/random.test.ts    replays one and tells its story
 *   LATEFORK_SEEDS=100000                                  as many as there is time for
 */
import { expect, test } from "bun:test";
import process from "node:process";
import { judge } from "./judge.ts";

const COUNT = Number(process.env.LATEFORK_SEEDS ?? "2000");
const ONLY = process.env.LATEFORK_SEED;
const FIRST = Number(process.env.LATEFORK_FIRST_SEED ?? "1");

test("W-04 W-05 W-07 W-12 R-01 what must hold holds in every random schedule", () => {
  if (ONLY !== undefined) {
    const { wrongs, story } = judge(Number(ONLY));
    if (wrongs.length > 0) throw new Error(`seed ${ONLY}:\n${wrongs.join("\n")}\n\n${story()}`);
    return;
  }
  const failed: number[] = [];
  for (let seed = FIRST; seed < FIRST + COUNT; seed++) {
    const { wrongs, story } = judge(seed);
    if (wrongs.length === 0) continue;
    failed.push(seed);
    if (failed.length === 1) console.error(`LATEFORK_SEED=${seed}\n${wrongs.join("\n")}\n\n${story()}`);
    else console.error(`LATEFORK_SEED=${seed}: ${wrongs.join("; ")}`);
    if (failed.length >= 20) break;
  }
  expect(failed).toEqual([]);
}, 600_000);
