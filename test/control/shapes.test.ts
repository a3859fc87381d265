import { expect, test } from "bun:test";
import type { Upkeep } from "../../src/core/registrar/upkeep.ts";
import { callShape, locationShape } from "../../src/control/shapes.ts";
import type { Status } from "../../src/control/backend.ts";
import { locationsText } from "../../src/control/location_text.ts";
import { duration, statusText } from "../../src/control/text.ts";
import type { CallRecord } from "../../src/core/silo/record.ts";
import { type Aor, Contact, type ContactFields } from "../../src/core/usrloc/contact.ts";

test("W-22 a call record in the words of the API", () => {
  const record: CallRecord = {
    id: "7f3a01",
    callId: "a@b",
    aor: "alice@example.org",
    from: Buffer.from('"Jürgen" <sip:j@example.org>', "utf8").toString("latin1"),
    to: "<sip:alice@example.org>",
    state: "open",
    result: "",
    outcome: "",
    status: 0,
    startedAtMs: 0,
    endedAtMs: 0,
    parties: ["PBX", "latefork"],
    branches: [{ id: "1", device: "d", party: "alice/1", state: "trying", status: 0, late: false }],
    wakes: [{ device: "d", party: "alice/1", state: "waiting", pushMs: 1.2003, wakeMs: null, reason: "" }],
    timeline: [{ tMs: 3.77587890625, event: "invite", from: "PBX", to: "latefork", label: "INVITE" }],
  };
  expect(callShape(record)).toMatchObject({
    call_id: "a@b",
    from: '"Jürgen" <sip:j@example.org>',
    started_at: "1970-01-01T00:00:00.000Z",
    ended_at: null,
    wakes: [{ device: "d", push_ms: 1.2, wake_ms: null }],
    timeline: [{ t_ms: 3.776, event: "invite", from: "PBX" }],
  });
});

test("X-04 a location shows times left and never a whole push token", () => {
  const token = "0123456789abcdef0123456789abcdef";
  const aor: Aor = {
    key: "alice@example.org",
    user: "alice",
    domain: "example.org",
    id: "a1",
    contacts: [],
    upstream: { state: "registered", expiresAtMs: 61_000, callId: "", cseq: 1, lines: "" },
  };
  const fields: ContactFields = {
    uri: `sip:alice@192.0.2.7;pn-provider=acme;pn-prid=${token};pn-param=x`,
    params: "",
    instance: "",
    regId: 0,
    q: 1000,
    callId: "c",
    cseq: 1,
    expiresAtMs: 500,
    registeredAtMs: 0,
    path: "",
    userAgent: "",
    kind: "mobile",
    push: { provider: "acme", param: "", prid: token, tokenState: "unknown", registeredAtMs: 0 },
    flowKey: "tcp|127.0.0.1:5060|192.0.2.7:40123",
  };
  const contact = new Contact("d1", aor, fields, { onExpiryDue: () => {} });
  aor.contacts.push(contact);
  const upkeep: Upkeep = {
    refreshedBy: "push",
    next: "refresh push",
    nextMs: 4_000,
    why: "because",
    isAtRisk: true,
    lastFailure: "it slept",
    upstreamEndsMs: 61_000,
    held: "registered",
    phone: { by: "push", nextMs: 4_000, lastFailure: "it slept" },
  };
  const upkeeps = {
    upstreamMode: "contact" as const,
    upkeepOf: () => upkeep,
    upkeepOfAor: () => ({ ...upkeep, nextMs: Infinity }),
    reachabilityOf: () => "lost" as const,
  };
  const location = locationShape(aor, upkeeps, 1000);
  const refresh = { by: "push", next: "refresh push", next_in: 3, why: "because", last_failure: "it slept" } as const;
  expect(location.upstream).toEqual({
    mode: "contact",
    state: "registered",
    expires_in: 60,
    at_risk: true,
    refresh: { ...refresh, next_in: null },
  });
  expect(location.devices[0]).toMatchObject({
    upstream_state: "registered",
    upstream_expires_in: 60,
    at_risk: true,
    refresh,
    phone: { by: "push", next_in: 3, last_failure: "it slept" },
  });
  expect(locationsText([location])).toContain("AT RISK push in 3s: it slept");
  expect(locationShape(aor, upkeeps, 61_000).upstream.state).toBe("lapsed");
  expect(location.devices[0]).toMatchObject({
    id: "d1",
    expires_in: 0,
    flow: { state: "lost", transport: "tcp", remote: "192.0.2.7:40123" },
    push: { provider: "acme", token: "0123…cdef", token_state: "unknown" },
  });
  expect(JSON.stringify(location)).not.toContain(token);
});

test("a duration is told in its two largest units", () => {
  const cases: [number, string][] = [[0, "0s"], [59.9, "59s"], [61, "1m 1s"], [3600, "1h"], [90_061, "1d 1h"], [
    -5,
    "0s",
  ]];
  for (const [seconds, text] of cases) expect(duration(seconds)).toBe(text);
});

test("the status screen counts in words, and cuts off no advice", () => {
  const advice = "The PBX grants only 60 s: raise " + "its maximum ".repeat(20) + "end";
  const counts = {
    aors: 1,
    devices: 2,
    push_devices: 1,
    at_risk: 1,
    upstream_failing: 2,
    short_grants: 1,
    flows: 2,
    calls_open: 0,
    calls_held: 0,
    banned: 0,
  };
  const status: Status = {
    state: "ready",
    version: "0.1.0",
    uptime: 1,
    pbx: { uri: "sip:pbx", state: "up", mode: "aor", rtt_ms: 1, reason: "" },
    counts,
    push: [],
    problems: [{ at: "2026-01-02T03:04:05.678Z", level: "warn", message: advice }],
  };
  const text = statusText(status);
  expect(text).toContain("registered  2 devices of 1 AoR, 1 can be woken\n");
  expect(text).toContain(
    "1 device AT RISK (latefork locations), 2 bindings cannot be renewed, 1 AoR granted less than a push needs\n",
  );
  expect(text).toContain(advice);
  expect(statusText({ ...status, pbx: null })).not.toContain("at the pbx");
});
