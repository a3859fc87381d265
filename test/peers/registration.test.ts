/**
 * What PBXs do to registrations, and what the phones see of it: Kamailio that holds one Contact or many, grants little,
 * refuses or evicts; SIPp as a PBX that writes our Contact down in ways of its own.
 */
import { expect } from "bun:test";
import { eventually } from "./program.ts";
import { peerTest, type Rig } from "./rig.ts";
import type { SipAddress } from "./npm_sip.d.ts";

const AOR = "alice@example.com";
const both = ["kamailio", "sipp"];

function pbx(rig: Rig, mode: string, more: Record<string, unknown> = {}) {
  return { pbx: { uri: `sip:${rig.at("pbx")};transport=udp`, qualify: "0", mode, ...more } };
}

interface Refresh {
  by: string;
  last_failure: string;
}
interface RefreshOutlook {
  upstream: { state: string; expires_in: number; at_risk: boolean; refresh: Refresh };
  devices: {
    contact: string;
    expires_in: number;
    upstream_expires_in: number | null;
    at_risk: boolean;
    refresh: Refresh;
  }[];
}

const shapes = [
  { mode: "aor", maxContacts: 1, held: [1, 1, 1, 0], upstream: 3600 },
  { mode: "contact", maxContacts: 4, held: [1, 2, 1, 0], upstream: 3600 },
  { mode: "mirror", maxContacts: 4, held: [1, 2, 1, 0], upstream: 600 },
];
for (const { mode, maxContacts, held, upstream } of shapes) {
  peerTest(
    `R-04 R-08 ${mode}: two devices come and go at a Kamailio with max_contacts ${maxContacts}: ${held} Contacts`,
    ["kamailio"],
    async (rig) => {
      const kamailio = await rig.kamailio(["alice"], { maxContacts });
      const appliance = await rig.appliance(rig.config(pbx(rig, mode)));
      const [first, second] = [rig.phone("phoneA", { user: "alice" }), rig.phone("phoneB", { user: "alice" })];
      const seen: string[][] = [];
      for (const [phone, expires] of [[first, 600], [second, 600], [first, 0], [second, 0]] as const) {
        expect((await phone.register(expires)).status).toBe(200);
        const contacts = await kamailio.contacts();
        seen.push(contacts.map(({ uri }) => uri));
        for (const contact of contacts) {
          expect(contact.aor).toBe("alice");
          expect(contact.uri).toMatch(new RegExp(`^sip:alice@${rig.at("us")};lf=[a-z0-9]+$`));
          expect(contact.expires).toBeWithin(upstream - 20, upstream + 1);
        }
      }
      expect(seen.map((uris) => uris.length)).toEqual(held);
      expect(new Set(seen[1]).size).toBe(held[1]!);
      // The Contact that stays is that of the device that stays: the one the first did not bring, where each has one.
      expect(seen[2]![0] === seen[0]![0]).toBe(mode === "aor");
      expect(seen[1]).toContain(seen[2]![0]!);
      expect((await appliance.location(AOR))?.devices ?? []).toEqual([]);
    },
  );
}

peerTest(
  "R-04 R-01 contact: a Kamailio with max_contacts 1 refuses the second device, which hears it and is not stored",
  ["kamailio"],
  async (rig) => {
    const kamailio = await rig.kamailio(["alice"], { maxContacts: 1 });
    const appliance = await rig.appliance(rig.config(pbx(rig, "contact")));
    const [first, second] = [rig.phone("phoneA", { user: "alice" }), rig.phone("phoneB", { user: "alice" })];
    expect((await first.register()).status).toBe(200);
    const before = await kamailio.contacts();
    expect((await second.register()).status).toBe(503);
    expect((await kamailio.contacts()).map(({ uri }) => uri)).toEqual(before.map(({ uri }) => uri));
    const devices = (await appliance.location(AOR))!.devices;
    expect(devices.map(({ contact }) => contact)).toEqual([expect.stringContaining(rig.at("phoneA"))]);
  },
);

for (const mode of ["contact", "mirror"]) {
  peerTest(
    `R-02 ${mode}: a Kamailio that evicts the first device for the second is seen: told once, with what to change, and shown`,
    ["kamailio"],
    async (rig) => {
      const kamailio = await rig.kamailio(["alice"], { isEvicting: true });
      const appliance = await rig.appliance(rig.config(pbx(rig, mode)));
      const [first, second] = [rig.phone("phoneA", { user: "alice" }), rig.phone("phoneB", { user: "alice" })];
      expect((await first.register()).status).toBe(200);
      expect((await second.register()).status).toBe(200);
      expect((await second.register()).status).toBe(200);
      expect(await kamailio.contacts()).toHaveLength(1);

      const { devices, upstream } = await appliance.location(AOR) as unknown as RefreshOutlook;
      expect(upstream.at_risk).toBe(true);
      const [evicted, held] = [devices.find(at("phoneA"))!, devices.find(at("phoneB"))!];
      expect(evicted.at_risk).toBe(true);
      expect(evicted.refresh.last_failure).toContain("dropped its Contact");
      expect(held).toMatchObject({ at_risk: false, refresh: { last_failure: "" } });
      await appliance.program.waitFor(/max_contacts/, 3000);
      expect(told("warn")).toBe(1);

      // Its own next REGISTER is not answered here: the PBX would know nothing of it.
      expect((await first.register()).status).toBe(200);
      const now = await appliance.location(AOR) as unknown as RefreshOutlook;
      expect(now.devices.map(({ contact, at_risk }) => [contact.includes(rig.at("phoneA")), at_risk]))
        .toEqual([[true, false], [false, true]]);
      await eventually("that the second device was dropped is for who looks closer", 3000, () => told("debug") === 1);
      expect(told("warn")).toBe(1);

      function told(level: string): number {
        const lines = appliance.program.output.split("\n").filter((line) => line.includes("max_contacts"));
        return lines.filter((line) => line.toLowerCase().includes(level)).length;
      }
      function at(party: "phoneA" | "phoneB") {
        return ({ contact }: { contact: string }) => contact.includes(rig.at(party));
      }
    },
  );
}

for (const mode of ["aor", "contact"]) {
  peerTest(
    `R-05 ${mode}: a phone that refreshes every second for 10 s each is one REGISTER at Kamailio`,
    ["kamailio"],
    async (rig) => {
      const kamailio = await rig.kamailio(["alice"]);
      const appliance = await rig.appliance(rig.config(pbx(rig, mode)));
      const phone = rig.phone("phoneA", { user: "alice" });
      expect((await phone.register(10)).status).toBe(200);
      for (let n = 1; n <= 5; n++) {
        await Bun.sleep(1000);
        const answer = await phone.register(10);
        expect({ status: answer.status, contact: contactsOf(answer) }).toEqual({
          status: 200,
          contact: [[phone.contactUri, "10"]],
        });
      }
      expect(await kamailio.acceptedRegisters()).toBe(1);
      expect(await appliance.metric("registrations_total", 'result="absorbed"')).toBe(5);
      const [held] = await kamailio.contacts();
      expect(held!.expires).toBeWithin(3580, 3597);
    },
  );
}

peerTest(
  "R-09 R-18 kill -9 while the phone sleeps, Kamailio's binding lapses: once we are back so is it, with the phone's password",
  both,
  async (rig) => {
    const credentials = `${rig.folder}/credentials`;
    await Bun.write(credentials, "alice:secret\n");
    const kamailio = await rig.kamailio(["alice"], { maxExpires: 10 });
    const config = rig.config({
      ...pbx(rig, "aor", { credentials_file: credentials }),
      push: rig.pushTo(rig.receiver()),
    });
    const before = await rig.appliance(config);
    await rig.register("phoneA", {
      push: ";pn-provider=acme;pn-param=app;pn-prid=token-a",
      instance: "33333333-0000-4000-8000-000000000001",
    }).done();
    const [held] = await kamailio.contacts();
    expect(held!.expires).toBeLessThanOrEqual(10);
    const { upstream, devices } = await before.location(AOR) as unknown as RefreshOutlook;
    expect(upstream).toMatchObject({ at_risk: false, refresh: { by: "latefork" } });
    expect(devices[0]!.expires_in).toBeGreaterThan(590);

    await before.kill();
    await eventually("Kamailio has lost it", 13_000, async () => (await kamailio.contacts()).length === 0);
    const after = await rig.appliance(config);
    await eventually("Kamailio holds it again", 10_000, async () => (await kamailio.contacts()).length === 1);
    expect((await kamailio.contacts()).map(({ uri }) => uri)).toEqual([held!.uri]);
    const location = await after.location(AOR) as unknown as RefreshOutlook;
    expect(location.upstream).toMatchObject({ state: "registered", refresh: { by: "latefork", last_failure: "" } });
    expect(location.devices[0]!.expires_in).toBeWithin(540, 600);
  },
  50_000,
);

for (const mode of ["contact", "mirror"]) {
  peerTest(
    `R-18 ${mode}: kill -9 between two registrations and the end of one: Kamailio then holds the other's Contact alone`,
    ["kamailio"],
    async (rig) => {
      const kamailio = await rig.kamailio(["alice"], { maxContacts: 4 });
      const config = rig.config(pbx(rig, mode));
      const before = await rig.appliance(config);
      const [first, second] = [rig.phone("phoneA", { user: "alice" }), rig.phone("phoneB", { user: "alice" })];
      expect((await first.register()).status).toBe(200);
      const [ofFirst] = await kamailio.contacts();
      expect((await second.register()).status).toBe(200);
      await before.kill();

      const after = await rig.appliance(config);
      expect((await after.location(AOR))!.devices).toHaveLength(2);
      expect((await second.register()).status).toBe(200);
      expect(await kamailio.contacts()).toHaveLength(2);
      expect((await second.register(0)).status).toBe(200);
      expect((await kamailio.contacts()).map(({ uri }) => uri)).toEqual([ofFirst!.uri]);
      expect((await after.location(AOR))!.devices).toHaveLength(1);
    },
  );
}

peerTest(
  "R-18 R-08 contact: a phone whose registration ends while we are killed is taken off Kamailio once we are back",
  ["kamailio"],
  async (rig) => {
    const credentials = `${rig.folder}/credentials`;
    await Bun.write(credentials, "alice:secret\n");
    const kamailio = await rig.kamailio(["alice"], { maxContacts: 4 });
    const config = rig.config(pbx(rig, "contact", { credentials_file: credentials }));
    const before = await rig.appliance(config);
    const [first, second] = [rig.phone("phoneA", { user: "alice" }), rig.phone("phoneB", { user: "alice" })];
    expect((await first.register(600)).status).toBe(200);
    const [ofFirst] = await kamailio.contacts();
    expect((await second.register(10)).status).toBe(200);
    expect(await kamailio.contacts()).toHaveLength(2);
    await before.kill();
    await Bun.sleep(10_500);

    const after = await rig.appliance(config);
    await eventually("Kamailio holds the first one's alone", 5000, async () => {
      const contacts = await kamailio.contacts();
      return contacts.length === 1 && contacts[0]!.uri === ofFirst!.uri;
    });
    const { devices } = await after.location(AOR) as unknown as RefreshOutlook;
    expect(devices.map(({ contact }) => contact)).toEqual([expect.stringContaining(rig.at("phoneA"))]);
    expect(devices[0]!.upstream_expires_in!).toBeWithin(3570, 3592);
  },
  40_000,
);

peerTest(
  "R-18 R-05 started anew in another mode, the next refresh goes to Kamailio, which knows only the old Contact",
  ["kamailio"],
  async (rig) => {
    const kamailio = await rig.kamailio(["alice"], { maxContacts: 4 });
    const before = await rig.appliance(rig.config(pbx(rig, "contact")));
    const phone = rig.phone("phoneA", { user: "alice" });
    expect((await phone.register(60)).status).toBe(200);
    const [old] = await kamailio.contacts();
    await before.kill();

    const after = await rig.appliance(rig.config(pbx(rig, "aor")));
    await after.program.waitFor(/not that of last time/, 3000);
    expect((await after.location(AOR))!).toMatchObject({ upstream: { state: "none" } });
    expect((await phone.register(60)).status).toBe(200);
    expect((await after.location(AOR))!).toMatchObject({ upstream: { state: "registered" } });
    const uris = (await kamailio.contacts()).map(({ uri }) => uri);
    expect(uris).toHaveLength(2);
    expect(uris).toContain(old!.uri);
    expect((await phone.register(60)).status).toBe(200);
    expect(await kamailio.acceptedRegisters()).toBe(2);
  },
);

interface OddAnswer {
  words: string;
  /** Header lines of the PBX's 200, which grants 120 s. `us`: our address as the PBX was told. */
  headers: (us: string) => string[];
  user?: string;
  /** Our Contact is not to be found in it, and the log says so. */
  isMissing?: boolean;
}
/** A space that SIPp does not strip off the start of a line. */
const FOLD = "\\x20";
const oddAnswers: OddAnswer[] = [
  {
    words: "foreign contacts around ours, in one line",
    headers: (us) => [
      `Contact: "A, B" <sip:alice@198.51.100.1>;expires=11, <sip:alice@${us};lf=[$lf]>;expires=120, ` +
      "<sip:alice@198.51.100.2:5070;lf=somebodyelse>;expires=12",
    ],
  },
  {
    words: "contacts on several lines, ours folded",
    headers: (us) => [
      "Contact: <sip:alice@198.51.100.1>;expires=11",
      'm: "alice"',
      `${FOLD}<sip:alice@${us};lf=[$lf]>;q=0.5;`,
      `${FOLD}expires=120`,
      "Contact: <sip:alice@198.51.100.2>;expires=12",
    ],
  },
  {
    words: "an IPv6 reference in a foreign one",
    headers: (us) => [`Contact: <sip:alice@[six]:5070>;expires=11, <sip:alice@${us};lf=[$lf]>;expires=120`],
  },
  { words: "our parameter dropped", headers: (us) => [`Contact: <sip:alice@${us}>;expires=120`] },
  {
    words: "the user in capitals",
    headers: (us) => ["Expires: 11", `Contact: <sip:ALICE@${us};lf=[$lf]>;expires=120`],
  },
  {
    words: "the user in capitals and our parameter dropped",
    headers: (us) => ["Contact: <sip:alice@198.51.100.1>;expires=11", `Contact: <sip:ALICE@${us}>;expires=120`],
  },
  {
    words: "%40 of the user decoded",
    user: "alice%40home",
    headers: (us) => [`Contact: <sip:alice@home@${us};lf=[$lf]>;expires=120`],
  },
  {
    words: "%40 of the user decoded and our parameter dropped",
    user: "alice%40home",
    headers: (us) => [`Contact: <sip:bob@home@${us}>;expires=11, <sip:alice@home@${us}>;expires=120`],
  },
  {
    words: "only an Expires header",
    headers: (us) => [`Contact: <sip:alice@${us};lf=[$lf]>`, "Expires: 120"],
  },
  { words: "an Expires header and no Contact", headers: () => ["Expires: 120"], isMissing: true },
  {
    words: "an Expires header and foreign contacts alone",
    headers: () => ["Contact: <sip:alice@[six]>;expires=11", "Expires: 120"],
    isMissing: true,
  },
];
for (const { words, headers, user = "alice", isMissing = false } of oddAnswers) {
  peerTest(`R-02 R-03 a PBX's 200 with ${words}: the phone hears its own Contact and 120 s`, ["sipp"], async (rig) => {
    const sipp = rig.sipp({
      from: "pbx",
      scenario: "pbx_accepts",
      fill: { HEADERS: headers(rig.at("us")).join("\n") },
      keys: { six: "[2001:db8::7]" },
    });
    const appliance = await rig.appliance(rig.config());
    const phone = rig.phone("phoneA", { user });
    const answer = await phone.register(600);
    await sipp.done();
    expect({ status: answer.status, contacts: contactsOf(answer), expires: answer.headers.expires }).toEqual({
      status: 200,
      contacts: [[phone.contactUri, "120"]],
      expires: undefined,
    });
    const { items } = await appliance.get<{ items: RefreshOutlook[] }>("/v1/locations");
    expect(items).toHaveLength(1);
    expect(items[0]!.upstream.state).toBe("registered");
    expect(items[0]!.upstream.expires_in).toBeWithin(110, 121);
    expect(items[0]!.devices[0]!.expires_in).toBeWithin(110, 121);
    // Logged after what would be logged of a missing Contact.
    await appliance.program.waitFor(/Registered/, 3000);
    expect(appliance.program.output.includes("does not list our Contact")).toBe(isMissing);
  });
}

/** URI and expiry of each Contact. */
function contactsOf(answer: { headers: Record<string, unknown> }): (string | null | undefined)[][] {
  return ((answer.headers.contact ?? []) as SipAddress[]).map(({ uri, params }) => [uri, params?.expires]);
}
