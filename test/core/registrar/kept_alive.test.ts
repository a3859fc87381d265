import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { PbxModel } from "./pbx_model.ts";
import { register, Rig, type TestFlow } from "./rig.ts";

const AOR = "alice@example.org";
const PHONES = 3;

/** Phones that sleep and wake, a PBX that grants what it likes; everything is answered in the millisecond it was asked. */
class World {
  readonly pbx = new PbxModel();
  readonly flows: (TestFlow | null)[] = Array.from({ length: PHONES }, () => null);
  /** Seconds after which a phone answers a push; Infinity: it does not. */
  readonly wakesAfter = Array.from({ length: PHONES }, () => 2);
  private readonly cseqs = Array.from({ length: PHONES }, () => 0);
  private readonly wakings: { phone: number; atMs: number }[] = [];

  constructor(readonly rig: Rig, readonly mode: "aor" | "contact") {}

  register(phone: number, expires: number): void {
    const { rig } = this;
    const flow = this.flows[phone] ??= rig.phone(`192.0.2.${phone}`, 40_000, "tcp");
    const token = phone === 2 ? "" : `;pn-provider=acme;pn-prid=tok${phone}`;
    rig.receive(
      flow,
      register(flow, {
        expires,
        callId: `c${phone}`,
        cseq: ++this.cseqs[phone]!,
        contacts: [`<sip:alice@192.0.2.${phone}${token}>;+sip.instance="<urn:uuid:${phone}>"`],
      }),
    );
    this.settle();
  }

  sleep(phone: number): void {
    const flow = this.flows[phone]!;
    this.flows[phone] = null;
    if (flow !== null) this.rig.close(flow);
  }

  /** Lets time pass, answering and waking as it goes; `check` after each deadline. */
  pass(ms: number, check: () => void): void {
    const { rig } = this;
    const endMs = rig.clock.nowMs + ms;
    while (rig.clock.nowMs < endMs) {
      const dueMs = Math.min(endMs, rig.core.schedule.nextMs, ...this.wakings.map(({ atMs }) => atMs));
      rig.pass(Math.max(0, dueMs - rig.clock.nowMs));
      this.settle();
      for (const waking of this.wakings.filter(({ atMs }) => atMs <= rig.clock.nowMs)) {
        this.wakings.splice(this.wakings.indexOf(waking), 1);
        this.register(waking.phone, 600);
        this.sleep(waking.phone);
      }
      check();
      if (dueMs === endMs) break;
    }
  }

  settle(): void {
    const { rig } = this;
    for (let sent = rig.sent.shift(); sent !== undefined; sent = rig.sent.shift()) {
      if (sent.flow === rig.pbx) rig.fromPbx(this.pbx.take(sent.wire, rig.clock.nowMs));
    }
    for (const push of rig.pushes.splice(0)) {
      const phone = Number(push.prid.slice(3));
      const seconds = this.wakesAfter[phone]!;
      if (seconds < Infinity) this.wakings.push({ phone, atMs: rig.clock.nowMs + seconds * 1000 });
    }
  }

  /** Devices that can be reached or woken. */
  get reachable(): number {
    const contacts = this.rig.core.usrloc.find(AOR)?.contacts ?? [];
    return contacts.filter(({ push, flow }) => push !== null || flow !== null).length;
  }

  get held(): number {
    return this.pbx.live(AOR, this.rig.clock.nowMs).length;
  }
}

const step = fc.record({
  phone: fc.integer({ min: 0, max: PHONES - 1 }),
  action: fc.constantFrom("register", "register", "sleep", "sleep", "unregister", "pass", "pass"),
  expires: fc.constantFrom(60, 300, 3600, 86_400),
  passMs: fc.constantFrom(1_000, 45_000, 400_000, 4_000_000),
  grant: fc.constantFrom(30, 60, 200, 600, 3600, 1e9),
});

function play(
  world: World,
  steps: readonly (typeof step extends fc.Arbitrary<infer S> ? S : never)[],
  check: () => void,
) {
  for (const { phone, action, expires, passMs, grant } of steps) {
    world.pbx.policy.maxExpires = grant;
    if (action === "register") world.register(phone, expires);
    else if (action === "unregister") world.register(phone, 0);
    else if (action === "sleep") world.sleep(phone);
    else world.pass(passMs, check);
    check();
  }
  world.wakesAfter.fill(Infinity);
  world.pass(100_000_000, check);
  expect([world.held, world.rig.core.usrloc.aorCount]).toEqual([0, 0]);
}

describe("R-08 R-09 the PBX's picture is right while phones sleep", () => {
  for (const mode of ["aor", "contact"] as const) {
    test(
      `R-09 ${mode}: where we refresh, the PBX holds a binding as long as a device can be reached or woken, and none without devices`,
      () => {
        fc.assert(
          fc.property(fc.array(step, { maxLength: 25 }), (steps) => {
            const world = new World(new Rig({ pbx: { mode, trusts_us: true, expires: 600_000 } }), mode);
            play(world, steps, () => {
              if (mode === "contact") expect(world.held).toBeGreaterThanOrEqual(world.reachable);
              if (world.reachable > 0) expect(world.held).toBeGreaterThan(0);
              if (world.rig.core.usrloc.find(AOR) === undefined) expect(world.held).toBe(0);
            });
          }),
          { numRuns: 60 },
        );
      },
      60_000,
    );
  }

  for (const mode of ["aor", "contact"] as const) {
    test(`R-09 ${mode}: where only phones can refresh and they answer pushes, no sleeping phone is ever lost`, () => {
      fc.assert(
        fc.property(fc.constantFrom(1, 8, 20), fc.integer({ min: 200, max: 4000 }), (seconds, grant) => {
          const world = new World(new Rig({ pbx: { mode, expires: 600_000 } }), mode);
          world.pbx.policy.maxExpires = grant;
          for (const phone of [0, 1]) {
            world.wakesAfter[phone] = seconds;
            world.register(phone, 600);
            world.sleep(phone);
          }
          world.pass(40_000_000, () => {
            expect(world.rig.core.usrloc.find(AOR)?.contacts).toHaveLength(2);
            expect(world.held).toBe(mode === "aor" ? 1 : 2);
          });
        }),
        { numRuns: 10 },
      );
    }, 60_000);
  }
});
