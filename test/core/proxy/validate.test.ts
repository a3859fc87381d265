import { describe, expect, test } from "bun:test";
import { Rig, type TestFlow } from "./rig.ts";
import { answer, branchOf, type Headers, request, requestUri, startLine, statusOf, value, values } from "./sip_text.ts";

const ALICE = "<sip:alice@pbx.example.org>;tag=a";

/** A phone that is registered: its requests go to the PBX. */
function phoneRig(): { rig: Rig; phone: TestFlow } {
  const rig = new Rig();
  const phone = rig.flow("192.0.2.9", 40000);
  rig.register("alice", phone, "sip:alice@192.168.9.9:5060");
  return { rig, phone };
}

describe("F-01 what is refused before it is routed (RFC 3261 §16.3)", () => {
  const cases: [string, string, Parameters<typeof request>[2], number][] = [
    ["an unknown scheme", "foo:bar@example.org", {}, 416],
    ["Max-Forwards 0", "sip:bob@pbx.example.org", { maxForwards: "0" }, 483],
    ["an unknown Proxy-Require", "sip:bob@pbx.example.org", { headers: [["Proxy-Require", "sec-agree"]] }, 420],
    ["a scheme before hops", "foo:bar", { maxForwards: "0" }, 416],
    ["hops before Proxy-Require", "sip:b@x.example", { maxForwards: "0", headers: [["Proxy-Require", "x"]] }, 483],
    ["a broken Proxy-Require", "sip:b@x.example", { headers: [["Proxy-Require", '"open']] }, 400],
    ["a broken Route", "sip:b@x.example", { route: ["<sip:10.0.0.5;lr"] }, 400],
    ["an empty Route element", "sip:b@x.example", { route: [", <sip:10.0.0.5;lr>"] }, 400],
  ];
  for (const method of ["INVITE", "MESSAGE"]) {
    for (const [what, uri, options, status] of cases) {
      test(`F-01 ${method} with ${what} gets ${status} and goes nowhere`, () => {
        const { rig, phone } = phoneRig();
        rig.receive(phone, request(method, uri, { from: ALICE, ...options }));
        expect(statusOf(phone.one())).toBe(status);
        expect(rig.untaken).toEqual([]);
        expect(rig.count("rejected_total", String(status))).toBe(1);
      });
    }
  }

  test("F-01 420 lists the tags of Proxy-Require, of all its lines, and those of Require not", () => {
    const { rig, phone } = phoneRig();
    rig.receive(
      phone,
      request("INVITE", "sip:bob@pbx.example.org", {
        from: ALICE,
        headers: [["Proxy-Require", "one, two"], ["Require", "100rel"], ["Proxy-Require", "three"]],
      }),
    );
    expect(value(phone.one(), "Unsupported")).toBe("one, two, three");
  });

  test("F-01 Require is not evaluated", () => {
    const { rig, phone } = phoneRig();
    rig.receive(
      phone,
      request("INVITE", "sip:bob@pbx.example.org", { from: ALICE, headers: [["Require", "no-such-thing"]] }),
    );
    expect(startLine(rig.pbx.one())).toBe("INVITE sip:bob@pbx.example.org SIP/2.0");
  });

  test("F-01 merged requests, the same but for the branch, are both forwarded", () => {
    const { rig, phone } = phoneRig();
    const same = { from: ALICE, callId: "merged", cseq: 7 };
    rig.receive(phone, request("INVITE", "sip:bob@pbx.example.org", { ...same, branch: "z9hG4bK1" }));
    rig.receive(phone, request("INVITE", "sip:bob@pbx.example.org", { ...same, branch: "z9hG4bK2" }));
    const [first, second] = rig.pbx.all();
    expect(branchOf(first!)).not.toBe(branchOf(second!));
    expect(phone.kinds()).toEqual([100, 100]);
  });

  test("F-01 a refused INVITE has a transaction: repeated, it gets the same final; its ACK is absorbed", () => {
    const { rig, phone } = phoneRig();
    const invite = request("INVITE", "sip:bob@pbx.example.org", { from: ALICE, maxForwards: "0", callId: "again" });
    rig.receive(phone, invite);
    const first = phone.one();
    rig.receive(phone, invite);
    expect(phone.one()).toBe(first);
    const ack = request("ACK", "sip:bob@pbx.example.org", {
      from: ALICE,
      to: value(first, "To"),
      callId: "again",
      branch: branchOf(invite),
    });
    rig.receive(phone, ack);
    rig.pass(40_000);
    expect(rig.untaken).toEqual([]);
    expect(rig.core.table.serverCount).toBe(0);
  });

  test("F-01 unknown methods and broken headers that no proxy needs pass", () => {
    const { rig, phone } = phoneRig();
    rig.receive(
      phone,
      request("FOO", "sip:bob@pbx.example.org", { from: ALICE, headers: [["Date", "EST"], ["Accept", "<>;;"]] }),
    );
    const forwarded = rig.pbx.one();
    expect(startLine(forwarded)).toBe("FOO sip:bob@pbx.example.org SIP/2.0");
    expect(values(forwarded, "Date")).toEqual(["EST"]);
    expect(values(forwarded, "Accept")).toEqual(["<>;;"]);
  });
});

describe("F-01 Max-Forwards", () => {
  const cases: [string | null, string][] = [[null, "70"], ["70", "69"], ["1", "0"], ["255", "254"], ["68", "67"]];
  for (const [given, expected] of cases) {
    test(`F-01 Max-Forwards ${given ?? "absent"} goes on as ${expected}`, () => {
      const { rig, phone } = phoneRig();
      rig.receive(phone, request("INVITE", "sip:bob@pbx.example.org", { from: ALICE, maxForwards: given }));
      expect(values(rig.pbx.one(), "Max-Forwards")).toEqual([expected]);
    });
  }

  test("F-01 OPTIONS to us is answered with 200, whatever Max-Forwards says, and tells what we allow", () => {
    const { rig } = phoneRig();
    for (const [flow, maxForwards] of [[rig.flow("198.51.100.1", 9), "0"], [rig.pbx, "70"]] as const) {
      rig.receive(flow, request("OPTIONS", "sip:10.0.0.5:5060", { maxForwards }));
      const reply = flow.one();
      expect(statusOf(reply)).toBe(200);
      expect(value(reply, "Allow")).toContain("INVITE");
      expect(values(reply, "Supported")).toHaveLength(1);
    }
  });

  test("F-01 OPTIONS to somebody else with Max-Forwards 0 gets 483", () => {
    const { rig, phone } = phoneRig();
    rig.receive(phone, request("OPTIONS", "sip:bob@pbx.example.org", { from: ALICE, maxForwards: "0" }));
    expect(statusOf(phone.one())).toBe(483);
  });

  test("F-01 OPTIONS of a phone to a port of our host that is not ours goes to the PBX", () => {
    const { rig, phone } = phoneRig();
    rig.receive(phone, request("OPTIONS", "sip:10.0.0.5:5999", { from: ALICE }));
    expect(startLine(rig.pbx.one())).toBe("OPTIONS sip:10.0.0.5:5999 SIP/2.0");
  });
});

describe("F-01 loops and spirals (RFC 5393)", () => {
  /** The request as we sent it, come back with another Via on top. */
  function comesBack(text: string, uri = requestUri(text), sentBy = "10.0.0.10"): string {
    const [, ...lines] = text.split("\r\n");
    return [
      `${text.slice(0, text.indexOf(" "))} ${uri} SIP/2.0`,
      `Via: SIP/2.0/UDP ${sentBy};branch=z9hG4bKback${Math.random()};rport`,
      ...lines,
    ].join("\r\n");
  }

  test("F-01 a request that comes back unchanged from where it came gets 482", () => {
    const { rig, phone } = phoneRig();
    const uri = rig.upstreamUri("alice");
    rig.receive(rig.pbx, request("INVITE", uri, { from: "<sip:bob@pbx.example.org>;tag=b", sentBy: "10.0.0.10" }));
    const forwarded = phone.one();
    rig.pbx.all();
    // What came to the AoR comes to the AoR again.
    rig.receive(rig.pbx, comesBack(forwarded, uri));
    expect(rig.pbx.kinds()).toEqual([482]);
    expect(phone.sent).toEqual([]);
  });

  test("F-01 a loop is found behind several of our own Vias", () => {
    const { rig, phone } = phoneRig();
    const uri = rig.upstreamUri("alice");
    rig.receive(rig.pbx, request("INVITE", uri, { from: "<sip:bob@pbx.example.org>;tag=b", sentBy: "10.0.0.10" }));
    const first = phone.one();
    // Another request of ours stands above the one that loops.
    const other = `z9hG4bK${branchOf(first).slice(7).replace(/\..*$/, "")}zz.zzzzzz`;
    const between = first.replace("\r\nVia:", `\r\nVia: SIP/2.0/UDP 10.0.0.5:5060;branch=${other}\r\nVia:`);
    rig.pbx.all();
    rig.receive(rig.pbx, comesBack(between, uri));
    expect(rig.pbx.kinds()).toEqual([482]);
  });

  // Whoever we called knows how our branches begin. A search to the end of the text from each of them would take minutes.
  test("X-01 what begins like a branch of ours again and again is looked at once", () => {
    const { rig } = phoneRig();
    const uri = rig.upstreamUri("alice");
    const headers: Headers = [["Subject", rig.core.table.branchStart.repeat(100_000)]];
    rig.receive(rig.pbx, request("INVITE", uri, { from: "<sip:bob@pbx.example.org>;tag=b", headers }));
    expect(rig.pbx.kinds()).toEqual([100]);
  });

  test("F-01 nine spirals with other targets are no loop", () => {
    const { rig, phone } = phoneRig();
    for (let i = 1; i < 9; i++) rig.register("user" + i, phone, `sip:user${i}@192.168.9.9:5060`);
    let text = request("INVITE", rig.upstreamUri("alice"), {
      from: "<sip:bob@pbx.example.org>;tag=b",
      sentBy: "10.0.0.10",
    });
    rig.receive(rig.pbx, text);
    for (let i = 1; i < 9; i++) {
      text = comesBack(phone.one(), rig.upstreamUri("user" + i));
      rig.receive(rig.pbx, text);
    }
    expect(values(phone.one(), "Via")).toHaveLength(18);
    expect(rig.pbx.kinds()).toEqual(Array(9).fill(100));
  });

  test("F-01 the same Request-URI from the phone and then from the PBX is a spiral", () => {
    const rig = new Rig({ config: (config) => config.pbx!.contact_id = "aor" });
    const alice = rig.flow("192.0.2.9", 40000);
    const bob = rig.flow("192.0.2.8", 40000);
    rig.register("alice", alice, "sip:alice@192.168.9.9:5060");
    rig.register("bob", bob, "sip:bob@192.168.9.8:5060");
    rig.receive(alice, request("INVITE", "sip:bob@10.0.0.5:5060", { from: ALICE }));
    rig.receive(rig.pbx, comesBack(rig.pbx.one()));
    expect(requestUri(bob.one())).toBe("sip:bob@192.168.9.8:5060");
  });

  test("F-01 a request inside a dialog may pass us twice", () => {
    const rig = new Rig();
    const alice = rig.flow("192.0.2.9", 40000);
    const bob = rig.flow("192.0.2.8", 40000);
    rig.register("alice", alice, "sip:alice@192.168.9.9:5060");
    rig.register("bob", bob, "sip:bob@192.168.9.8:5060");
    rig.receive(
      alice,
      request("INVITE", "sip:bob@pbx.example.org", { from: ALICE, contact: "<sip:alice@192.168.9.9>" }),
    );
    // The PBX is a proxy that records its route.
    const atPbx = rig.pbx.one();
    rig.receive(
      rig.pbx,
      comesBack(atPbx, rig.upstreamUri("bob")).replace(
        "\r\nRecord-Route:",
        "\r\nRecord-Route: <sip:10.0.0.10;lr>\r\nRecord-Route:",
      ),
    );
    const atBob = bob.one();
    const ok = answer(atBob, 200, { contact: "<sip:bob@192.168.9.8:5060>" });
    const routes = values(ok, "Record-Route");
    expect(routes).toHaveLength(3);
    alice.all();
    rig.receive(
      alice,
      request("BYE", "sip:bob@192.168.9.8:5060", {
        from: ALICE,
        to: value(ok, "To"),
        callId: value(atBob, "Call-ID"),
        route: [...routes].reverse(),
      }),
    );
    const bye = rig.pbx.all().find((text) => text.startsWith("BYE"))!;
    expect(values(bye, "Route")).toEqual([routes[1]!, routes[0]!]);
    rig.receive(
      rig.pbx,
      comesBack(bye).replace(`Route: ${routes[1]}, `, "Route: ").replace(`Route: ${routes[1]}\r\n`, ""),
    );
    expect(startLine(bob.one())).toBe("BYE sip:bob@192.168.9.8:5060 SIP/2.0");
  });
});

describe("F-08 malformed requests", () => {
  const broken: [string, (text: string) => string, number][] = [
    ["no Call-ID", (text) => text.replace(/Call-ID: .*\r\n/, ""), 400],
    ["two From", (text) => text.replace("To:", "From: <sip:x@y>;tag=1\r\nTo:"), 400],
    ["a CSeq of another method", (text) => text.replace(/(CSeq: \d+) \w+/, "$1 BYE"), 400],
    ["a version we do not speak", (text) => text.replace("SIP/2.0\r\n", "SIP/7.0\r\n"), 505],
    ["a Content-Length beyond the datagram", (text) => text.replace("Content-Length: 0", "Content-Length: 9"), 400],
    ["Max-Forwards that is no number", (text) => text.replace("Max-Forwards: 70", "Max-Forwards: lots"), 400],
    ["a Request-URI that is none", (text) => text.replace(/ sip:\S+ /, " sip: "), 400],
  ];
  for (const [what, breakIt, status] of broken) {
    test(`F-08 an INVITE with ${what} is answered ${status}, counted and logged`, () => {
      const { rig, phone } = phoneRig();
      rig.receive(phone, breakIt(request("INVITE", "sip:bob@pbx.example.org", { from: ALICE })));
      const reply = phone.one();
      expect(statusOf(reply)).toBe(status);
      expect(value(reply, "Via")).toContain("branch=z9hG4bKtest");
      expect(rig.untaken).toEqual([]);
      expect(rig.count("rejected_total", "malformed_request")).toBe(1);
      expect(rig.logs.some((line) => line.includes("Malformed message"))).toBe(true);
    });
  }

  test("F-08 what cannot be answered is dropped and counted", () => {
    const { rig, phone } = phoneRig();
    rig.receive(phone, request("INVITE", "sip:bob@pbx.example.org").replace(/Via: .*\r\n/, ""));
    rig.receive(phone, request("ACK", "sip:bob@pbx.example.org").replace(/Call-ID: .*\r\n/, ""));
    rig.receive(phone, "SIP/2.0 999 what\r\n\r\n");
    rig.receive(phone, "\0\x01\x02");
    expect(rig.untaken).toEqual([]);
    expect(rig.count("rejected_total", "malformed_request")).toBe(3);
    expect(rig.count("rejected_total", "malformed_response")).toBe(1);
  });
});
