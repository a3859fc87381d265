/** Registrations through latefork to Kamailio, which challenges them: what the PBX, the phone and usrloc then hold. */
import { expect } from "bun:test";
import { eventually } from "./program.ts";
import { peerTest } from "./rig.ts";

const PUSH = ";pn-provider=acme;pn-param=app;pn-prid=token-a";
const INSTANCE = "11111111-0000-4000-8000-000000000001";

const both = ["kamailio", "sipp"];

for (const transport of ["udp", "tcp"] as const) {
  const name =
    `R-01 R-02 R-03 T-01 a SIPp phone registers over ${transport} with its own digest; Kamailio holds our Contact`;
  peerTest(name, both, async (rig) => {
    const kamailio = await rig.kamailio(["alice"]);
    const appliance = await rig.appliance(rig.config({ push: rig.pushTo(rig.receiver()) }));
    await rig.register("phoneA", { transport, push: PUSH, instance: INSTANCE, pauseMs: 300 }).done();

    const held = await kamailio.contacts();
    expect(held.map(({ aor, uri }) => ({ aor, uri }))).toEqual([
      { aor: "alice", uri: expect.stringMatching(new RegExp(`^sip:alice@${rig.at("us")};lf=[a-z0-9]+$`)) },
    ]);
    const location = await appliance.location("alice@example.com");
    expect(location?.upstream.state).toBe("registered");
    expect(location?.devices).toHaveLength(1);
    expect(location?.devices[0]).toMatchObject({ kind: "mobile", push: { provider: "acme" } });
    expect(location?.devices[0]?.contact).toContain(`sip:alice@${rig.at("phoneA")};`);
    expect(location!.devices[0]!.expires_in).toBeGreaterThan(590);
    // SIPp has ended: its connection is gone, its UDP socket is not known to be.
    const state = transport === "tcp" ? "lost" : "live";
    await eventually(`flow ${state}`, 2000, async () => {
      const now = await appliance.location("alice@example.com");
      return now!.devices[0]!.flow.state === state;
    });
  });
}

peerTest(
  "R-08 two phones of one user are one Contact at Kamailio; it goes when the last of them goes",
  both,
  async (rig) => {
    const kamailio = await rig.kamailio(["alice"]);
    const appliance = await rig.appliance(rig.config());
    const first = rig.phone("phoneA", { user: "alice" });
    const second = rig.phone("phoneB", { user: "alice", transport: "tcp" });
    expect((await first.register()).status).toBe(200);
    expect((await second.register()).status).toBe(200);
    expect(await kamailio.contacts()).toHaveLength(1);
    expect((await appliance.location("alice@example.com"))?.devices).toHaveLength(2);

    expect((await first.register(0)).status).toBe(200);
    expect(await kamailio.contacts()).toHaveLength(1);
    expect((await appliance.location("alice@example.com"))?.devices).toHaveLength(1);

    expect((await second.register(0)).status).toBe(200);
    expect(await kamailio.contacts()).toEqual([]);
  },
);

peerTest(
  "R-04 in mode mirror Kamailio holds one Contact a device, and a call to each finds its own",
  both,
  async (rig) => {
    const kamailio = await rig.kamailio(["alice"], { maxContacts: 4 });
    await rig.appliance(rig.config({ pbx: { uri: `sip:${rig.at("pbx")}`, qualify: "0", mode: "mirror" } }));
    const first = rig.phone("phoneA", { user: "alice", onInvite: "ring" });
    const second = rig.phone("phoneB", { user: "alice", onInvite: "ring" });
    expect((await first.register()).status).toBe(200);
    expect((await second.register()).status).toBe(200);
    expect(new Set((await kamailio.contacts()).map(({ uri }) => uri)).size).toBe(2);

    const caller = rig.phone("caller", { user: "trunk", route: `sip:${rig.at("pbx")};lr` });
    const call = caller.call("sip:alice@example.com");
    const invite = await first.next("INVITE");
    await second.next("INVITE");
    first.respond(invite, 200, "OK");
    await call.answered();
    await second.next("CANCEL");
    expect([first, second].map((phone) => phone.received("INVITE").length)).toEqual([1, 1]);
    expect((await call.hangUp()).status).toBe(200);
  },
);

const refusals = [
  { scenario: "register_refused", user: "alice", password: "wrong", words: "a wrong password: 401 and again 401" },
  { scenario: "register_forbidden", user: "blocked", password: "secret", words: "a user who may not register: 403" },
];
for (const { scenario, user, password, words } of refusals) {
  peerTest(`R-01 ${words}, both Kamailio's own, and nothing is stored`, both, async (rig) => {
    const kamailio = await rig.kamailio(["alice", "blocked"]);
    const appliance = await rig.appliance(rig.config());
    await rig.sipp({ from: "phoneA", to: "us", scenario, user, credentials: { user, password } }).done();
    expect(await kamailio.contacts()).toEqual([]);
    expect((await appliance.location(`${user}@example.com`))?.devices ?? []).toEqual([]);
    expect((await appliance.get<{ items: unknown[] }>("/v1/locations")).items).toEqual([]);
  });
}

peerTest("R-01 423 of the PBX reaches the phone with its Min-Expires", [], async (rig) => {
  const pbx = rig.pbx();
  pbx.minExpires = 90;
  const appliance = await rig.appliance(rig.config({
    pbx: { uri: `sip:${rig.at("pbx")}`, qualify: "0", mode: "mirror" },
  }));
  const phone = rig.phone("phoneA", { user: "alice" });
  const answer = await phone.register(60);
  expect({ status: answer.status, min: answer.headers["min-expires"] }).toEqual({ status: 423, min: "90" });
  expect((await appliance.location("alice@example.com"))?.devices ?? []).toEqual([]);
  expect((await phone.register(90)).status).toBe(200);
});
