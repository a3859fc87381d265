/** Section `store:`. */
import { choice, databaseFile, duration, MINUTE, text } from "../kinds.ts";
import { key, section } from "../table.ts";

export const STORE = section("Where registrations are kept.", {
  path: key(databaseFile, {
    default: "/var/lib/latefork/latefork.db",
    applies: "restart",
    doc: 'The SQLite database; ":memory:" keeps nothing.',
  }),
  sync: key(choice("full", "relaxed"), {
    default: "full",
    applies: "restart",
    doc: "full: a 200 to a REGISTER leaves when its binding is on disk. relaxed: the last moment may be lost.",
  }),
  flush: key(duration, {
    default: "0s",
    max: MINUTE,
    applies: "restart",
    doc: "Collect writes for this long (kinder to flash); 0 = at once.",
  }),
  cluster: key(text, { default: "", applies: "restart", doc: "redis:// URL that several nodes share." }),
});
