/** Section `devices:`. */
import { choice, headerMatch, pattern, text, tokenSource } from "../kinds.ts";
import { key, listOf, optional } from "../table.ts";

export const DEVICES = listOf("Rules for phones that do not speak RFC 8599; the first match wins.", {
  example: ['- { user_agent: "^Acrobits", kind: mobile, push: { provider: acme, token_from: "contact:pn-tok" } }'],
}, {
  user_agent: key(pattern, {
    default: "",
    applies: "live",
    doc: "Regular expression (RE2: no lookaround, no \\1) on the first 255 characters of User-Agent.",
  }),
  header: key(headerMatch, {
    default: "",
    applies: "live",
    doc: 'Another header, as "Name: regular expression", which sees as much.',
  }),
  kind: key(choice("mobile", "desk", ""), {
    default: "",
    applies: "live",
    doc: "mobile: sleeps and may be woken. desk: reachable as long as its flow is.",
  }),
  push: optional("How the matching phone is woken.", {
    provider: key(text, { default: "", isRequired: true, applies: "live", doc: "As pn-provider." }),
    token_from: key(tokenSource, {
      default: "",
      isRequired: true,
      applies: "live",
      doc: '"contact:PARAMETER" or "header:NAME" that carries the token.',
    }),
  }),
});
