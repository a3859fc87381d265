/** Section `trace:`. */
import { count, text } from "../kinds.ts";
import { key, section } from "../table.ts";

export const TRACE = section("What is kept in memory to be looked at.", {
  messages: key(count, { default: "5000", min: 0, max: 1_000_000, applies: "restart", doc: "SIP messages." }),
  calls: key(count, { default: "1000", min: 1, max: 100_000, applies: "restart", doc: "Ended calls." }),
  hep: key(text, { default: "", applies: "restart", doc: "HEP3 collector (Homer)." }),
});
