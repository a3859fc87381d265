/** The chapters of the demo. Each plays one situation and checks what every party saw; a claim that fails ends the story. */
import { type Cast, WINDOW_MS } from "./cast.ts";
import type { PbxCall } from "./pbx.ts";
import type { Incoming, Phone } from "./phone.ts";
import { Missed } from "./stage.ts";

/** Where the story's text goes. */
export type Say = (text: string) => void;

interface LocationView {
  devices: { kind: string; flow: { state: string } }[];
}

/** No step of the story takes longer than this, whatever the machine. */
const PATIENCE_MS = 8000;

export class Chapters {
  /** Claims that held. */
  claims = 0;

  constructor(private readonly cast: Cast, private readonly say: Say) {}

  /** A call with one phone awake and one asleep, told in full. */
  async oneAwakeOneAsleep(): Promise<void> {
    const { cast } = this;
    const { desk, mobile, pbx, receiver, stage } = cast;
    this.chapter("Alice has two phones; her mobile is asleep. Bob calls.");
    for (const phone of [desk, mobile]) await this.registers(phone);
    await this.fallsAsleep(mobile);

    const call = pbx.call("alice", "Bob");
    const atDesk = await this.rings(desk, call, `${desk.options.name} rings`);
    const push = await stage.until("the push", PATIENCE_MS, () => receiver.pushes.find((one) => isFor(one.body, call)));
    this.claim(
      push.body.event === "call" && push.body.from_name === "Bob" && push.body.prid === mobile.options.token,
      `desk phone rings at once; the push for the mobile is out ${ms(push.atMs - call.startedAtMs)} after the INVITE`,
      push.body,
    );
    const atMobile = await this.rings(mobile, call, "the late branch to the mobile");
    this.claim(
      atDesk.state === "ringing",
      "the mobile wakes, registers with its own password at the PBX, and rings too: a late branch",
      atDesk.state,
    );
    await stage.pause(400);
    mobile.answer(atMobile);
    await this.status(call, 200);
    await stage.until("CANCEL at the desk phone", PATIENCE_MS, () => atDesk.state === "cancelled");
    this.claim(
      atDesk.cancelReason.includes("Call completed elsewhere"),
      `answered on the mobile; the desk phone stops: ${atDesk.cancelReason}`,
      atDesk.cancelReason,
    );
    await stage.until("ACK at the mobile", PATIENCE_MS, () => atMobile.isAcked);
    await stage.pause(150);
    await this.hangsUp(call, atMobile);
    this.kept("ACK and BYE found the mobile over its new connection");
    this.say("\n" + await cast.box.text(`/v1/calls/${call.callId}/ladder`));
    await this.fallsAsleep(mobile);
  }

  async everybodyAsleep(): Promise<void> {
    const { carol, pbx } = this.cast;
    this.chapter("Carol has only a mobile, and it is asleep.");
    await this.registers(carol);
    await this.fallsAsleep(carol);
    const call = pbx.call("carol", "Bob");
    await this.pushed(call);
    await this.cast.stage.until("100 Trying", PATIENCE_MS, () => call.statuses.length > 0);
    this.claim(same(call.statuses, [100]), "the INVITE is held: the PBX has a 100 and nothing else", call.statuses);
    const incoming = await this.rings(carol, call, "the late branch to carol");
    carol.answer(incoming);
    await this.status(call, 200);
    this.claim(
      same(call.statuses, [100, 180, 200]),
      "she wakes, rings, answers: the PBX saw 100, 180, 200",
      call.statuses,
    );
    await this.hangsUp(call, incoming);
    await this.fallsAsleep(carol);
  }

  async callerGivesUp(): Promise<void> {
    const { carol, pbx, receiver, stage } = this.cast;
    this.chapter("Bob hangs up while Carol's phone is waking.");
    const before = carol.calls.length;
    const call = pbx.call("carol", "Bob");
    await this.pushed(call);
    await stage.pause(100);
    call.cancel();
    await this.status(call, 487);
    const cancel = await stage.until(
      "the cancel push",
      PATIENCE_MS,
      () => receiver.pushes.find(({ body }) => body.event === "cancel" && body.call_id === call.callId),
    );
    this.claim(
      call.isCancelAnswered && cancel.body.reason === "caller_gave_up",
      "200 to the CANCEL, 487 to the INVITE, and a cancel push so that no stale call is shown",
      cancel.body,
    );
    await stage.until("carol's phone to wake", PATIENCE_MS, () => carol.isRegistered);
    await stage.pause(200);
    this.claim(carol.calls.length === before, "she wakes after that: nothing rings", carol.calls.length - before);
    await this.fallsAsleep(carol);
  }

  async nobodyWakes(): Promise<void> {
    const { cast } = this;
    this.chapter(`The push is lost; nobody wakes within wake.window (${WINDOW_MS / 1000} s here).`);
    const wakeAfterMs = cast.wakeAfterMs;
    cast.wakeAfterMs = null;
    const call = cast.pbx.call("carol", "Bob");
    await this.pushed(call);
    await this.status(call, 480);
    cast.wakeAfterMs = wakeAfterMs;
    const took = performance.now() - call.startedAtMs;
    this.claim(took >= WINDOW_MS - 50, `480 to the PBX after ${seconds(took)}: voicemail can take over`, took);
  }

  async twoCallers(): Promise<void> {
    const { carol, pbx } = this.cast;
    this.chapter("Bob and Erin both call Carol while she is asleep.");
    const registered = pbx.accepted;
    const first = pbx.call("carol", "Bob");
    const second = pbx.call("carol", "Erin");
    await this.pushed(second);
    const rings = [await this.rings(carol, first, "Bob's call"), await this.rings(carol, second, "Erin's call")];
    this.claim(
      pbx.accepted - registered === 1 && rings.every(({ state }) => state === "ringing"),
      "one REGISTER brings her both calls",
      { registers: pbx.accepted - registered, rings: rings.map(({ state }) => state) },
    );
    carol.answer(rings[0]!);
    carol.decline(rings[1]!);
    await this.status(first, 200);
    await this.status(second, 486);
    this.kept("she answers Bob (200) and declines Erin (486): two callers, two answers");
    await this.hangsUp(first, rings[0]!);
    await this.fallsAsleep(carol);
  }

  /** Ends the appliance in this process, kills a second one in a process of its own, and starts a third in this process. */
  async killed(): Promise<void> {
    const { box, dave, pbx } = this.cast;
    this.chapter("kill -9.");
    await box.stop();
    const pid = await box.startProcess();
    const registration = await dave.wake();
    const signal = await box.killProcess();
    this.claim(
      registration.status === 200 && signal === "SIGKILL",
      `latefork serve (pid ${pid}) is killed in the moment Dave's new phone gets its 200`,
      { status: registration.status, signal },
    );
    dave.sleep();
    await box.start();
    const { devices } = await box.json<LocationView>("/v1/locations/dave");
    this.claim(devices.length === 1, "started again on the same database: Dave's phone is there", devices);
    const call = pbx.call("dave", "Bob");
    const incoming = await this.rings(dave, call, "the late branch to dave");
    dave.answer(incoming);
    await this.status(call, 200);
    this.kept("Bob calls; Dave's phone is woken and answers");
    await this.hangsUp(call, incoming);
    await this.fallsAsleep(dave);
  }

  /** One more call for a reader who watches (`--stay`): the mobile of `user` answers, and the call ends after a while. */
  async encore(user: string): Promise<string> {
    const { cast } = this;
    const phone = { alice: cast.mobile, carol: cast.carol, dave: cast.dave }[user];
    if (phone === undefined) throw new Missed(`a user alice, carol or dave; there is no ${user}`);
    const call = cast.pbx.call(user, "Bob");
    const incoming = await this.rings(phone, call, `the late branch to ${user}`);
    await cast.stage.pause(1500);
    if (incoming.state === "ringing") {
      phone.answer(incoming);
      await this.status(call, 200);
      await cast.stage.pause(1500);
      await this.hangsUp(call, incoming);
    }
    await this.fallsAsleep(phone);
    return call.callId;
  }

  /** The newest call as latefork saw it, for a story that went wrong; empty if there is none. */
  async evidence(): Promise<string> {
    try {
      const { items } = await this.cast.box.json<{ items: { id: string }[] }>("/v1/calls?limit=1");
      return items.length === 0 ? "" : await this.cast.box.text(`/v1/calls/${items[0]!.id}/ladder`);
    } catch {
      return "";
    }
  }

  private async registers(phone: Phone): Promise<void> {
    const { status, challenges } = await phone.wake();
    this.expect(status === 200 && challenges === 1, `${phone.options.name} registers`, { status, challenges });
  }

  /** The phone's connection closes, and latefork has seen it. */
  private async fallsAsleep(phone: Phone): Promise<void> {
    const { box, stage } = this.cast;
    phone.sleep();
    const endMs = performance.now() + PATIENCE_MS;
    for (;;) {
      const { devices } = await box.json<LocationView>(`/v1/locations/${phone.options.user}`);
      if (devices.some(({ kind, flow }) => kind === "mobile" && flow.state === "lost")) return;
      if (performance.now() > endMs) throw new Missed(`latefork still believes ${phone.options.name} connected`);
      await stage.pause(10);
    }
  }

  private rings(phone: Phone, call: PbxCall, what: string): Promise<Incoming> {
    return this.cast.stage.until(
      what,
      PATIENCE_MS,
      () => phone.calls.find(({ invite }) => invite.callId === call.callId),
    );
  }

  private async pushed(call: PbxCall): Promise<void> {
    const { receiver, stage } = this.cast;
    await stage.until("the push", PATIENCE_MS, () => receiver.pushes.some(({ body }) => isFor(body, call)));
  }

  private async status(call: PbxCall, status: number): Promise<void> {
    await this.cast.stage.until(`a final answer at the PBX (expected ${status})`, PATIENCE_MS, () => call.final > 0);
    this.expect(call.final === status, `the PBX gets ${status}`, call.statuses);
  }

  private async hangsUp(call: PbxCall, incoming: Incoming): Promise<void> {
    call.hangUp();
    await this.cast.stage.until("200 to the BYE", PATIENCE_MS, () => call.isByeAnswered);
    this.expect(incoming.isAcked && incoming.state === "ended", "ACK and BYE reach the phone", incoming.state);
  }

  private chapter(title: string): void {
    this.say(`\n${title}\n`);
  }

  /** A line with ✓, for a claim that holds. */
  private claim(holds: boolean, text: string, seen: unknown): void {
    this.expect(holds, text, seen);
    this.say(`  ✓ ${text}\n`);
  }

  /** A line with ✓ whose parts were checked before. */
  private kept(text: string): void {
    this.claims++;
    this.say(`  ✓ ${text}\n`);
  }

  private expect(holds: boolean, text: string, seen: unknown): void {
    if (!holds) throw new Missed(`this did not hold: ${text}\n    seen instead: ${JSON.stringify(seen)}`);
    this.claims++;
  }
}

function isFor(body: { event: string; call_id: string }, call: PbxCall): boolean {
  return body.event === "call" && body.call_id === call.callId;
}

function same(one: readonly number[], other: readonly number[]): boolean {
  return one.join() === other.join();
}

function ms(value: number): string {
  return `${Math.max(1, Math.round(value))} ms`;
}

function seconds(value: number): string {
  return `${(value / 1000).toFixed(1)} s`;
}
