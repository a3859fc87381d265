/** Section `limits:`. */
import { count, rate, size } from "../kinds.ts";
import { key, section } from "../table.ts";

export const LIMITS = section("Bounds against floods.", {
  message: key(size, {
    default: "64k",
    min: 1024,
    max: 16 * 1024 * 1024,
    applies: "restart",
    doc: "Largest SIP message.",
  }),
  calls: key(count, { default: "2000", min: 1, max: 1_000_000, applies: "live", doc: "Open calls; more get 503." }),
  calls_per_aor: key(count, {
    default: "20",
    min: 1,
    max: 10_000,
    applies: "live",
    doc: "Open calls to one AoR; more get 486.",
  }),
  connections: key(count, {
    default: "4096",
    min: 1,
    max: 1_000_000,
    applies: "live",
    doc:
      "TCP, TLS and WebSocket connections. One too many closes the one that is no registered phone's and was silent longest.",
  }),
  connections_per_source: key(count, {
    default: "64",
    min: 1,
    max: 1_000_000,
    applies: "live",
    doc: "TCP, TLS and WebSocket connections from one address (IPv6: /64).",
  }),
  handshakes: key(count, {
    default: "1000",
    min: 1,
    max: 1_000_000,
    applies: "live",
    doc: "TLS handshakes under way. One too many closes the oldest that keeps us waiting; each has 20 seconds.",
  }),
  requests_per_source: key(rate, {
    default: "50/s",
    applies: "live",
    doc: "Messages from one address (IPv6: /64); registered phones may five times as much, the PBX anything.",
  }),
  strangers: key(rate, {
    default: "1000/s",
    applies: "live",
    doc: "Messages of all that are not registered, together. Over UDP more are dropped, over connections answered 503.",
  }),
  strangers_in_flight: key(count, {
    default: "2000",
    min: 1,
    max: 1_000_000,
    applies: "live",
    doc: "Requests of all that are not registered that wait for an answer; more get 503 with Retry-After.",
  }),
  transactions: key(count, {
    default: "30000",
    min: 100,
    max: 10_000_000,
    applies: "live",
    doc: "Transactions. Beyond it those that only wait end early; then strangers get 503, at twice as many everybody.",
  }),
  auth_failures: key(rate, {
    default: "10/m",
    applies: "live",
    doc: "Failed logins from one address before it is banned; ten times as many where registered phones are.",
  }),
  bindings: key(count, {
    default: "200000",
    min: 1,
    max: 10_000_000,
    applies: "live",
    doc: "Registered devices in all.",
  }),
});
