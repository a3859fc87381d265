import { describe, expect, test } from "bun:test";
import { cidr, Rig, TCP, type TestFlow } from "./rig.ts";
import { answer, inDialog, methodOf, request, type RequestOptions, startLine, statusOf, value } from "./sip_text.ts";

const METHODS = ["INVITE", "MESSAGE", "SUBSCRIBE", "OPTIONS", "REFER", "PUBLISH", "NOTIFY", "FOO"];

function rigWithAlice(): { rig: Rig; alice: TestFlow; stranger: TestFlow } {
  const rig = new Rig();
  const alice = rig.flow("192.0.2.9", 40000);
  rig.register("alice", alice, "sip:alice@192.168.9.9:5060");
  return { rig, alice, stranger: rig.flow("198.51.100.66", 5060) };
}

/** Whatever a stranger may write on the envelope. */
const ENVELOPES: [string, string, RequestOptions][] = [
  ["a user of ours", "sip:alice@10.0.0.5", {}],
  ["a user of the PBX", "sip:bob@pbx.example.org", {}],
  ["the PBX's own address", "sip:0900123@10.0.0.10", {}],
  ["another host", "sip:victim@203.0.113.5", {}],
  ["a port of ours on another host", "sip:victim@203.0.113.5:5060;transport=tcp", {}],
  ["a Route to another host", "sip:bob@pbx.example.org", { route: ["<sip:203.0.113.5;lr>"] }],
  ["a Route to us and then another host", "sip:bob@10.0.0.5", { route: ["<sip:10.0.0.5;lr>", "<sip:203.0.113.5;lr>"] }],
  ["a Route to the PBX", "sip:bob@pbx.example.org", { route: ["<sip:10.0.0.10;lr>"] }],
  ["a strict Route", "sip:bob@pbx.example.org", { route: ["<sip:203.0.113.5>"] }],
  ["maddr", "sip:alice@10.0.0.5;maddr=203.0.113.5", {}],
  ["maddr of the PBX", "sip:alice@203.0.113.5;maddr=10.0.0.10", {}],
  ["a telephone number", "tel:+49900123", {}],
  ["From of a user of ours", "sip:bob@pbx.example.org", { from: "<sip:alice@pbx.example.org>;tag=x" }],
  ["From of the PBX", "sip:alice@10.0.0.5", { from: "<sip:bob@10.0.0.10>;tag=x" }],
  ["Via of the PBX", "sip:alice@10.0.0.5", { sentBy: "10.0.0.10:5060", viaParams: ";received=10.0.0.10;rport=5060" }],
  ["Contact of the PBX", "sip:alice@10.0.0.5", { contact: "<sip:bob@10.0.0.10>" }],
  ["a To tag", "sip:bob@pbx.example.org", { to: "<sip:bob@pbx.example.org>;tag=any" }],
  ["a To tag and our URI", "sip:alice@10.0.0.5", { to: "<sip:alice@10.0.0.5>;tag=any" }],
  ["a To tag and our Route", "sip:bob@203.0.113.5", {
    to: "<sip:bob@203.0.113.5>;tag=any",
    route: ["<sip:10.0.0.5;lr>"],
  }],
];

describe("F-06 X-03 strangers reach nobody", () => {
  for (const [what, uri, options] of ENVELOPES) {
    test(`F-06 requests with ${what} get 403, once, and are forgotten`, () => {
      const { rig, stranger } = rigWithAlice();
      for (const method of METHODS) {
        rig.receive(stranger, request(method, uri, options));
        rig.pass(60_000);
        const replies = rig.flows.filter((flow) => flow.remoteAddress === "198.51.100.66").flatMap((flow) =>
          flow.all()
        );
        expect([method, ...replies.map(statusOf)]).toEqual([method, 403]);
        expect(rig.untaken).toEqual([]);
      }
      expect(rig.core.table.serverCount).toBe(0);
      expect(rig.core.silo.openCalls).toBe(0);
      // Nobody was dialled: the PBX is known since the REGISTER.
      expect(rig.opened.filter((flow) => flow.remoteAddress !== "198.51.100.66")).toEqual([rig.pbx]);
    });
  }

  test("F-06 the id of a device in the Request-URI changes nothing", () => {
    const { rig, stranger } = rigWithAlice();
    rig.receive(stranger, request("INVITE", rig.upstreamUri("alice")));
    expect(statusOf(stranger.one())).toBe(403);
    expect(rig.untaken).toEqual([]);
  });

  test("F-06 a refused stranger's INVITE that comes again gets the same answer; its ACK is swallowed", () => {
    const { rig, stranger } = rigWithAlice();
    const invite = request("INVITE", "sip:alice@10.0.0.5", { branch: "z9hG4bKsame", callId: "same" });
    rig.receive(stranger, invite);
    const first = stranger.one();
    rig.receive(stranger, invite);
    expect(stranger.one()).toBe(first);
    rig.receive(
      stranger,
      request("ACK", "sip:alice@10.0.0.5", { branch: "z9hG4bKsame", callId: "same", to: value(first, "To") }),
    );
    expect(rig.untaken).toEqual([]);
  });

  test("F-06 the refusals of §16.3 leave no state behind for strangers either", () => {
    const { rig, stranger } = rigWithAlice();
    rig.pass(60_000);
    rig.receive(stranger, request("INVITE", "sip:alice@10.0.0.5", { maxForwards: "0" }));
    rig.receive(stranger, request("INVITE", "foo:bar"));
    rig.receive(stranger, request("CANCEL", "sip:alice@10.0.0.5"));
    expect(stranger.kinds()).toEqual([483, 416, 481]);
    expect(rig.core.table.serverCount).toBe(0);
  });

  test("F-06 nor does a stranger's OPTIONS to us, or what is malformed; what comes again gets the same answer", () => {
    const { rig, stranger } = rigWithAlice();
    rig.pass(60_000);
    const options = request("OPTIONS", "sip:10.0.0.5");
    for (const text of [options, options.replace("CSeq: 1", "CSeq: one")]) {
      rig.receive(stranger, text);
      rig.receive(stranger, text);
      const [first, second] = stranger.all();
      expect(first).toInclude(";tag=");
      expect(second).toBe(first!);
    }
    expect(rig.core.table.serverCount).toBe(0);
    expect(rig.core.schedule.nextMs).toBeGreaterThan(rig.clock.nowMs + 60_000);
  });

  test("F-06 a stray ACK or response is dropped and counted", () => {
    const { rig, stranger } = rigWithAlice();
    rig.receive(stranger, request("ACK", "sip:victim@203.0.113.5", { to: "<sip:v@203.0.113.5>;tag=1" }));
    rig.receive(stranger, request("ACK", "sip:bob@10.0.0.10", { route: ["<sip:10.0.0.10;lr>"] }));
    rig.receive(stranger, answer(request("INVITE", "sip:alice@10.0.0.5"), 200));
    expect(rig.untaken).toEqual([]);
    expect(rig.count("rejected_total", "stray_ack")).toBe(2);
    expect(rig.count("rejected_total", "stray_response")).toBe(1);
  });
});

describe("X-03 who the PBX is", () => {
  test("X-03 an INVITE from the PBX's address reaches the phone, from any of its ports and transports", () => {
    const { rig, alice } = rigWithAlice();
    for (const flow of [rig.pbx, rig.flow("10.0.0.10", 33000), rig.flow("10.0.0.10", 33001, TCP)]) {
      rig.receive(flow, request("INVITE", rig.upstreamUri("alice"), { from: "<sip:bob@pbx.example.org>;tag=1" }));
      expect(methodOf(alice.one())).toBe("INVITE");
    }
  });

  test("X-03 pbx.trust adds addresses, and the addresses of pbx.uri stay", () => {
    const rig = new Rig({ config: (config) => config.pbx!.trust = [cidr("172.16.0.0/28")] });
    const alice = rig.flow("192.0.2.9", 40000);
    rig.register("alice", alice, "sip:alice@192.168.9.9:5060");
    const cases: [string, number][] = [["172.16.0.15", 100], ["172.16.0.16", 403], ["10.0.0.10", 100], [
      "10.0.0.11",
      403,
    ]];
    for (const [address, status] of cases) {
      const flow = rig.flow(address, 5070);
      rig.receive(flow, request("INVITE", rig.upstreamUri("alice")));
      expect([address, statusOf(flow.one())]).toEqual([address, status]);
      alice.all();
    }
  });

  test("X-03 a phone on the PBX's machine is a phone once it is registered", () => {
    const rig = new Rig();
    const local = rig.flow("10.0.0.10", 6000);
    rig.register("carol", local, "sip:carol@10.0.0.10:6000");
    rig.receive(local, request("INVITE", "sip:bob@pbx.example.org", { from: "<sip:carol@pbx.example.org>;tag=c" }));
    expect(startLine(rig.pbx.one())).toBe("INVITE sip:bob@pbx.example.org SIP/2.0");
  });

  test("X-03 who registers with the PBX's own address and port as his does not turn the PBX into a phone", () => {
    const { rig, alice } = rigWithAlice();
    const { pbx } = rig;
    rig.receive(
      pbx,
      request("REGISTER", "sip:pbx.example.org", {
        to: "<sip:mallory@pbx.example.org>",
        from: "<sip:mallory@pbx.example.org>;tag=m",
        contact: "<sip:mallory@10.0.0.10>;expires=600",
      }),
    );
    const forwarded = pbx.one();
    rig.receive(pbx, answer(forwarded, 200, { contact: value(forwarded, "Contact") }));
    pbx.all();
    rig.receive(pbx, request("INVITE", rig.upstreamUri("alice"), { from: "<sip:bob@pbx.example.org>;tag=1" }));
    expect(methodOf(alice.one())).toBe("INVITE");
    expect(pbx.kinds()).toEqual([100]);
  });

  test("X-03 before its name is resolved nobody is the PBX", () => {
    const rig = new Rig();
    rig.core.setPbxAddresses([]);
    const flow = rig.flow("10.0.0.10", 5060);
    rig.receive(flow, request("INVITE", "sip:alice@10.0.0.5"));
    expect(statusOf(flow.one())).toBe(403);
  });
});

describe("F-06 registered phones reach the PBX, and it alone", () => {
  for (const [what, uri, options] of ENVELOPES) {
    if (options.to !== undefined) continue;
    test(`F-06 a phone's requests with ${what} go to the PBX with that very Request-URI`, () => {
      const { rig, alice } = rigWithAlice();
      for (const method of METHODS) {
        if (method === "OPTIONS") continue;
        rig.receive(alice, request(method, uri, options));
        expect(startLine(rig.pbx.one())).toBe(`${method} ${uri} SIP/2.0`);
      }
      expect(rig.opened).toEqual([rig.pbx]);
    });
  }

  test("F-06 a phone inside no dialog, with a To tag of its own invention, gets no further than the PBX", () => {
    const { rig, alice } = rigWithAlice();
    rig.receive(
      alice,
      inDialog("INVITE", {
        target: "sip:x@203.0.113.5",
        route: ["<sip:203.0.113.5;lr>"],
        local: "<sip:alice@pbx.example.org>;tag=1",
        remote: "<sip:x@203.0.113.5>;tag=2",
        callId: "invented",
      }),
    );
    expect(methodOf(rig.pbx.one())).toBe("INVITE");
    expect(rig.opened).toEqual([rig.pbx]);
  });
});
