/** TLS and WebSocket with programs that share no line with us: baresip (libre, OpenSSL), JsSIP, Kamailio's TLS. */
import { expect } from "bun:test";
import type { Kamailio } from "./kamailio.ts";
import { eventually } from "./program.ts";
import { peerTest, type Rig } from "./rig.ts";
import { WebPhone } from "./web_phone.ts";

const INSTANCE = "33333333-0000-4000-8000-000000000001";

async function holdsOurContact(rig: Rig, kamailio: Kamailio, transport = ""): Promise<void> {
  const at = transport === "" ? rig.at("us") : `${rig.at("us").replace(/:.*/, "")}:${rig.tlsPort}`;
  expect((await kamailio.contacts()).map(({ uri }) => uri)).toEqual([
    expect.stringMatching(new RegExp(`^sip:alice@${at}${transport};lf=`)),
  ]);
}

peerTest(
  "T-01 T-06 F-03 baresip registers over TLS, answers, is hung up on; hangs up itself",
  ["kamailio", "sipp", "baresip"],
  async (rig) => {
    const kamailio = await rig.kamailio(["alice"]);
    const appliance = await rig.appliance(rig.edgeConfig());
    const phone = rig.baresip("phoneA", { user: "alice", password: "secret", transport: "tls" });
    await phone.registered();
    await holdsOurContact(rig, kamailio);
    const location = await appliance.location("alice@example.com");
    expect(location?.devices).toMatchObject([{ flow: { state: "live", transport: "tls" } }]);
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

for (const scheme of ["ws", "wss"] as const) {
  peerTest(
    `T-01 W-04 JsSIP registers over ${scheme} with its digest, answers, hangs up; killed, it is woken and gets the call`,
    ["kamailio", "sipp"],
    async (rig) => {
      const receiver = rig.receiver();
      const kamailio = await rig.kamailio(["alice"]);
      const appliance = await rig.appliance(rig.edgeConfig({ push: rig.pushTo(receiver) }));
      const options = {
        user: "alice",
        password: "secret",
        instance: INSTANCE,
        push: ";pn-provider=acme;pn-param=app;pn-prid=token-page",
      };
      const page = rig.webPhone(scheme, options);
      await page.registered();
      await holdsOurContact(rig, kamailio);
      const state = async () => (await appliance.location("alice@example.com"))?.devices[0]?.flow;
      expect(await state()).toMatchObject({ state: "live", transport: scheme });

      await rig.sipp({ from: "caller", to: "pbx", scenario: "caller", user: "alice", pauseMs: 300 }).done();
      await page.heard("ended");
      const caller = rig.sipp({ from: "caller", to: "pbx", scenario: "caller_hung_up_on", user: "alice" });
      await eventually("the second call is there", 5000, () => Promise.resolve(page.calls.length === 2 || null));
      await page.heard("confirmed");
      page.hangUp();
      await caller.done();

      page.kill();
      await eventually("its flow is lost", 3000, async () => (await state())?.state === "lost" || null);
      let woken: WebPhone | null = null;
      receiver.onPush = ({ event }) => {
        if (event === "call") woken ??= rig.webPhone(scheme, options);
      };
      await rig.sipp({ from: "caller", to: "pbx", scenario: "caller", user: "alice", pauseMs: 300 }).done();
      expect(await receiver.next("call")).toMatchObject({ aor: "alice@example.com", prid: "token-page" });
      await woken!.heard("ended");
      const call = await appliance.callOf("alice@example.com", "is over", ({ state }) => state === "ended");
      expect(call).toMatchObject({ result: "answered", wakes: [{ state: "registered" }] });
      expect(call.branches.find(({ status }) => status === 200)).toMatchObject({ late: true });
    },
    40_000,
  );
}

peerTest(
  "T-01 T-06 Kamailio by TLS as the PBX: REGISTER and calls between it and a page over WSS",
  ["kamailio", "sipp"],
  async (rig) => {
    const kamailio = await rig.kamailio(["alice"], { tls: rig.certify("pbx") });
    const appliance = await rig.appliance(rig.edgeConfig({
      pbx: { uri: `sip:${rig.address("pbx")}:${rig.tlsPort};transport=tls`, ca_file: rig.caFile, qualify: "1s" },
    }));
    const page = rig.webPhone("wss", { user: "alice", password: "secret", instance: INSTANCE });
    await page.registered();
    await holdsOurContact(rig, kamailio, ";transport=tls");
    await rig.sipp({ from: "caller", to: "pbx", scenario: "caller", user: "alice", pauseMs: 300 }).done();
    await page.heard("ended");
    await eventually("the PBX answers OPTIONS by TLS", 5000, async () => {
      const { pbx } = await appliance.get<{ pbx: { state: string } }>("/v1/status");
      return pbx.state === "up" || null;
    });
  },
);

peerTest(
  "X-06 a client that wants to renegotiate (OpenSSL, TLS 1.2) loses its connection, and a phone beside it nothing",
  ["kamailio", "openssl"],
  async (rig) => {
    await rig.kamailio(["alice"]);
    const appliance = await rig.appliance(rig.edgeConfig());
    const page = rig.webPhone("wss", { user: "alice", password: "secret", instance: INSTANCE });
    await page.registered();
    const args = ["s_client", "-connect", `${rig.address("us")}:${rig.tlsPort}`, "-tls1_2", "-CAfile", rig.caFile];
    const client = Bun.spawn(["openssl", ...args], { stdin: "pipe", stdout: "pipe", stderr: "pipe" });
    client.stdin.write("\r\n\r\n");
    await client.stdin.flush();
    await eventually(
      "it is connected",
      3000,
      async () => await appliance.metric("sockets", 'transport="tls",state="open"') || null,
    );
    client.stdin.write("R\n");
    await client.stdin.flush();
    await client.exited;
    expect(await new Response(client.stdout).text()).toContain("Verify return code: 0 (ok)");
    expect(await new Response(client.stderr).text()).toContain("RENEGOTIATING");
    expect((await appliance.location("alice@example.com"))?.devices).toMatchObject([{ flow: { state: "live" } }]);
  },
);
