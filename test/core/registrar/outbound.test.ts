import { describe, expect, test } from "bun:test";
import {
  contactsOf,
  headers,
  parsed,
  register,
  registered,
  type RegisterText,
  Rig,
  statusLine,
  type TestFlow,
} from "./rig.ts";

const AOR = "alice@example.org";
const FLOW_1 = '<sip:alice@192.0.2.7>;+sip.instance="<urn:uuid:1>";reg-id=1';
const FLOW_2 = '<sip:alice@192.0.2.7>;+sip.instance="<urn:uuid:1>";reg-id=2';
const SUPPORTED = "Supported: path, outbound";

function trusting(): Rig {
  return new Rig({ pbx: false, trust: ["192.0.2.0/24", "198.51.100.0/24"] });
}

function exchange(rig: Rig, flow: TestFlow, text: RegisterText): string {
  rig.receive(flow, register(flow, text));
  return rig.one(flow);
}

function behindProxy(wire: string): string {
  return wire.replace("Via:", "Via: SIP/2.0/UDP 198.51.100.1:5060;branch=z9hG4bKedge\r\nVia:");
}

function invite(to = AOR): string {
  return `INVITE sip:${to} SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.99:5060;branch=z9hG4bKi\r\nMax-Forwards: 70\r\n` +
    `From: <sip:bob@example.org>;tag=1\r\nTo: <sip:${to}>\r\nCall-ID: i\r\nCSeq: 1 INVITE\r\n` +
    "Contact: <sip:bob@192.0.2.99>\r\nContent-Length: 0\r\n\r\n";
}

describe("R-15 outbound (RFC 5626)", () => {
  for (const [transport, timer] of [["tcp", ["90"]], ["udp", []]] as const) {
    test(`R-15 a direct phone over ${transport} is told that outbound applies`, () => {
      const rig = trusting();
      const reply = exchange(rig, rig.phone("192.0.2.7", 5060, transport), { contacts: [FLOW_1], lines: [SUPPORTED] });
      expect(statusLine(reply)).toBe("SIP/2.0 200 OK");
      expect(headers(reply, "Require")).toEqual(["outbound"]);
      expect(headers(reply, "Supported")).toEqual(["path, outbound"]);
      expect(headers(reply, "Flow-Timer")).toEqual([...timer]);
      expect(headers(reply, "Contact")[0]).toContain(";reg-id=1");
    });
  }

  const without: [name: string, text: RegisterText][] = [
    ["no reg-id", { contacts: [FLOW_1.replace(";reg-id=1", "")], lines: [SUPPORTED] }],
    ["no instance", { contacts: ["<sip:alice@192.0.2.7>;reg-id=1"], lines: [SUPPORTED] }],
    ["no support", { contacts: [FLOW_1] }],
    ["a removal", { contacts: [FLOW_1], expires: 0, lines: [SUPPORTED] }],
  ];
  for (const [name, text] of without) {
    test(`R-15 ${name}: an ordinary registration`, () => {
      const rig = trusting();
      const reply = exchange(rig, rig.phone("192.0.2.7"), text);
      expect(statusLine(reply)).toBe("SIP/2.0 200 OK");
      expect(headers(reply, "Require")).toEqual([]);
    });
  }

  test("R-15 439 only where a first hop that is not us lacks outbound", () => {
    const cases: [lines: string[], isProxied: boolean, status: string][] = [
      [[SUPPORTED], false, "200"],
      [[SUPPORTED], true, "439"],
      [[SUPPORTED, "Path: <sip:edge.example.org;lr>"], true, "439"],
      [[SUPPORTED, "Path: <sip:edge.example.org;lr;ob>"], true, "200"],
      [[SUPPORTED, "Path: <sip:core;lr>, <sip:edge;lr;ob>"], true, "200"],
      [[SUPPORTED, "Path: <sip:core;lr;ob>, <sip:edge;lr>"], true, "439"],
      [["Require: outbound", SUPPORTED], false, "200"],
      [[], true, "200"],
    ];
    for (const [lines, isProxied, status] of cases) {
      const rig = trusting();
      const flow = rig.phone("198.51.100.1");
      const wire = register(flow, { contacts: [FLOW_1], lines });
      rig.receive(flow, isProxied ? behindProxy(wire) : wire);
      expect([lines, statusLine(rig.one(flow)).slice(8, 11)]).toEqual([lines, status]);
      expect(contactsOf(rig)).toHaveLength(status === "200" ? 1 : 0);
    }
  });

  test("R-15 several flows of one instance are several bindings, each renewed and ended by itself", () => {
    const rig = trusting();
    const [one, two] = [rig.phone("192.0.2.7", 4001, "tcp"), rig.phone("192.0.2.7", 4002, "tcp")];
    exchange(rig, one, { contacts: [FLOW_1], callId: "a", lines: [SUPPORTED] });
    exchange(rig, two, { contacts: [FLOW_2], callId: "b", lines: [SUPPORTED] });
    const contacts = () => rig.core.usrloc.find(AOR)!.contacts;
    expect(contacts().map(({ regId, flow }) => [regId, flow])).toEqual([[1, one], [2, two]]);
    rig.close(one);
    expect(contacts().map(({ flow }) => flow)).toEqual([null, two]);
    const three = rig.phone("192.0.2.7", 4003, "tcp");
    exchange(rig, three, { contacts: [FLOW_1], callId: "c", lines: [SUPPORTED] });
    expect(contacts().map(({ regId, flow }) => [regId, flow])).toEqual([[1, three], [2, two]]);
    exchange(rig, two, { contacts: [FLOW_2], callId: "b", cseq: 2, expires: 0, lines: [SUPPORTED] });
    expect(contacts().map(({ regId }) => regId)).toEqual([1]);
  });
});

describe("R-15 a request that is no call goes over one flow of a phone", () => {
  function twoFlows(): { rig: Rig; one: TestFlow; two: TestFlow; bob: TestFlow } {
    const rig = trusting();
    const [one, two] = [rig.phone("192.0.2.7", 4001, "tcp"), rig.phone("192.0.2.7", 4002, "tcp")];
    exchange(rig, one, { contacts: [FLOW_1], callId: "a", lines: [SUPPORTED] });
    exchange(rig, two, { contacts: [FLOW_2], callId: "b", lines: [SUPPORTED] });
    return { rig, one, two, bob: rig.phone("192.0.2.99") };
  }

  const message = () => invite().replaceAll("INVITE", "MESSAGE");
  const methods = (rig: Rig, flow: TestFlow) => rig.take(flow).map((text) => text.slice(0, text.indexOf(" ")));

  test("R-15 the newest; if it closes, the next one; then the sender is told", () => {
    const { rig, one, two, bob } = twoFlows();
    rig.receive(bob, message());
    expect([methods(rig, one), methods(rig, two)]).toEqual([[], ["MESSAGE"]]);
    rig.close(two);
    expect(methods(rig, one)).toEqual(["MESSAGE"]);
    expect(rig.take(bob)).toEqual([]);
    rig.close(one);
    expect(rig.take(bob).map(statusLine)).toEqual(["SIP/2.0 480 Temporarily Unavailable"]);
  });

  test("R-15 the phone's own answer is final", () => {
    for (const [status, expected] of [[202, 202], [404, 404], [430, 0]] as const) {
      const { rig, one, two, bob } = twoFlows();
      rig.receive(bob, message());
      const [sent] = rig.take(two);
      rig.receive(two, responseTo(sent!, status));
      expect([status, rig.take(bob).map((text) => parsed(text).status)]).toEqual([
        status,
        expected === 0 ? [] : [expected],
      ]);
      expect([status, methods(rig, one)]).toEqual([status, expected === 0 ? ["MESSAGE"] : []]);
    }
  });
});

/** What a phone says to a request as it got it. */
function responseTo(request: string, status: number): string {
  const lines = request.split("\r\n").filter((line) => /^(?:Via|From|To|Call-ID|CSeq):/.test(line))
    .map((line) => line.startsWith("To:") ? line + ";tag=p" : line);
  return `SIP/2.0 ${status} Whatever\r\n${lines.join("\r\n")}\r\nContent-Length: 0\r\n\r\n`;
}

describe("R-15 Path (RFC 3327)", () => {
  test("R-15 each binding is called along its own Path, in order; a late branch, too", () => {
    const rig = trusting();
    const edges = ["198.51.100.1", "198.51.100.2"].map((address) => rig.phone(address));
    edges.forEach((edge, n) =>
      exchange(rig, edge, {
        contacts: [`<sip:alice@10.1.1.${n}>`],
        callId: `c${n}`,
        lines: [`Path: <sip:p${n}.example.org;lr>`, `Path: <sip:q${n}.example.org;lr>, <sip:r${n}.example.org;lr>`],
      })
    );
    const caller = rig.phone("192.0.2.99");
    rig.receive(caller, invite());
    edges.forEach((edge, n) => {
      const wire = rig.take(edge).find((text) => text.startsWith("INVITE"))!;
      expect(parsed(wire).uri!.text).toBe(`sip:alice@10.1.1.${n}`);
      expect(headers(wire, "Route")).toEqual([
        `<sip:p${n}.example.org;lr>, <sip:q${n}.example.org;lr>, <sip:r${n}.example.org;lr>`,
      ]);
    });
    const late = rig.phone("198.51.100.3");
    const text = { contacts: ["<sip:alice@10.1.1.9>"], callId: "late", lines: ["Path: <sip:late.example.org;lr>"] };
    rig.receive(late, register(late, text));
    const wire = rig.take(late).find((message) => message.startsWith("INVITE"))!;
    expect(headers(wire, "Route")).toEqual(["<sip:late.example.org;lr>"]);
  });

  test("R-15 a refresh with another Path replaces it, one without takes it away", () => {
    const rig = trusting();
    const edge = rig.phone("198.51.100.1");
    const path = () => rig.core.usrloc.find(AOR)!.contacts.map((contact) => contact.path);
    exchange(rig, edge, { contacts: [FLOW_1], lines: ["Path: <sip:a;lr>"] });
    exchange(rig, edge, { contacts: [FLOW_1], cseq: 2, lines: ["Path: <sip:b;lr>"] });
    expect(path()).toEqual(["<sip:b;lr>"]);
    exchange(rig, edge, { contacts: [FLOW_1], cseq: 3 });
    expect(path()).toEqual([""]);
  });
});

describe("R-20 an app that changes its user", () => {
  const token = (user: string, n = 1) => [`<sip:${user}@192.0.2.7;pn-provider=acme;pn-param=p;pn-prid=tok${n}>`];

  test("R-20 two accounts of one app share a connection and a token: both stay, also when they wake one after the other", () => {
    const rig = new Rig();
    const first = rig.phone("192.0.2.7", 4001, "tcp");
    registered(rig, first, { user: "alice", contacts: token("alice"), callId: "a" });
    registered(rig, first, { user: "bob", contacts: token("bob"), callId: "b" });
    rig.close(first);
    const second = rig.phone("192.0.2.7", 4002, "tcp");
    registered(rig, second, { user: "bob", contacts: token("bob"), callId: "b", cseq: 2 });
    registered(rig, second, { user: "alice", contacts: token("alice"), callId: "a", cseq: 2 });
    expect([contactsOf(rig).length, contactsOf(rig, "bob@example.org").length]).toEqual([1, 1]);
  });

  test("R-20 nobody else's: another provider or parameter, a token that was given up, an AoR's own other device", () => {
    const rig = new Rig();
    registered(rig, rig.phone("192.0.2.7", 4001, "tcp"), { user: "alice", contacts: token("alice") });
    const other = token("bob")[0]!.replace("acme", "fcm");
    registered(rig, rig.phone("192.0.2.8", 4001, "tcp"), { user: "bob", contacts: [other] });
    registered(rig, rig.phone("192.0.2.9", 4001, "tcp"), {
      user: "carol",
      contacts: [token("carol")[0]!.replace("=p;", "=q;")],
    });
    registered(rig, rig.phone("192.0.2.7", 4002, "tcp"), { user: "alice", contacts: token("alice", 2), callId: "2" });
    rig.core.usrloc.remove(rig.core.usrloc.find(AOR)!.contacts[0]!, "control");
    rig.take(rig.pbx);
    registered(rig, rig.phone("192.0.2.6", 4001, "tcp"), { user: "dave", contacts: token("dave") });
    const counts = ["alice", "bob", "carol", "dave"].map((user) => contactsOf(rig, `${user}@example.org`).length);
    expect(counts).toEqual([1, 1, 1, 1]);
  });

  test("R-20 nothing before the PBX's 2xx: a refused REGISTER takes no token away", () => {
    const rig = new Rig();
    registered(rig, rig.phone("192.0.2.7", 4001, "tcp"), { user: "alice", contacts: token("alice") });
    const thief = rig.phone("203.0.113.9");
    rig.receive(thief, register(thief, { user: "bob", contacts: token("bob") }));
    expect(contactsOf(rig)).toHaveLength(1);
  });
});
