/** a PBX that lost our Contacts is found out, and nothing is taken for granted until it has granted anew. */
import { describe, expect, test } from "bun:test";
import { upstreamStates } from "../../../../src/core/registrar/refresh_outlook.ts";
import { PbxModel } from "../pbx_model.ts";
import { answer, headers, register, Rig, type TestFlow } from "../rig.ts";

const TOKEN = (user: string) => `<sip:${user}@192.0.2.7:5060;pn-provider=acme;pn-prid=${user}>`;

/** A rig, a PBX that keeps bindings, and phones behind it. What the PBX gets is answered as long as it is there. */
class World {
  readonly rig: Rig;
  readonly pbx = new PbxModel();
  isThere = true;
  /** Header lines of its answers to OPTIONS. */
  options: string[] = [];
  private readonly phones = new Map<string, { flow: TestFlow; cseq: number }>();

  constructor(options: object, private toTag = "") {
    this.rig = new Rig({ pbx: { qualify: 30_000, ...options } });
    this.pass(0);
  }

  /** The To tag of its answers to OPTIONS from now on. */
  answersWith(toTag: string): void {
    this.toTag = toTag;
  }

  /** A phone registers, or refreshes. @returns REGISTERs that went to the PBX for it */
  register(user: string, expires: number, contact = `<sip:${user}@192.0.2.7:5060>`): number {
    let phone = this.phones.get(user);
    if (phone === undefined) {
      this.phones.set(user, phone = { flow: this.rig.phone("192.0.2.7", 5060 + this.phones.size), cseq: 0 });
    }
    const before = this.pbx.seen.length;
    const contacts = [contact];
    this.rig.receive(phone.flow, register(phone.flow, { user, expires, contacts, cseq: ++phone.cseq, callId: user }));
    this.settle();
    return this.pbx.seen.length - before;
  }

  pass(ms: number, stepMs = 500): void {
    for (let passed = 0; passed < ms; passed += stepMs) {
      this.rig.pass(stepMs);
      this.settle();
    }
    if (ms === 0) this.rig.pass(0);
    this.settle();
  }

  /** Contact lists that the PBX was asked for, without any Contact of ours. */
  get questions(): number {
    return this.pbx.seen.filter((wire) => headers(wire, "Contact").length === 0).length;
  }

  held(user: string): number {
    return this.pbx.live(`${user}@example.org`, this.rig.clock.nowMs).length;
  }

  state(user: string): string {
    return this.rig.core.usrloc.find(`${user}@example.org`)!.contacts.map((contact) => this.rig.outlookOf(contact).held)
      .join();
  }

  private settle(): void {
    for (let rounds = 0; rounds < 5; rounds++) {
      const sent = this.rig.take(this.rig.pbx);
      if (sent.length === 0) return;
      for (const wire of sent) {
        if (!this.isThere) continue;
        const isRegister = wire.startsWith("REGISTER");
        const text = isRegister ? this.pbx.take(wire, this.rig.clock.nowMs) : answer(wire, "200 OK", this.options);
        this.rig.fromPbx(
          !isRegister && this.toTag !== "" ? text.replace(/^(To: [^\r]*?);tag=[^\r;]*/m, `$1;tag=${this.toTag}`) : text,
        );
      }
    }
  }
}

const NO_CREDENTIALS = {};
const TRUSTED = { trusts_us: true };

describe("R-21 signs that the PBX was started anew", () => {
  test("R-21 OPTIONS unanswered for 2 s are a doubt, for 4 s an absence", () => {
    const world = new World(NO_CREDENTIALS);
    world.register("alice", 600);
    world.isThere = false;
    // Asked by then for certain.
    world.pass(30_000);
    while (world.rig.core.mid!.ledger.doubt === null) world.pass(100, 100);
    expect(world.rig.core.qualify!.state).toBe("up");
    world.pass(2100, 100);
    expect(world.rig.core.qualify!.state).toBe("down");
  });

  test("R-21 away for 3 s in the moment of OPTIONS: in doubt though it was never found away", () => {
    const world = new World(NO_CREDENTIALS);
    world.register("alice", 600);
    world.pass(29_000);
    world.isThere = false;
    world.pass(4000);
    world.isThere = true;
    world.pass(2000);
    expect(world.rig.core.qualify!.state).toBe("up");
    expect(world.rig.core.mid!.ledger.doubt?.kind).toBeOneOf(["maybe", "lost"]);
    expect(world.state("alice")).toBe("in_doubt");
  });

  test("R-21 answers that say another Server", () => {
    const world = new World(NO_CREDENTIALS);
    world.options = ["Server: Asterisk 20"];
    world.register("alice", 600);
    world.pass(61_000);
    expect(world.state("alice")).toBe("registered");
    world.options = ["Server: Asterisk 22"];
    world.pass(31_000);
    expect(world.state("alice")).toBe("in_doubt");
    expect(world.rig.core.mid!.ledger.doubt!.reason).toContain("Asterisk 22");
  });

  test("R-21 To tags with another beginning, but never of a PBX whose tags have nothing in common", () => {
    const world = new World(NO_CREDENTIALS, "a1b2c3d4e5f6-first");
    world.register("alice", 600);
    for (let n = 0; n < 4; n++) {
      world.answersWith(`a1b2c3d4e5f6-${n}`);
      world.pass(30_000);
    }
    expect(world.state("alice")).toBe("registered");
    world.answersWith("9f8e7d6c5b4a-9");
    world.pass(31_000);
    expect(world.state("alice")).toBe("in_doubt");

    const random = new World(NO_CREDENTIALS, "9");
    random.register("alice", 3600);
    for (let n = 0; n < 30; n++) {
      random.answersWith(String(Math.imul(n + 1, 2654435761) >>> 0));
      random.pass(30_000, 5000);
    }
    expect(random.rig.core.mid!.ledger.doubt).toBe(null);
  });

  test("R-21 one lost datagram, or two, are no sign", () => {
    const world = new World(NO_CREDENTIALS);
    world.register("alice", 600);
    world.pass(29_900, 100);
    world.isThere = false;
    world.pass(1000, 100);
    world.isThere = true;
    world.pass(60_000);
    expect(world.rig.core.mid!.ledger.doubt).toBe(null);
  });
});

describe("R-21 in doubt", () => {
  /** Registered, and then in doubt by another Server header. */
  function inDoubt(options: object, expires: number): World {
    const world = new World(options);
    world.options = ["Server: one"];
    world.pass(30_000);
    world.register("alice", expires);
    expect(world.register("alice", expires)).toBe(0);
    world.options = ["Server: two"];
    for (let ms = 0; world.rig.core.mid!.ledger.doubt === null && ms < 31_000; ms += 500) world.pass(500);
    expect(world.rig.core.mid!.ledger.doubt!.kind).toBe("maybe");
    return world;
  }

  test("R-21 nothing is absorbed longer than pbx.verify", () => {
    // A grant that reaches beyond it goes to the PBX at once.
    expect(inDoubt(NO_CREDENTIALS, 600).register("alice", 600)).toBe(1);
    const world = inDoubt({ verify: 120_000 }, 60);
    // One that ends before it may still be absorbed; the phone is told nothing that reaches beyond.
    expect(world.register("alice", 60)).toBe(0);
    world.pass(60_000);
    expect(world.register("alice", 60)).toBe(1);
    expect(world.state("alice")).toBe("registered");
    expect(world.register("alice", 60)).toBe(0);
  });

  test("R-21 bindings are renewed where we may, spread, once", () => {
    const world = inDoubt(TRUSTED, 600);
    const before = world.pbx.seen.length;
    world.pass(10_000);
    const renewed = world.pbx.seen.slice(before).filter((wire) => headers(wire, "Contact").length > 0);
    expect(renewed).toHaveLength(1);
    expect(world.state("alice")).toBe("registered");
  });

  test("R-21 further signs within pbx.verify are the same doubt", () => {
    const world = inDoubt(TRUSTED, 600);
    world.pass(200_000);
    expect(world.state("alice")).toBe("registered");
    world.options = ["Server: three"];
    world.pass(31_000);
    expect(world.state("alice")).toBe("registered");
  });

  test("R-21 status counts it, and no state says registered", () => {
    const world = inDoubt(NO_CREDENTIALS, 600);
    const { core, clock } = world.rig;
    expect(core.mid!.ledger.countInDoubt()).toBe(1);
    const states = upstreamStates(core.usrloc.all(), core.mid, clock.nowMs);
    expect([states.get("registered"), states.get("in_doubt")]).toEqual([0, 1]);
    world.register("alice", 600);
    expect(core.mid!.ledger.countInDoubt()).toBe(0);
  });
});

describe("R-21 contacts in memory are lost within seconds", () => {
  test("R-21 found out by asking for the Contacts of one AoR a minute, and all are renewed", () => {
    const world = new World(TRUSTED);
    for (const user of ["alice", "bob", "carol"]) world.register(user, 3600);
    world.pass(200_000);
    expect(world.questions).toBeGreaterThan(1);
    expect(world.rig.core.mid!.ledger.doubt).toBe(null);
    // Between two OPTIONS: neither of them sees anything.
    world.pbx.bindings.clear();
    world.pass(90_000);
    expect(world.rig.core.mid!.ledger.doubt?.kind).toBe("lost");
    expect(["alice", "bob", "carol"].map((user) => world.held(user))).toEqual([1, 1, 1]);
    expect(["alice", "bob", "carol"].map((user) => world.state(user))).toEqual(Array(3).fill("registered"));
  });

  test("R-21 one binding that was taken out at the PBX is renewed, and the others are not in doubt", () => {
    const world = new World(TRUSTED);
    for (const user of ["alice", "bob"]) world.register(user, 3600);
    world.pass(200_000);
    world.pbx.bindings.get("alice@example.org")!.clear();
    world.pass(150_000);
    expect(world.held("alice")).toBe(1);
    expect(world.rig.core.mid!.ledger.doubt).toBe(null);
  });

  test("R-21 a PBX that lists nothing to such a question is never taken for one that lost all", () => {
    const world = new World(TRUSTED);
    const take = world.pbx.take.bind(world.pbx);
    world.pbx.take = (wire, nowMs) =>
      headers(wire, "Contact").length === 0 ? answer(wire, "200 OK") : take(wire, nowMs);
    for (const user of ["alice", "bob"]) world.register(user, 3600);
    world.pass(600_000, 2000);
    expect(world.rig.core.mid!.ledger.doubt).toBe(null);
  });

  test("R-21 without passwords nobody is asked: that is the phones'", () => {
    const world = new World(NO_CREDENTIALS);
    world.register("alice", 3600);
    world.pass(300_000, 2000);
    expect(world.questions).toBe(0);
  });
});

describe("R-21 by hand", () => {
  test("R-21 resync renews ours, wakes sleeping phones, and sends the others' next REGISTER to the PBX", () => {
    const ours = new World(TRUSTED);
    ours.register("alice", 3600);
    ours.pbx.bindings.clear();
    expect(ours.rig.core.mid!.resync()).toEqual({ renewing: 1, waking: 0, waiting: 0 });
    ours.pass(10_000);
    expect(ours.held("alice")).toBe(1);

    const theirs = new World(NO_CREDENTIALS);
    theirs.register("alice", 3600, TOKEN("alice"));
    theirs.register("bob", 3600);
    theirs.pbx.bindings.clear();
    expect(theirs.rig.core.mid!.resync()).toEqual({ renewing: 0, waking: 1, waiting: 1 });
    expect(theirs.register("bob", 3600)).toBe(1);
    theirs.pass(300_000, 2000);
    expect(theirs.rig.pushes.map(({ event, aor }) => [event, aor])).toContainEqual(["refresh", "alice@example.org"]);
  });
});

test("R-21 a closed connection to the PBX is a doubt, and it is asked at once", () => {
  const world = new World({ ...NO_CREDENTIALS });
  world.register("alice", 600);
  const { rig } = world;
  expect(rig.core.mid!.ledger.doubt).toBe(null);
  rig.core.qualify!.connectionClosed();
  expect(rig.core.mid!.ledger.doubt!.reason).toContain("closed its connection");
  rig.pass(0);
  expect(rig.take(rig.pbx).some((wire) => wire.startsWith("OPTIONS"))).toBe(true);
});
