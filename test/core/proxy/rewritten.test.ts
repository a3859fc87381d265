/**
 * Peers that know us by another name than we were told: a PBX that writes the source address of our connection into our
 * Contact and Record-Route (Asterisk with `rewrite_contact=yes` over TCP, FreePBX's default), and phones whose outbound
 * proxy is a name that leads to us.
 */
import { describe, expect, test } from "bun:test";
import { cidr, Rig, type RigOptions, TCP, type TestFlow } from "./rig.ts";
import {
  answer,
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
const ALICE = "<sip:alice@pbx.example.org>;tag=a";

/** What `rewrite_contact=yes` makes of a URI of ours: host, port and transport are those of the connection it came over. */
function rewritten(uri: string, source: string): string {
  const [, user = "", params = ""] = /^<?sip:(?:([^@]*)@)?[^;>]*([^>]*)>?$/.exec(uri)!;
  const others = params.replace(/;transport=[^;]*/i, "");
  const text = `sip:${user === "" ? "" : user + "@"}${source};transport=TCP${others}`;
  return uri.startsWith("<") ? `<${text}>` : text;
}

/** The connection to the PBX is open from this port of ours. */
const SOURCE = "10.0.0.5:41234";

function start(options: RigOptions = {}): { rig: Rig; phone: TestFlow } {
  const rig = new Rig({ pbx: { address: "10.0.0.10", port: 5060, transport: "tcp" }, ...options });
  const phone = rig.flow("192.0.2.9", 40000);
  rig.register("alice", phone, CONTACT);
  return { rig, phone };
}

/** The PBX calls the Contact it has made of ours, and sends what follows along the Record-Route it has made of ours. */
function pbxCalls(rig: Rig, phone: TestFlow, source = SOURCE): DialogSide {
  const invite = request("INVITE", rewritten(rig.upstreamUri("alice"), source), {
    from: "<sip:bob@pbx.example.org>;tag=b",
    sentBy: "10.0.0.10",
    transport: "TCP",
    contact: "<sip:bob@10.0.0.10;transport=tcp>",
  });
  rig.receive(rig.pbx, invite);
  rig.receive(phone, answer(phone.one(), 200, { contact: `<${CONTACT}>` }));
  const ok = rig.pbx.all().at(-1)!;
  expect(statusOf(ok)).toBe(200);
  const side = callerSide(invite, ok);
  return { ...side, route: side.route.map((route, at) => at === 0 ? rewritten(route, source) : route) };
}

describe("F-03 a PBX on TCP that rewrites our Contact and Record-Route", () => {
  test("F-03 F-04 its ACK and BYE find the phone", () => {
    const { rig, phone } = start();
    const side = pbxCalls(rig, phone);
    expect(side.route[0]).toBe("<sip:10.0.0.5:41234;transport=TCP;lr>");
    for (const method of ["ACK", "INFO", "INVITE", "BYE"]) {
      rig.receive(rig.pbx, inDialog(method, side, { transport: "TCP" }));
      const atPhone = phone.one();
      expect(startLine(atPhone)).toBe(`${method} ${CONTACT} SIP/2.0`);
      expect(values(atPhone, "Route")).toEqual([]);
    }
  });

  test("F-03 nor does it matter that the connection was closed and opened anew from another port", () => {
    const { rig, phone } = start();
    const side = pbxCalls(rig, phone);
    rig.close(rig.pbx);
    for (const method of ["ACK", "BYE"]) {
      rig.receive(rig.pbx, inDialog(method, side, { transport: "TCP" }));
      expect(methodOf(phone.one())).toBe(method);
    }
  });

  for (const transport of ["tcp", "udp"] as const) {
    // In-dialog messages have no Record-Route, so it rewrites their Contact: the target of what follows.
    test(`F-03 after a re-INVITE of the phone its target is ours, over ${transport}: the phone gets its own`, () => {
      const { rig, phone } = start({ pbx: { address: "10.0.0.10", port: 5060, transport } });
      const source = transport === "tcp" ? SOURCE : "10.0.0.5:5060";
      const side = pbxCalls(rig, phone, source);
      const target = transport === "tcp" ? rewritten(side.target, source) : `sip:alice@${source}`;
      for (const method of ["INFO", "ACK", "BYE"]) {
        rig.receive(rig.pbx, inDialog(method, { ...side, target }, { transport: transport.toUpperCase() }));
        expect(startLine(phone.one())).toBe(`${method} ${CONTACT} SIP/2.0`);
      }
    });
  }

  test("F-03 a phone on our machine keeps its own target: host and port are its own", () => {
    const { rig } = start();
    const local = rig.flow("10.0.0.5", 5070);
    rig.register("carol", local, "sip:carol@10.0.0.5:5070");
    const invite = request("INVITE", rig.upstreamUri("carol"), { contact: "<sip:bob@10.0.0.10>" });
    rig.receive(rig.pbx, invite);
    rig.receive(local, answer(local.one(), 200, { contact: "<sip:carol@10.0.0.5:5070;line=2>" }));
    const side = callerSide(invite, rig.pbx.all().at(-1)!);
    rig.receive(rig.pbx, inDialog("BYE", side));
    expect(requestUri(local.one())).toBe("sip:carol@10.0.0.5:5070;line=2");
  });

  test("F-03 in a call of the phone its requests find the phone, too", () => {
    const { rig, phone } = start();
    rig.receive(
      phone,
      request("INVITE", "sip:bob@pbx.example.org", {
        from: ALICE,
        contact: `<${CONTACT}>`,
        route: ["<sip:10.0.0.5;lr>"],
      }),
    );
    const atPbx = rig.pbx.one();
    const ok = answer(atPbx, 200, { contact: "<sip:bob@10.0.0.10;transport=tcp>" });
    rig.receive(rig.pbx, ok);
    phone.all();
    const side = calleeSide(atPbx, ok);
    const route = side.route.map((text, at) => at === 0 ? rewritten(text, SOURCE) : text);
    rig.receive(rig.pbx, inDialog("BYE", { ...side, route }, { transport: "TCP" }));
    expect(methodOf(phone.one())).toBe("BYE");
  });

  for (
    const [transport, seenAt, via] of [["tcp", SOURCE, ""], ["tcp", "203.0.113.5:41234", ";received=203.0.113.5"], [
      "udp",
      "203.0.113.5:15060",
      ";received=203.0.113.5;rport=15060",
    ]] as const
  ) {
    test(`R-02 its 200 to REGISTER over ${transport} lists our Contact as ${seenAt}: that one is read (contact_id aor)`, () => {
      const rig = new Rig({
        pbx: { address: "10.0.0.10", port: 5060, transport },
        config: (config) => config.pbx!.contact_id = "aor",
      });
      const phone = rig.flow("192.0.2.9", 40000);
      const to = "<sip:alice@pbx.example.org>";
      rig.receive(
        phone,
        request("REGISTER", "sip:pbx.example.org", {
          from: ALICE,
          to,
          contact: `<${CONTACT}>`,
          headers: [["Expires", "600"]],
        }),
      );
      const forwarded = rig.pbx.one();
      const contact = `<${rewritten("sip:alice@10.0.0.5:5060", seenAt)}>;expires=120`;
      rig.receive(
        rig.pbx,
        answer(forwarded, 200, { contact, via: [value(forwarded, "Via") + via, ...values(forwarded, "Via").slice(1)] }),
      );
      expect(value(phone.one(), "Contact")).toBe(`<${CONTACT}>;expires=120`);
      expect(rig.logs.filter((line) => line.includes("does not list our Contact"))).toEqual([]);
    });
  }

  const placements: [string, string][] = [
    ["param", "sip:alice@10.0.0.5:41234;transport=TCP;lf=ID"],
    ["param, dropped by the PBX", "sip:alice@10.0.0.5:41234;transport=TCP"],
    ["user", "sip:ID@10.0.0.5:41234;transport=TCP"],
  ];
  for (const [placement, uri] of placements) {
    for (const method of ["INVITE", "NOTIFY", "OPTIONS"]) {
      test(`R-07 ${method} to the rewritten Contact finds alice (contact_id ${placement})`, () => {
        const { rig, phone } = start();
        const { aor } = rig.contactOf("alice", CONTACT);
        rig.receive(rig.pbx, request(method, uri.replace("ID", aor.id), { transport: "TCP" }));
        if (method === "OPTIONS") return expect(statusOf(rig.pbx.one())).toBe(200);
        expect(requestUri(phone.one())).toBe(CONTACT);
      });
    }
  }

  test("F-03 it is known by the address that a NAT between gives us, once the PBX has told it", () => {
    const { rig, phone } = start({ config: (config) => config.pbx!.qualify = 30_000 });
    rig.pass(30_000);
    for (const options of rig.pbx.all()) {
      const via = `${value(options, "Via")};received=203.0.113.5;rport=41234`;
      rig.receive(rig.pbx, answer(options, 200, { via: [via] }));
    }
    const source = "203.0.113.5:41234";
    const side = pbxCalls(rig, phone, source);
    rig.receive(rig.pbx, inDialog("ACK", side, { transport: "TCP" }));
    expect(methodOf(phone.one())).toBe("ACK");
    rig.receive(rig.pbx, request("INVITE", `sip:alice@${source};transport=TCP`, { transport: "TCP" }));
    expect(requestUri(phone.one())).toBe(CONTACT);
  });

  test("F-03 a Route of the PBX behind ours stays: an edge proxy may run on our machine", () => {
    const { rig, phone } = start();
    const side = pbxCalls(rig, phone);
    const route = [...side.route, "<sip:10.0.0.5:5080;lr>"];
    rig.receive(rig.pbx, inDialog("INFO", { ...side, route }, { transport: "TCP" }));
    expect(values(phone.one(), "Route")).toEqual(["<sip:10.0.0.5:5080;lr>"]);
  });
});

describe("F-08 an ACK that finds no way", () => {
  for (const who of ["the PBX", "a phone", "a stranger"]) {
    test(`F-08 of ${who} leaves a line and a count`, () => {
      const { rig, phone } = start();
      const side = pbxCalls(rig, phone);
      const flow = who === "the PBX" ? rig.pbx : who === "a phone" ? phone : rig.flow("198.51.100.66", 5060);
      rig.logs.length = 0;
      rig.receive(flow, inDialog("ACK", { ...side, callId: "another" }));
      expect(rig.count("rejected_total", "stray_ack")).toBe(1);
      expect(rig.logs).toHaveLength(1);
      expect(rig.logs[0]).toStartWith(`warn Dropped an ACK of ${who}: `);
      expect(rig.untaken).toEqual([]);
    });
  }

  test("F-08 repeated, it is warned of once in ten seconds, and each is counted", () => {
    const { rig, phone } = start();
    const side = pbxCalls(rig, phone);
    rig.logs.length = 0;
    for (let n = 0; n < 5; n++) {
      rig.receive(rig.pbx, inDialog("ACK", { ...side, callId: "another" }));
      rig.pass(4000);
    }
    expect(rig.count("rejected_total", "stray_ack")).toBe(5);
    expect(rig.logs.filter((line) => line.startsWith("warn Dropped an ACK"))).toHaveLength(2);
  });

  test("F-06 a stranger's ACK of our refusal is as it should be: no warning", () => {
    const { rig } = start();
    const stranger = rig.flow("198.51.100.66", 5060);
    const invite = request("INVITE", "sip:bob@pbx.example.org", { branch: "z9hG4bKstrange" });
    rig.receive(stranger, invite);
    const refusal = stranger.one();
    expect(statusOf(refusal)).toBe(403);
    rig.logs.length = 0;
    rig.receive(stranger, invite.replaceAll("INVITE", "ACK").replace(/To: .*/, `To: ${value(refusal, "To")}`));
    expect(rig.logs.filter((line) => line.startsWith("warn"))).toEqual([]);
    expect(rig.count("rejected_total", "stray_ack")).toBe(1);
  });
});

describe("F-03 a phone's Route that leads to us under a name we were not told", () => {
  const routes: [what: string, given: string[], left: string[]][] = [
    ["the name of its outbound proxy", ["<sip:edge.example.org;lr>"], []],
    ["that name with port and transport", ["<sip:edge.example.org:5060;transport=tcp;lr>"], []],
    ["our address before a NAT", ["<sip:203.0.113.5:15060;lr>"], []],
    ["another port of ours, forwarded to us", ["<sip:10.0.0.5:5999;lr>"], []],
    ["that name, then us", ["<sip:edge.example.org;lr>", "<sip:10.0.0.5;lr>"], []],
    ["that name, then others", ["<sip:edge.example.org;lr>", "<sip:a@b.example;lr>"], ["<sip:a@b.example;lr>"]],
    ["that name twice", ["<sip:edge.example.org;lr>", "<sip:edge.example.org;lr>"], ["<sip:edge.example.org;lr>"]],
    ["the PBX's address", ["<sip:10.0.0.10;lr>"], ["<sip:10.0.0.10;lr>"]],
    ["the PBX's address, other port", ["<sip:10.0.0.10:5080;lr>"], ["<sip:10.0.0.10:5080;lr>"]],
    ["a trusted node of the PBX", ["<sip:10.0.1.7;lr>"], ["<sip:10.0.1.7;lr>"]],
    ["the PBX's name", ["<sip:pbx.lan;lr>"], ["<sip:pbx.lan;lr>"]],
    ["a user of the PBX's side (Service-Route)", ["<sip:orig@pbx.internal;lr>"], ["<sip:orig@pbx.internal;lr>"]],
    ["a strict router", ["<sip:edge.example.org>"], ["<sip:edge.example.org>"]],
  ];
  for (const [what, given, left] of routes) {
    for (const method of ["INVITE", "REGISTER", "MESSAGE", "SUBSCRIBE"]) {
      test(`F-03 ${method} with ${what} reaches the PBX with ${left.length === 0 ? "no Route" : left.join()}`, () => {
        const { rig, phone } = start({ config: (config) => config.pbx!.trust = [cidr("10.0.1.0/24")] });
        rig.core.setPbxAddresses([{ transport: "tcp", address: "10.0.0.10", port: 5060, uri: "sip:pbx.lan" }]);
        const to = "<sip:alice@pbx.example.org>";
        const uri = method === "REGISTER" ? "sip:pbx.example.org" : "sip:bob@pbx.example.org";
        rig.receive(phone, request(method, uri, { from: ALICE, to, contact: `<${CONTACT}>`, route: given }));
        expect(values(rig.pbx.one(), "Route")).toEqual(left);
      });
    }
  }

  test("F-03 inside a dialog it stands above our Record-Route, and goes as well", () => {
    const { rig, phone } = start();
    const name = "<sip:edge.example.org;lr>";
    const invite = request("INVITE", "sip:bob@pbx.example.org", {
      from: ALICE,
      contact: `<${CONTACT}>`,
      route: [name],
    });
    rig.receive(phone, invite);
    rig.receive(rig.pbx, answer(rig.pbx.one(), 200, { contact: "<sip:bob@10.0.0.10;transport=tcp>" }));
    const side = callerSide(invite, phone.all().at(-1)!);
    for (const method of ["ACK", "BYE"]) {
      rig.receive(phone, inDialog(method, { ...side, route: [name, ...side.route] }));
      const atPbx = rig.pbx.one();
      expect([methodOf(atPbx), ...values(atPbx, "Route")]).toEqual([method]);
    }
  });

  test("F-03 registrar mode: the callee never sees it", () => {
    const rig = new Rig({ pbx: null, config: (config) => config.security.trust = [cidr("192.168.1.0/24")] });
    const bob = rig.flow("192.168.1.8", 5060, TCP);
    rig.register("bob", bob, "sip:bob@192.168.1.8:5060;transport=tcp");
    const alice = rig.flow("192.168.1.9", 5060);
    const route = ["<sip:edge.example.org;lr>"];
    rig.receive(alice, request("INVITE", "sip:bob@10.0.0.5", { from: "<sip:alice@10.0.0.5>;tag=a", route }));
    expect(values(bob.one(), "Route")).toEqual([]);
  });
});
