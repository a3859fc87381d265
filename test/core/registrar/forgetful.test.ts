import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { PbxModel } from "./pbx_model.ts";
import { answer, register, Rig, type TestFlow } from "./rig.ts";

const AORS = ["alice@example.org", "bob@example.org"] as const;
/** Phones 0 and 1 are alice's, 2 and 3 bob's. 0 and 2 have one app each with the same token, and so have 1 and 3. */
const PHONES = 4;
const VERIFY_MS = 300_000;

/** Two AoRs, whose phones may name one token, before a PBX that is away now and then and forgets without a word. */
class World {
  readonly rig: Rig;
  readonly pbx = new PbxModel();
  readonly flows: (TestFlow | null)[] = Array.from({ length: PHONES }, () => null);
  /** Nothing is answered before. */
  private awayUntilMs = 0;
  /** When it last forgot what it held. */
  forgotMs = -Infinity;
  /** It forgot while it was away long enough to be found so, and has not been away since. */
  isNoticed = false;
  private readonly cseqs = Array.from({ length: PHONES }, () => 0);
  /** Until when each phone is registered, as it was told. */
  private readonly untilMs = Array.from({ length: PHONES }, () => 0);

  constructor(readonly mode: "aor" | "contact", isTrusted: boolean) {
    this.rig = new Rig({ pbx: { mode, trusts_us: isTrusted, expires: 3_600_000, qualify: 30_000, verify: VERIFY_MS } });
    this.settle();
  }

  aorOf(phone: number): (typeof AORS)[number] {
    return AORS[phone < 2 ? 0 : 1];
  }

  /** @returns true if the phone was answered */
  register(phone: number, hasToken: boolean, expires: number): boolean {
    const { rig } = this;
    const flow = this.flows[phone] ??= rig.phone(`192.0.2.${phone}`, 40_000 + phone, "tcp");
    const user = phone < 2 ? "alice" : "bob";
    const push = hasToken ? `;pn-provider=acme;pn-prid=${"XY"[phone % 2]}` : "";
    rig.receive(
      flow,
      register(flow, {
        user,
        expires,
        callId: `c${phone}`,
        cseq: ++this.cseqs[phone]!,
        contacts: [`<sip:${user}@192.0.2.${phone}${push}>;+sip.instance="<urn:uuid:${phone}>"`],
      }),
    );
    this.settle(flow);
    const isAnswered = this.heard === "SIP/2.0 200 OK";
    if (isAnswered) this.untilMs[phone] = rig.clock.nowMs + expires * 1000;
    return isAnswered;
  }

  /** Status line of the last answer to the phone that registered. */
  private heard = "";

  sleep(phone: number): void {
    const flow = this.flows[phone]!;
    this.flows[phone] = null;
    if (flow !== null) this.rig.close(flow);
  }

  forget(awayMs: number): void {
    const { nowMs } = this.rig.clock;
    this.pbx.bindings.clear();
    this.forgotMs = nowMs;
    this.awayUntilMs = nowMs + awayMs;
    // Two OPTIONS and their repetitions fall into it.
    this.isNoticed = awayMs >= 60_000;
  }

  get isAway(): boolean {
    return this.rig.clock.nowMs < this.awayUntilMs;
  }

  pass(ms: number): void {
    const { rig } = this;
    const endMs = rig.clock.nowMs + ms;
    while (rig.core.schedule.nextMs <= endMs) {
      rig.pass(Math.max(0, rig.core.schedule.nextMs - rig.clock.nowMs));
      this.settle();
    }
    rig.pass(endMs - rig.clock.nowMs);
    this.settle();
  }

  private settle(phone: TestFlow | null = null): void {
    const { rig } = this;
    this.heard = "";
    for (let sent = rig.sent.shift(); sent !== undefined; sent = rig.sent.shift()) {
      if (sent.flow === phone) this.heard = sent.wire.slice(0, sent.wire.indexOf("\r\n"));
      if (sent.flow !== rig.pbx || this.isAway) continue;
      const reply = sent.wire.startsWith("OPTIONS")
        ? answer(sent.wire, "200 OK")
        : this.pbx.take(sent.wire, rig.clock.nowMs);
      rig.fromPbx(reply);
    }
    rig.pushes.length = 0;
  }

  isHeld(aor: (typeof AORS)[number]): boolean {
    return this.pbx.live(aor, this.rig.clock.nowMs).length > 0;
  }

  /** Devices that the PBX's binding is for, and that can be reached or woken. */
  reachable(aor: (typeof AORS)[number]): number {
    const contacts = this.rig.core.usrloc.find(aor)?.contacts ?? [];
    return contacts.filter((contact) => contact.hasUsableToken || contact.flow !== null).length;
  }

  /** a phone that is connected keeps its device and its token, whoever else names it. */
  checkLive(): void {
    for (let n = 0; n < PHONES; n++) {
      if (this.flows[n] === null || this.untilMs[n]! <= this.rig.clock.nowMs) continue;
      const contacts = this.rig.core.usrloc.find(this.aorOf(n))?.contacts ?? [];
      const mine = contacts.find(({ instance }) => instance === `urn:uuid:${n}`);
      if (mine === undefined) throw new Error(`phone ${n} is connected and its device is gone`);
      if (mine.push !== null && !mine.hasUsableToken) throw new Error(`phone ${n} is connected and lost its push`);
    }
  }
}

const step = fc.record({
  phone: fc.nat(PHONES - 1),
  action: fc.constantFrom(
    "register",
    "register",
    "register",
    "sleep",
    "sleep",
    "forget",
    "away",
    "pass",
    "pass",
    "pass",
  ),
  hasToken: fc.constantFrom(true, true, true, false),
  expires: fc.constantFrom(60, 600, 3600),
  passMs: fc.constantFrom(1000, 20_000, 61_000, 400_000),
});

describe("R-20 R-21 a PBX that forgets, and two AoRs with one token", () => {
  for (const mode of ["aor", "contact"] as const) {
    for (const isTrusted of [true, false]) {
      test(
        `R-20 R-21 ${mode}, ${
          isTrusted ? "renewed by us" : "renewed by the phones"
        }: it is found out, and no live phone loses anything`,
        () => {
          let [forgotten, moved] = [0, 0];
          fc.assert(
            fc.property(fc.array(step, { minLength: 5, maxLength: 40 }), (steps) => {
              const world = new World(mode, isTrusted);
              for (const { phone, action, hasToken, expires, passMs } of steps) {
                if (action === "register") {
                  const isAnswered = world.register(phone, hasToken, expires);
                  // Known to have been away: nothing is answered in its place before it has granted anew.
                  if (isAnswered && world.isNoticed && !world.isAway && !world.isHeld(world.aorOf(phone))) {
                    throw new Error(`phone ${phone} was told that it is registered, the PBX does not know it`);
                  }
                } else if (action === "sleep") world.sleep(phone);
                else if (action === "pass") world.pass(passMs);
                else {
                  world.forget(action === "away" ? 100_000 : 0);
                  forgotten++;
                  // A PBX that was found away is asked every 5 s.
                  if (action === "away") world.pass(110_000);
                }
                world.checkLive();
                // Asked for one binding a minute; by then all of the four had their turn.
                if (!isTrusted || world.isAway || world.rig.clock.nowMs - world.forgotMs < VERIFY_MS + 60_000) continue;
                for (const aor of AORS) {
                  if (world.reachable(aor) > 0 && !world.isHeld(aor)) {
                    throw new Error(`${aor} can be reached and the PBX has not heard of it for six minutes`);
                  }
                }
              }
              moved += world.rig.events.filter(({ type }) => type === "token_moved").length;
              for (let n = 0; n < PHONES; n++) world.sleep(n);
              world.pass(20_000_000);
              expect([world.rig.core.usrloc.aorCount, world.rig.pinned.size]).toEqual([0, 0]);
            }),
            { numRuns: 100 },
          );
          expect([forgotten > 50, moved > 0]).toEqual([true, true]);
        },
        60_000,
      );
    }
  }
});

test("R-09 a Contact that the PBX dropped is registered again once the device that had its place has left", () => {
  for (const leave of ["runs out", "unregisters"] as const) {
    const world = new World("contact", true);
    world.register(0, true, 3600);
    world.sleep(0);
    world.pbx.bindings.clear();
    world.register(1, true, 60);
    const [first] = world.rig.core.usrloc.find(AORS[0])!.contacts;
    expect([leave, first!.isDropped]).toEqual([leave, true]);
    if (leave === "unregisters") world.register(1, true, 0);
    world.pass(62_000);
    expect([leave, first!.isRegistered, first!.isDropped, world.isHeld(AORS[0])]).toEqual([leave, true, false, true]);
  }
});
