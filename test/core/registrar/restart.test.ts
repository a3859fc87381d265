import { afterAll, describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Flow } from "../../../src/core/sip/flow.ts";
import { openStore, type SqliteStore } from "../../../src/io/store/sqlite.ts";
import { PbxModel } from "./pbx_model.ts";
import {
  accepted,
  answer,
  contactsOf,
  headers,
  parsed,
  register,
  registered,
  type RegisterText,
  Rig,
  type RigOptions,
  START_MS,
  statusLine,
  type TestFlow,
} from "./rig.ts";

const AOR = "alice@example.org";
let folder = "";
afterAll(() => folder === "" ? undefined : rmSync(folder, { recursive: true, force: true }));
let files = 0;

/** The folder is made with the first of them: a run that asks for other tests leaves none behind. */
function freshPath(): string {
  if (folder === "") folder = mkdtempSync(join(tmpdir(), "latefork-restart-"));
  return join(folder, `${++files}.db`);
}

/** An appliance with a real database that can be stopped and started again. */
class Box {
  readonly path = freshPath();
  store!: SqliteStore;
  rig!: Rig;

  constructor(private readonly options: RigOptions = {}) {
    this.start(START_MS);
  }

  start(nowMs: number, isOtherPbx = false): void {
    const { store, problem } = openStore({ path: this.path, sync: "full" });
    if (store === null) throw new Error(problem);
    this.store = store;
    this.rig = new Rig({ ...this.options, changes: store, nowMs });
    const { aors, contacts, remnants } = store.load(nowMs);
    this.rig.core.restore(aors, contacts, (key) => this.flowFromKey(key), remnants, isOtherPbx);
    this.commit();
  }

  commit(): void {
    const { ok, error } = this.store.commit();
    if (!ok) throw new Error(error);
  }

  /** Stops (or is killed right behind a commit), and starts `afterMs` later. */
  restart(afterMs = 0, isOtherPbx = false): Rig {
    this.commit();
    this.store.close();
    this.start(this.rig.clock.nowMs + afterMs, isOtherPbx);
    return this.rig;
  }

  /** As the transports do: UDP flows come back, connections do not. */
  private flowFromKey(key: string): Flow | null {
    const [transport, , remote] = key.split("|");
    if (transport !== "udp") return null;
    const colon = remote!.lastIndexOf(":");
    const flow = this.rig.phone(remote!.slice(0, colon), Number(remote!.slice(colon + 1)));
    flow.lastHeardMs = 0;
    return flow;
  }
}

function everything(rig: Rig): unknown {
  return [...rig.core.usrloc.all()].map(({ key, user, domain, id, upstream, contacts }) => ({
    key,
    user,
    domain,
    id,
    upstream,
    contacts: contacts.map((contact) => ({
      id: contact.id,
      uri: contact.uri,
      params: contact.params,
      instance: contact.instance,
      regId: contact.regId,
      q: contact.q,
      callId: contact.callId,
      cseq: contact.cseq,
      expiresAtMs: contact.expiresAtMs,
      registeredAtMs: contact.registeredAtMs,
      path: contact.path,
      userAgent: contact.userAgent,
      kind: contact.kind,
      push: contact.push,
      flowKey: contact.flowKey,
      upstreamEndsMs: contact.upstreamEndsMs,
      isDropped: contact.isDropped,
    })),
  }));
}

/** A REGISTER that the PBX accepts, and its 200 at the phone. */
function atPbx(rig: Rig, pbx: PbxModel, phone: TestFlow, text: RegisterText): void {
  rig.receive(phone, register(phone, text));
  rig.fromPbx(pbx.take(rig.one(rig.pbx), rig.clock.nowMs));
  expect(statusLine(rig.one(phone))).toBe("SIP/2.0 200 OK");
}

const invite = (uri: string) =>
  `INVITE ${uri} SIP/2.0\r\nVia: SIP/2.0/UDP 10.0.0.2:5060;branch=z9hG4bKi1\r\nMax-Forwards: 70\r\n` +
  "From: <sip:bob@example.org>;tag=1\r\nTo: <sip:alice@example.org>\r\nCall-ID: i1\r\nCSeq: 1 INVITE\r\n" +
  "Contact: <sip:10.0.0.2:5060>\r\nContent-Length: 0\r\n\r\n";

const MOBILE =
  '"A" <sip:alice@192.0.2.7:40000;transport=tcp;pn-provider=acme;pn-param=app;pn-prid=tok%2F1>;q=0.7;reg-id=1;+sip.instance="<urn:uuid:1>"';

describe("R-18 after a restart", () => {
  test("R-18 every contact, token, upstream binding and id is there again", () => {
    for (const mode of ["aor", "contact", "mirror"] as const) {
      const box = new Box({ pbx: { mode } });
      const { rig } = box;
      const phone = rig.phone("192.0.2.7", 40000, "tcp");
      const lines = ["User-Agent: caf\xc3\xa9/1", "Path: <sip:edge.example.org;lr>"];
      registered(rig, phone, { contacts: [MOBILE], lines, expires: 600 });
      registered(rig, rig.phone("192.0.2.8", 5062), { expires: 7200 });
      registered(rig, rig.phone("192.0.2.9"), { user: "b%20b", expires: 60 });
      const mobile = rig.core.usrloc.find(AOR)!.contacts[0]!;
      rig.pass(10);
      rig.core.pushResult(
        { uuid: "u", outcome: "accepted", status: 200, reason: "", ms: 1 },
        mobile.id,
        "tok/1",
        rig.clock.nowMs,
      );
      rig.pass(5000);
      const { upstream } = registered(rig, rig.phone("192.0.2.8", 5062), { cseq: 2, expires: 7200 });
      const before = everything(rig);
      const next = box.restart(1000);
      expect(everything(next)).toEqual(before);
      expect(next.sent).toEqual([]);
      const [first, second] = next.core.usrloc.find(AOR)!.contacts;
      expect(next.core.usrloc.reachability(first!, 90_000)).toBe("lost");
      expect(next.core.usrloc.reachability(second!, 90_000)).toBe("unknown");
      expect(second!.flow).toBe(next.phone("192.0.2.8", 5062));
      expect(first!.push!.tokenState).toBe("valid");
      // The next REGISTER tells the PBX the Contact it has.
      const again = registered(next, next.phone("192.0.2.8", 5062), { cseq: 3, expires: 7200 });
      expect(headers(again.upstream, "Contact")).toEqual(headers(upstream, "Contact"));
    }
  });

  test("R-18 the next call wakes the sleeping device, and tries and pushes nobody else's", () => {
    const box = new Box();
    const phone = box.rig.phone("192.0.2.7", 40000, "tcp");
    const { upstream } = registered(box.rig, phone, { contacts: [MOBILE] });
    const rig = box.restart(60_000);
    rig.fromPbx(invite(/<([^>]*)>/.exec(headers(upstream, "Contact")[0]!)![1]!));
    expect(rig.pushes).toMatchObject([{
      event: "call",
      aor: AOR,
      provider: "acme",
      param: "app",
      prid: "tok/1",
      callId: "i1",
    }]);
    expect(rig.take(rig.pbx).map(statusLine)).toEqual(["SIP/2.0 100 Trying"]);
    const woken = rig.phone("203.0.113.5", 50000, "tcp");
    rig.receive(woken, register(woken, { contacts: [MOBILE], callId: "fresh" }));
    rig.fromPbx(accepted(rig.one(rig.pbx)));
    const [reply, call] = rig.take(woken);
    expect(statusLine(reply!)).toBe("SIP/2.0 200 OK");
    expect(parsed(call!).method).toBe("INVITE");
  });

  test("R-18 expiry goes on, to the millisecond, and the PBX's binding ends with it", () => {
    const box = new Box();
    registered(box.rig, box.rig.phone("192.0.2.7"), { expires: 600 });
    const rig = box.restart(599_999);
    expect(contactsOf(rig)).toHaveLength(1);
    rig.pass(1);
    expect(contactsOf(rig)).toEqual([]);
    expect(headers(rig.one(rig.pbx), "Contact")[0]).toEndWith(";expires=0");
  });

  test("R-18 R-08 a device that expired while we were away is taken off the PBX, and its AoR is forgotten", () => {
    const box = new Box();
    registered(box.rig, box.rig.phone("192.0.2.7"), { expires: 600 });
    const rig = box.restart(1_000_000);
    const wire = rig.one(rig.pbx);
    expect(headers(wire, "Contact")[0]).toEndWith(";expires=0");
    rig.fromPbx(answer(wire, "200 OK"));
    expect(rig.core.usrloc.aorCount).toBe(0);
    expect([...box.restart().core.usrloc.all()]).toEqual([]);
  });

  test("R-18 R-08 or later, if the PBX's name is resolved later", () => {
    const box = new Box();
    registered(box.rig, box.rig.phone("192.0.2.7"), { expires: 600 });
    box.commit();
    box.store.close();
    const { store } = openStore({ path: box.path, sync: "full" });
    const rig = new Rig({ changes: store!, nowMs: START_MS + 1_000_000 });
    const pbx: TestFlow = rig.pbx!;
    rig.pbx = null;
    rig.core.setPbxAddresses([]);
    const { aors, contacts } = store!.load(rig.clock.nowMs);
    rig.core.restore(aors, contacts, () => null);
    rig.pass(60_000);
    rig.pbx = pbx;
    rig.pbxIsBack();
    rig.pass(60_000);
    expect(headers(rig.take(pbx)[0]!, "Contact")[0]).toEndWith(";expires=0");
  });

  test("R-18 R-05 contact: each device's grant at the PBX is known again: as much is absorbed as before, and no more", () => {
    const box = new Box({ pbx: { mode: "contact", expires: 600_000 } });
    const pbx = new PbxModel();
    atPbx(box.rig, pbx, box.rig.phone("192.0.2.7"), { expires: 600 });
    box.rig.pass(300_000);
    atPbx(box.rig, pbx, box.rig.phone("192.0.2.8"), { expires: 600 });
    const rig = box.restart(10_000);
    // 290 s are left of the one and 590 s of the other: what is granted has to fit in with its margin of a tenth.
    for (const [address, absorbed] of [["192.0.2.7", 263], ["192.0.2.8", 536]] as const) {
      const phone = rig.phone(address);
      rig.receive(phone, register(phone, { expires: absorbed, cseq: 2 }));
      expect(rig.take(rig.pbx)).toEqual([]);
      expect(statusLine(rig.one(phone))).toBe("SIP/2.0 200 OK");
    }
    for (const [address, forwarded] of [["192.0.2.7", 264], ["192.0.2.8", 537]] as const) {
      const phone = rig.phone(address);
      rig.receive(phone, register(phone, { expires: forwarded, cseq: 3 }));
      rig.fromPbx(pbx.take(rig.one(rig.pbx), rig.clock.nowMs));
      rig.one(phone);
    }
  });

  test("R-18 R-05 a device whose Contact the PBX dropped is still known to be dropped, and not answered here", () => {
    const box = new Box({ pbx: { mode: "contact" } });
    registered(box.rig, box.rig.phone("192.0.2.7"), { expires: 600 });
    registered(box.rig, box.rig.phone("192.0.2.8"), { expires: 600 });
    const rig = box.restart(1000);
    const [dropped, held] = rig.core.usrloc.find(AOR)!.contacts.map((contact) => rig.outlookOf(contact));
    expect([dropped!.isAtRisk, held!.isAtRisk]).toEqual([true, false]);
    const phone = rig.phone("192.0.2.7");
    rig.receive(phone, register(phone, { expires: 60, cseq: 2 }));
    expect(rig.take(phone)).toEqual([]);
  });

  test("R-18 R-08 contact: a device that expired while we were away is taken off the PBX, the others stay", () => {
    const box = new Box({ pbx: { mode: "contact" } });
    const pbx = new PbxModel();
    atPbx(box.rig, pbx, box.rig.phone("192.0.2.7"), { expires: 60 });
    atPbx(box.rig, pbx, box.rig.phone("192.0.2.8"), { expires: 600 });
    atPbx(box.rig, pbx, box.rig.phone("192.0.2.9"), { user: "bob", expires: 60 });
    atPbx(box.rig, pbx, box.rig.phone("192.0.2.10"), { user: "bob", expires: 60 });
    const rig = box.restart(120_000);
    const wires = rig.take(rig.pbx);
    expect(wires).toHaveLength(3);
    for (const wire of wires) rig.fromPbx(pbx.take(wire, rig.clock.nowMs));
    expect([AOR, "bob@example.org"].map((key) => pbx.live(key, rig.clock.nowMs).length)).toEqual([1, 0]);
    expect([...rig.core.usrloc.all()].map(({ key }) => key)).toEqual([AOR]);
    expect(box.restart(1000).take(box.rig.pbx)).toEqual([]);
  });

  test("R-18 R-08 hundreds that expired while we were away are taken off the PBX a few at a time, also if we are killed meanwhile", () => {
    const box = new Box();
    const pbx = new PbxModel();
    for (let n = 0; n < 300; n++) {
      atPbx(box.rig, pbx, box.rig.phone("192.0.2.7"), { user: `u${n}`, callId: `c${n}`, expires: 60 });
    }
    let rig = box.restart(120_000);
    const take = (): number => {
      const wires = rig.take(rig.pbx);
      for (const wire of wires) rig.fromPbx(pbx.take(wire, rig.clock.nowMs));
      return wires.length;
    };
    expect(take()).toBe(20);
    rig.pass(500);
    expect(take()).toBe(100);
    rig = box.restart(1000);
    for (let n = 0; n < 20; n++) {
      expect(take()).toBeLessThanOrEqual(20);
      rig.pass(100);
    }
    expect([...rig.core.usrloc.all()]).toEqual([]);
    for (let n = 0; n < 300; n++) expect(pbx.live(`u${n}@example.org`, rig.clock.nowMs)).toEqual([]);
  });

  test("R-18 R-05 another PBX than before knows nobody: phones keep their registration, and each goes there anew", () => {
    for (const mode of ["aor", "contact"] as const) {
      const box = new Box({ pbx: { mode, trusts_us: true } });
      registered(box.rig, box.rig.phone("192.0.2.7"), { expires: 600 });
      registered(box.rig, box.rig.phone("192.0.2.8"), { user: "bob", expires: 600 });
      const gone = box.rig.phone("192.0.2.9");
      registered(box.rig, gone, { user: "gone", expires: 60 });
      let rig = box.restart(100_000, true);
      expect([...rig.core.usrloc.all()].map(({ user, upstream }) => [user, upstream.state])).toEqual([
        ["alice", "none"],
        ["bob", "none"],
      ]);
      expect(rig.sent).toEqual([]);
      rig = box.restart(1000);
      const phone = rig.phone("192.0.2.7");
      rig.receive(phone, register(phone, { expires: 60, cseq: 2 }));
      rig.fromPbx(accepted(rig.one(rig.pbx)));
      // Nobody asked for bob: we do.
      rig.pass(12_000);
      expect(headers(rig.take(rig.pbx)[0]!, "To")[0]).toContain("bob@");
    }
  });

  test("R-18 nobody is left behind: an AoR whose device and binding ran out is gone from memory and disk", () => {
    for (const mode of ["aor", "contact", "mirror"] as const) {
      const box = new Box({ pbx: { mode } });
      registered(box.rig, box.rig.phone("192.0.2.7"), { expires: 600 });
      let rig = box.restart(1_000_000);
      if (mode !== "mirror") {
        expect(rig.core.usrloc.aorCount).toBe(1);
        rig.pass(2_599_999);
        // The last try to end it failed, and there was no time for another.
      }
      expect(rig.core.usrloc.aorCount).toBe(0);
      expect(rig.core.usrloc.hasDomain("example.org")).toBe(false);
      rig = box.restart();
      expect(rig.core.usrloc.aorCount).toBe(0);
    }
  });

  test("R-18 a phone that comes back before the PBX's binding lapses finds its AoR, with its id", () => {
    const box = new Box();
    const { upstream } = registered(box.rig, box.rig.phone("192.0.2.7"), { expires: 600 });
    const rig = box.restart(1_000_000);
    rig.take(rig.pbx);
    const again = registered(rig, rig.phone("192.0.2.7"), { cseq: 2, expires: 600 });
    expect(headers(again.upstream, "Contact")).toEqual(headers(upstream, "Contact"));
    rig.pass(599_999);
    expect(contactsOf(rig)).toHaveLength(1);
    expect(rig.take(rig.pbx)).toEqual([]);
  });
});
