import { expect, test } from "bun:test";
import { jitterMs } from "../../../src/core/registrar/jitter.ts";

const alphabets = ["abcdefghijklmnopqrstuvwxyz012345", "0123456789abcdefghijklmnopqrstuv", "0123456789abcdef"];

test("R-09 jitter is even, whatever characters the shell's tokens have", () => {
  let state = 7;
  const next = () => (state = (state * 48_271) % 2_147_483_647) >> 8;
  for (const alphabet of alphabets) {
    const token = (length: number) => Array.from({ length }, () => alphabet[next() % alphabet.length]).join("");
    const buckets = Array.from({ length: 32 }, () => 0);
    for (let n = 0; n < 32_000; n++) {
      const ms = jitterMs({ token }, 3200);
      expect(ms >= 0 && ms < 3200).toBe(true);
      buckets[Math.floor(ms / 100)]!++;
    }
    for (const count of buckets) expect(count).toBeWithin(800, 1200);
  }
});
