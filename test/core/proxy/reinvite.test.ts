import { describe, expect, test } from "bun:test";
import { Rig, type TestFlow } from "./rig.ts";
import { answer, callerSide, type DialogSide, inDialog, methodOf, request, statusOf, value } from "./sip_text.ts";

const CONTACT = "<sip:alice@192.168.9.9:5060>";
const RE = { cseq: 5, branch: "z9hG4bKre", sentBy: "10.0.0.10" };

/** The PBX and alice in a call, and a re-INVITE of the PBX that has reached her phone. */
function reinvited(): { rig: Rig; phone: TestFlow; side: DialogSide; invite: string } {
  const rig = new Rig();
  const phone = rig.flow("192.0.2.9", 40000);
  rig.register("alice", phone, "sip:alice@192.168.9.9:5060");
  const first = request("INVITE", rig.upstreamUri("alice"), { sentBy: "10.0.0.10", contact: "<sip:bob@10.0.0.10>" });
  rig.receive(rig.pbx, first);
  rig.receive(phone, answer(phone.one(), 200, { contact: CONTACT }));
  const side = callerSide(first, rig.pbx.all().at(-1)!);
  rig.receive(rig.pbx, inDialog("ACK", side, { sentBy: "10.0.0.10" }));
  rig.pass(40_000);
  rig.pbx.all();
  phone.all();
  rig.receive(rig.pbx, inDialog("INVITE", side, { ...RE, contact: "<sip:bob@10.0.0.10>" }));
  expect(rig.pbx.kinds()).toEqual([100]);
  return { rig, phone, side, invite: phone.one() };
}

describe("W-10 CANCEL of a re-INVITE", () => {
  test("W-10 the phone that has it is waited for: its 200 crosses our CANCEL as late as it likes (RFC 5407 §3.1.2)", () => {
    const { rig, phone, side, invite } = reinvited();
    rig.receive(phone, answer(invite, 100));
    rig.receive(rig.pbx, inDialog("CANCEL", side, RE));
    rig.receive(phone, answer(phone.one(), 200));
    rig.pass(20_000);
    expect(rig.pbx.kinds()).toEqual([200]);
    rig.receive(phone, answer(invite, 200, { contact: CONTACT }));
    const ok = rig.pbx.one();
    expect([statusOf(ok), value(ok, "CSeq")]).toEqual([200, "5 INVITE"]);
    rig.receive(rig.pbx, inDialog("ACK", side, { cseq: 5, sentBy: "10.0.0.10" }));
    expect(phone.kinds()).toEqual(["ACK"]);
  });

  test("W-10 its 487 goes back at once; one that says nothing more gets the 487 of ours after 64·T1", () => {
    for (const says487 of [true, false]) {
      const { rig, phone, side, invite } = reinvited();
      rig.receive(phone, answer(invite, 100));
      rig.receive(rig.pbx, inDialog("CANCEL", side, RE));
      rig.receive(phone, answer(phone.one(), 200));
      if (says487) rig.receive(phone, answer(invite, 487));
      else rig.pass(31_999);
      expect(rig.pbx.kinds()).toEqual(says487 ? [200, 487] : [200]);
      if (says487) rig.receive(rig.pbx, inDialog("ACK", side, RE));
      else rig.pass(1);
      expect(rig.pbx.kinds()).toEqual(says487 ? [] : [487]);
    }
  });

  test("W-12 one that was not heard of is not waited for, and its late 200 ends no call: ACK, but no BYE", () => {
    const { rig, phone, side, invite } = reinvited();
    rig.receive(rig.pbx, inDialog("CANCEL", side, RE));
    rig.pass(100);
    expect(rig.pbx.kinds()).toEqual([200, 487]);
    phone.all();
    for (let n = 0; n < 2; n++) {
      rig.receive(phone, answer(invite, 200, { contact: CONTACT }));
      const ack = phone.one();
      expect([methodOf(ack), value(ack, "CSeq")]).toEqual(["ACK", "5 ACK"]);
    }
    rig.pass(40_000);
    expect(phone.sent).toEqual([]);
    rig.receive(rig.pbx, inDialog("BYE", side, { cseq: 6 }));
    expect(phone.kinds()).toEqual(["BYE"]);
  });
});
