/** Section `web:`. */
import { text } from "../kinds.ts";
import { list, section } from "../table.ts";

export const WEB = section("Web pages that connect to ws and wss listeners.", {
  allow_origins: list(text, {
    default: [],
    applies: "live",
    doc: "Pages of these origins may connect (and what is no browser). Empty: those of all.",
    example: '["https://phone.example.org"]',
  }),
});
