/** O-04: what the core says is still owed to somebody, before a drain may end the process. */
import { expect, test } from "bun:test";
import { Rig, type TestFlow } from "./proxy/rig.ts";
import { answer, calleeSide, callerSide, inDialog, methodOf, request, statusOf } from "./proxy/sip_text.ts";

const NOTHING = { calls: 0, acks: 0, cancels: 0, requests: 0 };

/** A phone of alice, and one of her desk, both registered. */
function rigWith(count = 1) {
  const rig = new Rig({ config: (config) => config.wake.delayed_cancel = "true" });
  const phones = Array.from({ length: count }, (_, i) => {
    const flow = rig.flow(`192.168.9.${i + 1}`, 5060);
    rig.register("alice", flow, `sip:alice@192.168.9.${i + 1}:5060`);
    return flow;
  });
  rig.pass(40_000);
  for (const flow of rig.flows) flow.all();
  expect(rig.core.owed()).toEqual(NOTHING);
  return { rig, phones };
}

/** An INVITE of the PBX for alice. */
function call(rig: Rig, callId = "a-call"): string {
  const invite = request("INVITE", rig.upstreamUri("alice"), {
    sentBy: "10.0.0.10:5060",
    from: "<sip:bob@pbx.example.org>;tag=b",
    callId,
    contact: "<sip:bob@10.0.0.10:5060>",
  });
  rig.receive(rig.pbx, invite);
  return invite;
}

/** Takes what was sent; the one message of this kind. */
function take(flow: TestFlow, kind: string | number): string {
  return flow.all().find((text) => (methodOf(text) || statusOf(text)) === kind)!;
}

test("O-04 a call is owed its answer, then its ACK, which must pass", () => {
  const { rig, phones: [phone] } = rigWith();
  const invite = call(rig);
  expect(rig.core.owed()).toEqual({ ...NOTHING, calls: 1 });
  const got = take(phone!, "INVITE");
  const ok = answer(got, 200, { contact: "<sip:alice@192.168.9.1:5060>" });
  rig.receive(phone!, ok);
  expect(rig.core.owed()).toEqual({ ...NOTHING, acks: 1 });
  // Its phone repeats the 200: still one.
  rig.receive(phone!, ok);
  expect(rig.core.owed()).toEqual({ ...NOTHING, acks: 1 });
  const ack = inDialog("ACK", callerSide(invite, take(rig.pbx, 200)), { sentBy: "10.0.0.10:5060" });
  rig.receive(rig.pbx, ack);
  expect(take(phone!, "ACK")).toStartWith("ACK ");
  expect(rig.core.owed()).toEqual(NOTHING);
});

test("O-04 an ACK that never comes is owed as long as the transaction lives", () => {
  const { rig, phones: [phone] } = rigWith();
  call(rig);
  rig.receive(phone!, answer(take(phone!, "INVITE"), 200));
  rig.pass(31_999);
  expect(rig.core.owed().acks).toBe(1);
  rig.pass(1);
  expect(rig.core.owed()).toEqual(NOTHING);
});

test("O-04 of two calls with one Call-ID, as a PBX passes it on, each is owed its ACK", () => {
  const { rig, phones: [phone] } = rigWith();
  const bob = rig.flow("192.168.9.7", 5060);
  rig.register("bob", bob, "sip:bob@192.168.9.7:5060");
  const out = request("INVITE", "sip:alice@pbx.example.org", {
    sentBy: "192.168.9.7:5060",
    from: "<sip:bob@pbx.example.org>;tag=b",
    callId: "a-call",
    contact: "<sip:bob@192.168.9.7:5060>",
  });
  rig.receive(bob, out);
  const forwarded = take(rig.pbx, "INVITE");
  const back = call(rig);
  expect(rig.core.owed()).toEqual({ ...NOTHING, calls: 2 });
  rig.receive(phone!, answer(take(phone!, "INVITE"), 200, { contact: "<sip:alice@192.168.9.1:5060>" }));
  rig.receive(rig.pbx, answer(forwarded, 200, { contact: "<sip:alice@10.0.0.10:5060>" }));
  expect(rig.core.owed()).toEqual({ ...NOTHING, acks: 2 });
  rig.receive(bob, inDialog("ACK", callerSide(out, take(bob, 200)), { sentBy: "192.168.9.7:5060" }));
  expect(rig.core.owed()).toEqual({ ...NOTHING, acks: 1 });
  rig.receive(rig.pbx, inDialog("ACK", callerSide(back, take(rig.pbx, 200)), { sentBy: "10.0.0.10:5060" }));
  expect(rig.core.owed()).toEqual(NOTHING);
});

test("O-04 a refusal is owed its ACK, as it is repeated until then", () => {
  const { rig, phones: [phone] } = rigWith();
  const invite = call(rig);
  rig.receive(phone!, answer(take(phone!, "INVITE"), 486));
  expect(rig.core.owed()).toEqual({ ...NOTHING, acks: 1 });
  const ack = request("ACK", rig.upstreamUri("alice"), {
    sentBy: "10.0.0.10:5060",
    branch: /branch=([^;\r]+)/.exec(invite)![1]!,
    from: "<sip:bob@pbx.example.org>;tag=b",
    callId: "a-call",
  });
  rig.receive(rig.pbx, ack);
  expect(rig.core.owed()).toEqual(NOTHING);
});

test("O-04 a phone that lost before it was heard of is owed a CANCEL, and its 487 an ACK", () => {
  const { rig, phones: [winner, loser] } = rigWith(2);
  const invite = call(rig);
  const lost = take(loser!, "INVITE");
  rig.receive(winner!, answer(take(winner!, "INVITE"), 200, { contact: "<sip:alice@192.168.9.1:5060>" }));
  rig.receive(rig.pbx, inDialog("ACK", callerSide(invite, take(rig.pbx, 200)), { sentBy: "10.0.0.10:5060" }));
  expect(rig.core.owed()).toEqual({ ...NOTHING, cancels: 1 });
  rig.receive(loser!, answer(lost, 180));
  expect(rig.core.owed()).toEqual({ ...NOTHING, cancels: 1 });
  rig.receive(loser!, answer(take(loser!, "CANCEL"), 200));
  rig.receive(loser!, answer(lost, 487));
  expect(loser!.kinds()).toEqual(["ACK"]);
  expect(rig.core.owed()).toEqual(NOTHING);
});

test("O-04 a phone that was woken for a call that is over is owed INVITE and CANCEL, until it cannot come any more", () => {
  const { rig, phones: [phone] } = rigWith();
  const contact = rig.contactOf("alice", "sip:alice@192.168.9.1:5060");
  contact.push = { provider: "acme", param: "", prid: "token", tokenState: "valid", registeredAtMs: 0 };
  contact.kind = "mobile";
  phone!.lastHeardMs = 0;
  const invite = call(rig);
  expect(rig.pushes.map(({ event }) => event)).toEqual(["call"]);
  rig.receive(
    rig.pbx,
    request("CANCEL", rig.upstreamUri("alice"), {
      sentBy: "10.0.0.10:5060",
      branch: /branch=([^;\r]+)/.exec(invite)![1]!,
      from: "<sip:bob@pbx.example.org>;tag=b",
      callId: "a-call",
    }),
  );
  rig.pass(1000);
  expect(rig.core.owed().cancels).toBeGreaterThan(0);
  rig.pass(64_000);
  expect(rig.core.owed()).toEqual(NOTHING);
});

test("O-04 a REGISTER and a BYE in flight are owed their answer, an OPTIONS is not", () => {
  const { rig, phones: [phone] } = rigWith();
  const invite = call(rig);
  const got = take(phone!, "INVITE");
  const ok = answer(got, 200, { contact: "<sip:alice@192.168.9.1:5060>" });
  rig.receive(phone!, ok);
  rig.receive(rig.pbx, inDialog("ACK", callerSide(invite, take(rig.pbx, 200)), { sentBy: "10.0.0.10:5060" }));
  rig.receive(phone!, inDialog("BYE", calleeSide(got, ok), { sentBy: "192.168.9.1:5060" }));
  expect(rig.core.owed()).toEqual({ ...NOTHING, requests: 1 });
  const at = rig.clock.nowMs;
  rig.pass(10);
  rig.pbx.all();
  const identity = { sentBy: "192.168.9.3:5060", from: "<sip:carol@pbx.example.org>;tag=c" };
  const register = request("REGISTER", "sip:pbx.example.org", {
    ...identity,
    to: "<sip:carol@pbx.example.org>",
    contact: "<sip:carol@192.168.9.3:5060>;expires=600",
  });
  rig.receive(rig.flow("192.168.9.3", 5060), register);
  rig.receive(phone!, request("OPTIONS", "sip:bob@pbx.example.org", { sentBy: "192.168.9.1:5060" }));
  expect(rig.core.owed()).toEqual({ ...NOTHING, requests: 2 });
  // What came later than it was asked for is not waited for.
  expect(rig.core.owed(at)).toEqual({ ...NOTHING, requests: 1 });
  for (const text of rig.pbx.all()) rig.receive(rig.pbx, answer(text, 404));
  expect(rig.core.owed()).toEqual({ ...NOTHING, requests: 1 });
});

test("O-04 while draining no phone begins a call, and open ones go on", () => {
  const { rig, phones: [phone] } = rigWith();
  call(rig, "open");
  rig.core.isDraining = true;
  const out = { sentBy: "192.168.9.1:5060", from: "<sip:alice@pbx.example.org>;tag=a", contact: "<sip:alice@h>" };
  rig.receive(phone!, request("INVITE", "sip:bob@pbx.example.org", out));
  expect(statusOf(take(phone!, 503) ?? "")).toBe(503);
  call(rig, "late");
  expect(take(rig.pbx, 503)).toContain("Retry-After: ");
  rig.core.silo.endAll("shutting down");
  rig.pass(200);
  expect(take(rig.pbx, 480)).toStartWith("SIP/2.0 480 shutting down");
});
