import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { PbxModel } from "./pbx_model.ts";
import { parsed, register, Rig } from "./rig.ts";

/**
 * Phones of two AoRs do what phones do, answers are late and out of order, the PBX refuses or is down for a while.
 * At all times: whoever is registered here is registered at the PBX, unless the PBX said otherwise or a REGISTER is on
 * its way. In the end: neither side holds anything the other does not.
 */
type Step =
  | { do: "register"; phone: number; expires: number }
  | { do: "leave"; phone: number }
  | { do: "wildcard"; phone: number }
  | { do: "move"; phone: number }
  | { do: "remove"; phone: number }
  | { do: "refuse"; on: boolean }
  | { do: "answer"; which: number }
  | { do: "answer all" }
  | { do: "pass"; ms: number };

const phoneNumber = fc.integer({ min: 0, max: 4 });
const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({
      do: fc.constant("register" as const),
      phone: phoneNumber,
      expires: fc.constantFrom(60, 90, 300, 600, 7200),
    }),
  },
  { weight: 3, arbitrary: fc.record({ do: fc.constant("leave" as const), phone: phoneNumber }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("wildcard" as const), phone: phoneNumber }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("move" as const), phone: phoneNumber }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("remove" as const), phone: phoneNumber }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("refuse" as const), on: fc.boolean() }) },
  { weight: 6, arbitrary: fc.record({ do: fc.constant("answer" as const), which: fc.nat(5) }) },
  { weight: 6, arbitrary: fc.constant({ do: "answer all" as const }) },
  {
    weight: 6,
    arbitrary: fc.record({
      do: fc.constant("pass" as const),
      ms: fc.constantFrom(1, 400, 30_000, 59_000, 299_990, 600_000),
    }),
  },
);

const AORS = ["alice@example.org", "bob@example.org"];

class Story {
  readonly rig: Rig;
  readonly pbx = new PbxModel();
  readonly answers: string[] = [];
  private readonly cseqs = [0, 0, 0, 0, 0];
  private readonly ports = [1, 1, 1, 1, 1];
  private readonly seen = new Set<string>();

  constructor(mode: "aor" | "contact" | "mirror") {
    this.rig = new Rig({ pbx: { mode, expires: 120_000 }, registration: { max_contacts: 2 } });
  }

  run(step: Step): void {
    const { rig } = this;
    switch (step.do) {
      case "register":
        return this.send(step.phone, { expires: step.expires });
      case "leave":
        return this.send(step.phone, { expires: 0 });
      case "wildcard":
        return this.send(step.phone, { expires: 0, contacts: ["*"] });
      case "move":
        this.ports[step.phone]!++;
        return this.send(step.phone, { expires: 600 });
      case "remove": {
        const contact = rig.core.usrloc.find(AORS[step.phone % 2]!)?.contacts[0];
        if (contact !== undefined) rig.core.usrloc.remove(contact, "control");
        return this.deliver();
      }
      case "refuse":
        if (step.on) this.pbx.policy.refused.add(AORS[0]!);
        else this.pbx.policy.refused.clear();
        return;
      case "answer":
        return this.answer(step.which);
      case "answer all":
        return this.settle();
      case "pass":
        // The PBX answers within the time its REGISTER is repeated: else it would be a timeout, another story.
        if (step.ms > 400) this.settle();
        return this.pass(step.ms);
    }
  }

  /** Deadline by deadline, so that what is sent arrives when it is sent. */
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

  settle(): void {
    this.deliver();
    while (this.answers.length > 0) this.answer(0);
  }

  private send(phone: number, text: { expires: number; contacts?: string[] }): void {
    const flow = this.rig.phone(`192.0.2.${phone}`, 5060 + this.ports[phone]!);
    const user = phone % 2 === 0 ? "alice" : "bob";
    const contacts = [
      `<sip:${user}@192.0.2.${phone}:${5060 + this.ports[phone]!}>;+sip.instance="<urn:uuid:${phone}>"`,
    ];
    this.rig.receive(
      flow,
      register(flow, { user, callId: `c${phone}`, cseq: ++this.cseqs[phone]!, contacts, ...text }),
    );
    this.deliver();
  }

  /** What was sent to the PBX arrives there, repetitions do nothing. */
  private deliver(): void {
    for (const wire of this.rig.take(this.rig.pbx)) {
      const { via } = parsed(wire);
      if (this.seen.has(via!.branch)) continue;
      this.seen.add(via!.branch);
      this.answers.push(this.pbx.take(wire, this.rig.clock.nowMs));
    }
  }

  private answer(which: number): void {
    const [reply] = this.answers.splice(which % Math.max(1, this.answers.length), 1);
    if (reply === undefined) return;
    this.rig.fromPbx(reply);
    this.deliver();
  }
}

for (const mode of ["aor", "contact", "mirror"] as const) {
  describe(`R-08 R-17 FB-07 mode ${mode}`, () => {
    test("both sides agree whatever phones do and in whatever order answers come", () => {
      fc.assert(
        fc.property(fc.array(step, { minLength: 1, maxLength: 60 }), (steps) => {
          const story = new Story(mode);
          const { rig, pbx } = story;
          for (const step of steps) {
            story.run(step);
            if (story.answers.length > 0) continue;
            for (const key of AORS) {
              const contacts = rig.core.usrloc.find(key)?.contacts ?? [];
              // The PBX counts from its answer, we and the phone from the moment it came.
              const lasting = contacts.filter((contact) => contact.expiresAtMs - rig.clock.nowMs > 1000).length;
              const held = pbx.live(key, rig.clock.nowMs).length;
              const [least, most] = [lasting, contacts.length].map((count) =>
                mode === "aor" ? Math.min(1, count) : count
              );
              const mayKeepMore = pbx.policy.refused.size > 0 || rig.logText.includes("Cannot end");
              if (held < least! || (held > most! && !mayKeepMore)) {
                throw new Error(`${key}: ${contacts.length} here, ${held} at the PBX`);
              }
            }
          }
          pbx.policy.refused.clear();
          story.pass(20_000_000);
          expect(rig.core.usrloc.aorCount).toBe(0);
          expect(rig.core.usrloc.contactCount).toBe(0);
          for (const key of AORS) expect(pbx.live(key, rig.clock.nowMs)).toEqual([]);
          expect(rig.core.schedule.nextMs).toBe(Infinity);
          expect([rig.core.table.serverCount, rig.core.table.clientCount, rig.pinned.size]).toEqual([0, 0, 0]);
        }),
        { numRuns: 400 },
      );
    });
  });
}
