/** Section `security:`. */
import { choice, network } from "../kinds.ts";
import { key, list, section } from "../table.ts";

export const SECURITY = section("Who may talk to us.", {
  allow: list(network, {
    default: [],
    applies: "live",
    doc: "Networks that are never banned or limited, whatever deny says.",
    example: "[192.168.1.0/24]",
  }),
  deny: list(network, { default: [], applies: "live", doc: "Networks that are not answered." }),
  trust: list(network, {
    default: [],
    applies: "live",
    doc: "Registrar mode: networks believed without digest (a LAN, a test, another proxy).",
  }),
  proxies: list(network, {
    default: [],
    applies: "live",
    doc:
      "Web servers and load balancers in front of us whose X-Forwarded-For and PROXY protocol (version 2) are believed.",
  }),
  scanners: key(choice("ban", "allow"), {
    default: "ban",
    applies: "live",
    doc: "Sources with the User-Agent of a known scanner; ban: no answer, and into the htable banned.",
  }),
});
