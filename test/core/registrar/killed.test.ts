import { afterAll, describe, expect, test } from "bun:test";
import fc from "fast-check";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Flow } from "../../../src/core/sip/flow.ts";
import type { Contact } from "../../../src/core/usrloc/contact.ts";
import { openStore, type SqliteStore } from "../../../src/io/store/sqlite.ts";
import { PbxModel } from "./pbx_model.ts";
import { headers, parsed, register, Rig, START_MS, statusLine, type TestFlow } from "./rig.ts";

let folder = "";
afterAll(() => folder === "" ? undefined : rmSync(folder, { recursive: true, force: true }));
let files = 0;

const PHONES = 5;
const AORS = ["alice@example.org", "bob@example.org"];
type Mode = "aor" | "contact" | "mirror";

interface Phone {
  readonly transport: "udp" | "tcp";
  flow: TestFlow | null;
  port: number;
  cseq: number;
  /** What it asked for and has not been answered; null: nothing. */
  asked: number | null;
}

/** Phones, a PBX and an appliance that is killed between turns: what it has not committed and sent never was. */
class Story {
  readonly pbx = new PbxModel();
  readonly phones: Phone[] = Array.from({ length: PHONES }, (_, n) => ({
    transport: n % 3 === 0 ? "tcp" : "udp",
    flow: null,
    port: 1,
    cseq: 0,
    asked: null,
  }));
  store!: SqliteStore;
  rig!: Rig;
  absorbed = 0;
  private readonly path: string;
  private readonly answers: string[] = [];
  private readonly seen = new Set<string>();
  /** By AoR: until when the PBX may hold what it granted to a REGISTER whose answer a kill kept from us. */
  private readonly untoldMs = new Map<string, number>();

  constructor(private readonly mode: Mode) {
    if (folder === "") folder = mkdtempSync(join(tmpdir(), "latefork-killed-"));
    this.path = join(folder, `${++files}.db`);
    this.start(START_MS);
  }

  private start(nowMs: number): void {
    const { store, problem } = openStore({ path: this.path, sync: "relaxed" });
    if (store === null) throw new Error(problem);
    this.store = store;
    this.rig = new Rig({
      pbx: { mode: this.mode, expires: 120_000 },
      registration: { max_contacts: 2 },
      changes: store,
      nowMs,
    });
    const { aors, contacts, remnants } = store.load(nowMs);
    this.rig.core.restore(aors, contacts, (key) => this.flowFromKey(key), remnants);
  }

  /** UDP flows come back, connections do not. */
  private flowFromKey(key: string): Flow | null {
    const [transport, , remote] = key.split("|");
    const colon = remote!.lastIndexOf(":");
    return transport === "udp" ? this.rig.phone(remote!.slice(0, colon), Number(remote!.slice(colon + 1))) : null;
  }

  /** kill -9, and whoever waits for an answer asks again once we are back. */
  kill(awayMs: number): void {
    const nowMs = this.rig.clock.nowMs + awayMs;
    if (this.answers.length > 0) {
      for (const key of AORS) {
        const ends = this.pbx.live(key, this.rig.clock.nowMs).map(([, atMs]) => atMs);
        this.untoldMs.set(key, Math.max(this.untoldMs.get(key) ?? 0, ...ends));
      }
    }
    this.store.close();
    this.answers.length = 0;
    // The rig makes the same branches again.
    this.seen.clear();
    for (const phone of this.phones) phone.flow = null;
    this.start(nowMs);
    this.turn();
    for (let n = 0; n < PHONES; n++) if (this.phones[n]!.asked !== null) this.ask(n, this.phones[n]!.asked!);
  }

  ask(n: number, expires: number): void {
    const phone = this.phones[n]!;
    const at = `192.0.2.${n}`;
    phone.flow ??= this.rig.phone(at, 5060 + phone.port, phone.transport);
    phone.asked = expires;
    const user = n % 2 === 0 ? "alice" : "bob";
    const contacts = [`<sip:${user}@${at}:${5060 + phone.port}>;+sip.instance="<urn:uuid:${n}>"`];
    this.rig.receive(
      phone.flow,
      register(phone.flow, { user, callId: `c${n}`, cseq: ++phone.cseq, contacts, expires }),
    );
    const isForwarded = this.rig.sent.some(({ flow }) => flow === this.rig.pbx);
    this.turn();
    if (isForwarded || phone.asked !== null) return;
    this.absorbed++;
    const contact = this.contactOf(n)!;
    const longest = Math.max(0, ...this.pbx.live(AORS[n % 2]!, this.rig.clock.nowMs).map(([, atMs]) => atMs));
    if (longest <= contact.expiresAtMs) throw new Error(`phone ${n} was granted more than the PBX holds`);
  }

  move(n: number): void {
    const phone = this.phones[n]!;
    phone.port++;
    phone.flow = null;
    this.ask(n, 600);
  }

  /** The end of a turn: committed, then sent; the PBX acts at once, its answers take their time. */
  turn(): void {
    const { ok, error } = this.store.commit();
    if (!ok) throw new Error(error);
    for (const { flow, wire } of this.rig.sent.splice(0)) {
      if (flow !== this.rig.pbx) this.hear(flow, wire);
      else {
        const branch = parsed(wire).via!.branch;
        if (!this.seen.has(branch)) this.answers.push(this.pbx.take(wire, this.rig.clock.nowMs));
        this.seen.add(branch);
      }
    }
  }

  private hear(flow: Flow, wire: string): void {
    const phone = this.phones.find((one) => one.flow === flow);
    if (phone === undefined || parsed(wire).cseq !== phone.cseq) return;
    if (statusLine(wire) === "SIP/2.0 200 OK" && headers(wire, "CSeq")[0]!.endsWith("REGISTER")) phone.asked = null;
  }

  answer(which: number): void {
    const [reply] = this.answers.splice(which % Math.max(1, this.answers.length), 1);
    if (reply === undefined) return;
    this.rig.fromPbx(reply);
    this.turn();
  }

  settle(): void {
    while (this.answers.length > 0) this.answer(0);
  }

  pass(ms: number): void {
    const { rig } = this;
    const endMs = rig.clock.nowMs + ms;
    while (rig.core.schedule.nextMs <= endMs) {
      rig.pass(Math.max(0, rig.core.schedule.nextMs - rig.clock.nowMs));
      this.turn();
      this.settle();
    }
    rig.pass(endMs - rig.clock.nowMs);
    this.turn();
    this.settle();
  }

  contactOf(n: number): Contact | undefined {
    const contacts = this.rig.core.usrloc.find(AORS[n % 2]!)?.contacts;
    return contacts?.find(({ instance }) => instance === `urn:uuid:${n}`);
  }

  /** Once nobody waits for anything, both sides hold the same. */
  check(): void {
    const { rig, pbx } = this;
    for (const key of AORS) {
      const contacts = rig.core.usrloc.find(key)?.contacts ?? [];
      const held = pbx.live(key, rig.clock.nowMs);
      // It runs out there: nobody knows of it.
      const isUntold = (this.untoldMs.get(key) ?? 0) > rig.clock.nowMs;
      const lasting = contacts.filter(({ expiresAtMs }) => expiresAtMs - rig.clock.nowMs > 1000);
      if (this.mode === "aor") {
        if ((!isUntold && held.length > Math.min(1, contacts.length)) || held.length < Math.min(1, lasting.length)) {
          throw new Error(`${key}: ${contacts.length} here, ${held.length} at the PBX`);
        }
      } else {
        const idOf = (uri: string) => /lf=([a-z0-9]+)/.exec(uri)![1]!;
        const ids = held.map(([uri]) => idOf(uri));
        for (const { id } of lasting) if (!ids.includes(id)) throw new Error(`${key}: the PBX does not hold ${id}`);
        for (const id of ids) {
          if (!isUntold && !contacts.some((contact) => contact.id === id)) {
            throw new Error(`${key}: the PBX still holds ${id}`);
          }
        }
      }
    }
  }
}

const phone = fc.nat(PHONES - 1);
const step = fc.oneof(
  { weight: 8, arbitrary: fc.record({ do: fc.constant("ask"), phone, n: fc.constantFrom(60, 90, 300, 600, 7200) }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant("ask"), phone, n: fc.constant(0) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("move"), phone, n: fc.constant(0) }) },
  { weight: 4, arbitrary: fc.record({ do: fc.constant("answer"), phone, n: fc.nat(4) }) },
  { weight: 4, arbitrary: fc.record({ do: fc.constant("settle"), phone, n: fc.constant(0) }) },
  {
    weight: 4,
    arbitrary: fc.record({ do: fc.constant("pass"), phone, n: fc.constantFrom(400, 30_000, 59_000, 299_990) }),
  },
  { weight: 3, arbitrary: fc.record({ do: fc.constant("kill"), phone, n: fc.constantFrom(0, 1000, 61_000, 400_000) }) },
);

describe("R-18 killed at any moment", () => {
  for (const mode of ["aor", "contact", "mirror"] as const) {
    test(
      `R-05 R-08 R-18 ${mode}: once we are back both sides hold the same, and nothing is absorbed that the PBX does not outlive`,
      () => {
        let [absorbed, kills] = [0, 0];
        fc.assert(
          fc.property(fc.array(step, { minLength: 5, maxLength: 40 }), (steps) => {
            const story = new Story(mode);
            for (const { do: what, phone, n } of steps) {
              // The PBX answers within the time its REGISTER is repeated: else it would be a timeout, another story.
              if (what === "pass" && n > 400) story.settle();
              if (what === "ask") story.ask(phone, n);
              else if (what === "move") story.move(phone);
              else if (what === "answer") story.answer(n);
              else if (what === "pass") story.pass(n);
              else if (what === "kill") {
                story.kill(n);
                kills++;
              }
              if (what === "settle" || what === "kill") {
                story.settle();
                // Refused ones (an older CSeq, too many devices) are answered, too.
                story.pass(500);
                story.check();
              }
            }
            absorbed += story.absorbed;
            story.settle();
            story.pass(20_000_000);
            expect([story.rig.core.usrloc.aorCount, story.rig.core.usrloc.contactCount]).toEqual([0, 0]);
            expect(story.rig.core.schedule.nextMs).toBe(Infinity);
            story.store.close();
            rmSync(join(folder, `${files}.db`), { force: true });
          }),
          { numRuns: 120 },
        );
        expect(kills).toBeGreaterThan(50);
        expect(absorbed > 0).toBe(mode !== "mirror");
      },
      60_000,
    );
  }
});
