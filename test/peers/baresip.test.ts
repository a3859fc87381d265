/** baresip as the phone: a client whose SIP stack (libre) shares nothing with SIPp, Kamailio or the package `sip`. */
import { expect } from "bun:test";
import { eventually } from "./program.ts";
import { peerTest } from "./rig.ts";

const programs = ["kamailio", "sipp", "baresip"];

for (const transport of ["udp", "tcp"] as const) {
  peerTest(
    `T-01 R-01 F-03 baresip registers over ${transport}, answers, is hung up on; hangs up itself`,
    programs,
    async (rig) => {
      const kamailio = await rig.kamailio(["alice"]);
      const appliance = await rig.appliance(rig.config());
      const phone = rig.baresip("phoneA", { user: "alice", password: "secret", transport });
      await phone.registered();
      expect((await kamailio.contacts()).map(({ uri }) => uri)).toEqual([
        expect.stringMatching(new RegExp(`^sip:alice@${rig.at("us")};lf=`)),
      ]);
      const location = await appliance.location("alice@example.com");
      expect(location?.devices).toMatchObject([{ flow: { state: "live", transport } }]);

      await rig.sipp({ from: "caller", to: "pbx", scenario: "caller", user: "alice", pauseMs: 300 }).done();

      const caller = rig.sipp({ from: "caller", to: "pbx", scenario: "caller_hung_up_on", user: "alice" });
      await eventually("the second call is acknowledged", 5000, async () => {
        const calls = await appliance.calls();
        return calls.length === 2 && calls[0]!.timeline.some(({ event }) => event === "ack");
      });
      await phone.command("hangup");
      await caller.done();
    },
  );
}

peerTest(
  "F-06 W-11 baresip calls through us and Kamailio, with its digest; two phones ring, the one that answers keeps it",
  programs,
  async (rig) => {
    await rig.kamailio(["alice", "bob"]);
    await rig.appliance(rig.config());
    const alice = rig.baresip("phoneA", { user: "alice", password: "secret", transport: "udp" });
    const first = rig.phone("phoneB", { user: "bob", onInvite: "ring" });
    const second = rig.phone("phoneC", { user: "bob", transport: "tcp", onInvite: "ring" });
    await alice.registered();
    expect((await first.register()).status).toBe(200);
    expect((await second.register()).status).toBe(200);
    await alice.command("dial", "sip:bob@example.com");
    const invite = await first.next("INVITE");
    await second.next("INVITE");
    first.respond(invite, 200, "OK");
    await first.next("ACK");
    expect((await second.next("CANCEL")).headers.reason).toContain("cause=200");
    await alice.command("hangup");
    await first.next("BYE");
  },
);

peerTest(
  "W-05 baresip comes back on its port as another Contact: it gets the INVITE that the old one had, and answers",
  programs,
  async (rig) => {
    const receiver = rig.receiver();
    await rig.kamailio(["alice"]);
    const config = rig.config({
      push: rig.pushTo(receiver),
      wake: { window: "8s", ring_timeout: "30s", idle: "500ms" },
    });
    const appliance = await rig.appliance(config);
    const phone = rig.baresip("phoneA", { user: "alice", password: "secret", transport: "udp", port: rig.port });
    await phone.registered();
    const [before] = (await appliance.location("alice@example.com"))!.devices;
    await appliance.setPush("alice@example.com", before!.id, { provider: "acme", prid: "token-phoneA" });
    await phone.end();
    receiver.onPush = () => phone.startAgain();
    // Silent for longer than wake.idle: it may be asleep, so that it gets the INVITE and a push.
    await eventually("its flow is not known to be live", 3000, async () => {
      const [device] = (await appliance.location("alice@example.com"))!.devices;
      return device!.flow.state !== "live";
    });
    await rig.sipp({ from: "caller", to: "pbx", scenario: "caller", user: "alice", pauseMs: 300 }).done();
    const [after] = (await appliance.location("alice@example.com"))!.devices;
    expect([after!.id, after!.flow.remote]).toEqual([before!.id, before!.flow.remote]);
    expect(after!.contact).not.toBe(before!.contact);
    const [call] = await appliance.calls();
    expect([call!.result, call!.branches.map(({ late }) => late)]).toEqual(["answered", [false, true]]);
  },
);
