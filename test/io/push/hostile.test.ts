/**
 * What strangers put into names, URIs and Call-IDs, through every backend: the push arrives, its payload is valid, within
 * the service's size, and says what was said or less of it, never something else (P-03).
 */
import { afterAll, expect, test } from "bun:test";
import { makeVapidKeys } from "../../../src/config/vapid_keys.ts";
import { PushRelay } from "../../../src/io/push/relay.ts";
import type { PushEvent, PushRequest } from "../../../src/io/push/types.ts";
import { ApnsServer } from "./apns/apns_server.ts";
import { FcmServer } from "./fcm/fcm_server.ts";
import { pushConfig, pushRequest, VirtualWorld } from "./virtual_world.ts";
import { WebPushService } from "./webpush/webpush_service.ts";

const world = new VirtualWorld();
const vapid = makeVapidKeys();
const apns = await new ApnsServer({ now: world.now }).start();
const fcm = await new FcmServer(world.now).start();
const webpush = await new WebPushService(world.now).start();
const webhooks: { payload: Record<string, unknown>; bytes: number }[] = [];
const webhook = Bun.serve({
  hostname: "127.0.0.1",
  port: 0,
  fetch: async (request) => {
    const text = await request.text();
    webhooks.push({ payload: JSON.parse(text), bytes: Buffer.byteLength(text) });
    return new Response(null, { status: 202 });
  },
});

for (const topic of ["org.example.phone", "org.example.phone.voip"]) apns.topics.add(topic);
apns.tokens.set("aa", "org.example.phone").set("bb", "org.example.phone.voip");
fcm.tokens.add("token-1");
const subscription = webpush.subscribe(vapid.publicKey);

const secrets = { "/p8": apns.p8, "/apns": apns.ca, "/account": fcm.account(), "/fcm": fcm.ca, "/webpush": webpush.ca };
for (const [path, text] of Object.entries(secrets)) world.secrets.set(path, text);
world.secrets.set("/vapid", JSON.stringify(vapid));
const config = pushConfig({ acme: { url: `http://127.0.0.1:${webhook.port}/wake` } });
config.apns = {
  key_file: "/p8",
  key_id: apns.keyId,
  team_id: apns.teamId,
  server: apns.url,
  sandbox_server: apns.url,
  ca_file: "/apns",
};
config.fcm = { service_account_file: "/account", server: fcm.url, ca_file: "/fcm" };
config.webpush = {
  subject: "mailto:ops@example.org",
  vapid_file: "/vapid",
  ca_file: "/webpush",
  allow_hosts: ["127.0.0.1"],
};
const relay = new PushRelay(config, world);
afterAll(async () => {
  relay.stop();
  webhook.stop(true);
  for (const server of [apns, fcm, webpush]) await server.stop();
});

interface Arrived {
  payload: Record<string, unknown>;
  bytes: number;
}

/** What the service counts against its limit, and what the phone reads. */
const BACKENDS: Record<
  string,
  { phone: Partial<PushRequest>; limit: number; last: () => Arrived; faults: () => string[] }
> = {
  "apns voip": {
    phone: { provider: "apns", param: "DEF123GHIJ.org.example.phone.voip", prid: "bb" },
    limit: 5120,
    last: () => apns.received.at(-1)!,
    faults: () => apns.faults,
  },
  "apns alert": {
    phone: { provider: "apns", param: "DEF123GHIJ.org.example.phone", prid: "aa" },
    limit: 4096,
    last: () => apns.received.at(-1)!,
    faults: () => apns.faults,
  },
  fcm: {
    phone: { provider: "fcm", param: fcm.projectId, prid: "token-1" },
    limit: 4096,
    last: () => ({ payload: fcm.received.at(-1)!.message.data, bytes: fcm.received.at(-1)!.bytes }),
    faults: () => fcm.faults,
  },
  webpush: {
    phone: { provider: "webpush", param: "", prid: subscription.endpoint, keys: subscription.keys },
    limit: 4096,
    last: () => webpush.received.at(-1)!,
    faults: () => webpush.faults,
  },
  webhook: {
    phone: { provider: "acme", param: "app", prid: "token-1" },
    limit: 4096,
    last: () => webhooks.at(-1)!,
    faults: () => [],
  },
};

const latin1 = (text: string): string => Buffer.from(text, "utf8").toString("latin1");

/** As it comes from the wire, one character a byte → what a person would read. */
const NAMES: [what: string, wire: string, read: string][] = [
  ["JSON", '"},{"x":"', '"},{"x":"'],
  ["JSON of a push", '","event":"cancel","x":"', '","event":"cancel","x":"'],
  ["backslashes", '\\\\\\" \\u0000 \\', '\\\\\\" \\u0000 \\'],
  ["a line break", "a\r\nX-Evil: 1\r\n\r\nb", "a\r\nX-Evil: 1\r\n\r\nb"],
  ["control characters", "a\x00b\x1b[31m\x7f\u0085\u009f", "a\x00b\x1b[31m\x7f\u0085\u009f"],
  ["emoji", latin1("Zoë 👩‍👩‍👧‍👦"), "Zoë 👩‍👩‍👧‍👦"],
  ["text from right to left", latin1("\u202eabc\u2066"), "\u202eabc\u2066"],
  ["HTML", "<script>alert(1)</script>&amp;", "<script>alert(1)</script>&amp;"],
  ["6 KB", "x".repeat(6144), "x".repeat(6144)],
  ["6 KB of quotes", '"'.repeat(6144), '"'.repeat(6144)],
  ["6 KB of control characters", "\x01".repeat(6144), "\x01".repeat(6144)],
  ["6 KB of emoji", latin1("👩‍👧".repeat(600)), "👩‍👧".repeat(600)],
  ["6 KB of bytes that are no UTF-8", "\xff".repeat(6144), "ÿ".repeat(6144)],
  ["lone surrogates", "\ud800".repeat(3000), "\ufffd".repeat(3000)],
  ["__proto__", "__proto__", "__proto__"],
];
const EVENTS: PushEvent[] = ["call", "test"];

for (const backend of Object.keys(BACKENDS)) {
  const { phone, limit, last, faults } = BACKENDS[backend]!;

  test.each(NAMES)(`P-03 ${backend}: a name of %s`, async (_what, fromName, read) => {
    for (const event of EVENTS) {
      const verdict = await relay.sendNow(pushRequest({ ...phone, event, fromName, callId: "a@b" }));
      expect(verdict).toMatchObject({ outcome: "accepted", attempts: 1 });
      const { payload, bytes } = last();
      expect(bytes).toBeLessThanOrEqual(limit);
      expect(payload).toMatchObject({ event, call_id: "a@b", aor: "alice@example.org" });
      const name = String(payload.from_name);
      // Cut, perhaps, but between two characters; and well-formed, whatever was said.
      expect(read.toWellFormed().startsWith(name.toWellFormed())).toBe(true);
      expect(name.length === read.length || Buffer.byteLength(read) > 1000).toBe(true);
      expect(name).not.toBe("");
    }
    expect(faults()).toEqual([]);
  });

  test.each<[string, Partial<PushRequest>]>([
    ["a Call-ID with a line break", { callId: "a@b\r\nx-evil: 1" }],
    ["a Call-ID of 1 KB", { callId: "c".repeat(1024) }],
    ["a Call-ID beyond ASCII", { callId: "\xff\xfe@\x00" }],
    ["a Call-ID that is a path", { callId: "../../x?y#z" }],
    ["URIs of 6 KB", { fromUri: `sip:${"x".repeat(6144)}@a`, toUri: `sip:${"y".repeat(6144)}@b` }],
    ["a URI with quotes", { fromUri: 'sip:"a\\@b' }],
    ["an AoR with quotes", { aor: 'al"},{"x":"ice@example.org' }],
    ["everything at once", {
      fromName: "\x01".repeat(6144),
      fromUri: `sip:${"x".repeat(6144)}@a`,
      callId: "\xff".repeat(255),
    }],
  ])(`P-03 ${backend}: %s`, async (_what, changes) => {
    const verdict = await relay.sendNow(pushRequest({ ...phone, ...changes }));
    expect(verdict).toMatchObject({ outcome: "accepted", attempts: 1 });
    const { payload, bytes } = last();
    expect(bytes).toBeLessThanOrEqual(limit);
    expect(payload.event).toBe("call");
    expect(String(payload.call_id).length).toBe(
      Buffer.from(changes.callId ?? "a84b4c76e66710@pc33", "latin1").toString("latin1").length,
    );
    expect(faults()).toEqual([]);
  });
}

test("P-03 a token that is no token cannot become a path, a header or another request", async () => {
  const prids = ["../../x", "a\r\nb: c", 'a","x":"', "a b", "\x00", "x".repeat(4097), "https://127.0.0.1:1/\r\nx: y"];
  for (const prid of prids) {
    for (const { phone } of Object.values(BACKENDS)) {
      const before = [apns, fcm, webpush].flatMap(({ faults }) => faults);
      const { outcome } = await relay.sendNow(pushRequest({ ...phone, prid, keys: undefined, ttlMs: 100 }));
      expect(phone.provider === "acme" || outcome !== "accepted").toBe(true);
      expect([apns, fcm, webpush].flatMap(({ faults }) => faults)).toEqual(before);
    }
  }
});

test("P-13 with push.privacy id no backend is told more of the caller than the Call-ID", async () => {
  expect(relay.reload({ ...config, privacy: "id" })).toEqual([]);
  for (const { phone, last } of Object.values(BACKENDS)) {
    const caller = { fromName: "Mallory Secret", fromUri: "sip:mallory@secret.example" };
    const verdict = await relay.sendNow(pushRequest({ ...phone, ...caller, callId: "c@1" }));
    expect(verdict).toMatchObject({ outcome: "accepted" });
    const { payload } = last();
    expect(payload).toMatchObject({ call_id: "c@1", aor: "alice@example.org", from_name: "", from_uri: "" });
    expect(JSON.stringify(payload).toLowerCase()).not.toMatch(/mallory|secret/);
  }
  relay.reload(config);
});
