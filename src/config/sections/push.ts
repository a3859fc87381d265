/** Section `push:`. */
import { boolean, choice, DAY, duration, file, host, MINUTE, SECOND, secretFile, text, url } from "../kinds.ts";
import { PRESETS } from "../sender/presets.ts";
import { sender } from "../sender/read.ts";
import { key, list, mapOf, namedValues, section } from "../table.ts";

export const PUSH = section("Push services.", {
  unsupported: key(choice("forward", "555"), {
    default: "forward",
    applies: "live",
    doc: "A REGISTER whose pn-provider has no backend here: forward it as it is, or answer 555.",
  }),
  refresh_before: key(duration, {
    default: "130s",
    min: 121 * SECOND,
    max: DAY,
    applies: "live",
    doc: "How long before a registration lapses its sleeping phone is woken to refresh it (RFC 8599: over 120 s).",
  }),
  missed: key(boolean, {
    default: "false",
    applies: "live",
    doc:
      "A phone that was pushed in vain gets a push `missed` when the caller gave up or nobody came; never a VoIP push.",
  }),
  privacy: key(choice("full", "id"), {
    default: "full",
    applies: "live",
    doc: "What a push says of the caller: all that is known, or nothing but the Call-ID.",
  }),
  proxy: key(text, { default: "", applies: "live", doc: "HTTPS proxy (CONNECT) for pushes." }),
  apns: section("Apple (pn-provider apns).", {
    key_file: key(secretFile, {
      default: "",
      applies: "live",
      doc: "The .p8 key; `latefork keys apns FILE` looks at it.",
      example: "/etc/latefork/AuthKey_ABC123DEFG.p8",
    }),
    key_id: key(text, { default: "", applies: "live", doc: "Its key id, 10 characters.", example: "ABC123DEFG" }),
    team_id: key(text, {
      default: "",
      applies: "live",
      doc: "Team id of the developer account, 10 characters.",
      example: "DEF123GHIJ",
    }),
    server: key(url, { default: "https://api.push.apple.com", applies: "live", doc: "Production server." }),
    sandbox_server: key(url, {
      default: "https://api.sandbox.push.apple.com",
      applies: "live",
      doc: "Server for development builds.",
    }),
    ca_file: key(file, { default: "", applies: "live", doc: "Another CA (PEM). Empty: the system's." }),
  }),
  fcm: section("Google (pn-provider fcm).", {
    service_account_file: key(secretFile, {
      default: "",
      applies: "live",
      doc: "Service account of the app's Firebase project (JSON); it also names the token server.",
      example: "/etc/latefork/service-account.json",
    }),
    server: key(url, { default: "https://fcm.googleapis.com", applies: "live", doc: "Server." }),
    ca_file: key(file, { default: "", applies: "live", doc: "Another CA (PEM). Empty: the system's." }),
  }),
  webpush: section("Web Push and UnifiedPush (pn-provider webpush).", {
    subject: key(text, {
      default: "",
      applies: "live",
      doc: "Who the push service may write to: mailto: or https: URL.",
      example: '"mailto:ops@example.org"',
    }),
    vapid_file: key(secretFile, {
      default: "",
      applies: "live",
      doc: "VAPID keys, made by `latefork keys vapid FILE`.",
      example: "/etc/latefork/vapid.json",
    }),
    ca_file: key(file, { default: "", applies: "live", doc: "Another CA (PEM). Empty: the system's." }),
    allow_hosts: list(host, {
      default: [],
      applies: "live",
      doc:
        "Hosts that phones may name though they are on private addresses, and without TLS: a UnifiedPush server in the LAN.",
      example: "[ntfy.lan]",
    }),
  }),
  http: namedValues(
    "Senders described here: pn-provider value, and a preset (" + Object.keys(PRESETS).join(", ") +
      ") or what is sent.",
    [
      "acro: { preset: acrobits }",
      'ntfy: { preset: ntfy, url: "https://ntfy.example.org/{prid}", wake_url: "linphone://" }',
      'own: { url: "https://push.example.org/{event}", json: { to: "{prid}", call: "{call_id}" } }',
    ],
    key(sender, { default: "", applies: "live", doc: "A preset, or url and what is sent." }),
  ),
  webhook: mapOf(
    'Your own pusher: pn-provider value, and where to POST. "*" takes every provider that has no backend here.',
    { example: ['acme: { url: "https://push.example.org/wake", token_file: "", timeout: 5s }'] },
    {
      url: key(url, { default: "", isRequired: true, applies: "live", doc: "Where to POST." }),
      token_file: key(secretFile, { default: "", applies: "live", doc: "Sent as Authorization: Bearer." }),
      timeout: key(duration, { default: "5s", min: 1, max: MINUTE, applies: "live", doc: "For one attempt." }),
    },
  ),
});
