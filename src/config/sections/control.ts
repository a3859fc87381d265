/** Section `control:`. */
import { control, secretFile } from "../kinds.ts";
import { key, list, section } from "../table.ts";

export const CONTROL = section("The HTTP control port.", {
  listen: list(control, {
    default: ["http://127.0.0.1:8060"],
    applies: "restart",
    doc: "http://ADDRESS:PORT or unix:/PATH. Beyond loopback only with token_file.",
  }),
  token_file: key(secretFile, {
    default: "",
    applies: "live",
    doc: "Clients must send its content as Authorization: Bearer.",
  }),
});
