import { describe, expect, test } from "bun:test";
import {
  accepted,
  answer,
  contactsOf,
  headers,
  parsed,
  register,
  registered,
  Rig,
  statusLine,
  TestFlow,
  without,
} from "./rig.ts";

const CHALLENGE = 'WWW-Authenticate: Digest realm="asterisk",nonce="1234/abc",opaque="x",algorithm=MD5,qop="auth"';
const CREDENTIALS = 'Digest username="alice", realm="asterisk", nonce="1234/abc", uri="sip:example.org", ' +
  'response="0123456789abcdef0123456789abcdef", algorithm=MD5, cnonce="c", qop=auth, nc=00000001';

describe("R-01 a REGISTER on its way to the PBX", () => {
  test("R-01 differs from the phone's by Via, Max-Forwards and Contact alone", () => {
    const rig = new Rig();
    const phone = rig.phone("192.0.2.7", 40123);
    const wire = register(phone, {
      uri: "sip:Example.ORG;transport=udp",
      contacts: ['"Alice" <sip:alice@192.0.2.7:40123;ob>;+sip.instance="<urn:uuid:1>";reg-id=1;q=0.5'],
      expires: 600,
      lines: [
        `Authorization: ${CREDENTIALS}`,
        "X-Odd:no space, and a , comma",
        "x-FOLDED: one",
        "   two",
        'User-Agent: Phone/1.0 "q"  with  spaces ',
        "Supported: path, outbound",
        "Allow: INVITE, ACK",
        "k: gruu",
        "X-Latin: caf\xe9 \xc3\xa9",
      ],
    });
    rig.receive(phone, wire);
    const upstream = rig.one(rig.pbx);
    expect(without(upstream, "Via", "Contact", "Max-Forwards")).toEqual(
      without(wire, "Via", "Contact", "Max-Forwards"),
    );
    expect(headers(upstream, "Max-Forwards")).toEqual(["69"]);
    const via = headers(upstream, "Via");
    expect(via).toHaveLength(2);
    expect(via[0]).toMatch(/^SIP\/2\.0\/UDP 10\.0\.0\.5:5060;branch=z9hG4bK[a-z0-9]+;rport$/);
    expect(via[1]).toStartWith("SIP/2.0/UDP 192.0.2.7:40123;branch=z9hG4bKphone");
    expect(via[1]!.split(";").slice(2).toSorted()).toEqual(["received=192.0.2.7", "rport=40123"]);
    expect(headers(upstream, "Contact")).toEqual([
      expect.stringMatching(/^<sip:alice@10\.0\.0\.5:5060;lf=[a-z0-9]{18}>;expires=3600$/),
    ]);
  });

  test("R-01 keeps order and place: our Contact stands where the phone's first one stood", () => {
    const rig = new Rig();
    const phone = rig.phone("192.0.2.7");
    rig.receive(phone, register(phone, { contacts: ["<sip:a@192.0.2.7>", "<sip:b@192.0.2.7>, <sip:c@192.0.2.7>"] }));
    const names = rig.one(rig.pbx).split("\r\n").map((line) => line.split(":")[0]);
    expect(names).toEqual(
      [
        "REGISTER sip",
        "Via",
        "Via",
        "Max-Forwards",
        "From",
        "To",
        "Call-ID",
        "CSeq",
        "Contact",
        "Content-Length",
        "",
        "",
      ],
    );
  });

  test("R-01 without a Max-Forwards one is added", () => {
    const rig = new Rig();
    const phone = rig.phone("192.0.2.7");
    rig.receive(phone, without(register(phone), "Max-Forwards").join("\r\n"));
    expect(headers(rig.one(rig.pbx), "Max-Forwards")).toEqual(["70"]);
  });

  test("R-01 Route elements that name us are taken off, others stay", () => {
    const rig = new Rig();
    const phone = rig.phone("192.0.2.7");
    rig.receive(
      phone,
      register(phone, { lines: ["Route: <sip:10.0.0.5:5060;lr>, <sip:10.0.0.5;lr>, <sip:next.example.org;lr>"] }),
    );
    expect(headers(rig.one(rig.pbx), "Route")).toEqual(["<sip:next.example.org;lr>"]);
    rig.receive(phone, register(phone, { cseq: 2, lines: ["Route: <sip:10.0.0.5:5060;lr>"] }));
    expect(headers(rig.one(rig.pbx), "Route")).toEqual([]);
  });

  test("R-01 Path is the way from us to the phone: kept here, not told to the PBX, echoed to the phone", () => {
    const rig = new Rig();
    const phone = rig.phone("192.0.2.7");
    const { upstream, reply } = registered(rig, phone, {
      lines: ["Path: <sip:edge1.example.org;lr>", "Supported: path", "Path: <sip:edge2.example.org;lr>"],
    });
    expect(headers(upstream, "Path")).toEqual([]);
    expect(headers(upstream, "Supported")).toEqual(["path"]);
    expect(headers(reply, "Path")).toEqual(["<sip:edge1.example.org;lr>, <sip:edge2.example.org;lr>"]);
    expect(rig.core.usrloc.find("alice@example.org")!.contacts[0]!.path)
      .toBe("<sip:edge1.example.org;lr>, <sip:edge2.example.org;lr>");
  });

  test("R-01 no push parameter and no instance goes to the PBX", () => {
    const rig = new Rig();
    const phone = rig.phone("192.0.2.7");
    const { upstream } = registered(rig, phone, {
      contacts: [
        '<sip:alice@192.0.2.7;pn-provider=apns;pn-param=T.org.voip;pn-prid=s3cret>;+sip.instance="<urn:uuid:1>"',
      ],
    });
    expect(upstream).not.toMatch(/pn-|s3cret|instance/);
  });
});

describe("R-01 the PBX's answer on its way to the phone", () => {
  const answers: [string, string[]][] = [
    ["401 Unauthorized", [CHALLENGE, "Server: Asterisk PBX"]],
    ["407 Proxy Authentication Required", ['Proxy-Authenticate: Digest realm="a", nonce="b"']],
    ["403 Forbidden", ["Contact: <sip:someone@elsewhere.example>;expires=60", "Expires: 60"]],
    ["423 Interval Too Brief", ["Min-Expires: 7200"]],
    ["500 Oh  no: \xe9", ["Retry-After: 5 (I'm in a meeting)", "x-odd:1"]],
    ["302 Moved", ["Contact: <sip:other.example.org>"]],
    ["600 Busy", []],
  ];
  for (const [status, lines] of answers) {
    test(`R-01 ${status.slice(0, 3)} is relayed unchanged but for our Via, and nothing is stored`, () => {
      const rig = new Rig();
      const phone = rig.phone("192.0.2.7");
      rig.receive(phone, register(phone, { expires: 300 }));
      const reply = answer(rig.one(rig.pbx), status, lines);
      const changes = rig.changeCount;
      rig.fromPbx(reply);
      const [top, ...rest] = reply.split("\r\n").filter((line) => !line.includes("10.0.0.5:5060;branch"));
      expect(rig.one(phone).split("\r\n")).toEqual([top!, ...rest]);
      expect(rig.changeCount).toBe(changes);
      expect(rig.core.usrloc.aorCount).toBe(0);
    });
  }

  test("R-01 challenge, credentials, 200: the whole exchange, and one device of one id", () => {
    const rig = new Rig();
    const phone = rig.phone("192.0.2.7");
    rig.receive(phone, register(phone, { expires: 600 }));
    const first = rig.one(rig.pbx);
    rig.fromPbx(answer(first, "401 Unauthorized", [CHALLENGE]));
    expect(headers(rig.one(phone), "WWW-Authenticate")).toHaveLength(1);
    rig.receive(phone, register(phone, { expires: 600, cseq: 2, lines: [`Authorization: ${CREDENTIALS}`] }));
    const second = rig.one(rig.pbx);
    expect(headers(second, "Authorization")).toEqual([CREDENTIALS]);
    expect(headers(second, "Contact")).toEqual(headers(first, "Contact"));
    rig.fromPbx(accepted(second));
    expect(headers(rig.one(phone), "Contact")).toEqual(["<sip:alice@192.0.2.7:5060>;expires=600"]);
    expect(rig.core.usrloc.contactCount).toBe(1);
  });

  test("R-01 a 2xx passes with the PBX's own headers, and only after the store has it", () => {
    const rig = new Rig();
    const phone = rig.phone("192.0.2.7");
    rig.receive(phone, register(phone));
    rig.fromPbx(
      accepted(rig.one(rig.pbx), undefined, ["Service-Route: <sip:10.0.0.2;lr>", "Date: Fri", "Expires: 3600"]),
    );
    const [sent] = rig.takeSent(phone);
    expect(sent!.isDurable).toBe(true);
    expect(headers(sent!.wire, "Service-Route")).toEqual(["<sip:10.0.0.2;lr>"]);
    expect(headers(sent!.wire, "Date")).toEqual(["Fri"]);
    expect(headers(sent!.wire, "Via")).toHaveLength(1);
  });

  test("R-01 nothing is stored and no event is told before the 2xx", () => {
    const rig = new Rig();
    const phone = rig.phone("192.0.2.7");
    rig.receive(phone, register(phone));
    const upstream = rig.one(rig.pbx);
    rig.fromPbx(answer(upstream, "100 Trying"));
    rig.pass(10_000);
    expect(rig.changeCount).toBe(0);
    expect(rig.events).toEqual([]);
    expect(rig.core.usrloc.aorCount).toBe(0);
    rig.fromPbx(accepted(upstream));
    expect(contactsOf(rig)).toEqual(["sip:alice@192.0.2.7:5060"]);
  });

  test("R-01 a PBX that never answers: 504 after 32 s, nothing stored, and its late 2xx changes nothing", () => {
    const rig = new Rig();
    const phone = rig.phone("192.0.2.7");
    rig.receive(phone, register(phone));
    const upstream = rig.take(rig.pbx)[0]!;
    rig.pass(31_999);
    expect(rig.take(phone).map((text) => text.slice(0, 18))).toEqual(["SIP/2.0 100 Trying"]);
    expect(new Set(rig.take(rig.pbx))).toEqual(new Set([upstream]));
    rig.pass(1);
    expect(statusLine(rig.one(phone))).toStartWith("SIP/2.0 504 ");
    rig.fromPbx(accepted(upstream));
    expect(rig.take(phone)).toEqual([]);
    expect(rig.changeCount).toBe(0);
    expect(rig.core.usrloc.aorCount).toBe(0);
  });

  test("R-01 R-02 a PBX that is away, or never lists our Contact, does not fill the log", () => {
    const rig = new Rig({ maxBindings: 1000 });
    const phone = rig.phone("192.0.2.7");
    for (let n = 0; n < 50; n++) {
      rig.receive(phone, register(phone, { user: `u${n}`, callId: `c${n}` }));
      rig.fromPbx(answer(rig.one(rig.pbx), "200 OK", ["Expires: 600"]));
    }
    const pbx = rig.pbx;
    rig.pbx = null;
    pbx!.state = "closed";
    for (let n = 0; n < 50; n++) rig.receive(phone, register(phone, { user: `v${n}`, callId: `d${n}` }));
    for (const words of ["does not list our Contact", "could not be sent to the PBX"]) {
      const levels = rig.logged.filter(({ message }) => message.includes(words)).map(({ level }) => level);
      expect([levels.length, levels.filter((level) => level === "warn").length]).toEqual([50, 10]);
    }
    rig.pass(60_000);
    rig.logged.length = 0;
    rig.receive(phone, register(phone, { user: "w", callId: "e" }));
    expect(rig.logText).toContain("warn A REGISTER could not be sent to the PBX: it is not reachable");
  });

  test("R-01 a PBX that answers twice is heard once", () => {
    const rig = new Rig();
    const phone = rig.phone("192.0.2.7");
    rig.receive(phone, register(phone));
    const upstream = rig.one(rig.pbx);
    rig.fromPbx(accepted(upstream));
    rig.one(phone);
    const changes = rig.changeCount;
    rig.fromPbx(accepted(upstream));
    rig.fromPbx(answer(upstream, "403 Forbidden"));
    expect(rig.sent).toEqual([]);
    expect(rig.changeCount).toBe(changes);
    expect(contactsOf(rig)).toHaveLength(1);
  });

  test("R-01 without a way to the PBX: 503 with Retry-After", () => {
    const rig = new Rig();
    const phone = rig.phone("192.0.2.7");
    rig.pbx!.state = "closed";
    rig.pbx = null;
    rig.receive(phone, register(phone));
    const reply = rig.one(phone);
    expect(statusLine(reply)).toStartWith("SIP/2.0 503 ");
    expect(headers(reply, "Retry-After")).toEqual(["10"]);
  });

  test("R-01 a connection to the PBX that breaks under the REGISTER: 503 at once", () => {
    const rig = new Rig();
    rig.pbx = new TestFlow("tcp", "10.0.0.2", 5060);
    rig.pbxIsBack();
    const phone = rig.phone("192.0.2.7");
    rig.receive(phone, register(phone));
    expect(headers(rig.one(rig.pbx), "Contact")[0]).toContain("sip:alice@10.0.0.5:5060;transport=tcp;lf=");
    rig.close(rig.pbx!);
    expect(statusLine(rig.one(phone))).toStartWith("SIP/2.0 503 ");
    expect(rig.changeCount).toBe(0);
  });

  test("R-01 an answer without the phone's Via: 502, nothing stored, no transaction left", () => {
    const rig = new Rig();
    const phone = rig.phone("192.0.2.7");
    rig.receive(phone, register(phone));
    const reply = accepted(rig.one(rig.pbx)).split("\r\n");
    const lastVia = reply.findLastIndex((line) => line.startsWith("Via:"));
    rig.fromPbx(reply.filter((_, i) => i !== lastVia).join("\r\n"));
    expect(statusLine(rig.one(phone))).toStartWith("SIP/2.0 502 ");
    expect(rig.changeCount).toBe(0);
    rig.pass(64_000);
    expect(rig.core.table.serverCount).toBe(0);
  });

  test("R-01 a retransmission while the PBX thinks is absorbed; afterwards it gets the answer again", () => {
    const rig = new Rig();
    const phone = rig.phone("192.0.2.7");
    const wire = register(phone);
    rig.receive(phone, wire);
    rig.receive(phone, wire);
    rig.receive(phone, wire);
    const upstream = rig.one(rig.pbx);
    expect(rig.take(phone)).toEqual([]);
    rig.fromPbx(accepted(upstream));
    const reply = rig.one(phone);
    const changes = rig.changeCount;
    rig.pass(3000);
    rig.receive(phone, wire);
    expect(rig.one(phone)).toBe(reply);
    expect(rig.take(rig.pbx)).toEqual([]);
    expect(rig.changeCount).toBe(changes);
  });

  test("R-01 a phone whose Contact names us is registered over its flow, and its calls do not loop", () => {
    const rig = new Rig();
    const phone = rig.phone("192.0.2.7");
    const { upstream } = registered(rig, phone, { contacts: ["<sip:alice@10.0.0.5:5060>"] });
    const uri = /<([^>]*)>/.exec(headers(upstream, "Contact")[0]!)![1]!;
    rig.fromPbx(
      `INVITE ${uri} SIP/2.0\r\nVia: SIP/2.0/UDP 10.0.0.2:5060;branch=z9hG4bKi1\r\nMax-Forwards: 70\r\n` +
        "From: <sip:bob@example.org>;tag=1\r\nTo: <sip:alice@example.org>\r\nCall-ID: i1\r\nCSeq: 1 INVITE\r\n" +
        "Contact: <sip:10.0.0.2:5060>\r\nContent-Length: 0\r\n\r\n",
    );
    expect(parsed(rig.one(phone)).method).toBe("INVITE");
  });

  test("R-01 a REGISTER of our own that comes back is a loop", () => {
    const rig = new Rig();
    const phone = rig.phone("192.0.2.7");
    rig.receive(phone, register(phone));
    const upstream = rig.one(rig.pbx);
    rig.fromPbx(upstream);
    expect(rig.take(rig.pbx).map(statusLine)).toEqual(["SIP/2.0 482 Loop Detected"]);
  });
});

test("R-17 the answer that a phone gets is stored even if its connection closed meanwhile; the flow is lost then", () => {
  const rig = new Rig();
  const phone = rig.phone("192.0.2.7", 40000, "tcp");
  rig.receive(phone, register(phone));
  const upstream = rig.one(rig.pbx);
  rig.close(phone);
  rig.fromPbx(accepted(upstream));
  const contact = rig.core.usrloc.find("alice@example.org")!.contacts[0]!;
  expect(contact.flow).toBeNull();
  expect(contact.flowKey).toBe(phone.key);
  expect(rig.pinned.size).toBe(0);
  expect(rig.core.usrloc.isPhoneFlow(phone)).toBe(false);
});
