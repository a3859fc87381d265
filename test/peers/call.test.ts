/** Calls between phones and PBX where nobody sleeps: dialogs across transports, from both sides, in numbers. */
import { expect } from "bun:test";
import type { SipUri } from "./npm_sip.d.ts";
import { peerTest } from "./rig.ts";

const both = ["kamailio", "sipp"];

for (const side of ["caller", "callee"] as const) {
  for (const transport of ["udp", "tcp"] as const) {
    peerTest(
      `F-03 F-04 T-03 a phone over ${transport}, the PBX over udp: the ${side} hangs up along the Record-Route`,
      both,
      async (rig) => {
        await rig.kamailio(["alice"]);
        await rig.appliance(rig.config());
        const phone = rig.phone("phoneA", { user: "alice", transport });
        expect((await phone.register()).status).toBe(200);
        const scenario = side === "caller" ? "caller" : "caller_hung_up_on";
        const caller = rig.sipp({ from: "caller", to: "pbx", scenario, user: "alice", pauseMs: 200 });
        const invite = await phone.next("INVITE");
        await phone.next("ACK");
        if (side === "caller") await phone.next("BYE");
        else expect((await phone.hangUp(invite)).status).toBe(200);
        await caller.done();
        const hops = (invite.headers["record-route"] ?? []).map(({ uri }) => uri as SipUri);
        const ours = hops.map(({ host, params }) => host === rig.address("us") ? params.transport ?? "udp" : "PBX");
        expect(ours).toEqual(transport === "tcp" ? ["tcp", "udp", "PBX"] : ["udp", "PBX"]);
      },
    );
  }
}

peerTest(
  "F-06 F-04 a phone calls a user of the PBX: 407 passes, its digest too, and the call comes back to the other phone",
  both,
  async (rig) => {
    await rig.kamailio(["alice", "bob"]);
    await rig.appliance(rig.config());
    const alice = rig.phone("phoneA", { user: "alice" });
    const bob = rig.phone("phoneB", { user: "bob", transport: "tcp" });
    expect((await alice.register()).status).toBe(200);
    expect((await bob.register()).status).toBe(200);
    const call = alice.call("sip:bob@example.com");
    const invite = await bob.next("INVITE");
    expect(invite.headers["proxy-authorization"]).toBeUndefined();
    await call.answered();
    await bob.next("ACK");
    expect((await bob.hangUp(invite)).status).toBe(200);
    await alice.next("BYE");
  },
);

peerTest("F-06 a stranger is no phone: its call through us is refused and never reaches the PBX", [], async (rig) => {
  const pbx = rig.pbx();
  await rig.appliance(rig.config());
  const stranger = rig.phone("stranger", { user: "mallory" });
  expect((await stranger.call("sip:+4912345@example.net").response("final")).status).toBe(403);
  expect((await stranger.call("sip:alice@example.com").response("final")).status).toBe(403);
  expect(pbx.requests).toEqual([]);
});

peerTest(
  "R-07 F-03 SIPp's own uac calls as a PBX that knows no Record-Route, SIPp's own uas is the phone",
  ["sipp"],
  async (rig) => {
    const pbx = rig.pbx();
    const appliance = await rig.appliance(rig.config());
    const phone = rig.phone("phoneA", { user: "service" });
    expect((await phone.register()).status).toBe(200);
    // SIPp takes their places.
    pbx.end();
    phone.end();
    const callee = rig.sipp({ from: "phoneA", builtIn: "uas", calls: 20 });
    await rig.sipp({ from: "pbx", to: "us", builtIn: "uac", user: "service", calls: 20, rate: 20 }).done();
    await callee.done();
    expect(await appliance.metric("calls_total", 'result="answered"')).toBe(20);
  },
);

peerTest(
  "W-08 no such user at the PBX: its 404 reaches the caller; nobody awake and nobody to push: 480",
  both,
  async (rig) => {
    await rig.kamailio(["alice"]);
    const appliance = await rig.appliance(rig.config());
    await rig.sipp({ from: "caller", to: "pbx", scenario: "caller_404", user: "nobody" }).done();
    // A desk phone over TCP whose connection is gone.
    await rig.register("phoneB", { instance: "33333333-0000-4000-8000-000000000001" }).done();
    await rig.sipp({ from: "caller", to: "pbx", scenario: "caller_480", user: "alice" }).done();
    await appliance.callOf("alice@example.com", "is over", ({ state, status }) => state === "ended" && status === 480);
  },
);

peerTest("W-14 W-15 one phone declines with 486, the other rings on and answers", both, async (rig) => {
  await rig.kamailio(["alice"]);
  await rig.appliance(rig.config());
  const busy = rig.phone("phoneA", { user: "alice", onInvite: "busy" });
  const other = rig.phone("phoneB", { user: "alice", onInvite: "ring" });
  expect((await busy.register()).status).toBe(200);
  expect((await other.register()).status).toBe(200);
  const caller = rig.sipp({ from: "caller", to: "pbx", scenario: "caller", user: "alice", pauseMs: 200 });
  await busy.next("INVITE");
  const invite = await other.next("INVITE");
  await Bun.sleep(200);
  other.respond(invite, 200, "OK");
  await caller.done();
  expect(busy.received("CANCEL")).toEqual([]);
});

peerTest("W-15 every phone declines with 486: the caller gets 486 at once", both, async (rig) => {
  await rig.kamailio(["alice"]);
  await rig.appliance(rig.config());
  const phone = rig.phone("phoneA", { user: "alice", onInvite: "busy" });
  expect((await phone.register()).status).toBe(200);
  await rig.sipp({ from: "caller", to: "pbx", scenario: "caller_486", user: "alice" }).done();
});

peerTest(
  "W-10 the caller gives up while a phone rings: its CANCEL's Reason reaches the phone",
  ["kamailio"],
  async (rig) => {
    await rig.kamailio(["alice"]);
    await rig.appliance(rig.config());
    const phone = rig.phone("phoneA", { user: "alice", onInvite: "ring" });
    expect((await phone.register()).status).toBe(200);
    const caller = rig.phone("caller", { user: "trunk", route: `sip:${rig.at("pbx")};lr` });
    const call = caller.call("sip:alice@example.com");
    await call.response(180);
    expect((await call.cancel({ reason: 'Q.850;cause=16;text="Terminated"' })).status).toBe(200);
    expect((await phone.next("CANCEL")).headers.reason).toContain("Q.850;cause=16");
    expect((await call.response("final")).status).toBe(487);
  },
);

peerTest(
  "R-07 the PBX drops the parameter of our Contact, or changes its case: the call still finds its phones",
  [],
  async (rig) => {
    const pbx = rig.pbx();
    await rig.appliance(rig.config());
    const phone = rig.phone("phoneA", { user: "alice", onInvite: "answer" });
    expect((await phone.register()).status).toBe(200);
    const contact = pbx.contacts.get("sip:alice@example.com")![0]!;
    for (const uri of [contact, contact.replace(/;lf=.*/, ""), contact.replace(/lf=.*/, (lf) => lf.toUpperCase())]) {
      const call = pbx.call(uri);
      await phone.next("INVITE");
      await call.answered();
      expect((await call.hangUp()).status).toBe(200);
    }
  },
);

peerTest(
  "W-01 N-02 200 calls, 20 a second, from SIPp through Kamailio to a SIPp phone: not one fails",
  both,
  async (rig) => {
    await rig.kamailio(["alice"]);
    const appliance = await rig.appliance(rig.config({
      limits: { requests_per_source: "5000/s", calls_per_aor: 500 },
      log: { level: "warn" },
    }));
    await rig.register("phoneA", { transport: "udp", instance: "44444444-0000-4000-8000-000000000001" }).done();
    const phone = rig.sipp({ from: "phoneA", scenario: "phone_answers", calls: 200 });
    const caller = rig.sipp({
      from: "caller",
      to: "pbx",
      scenario: "caller",
      user: "alice",
      calls: 200,
      rate: 20,
      pauseMs: 2000,
      deadlineMs: 40_000,
    });
    await Promise.all([caller.done(40_000), phone.done(40_000)]);
    expect(await appliance.metric("calls_total", 'result="answered"')).toBe(200);
    expect(await appliance.metric("calls_open")).toBe(0);
  },
  60_000,
);

peerTest("T-01 a phone over IPv6 (udp and tcp), the PBX over IPv4: REGISTER, call, BYE from both sides", [
  "kamailio",
  "sipp",
], async (rig) => {
  await rig.kamailio(["alice"]);
  const port = 20_000 + Math.floor(Math.random() * 20_000);
  const config = rig.config();
  await rig.appliance({
    ...config,
    listen: [...config.listen as string[], `udp://[::1]:${port}`, `tcp://[::1]:${port}`],
  });
  for (const transport of ["udp", "tcp"] as const) {
    for (const [does, scenario] of [["phone_answers", "caller"], ["phone_hangs_up", "caller_hung_up_on"]] as const) {
      const phone = rig.register("phoneA", {
        address: "::1",
        port: port + 1 + ["udp", "tcp"].indexOf(transport) * 2 + ["caller", "caller_hung_up_on"].indexOf(scenario),
        remote: `[::1]:${port}`,
        transport,
        onOther: does,
        instance: "55555555-0000-4000-8000-000000000001",
        pauseMs: 15_000,
      });
      await Bun.sleep(300);
      await rig.sipp({ from: "caller", to: "pbx", scenario, user: "alice", pauseMs: 200 }).done();
      await phone.end();
    }
  }
}, 40_000);
