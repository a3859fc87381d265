/** Each preset with a local server that judges as the real service is documented to: what is sent, and what answers mean (P-11). */
import { afterEach, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { PRESETS } from "../../../../src/config/sender/presets.ts";
import { PushRelay } from "../../../../src/io/push/relay.ts";
import type { PushEvent, PushRequest } from "../../../../src/io/push/types.ts";
import { sendersOf } from "../http_sender/senders.ts";
import { pushConfig, pushRequest, VirtualWorld } from "../virtual_world.ts";
import { FOLDER, goldenOf } from "./golden.ts";
import { KEY, RunningService, SERVICES } from "./services.ts";

const cleanups: (() => void)[] = [];
afterEach(() => {
  for (const cleanup of cleanups.splice(0)) cleanup();
});

/** FlexiAPI takes the place of a provider by its own name; the others have one that the admin chose. */
const providerOf = (name: string): string => name === "flexiapi" ? "fcm" : name;

function start(name: string, secret = KEY) {
  const service = new RunningService(SERVICES[name]!);
  const world = new VirtualWorld();
  world.secrets.set("/token", secret);
  const http = sendersOf(`${providerOf(name)}: ${service.service.config(service.url)}`);
  const relay = new PushRelay({ ...pushConfig({}), http }, world);
  cleanups.push(() => relay.stop(), () => service.stop());
  const send = (changes: Partial<PushRequest> = {}) =>
    relay.sendNow(pushRequest({ provider: providerOf(name), ...service.service.phone, ...changes }));
  return { service, world, relay, send };
}

const NAMES = Object.keys(PRESETS);

test("P-11 each preset has a service that judges it", () => expect(Object.keys(SERVICES)).toEqual(NAMES));

test.each(NAMES)("P-11 %s: the requests are those of the golden file", (name) => {
  expect(goldenOf(name)).toBe(readFileSync(join(FOLDER, `${name}.txt`), "utf8"));
});

const EVENTS: PushEvent[] = ["call", "cancel", "missed", "message", "refresh", "test"];

test.each(NAMES)("P-11 %s: what is sent of each event is taken, and nothing else is sent", async (name) => {
  const { service, send } = start(name);
  const written = PRESETS[name]!.events as Record<string, unknown>;
  for (const event of EVENTS) {
    const before = service.came.length;
    const isSent = event === "test" || written[event] !== null;
    const verdict = await send({ event, ...(event === "test" ? { callId: "", fromName: "", fromUri: "" } : {}) });
    expect([event, verdict.outcome, verdict.reason]).toEqual([
      event,
      isSent ? "accepted" : "refused",
      isSent ? `200 from ${service.url}` : `push.http.${providerOf(name)} sends no ${event} pushes`,
    ]);
    expect(service.came.length - before).toBe(isSent ? 1 : 0);
  }
  for (const reason of ["answered_elsewhere", "caller_gave_up", "declined", "timeout"] as const) {
    if (written.cancel !== null) expect((await send({ event: "cancel", reason })).outcome).toBe("accepted");
  }
  expect(service.faults).toEqual([]);
});

const HOSTILE = [
  '","x":"',
  "a\r\nX-Evil: 1\r\n\r\nb",
  Buffer.from("👩‍👩‍👧‍👦 Zoë").toString("latin1"),
  "\ud800",
  "{prid}{token}",
  "=?UTF-8?B?DQo=?=",
  "&token=x&user=y",
  "x".repeat(6144),
  '"'.repeat(6144),
  "\xff".repeat(6144),
];

test.each(NAMES)("P-11 %s: hostile callers are taken as callers", async (name) => {
  const { service, send } = start(name);
  for (const fromName of HOSTILE) {
    for (
      const changes of [{ fromName }, { fromName, fromUri: `sip:${"y".repeat(700)}@a` }, {
        fromName,
        callId: `"${fromName}`,
      }]
    ) {
      const isLong = (changes.callId ?? "").length > 1000;
      const { outcome } = await send(changes);
      if (!isLong) expect([fromName, outcome]).toEqual([fromName, "accepted"]);
    }
  }
  expect(service.faults).toEqual([]);
});

test.each(NAMES.filter((name) => SERVICES[name]!.dead !== ""))("P-04 P-11 %s: a dead token is dead", async (name) => {
  const { service, send } = start(name);
  const verdict = await send({ prid: service.service.dead });
  expect(verdict.outcome).toBe("dead");
  expect(verdict.reason).toContain("the token is dead");
});

test.each<[name: string, changes: Partial<PushRequest>, outcome: string, words: string]>([
  ["bark", { prid: "gone" }, "dead", "; the token is dead"],
  ["ntfy", { prid: "forbidden" }, "refused", "check what push.http.ntfy says who it is"],
  ["ntfy", { prid: "v1/account/password" }, "refused", "its prid cannot be a part of a URL"],
  ["ntfy", { prid: "no topic" }, "refused", "404 from"],
  ["pushover", { prid: "spent" }, "refused", "application is over its quota"],
  ["homeassistant", { prid: "mobile_app_other" }, "refused", "400 from"],
  ["flexiapi", { prid: "a&b" }, "refused", "422 from"],
])("P-04 P-11 %s with %o: %s", async (name, changes, outcome, words) => {
  const verdict = await start(name).send(changes);
  expect(verdict.outcome).toBe(outcome as never);
  expect(verdict.reason).toContain(words);
});

test.each<[name: string, changes: Partial<PushRequest>, reason: string]>([
  ["ntfy", { prid: "busy" }, "429 from"],
  ["flexiapi", { prid: "away" }, "503 from"],
])("P-04 P-11 %s with %o is tried again inside the window", async (name, changes, reason) => {
  const { world, send } = start(name);
  const verdict = send({ ...changes, ttlMs: 600 });
  await world.timerSet(250);
  await world.pass(250);
  const { outcome, attempts, reason: said } = await verdict;
  expect({ outcome, attempts }).toEqual({ outcome: "failed", attempts: 2 });
  expect(said).toContain(reason);
});

test.each(["flexiapi", "ntfy", "pushover", "homeassistant"])(
  "P-11 %s: a wrong key is our fault, not the phone's",
  async (name) => {
    const { relay, send } = start(name, "x".repeat(30));
    const verdict = await send();
    expect(verdict.outcome).toBe("refused");
    expect(relay.backends()[0]!.state).toBe(name === "pushover" ? "ok" : "failing");
  },
);

test("P-11 a phone that names a topic which is not its own makes no service look ill, a second one does", async () => {
  const { relay, send } = start("ntfy");
  const state = () => relay.backends()[0]!.state;
  await send({ device: "good" });
  expect(await send({ device: "bad", prid: "forbidden" })).toMatchObject({ outcome: "refused", status: 403 });
  expect(await send({ device: "bad", prid: "forbidden" })).toMatchObject({ outcome: "refused", status: 403 });
  expect(state()).toBe("ok");
  await send({ device: "worse", prid: "forbidden" });
  expect(state()).toBe("failing");
});

test.each<[name: string, words: string]>([
  ["acrobits", "takes connections"],
  ["yak", "takes connections"],
  ["flexiapi", "answers 200"],
  ["ntfy", "answers 200"],
  ["bark", "answers 200"],
  ["gotify", "answers 200"],
  ["pushover", "answers 200"],
  ["homeassistant", "answers 200"],
])("O-02 P-11 check --live of %s: it %s, and no phone hears of it", async (name, words) => {
  const { service, relay } = start(name);
  const [asked] = await relay.ask([], 4000);
  expect(asked!.answer).toMatchObject({ state: "ok", words: `${service.url} ${words}` });
  expect(service.came.filter(({ method }) => method !== "GET")).toEqual([]);
  expect(service.faults).toEqual([]);
});

test.each(["flexiapi", "ntfy", "homeassistant"])("O-02 P-11 check --live of %s tells a wrong key", async (name) => {
  const [asked] = await start(name, "x".repeat(30)).relay.ask([], 4000);
  expect(asked!.answer.state).toBe("failed");
  expect(asked!.answer.words).toContain("answers 401");
});

test("P-11 acrobits: Id is the exact Call-ID, whatever is in it", async () => {
  const { service, send } = start("acrobits");
  const callId = 'a84b"4c\\76@[::1]:5060;x';
  await send({ callId });
  await send({ event: "cancel", callId, reason: "answered_elsewhere" });
  await send({ event: "cancel", callId, reason: "caller_gave_up" });
  expect(service.came.map(({ body }) => JSON.parse(body)).map(({ verb, Id }) => [verb, Id])).toEqual([
    ["NotifyIncomingCall", callId],
    ["NotifyIncomingCallAnsweredElsewhere", callId],
    ["NotifyIncomingCallMissed", callId],
  ]);
});

test("P-11 flexiapi: Linphone's two tokens on iOS are pushed by one at a time, and an odd Call-ID is left out", async () => {
  const { service, relay, world } = start("flexiapi");
  const http = sendersOf(`apns: ${service.service.config(service.url)}`);
  relay.reload({ ...pushConfig({}), http });
  expect(world.secrets.has("/token")).toBe(true);
  const phone = { provider: "apns", param: "ABC.org.linphone.phone.remote&voip", prid: "aa:remote&bb:voip" };
  expect((await relay.sendNow(pushRequest({ ...phone, callId: "a b!" }))).outcome).toBe("accepted");
  expect((await relay.sendNow(pushRequest({ ...phone, event: "refresh", callId: "" }))).outcome).toBe("accepted");
  expect(service.came.map(({ body }) => JSON.parse(body))).toEqual([
    { pn_provider: "apns", pn_param: "ABC.org.linphone.phone.voip", pn_prid: "bb", type: "call" },
    { pn_provider: "apns", pn_param: "ABC.org.linphone.phone", pn_prid: "aa", type: "background" },
  ]);
  expect(service.faults).toEqual([]);
});

test("P-11 ntfy, bark: the push about the end names the one about the call", async () => {
  for (const name of ["ntfy", "bark"]) {
    const { service, send } = start(name);
    await send({ callId: "a/b@c" });
    await send({ event: "cancel", callId: "a/b@c" });
    const [call, cancel] = service.came;
    const ids = name === "ntfy"
      ? [call!.headers.get("x-sequence-id"), cancel!.path.split("/")[2]]
      : [JSON.parse(call!.body).id, JSON.parse(cancel!.body).id];
    expect(ids[0]).toMatch(/^[\w-]{22}$/);
    expect(ids[1]).toBe(ids[0]);
  }
});
