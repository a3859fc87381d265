import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import type { Flow } from "../../../src/core/sip/flow.ts";
import { Deadlines } from "../../../src/core/transaction/deadline.ts";
import type { Aor, Contact, ContactFields } from "../../../src/core/usrloc/contact.ts";
import type { ChangeLog, StoredAor, StoredContact } from "../../../src/core/usrloc/stored.ts";
import { type RemovalCause, Usrloc } from "../../../src/core/usrloc/usrloc.ts";
import { TestFlow } from "../registrar/rig.ts";
import { storedContact } from "./stored.ts";

/** What a store that hears the change log would hold; it reads the objects at once, as at a commit in the same turn. */
class LoggedRows implements ChangeLog {
  readonly aors = new Map<string, string>();
  readonly contacts = new Map<string, string>();
  readonly problems: string[] = [];

  contactSaved(contact: Contact, isRefresh: boolean): void {
    const before = this.contacts.get(contact.id);
    const now = JSON.stringify(storedContact(contact));
    if (isRefresh && before !== undefined && lasting(before) !== lasting(now)) {
      this.problems.push(`${contact.id}: a refresh changed more than times: ${before} → ${now}`);
    }
    if (isRefresh && before === undefined) this.problems.push(`${contact.id}: a refresh of an unknown contact`);
    if (!this.aors.has(contact.aor.key)) this.problems.push(`${contact.id}: saved before its AoR`);
    this.contacts.set(contact.id, now);
  }

  contactRemoved(contact: Contact): void {
    if (!this.contacts.delete(contact.id)) this.problems.push(`${contact.id}: removed twice`);
  }

  aorSaved(aor: Aor): void {
    this.aors.set(aor.key, JSON.stringify(storedAor(aor)));
  }

  aorRemoved(aor: Aor): void {
    if (!this.aors.delete(aor.key)) this.problems.push(`${aor.key}: removed twice`);
  }
}

function lasting(row: string): string {
  const { callId: _1, cseq: _2, expiresAtMs: _3, registeredAtMs: _4, push, ...rest } = JSON.parse(row);
  return JSON.stringify({ ...rest, push: push === null ? null : { ...push, registeredAtMs: 0 } });
}

function storedAor({ key, user, domain, id, upstream }: Aor): StoredAor {
  return { key, user, domain, id, upstream: { ...upstream } };
}

function rows(usrloc: Usrloc): { aors: Map<string, string>; contacts: Map<string, string> } {
  const all = [...usrloc.all()];
  return {
    aors: new Map(all.map((aor) => [aor.key, JSON.stringify(storedAor(aor))])),
    contacts: new Map(
      all.flatMap((aor) => aor.contacts.map((contact) => [contact.id, JSON.stringify(storedContact(contact))])),
    ),
  };
}

class Home {
  readonly clock = { nowMs: 1_000_000 };
  readonly deadlines = new Deadlines();
  readonly log: LoggedRows;
  readonly pins = new Map<Flow, number>();
  /** Contacts by the address they were last heard from. */
  readonly phones = new Map<string, number>();
  readonly removed: [string, RemovalCause][] = [];
  readonly left: string[] = [];
  readonly usrloc: Usrloc;

  constructor(log = new LoggedRows()) {
    this.log = log;
    const port = Object.assign(log, {
      pin: (flow: Flow) => void this.pins.set(flow, (this.pins.get(flow) ?? 0) + 1),
      unpin: (flow: Flow) => {
        const count = this.pins.get(flow)! - 1;
        if (count === 0) this.pins.delete(flow);
        else this.pins.set(flow, count);
      },
      phoneArrived: (address: string) => void this.phones.set(address, (this.phones.get(address) ?? 0) + 1),
      phoneLeft: (address: string) => {
        const count = this.phones.get(address)! - 1;
        if (count === 0) this.phones.delete(address);
        else this.phones.set(address, count);
      },
    });
    this.usrloc = new Usrloc(this.clock, this.deadlines, port, {
      onContactRemoved: (contact, cause) => void this.removed.push([contact.id, cause]),
      onAorLeft: (aor) => void this.left.push(aor.key),
      refreshAtMs: () => Infinity,
      onRefreshDue() {},
    });
  }

  pass(ms: number): void {
    const endMs = this.clock.nowMs + ms;
    while (this.deadlines.nextMs <= endMs) {
      this.clock.nowMs = Math.max(this.clock.nowMs, this.deadlines.nextMs);
      this.deadlines.run(this.clock.nowMs);
    }
    this.clock.nowMs = endMs;
  }

  fields(changes: Partial<ContactFields> = {}): ContactFields {
    return {
      uri: "sip:a@192.0.2.7",
      params: "",
      instance: "",
      regId: 0,
      q: 1000,
      callId: "c",
      cseq: 1,
      expiresAtMs: this.clock.nowMs + 60_000,
      registeredAtMs: this.clock.nowMs,
      path: "",
      userAgent: "",
      kind: "desk",
      push: null,
      flowKey: "",
      ...changes,
    };
  }

  save(
    user: string,
    id: string,
    changes: Partial<ContactFields> = {},
    flow: Flow | null = null,
    domain = "example.org",
  ): Contact {
    const aor = this.usrloc.ensure(`${user}@${domain}`, user, domain, `aor${user}${domain}`);
    return this.usrloc.save(aor, this.usrloc.contact(id) ?? null, id, this.fields(changes), flow);
  }
}

test("X-07 an address counts as one of phones for as long as a contact heard from there is stored", () => {
  const home = new Home();
  const { usrloc } = home;
  const tcp = (address: string) => new TestFlow("tcp", address, 5060);
  const [first, second] = [tcp("192.0.2.7"), tcp("192.0.2.8")];
  const ann = home.save("ann", "d1", { flowKey: first.key }, first);
  home.save("bob", "d2", { flowKey: first.key }, first);
  expect([...home.phones]).toEqual([["192.0.2.7", 2]]);
  usrloc.flowClosed(first);
  expect([...home.phones]).toEqual([["192.0.2.7", 2]]);
  home.save("ann", "d1", { flowKey: second.key }, second);
  expect([...home.phones]).toEqual([["192.0.2.7", 1], ["192.0.2.8", 1]]);
  usrloc.remove(ann, "unregistered");
  expect([...home.phones]).toEqual([["192.0.2.7", 1]]);
  home.pass(60_000);
  expect(home.phones.size).toBe(0);

  const flowKey = "tcp|10.0.0.5:5060|[2001:db8::7]:40000";
  const aor = { key: "eve@example.org", user: "eve", domain: "example.org", id: "a1", upstream: ann.aor.upstream };
  const stored = { ...home.fields({ flowKey }), id: "d3", aorKey: aor.key, upstreamEndsMs: 0, isDropped: false };
  usrloc.restore([aor], [stored], () => null);
  expect([...home.phones]).toEqual([["2001:db8::7", 1]]);
});

const flows: Flow[] = [0, 1, 2, 3].map((n) => new TestFlow(n < 2 ? "udp" : "tcp", "192.0.2.7", 5000 + n));
const users = ["ann", "bob", "eve"];
const domains = ["example.org", "other.example"];

type Step =
  | { do: "save"; device: number; flow: number; ms: number; token: number; cseq: number }
  | { do: "remove"; device: number; cause: RemovalCause }
  | { do: "upstream"; aor: number; ms: number }
  | { do: "close"; flow: number }
  | { do: "touch"; device: number }
  | { do: "pass"; ms: number };

const device = fc.nat(8);
const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 5,
    arbitrary: fc.record({
      do: fc.constant("save" as const),
      device,
      flow: fc.integer({ min: -1, max: 3 }),
      ms: fc.constantFrom(1, 1000, 60_000, 600_000),
      token: fc.nat(2),
      cseq: fc.nat(3),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      do: fc.constant("remove" as const),
      device,
      cause: fc.constantFrom<RemovalCause>("unregistered", "control"),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      do: fc.constant("upstream" as const),
      aor: fc.nat(5),
      ms: fc.constantFrom(0, 500, 70_000, 700_000),
    }),
  },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("close" as const), flow: fc.nat(3) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("touch" as const), device }) },
  {
    weight: 3,
    arbitrary: fc.record({ do: fc.constant("pass" as const), ms: fc.constantFrom(0, 1, 999, 60_000, 650_000) }),
  },
);

/** The same, as plainly as can be. */
interface Plain {
  devices: Map<number, { flow: Flow | null; expiresAtMs: number }>;
  upstream: Map<string, number>;
}

const keyOf = (device: number) => `${users[device % 3]}@${domains[device % 2]}`;

function follow(home: Home, plain: Plain, step: Step): void {
  const { usrloc, clock } = home;
  switch (step.do) {
    case "save": {
      const flow = flows[step.flow] ?? null;
      const expiresAtMs = clock.nowMs + step.ms;
      const push = step.token === 0 ? null : {
        provider: "acme",
        param: "",
        prid: `t${step.token}`,
        tokenState: "unknown" as const,
        registeredAtMs: clock.nowMs,
      };
      home.save(
        users[step.device % 3]!,
        `d${step.device}`,
        { expiresAtMs, cseq: step.cseq, push, flowKey: flow?.key ?? "" },
        flow,
        domains[step.device % 2],
      );
      plain.devices.set(step.device, { flow, expiresAtMs });
      return;
    }
    case "remove": {
      const contact = usrloc.contact(`d${step.device}`);
      if (contact !== undefined) usrloc.remove(contact, step.cause);
      plain.devices.delete(step.device);
      return;
    }
    case "upstream": {
      const key = keyOf(step.aor);
      const aor = usrloc.find(key);
      if (aor === undefined) return;
      const expiresAtMs = step.ms === 0 ? 0 : clock.nowMs + step.ms;
      usrloc.setUpstream(aor, {
        state: step.ms === 0 ? "removed" : "registered",
        expiresAtMs,
        callId: "u",
        cseq: 1,
        lines: "",
      });
      plain.upstream.set(key, expiresAtMs);
      return;
    }
    case "close":
      usrloc.flowClosed(flows[step.flow]!);
      for (const device of plain.devices.values()) if (device.flow === flows[step.flow]) device.flow = null;
      return;
    case "touch": {
      const contact = usrloc.contact(`d${step.device}`);
      if (contact === undefined || contact.push === null) return;
      contact.push.tokenState = "dead";
      usrloc.touched(contact);
      return;
    }
    case "pass":
      home.pass(step.ms);
  }
}

/** A process that starts has flows over which nobody has registered yet. */
function startAnew(): Home {
  for (const flow of flows) flow.registered = undefined;
  return new Home();
}

function compare(home: Home, plain: Plain): void {
  const { usrloc, clock } = home;
  for (const [n, { expiresAtMs }] of plain.devices) if (expiresAtMs <= clock.nowMs) plain.devices.delete(n);
  const alive = [...plain.devices.keys()];
  const keys = new Set(alive.map(keyOf));
  for (const [key, untilMs] of plain.upstream) {
    if (untilMs > clock.nowMs) keys.add(key);
    else if (!keys.has(key)) plain.upstream.delete(key);
  }
  expect(new Set([...usrloc.all()].map((aor) => aor.key))).toEqual(keys);
  expect(usrloc.aorCount).toBe(keys.size);
  expect(usrloc.contactCount).toBe(alive.length);
  expect(new Set(usrloc.domains())).toEqual(new Set([...keys].map((key) => key.split("@")[1]!)));
  for (const user of users) {
    for (const domain of domains) {
      const isThere = keys.has(`${user}@${domain}`);
      expect(usrloc.findById(`aor${user}${domain}`)?.key).toBe(isThere ? `${user}@${domain}` : undefined);
    }
  }
  for (const key of keys) {
    const aor = usrloc.find(key)!;
    expect(aor.contacts.map((contact) => contact.id).toSorted()).toEqual(
      alive.filter((n) => keyOf(n) === key).map((n) => `d${n}`).toSorted(),
    );
  }
  for (const n of alive) {
    const contact = usrloc.contact(`d${n}`)!;
    expect(contact.flow).toBe(plain.devices.get(n)!.flow);
    expect(contact.isRegistered && contact.heapSlot >= 0 && contact.dueMs <= contact.expiresAtMs).toBe(true);
  }
  for (const flow of flows) {
    const over = alive.filter((n) => plain.devices.get(n)!.flow === flow).map((n) => `d${n}`);
    expect(usrloc.contactsOver(flow).map((contact) => contact.id).toSorted()).toEqual(over.toSorted());
    expect(usrloc.isPhoneFlow(flow)).toBe(over.length > 0);
    expect(home.pins.get(flow) ?? 0).toBe(over.length);
  }
  // One deadline a contact, one an AoR without contacts.
  expect(home.deadlines.size).toBe(
    alive.length + [...keys].filter((key) => usrloc.find(key)!.contacts.length === 0).length,
  );
  expect(home.log.problems).toEqual([]);
  expect({ aors: home.log.aors, contacts: home.log.contacts }).toEqual(rows(usrloc));
}

describe("usrloc keeps its indexes, its deadlines and its store in step", () => {
  test("R-10 R-18 under random operations, compared with a plain model after each", () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
        const home = startAnew();
        const plain: Plain = { devices: new Map(), upstream: new Map() };
        for (const step of steps) {
          follow(home, plain, step);
          compare(home, plain);
        }
        // what was logged, restored, is what was there.
        const next = startAnew();
        next.clock.nowMs = home.clock.nowMs;
        const aors = [...home.log.aors.values()].map((row) => JSON.parse(row) as StoredAor);
        const contacts = [...home.log.contacts.values()].map((row) => JSON.parse(row) as StoredContact);
        for (const [key, row] of home.log.aors) next.log.aors.set(key, row);
        for (const [id, row] of home.log.contacts) next.log.contacts.set(id, row);
        next.usrloc.restore(
          aors,
          contacts,
          (key) => flows.find((flow) => flow.key === key && flow.transport === "udp") ?? null,
        );
        for (const device of plain.devices.values()) if (device.flow?.transport === "tcp") device.flow = null;
        for (const [n, device] of plain.devices) device.flow = next.usrloc.contact(`d${n}`)!.flow;
        compare(next, plain);
        next.pass(10_000_000);
        plain.devices.clear();
        plain.upstream.clear();
        compare(next, plain);
      }),
      { numRuns: 300 },
    );
  });
});

describe("usrloc", () => {
  test("R-10 expiry is told once, with its cause, at the millisecond", () => {
    const home = new Home();
    home.save("ann", "d1", { expiresAtMs: home.clock.nowMs + 5000 });
    home.pass(4999);
    expect(home.removed).toEqual([]);
    home.pass(1);
    expect(home.removed).toEqual([["d1", "expired"]]);
    home.pass(100_000);
    expect(home.removed).toHaveLength(1);
  });

  test("R-10 a refresh costs the heap nothing, and a shorter expiry counts at once", () => {
    const home = new Home();
    const contact = home.save("ann", "d1", { expiresAtMs: home.clock.nowMs + 5000 });
    home.save("ann", "d1", { expiresAtMs: home.clock.nowMs + 9000 });
    expect(contact.dueMs).toBe(home.clock.nowMs + 5000);
    home.pass(5000);
    expect(contact.dueMs).toBe(home.clock.nowMs + 4000);
    home.save("ann", "d1", { expiresAtMs: home.clock.nowMs + 10 });
    home.pass(10);
    expect(home.usrloc.contactCount).toBe(0);
  });

  test("S-05 a refresh is told to the store as one, anything else is not", () => {
    const told: boolean[] = [];
    const log = new LoggedRows();
    const plain = log.contactSaved.bind(log);
    log.contactSaved = (contact, isRefresh) => {
      told.push(isRefresh);
      plain(contact, isRefresh);
    };
    const home = new Home(log);
    const push = { provider: "acme", param: "", prid: "t", tokenState: "unknown" as const, registeredAtMs: 5 };
    home.save("ann", "d1", { push: { ...push } });
    home.save("ann", "d1", { push: { ...push, registeredAtMs: 9 }, cseq: 7, callId: "other" });
    home.save("ann", "d1", { push: { ...push, prid: "u" } });
    home.save("ann", "d1", { push: { ...push, prid: "u" }, uri: "sip:a@192.0.2.8" });
    home.save("ann", "d1", { push: null, uri: "sip:a@192.0.2.8" });
    expect(told).toEqual([false, true, false, false, false]);
    expect(log.problems).toEqual([]);
  });

  test("P-04 the state of a token survives a refresh with the same token, and only that", () => {
    const home = new Home();
    const push = { provider: "acme", param: "", prid: "t", tokenState: "unknown" as const, registeredAtMs: 5 };
    const contact = home.save("ann", "d1", { push: { ...push } });
    contact.push!.tokenState = "valid";
    home.save("ann", "d1", { push: { ...push }, uri: "sip:moved@192.0.2.9", registeredAtMs: 77 });
    expect(contact.push).toMatchObject({ tokenState: "valid", registeredAtMs: 77 });
    home.save("ann", "d1", { push: { ...push, prid: "t2" } });
    expect(contact.push).toMatchObject({ tokenState: "unknown", prid: "t2" });
    contact.push!.tokenState = "dead";
    home.save("ann", "d1", { push: { ...push, prid: "t2" } });
    expect(contact.push).toMatchObject({ tokenState: "unknown" });
  });

  test("a contact that is gone takes nobody with it, though another one has its id now", () => {
    const home = new Home();
    const old = home.save("ann", "d1");
    home.usrloc.remove(old, "unregistered");
    const fresh = home.save("ann", "d1");
    home.usrloc.remove(old, "control");
    expect(home.usrloc.contact("d1")).toBe(fresh);
    expect(fresh.isRegistered).toBe(true);
    expect(old.isRegistered).toBe(false);
  });

  test("R-08 an AoR without contacts lives as long as its upstream binding", () => {
    const home = new Home();
    const contact = home.save("ann", "d1");
    const aor = contact.aor;
    home.usrloc.setUpstream(aor, {
      state: "registered",
      expiresAtMs: home.clock.nowMs + 5000,
      callId: "",
      cseq: 1,
      lines: "",
    });
    home.usrloc.remove(contact, "unregistered");
    home.pass(2000);
    home.usrloc.setUpstream(aor, {
      state: "registered",
      expiresAtMs: home.clock.nowMs + 9000,
      callId: "",
      cseq: 1,
      lines: "",
    });
    home.pass(8999);
    expect(home.usrloc.find(aor.key)).toBe(aor);
    home.pass(1);
    expect(home.usrloc.find(aor.key)).toBeUndefined();
    expect(home.log.aors.size).toBe(0);
    home.usrloc.setUpstream(aor, {
      state: "registered",
      expiresAtMs: home.clock.nowMs + 9000,
      callId: "",
      cseq: 1,
      lines: "",
    });
    expect(home.log.aors.size).toBe(0);
  });

  test("W-02 reachability: open connection, UDP heard of lately, silent UDP, closed, none", () => {
    const home = new Home();
    const udp = new TestFlow("udp", "192.0.2.7", 1);
    const tcp = new TestFlow("tcp", "192.0.2.7", 2);
    udp.lastHeardMs = home.clock.nowMs;
    const contacts = [home.save("ann", "d1", {}, udp), home.save("ann", "d2", {}, tcp), home.save("ann", "d3")];
    const states = () => contacts.map((contact) => home.usrloc.reachability(contact, 90_000));
    expect(states()).toEqual(["live", "live", "lost"]);
    home.clock.nowMs += 89_999;
    expect(states()).toEqual(["live", "live", "lost"]);
    home.clock.nowMs += 1;
    expect(states()).toEqual(["unknown", "live", "lost"]);
    tcp.state = "closed";
    expect(states()).toEqual(["unknown", "lost", "lost"]);
    expect(home.usrloc.flowClosed(tcp)).toEqual([contacts[1]!]);
    expect(contacts[1]!.flow).toBeNull();
  });

  test("R-18 what is restored twice, belongs to nobody or has expired does no harm", () => {
    const home = new Home();
    const other = new Home();
    const contact = storedContact(other.save("ann", "d1"));
    const aors = [...other.usrloc.all()].map(storedAor);
    const orphan = { ...contact, id: "d2", aorKey: "nobody@example.org" };
    const expired = { ...contact, id: "d3", expiresAtMs: home.clock.nowMs - 1 };
    for (const stored of aors) home.log.aors.set(stored.key, "");
    for (const { id } of [contact, expired]) home.log.contacts.set(id, "");
    home.usrloc.restore(aors, [contact, contact, orphan, expired], () => null);
    home.pass(0);
    expect([...home.usrloc.all()].flatMap((aor) => aor.contacts.map(({ id }) => id))).toEqual(["d1"]);
    expect(home.removed).toEqual([["d3", "expired"]]);
    expect(home.log.problems).toEqual([]);
  });

  test("R-18 AoRs found without contacts: forgotten, or told if the PBX still holds ours", () => {
    const home = new Home();
    const nowMs = home.clock.nowMs;
    const stored = (user: string, state: "none" | "registered" | "removed", expiresAtMs: number): StoredAor => {
      home.log.aors.set(`${user}@example.org`, "");
      return {
        key: `${user}@example.org`,
        user,
        domain: "example.org",
        id: user,
        upstream: { state, expiresAtMs, callId: "", cseq: 0, lines: "" },
      };
    };
    home.usrloc.restore(
      [
        stored("a", "none", 0),
        stored("b", "registered", nowMs),
        stored("c", "registered", nowMs + 1),
        stored("d", "removed", nowMs + 9),
      ],
      [],
      () => null,
    );
    expect(home.left).toEqual(["c@example.org"]);
    expect([...home.log.aors.keys()]).toEqual(["c@example.org"]);
    home.pass(1);
    expect(home.usrloc.aorCount).toBe(0);
  });
});
