/** Section `registration:`. */
import { choice, count, DAY, duration, SECOND } from "../kinds.ts";
import { key, section } from "../table.ts";

export const REGISTRATION = section("Registration of phones.", {
  min_expires: key(duration, {
    default: "60s",
    min: SECOND,
    max: 366 * DAY,
    applies: "live",
    doc: "Less is answered 423.",
  }),
  default_expires: key(duration, {
    default: "1h",
    min: SECOND,
    max: 366 * DAY,
    applies: "live",
    doc: "When the phone asks for nothing.",
  }),
  max_expires: key(duration, {
    default: "30d",
    min: SECOND,
    max: 366 * DAY,
    applies: "live",
    doc: "More is cut down to it.",
  }),
  max_contacts: key(count, { default: "8", min: 1, max: 32, applies: "live", doc: "Devices of one AoR." }),
  overflow: key(choice("evict", "reject"), {
    default: "evict",
    applies: "live",
    doc: "One device too many: evict the oldest (lost ones first), or reject with 403.",
  }),
  reply_contacts: key(choice("own", "all"), {
    default: "own",
    applies: "live",
    doc: "Contacts in the 200 to a REGISTER: the phone's own, or all of the AoR.",
  }),
});
