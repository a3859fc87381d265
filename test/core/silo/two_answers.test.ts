/** W-12 two phones answer at the same moment: the PBX hears of one, the other is let go by us. */
import { describe, expect, test } from "bun:test";
import type { Listener, Transport } from "../../../src/core/sip/flow.ts";
import { Rig, TCP, type TestFlow, UDP } from "../proxy/rig.ts";
import { answer, methodOf, request, requestUri, statusOf, uriIn, value, values } from "../proxy/sip_text.ts";

const listenerOf = (transport: Transport, port: number): Listener => ({
  transport,
  address: "10.0.0.5",
  port,
  advertised: `10.0.0.5:${port}`,
});
const LISTENERS = [UDP, TCP, listenerOf("tls", 5061), listenerOf("ws", 8080), listenerOf("wss", 8443)];
const PROXY = "<sip:proxy.example.org;lr>";
const EDGE = "<sip:edge.example.org;lr>";

/** Two phones ring; the second over the transport, behind a proxy of its own if it has one. */
function twoRinging(listener: Listener) {
  const rig = new Rig({ listeners: LISTENERS });
  const [first, second] = [rig.flow("192.0.2.1", 40001), rig.flow("192.0.2.2", 40002, listener)];
  rig.register("alice", first, "sip:alice@192.168.9.1:5060", { params: ";+sip.instance=one" });
  rig.register("alice", second, "sip:alice@192.168.9.2:5060", { params: ";+sip.instance=two" });
  const invite = request("INVITE", rig.upstreamUri("alice"), {
    sentBy: "10.0.0.10",
    callId: "two-answers",
    cseq: 7,
    headers: [["Record-Route", PROXY]],
  });
  rig.receive(rig.pbx, invite);
  rig.pbx.all();
  return { rig, first, second, invites: [first.one(), second.one()] as const };
}

/** The 200 of a phone; `edge`: its own proxy recorded its route above ours. */
function okOf(invite: string, tag: string, edge = ""): string {
  const ok = answer(invite, 200, { tag, contact: `<sip:${tag}@192.168.9.9;x=1>` });
  return edge === "" ? ok : ok.replace("Record-Route:", `Record-Route: ${edge}\r\nRecord-Route:`);
}

function bothAnswer(listener: Listener, edge = ""): { rig: Rig; second: TestFlow; ok: string; said: string[] } {
  const { rig, first, second, invites } = twoRinging(listener);
  rig.receive(first, okOf(invites[0], "winner"));
  expect(rig.pbx.kinds()).toEqual([200]);
  // Its CANCEL would go with its first word, which is its 200.
  expect(second.kinds()).toEqual([]);
  const ok = okOf(invites[1], "loser", edge);
  rig.receive(second, ok);
  return { rig, second, ok, said: second.all() };
}

describe.each(LISTENERS)("W-12 the second answer, over $transport", (listener) => {
  test("W-12 gets ACK and BYE from us, in its own dialog, and the caller hears nothing of it", () => {
    const { rig, second, ok, said } = bothAnswer(listener);
    expect(rig.pbx.kinds()).toEqual([]);
    expect(said.map(methodOf)).toEqual(["ACK", "BYE"]);
    for (const text of said) {
      expect(requestUri(text)).toBe("sip:loser@192.168.9.9;x=1");
      expect(value(text, "Via")).toStartWith(`SIP/2.0/${listener.transport.toUpperCase()} ${listener.advertised};`);
      expect(value(text, "To")).toBe(value(ok, "To"));
      expect(value(text, "From")).toBe(value(ok, "From"));
      expect(value(text, "Call-ID")).toBe("two-answers");
      expect(values(text, "Route")).toEqual([]);
    }
    expect(said.map((text) => value(text, "CSeq"))).toEqual(["7 ACK", "8 BYE"]);
    rig.receive(second, answer(said[1]!, 200));
    expect(rig.untaken).toEqual([]);
  });

  test("W-12 gets an ACK for each repetition of its 200, and one BYE", () => {
    const { rig, second, ok } = bothAnswer(listener);
    for (const ms of [500, 1000, 2000, 4000]) {
      rig.pass(ms);
      second.all(); // repetitions of the BYE, over UDP
      rig.receive(second, ok);
      expect(second.kinds()).toEqual(["ACK"]);
    }
    expect(rig.pbx.kinds()).toEqual([]);
  });

  test("W-12 is let go along its own route set, without our part of it or the caller's", () => {
    for (const text of bothAnswer(listener, EDGE).said) expect(values(text, "Route")).toEqual([EDGE]);
  });

  test("W-12 the first answer goes on as if there were no other", () => {
    const { rig, first, second, invites } = twoRinging(listener);
    rig.receive(second, okOf(invites[1], "winner"));
    rig.receive(first, okOf(invites[0], "loser"));
    expect(first.kinds()).toEqual(["ACK", "BYE"]);
    const ok = rig.pbx.one();
    expect([statusOf(ok), uriIn(value(ok, "Contact"))]).toEqual([200, "sip:winner@192.168.9.9;x=1"]);
    rig.receive(second, okOf(invites[1], "winner"));
    expect(rig.pbx.kinds()).toEqual([200]);
    const ack = request("ACK", "sip:winner@192.168.9.9;x=1", {
      callId: "two-answers",
      to: value(ok, "To"),
      route: values(ok, "Record-Route").reverse().slice(1),
      sentBy: "10.0.0.10",
    });
    rig.receive(rig.pbx, ack);
    expect(second.all().map((text) => [methodOf(text), value(text, "To")])).toEqual([["ACK", value(ok, "To")]]);
  });
});

test("W-12 of three phones behind one branch each loser gets a BYE of its own", () => {
  const { rig, first, second, invites } = twoRinging(UDP);
  second.all();
  const tags = ["winner", "second", "third", "second", "winner", "third"];
  const heard = tags.map((tag) => {
    rig.receive(first, okOf(invites[0], tag));
    return [rig.pbx.kinds(), first.all().map((text) => `${methodOf(text)} ${/;tag=(.*)/.exec(value(text, "To"))![1]}`)];
  });
  expect(heard).toEqual([
    [[200], []],
    [[], ["ACK second", "BYE second"]],
    [[], ["ACK third", "BYE third"]],
    [[], ["ACK second"]],
    [[200], []],
    [[], ["ACK third"]],
  ]);
});

test("W-12 single_answer: false: the second 200 is the caller's, as RFC 3261 has it", () => {
  const rig = new Rig({ config: (config) => config.wake.single_answer = false });
  const phones = [rig.flow("192.0.2.1", 40001), rig.flow("192.0.2.2", 40002)];
  for (const [n, phone] of phones.entries()) {
    rig.register("alice", phone, `sip:alice@192.168.9.${n}:5060`, { params: `;+sip.instance=i${n}` });
  }
  rig.receive(rig.pbx, request("INVITE", rig.upstreamUri("alice"), { sentBy: "10.0.0.10" }));
  rig.pbx.all();
  for (const phone of phones) rig.receive(phone, okOf(phone.one(), "t" + phone.id));
  expect(rig.pbx.kinds()).toEqual([200, 200]);
  expect(rig.untaken).toEqual([]);
});

describe("W-12 F-03 the phone that is let go loses its connection before it says 200 to our BYE", () => {
  /** It is back over another connection. */
  function isBack(rig: Rig): TestFlow {
    const flow = rig.flow("192.0.2.2", 40009, TCP);
    rig.register("alice", flow, "sip:alice@192.168.9.2:5060", { params: ";+sip.instance=two" });
    return flow;
  }

  for (const how of ["closed", "open and dead"]) {
    test(`W-12 the old one is ${how}: BYE goes again over the new one, once`, () => {
      const { rig, second, ok } = bothAnswer(TCP);
      if (how === "closed") rig.close(second);
      rig.pass(3000);
      const flow = isBack(rig);
      const bye = flow.one();
      expect([methodOf(bye), requestUri(bye), value(bye, "To")]).toEqual([
        "BYE",
        "sip:loser@192.168.9.9;x=1",
        value(ok, "To"),
      ]);
      expect(value(bye, "CSeq")).toBe("8 BYE");
      isBack(rig);
      expect(flow.sent).toEqual([]);
      rig.receive(flow, answer(bye, 200));
      rig.pass(100_000);
      expect(rig.core.table.clientCount).toBe(0);
    });
  }

  test("W-12 it had answered the BYE: it hears nothing more", () => {
    const { rig, second, said } = bothAnswer(TCP);
    rig.receive(second, answer(said[1]!, 200));
    rig.close(second);
    expect(isBack(rig).sent).toEqual([]);
  });

  test("W-12 its 200 comes again over the old connection, which breaks: ACK and BYE go again", () => {
    const { rig, second, ok } = bothAnswer(TCP);
    rig.pass(500);
    rig.receive(second, ok);
    expect(second.kinds()).toEqual(["ACK"]);
    rig.close(second);
    expect(isBack(rig).kinds()).toEqual(["BYE"]);
  });
});
