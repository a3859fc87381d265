import { expect, test } from "bun:test";
import {
  type DeviceJson,
  type LocationJson,
  locationJson,
  locationsText,
  locationText,
} from "../../src/control/locations.ts";
import type { RefreshOutlook } from "../../src/core/registrar/refresh_outlook.ts";
import { type Aor, Contact, type ContactFields } from "../../src/core/usrloc/contact.ts";

const OURS = {
  by: "latefork",
  next: "our REGISTER to the PBX",
  next_in: 1740,
  why: "pbx.credentials_file has alice",
  last_failure: "",
} as const;
const PHONES = {
  by: "push",
  next: "refresh push",
  next_in: 6,
  why: "pbx.credentials_file does not have bob: its phone is woken to refresh by itself",
  last_failure: "",
} as const;

function device(fields: Partial<DeviceJson> = {}): DeviceJson {
  return {
    id: "3f",
    kind: "mobile",
    contact: "sip:alice@203.0.113.7:51044;transport=tcp",
    instance: "urn:uuid:1",
    user_agent: "Linphone",
    expires_in: 600,
    flow: { state: "lost", transport: "tcp", remote: "203.0.113.7:51044" },
    push: {
      provider: "acme",
      param: "app",
      token: "abcd…wxyz",
      token_state: "valid",
      encrypted: false,
      registered_at: "2026-01-02T03:04:05.678Z",
    },
    upstream_state: "registered",
    upstream_expires_in: 2472,
    at_risk: false,
    refresh: OURS,
    phone: { by: "push", next_in: 470, last_failure: "" },
    ...fields,
  };
}

function location(mode: LocationJson["upstream"]["mode"], ...devices: DeviceJson[]): LocationJson {
  const state = mode === null ? "none" : "registered";
  return {
    aor: "alice@example.org",
    upstream: { mode, state, expires_in: 2472, at_risk: false, refresh: OURS },
    devices,
  };
}

/** The cells of the only row, by their titles. */
function row(of: LocationJson): Record<string, string> {
  const [titles, cells] = locationsText([of]).split("\n").map((line) => line.split(/ {2,}/));
  return Object.fromEntries(titles!.map((title, i) => [title, cells![i]!]));
}

const desk = { kind: "desk", push: null, phone: { by: "phone", next_in: 600, last_failure: "" } } as const;
const silent = "2 refresh pushes were not answered";
const refused = "the PBX answered 403";
const dropped = "the PBX dropped its Contact when another device registered";
const cases: [name: string, of: LocationJson, cells: Record<string, string>][] = [
  ["we renew the PBX's side, a push the phone's", location("aor", device()), {
    EXPIRES: "10m",
    NEXT: "push in 7m 50s",
    "AT PBX": "41m 12s",
    "RENEWED BY": "latefork in 29m",
    FLOW: "tcp 203.0.113.7:51044 (lost)",
    PUSH: "acme valid",
  }],
  ["a phone that does all by itself", location("aor", device({ ...desk, refresh: { ...PHONES, by: "phone" } })), {
    NEXT: "phone within 10m",
    "RENEWED BY": "its phone",
    PUSH: "-",
  }],
  [
    "a phone that does not answer: told on its side alone",
    location(
      "aor",
      device({
        at_risk: true,
        refresh: { ...PHONES, last_failure: silent },
        phone: { by: "push", next_in: 6, last_failure: silent },
      }),
    ),
    { NEXT: `AT RISK push in 6s: ${silent}`, "RENEWED BY": "its phone" },
  ],
  [
    "a PBX that refuses us: told on its side alone",
    location("contact", device({ refresh: { ...PHONES, last_failure: refused } })),
    { NEXT: "push in 7m 50s", "RENEWED BY": `its phone: ${refused}` },
  ],
  [
    "a Contact that the PBX dropped, though another device of the user is registered",
    location(
      "mirror",
      device({
        at_risk: true,
        upstream_state: "dropped",
        upstream_expires_in: null,
        refresh: { ...PHONES, last_failure: dropped },
      }),
    ),
    { NEXT: "AT RISK push in 7m 50s", "AT PBX": "dropped", "RENEWED BY": "its phone" },
  ],
  ["lapsed at the PBX", location("aor", device({ upstream_state: "lapsed", upstream_expires_in: 0 })), {
    "AT PBX": "lapsed",
  }],
  ["registrar mode", location(null, device({ ...desk, upstream_state: "none", upstream_expires_in: null })), {
    "AT PBX": "-",
    "RENEWED BY": "-",
    NEXT: "phone within 10m",
  }],
  ["nobody left, and the PBX not told yet", location("aor"), { DEVICE: "-", "AT PBX": "41m 12s", NEXT: "-" }],
];
for (const [name, of, cells] of cases) {
  test(`R-09 locations tell both sides: ${name}`, () => expect(row(of)).toMatchObject(cells));
}

test("R-09 one AoR is told in full: in mode aor what the PBX holds once, else for each device", () => {
  expect(locationText(location("aor", device(), device({ id: "9c", ...desk, user_agent: "", instance: "" })))).toBe(
    `alice@example.org  2 devices
at the pbx         registered, 41m 12s left (mode aor, one Contact for all devices)
renewed by         latefork in 29m: our REGISTER to the PBX (pbx.credentials_file has alice)

device 3f   mobile, Linphone
  contact   sip:alice@203.0.113.7:51044;transport=tcp
  instance  urn:uuid:1
  here      10m left; refresh push in 7m 50s
  flow      tcp 203.0.113.7:51044 (lost)
  push      acme app, token abcd…wxyz valid

device 9c  desk
  contact  sip:alice@203.0.113.7:51044;transport=tcp
  here     10m left; its phone refreshes by itself
  flow     tcp 203.0.113.7:51044 (lost)
  push     none: it cannot be woken
`,
  );
  const failing = device({
    at_risk: true,
    refresh: { ...PHONES, last_failure: refused },
    phone: { by: "push", next_in: 6, last_failure: silent },
  });
  const text = locationText(location("contact", failing));
  expect(text).toStartWith(
    "alice@example.org  1 device\nat the pbx         registered, 41m 12s left (mode contact, one Contact a device)\n\n",
  );
  expect(text).toContain(`  here        10m left; refresh push in 6s; ${silent}\n`);
  expect(text).toContain("  at the pbx  registered, 41m 12s left\n");
  expect(text).toContain(`push in 6s: refresh push (${PHONES.why}); ${refused}\n`);
  expect(text).toEndWith("the next call may not reach it\n");
  expect(locationText(location(null, device(desk)))).toContain("none, we are the registrar");
});

test("a device set by hand stays until it is deleted, and nobody refreshes it", () => {
  const years = 10 * 365 * 86_400;
  const door = device({ expires_in: years, phone: { by: "phone", next_in: years, last_failure: "" } });
  expect(row(location(null, door))).toMatchObject({ EXPIRES: "never", NEXT: "-" });
  expect(locationText(location(null, door))).toContain("set by hand, until it is deleted\n");
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
  const outlook: RefreshOutlook = {
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
  const outlooks = {
    upstreamMode: "contact" as const,
    outlookOf: () => outlook,
    outlookOfAor: () => ({ ...outlook, nextMs: Infinity }),
    reachabilityOf: () => "lost" as const,
  };
  const shown = locationJson(aor, outlooks, 1000);
  const refresh = { by: "push", next: "refresh push", next_in: 3, why: "because", last_failure: "it slept" } as const;
  expect(shown.upstream).toEqual({
    mode: "contact",
    state: "registered",
    expires_in: 60,
    at_risk: true,
    refresh: { ...refresh, next_in: null },
  });
  expect(shown.devices[0]).toMatchObject({
    upstream_state: "registered",
    upstream_expires_in: 60,
    at_risk: true,
    refresh,
    phone: { by: "push", next_in: 3, last_failure: "it slept" },
  });
  expect(locationsText([shown])).toContain("AT RISK push in 3s: it slept");
  expect(locationJson(aor, outlooks, 61_000).upstream.state).toBe("lapsed");
  expect(shown.devices[0]).toMatchObject({
    id: "d1",
    expires_in: 0,
    flow: { state: "lost", transport: "tcp", remote: "192.0.2.7:40123" },
    push: { provider: "acme", token: "0123…cdef", token_state: "unknown" },
  });
  expect(JSON.stringify(shown)).not.toContain(token);
});
