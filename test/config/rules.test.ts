/** Rules about two keys, and keys that this version does not have. */
import { expect, test } from "bun:test";
import { loadConfig } from "../../src/config/load.ts";
import { KEYS } from "../../src/config/tree.ts";
import { UNAVAILABLE } from "../../src/config/unavailable.ts";

function told(text: string): string[] {
  return loadConfig(text).problems.map(({ severity, line, column, path, message, hint }) =>
    `${severity} ${line}:${column} ${path}: ${message}${hint === "" ? "" : ` (${hint})`}`
  );
}

const QUIET = "users_file: u\n";

const BROKEN: [name: string, text: string, problem: string][] = [
  [
    "T-06 a TLS listener without a certificate",
    `${QUIET}listen: [udp://0.0.0.0, tls://0.0.0.0]`,
    "error 2:25 listen[1]: tls needs a certificate (set tls.cert_file and tls.key_file)",
  ],
  [
    "T-06 a WSS listener without a certificate",
    `${QUIET}listen: [{ url: "wss://0.0.0.0/sip" }]`,
    "error 2:10 listen[0]: wss needs a certificate (set tls.cert_file and tls.key_file)",
  ],
  [
    "T-06 two certificates and one key",
    `${QUIET}listen: [tls://0.0.0.0]\ntls: { cert_file: [a.pem, b.pem], key_file: a.key }`,
    "error 3:19 tls.cert_file: there is no key_file for each of them (one key for each certificate, in their order)",
  ],
  [
    "T-06 a certificate without any key",
    `${QUIET}listen: [tls://0.0.0.0]\ntls: { cert_file: a.pem }`,
    "error 3:19 tls.cert_file: has no key_file (set tls.key_file)",
  ],
  [
    "T-06 a pair without its key",
    `${QUIET}listen: [tls://0.0.0.0]\ntls: [{ cert_file: a.pem, key_file: a.key }, { cert_file: b.pem }]`,
    "error 3:46 tls[1].key_file: is missing",
  ],
  [
    "T-06 a certificate nobody is shown",
    `${QUIET}tls: { cert_file: a.pem, key_file: a.key }`,
    "warning 2:19 tls.cert_file: has no effect without a tls or wss listener (add tls://0.0.0.0:5061 to listen)",
  ],
  [
    "T-01 a PBX by TLS without a TLS listener",
    'pbx: { uri: "sips:10.0.0.1" }',
    "error 1:13 pbx.uri: there is no tls listener to call it from (add tls://0.0.0.0:5061 to listen)",
  ],
  [
    "T-06 a CA of a PBX that is not called by TLS",
    'pbx: { uri: "sip:10.0.0.1", ca_file: ca.pem }',
    "warning 1:38 pbx.ca_file: has no effect: pbx.uri is not called by TLS (add ;transport=tls to pbx.uri)",
  ],
  [
    "X-04 the control port beyond loopback without a token",
    `${QUIET}control: { listen: ["http://127.0.0.1:1", "http://0.0.0.0:8060"] }`,
    "error 2:43 control.listen[1]: 0.0.0.0 can be reached from outside and there is no control.token_file (set token_file, or listen on 127.0.0.1)",
  ],
  [
    "a ring timeout below the window",
    `${QUIET}wake: { ring_timeout: 20s }`,
    "error 2:23 wake.ring_timeout: is shorter than wake.window (a call must last as long as its phones may take to wake)",
  ],
  [
    "a window above the default ring timeout",
    `${QUIET}wake: { window: 3m }`,
    "error 2:17 wake.ring_timeout: is shorter than wake.window (a call must last as long as its phones may take to wake)",
  ],
  [
    "min_expires above max_expires",
    `${QUIET}registration: { min_expires: 2h, max_expires: 1h }`,
    "error 2:30 registration.min_expires: is longer than max_expires",
  ],
  [
    "default_expires below min_expires",
    `${QUIET}registration: { min_expires: 2h }`,
    "error 2:30 registration.default_expires: is shorter than min_expires",
  ],
  [
    "default_expires above max_expires",
    `${QUIET}registration: { max_expires: 30m }`,
    "error 2:30 registration.default_expires: is longer than max_expires",
  ],
  [
    "a listener twice",
    `${QUIET}listen: [udp://127.0.0.1:5060, tcp://127.0.0.1:5060, udp://127.0.0.1]`,
    "error 2:54 listen[2]: listens on the same address and port as listen[0]",
  ],
  [
    "the control port on a SIP listener",
    `${QUIET}listen: [tcp://127.0.0.1:8060]`,
    "error 2:9 control.listen[0]: listens on the same address and port as listen[0]",
  ],
  [
    "users_file with a PBX",
    `${QUIET}pbx: { uri: "sip:10.0.0.1" }`,
    "error 1:13 users_file: is for registrar mode, but pbx is set (remove one: with a PBX, the PBX checks the passwords)",
  ],
  [
    "security.trust with a PBX",
    `pbx: { uri: "sip:10.0.0.1" }\nsecurity: { trust: [10.0.0.2] }`,
    "warning 2:20 security.trust: is for registrar mode, and pbx is set: it has no effect (did you mean pbx.trust?)",
  ],
  [
    "a Contact per device without an id to tell them apart",
    `pbx: { uri: "sip:10.0.0.1", mode: mirror, contact_id: aor }`,
    "warning 1:35 pbx.mode: works as mode aor, because contact_id: aor gives all devices of a user one Contact " +
    "(contact_id: param or user, if the PBX is to see each device)",
  ],
  [
    "R-09 a PBX that trusts the address phones are forwarded from",
    `pbx: { uri: "sip:10.0.0.1", trusts_us: true }`,
    "error 1:40 pbx.trusts_us: anybody could register as anybody: what phones register leaves from the address that the " +
    "PBX trusts (set own_port, and have the PBX trust that port alone, or use credentials_file)",
  ],
  [
    "R-09 the same over TCP, where there is no port of our own",
    `pbx: { uri: "sip:10.0.0.1;transport=tcp", trusts_us: true }`,
    "error 1:54 pbx.trusts_us: anybody could register as anybody: what phones register leaves from the address that the " +
    "PBX trusts (use credentials_file: a tcp connection cannot leave from an own_port)",
  ],
  [
    "R-09 own_port over TCP",
    `pbx: { uri: "sip:10.0.0.1;transport=tcp", trusts_us: true, own_port: 5066 }`,
    "error 1:70 pbx.own_port: works over UDP alone, a tcp connection takes another source port each time " +
    "(use credentials_file, or transport=udp in pbx.uri)",
  ],
  [
    "R-09 own_port on a listener",
    `pbx: { uri: "sip:10.0.0.1", trusts_us: true, own_port: 5060 }`,
    "error 1:56 pbx.own_port: is the port of listen[0], from where phones are forwarded (take another)",
  ],
  [
    "R-09 own_port without a UDP listener",
    `listen: [tcp://127.0.0.1:5060]\npbx: { uri: "sip:10.0.0.1", own_port: 5066 }`,
    "error 2:39 pbx.own_port: there is no udp listener beside it (add udp://0.0.0.0:5060 to listen)",
  ],
  [
    "trust in everybody",
    "security: { trust: [0.0.0.0/0] }",
    "warning 1:21 security.trust[0]: anybody may register as anybody (name your own networks)",
  ],
  [
    "host bits in a network",
    "security: { trust: [10.0.0.7/24] }",
    'warning 1:21 security.trust[0]: "10.0.0.7/24" has address bits beyond its prefix, which are ignored',
  ],
  [
    "a device rule that matches nothing",
    `${QUIET}devices: [{ kind: desk }]`,
    "error 2:11 devices[0]: matches nothing (set user_agent or header)",
  ],
  [
    "a device rule that says nothing",
    `${QUIET}devices: [{ user_agent: x }]`,
    "error 2:11 devices[0]: says nothing about the phone (set kind or push)",
  ],
  [
    "F-07 a second address of the PBX",
    'pbx: { uri: ["sip:10.0.0.1", "sip:10.0.0.2"] }',
    "warning 1:30 pbx.uri[1]: is believed as the PBX and not tried when the first fails: failover is not available in " +
    "this version (name further addresses of the PBX in pbx.trust)",
  ],
  [
    "an APNs key without its id",
    `${QUIET}push: { apns: { key_file: a.p8, team_id: DEF123GHIJ } }`,
    "error 2:9 push.apns.key_id: is missing (push.apns.key_file needs it; see `latefork keys apns FILE`)",
  ],
  [
    "an APNs key without its team",
    `${QUIET}push: { apns: { key_file: a.p8, key_id: ABC123DEFG, team_id: "" } }`,
    "error 2:62 push.apns.team_id: is missing (push.apns.key_file needs it; see `latefork keys apns FILE`)",
  ],
  [
    "a key id that is none",
    `${QUIET}push: { apns: { key_file: a.p8, key_id: abc, team_id: 0123456789 } }`,
    'warning 2:41 push.apns.key_id: "abc" does not look like one of Apple\'s (10 capital letters and digits)',
  ],
  [
    "a key id without a key",
    `${QUIET}push: { apns: { key_id: ABC123DEFG } }`,
    "warning 2:25 push.apns.key_id: has no effect without push.apns.key_file",
  ],
  [
    "an APNs server without TLS",
    `${QUIET}push: { apns: { key_file: a.p8, key_id: ABC123DEFG, team_id: DEF123GHIJ, server: "http://127.0.0.1" } }`,
    "error 2:82 push.apns.server: must be an https URL",
  ],
  [
    "a webhook in the place of push.apns",
    `${QUIET}push: { apns: { key_file: a.p8, key_id: ABC123DEFG, team_id: DEF123GHIJ }, webhook: { apns: { url: "http://a" } } }`,
    "warning 2:87 push.webhook.apns: takes the pushes that push.apns would send (remove one of them)",
  ],
  [
    "an FCM server without TLS",
    `${QUIET}push: { fcm: { service_account_file: a.json, server: "http://127.0.0.1" } }`,
    "error 2:54 push.fcm.server: must be an https URL",
  ],
  [
    "a webhook in the place of push.fcm",
    `${QUIET}push: { fcm: { service_account_file: a.json }, webhook: { fcm: { url: "http://a" } } }`,
    "warning 2:59 push.webhook.fcm: takes the pushes that push.fcm would send (remove one of them)",
  ],
  [
    "VAPID keys without a subject",
    `${QUIET}push: { webpush: { vapid_file: v.json } }`,
    'error 2:9 push.webpush.subject: is missing (push services want to know whom to write to, such as "mailto:ops@example.org")',
  ],
  [
    "a subject that is a bare address",
    `${QUIET}push: { webpush: { vapid_file: v.json, subject: ops@example.org } }`,
    'error 2:49 push.webpush.subject: "ops@example.org" is neither a mailto: nor an https: URL (did you mean "mailto:ops@example.org"?)',
  ],
  [
    "a subject that is no URL",
    `${QUIET}push: { webpush: { vapid_file: v.json, subject: "http://example.org" } }`,
    'error 2:49 push.webpush.subject: "http://example.org" is neither a mailto: nor an https: URL',
  ],
  [
    "a subject without VAPID keys",
    `${QUIET}push: { webpush: { subject: "mailto:ops@example.org" } }`,
    "warning 2:29 push.webpush.subject: has no effect without push.webpush.vapid_file",
  ],
  [
    "hosts to push to without VAPID keys",
    `${QUIET}push: { webpush: { allow_hosts: [ntfy.lan] } }`,
    "warning 2:33 push.webpush.allow_hosts: has no effect without push.webpush.vapid_file",
  ],
  [
    "a host in brackets",
    `${QUIET}push: { webpush: { vapid_file: v.json, subject: "mailto:a@b", allow_hosts: [a.lan, "[::1]"] } }`,
    "error 2:84 push.webpush.allow_hosts[1]: write it without brackets and without a last dot",
  ],
  [
    "a webhook in the place of push.webpush",
    `${QUIET}push: { webpush: { vapid_file: v.json, subject: "https://a.example" }, webhook: { webpush: { url: "http://a" } } }`,
    "warning 2:83 push.webhook.webpush: takes the pushes that push.webpush would send (remove one of them)",
  ],
];

test.each(BROKEN)("O-02 %s is told", (_name, text, problem) => {
  expect(told(text)).toEqual([problem]);
});

const SOUND: [name: string, text: string][] = [
  ["the control port beyond loopback with a token", "control: { listen: ['http://0.0.0.0:8060'], token_file: t }"],
  [
    "the control port on loopback names and sockets",
    "control: { listen: ['http://localhost', 'http://[::1]:1', 'unix:/a'] }",
  ],
  ["T-06 a TLS listener with a certificate", "listen: [tls://0.0.0.0]\ntls: { cert_file: a.pem, key_file: a.key }"],
  ["T-06 several pairs as lists", "listen: [tls://0.0.0.0]\ntls: { cert_file: [a, b], key_file: [c, d] }"],
  [
    "T-06 several pairs as a list",
    "listen: [wss://0.0.0.0/sip]\ntls: [{ cert_file: a, key_file: c }, { cert_file: b, key_file: d }]",
  ],
  ["T-01 a WebSocket listener behind a web server", "listen: [ws://127.0.0.1:8080/sip]"],
  ["two free ports", "listen: [udp://127.0.0.1:0, udp://127.0.0.1:0]"],
  ["the same port over udp and tcp", "listen: [udp://127.0.0.1:5060, tcp://127.0.0.1:5060]"],
  ["ring timeout equal to the window", "wake: { window: 2m }"],
];

test.each(SOUND)("O-02 %s is fine", (_name, text) => {
  expect(told(QUIET + text)).toEqual([]);
});

test("O-02 a rule is silent about a key that was wrong by itself", () => {
  expect(told(`${QUIET}wake: { window: 5mm, ring_timeout: 1s }`)).toEqual([
    'error 2:18 wake.window: unknown unit "mm" (use ms, s, m, h or d)',
  ]);
});

const MISSING: [row: string, text: string, place: string][] = [
  ["pbx.uri", 'pbx: { uri: "sip:10.0.0.1;transport=ws" }', "2:13 pbx.uri"],
  ["pbx.uri", 'pbx: { uri: ["sip:10.0.0.1", "sip:10.0.0.1;transport=wss"] }', "2:30 pbx.uri[1]"],
  ["wake.methods", "wake: { methods: [INVITE, message] }", "2:27 wake.methods[1]"],
  ["wake.early_media", "wake: { early_media: first }", "2:22 wake.early_media"],
  ["wake.serial", "wake: { serial: true }", "2:17 wake.serial"],
  ["wake.q_step", "wake: { q_step: 20s }", "2:17 wake.q_step"],
  ["push.proxy", "push: { proxy: 'http://proxy:3128' }", "2:16 push.proxy"],
  ["store.cluster", "store: { cluster: 'redis://x' }", "2:19 store.cluster"],
  ["trace.hep", "trace: { hep: 'udp://x' }", "2:15 trace.hep"],
];

test.each(MISSING)("O-02 %s: what this version lacks is refused: %s", (row, text, place) => {
  const { what, instead } = UNAVAILABLE.find(({ path }) => path === row)!;
  expect(told(`security: { trust: [] }\n${text}`).filter((line) => line.startsWith("error"))).toEqual([
    `error ${place}: ${what} not available in this version (${instead})`,
  ]);
});

test("O-02 every line of the table of missing things is tried above, and names a key that exists", () => {
  for (const { path } of UNAVAILABLE) {
    expect(MISSING.map(([row]) => row)).toContain(path);
    expect(KEYS.some((row) => row.path === path || row.path.startsWith(path.replace("*", "")))).toBe(true);
  }
});

test("O-02 the default value of a missing thing may be written down", () => {
  const text = "wake: { serial: false, early_media: all }\nstore: { cluster: '' }\n";
  expect(told(QUIET + text)).toEqual([]);
});
