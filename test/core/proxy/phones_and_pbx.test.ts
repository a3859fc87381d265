import { describe, expect, test } from "bun:test";
import { Rig, TCP, type TestFlow } from "./rig.ts";
import { answer, branchOf, methodOf, request, requestUri, startLine, statusOf, value, values } from "./sip_text.ts";

const ALICE = "<sip:alice@pbx.example.org>;tag=a";
const CONTACT = "sip:alice@192.168.9.9:5060";

function rigWithAlice(options: ConstructorParameters<typeof Rig>[0] = {}): { rig: Rig; alice: TestFlow } {
  const rig = new Rig(options);
  const alice = rig.flow("192.0.2.9", 40000);
  rig.register("alice", alice, CONTACT);
  return { rig, alice };
}

describe("F-06 from phones to the PBX", () => {
  for (const uri of ["sip:bob@pbx.example.org", "sip:%62ob@pbx.example.org;user=phone", "tel:+4930123", "sips:bob@x"]) {
    test(`F-06 ${uri} goes on as it is`, () => {
      const { rig, alice } = rigWithAlice();
      rig.receive(alice, request("INVITE", uri, { from: ALICE }));
      expect(requestUri(rig.pbx.one())).toBe(uri);
    });
  }

  test("F-06 an emergency call (urn:service:sos) goes to the PBX", () => {
    const { rig, alice } = rigWithAlice();
    rig.receive(alice, request("INVITE", "urn:service:sos", { from: ALICE }));
    expect(requestUri(rig.pbx.one())).toBe("urn:service:sos");
  });

  test("F-06 an anonymous caller is known by his flow", () => {
    const { rig, alice } = rigWithAlice();
    rig.receive(
      alice,
      request("INVITE", "sip:bob@pbx.example.org", { from: "<sip:anonymous@anonymous.invalid>;tag=1" }),
    );
    expect(methodOf(rig.pbx.one())).toBe("INVITE");
  });

  const routes: [string, string[], string[]][] = [
    ["naming us", ["<sip:10.0.0.5;lr>"], []],
    ["naming us with port and transport", ["<sip:10.0.0.5:5060;transport=tcp;lr>"], []],
    ["naming us twice", ["<sip:10.0.0.5;lr>", "<sip:10.0.0.5:5060;transport=TCP;lr>"], []],
    ["naming us twice in one line", ["<sip:10.0.0.5;lr>,<sip:10.0.0.5;lr>"], []],
    ["naming us, then the PBX", ["<sip:10.0.0.5;lr>", "<sip:10.0.0.10;lr>"], ["<sip:10.0.0.10;lr>"]],
    ["naming us and others in one line", ["<sip:10.0.0.5;lr>, <sip:a@b.example;lr>"], ["<sip:a@b.example;lr>"]],
    ["naming the PBX by a domain that is not ours", ["<sip:orig@pbx.internal;lr>"], ["<sip:orig@pbx.internal;lr>"]],
    ["naming a port of our host that we were not told", ["<sip:10.0.0.5:5999;lr>"], []],
    ["naming us in IPv6", ["<sip:[2001:DB8:0:0::5];lr>"], []],
  ];
  for (const [what, given, left] of routes) {
    test(`F-03 a preloaded Route ${what} leaves ${left.length === 0 ? "none" : left.join()}`, () => {
      const { rig, alice } = rigWithAlice();
      rig.receive(alice, request("INVITE", "sip:bob@pbx.example.org", { from: ALICE, route: given }));
      const atPbx = rig.pbx.one();
      expect(values(atPbx, "Route")).toEqual(left);
      expect(requestUri(atPbx)).toBe("sip:bob@pbx.example.org");
    });
  }

  test("F-03 a phone whose outbound proxy is its domain: that Route is ours", () => {
    const { rig, alice } = rigWithAlice({ config: (config) => config.domain = ["pbx.example.org"] });
    const route = ["<sip:pbx.example.org;lr>", "<sip:orig@pbx.example.org;lr>"];
    rig.receive(alice, request("INVITE", "sip:bob@pbx.example.org", { from: ALICE, route }));
    expect(values(rig.pbx.one(), "Route")).toEqual(["<sip:orig@pbx.example.org;lr>"]);
  });

  test("F-03 maddr, port and transport that led to us are stripped from the Request-URI; those that did not, stay", () => {
    const { rig, alice } = rigWithAlice();
    const cases = [
      ["sip:bob@pbx.example.org;maddr=10.0.0.5;user=phone", "sip:bob@pbx.example.org;user=phone"],
      ["sip:bob@pbx.example.org:5060;maddr=10.0.0.5;transport=udp", "sip:bob@pbx.example.org"],
      ["sip:bob@pbx.example.org;maddr=10.0.0.5;transport=tcp", "sip:bob@pbx.example.org;maddr=10.0.0.5;transport=tcp"],
      ["sip:bob@pbx.example.org:5070;maddr=10.0.0.5", "sip:bob@pbx.example.org:5070;maddr=10.0.0.5"],
      ["sip:bob@pbx.example.org;maddr=10.0.0.10", "sip:bob@pbx.example.org;maddr=10.0.0.10"],
    ] as const;
    for (const [given, expected] of cases) {
      rig.receive(alice, request("INVITE", given, { from: ALICE }));
      expect(requestUri(rig.pbx.one())).toBe(expected);
    }
  });

  test("F-06 no way to the PBX: 503", () => {
    const { rig, alice } = rigWithAlice();
    rig.core.setPbxAddresses([{ transport: "udp", address: "10.0.0.99", port: 5060, uri: "sip:10.0.0.99" }]);
    rig.unreachable.add("10.0.0.99:5060");
    rig.receive(alice, request("INVITE", "sip:bob@pbx.example.org", { from: ALICE }));
    expect(alice.kinds()).toEqual([503]);
  });

  test("F-06 a connection to the PBX that fails under the INVITE: 503 at once", () => {
    const { rig, alice } = rigWithAlice({ pbx: { address: "10.0.0.10", port: 5060, transport: "tcp" } });
    rig.receive(alice, request("INVITE", "sip:bob@pbx.example.org", { from: ALICE }));
    const { pbx } = rig;
    expect(methodOf(pbx.one())).toBe("INVITE");
    rig.close(pbx);
    expect(alice.kinds()).toEqual([100, 503]);
    rig.receive(alice, request("INVITE", "sip:bob@pbx.example.org", { from: ALICE }));
    expect(rig.pbx).not.toBe(pbx);
    expect(methodOf(rig.pbx.one())).toBe("INVITE");
  });

  test("F-01 every branch of ours is new, begins with the cookie and is not repeated for a retransmission", () => {
    const { rig, alice } = rigWithAlice();
    const seen = new Set<string>();
    for (let i = 0; i < 50; i++) {
      const invite = request("INVITE", "sip:bob@pbx.example.org", { from: ALICE, callId: "same", cseq: 1 });
      rig.receive(alice, invite);
      rig.receive(alice, invite);
      seen.add(branchOf(rig.pbx.one()));
    }
    expect(seen.size).toBe(50);
    for (const branch of seen) expect(branch).toStartWith("z9hG4bK");
  });

  test("F-01 who has seen one of our branches cannot make up the next: each has a token of its own", () => {
    const { rig, alice } = rigWithAlice();
    for (let i = 0; i < 3; i++) {
      const drawn = rig.tokens.length;
      rig.receive(alice, request("MESSAGE", "sip:bob@pbx.example.org", { from: ALICE }));
      const branch = branchOf(rig.pbx.one());
      expect(rig.tokens.slice(drawn).some((token) => token.length >= 8 && branch.includes(token))).toBe(true);
    }
  });
});

describe("F-06 from the PBX to phones", () => {
  const uris: [string, (rig: Rig) => string][] = [
    ["our Contact", (rig) => rig.upstreamUri("alice")],
    [
      "our Contact with its parameter in capitals",
      (rig) => rig.upstreamUri("alice").replace(/lf=.*/, (id) => id.toUpperCase()),
    ],
    ["our Contact without its parameter", () => "sip:alice@10.0.0.5:5060"],
    ["the AoR", () => "sip:alice@pbx.example.org"],
    ["the AoR with escapes, capitals and parameters", () => "sip:%61lic%65@PBX.example.ORG;user=phone"],
    ["our IPv6 address in another spelling", () => "sip:alice@[2001:0db8:0000::0005]:5060"],
  ];
  for (const [what, uri] of uris) {
    for (const method of ["INVITE", "MESSAGE", "SUBSCRIBE", "NOTIFY", "REFER", "PUBLISH", "INFO", "FOO"]) {
      test(`F-04 ${method} to ${what} reaches the phone at its Contact`, () => {
        const { rig, alice } = rigWithAlice();
        rig.receive(
          rig.pbx,
          request(method, uri(rig), { from: "<sip:bob@pbx.example.org>;tag=1", sentBy: "10.0.0.10" }),
        );
        const atPhone = alice.one();
        expect(startLine(atPhone)).toBe(`${method} ${CONTACT} SIP/2.0`);
        const isRecordRouted = method !== "MESSAGE" && method !== "PUBLISH";
        expect(values(atPhone, "Record-Route")).toHaveLength(isRecordRouted ? 1 : 0);
        rig.receive(alice, answer(atPhone, 202));
        expect(rig.pbx.kinds().at(-1)).toBe(202);
      });
    }
  }

  test("F-06 of two users of one name the one of To's domain is meant, where the Request-URI does not say", () => {
    const rig = new Rig({ config: (config) => config.pbx!.contact_id = "aor" });
    const [one, two] = [rig.flow("192.0.2.1", 5060), rig.flow("192.0.2.2", 5060)];
    for (const [domain, flow] of [["one.example", one], ["two.example", two]] as const) {
      rig.receive(
        flow,
        request("REGISTER", `sip:${domain}`, {
          to: `<sip:alice@${domain}>`,
          contact: `<sip:alice@${flow.remoteAddress}>`,
        }),
      );
      const forwarded = rig.pbx.one();
      rig.receive(rig.pbx, answer(forwarded, 200, { contact: value(forwarded, "Contact") }));
      flow.all();
    }
    rig.receive(rig.pbx, request("INVITE", "sip:alice@10.0.0.5:5060", { to: "<sip:alice@two.example>" }));
    expect(requestUri(two.one())).toBe("sip:alice@192.0.2.2");
    expect(one.sent).toEqual([]);
  });

  const unknown: [string, string, number][] = [
    ["a user nobody knows", "sip:nobody@10.0.0.5", 480],
    ["a user nobody knows in a domain of ours", "sip:nobody@pbx.example.org", 480],
    ["another host", "sip:alice@203.0.113.5", 403],
    ["a telephone number", "tel:+49301234", 404],
  ];
  for (const [what, uri, status] of unknown) {
    test(`F-06 W-08 the PBX calls ${what}: ${status}`, () => {
      const { rig } = rigWithAlice();
      rig.receive(rig.pbx, request("INVITE", uri));
      expect(rig.pbx.kinds()).toEqual([status]);
      expect(rig.untaken).toEqual([]);
    });
  }

  test("R-19 OPTIONS of the PBX to an AoR is answered here, to nobody 480", () => {
    const { rig, alice } = rigWithAlice();
    rig.receive(rig.pbx, request("OPTIONS", rig.upstreamUri("alice")));
    rig.receive(rig.pbx, request("OPTIONS", "sip:nobody@10.0.0.5"));
    expect(rig.pbx.kinds()).toEqual([200, 480]);
    expect(alice.sent).toEqual([]);
  });

  test("F-02 the Contact's headers part and its pn- parameters do not become part of the Request-URI", () => {
    const rig = new Rig();
    const alice = rig.flow("192.0.2.9", 40000);
    rig.register("alice", alice, "sip:alice@192.168.9.9;pn-provider=fcm;pn-param=p;pn-prid=t0k3n;ob?Route=%3Csip:x%3E");
    rig.receive(rig.pbx, request("INVITE", "sip:alice@10.0.0.5"));
    expect(requestUri(alice.one())).toBe("sip:alice@192.168.9.9;ob");
  });

  test("F-06 a Path stands as Route above the request", () => {
    const rig = new Rig();
    const edge = rig.flow("203.0.113.1", 5060, TCP);
    rig.receive(
      edge,
      request("REGISTER", "sip:pbx.example.org", {
        transport: "TCP",
        to: "<sip:alice@pbx.example.org>",
        contact: `<${CONTACT}>`,
        headers: [["Path", "<sip:tok@edge.example;lr>, <sip:second.example;lr>"], ["Supported", "path"]],
      }),
    );
    const forwarded = rig.pbx.one();
    rig.receive(rig.pbx, answer(forwarded, 200, { contact: value(forwarded, "Contact") }));
    edge.all();
    rig.receive(rig.pbx, request("INVITE", rig.upstreamUri("alice"), { route: ["<sip:10.0.0.5;lr>"] }));
    const invite = edge.one();
    expect(values(invite, "Route")).toEqual(["<sip:tok@edge.example;lr>", "<sip:second.example;lr>"]);
    expect(requestUri(invite)).toBe(CONTACT);
  });

  test("F-04 CANCEL for nothing gets 481; for a call 200, and the call 487, both with one To tag", () => {
    const { rig, alice } = rigWithAlice();
    const options = {
      from: "<sip:bob@pbx.example.org>;tag=1",
      callId: "gone",
      sentBy: "10.0.0.10",
      branch: "z9hG4bKc",
    };
    rig.receive(rig.pbx, request("CANCEL", rig.upstreamUri("alice"), options));
    expect(rig.pbx.kinds()).toEqual([481]);
    rig.receive(rig.pbx, request("INVITE", rig.upstreamUri("alice"), options));
    const atPhone = alice.one();
    rig.receive(alice, answer(atPhone, 180));
    rig.pbx.all();
    const cancel = request("CANCEL", rig.upstreamUri("alice"), options);
    rig.receive(rig.pbx, cancel);
    const ok = rig.pbx.one();
    expect(statusOf(ok)).toBe(200);
    const cancelAtPhone = alice.one();
    expect(startLine(cancelAtPhone)).toBe(`CANCEL ${CONTACT} SIP/2.0`);
    expect(values(cancelAtPhone, "Via")).toEqual([values(atPhone, "Via")[0]!]);
    rig.receive(rig.pbx, cancel);
    expect(rig.pbx.one()).toBe(ok);
    rig.receive(alice, answer(cancelAtPhone, 200));
    rig.receive(alice, answer(atPhone, 487));
    const final = rig.pbx.one();
    expect([statusOf(final), value(final, "To")]).toEqual([487, value(ok, "To")]);
    expect(methodOf(alice.one())).toBe("ACK");
    rig.receive(rig.pbx, request("ACK", rig.upstreamUri("alice"), { ...options, to: value(final, "To") }));
    rig.pass(60_000);
    expect(rig.untaken).toEqual([]);
  });

  test("F-04 CANCEL of a call between dialogs and of a re-INVITE is answered and passed on alike", () => {
    const { rig, alice } = rigWithAlice();
    const options = { from: ALICE, callId: "c2", branch: "z9hG4bKc2" };
    rig.receive(alice, request("INVITE", "sip:bob@pbx.example.org", options));
    const atPbx = rig.pbx.one();
    rig.receive(rig.pbx, answer(atPbx, 183));
    rig.receive(
      alice,
      request("CANCEL", "sip:bob@pbx.example.org", { ...options, headers: [["Reason", "SIP;cause=600"]] }),
    );
    const cancel = rig.pbx.one();
    expect([methodOf(cancel), value(cancel, "Reason")]).toEqual(["CANCEL", "SIP;cause=600"]);
    rig.receive(rig.pbx, answer(cancel, 200));
    rig.receive(rig.pbx, answer(atPbx, 487));
    expect(alice.kinds()).toEqual([100, 183, 200, 487]);
    expect(rig.pbx.kinds()).toEqual(["ACK"]);
  });

  test("F-04 CANCEL of a MESSAGE gets 481 and the MESSAGE goes on", () => {
    const { rig, alice } = rigWithAlice();
    const options = { from: ALICE, callId: "m1", branch: "z9hG4bKm1" };
    rig.receive(alice, request("MESSAGE", "sip:bob@pbx.example.org", options));
    rig.receive(alice, request("CANCEL", "sip:bob@pbx.example.org", options));
    expect(alice.kinds()).toEqual([481]);
    rig.receive(rig.pbx, answer(rig.pbx.one(), 202));
    expect(alice.kinds()).toEqual([202]);
  });

  test("F-04 the ACK for a non-2xx is absorbed, and the phone's own gets one from us", () => {
    const { rig, alice } = rigWithAlice();
    const options = {
      from: "<sip:bob@pbx.example.org>;tag=1",
      callId: "busy",
      sentBy: "10.0.0.10",
      branch: "z9hG4bKb",
    };
    rig.receive(rig.pbx, request("INVITE", rig.upstreamUri("alice"), options));
    rig.receive(alice, answer(alice.one(), 486));
    expect(alice.kinds()).toEqual(["ACK"]);
    const final = rig.pbx.all().at(-1)!;
    expect(statusOf(final)).toBe(486);
    rig.receive(rig.pbx, request("ACK", rig.upstreamUri("alice"), { ...options, to: value(final, "To") }));
    rig.pass(60_000);
    expect(rig.untaken).toEqual([]);
  });
});
