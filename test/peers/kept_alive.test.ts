/** A phone sleeps beside a Kamailio that challenges and grants seconds: latefork keeps its binding there. */
import { expect } from "bun:test";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { eventually } from "./program.ts";
import { peerTest } from "./rig.ts";

peerTest(
  "R-09 R-18 with its password latefork renews a sleeping phone's binding at Kamailio, also after kill -9",
  ["kamailio", "sipp"],
  async (rig) => {
    const kamailio = await rig.kamailio(["alice"], { maxExpires: 12 });
    const file = join(rig.folder, "credentials");
    writeFileSync(file, "alice:secret\n", { mode: 0o600 });
    const config = rig.config({
      pbx: { uri: `sip:${rig.at("pbx")};transport=udp`, qualify: "0", credentials_file: file },
      push: rig.pushTo(rig.receiver()),
    });
    const appliance = await rig.appliance(config);
    const push = ";pn-provider=acme;pn-param=app;pn-prid=token-a";
    await rig.register("phoneA", { push, instance: "i-1", expires: "3600", pauseMs: 300 }).done();
    expect((await appliance.location("alice@example.com"))!.devices[0]!.expires_in).toBeGreaterThan(3590);
    const counted = async (from: typeof appliance) =>
      Number(/registrations_total\{result="upstream_refreshed"\} (\d+)/.exec(await from.text("/metrics"))?.[1] ?? 0);
    await eventually("two refreshes of our own", 25_000, async () => await counted(appliance) >= 2);
    expect(await kamailio.contacts()).toHaveLength(1);
    expect((await appliance.location("alice@example.com"))!.upstream.expires_in).toBeGreaterThan(0);

    await appliance.kill();
    const again = await rig.appliance(config);
    await eventually("a refresh after the restart", 20_000, async () => await counted(again) >= 1);
    expect(await kamailio.contacts()).toHaveLength(1);
  },
);

peerTest(
  "R-21 a Kamailio that is started anew with its contacts in memory has them again within seconds",
  ["kamailio", "sipp"],
  async (rig) => {
    const first = await rig.kamailio(["alice"], { maxExpires: 3600 });
    const file = join(rig.folder, "credentials");
    writeFileSync(file, "alice:secret\n", { mode: 0o600 });
    const config = rig.config({
      pbx: { uri: `sip:${rig.at("pbx")};transport=udp`, qualify: "1s", credentials_file: file },
      push: rig.pushTo(rig.receiver()),
    });
    const appliance = await rig.appliance(config);
    const push = ";pn-provider=acme;pn-param=app;pn-prid=token-a";
    await rig.register("phoneA", { push, instance: "i-1", expires: "3600", pauseMs: 300 }).done();
    expect(await first.contacts()).toHaveLength(1);
    const isInDoubt = async () => JSON.parse(await appliance.text("/v1/status")).pbx.doubt !== null;
    await first.end();
    await eventually("its absence is noticed", 10_000, isInDoubt);
    const second = await rig.kamailio(["alice"], { maxExpires: 3600 });
    expect(await second.contacts()).toHaveLength(0);
    await eventually("Kamailio has the Contact again", 20_000, async () => (await second.contacts()).length === 1);
    await eventually("nothing is in doubt any more", 5_000, async () => !(await isInDoubt()));
  },
);
