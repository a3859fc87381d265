/** Section `htables:`. */
import { boolean, count, DAY, duration } from "../kinds.ts";
import { key, mapOf } from "../table.ts";

export const HTABLES = mapOf("Named tables with expiry; `banned` and `push_limits` are always there.", {
  names: ["banned"],
}, {
  ttl: key(duration, {
    default: "10m",
    max: 366 * DAY,
    applies: "restart",
    doc: "How long an entry lives; 0 = until it is deleted.",
  }),
  max: key(count, {
    default: "10000",
    min: 1,
    max: 1_000_000,
    applies: "restart",
    doc: "Entries; beyond it the oldest goes.",
  }),
  persist: key(boolean, { default: "true", applies: "restart", doc: "Kept across restarts." }),
});
