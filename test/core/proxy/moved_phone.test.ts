/** RFC 3261 §18.2.2: the answer to a phone whose connection is gone goes over the one that it has registered since. */
import { describe, expect, test } from "bun:test";
import { Rig, TCP, type TestFlow, UDP } from "./rig.ts";
import { answer, callerSide, inDialog, request, statusOf, value } from "./sip_text.ts";

const ALICE = "<sip:alice@pbx.example.org>;tag=a";
function register(rig: Rig, flow: TestFlow, user = "alice"): void {
  rig.register(user, flow, `sip:${user}@192.168.9.9:5060`, { params: ";+sip.instance=of-" + user });
}

/** Alice calls somebody at the PBX. */
function calling(flow = TCP): { rig: Rig; old: TestFlow; invite: string; atPbx: string } {
  const rig = new Rig();
  const old = rig.flow("192.0.2.9", 40000, flow);
  register(rig, old);
  const invite = request("INVITE", "sip:bob@pbx.example.org", {
    from: ALICE,
    sentBy: "192.168.9.9:5060",
    transport: flow.transport.toUpperCase(),
    contact: "<sip:alice@192.168.9.9:5060>",
  });
  rig.receive(old, invite);
  const atPbx = rig.pbx.one();
  rig.receive(rig.pbx, answer(atPbx, 100));
  expect(old.kinds()).toEqual([100]);
  return { rig, old, invite, atPbx };
}

/** The phone is on another network; its REGISTER is accepted. */
function moves(rig: Rig, listener = TCP, port = 41000): TestFlow {
  rig.pass(2000);
  rig.pbx.all(); // what it was asked again
  const flow = rig.flow("198.51.100.7", port, listener);
  register(rig, flow);
  return flow;
}

/** Addresses beside the PBX's that we connected to by ourselves. */
const dialled = (rig: Rig) =>
  rig.opened.map(({ remoteAddress, remotePort }) => `${remoteAddress}:${remotePort}`)
    .filter((address) => !address.startsWith("10.0.0.10:"));

const ok = (atPbx: string, status = 200) => answer(atPbx, status, { contact: "<sip:bob@10.0.0.10>" });

describe("F-05 the answer to a calling phone whose connection was replaced", () => {
  for (const status of [180, 200, 486]) {
    for (const isClosed of [true, false]) {
      test(`F-05 ${status}, the old connection ${isClosed ? "closed" : "still open"}: over the new one`, () => {
        const { rig, old, invite, atPbx } = calling();
        if (isClosed) rig.close(old);
        const now = moves(rig);
        rig.receive(rig.pbx, ok(atPbx, status));
        const reply = now.one();
        expect([statusOf(reply), value(reply, "Call-ID")]).toEqual([status, value(invite, "Call-ID")]);
        expect(old.sent).toEqual([]);
        expect(dialled(rig)).toEqual([]);
      });
    }
  }

  test("F-05 over UDP from another port, each repetition of the 200", () => {
    const { rig, old, atPbx } = calling(UDP);
    const now = moves(rig, UDP);
    for (let n = 0; n < 3; n++) {
      rig.receive(rig.pbx, ok(atPbx));
      expect(now.kinds()).toEqual([200]);
    }
    expect(old.sent).toEqual([]);
  });

  test("F-05 it moved twice: over the newest", () => {
    const { rig, old, atPbx } = calling();
    rig.close(old);
    const second = moves(rig);
    rig.receive(rig.pbx, ok(atPbx, 180));
    expect(second.kinds()).toEqual([180]);
    rig.close(second);
    const third = moves(rig, TCP, 42000);
    rig.receive(rig.pbx, ok(atPbx));
    expect(third.kinds()).toEqual([200]);
  });

  test("F-05 over UDP it is back where it was: there again", () => {
    const { rig, old, invite, atPbx } = calling(UDP);
    const now = moves(rig, UDP);
    rig.receive(rig.pbx, ok(atPbx));
    expect(now.kinds()).toEqual([200]);
    rig.pass(10);
    rig.receive(old, invite);
    rig.receive(rig.pbx, ok(atPbx));
    expect([old.kinds(), now.sent]).toEqual([[200], []]);
  });

  test("F-05 the dialog goes on over the new one, and the answer to its BYE, too", () => {
    const { rig, old, invite, atPbx } = calling();
    rig.close(old);
    const now = moves(rig);
    rig.receive(rig.pbx, ok(atPbx));
    const side = callerSide(invite, now.one());
    rig.receive(now, inDialog("ACK", side));
    rig.receive(now, inDialog("BYE", side, { transport: "TCP" }));
    const bye = rig.pbx.all().at(-1)!;
    rig.receive(rig.pbx, answer(bye, 100));
    rig.close(now);
    const third = moves(rig, TCP, 42000);
    rig.receive(rig.pbx, answer(bye, 200));
    expect(third.kinds()).toEqual([200]);
  });

  test("F-05 it has not come back: as RFC 3261 has it, and what is said later goes over the new one", () => {
    const { rig, old, atPbx } = calling();
    rig.close(old);
    rig.receive(rig.pbx, ok(atPbx, 180));
    expect(dialled(rig)).toEqual(["192.0.2.9:5060"]);
    const now = moves(rig);
    rig.receive(rig.pbx, ok(atPbx));
    expect(now.kinds()).toEqual([200]);
  });

  test("F-05 the old way was heard of since: it is where the phone waits", () => {
    const { rig, old, atPbx } = calling();
    const now = moves(rig);
    rig.pass(10);
    rig.receive(old, request("OPTIONS", "sip:10.0.0.5", { from: ALICE, transport: "TCP" }));
    old.all();
    rig.receive(rig.pbx, ok(atPbx));
    expect([old.kinds(), now.sent]).toEqual([[200], []]);
  });

  test("F-05 its INVITE was overtaken by the REGISTER over the new connection: once the old one closes, over that", () => {
    const { rig, old, atPbx } = calling();
    const now = moves(rig);
    rig.receive(old, request("OPTIONS", "sip:10.0.0.5", { from: ALICE, transport: "TCP" }));
    old.all();
    rig.close(old);
    rig.receive(rig.pbx, ok(atPbx));
    expect(now.kinds()).toEqual([200]);
  });

  test("F-05 another phone behind the same connection is still there: its answers go over that", () => {
    const { rig, old, atPbx } = calling();
    register(rig, old, "carol");
    const now = moves(rig);
    rig.receive(rig.pbx, ok(atPbx));
    expect([old.kinds(), now.sent]).toEqual([[200], []]);
  });

  test("F-05 two accounts of one app: over the connection of both", () => {
    const { rig, old, atPbx } = calling();
    register(rig, old, "carol");
    rig.close(old);
    const now = moves(rig);
    register(rig, now, "carol");
    rig.receive(rig.pbx, ok(atPbx));
    expect(now.kinds()).toEqual([200]);
  });

  test("F-05 several phones had one connection, and have one each: the caller's own by its From", () => {
    const { rig, old, atPbx } = calling();
    register(rig, old, "carol");
    rig.close(old);
    const carols = rig.flow("198.51.100.8", 43000, TCP);
    register(rig, carols, "carol");
    const now = moves(rig);
    rig.receive(rig.pbx, ok(atPbx));
    expect([now.kinds(), carols.sent]).toEqual([[200], []]);
  });

  test("F-05 the other phone of a broken connection is back, the caller is not: it gets nothing that is not its own", () => {
    const { rig, old, atPbx } = calling();
    register(rig, old, "carol");
    rig.close(old);
    const carols = rig.flow("198.51.100.8", 43000, TCP);
    register(rig, carols, "carol");
    rig.receive(rig.pbx, ok(atPbx));
    expect(carols.sent).toEqual([]);
  });

  test("F-05 the phone is gone from the registrar: nobody else gets its answer", () => {
    const { rig, old, atPbx } = calling();
    rig.close(old);
    const now = moves(rig);
    rig.core.usrloc.remove(rig.contactOf("alice", "sip:alice@192.168.9.9:5060"), "control");
    rig.pbx.all();
    rig.receive(rig.pbx, ok(atPbx));
    expect(now.sent).toEqual([]);
  });
});
