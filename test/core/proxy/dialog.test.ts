import { describe, expect, test } from "bun:test";
import { FlowTokens, recordRouteValue } from "../../../src/core/proxy/record_route.ts";
import { stableId } from "../../../src/core/registrar/ids.ts";
import type { Listener, Transport } from "../../../src/core/sip/flow.ts";
import { cidr as cidrOf, Rig, type RigOptions, TCP, type TestFlow, UDP, UDP6 } from "./rig.ts";
import {
  answer,
  branchOf,
  calleeSide,
  callerSide,
  type DialogSide,
  inDialog,
  methodOf,
  request,
  requestUri,
  startLine,
  statusOf,
  value,
  values,
} from "./sip_text.ts";

const CONTACT = "sip:alice@192.168.9.9:5060";

/** The PBX's own Contact. */
function pbxContact({ pbx }: Rig): string {
  const host = pbx.remoteAddress.includes(":") ? `[${pbx.remoteAddress}]` : pbx.remoteAddress;
  return `<sip:bob@${host}${pbx.transport === "udp" ? "" : ";transport=tcp"}>`;
}
const LAN: Listener = { transport: "udp", address: "192.168.1.1", port: 5062, advertised: "192.168.1.1:5062" };

/** A call that was answered: both ends, as they know the dialog. */
interface Answered {
  rig: Rig;
  phone: TestFlow;
  phoneSide: DialogSide;
  pbxSide: DialogSide;
  /** The INVITE as the callee got it. */
  invite: string;
}

function pbxCalls(rig: Rig, phone: TestFlow): Answered {
  const { pbx } = rig;
  const invite = request("INVITE", rig.upstreamUri("alice", pbx.listener.advertised), {
    from: "<sip:bob@pbx.example.org>;tag=b",
    sentBy: "10.0.0.10",
    transport: pbx.transport.toUpperCase(),
    contact: pbxContact(rig),
  });
  rig.receive(pbx, invite);
  const atPhone = phone.one();
  const ok = answer(atPhone, 200, { contact: `<${CONTACT}>` });
  rig.receive(phone, ok);
  const [, atPbx] = pbx.all();
  expect(statusOf(atPbx!)).toBe(200);
  return { rig, phone, invite: atPhone, phoneSide: calleeSide(atPhone, ok), pbxSide: callerSide(invite, atPbx!) };
}

function phoneCalls(rig: Rig, phone: TestFlow): Answered {
  const { pbx } = rig;
  const invite = request("INVITE", "sip:bob@pbx.example.org", {
    from: "<sip:alice@pbx.example.org>;tag=a",
    sentBy: "192.168.9.9",
    transport: phone.transport.toUpperCase(),
    contact: `<${CONTACT}>`,
    route: ["<sip:10.0.0.5;lr>"],
  });
  rig.receive(phone, invite);
  const atPbx = pbx.one();
  const ok = answer(atPbx, 200, {
    contact: pbxContact(rig),
  });
  rig.receive(pbx, ok);
  const [, atPhone] = phone.all();
  return { rig, phone, invite: atPbx, phoneSide: callerSide(invite, atPhone!), pbxSide: calleeSide(atPbx, ok) };
}

interface Layout {
  name: string;
  phone: Transport;
  pbx: Transport;
  listeners?: Listener[];
  phoneListener: Listener;
  /** Record-Route URIs we add, from the top, on the way to the phone; T stands for a token. */
  expected: string[];
  pbxAddress?: string;
}

const LAYOUTS: Layout[] = [
  { name: "UDP phone, UDP PBX", phone: "udp", pbx: "udp", phoneListener: UDP, expected: ["sip:T@10.0.0.5:5060;lr"] },
  {
    name: "TCP phone, UDP PBX",
    phone: "tcp",
    pbx: "udp",
    phoneListener: TCP,
    expected: ["sip:T@10.0.0.5:5060;transport=tcp;lr", "sip:10.0.0.5:5060;lr"],
  },
  {
    name: "UDP phone, TCP PBX",
    phone: "udp",
    pbx: "tcp",
    phoneListener: UDP,
    expected: ["sip:T@10.0.0.5:5060;lr", "sip:10.0.0.5:5060;transport=tcp;lr"],
  },
  {
    name: "TCP phone, TCP PBX",
    phone: "tcp",
    pbx: "tcp",
    phoneListener: TCP,
    expected: ["sip:T@10.0.0.5:5060;transport=tcp;lr"],
  },
  {
    name: "phone and PBX on two UDP listeners",
    phone: "udp",
    pbx: "udp",
    listeners: [UDP, LAN],
    phoneListener: LAN,
    expected: ["sip:T@192.168.1.1:5062;lr", "sip:10.0.0.5:5060;lr"],
  },
  {
    name: "IPv6 phone, IPv4 PBX",
    phone: "udp",
    pbx: "udp",
    listeners: [UDP, UDP6],
    phoneListener: UDP6,
    expected: ["sip:T@[2001:db8::5]:5060;lr", "sip:10.0.0.5:5060;lr"],
  },
  {
    name: "IPv4 TCP phone, IPv6 PBX",
    phone: "tcp",
    pbx: "udp",
    pbxAddress: "2001:db8::10",
    phoneListener: TCP,
    expected: ["sip:T@10.0.0.5:5060;transport=tcp;lr", "sip:[2001:db8::5]:5060;lr"],
  },
  {
    name: "IPv6 phone, IPv6 PBX",
    phone: "udp",
    pbx: "udp",
    pbxAddress: "2001:db8::10",
    phoneListener: UDP6,
    expected: ["sip:T@[2001:db8::5]:5060;lr"],
  },
];

function start(layout: Layout, options: RigOptions = {}): { rig: Rig; phone: TestFlow } {
  const rig = new Rig({
    listeners: layout.listeners,
    pbx: { address: layout.pbxAddress ?? "10.0.0.10", port: 5060, transport: layout.pbx },
    ...options,
  });
  const address = layout.phoneListener === UDP6 ? "2001:db8::99" : "192.0.2.9";
  const phone = rig.flow(address, 40000, layout.phoneListener);
  rig.register("alice", phone, CONTACT);
  return { rig, phone };
}

function withoutToken(route: string): string {
  return route.slice(1, -1).replace(/^sip:[^@]+@/, "sip:T@");
}

const IN_DIALOG = ["BYE", "INVITE", "UPDATE", "INFO", "PRACK", "REFER", "NOTIFY", "SUBSCRIBE", "MESSAGE", "WHATEVER"];

for (const layout of LAYOUTS) {
  describe(`F-03 ${layout.name}`, () => {
    for (const [who, call] of [["the PBX", pbxCalls], ["the phone", phoneCalls]] as const) {
      test(`F-03 Record-Route of a call of ${who} leads each side back to us over its own transport`, () => {
        const { rig, phone } = start(layout);
        const { invite } = call(rig, phone);
        const routes = values(invite, "Record-Route").map(withoutToken);
        expect(routes).toEqual(call === pbxCalls ? layout.expected : [...layout.expected].reverse());
      });

      test(`F-03 F-04 in a call of ${who} every method reaches the other side from both sides`, () => {
        const { rig, phone } = start(layout);
        const { phoneSide, pbxSide } = call(rig, phone);
        for (const method of IN_DIALOG) {
          rig.receive(rig.pbx, inDialog(method, pbxSide, { sentBy: "10.0.0.10" }));
          const atPhone = phone.one();
          expect(startLine(atPhone)).toBe(`${method} ${CONTACT} SIP/2.0`);
          expect(values(atPhone, "Route")).toEqual([]);
          rig.receive(phone, answer(atPhone, 200));
          expect(rig.pbx.kinds()).toEqual(method === "INVITE" ? [100, 200] : [200]);
          rig.receive(phone, inDialog(method, phoneSide, { sentBy: "192.168.9.9" }));
          const atPbx = rig.pbx.one();
          expect(startLine(atPbx)).toBe(`${method} ${phoneSide.target} SIP/2.0`);
          expect(values(atPbx, "Route")).toEqual([]);
          rig.receive(rig.pbx, answer(atPbx, 200));
          expect(phone.kinds()).toEqual(method === "INVITE" ? [100, 200] : [200]);
        }
        expect(rig.untaken).toEqual([]);
      });

      test(`F-04 the ACK for the 2xx of a call of ${who} goes end to end and leaves no state`, () => {
        const { rig, phone } = start(layout);
        const { phoneSide, pbxSide } = call(rig, phone);
        const isFromPbx = call === pbxCalls;
        const [from, to] = isFromPbx ? [rig.pbx, phone] : [phone, rig.pbx];
        const ack = inDialog("ACK", isFromPbx ? pbxSide : phoneSide, { maxForwards: "70" });
        const { serverCount, clientCount } = rig.core.table;
        rig.receive(from, ack);
        rig.receive(from, ack);
        const [first, second] = to.all();
        expect(startLine(first!)).toBe(startLine(ack));
        expect(value(first!, "Max-Forwards")).toBe("69");
        expect(values(first!, "Via")).toHaveLength(2);
        expect(branchOf(first!)).not.toBe(branchOf(second!));
        expect([rig.core.table.serverCount, rig.core.table.clientCount]).toEqual([serverCount, clientCount]);
        expect(rig.untaken).toEqual([]);
      });
    }

    test("F-03 after the phone registered from a new port, its dialogs are there too", () => {
      const { rig, phone } = start(layout);
      const { pbxSide, phoneSide } = pbxCalls(rig, phone);
      const moved = rig.flow(phone.remoteAddress, 41111, layout.phoneListener);
      rig.register("alice", moved, CONTACT);
      if (phone.isReliable) rig.close(phone);
      rig.receive(rig.pbx, inDialog("INFO", pbxSide, { sentBy: "10.0.0.10" }));
      expect(methodOf(moved.one())).toBe("INFO");
      expect(phone.sent).toEqual([]);
      rig.receive(moved, inDialog("BYE", phoneSide));
      expect(methodOf(rig.pbx.one())).toBe("BYE");
    });

    test("F-03 Via of what goes out names the listener it leaves from", () => {
      const { rig, phone } = start(layout);
      const { invite } = pbxCalls(rig, phone);
      const protocol = layout.phone.toUpperCase();
      expect(value(invite, "Via")).toStartWith(`SIP/2.0/${protocol} ${layout.phoneListener.advertised};branch=z9hG4bK`);
      expect(value(invite, "Via").includes(";rport")).toBe(layout.phone === "udp");
    });
  });
}

describe("F-03 what a flow token does not open", () => {
  const layout = LAYOUTS[0]!;
  const STRANGER: [string, number] = ["198.51.100.66", 5060];

  function forged(route: string[], change: (token: string) => string): string[] {
    return route.map((text) => text.replace(/sip:([^@]+)@/, (_, token) => `sip:${change(token)}@`));
  }

  const changes: [string, (token: string) => string][] = [
    ["made up", () => "dfeedfacefeedface00.0123456789abcdef"],
    ["for another device", (token) => token.replace(/^d./, (head) => head === "d0" ? "d1" : "d0")],
    ["with another MAC", (token) => token.slice(0, -1) + (token.endsWith("0") ? "1" : "0")],
    ["cut short", (token) => token.slice(0, -4)],
    ["without MAC", (token) => token.split(".")[0]!],
    ["with an empty MAC", (token) => token.split(".")[0]! + "."],
    ["longer", (token) => token + "0"],
    ["of an address, made up", () => `a${btoa("udp|10.0.0.5:5060|198.51.100.1:5060")}.0123456789abcdef`],
    ["of nothing but a MAC", (token) => token.slice(-17)],
    ["with a percent sign", () => "%41%42%43"],
  ];
  for (const [what, change] of changes) {
    test(`F-03 a token ${what} gets 403 from either side and reaches nobody`, () => {
      const { rig, phone } = start(layout);
      const { pbxSide, phoneSide } = pbxCalls(rig, phone);
      for (const [flow, side] of [[rig.pbx, pbxSide], [phone, phoneSide]] as const) {
        rig.receive(flow, inDialog("BYE", { ...side, route: forged(side.route, change) }));
        expect(statusOf(flow.one())).toBe(403);
        rig.receive(flow, inDialog("ACK", { ...side, route: forged(side.route, change) }));
      }
      expect(rig.untaken).toEqual([]);
      expect(rig.count("rejected_total", "stray_ack")).toBe(2);
    });
  }

  test("F-03 a token of one call is worth nothing in another", () => {
    const { rig, phone } = start(layout);
    const { pbxSide, phoneSide } = pbxCalls(rig, phone);
    const stranger = rig.flow(...STRANGER);
    for (const flow of [stranger, rig.pbx, phone]) {
      const side = flow === rig.pbx ? pbxSide : phoneSide;
      rig.receive(flow, inDialog("BYE", { ...side, callId: "another" }));
      expect(statusOf(flow.one())).toBe(403);
    }
    expect(rig.untaken).toEqual([]);
  });

  test("F-03 what the secret signs for other purposes is no token", () => {
    const tokens = new FlowTokens("secret", { nowMs: 7 * 3_600_000 + 5 });
    for (const text of ["a:alice@example.org", "d:alice@example.org:u:sip:alice@192.168.9.9"]) {
      const id = stableId("secret", text);
      for (const token of [`${text}.${id.slice(0, 16)}`, `${text.slice(0, 1)}${id}.${id.slice(0, 16)}`]) {
        expect(tokens.read(token, "")).toBeNull();
      }
    }
    expect(tokens.read(tokens.ofDevice("0123", "call"), "call")).toEqual({
      contactId: "0123",
      flowKey: "",
      issuedAtMs: 7 * 3_600_000,
      atMs: 0,
    });
  });

  test("F-06 a stolen token without the dialog opens nothing to a stranger", () => {
    const { rig, phone } = start(layout);
    const { phoneSide } = pbxCalls(rig, phone);
    const stranger = rig.flow(...STRANGER);
    for (const method of ["INVITE", "MESSAGE", "SUBSCRIBE"]) {
      // No To tag: a new call with a preloaded Route.
      rig.receive(
        stranger,
        request(method, "sip:0900@10.0.0.10", { route: phoneSide.route, callId: phoneSide.callId }),
      );
      expect(statusOf(stranger.one())).toBe(403);
    }
    expect(rig.untaken).toEqual([]);
    expect(rig.opened).toEqual([rig.pbx]);
  });

  test("F-03 whoever has token and dialog is the phone in its new network, and gets as far as the PBX", () => {
    const { rig, phone } = start(layout);
    const { phoneSide } = pbxCalls(rig, phone);
    const elsewhere = rig.flow(...STRANGER);
    rig.receive(elsewhere, inDialog("BYE", phoneSide));
    expect(methodOf(rig.pbx.one())).toBe("BYE");
    expect(rig.untaken).toEqual([]);
  });

  test("F-06 token and dialog lead nobody but to the PBX, whatever the rest of Route and the Request-URI say", () => {
    const { rig, phone } = start(layout);
    const { phoneSide } = pbxCalls(rig, phone);
    const elsewhere = rig.flow(...STRANGER);
    const ways: DialogSide[] = [
      { ...phoneSide, target: "sip:x@203.0.113.5:5080" },
      { ...phoneSide, route: [...phoneSide.route, "<sip:203.0.113.5;lr>"] },
      { ...phoneSide, route: [...phoneSide.route, "<sip:203.0.113.5>"] },
      { ...phoneSide, target: "sip:bob@10.0.0.10;maddr=203.0.113.5" },
      { ...phoneSide, target: "sip:bob@evil.example;transport=tcp" },
      // One token does not pass for the two that a dialog between phones has.
      { ...phoneSide, route: [...phoneSide.route, ...phoneSide.route] },
      { ...phoneSide, route: ["<sip:dmadeup.0123456789abcdef@10.0.0.5:5060;lr>", ...phoneSide.route] },
    ];
    for (const way of ways) {
      for (const flow of [phone, elsewhere]) {
        rig.receive(flow, inDialog("INFO", way));
        expect(methodOf(rig.pbx.one())).toBe("INFO");
      }
    }
    expect(rig.untaken).toEqual([]);
    expect(rig.opened).toEqual([rig.pbx]);
  });

  test("F-03 a phone without connection gets 480 for its dialog, and the dialog goes on when it is back", () => {
    const { rig, phone } = start(LAYOUTS[1]!);
    const { pbxSide } = pbxCalls(rig, phone);
    rig.close(phone);
    rig.receive(rig.pbx, inDialog("INFO", pbxSide));
    expect(statusOf(rig.pbx.one())).toBe(480);
    const back = rig.flow("203.0.113.77", 50000, TCP);
    rig.register("alice", back, CONTACT);
    rig.receive(rig.pbx, inDialog("BYE", { ...pbxSide }, { cseq: 3 }));
    expect(methodOf(back.one())).toBe("BYE");
  });

  test("F-03 a device that leaves usrloc in a call stays in the call: its BYE goes over the flow it had", () => {
    const { rig, phone } = start(layout);
    const { pbxSide } = pbxCalls(rig, phone);
    rig.core.usrloc.remove(rig.contactOf("alice", CONTACT), "control");
    phone.all();
    rig.pbx.all();
    rig.receive(rig.pbx, inDialog("BYE", pbxSide));
    expect(methodOf(phone.one())).toBe("BYE");
  });

  test("F-03 the token of a device that left with its connection gone gets 480", () => {
    const { rig, phone } = start(layout);
    const { pbxSide } = pbxCalls(rig, phone);
    rig.core.usrloc.remove(rig.contactOf("alice", CONTACT), "control");
    rig.close(phone);
    phone.all();
    rig.pbx.all();
    rig.receive(rig.pbx, inDialog("BYE", pbxSide));
    expect(rig.pbx.kinds()).toEqual([480]);
  });
});

describe("F-03 phones that move", () => {
  test("F-03 a phone whose NAT changed the port calls from there, and its dialog comes back there", () => {
    const { rig, phone } = start(LAYOUTS[0]!);
    const moved = rig.flow("192.0.2.9", 45555);
    const { pbxSide } = phoneCalls(rig, moved);
    rig.receive(rig.pbx, inDialog("INFO", pbxSide));
    expect(methodOf(moved.one())).toBe("INFO");
    expect(phone.sent).toEqual([]);
  });

  test("F-03 ... and when it registers from yet another port, there", () => {
    const { rig } = start(LAYOUTS[0]!);
    const moved = rig.flow("192.0.2.9", 45555);
    const { pbxSide } = phoneCalls(rig, moved);
    rig.pass(1000);
    const again = rig.flow("203.0.113.7", 46666);
    rig.register("alice", again, CONTACT);
    rig.receive(rig.pbx, inDialog("BYE", pbxSide));
    expect(methodOf(again.one())).toBe("BYE");
    expect(moved.sent).toEqual([]);
  });

  test("F-03 a large INVITE over TCP of a phone registered over UDP: its dialog stays on UDP", () => {
    const { rig, phone } = start(LAYOUTS[0]!);
    const stream = rig.flow("192.0.2.9", 33333, TCP);
    const { pbxSide } = phoneCalls(rig, stream);
    rig.close(stream);
    rig.receive(rig.pbx, inDialog("BYE", pbxSide));
    expect(methodOf(phone.one())).toBe("BYE");
  });

  test("F-03 a phone calls over a new connection before it has registered over it", () => {
    const { rig, phone } = start(LAYOUTS[1]!);
    rig.close(phone);
    const again = rig.flow("192.0.2.9", 33334, TCP);
    const { pbxSide } = phoneCalls(rig, again);
    rig.receive(rig.pbx, inDialog("BYE", pbxSide));
    expect(methodOf(again.one())).toBe("BYE");
  });

  test("F-03 of two phones of one user behind one address, the dialog belongs to the one whose Contact called", () => {
    const { rig } = start(LAYOUTS[0]!);
    const other = rig.flow("192.0.2.9", 40001);
    rig.register("alice", other, "sip:alice@192.168.9.10:5060");
    rig.receive(
      rig.flow("192.0.2.9", 45555),
      request("INVITE", "sip:bob@pbx.example.org", {
        from: "<sip:alice@pbx.example.org>;tag=a",
        contact: "<sip:alice@192.168.9.10:5060>",
      }),
    );
    const invite = rig.pbx.one();
    const ok = answer(invite, 200, { contact: "<sip:bob@10.0.0.10>" });
    rig.receive(rig.pbx, ok);
    rig.pass(1000);
    const again = rig.flow("192.0.2.9", 46000);
    rig.register("alice", again, "sip:alice@192.168.9.10:5060");
    rig.receive(rig.pbx, inDialog("BYE", calleeSide(invite, ok)));
    expect(methodOf(again.one())).toBe("BYE");
  });
});

describe("F-03 strict routers (RFC 3261 §16.4, §16.6 step 6)", () => {
  /** What a strict router makes of a loose route set: the first Route in the Request-URI, the target last. */
  function strict(side: DialogSide): DialogSide {
    const [first, ...rest] = [...side.route, `<${side.target}>`];
    return { ...side, target: first!.slice(1, -1), route: rest };
  }

  for (const layout of LAYOUTS) {
    for (const method of ["BYE", "ACK"]) {
      test(`F-03 ${layout.name}: a strictly routed ${method} of either side arrives as it would loosely`, () => {
        const { rig, phone } = start(layout);
        const { pbxSide, phoneSide } = pbxCalls(rig, phone);
        rig.receive(rig.pbx, inDialog(method, strict(pbxSide)));
        const atPhone = phone.one();
        expect(startLine(atPhone)).toBe(`${method} ${CONTACT} SIP/2.0`);
        expect(values(atPhone, "Route")).toEqual([]);
        rig.receive(phone, inDialog(method, strict(phoneSide)));
        const atPbx = rig.pbx.one();
        expect(requestUri(atPbx)).toBe(phoneSide.target);
        expect(values(atPbx, "Route")).toEqual([]);
      });
    }
  }

  test("F-03 a strictly routed BYE of a phone that moved and has two Record-Routes reaches the PBX", () => {
    const { rig, phone } = start(LAYOUTS[1]!);
    const { phoneSide } = pbxCalls(rig, phone);
    rig.receive(rig.flow("203.0.113.70", 5), inDialog("BYE", strict(phoneSide)));
    const atPbx = rig.pbx.one();
    expect(requestUri(atPbx)).toBe(phoneSide.target);
    expect(values(atPbx, "Route")).toEqual([]);
  });

  test("F-03 Route elements in one line or in several are turned round alike", () => {
    const { rig, phone } = start(LAYOUTS[1]!);
    const { pbxSide } = pbxCalls(rig, phone);
    const side = strict(pbxSide);
    for (const route of [side.route, [side.route.join(", ")]]) {
      rig.receive(rig.pbx, inDialog("INFO", { ...side, route }));
      expect(startLine(phone.one())).toBe(`INFO ${CONTACT} SIP/2.0`);
    }
  });

  test("F-03 a Request-URI that only looks like our Record-Route is left alone", () => {
    const { rig, phone } = start(LAYOUTS[0]!);
    const { pbxSide } = pbxCalls(rig, phone);
    rig.receive(rig.pbx, inDialog("INFO", { ...pbxSide, target: "sip:alice@10.0.0.5:5060;lr" }));
    const atPhone = phone.one();
    expect(requestUri(atPhone)).toBe("sip:alice@10.0.0.5:5060;lr");
    expect(values(atPhone, "Route")).toEqual([]);
  });

  test("F-03 a strictly routed request whose last Route cannot be read gets 400", () => {
    const { rig, phone } = start(LAYOUTS[0]!);
    const { pbxSide } = pbxCalls(rig, phone);
    const side = strict(pbxSide);
    rig.receive(rig.pbx, inDialog("INFO", { ...side, route: ["<sip:open"] }));
    expect(statusOf(rig.pbx.one())).toBe(400);
    rig.receive(rig.pbx, inDialog("ACK", { ...side, route: ["<sip:open"] }));
    expect(rig.untaken).toEqual([]);
  });

  for (const method of ["BYE", "ACK"]) {
    test(`F-03 a ${method} towards a strict router carries its URI as Request-URI and the target at the end of Route`, () => {
      const { rig, phone } = start(LAYOUTS[0]!);
      const { phoneSide } = phoneCalls(rig, phone);
      const side = { ...phoneSide, route: [...phoneSide.route, "<sip:10.0.0.10>", "<sip:next.example;lr>"] };
      rig.receive(phone, inDialog(method, side));
      const atPbx = rig.pbx.one();
      expect(requestUri(atPbx)).toBe("sip:10.0.0.10");
      expect(values(atPbx, "Route")).toEqual(["<sip:next.example;lr>", `<${phoneSide.target}>`]);
    });
  }
});

describe("F-03 Record-Route over the other transports", () => {
  const listenerOf = (transport: Transport): Listener => ({ ...UDP, transport, advertised: "sip.example.org:443" });
  for (
    const [transport, param] of [["udp", ""], ["tcp", ";transport=tcp"], ["tls", ";transport=tls"], [
      "ws",
      ";transport=ws",
    ], ["wss", ";transport=ws"]] as const
  ) {
    test(`F-03 ${transport} is written ${param || "without a parameter"}`, () => {
      const flow = new Rig().flow("192.0.2.9", 1, listenerOf(transport));
      expect(recordRouteValue(flow, "")).toBe(`<sip:sip.example.org:443${param};lr>`);
      expect(recordRouteValue(flow, "t.1")).toBe(`<sip:t.1@sip.example.org:443${param};lr>`);
    });
  }
});

describe("F-03 odds and ends", () => {
  test("F-03 an ACK that may go no further is dropped", () => {
    const { rig, phone } = start(LAYOUTS[0]!);
    const { pbxSide } = pbxCalls(rig, phone);
    rig.receive(rig.pbx, inDialog("ACK", pbxSide, { maxForwards: "0" }));
    expect(rig.untaken).toEqual([]);
    expect(rig.count("rejected_total", "stray_ack")).toBe(1);
  });

  test("F-03 inside a dialog a Route that names the domain is the PBX's and stays", () => {
    const { rig, phone } = start(LAYOUTS[0]!, { config: (config) => config.domain = ["pbx.example.org"] });
    const { phoneSide } = pbxCalls(rig, phone);
    rig.receive(phone, inDialog("BYE", { ...phoneSide, route: [...phoneSide.route, "<sip:pbx.example.org;lr>"] }));
    expect(values(rig.pbx.one(), "Route")).toEqual(["<sip:pbx.example.org;lr>"]);
  });

  test("F-03 tokens outlive a restart; that of an address whose listener is gone leads nowhere: 480", () => {
    const { rig, phone } = start(LAYOUTS[1]!);
    rig.close(phone);
    const { pbxSide } = phoneCalls(rig, rig.flow("192.0.2.9", 33334, TCP));
    for (const [listeners, status] of [[[UDP, TCP], 0], [[UDP], 480]] as const) {
      const restarted = new Rig({ listeners: [...listeners] });
      restarted.receive(restarted.pbx, inDialog("BYE", pbxSide));
      const sent = restarted.flows.flatMap((flow) => flow.all());
      expect(sent.map(statusOf)).toEqual([status]);
    }
  });

  test("F-06 a new request of a phone goes to the PBX's address, not to others that are trusted as the PBX", () => {
    const { rig, phone } = start(LAYOUTS[0]!, { config: (config) => config.pbx!.trust = [cidrOf("10.0.0.0/24")] });
    for (const options of [{}, { route: ["<sip:10.0.0.77:22;transport=tcp;lr>"] }]) {
      rig.receive(
        phone,
        request("INVITE", "sip:x@10.0.0.77:22;transport=tcp", {
          from: "<sip:alice@pbx.example.org>;tag=1",
          ...options,
        }),
      );
      expect(methodOf(rig.pbx.one())).toBe("INVITE");
    }
    expect(rig.opened).toEqual([rig.pbx]);
  });

  test("R-07 contact_id user: the id is found in any case", () => {
    const { rig, phone } = start(LAYOUTS[0]!, {
      config: (config) => {
        config.pbx!.mode = "contact";
        config.pbx!.contact_id = "user";
      },
    });
    const { id } = rig.contactOf("alice", CONTACT);
    rig.receive(rig.pbx, request("INVITE", `sip:${id.toUpperCase()}@10.0.0.5:5060`));
    expect(requestUri(phone.one())).toBe(CONTACT);
  });
});

describe("F-03 PBXs with habits", () => {
  test("F-03 a PBX that answers from another of its nodes gets the dialog there", () => {
    const { rig, phone } = start(LAYOUTS[0]!, {
      config: (config) => config.pbx!.trust = [cidrOf("10.0.0.0/24")],
    });
    const { phoneSide } = phoneCalls(rig, phone);
    rig.receive(phone, inDialog("BYE", { ...phoneSide, target: "sip:bob@10.0.0.11:5080" }));
    expect(methodOf(rig.flow("10.0.0.11", 5080).one())).toBe("BYE");
    expect(rig.pbx.sent).toEqual([]);
  });

  test("F-03 a phone in a call cannot make us connect to other services of the PBX's hosts", () => {
    const { rig, phone } = start(LAYOUTS[2]!, { config: (config) => config.pbx!.trust = [cidrOf("10.0.0.0/24")] });
    const { phoneSide } = phoneCalls(rig, phone);
    for (const host of ["10.0.0.10:6379", "10.0.0.77:6379"]) {
      rig.receive(phone, inDialog("INFO", { ...phoneSide, target: `sip:bob@${host};transport=tcp` }));
      expect(methodOf(rig.pbx.one())).toBe("INFO");
    }
    rig.receive(phone, inDialog("INFO", { ...phoneSide, target: "sip:bob@10.0.0.77:5060;transport=tcp" }));
    expect(methodOf(rig.flow("10.0.0.77", 5060, TCP).one())).toBe("INFO");
  });

  test("F-03 a phone that answers without To tag is in the dialog all the same, by its token; no new call is (F-06)", () => {
    const { rig, phone } = start(LAYOUTS[0]!);
    const { pbxSide } = pbxCalls(rig, phone);
    const side = { ...pbxSide, remote: pbxSide.remote.replace(/;tag=.*/, "") };
    for (const method of ["INFO", "ACK", "BYE"]) {
      rig.receive(rig.pbx, inDialog(method, side));
      expect(methodOf(phone.one())).toBe(method);
    }
    rig.receive(rig.pbx, inDialog("INFO", { ...side, callId: "another" }));
    expect(rig.pbx.kinds()).toEqual([403]);
    const stranger = rig.flow("203.0.113.66", 5060);
    rig.receive(stranger, inDialog("INFO", side));
    expect([stranger.kinds(), phone.kinds()]).toEqual([[403], []]);
  });

  test("F-03 a PBX that writes another address of ours into our Record-Route is understood", () => {
    const { rig, phone } = start(LAYOUTS[0]!);
    const { pbxSide, phoneSide } = pbxCalls(rig, phone);
    const natted = (side: DialogSide) => ({
      ...side,
      route: side.route.map((route) => route.replace("10.0.0.5:5060", "172.17.0.1:32768")),
    });
    rig.receive(rig.pbx, inDialog("INFO", natted(pbxSide)));
    const atPhone = phone.one();
    expect([startLine(atPhone), values(atPhone, "Route")]).toEqual([`INFO ${CONTACT} SIP/2.0`, []]);
    rig.receive(phone, inDialog("BYE", natted(phoneSide)));
    expect(methodOf(rig.pbx.one())).toBe("BYE");
    rig.receive(rig.pbx, inDialog("INFO", { ...natted(pbxSide), callId: "another" }));
    expect(statusOf(rig.pbx.one())).toBe(481);
  });

  test("F-03 a PBX that drops our Record-Route reaches the device by the Contact we registered", () => {
    const { rig, phone } = start(LAYOUTS[0]!);
    const { pbxSide } = pbxCalls(rig, phone);
    rig.receive(rig.pbx, inDialog("BYE", { ...pbxSide, route: [], target: rig.upstreamUri("alice") }));
    expect(startLine(phone.one())).toBe(`BYE ${CONTACT} SIP/2.0`);
  });

  test("F-03 without Record-Route and without our Contact there is no way: 481", () => {
    const { rig, phone } = start(LAYOUTS[0]!);
    const { pbxSide } = pbxCalls(rig, phone);
    rig.receive(rig.pbx, inDialog("BYE", { ...pbxSide, route: [] }));
    expect(statusOf(rig.pbx.one())).toBe(481);
    expect(phone.sent).toEqual([]);
  });

  test("F-03 a phone that drops our Record-Route reaches the PBX, and it alone", () => {
    const { rig, phone } = start(LAYOUTS[0]!, {
      config: (config) => config.pbx!.trust = [cidrOf("10.0.0.0/24")],
    });
    const { phoneSide } = phoneCalls(rig, phone);
    rig.receive(phone, inDialog("BYE", { ...phoneSide, route: [], target: "sip:x@10.0.0.77:22;transport=tcp" }));
    expect(methodOf(rig.pbx.one())).toBe("BYE");
    expect(rig.opened).toEqual([rig.pbx]);
  });
});
