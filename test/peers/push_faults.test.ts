/** Pushers that fail: calls to phones that are awake must not feel it, and the admin must see it. */
import { expect } from "bun:test";
import { eventually } from "./program.ts";
import { peerTest, type Rig } from "./rig.ts";

/** A pusher with a fault, and how its pushes end: `result` of push_total, or a wake that only the window ends. */
const faults = [
  { words: "never answers", url: (rig: Rig) => rig.receiver("hang").url },
  { words: "cuts every connection", url: (rig: Rig) => rig.resetting().url },
  { words: "answers 500 each time", url: (rig: Rig) => rig.receiver(500).url },
  { words: "refuses with 403", url: (rig: Rig) => rig.receiver(403).url },
];

for (const { words, url } of faults) {
  peerTest(`P-04 W-02 a pusher that ${words}: the awake phone rings at once and the call is as ever`, [
    "kamailio",
    "sipp",
  ], async (rig) => {
    await rig.kamailio(["alice"]);
    const appliance = await rig.appliance(rig.config({
      wake: { window: "3s", ring_timeout: "20s" },
      push: { webhook: { acme: { url: url(rig), timeout: "800ms" } } },
    }));
    await rig.register("phoneB", {
      push: ";pn-provider=acme;pn-param=app;pn-prid=token-b",
      instance: "66666666-0000-4000-8000-000000000001",
    }).done();
    const awake = rig.phone("phoneA", { user: "alice", onInvite: "ring" });
    expect((await awake.register()).status).toBe(200);

    const caller = rig.sipp({ from: "caller", to: "pbx", scenario: "caller", user: "alice", pauseMs: 1500 });
    const invite = await awake.next("INVITE");
    await Bun.sleep(300);
    awake.respond(invite, 200, "OK");
    await awake.next("ACK");
    await awake.next("BYE");
    await caller.done();
    await eventually(
      "the failed push is counted",
      6000,
      async () => await appliance.metric("push_total") > await appliance.metric("push_total", 'result="accepted"'),
    );
    await eventually(
      "the failed push is logged",
      6000,
      () => /"level":"(warn|error)".*[Pp]ush/.test(appliance.program.output),
    );

    // Nobody is awake now: the call ends when the wake does, not before it is sure, and never hangs.
    expect((await awake.register(0)).status).toBe(200);
    await rig.sipp({ from: "caller", to: "pbx", scenario: "caller_480", user: "alice" }).done();
  }, 30_000);
}
