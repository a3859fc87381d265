/** Section `log:`. */
import { LOG_LEVELS } from "../../core/port.ts";
import { choice, logOverride } from "../kinds.ts";
import { key, list, section } from "../table.ts";

export const LOG = section("Log lines on stderr.", {
  level: key(choice(...LOG_LEVELS), { default: "info", applies: "live", doc: "Least severe line that is written." }),
  format: key(choice("auto", "text", "json"), {
    default: "auto",
    applies: "restart",
    doc: "auto: text on a terminal, json elsewhere.",
  }),
  privacy: key(choice("full", "mask"), {
    default: "full",
    applies: "live",
    doc: "mask: numbers, names and tokens are cut.",
  }),
  overrides: list(logOverride, {
    default: [],
    applies: "live",
    doc: "Another level for one aor, call, device or flow.",
    example: '["aor=alice@example.org -> debug"]',
  }),
});
