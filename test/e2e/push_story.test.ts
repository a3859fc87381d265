/**
 * The demo's story with each push service: its PBX, its phones and the appliance on real sockets; only who wakes the phones
 * is another, and checks what the real service checks.
 */
import { afterEach, expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Box } from "../../src/demo/box.ts";
import { freePort } from "../../src/demo/line.ts";
import { DemoPbx, type PbxCall } from "../../src/demo/pbx.ts";
import { type Incoming, Phone } from "../../src/demo/phone.ts";
import { Stage } from "../../src/demo/stage.ts";
import { BEARER, type Manner, MANNERS, type StoryService, type Told } from "./push_services.ts";

const DOMAIN = "example.org";
const WINDOW_MS = 1500;
const PATIENCE_MS = 8000;

const ends: (() => Promise<void> | void)[] = [];
afterEach(async () => {
  for (const end of ends.splice(0).reverse()) await end();
});

class Play {
  /** While it does, the phone wakes with each push. */
  isWoken = true;
  private heard = 0;

  constructor(
    readonly stage: Stage,
    readonly pbx: DemoPbx,
    readonly box: Box,
    readonly service: StoryService,
    readonly mobile: Phone,
    readonly desk: Phone,
  ) {}

  /** The next push the service got. */
  async pushed(): Promise<Told> {
    await this.service.until(() => this.service.told().length > this.heard);
    return this.service.told()[this.heard++]!;
  }

  /** The next push is that of this call, and says as much of it as it may. */
  async pushedFor(call: PbxCall, { isTold }: Manner): Promise<void> {
    const told = await this.pushed();
    if (isTold) expect(told).toMatchObject({ event: "call", call_id: call.callId, from_name: call.caller });
    else expect(told).toEqual({});
  }

  /** Nothing was pushed that nobody asked about. */
  get unheard(): Told[] {
    return this.service.told().slice(this.heard);
  }

  rings(phone: Phone, call: PbxCall): Promise<Incoming> {
    return this.stage.until(
      `${phone.options.name} to ring`,
      PATIENCE_MS,
      () => phone.calls.find(({ invite }) => invite.callId === call.callId),
    );
  }

  async final(call: PbxCall): Promise<number> {
    return await this.stage.until("a final answer", PATIENCE_MS, () => call.final || undefined);
  }

  async fallsAsleep(): Promise<void> {
    this.mobile.sleep();
    for (;;) {
      const { devices } = await this.box.json<{ devices: { kind: string; flow: { state: string } }[] }>(
        "/v1/locations/alice",
      );
      if (devices.every(({ kind, flow }) => kind === "desk" || flow.state === "lost")) return;
      await this.stage.pause(10);
    }
  }

  async answers(call: PbxCall, incoming: Incoming): Promise<void> {
    this.mobile.answer(incoming);
    expect(await this.final(call)).toBe(200);
    call.hangUp();
    await this.stage.until("200 to the BYE", PATIENCE_MS, () => call.isByeAnswered);
    expect([incoming.isAcked, incoming.state]).toEqual([true, "ended"]);
  }
}

async function assemble(manner: Manner): Promise<Play> {
  const stage = new Stage();
  const folder = mkdtempSync(join(tmpdir(), "latefork-story-"));
  ends.push(() => rmSync(folder, { recursive: true, force: true }));
  const service = await manner.start(folder, stage);
  ends.push(() => service.stop());
  const [sipPort, controlPort] = [await freePort(), await freePort()];
  const pbx = await DemoPbx.start({ stage, domain: DOMAIN, users: new Map([["alice", "secret"]]), proxyPort: sipPort });
  ends.push(() => pbx.stop());
  const alice = { stage, user: "alice", domain: DOMAIN, password: "secret", proxyPort: sipPort };
  const desk = new Phone({ ...alice, name: "the desk phone", transport: "udp", token: null });
  const { phone, token, keys } = service;
  const mobile = new Phone({ ...alice, name: "the mobile", transport: "tcp", token, service: phone });
  ends.push(() => [desk, mobile].forEach((one) => one.sleep()));
  const box = new Box(controlPort);
  ends.push(() => box.remove());
  box.write(
    `domain: ${DOMAIN}
pbx: { uri: "sip:127.0.0.1:${pbx.port};transport=udp" }
push: ${service.config}
store: { path: latefork.db }
listen: ["udp://127.0.0.1:${sipPort}", "tcp://127.0.0.1:${sipPort}"]
control: { listen: ["http://127.0.0.1:${controlPort}"] }
wake: { window: ${WINDOW_MS}ms }
`,
    BEARER,
  );
  await box.start();
  expect(await mobile.wake()).toMatchObject({ status: 200, challenges: 1 });
  const play = new Play(stage, pbx, box, service, mobile, desk);
  if (keys !== undefined) {
    const { devices } = await box.json<{ devices: { id: string }[] }>("/v1/locations/alice");
    const push = { provider: manner.provider, prid: token, ...keys };
    const path = `${box.controlUrl}/v1/locations/alice/devices/${devices[0]!.id}`;
    expect((await fetch(path, { method: "PUT", body: JSON.stringify({ push }) })).status).toBe(200);
  }
  // RFC 8599 §4.1.2: the phone registers with every push.
  let isOver = false;
  ends.push(() => {
    isOver = true;
    stage.changed();
  });
  let seen = 0;
  const listen = async (): Promise<void> => {
    for (; !isOver; seen++) {
      await service.until(() => isOver || service.told().length > seen);
      if (!isOver && play.isWoken) await mobile.wake();
    }
  };
  listen().catch((error) => stage.end(error));
  await play.fallsAsleep();
  return play;
}

test.each(Object.keys(MANNERS))("P-01 P-06 W-04 O-01 the demo's story with %s", async (name) => {
  const manner = MANNERS[name]!;
  const play = await assemble(manner);
  const { stage, pbx, box, service, mobile, desk } = play;

  // Everybody asleep: INVITE, push, REGISTER, late branch, answer.
  const held = pbx.call("alice", "Bob");
  await play.pushedFor(held, manner);
  await play.answers(held, await play.rings(mobile, held));
  expect(held.statuses).toEqual([100, 180, 200]);
  await play.fallsAsleep();

  // Two callers: each is pushed, and one REGISTER brings both.
  const registered = pbx.accepted;
  const [bob, erin] = [pbx.call("alice", "Bob"), pbx.call("alice", "Erin")];
  const pushes = [await play.pushed(), await play.pushed()];
  const callIds = manner.isTold ? [bob.callId, erin.callId] : [undefined, undefined];
  // On connections of their own they may overtake each other.
  expect(pushes.map((push) => push.call_id).sort()).toEqual(callIds.sort());
  const fromErin = await play.rings(mobile, erin);
  const fromBob = await play.rings(mobile, bob);
  expect(pbx.accepted - registered).toBe(1);
  mobile.decline(fromErin);
  expect(await play.final(erin)).toBe(486);
  await play.answers(bob, fromBob);
  await play.fallsAsleep();

  // The caller gives up before the phone comes: it is told as its service allows, and comes too late.
  play.isWoken = false;
  const given = pbx.call("alice", "Bob");
  await play.pushedFor(given, manner);
  given.cancel();
  expect(await play.final(given)).toBe(487);
  const told: Told[] = [];
  for (const _ of manner.atEnd) told.push(await play.pushed());
  // What leaves together may arrive in any order.
  expect(told.map(({ event = "" }) => event).sort()).toEqual(manner.atEnd);
  for (const one of told) {
    if (manner.isTold) expect(one).toMatchObject({ call_id: given.callId, from_name: "Bob" });
    if (one.event === "cancel") expect(one.reason).toBe("caller_gave_up");
  }
  const before = mobile.calls.length;
  await mobile.wake();
  if (manner.isRungLate) {
    const late = await play.rings(mobile, given);
    await stage.until("CANCEL at the mobile", PATIENCE_MS, () => late.state === "cancelled");
  }
  expect(mobile.calls.length - before).toBe(manner.isRungLate ? 1 : 0);
  await play.fallsAsleep();

  // Nobody wakes within wake.window.
  const lost = pbx.call("alice", "Bob");
  await play.pushedFor(lost, manner);
  expect(await play.final(lost)).toBe(480);
  expect(performance.now() - lost.startedAtMs).toBeGreaterThan(WINDOW_MS - 50);
  for (const _ of manner.atEnd) await play.pushed();

  // One phone awake, one asleep, and the ladder that tells of it.
  await desk.wake();
  play.isWoken = true;
  const call = pbx.call("alice", "Bob");
  const atDesk = await play.rings(desk, call);
  await play.pushedFor(call, manner);
  await play.answers(call, await play.rings(mobile, call));
  await stage.until("CANCEL at the desk phone", PATIENCE_MS, () => atDesk.state === "cancelled");
  expect(atDesk.cancelReason).toContain("Call completed elsewhere");
  const ladder = await box.text(`/v1/calls/${call.callId}/ladder`);
  for (const words of [`push ${manner.provider}`, "push call", "accepted", "REGISTER", "INVITE (late)"]) {
    expect(ladder).toContain(words);
  }
  expect(play.unheard).toEqual([]);
  expect(service.faults()).toEqual([]);
  expect(await box.json("/v1/push")).toMatchObject({ items: [{ state: "healthy", refused: 0, failed: 0 }] });
}, 30_000);
