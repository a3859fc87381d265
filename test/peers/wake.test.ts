/** Sleeping phones: the call is held, the push leaves, the phone registers through Kamailio, the late branch finds it. */
import { expect } from "bun:test";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Appliance } from "./appliance.ts";
import { eventually } from "./program.ts";
import type { PushReceiver } from "./push_receiver.ts";
import { type Party, peerTest, type Rig } from "./rig.ts";
import type { Sipp } from "./sipp.ts";

const both = ["kamailio", "sipp"];
const instanceOf = (party: Party) => `22222222-0000-4000-8000-0000000000${party === "phoneB" ? "02" : "03"}`;

/** The SIPp phone: registers with digest and push parameters; with `onOther` it stays and takes calls. */
function register(rig: Rig, party: Party, user: string, more: Partial<Parameters<Rig["register"]>[1]> = {}): Sipp {
  const push = `;pn-provider=acme;pn-param=app;pn-prid=token-${party}`;
  return rig.register(party, { user, push, instance: instanceOf(party), ...more });
}

/** Registered, and its connection gone: only a push can reach it. */
async function putToSleep(rig: Rig, appliance: Appliance, party: Party, user: string): Promise<void> {
  await register(rig, party, user).done();
  await eventually(`the flow of ${party} is known to be lost`, 3000, async () => {
    const devices = (await appliance.location(`${user}@example.com`))?.devices ?? [];
    const device = devices.find(({ contact }) => contact.includes(rig.address(party)));
    return device !== undefined && device.flow.state === "lost";
  });
}

/** What a phone does when its push arrives: it starts, registers, and is there for the call. */
function wakesOnPush(rig: Rig, receiver: PushReceiver, party: Party, user: string, does = "phone_answers"): void {
  let isAwake = false;
  receiver.onPush = (push) => {
    if (isAwake || push.event !== "call" || push.prid !== `token-${party}`) return;
    isAwake = true;
    register(rig, party, user, { onOther: does, pauseMs: 15_000 });
  };
}

peerTest(
  "W-02 W-04 W-11 one phone rings, the sleeping one is pushed, registers, answers; the first is cancelled, ACK and BYE pass",
  both,
  async (rig) => {
    const receiver = rig.receiver();
    await rig.kamailio(["alice"]);
    const appliance = await rig.appliance(rig.config({ push: rig.pushTo(receiver) }));
    const awake = rig.phone("phoneA", { user: "alice", onInvite: "ring" });
    expect((await awake.register()).status).toBe(200);
    await putToSleep(rig, appliance, "phoneB", "alice");
    wakesOnPush(rig, receiver, "phoneB", "alice");

    const caller = rig.sipp({ from: "caller", to: "pbx", scenario: "caller", user: "alice", pauseMs: 300 });
    const invite = await awake.next("INVITE");
    const push = await receiver.next("call");
    expect(push).toMatchObject({ aor: "alice@example.com", provider: "acme", prid: "token-phoneB" });
    expect(push.call_id).toBe(invite.headers["call-id"]);
    const cancel = await awake.next("CANCEL");
    expect(cancel.headers.reason).toMatch(/SIP\s*;\s*cause=200\s*;\s*text="Call completed elsewhere"/);
    await caller.done();

    const call = await appliance.callOf("alice@example.com", "is over", ({ state }) => state === "ended");
    expect(call.result).toBe("answered");
    expect(call.branches.find(({ status }) => status === 200)).toMatchObject({ late: true });
    expect(call.wakes).toMatchObject([{ state: "registered" }]);
  },
);

peerTest(
  "W-06 W-04 every phone asleep: the caller hears only 100 until the late INVITE is answered",
  both,
  async (rig) => {
    const receiver = rig.receiver();
    await rig.kamailio(["alice"]);
    const appliance = await rig.appliance(rig.config({ push: rig.pushTo(receiver) }));
    await putToSleep(rig, appliance, "phoneB", "alice");
    const caller = rig.phone("caller", { user: "trunk", route: `sip:${rig.at("pbx")};lr` });
    const call = caller.call("sip:alice@example.com");
    await receiver.next("call");
    await Bun.sleep(700);
    expect(new Set(call.statuses)).toEqual(new Set([100]));
    const [held] = await appliance.calls("&state=open");
    expect(held?.branches).toEqual([]);

    register(rig, "phoneB", "alice", { onOther: "phone_answers", pauseMs: 15_000 });
    await call.answered();
    expect((await call.hangUp()).status).toBe(200);
  },
);

peerTest(
  "W-10 the caller gives up while the phone wakes: 200, 487, a cancel push, and no INVITE for the late phone",
  both,
  async (rig) => {
    const receiver = rig.receiver();
    await rig.kamailio(["alice"]);
    const appliance = await rig.appliance(rig.config({ push: rig.pushTo(receiver) }));
    await putToSleep(rig, appliance, "phoneB", "alice");
    const caller = rig.sipp({ from: "caller", to: "pbx", scenario: "caller_gives_up", user: "alice", pauseMs: 500 });
    await receiver.next("call");
    await caller.done();
    expect(await receiver.next("cancel")).toMatchObject({ reason: "caller_gave_up", prid: "token-phoneB" });
    const call = await appliance.callOf("alice@example.com", "is over", ({ state }) => state === "ended");
    expect(call).toMatchObject({ result: "cancelled", status: 487 });

    const late = rig.phone("phoneB", {
      user: "alice",
      transport: "tcp",
      push: "pn-provider=acme;pn-param=app;pn-prid=token-phoneB",
    });
    expect((await late.register()).status).toBe(200);
    await Bun.sleep(300);
    expect(late.received("INVITE")).toEqual([]);
  },
);

peerTest("W-07 W-08 nobody wakes: 480 when the window is over, not before", both, async (rig) => {
  const receiver = rig.receiver();
  await rig.kamailio(["alice"]);
  const wake = { window: "1500ms", ring_timeout: "20s" };
  const appliance = await rig.appliance(rig.config({ push: rig.pushTo(receiver), wake }));
  await putToSleep(rig, appliance, "phoneB", "alice");
  const startMs = Date.now();
  const caller = rig.sipp({ from: "caller", to: "pbx", scenario: "caller_480", user: "alice" });
  await caller.done();
  expect(Date.now() - startMs).toBeGreaterThan(1400);
  expect(receiver.pushes.filter(({ event }) => event === "call")).toHaveLength(1);
  const call = await appliance.callOf("alice@example.com", "is over", ({ state }) => state === "ended");
  expect(call).toMatchObject({ status: 480, wakes: [{ state: "expired" }] });
});

peerTest("W-21 two callers wait for one sleeping phone: one REGISTER brings both calls to it", both, async (rig) => {
  const receiver = rig.receiver();
  await rig.kamailio(["alice"]);
  const appliance = await rig.appliance(rig.config({ push: rig.pushTo(receiver) }));
  await putToSleep(rig, appliance, "phoneB", "alice");
  const first = rig.phone("caller", { user: "trunk", route: `sip:${rig.at("pbx")};lr` });
  const second = rig.phone("stranger", { user: "other", route: `sip:${rig.at("pbx")};lr` });
  const calls = [first.call("sip:alice@example.com"), second.call("sip:alice@example.com")];
  await Promise.all(calls.map(({ callId }) => receiver.next("call", 5000, (push) => push.call_id === callId)));

  const phone = rig.phone("phoneB", {
    user: "alice",
    transport: "tcp",
    instance: instanceOf("phoneB"),
    push: "pn-provider=acme;pn-param=app;pn-prid=token-phoneB",
    onInvite: "ring",
  });
  expect((await phone.register()).status).toBe(200);
  const invites = await Promise.all(
    calls.map(({ callId }) => phone.next("INVITE", 5000, ({ headers }) => headers["call-id"] === callId)),
  );
  // P-02: the token is no business of the call.
  expect(invites.filter(({ uri }) => uri.includes("pn-"))).toEqual([]);
  phone.respond(invites[0]!, 200, "OK");
  phone.respond(invites[1]!, 486, "Busy Here");
  await calls[0]!.answered();
  expect((await calls[1]!.response("final")).status).toBe(486);
  expect((await phone.hangUp(invites[0]!)).status).toBe(200);
  await first.next("BYE");
});

peerTest(
  "R-18 S-01 kill -9, start again: tokens and bindings are there, the next call wakes the phone",
  both,
  async (rig) => {
    const receiver = rig.receiver();
    const kamailio = await rig.kamailio(["alice"]);
    const config = rig.config({ push: rig.pushTo(receiver) });
    const before = await rig.appliance(config);
    await register(rig, "phoneB", "alice").done();
    const [heldBefore] = await kamailio.contacts();
    await before.kill();

    const appliance = await rig.appliance(config);
    const location = await appliance.location("alice@example.com");
    expect(location?.upstream.state).toBe("registered");
    expect(location?.devices).toMatchObject([{ kind: "mobile", push: { provider: "acme" } }]);
    wakesOnPush(rig, receiver, "phoneB", "alice");
    await rig.sipp({ from: "caller", to: "pbx", scenario: "caller", user: "alice", pauseMs: 200 }).done();
    expect(receiver.pushes.some(({ event, prid }) => event === "call" && prid === "token-phoneB")).toBe(true);
    expect((await kamailio.contacts()).map(({ uri }) => uri)).toEqual([heldBefore!.uri]);
  },
);

peerTest(
  "R-18 W-02 after a restart a UDP phone is tried at once, over the address it had, and pushed as well",
  both,
  async (rig) => {
    const receiver = rig.receiver();
    await rig.kamailio(["alice"]);
    const config = rig.config({ push: rig.pushTo(receiver) });
    const before = await rig.appliance(config);
    const phone = rig.phone("phoneA", { user: "alice", push: "pn-provider=acme;pn-param=app;pn-prid=token-udp" });
    expect((await phone.register()).status).toBe(200);
    await before.kill();
    await rig.appliance(config);
    const caller = rig.sipp({ from: "caller", to: "pbx", scenario: "caller", user: "alice", pauseMs: 200 });
    await phone.next("INVITE");
    expect((await receiver.next("call")).prid).toBe("token-udp");
    await caller.done();
  },
);

peerTest(
  "W-03 a UDP phone that is gone without a word is pushed after the hedge, and answers when it is back",
  both,
  async (rig) => {
    const receiver = rig.receiver();
    await rig.kamailio(["alice"]);
    const wake = { window: "8s", ring_timeout: "20s", hedge: "300ms" };
    const appliance = await rig.appliance(rig.config({ push: rig.pushTo(receiver), wake }));
    await register(rig, "phoneB", "alice", { transport: "udp" }).done();
    // The socket is bound, so nothing tells that nobody listens to the phone any more.
    const silent = rig.sipp({ from: "phoneB", scenario: "phone_ignores", pauseMs: 20_000 });
    await silent.program.waitFor(/./s, 2000).catch(() => null);
    let woke: Sipp | null = null;
    receiver.onPush = () => {
      woke ??= register(rig, "phoneB", "alice", { onOther: "phone_answers", pauseMs: 15_000 });
    };
    await rig.sipp({ from: "caller", to: "pbx", scenario: "caller", user: "alice", pauseMs: 200 }).done();
    const call = await appliance.callOf("alice@example.com", "is over", ({ state }) => state === "ended");
    expect(receiver.pushes.filter(({ event }) => event === "call")).toHaveLength(1);
    expect(call.branches.filter(({ late }) => late)).toHaveLength(1);
    expect(silent.messages()).toContain("INVITE sip:alice@");
  },
);

peerTest(
  "R-19 R-08 the PBX's OPTIONS to a phone that sleeps is answered 200; a phone forgotten here leaves the PBX too",
  both,
  async (rig) => {
    const receiver = rig.receiver();
    const kamailio = await rig.kamailio(["alice"]);
    const credentials = join(rig.folder, "credentials");
    writeFileSync(credentials, "alice:secret\n", { mode: 0o600 });
    const appliance = await rig.appliance(rig.config({
      push: rig.pushTo(receiver),
      pbx: { uri: `sip:${rig.at("pbx")}`, qualify: "0", credentials_file: credentials },
    }));
    await putToSleep(rig, appliance, "phoneB", "alice");
    const trunk = rig.phone("caller", { user: "trunk", route: `sip:${rig.at("pbx")};lr` });
    expect((await trunk.request("OPTIONS", "sip:alice@example.com")).status).toBe(200);
    expect(receiver.pushes).toEqual([]);

    await fetch(`${appliance.control}/v1/locations/alice%40example.com`, { method: "DELETE" });
    await eventually("Kamailio holds no Contact of alice", 3000, async () => (await kamailio.contacts()).length === 0);
    expect((await trunk.request("OPTIONS", "sip:alice@example.com")).status).toBe(404);
  },
);
