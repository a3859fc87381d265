import { describe, expect, test } from "bun:test";
import { Rig, TCP, type TestFlow } from "./rig.ts";
import { answer, methodOf, request, statusOf, value, values } from "./sip_text.ts";

const ALICE = "<sip:alice@pbx.example.org>;tag=a";

function rigWithAlice(listener = undefined as ConstructorParameters<typeof Rig>[0]): { rig: Rig; alice: TestFlow } {
  const rig = new Rig(listener);
  const alice = rig.flow("192.0.2.9", 40000);
  rig.register("alice", alice, "sip:alice@192.168.9.9:5060");
  return { rig, alice };
}

/** The PBX calls alice; what she got. */
function ringing(rig: Rig, alice: TestFlow): string {
  rig.receive(rig.pbx, request("INVITE", rig.upstreamUri("alice"), { sentBy: "10.0.0.10" }));
  rig.pbx.all();
  return alice.one();
}

describe("F-05 responses on their way back", () => {
  test("F-05 100 is swallowed, every other 1xx passes with its own To tag and the Vias below ours to the byte", () => {
    const { rig, alice } = rigWithAlice();
    const invite = ringing(rig, alice);
    rig.receive(alice, answer(invite, 100));
    expect(rig.pbx.sent).toEqual([]);
    for (const [status, tag] of [[180, "one"], [183, "two"], [199, "three"]] as const) {
      rig.receive(alice, answer(invite, status, { tag }));
      const passed = rig.pbx.one();
      expect(statusOf(passed)).toBe(status);
      expect(value(passed, "To")).toEndWith(";tag=" + tag);
      expect(values(passed, "Via")).toEqual(values(invite, "Via").slice(1));
    }
  });

  test("F-05 our Via is taken off, in a line of its own or in one with others", () => {
    const { rig, alice } = rigWithAlice();
    const invite = ringing(rig, alice);
    const vias = values(invite, "Via");
    rig.receive(alice, answer(invite, 180, { via: [vias.join(", ")] }));
    expect(values(rig.pbx.one(), "Via")).toEqual(vias.slice(1));
  });

  const damaged: [string, (vias: string[]) => string[]][] = [
    ["another's Via on top", (vias) => ["SIP/2.0/UDP 203.0.113.5;branch=z9hG4bKother", ...vias]],
    ["our Via taken off", (vias) => vias.slice(1)],
    ["our branch changed", (vias) => vias.map((via) => via.replace(/branch=(\S{12})./, "branch=$1!"))],
    ["our branch cut", (vias) => vias.map((via) => via.replace(/branch=(\S{12})[^;]*/, "branch=$1"))],
  ];
  for (const [what, change] of damaged) {
    test(`F-05 a response with ${what} is dropped and counted`, () => {
      const { rig, alice } = rigWithAlice();
      const invite = ringing(rig, alice);
      for (const status of [180, 200, 486]) {
        rig.receive(alice, answer(invite, status, { via: change(values(invite, "Via")) }));
      }
      expect(rig.untaken).toEqual([]);
      expect(rig.count("rejected_total", "stray_response")).toBe(3);
    });
  }

  for (const status of [180, 200, 486]) {
    test(`F-05 a ${status} that has no Via left but ours is not passed on, and the call does not hang on it`, () => {
      const { rig, alice } = rigWithAlice();
      const invite = ringing(rig, alice);
      rig.receive(alice, answer(invite, status, { via: [values(invite, "Via")[0]!] }));
      const passed = rig.pbx.all().map(statusOf);
      expect(passed).toEqual(status === 180 ? [] : [502]);
      if (status === 180) {
        rig.receive(alice, answer(invite, 486));
        expect(rig.pbx.kinds()).toEqual([486]);
      }
      alice.all();
      rig.receive(rig.pbx, request("ACK", "sip:x@10.0.0.5"));
      rig.pass(200_000);
      expect(rig.core.silo.openCalls).toBe(0);
      expect(rig.core.table.clientCount).toBe(0);
    });
  }

  test("F-05 a response whose CSeq names another method than the transaction is dropped", () => {
    const { rig, alice } = rigWithAlice();
    const invite = ringing(rig, alice);
    rig.receive(alice, answer(invite, 200).replace(/CSeq: .*/, "CSeq: 1 MESSAGE"));
    expect(rig.untaken).toEqual([]);
  });

  test("F-05 the first 2xx and its repetitions pass, and others until 32 s are over", () => {
    const { rig, alice } = rigWithAlice();
    const invite = ringing(rig, alice);
    const ok = answer(invite, 200, { contact: "<sip:alice@192.168.9.9>" });
    for (const ms of [0, 500, 1000, 29_000]) {
      rig.pass(ms);
      rig.receive(alice, ok);
      expect(rig.pbx.kinds()).toEqual([200]);
    }
    rig.pass(33_000);
    rig.receive(alice, ok);
    expect(rig.untaken).toEqual([]);
  });

  for (const isSingle of [false, true]) {
    test(`F-05 W-12 several answers behind one branch, single_answer ${isSingle}: told apart by their To tags`, () => {
      const { rig, alice } = rigWithAlice({ config: (config) => config.wake.single_answer = isSingle });
      const invite = ringing(rig, alice);
      for (const tag of ["one", "two", "three", "one"]) {
        const contact = `<sip:${tag}@192.168.9.9>`;
        rig.receive(alice, answer(invite, tag === "three" ? 180 : 200, { tag, contact }));
      }
      expect(rig.pbx.kinds()).toEqual(isSingle ? [200, 200] : [200, 200, 200]);
      expect(alice.all().map((text) => text.split(" ", 2))).toEqual(
        isSingle ? [["ACK", "sip:two@192.168.9.9"], ["BYE", "sip:two@192.168.9.9"]] : [],
      );
    });
  }
});

describe("F-05 where a response goes (RFC 3261 §18.2.2, RFC 3581)", () => {
  const ways: [string, { sentBy: string; viaParams: string }, [string, number], string][] = [
    ["rport: to where it came from", { sentBy: "192.168.9.9:5060", viaParams: ";rport" }, ["192.0.2.9", 40000], ""],
    ["no rport: to the port of sent-by", { sentBy: "192.168.9.9:5099", viaParams: "" }, ["192.0.2.9", 5099], ""],
    ["no rport, no port: to 5060", { sentBy: "phone.example", viaParams: "" }, ["192.0.2.9", 5060], ""],
    ["sent-by with another address never", { sentBy: "203.0.113.5:5060", viaParams: "" }, ["192.0.2.9", 5060], ""],
    [
      "nor received of the sender's own making",
      {
        sentBy: "192.168.9.9",
        viaParams: ";received=203.0.113.5;rport=99",
      },
      ["192.0.2.9", 40000],
      "",
    ],
    ["nor maddr", { sentBy: "192.168.9.9:5099", viaParams: ";maddr=203.0.113.5" }, ["192.0.2.9", 5099], ""],
  ];
  for (const [what, via, [address, port]] of ways) {
    test(`F-05 ${what}`, () => {
      const { rig, alice } = rigWithAlice();
      rig.receive(alice, request("INVITE", "sip:bob@pbx.example.org", { from: ALICE, ...via }));
      rig.receive(rig.pbx, answer(rig.pbx.one(), 486));
      rig.pbx.all();
      expect(rig.flow(address, port).kinds()).toEqual([100, 486]);
      expect(rig.untaken).toEqual([]);
    });
  }

  test("F-05 received and rport of what goes on are the true ones", () => {
    const { rig, alice } = rigWithAlice();
    rig.receive(
      alice,
      request("MESSAGE", "sip:bob@pbx.example.org", {
        from: ALICE,
        sentBy: "192.168.9.9",
        viaParams: ";received=1.2.3.4;rport=99",
      }),
    );
    const below = values(rig.pbx.one(), "Via")[1]!;
    expect(below).toContain(";received=192.0.2.9");
    expect(below).toContain(";rport=40000");
    expect(below).not.toContain("1.2.3.4");
  });

  test("F-05 T-03 over a connection, and if that is gone, over a new one to source address and sent-by port", () => {
    const { rig } = rigWithAlice();
    const stream = rig.flow("192.0.2.9", 33333, TCP);
    rig.receive(
      stream,
      request("INVITE", "sip:bob@pbx.example.org", { from: ALICE, transport: "TCP", sentBy: "192.168.9.9:5070" }),
    );
    const invite = rig.pbx.one();
    rig.receive(rig.pbx, answer(invite, 180));
    expect(stream.kinds()).toEqual([100, 180]);
    rig.close(stream);
    rig.receive(rig.pbx, answer(invite, 200, { contact: "<sip:bob@10.0.0.10>" }));
    expect(rig.flow("192.0.2.9", 5070, TCP).kinds()).toEqual([200]);
    expect(rig.untaken).toEqual([]);
  });

  test("F-05 T-03 ... and if that cannot be opened, the response is dropped and counted, and the call is not lost on it", () => {
    const { rig } = rigWithAlice();
    rig.unreachable.add("192.0.2.9:5070");
    const stream = rig.flow("192.0.2.9", 33333, TCP);
    rig.receive(
      stream,
      request("INVITE", "sip:bob@pbx.example.org", { from: ALICE, transport: "TCP", sentBy: "192.168.9.9:5070" }),
    );
    const invite = rig.pbx.one();
    stream.all();
    rig.close(stream);
    rig.receive(rig.pbx, answer(invite, 180));
    rig.receive(rig.pbx, answer(invite, 486));
    expect(rig.pbx.kinds()).toEqual(["ACK"]);
    expect(rig.count("rejected_total", "reply_without_flow")).toBeGreaterThanOrEqual(2);
    rig.pass(100_000);
    expect(rig.core.table.serverCount).toBe(0);
    expect(rig.core.table.clientCount).toBe(0);
  });

  test("F-05 a malformed request is answered by the same rules", () => {
    const { rig, alice } = rigWithAlice();
    rig.receive(
      alice,
      request("MESSAGE", "sip:bob@pbx.example.org", { sentBy: "192.168.9.9:5099", viaParams: "" })
        .replace(/Call-ID: .*\r\n/, ""),
    );
    expect(rig.flow("192.0.2.9", 5099).kinds()).toEqual([400]);
  });
});

describe("F-01 what leaves over a connection says how long it is (RFC 3261 §18.3)", () => {
  const withoutLength = (text: string) => text.replace(/Content-Length: .*\r\n/, "");

  test("F-01 requests and responses that came without Content-Length over UDP get it", () => {
    const { rig, alice } = rigWithAlice({ pbx: { address: "10.0.0.10", port: 5060, transport: "tcp" } });
    const message = withoutLength(request("MESSAGE", "sip:bob@pbx.example.org", { from: ALICE })) + "hällo";
    rig.receive(alice, message);
    const atPbx = rig.pbx.one();
    expect(values(atPbx, "Content-Length")).toEqual([String("hällo".length)]);
    expect(atPbx).toEndWith("\r\n\r\nhällo");
    const invite = ringing(rig, alice);
    rig.receive(alice, withoutLength(answer(invite, 180)));
    rig.receive(alice, withoutLength(answer(invite, 486)));
    const [ringingBack, busy] = rig.pbx.all();
    expect(values(ringingBack!, "Content-Length")).toEqual(["0"]);
    expect(values(busy!, "Content-Length")).toEqual(["0"]);
  });

  test("F-01 a REGISTER without Content-Length, as linphone sends it over UDP, reaches a PBX on TCP whole", () => {
    const rig = new Rig({ pbx: { address: "10.0.0.10", port: 5060, transport: "tcp" } });
    const phone = rig.flow("192.0.2.9", 40000);
    const stream = rig.flow("192.0.2.10", 40000, TCP);
    for (const flow of [phone, stream]) {
      const register = request("REGISTER", "sip:pbx.example.org", {
        to: "<sip:alice@pbx.example.org>",
        contact: "<sip:alice@192.168.9.9>;expires=600",
      });
      rig.receive(flow, withoutLength(register));
      const forwarded = rig.pbx.one();
      expect(values(forwarded, "Content-Length")).toEqual(["0"]);
      for (const status of [100, 401]) {
        rig.receive(rig.pbx, withoutLength(answer(forwarded, status)));
      }
      expect(values(flow.one(), "Content-Length")).toEqual(flow === stream ? ["0"] : []);
    }
  });

  test("F-02 over UDP they stay as they are", () => {
    const { rig, alice } = rigWithAlice();
    rig.receive(alice, withoutLength(request("MESSAGE", "sip:bob@pbx.example.org", { from: ALICE })) + "hällo");
    const atPbx = rig.pbx.one();
    expect(values(atPbx, "Content-Length")).toEqual([]);
    expect(methodOf(atPbx)).toBe("MESSAGE");
  });
});
