import { describe, expect, test } from "bun:test";
import { createHash } from "node:crypto";
import { cidr, Rig, TCP, type TestFlow, UDP, UDP6, UserDirectory } from "./rig.ts";
import {
  answer,
  calleeSide,
  callerSide,
  type DialogSide,
  inDialog,
  methodOf,
  request,
  type RequestOptions,
  requestUri,
  startLine,
  statusOf,
  value,
  values,
} from "./sip_text.ts";

const DOMAIN = "10.0.0.5";
const md5 = (text: string) => createHash("md5").update(text).digest("hex");

function rigOf(options: { users?: string[]; trust?: string[]; domain?: string[] } = {}): Rig {
  const { users = ["alice", "bob", "carol"], trust = ["192.168.0.0/16"], domain = [] } = options;
  const realm = domain[0] ?? "latefork.example";
  return new Rig({
    pbx: null,
    config: (config) => {
      config.security.trust = trust.map(cidr);
      config.domain = domain;
    },
    users: new UserDirectory(
      users.map((user) => ({ user, realm, ha1Md5: md5(`${user}:${realm}:secret`), ha1Sha256: "" })),
    ),
  });
}

/** The same request again with the digest that its 407 asked for. */
function withDigest(text: string, challenge: string, user: string): string {
  const line = values(challenge, "Proxy-Authenticate").find((one) => /MD5/i.test(one)) ?? "";
  const field = (name: string) => new RegExp(`${name}="([^"]*)"`).exec(line)![1]!;
  const [realm, nonce] = [field("realm"), field("nonce")];
  const uri = requestUri(text);
  const ha2 = md5(`${methodOf(text)}:${uri}`);
  const response = md5(`${md5(`${user}:${realm}:secret`)}:${nonce}:00000001:cn:auth:${ha2}`);
  return text.replace(
    "Max-Forwards:",
    `Proxy-Authorization: Digest username="${user}", realm="${realm}", nonce="${nonce}", uri="${uri}", ` +
      `response="${response}", algorithm=MD5, cnonce="cn", qop=auth, nc=00000001\r\nMax-Forwards:`,
  ).replace(/branch=[^;]+/, "branch=z9hG4bKauth" + nonce.slice(-9));
}

function invite(uri: string, options: RequestOptions = {}): string {
  return request("INVITE", uri, {
    from: `<sip:alice@${DOMAIN}>;tag=a`,
    contact: "<sip:alice@192.168.1.9:5060>",
    ...options,
  });
}

describe("F-06 registrar mode: who may call", () => {
  test("F-06 a trusted source calls without digest", () => {
    const rig = rigOf();
    const [alice, bob] = [rig.flow("192.168.1.9", 5060), rig.flow("192.168.1.8", 5060)];
    rig.register("bob", bob, "sip:bob@192.168.1.8:5060");
    rig.receive(alice, invite(`sip:bob@${DOMAIN}`));
    expect(requestUri(bob.one())).toBe("sip:bob@192.168.1.8:5060");
  });

  test("F-06 anybody else needs digest: 407, then the call, and the callee never sees the credentials", () => {
    const rig = rigOf();
    const [alice, bob] = [rig.flow("198.51.100.9", 5060), rig.flow("192.168.1.8", 5060)];
    rig.register("bob", bob, "sip:bob@192.168.1.8:5060");
    const text = invite(`sip:bob@${DOMAIN}`);
    rig.receive(alice, text);
    const challenge = alice.one();
    expect(statusOf(challenge)).toBe(407);
    expect(bob.sent).toEqual([]);
    rig.receive(alice, request("ACK", `sip:bob@${DOMAIN}`, { to: value(challenge, "To") }));
    rig.receive(alice, withDigest(text, challenge, "alice"));
    expect(alice.kinds()).toEqual([100]);
    const atBob = bob.one();
    expect(startLine(atBob)).toBe("INVITE sip:bob@192.168.1.8:5060 SIP/2.0");
    expect(values(atBob, "Proxy-Authorization")).toEqual([]);
    expect(atBob).not.toContain("nonce");
    // Phones go on sending them inside the dialog.
    const ok = answer(atBob, 200, { contact: "<sip:bob@192.168.1.8:5060>" });
    rig.receive(bob, ok);
    const side = callerSide(text, alice.one());
    for (const method of ["ACK", "INFO", "BYE"]) {
      rig.receive(alice, withDigest(inDialog(method, side), challenge, "alice"));
      const [atCallee] = bob.all();
      expect([methodOf(atCallee!), values(atCallee!, "Proxy-Authorization")]).toEqual([method, []]);
    }
  });

  test("F-06 nor does he see those a trusted source sends unasked", () => {
    const rig = rigOf();
    const [trusted, bob] = [rig.flow("192.168.1.9", 5060), rig.flow("192.168.1.8", 5060)];
    rig.register("bob", bob, "sip:bob@192.168.1.8:5060");
    const headers: [string, string][] = [["Proxy-Authorization", 'Digest username="alice", nonce="n"']];
    rig.receive(trusted, invite(`sip:bob@${DOMAIN}`, { headers }));
    expect(values(bob.one(), "Proxy-Authorization")).toEqual([]);
  });

  test("F-06 a proven user may not call in another's name", () => {
    const rig = rigOf();
    const [mallory, bob] = [rig.flow("198.51.100.9", 5060), rig.flow("192.168.1.8", 5060)];
    rig.register("bob", bob, "sip:bob@192.168.1.8:5060");
    const text = invite(`sip:bob@${DOMAIN}`);
    rig.receive(mallory, text);
    rig.receive(mallory, withDigest(text, mallory.one(), "carol"));
    expect(mallory.kinds()).toEqual([403]);
    expect(bob.sent).toEqual([]);
  });

  for (const method of ["MESSAGE", "SUBSCRIBE", "OPTIONS", "REFER", "FOO"]) {
    test(`F-06 ${method} needs digest as well`, () => {
      const rig = rigOf();
      const [stranger, bob] = [rig.flow("198.51.100.9", 5060), rig.flow("192.168.1.8", 5060)];
      rig.register("bob", bob, "sip:bob@192.168.1.8:5060");
      rig.receive(stranger, request(method, `sip:bob@${DOMAIN}`));
      expect(stranger.kinds()).toEqual([407]);
      expect(bob.sent).toEqual([]);
    });
  }

  test("F-06 a flood of unproven calls leaves no state behind", () => {
    const rig = rigOf();
    for (let i = 0; i < 100; i++) {
      const flow = rig.flow("198.51.100.9", 10000 + i);
      rig.receive(flow, invite(`sip:bob@${DOMAIN}`));
      expect(flow.kinds()).toEqual([407]);
    }
    expect(rig.core.table.serverCount).toBe(0);
    rig.pass(60_000);
    expect(rig.untaken).toEqual([]);
  });

  for (const method of ["SUBSCRIBE", "MESSAGE", "REFER"]) {
    test(`F-01 ${method}: the sender gets one 2xx of two (RFC 3261 §16.7), and neither phone an ACK or a BYE`, () => {
      const rig = rigOf();
      const bob = rig.flow("192.168.1.8", 5060);
      const phones = [rig.flow("192.168.1.11", 5060), rig.flow("192.168.1.12", 5060)];
      for (const phone of phones) rig.register("alice", phone, `sip:alice@${phone.remoteAddress}:5060`);
      rig.receive(bob, request(method, `sip:alice@${DOMAIN}`));
      for (const phone of phones) {
        rig.receive(phone, answer(phone.one(), 200, { contact: `<sip:alice@${phone.remoteAddress}>` }));
      }
      expect(bob.kinds()).toEqual([200]);
      expect(phones.map((phone) => phone.kinds())).toEqual([[], []]);
    });
  }

  test("F-01 OPTIONS to the domain is OPTIONS to us, and needs no digest (RFC 3261 §11)", () => {
    const rig = rigOf({ domain: ["example.org"] });
    const stranger = rig.flow("198.51.100.9", 5060);
    for (const uri of ["sip:example.org", "sip:EXAMPLE.org:5060", `sip:${DOMAIN}`]) {
      rig.receive(stranger, request("OPTIONS", uri));
      expect([uri, stranger.kinds()]).toEqual([uri, [200]]);
    }
    rig.receive(stranger, request("OPTIONS", "sip:example.net"));
    expect(stranger.kinds()).toEqual([407]);
  });

  const targets: [string, string, number][] = [
    ["an unknown user", `sip:nobody@${DOMAIN}`, 404],
    ["a known user without a device", `sip:carol@${DOMAIN}`, 480],
    ["a known user with escapes", `sip:c%61rol@${DOMAIN}`, 480],
    ["another domain", "sip:bob@203.0.113.5", 403],
    ["another domain with the id of a device", "sip:x@203.0.113.5;lf=0", 403],
    ["our host without a user", `sip:${DOMAIN}`, 404],
    ["a telephone number", "tel:+49301234", 404],
  ];
  for (const [what, uri, status] of targets) {
    for (const method of ["INVITE", "MESSAGE"]) {
      test(`F-06 ${method} to ${what}: ${status}, from a trusted and from a proven caller`, () => {
        const rig = rigOf();
        const trusted = rig.flow("192.168.1.9", 5060);
        rig.receive(trusted, request(method, uri, { from: `<sip:alice@${DOMAIN}>;tag=a` }));
        expect(trusted.kinds()).toEqual([status]);
        const proven = rig.flow("198.51.100.9", 5060);
        const text = request(method, uri, { from: `<sip:alice@${DOMAIN}>;tag=a` });
        rig.receive(proven, text);
        const challenge = proven.one();
        rig.receive(proven, withDigest(text, challenge, "alice"));
        expect(proven.kinds()).toEqual([status]);
        expect(rig.untaken).toEqual([]);
        expect(rig.opened).toEqual([]);
      });
    }
  }

  test("F-06 a Route to another host is not followed, a Route to us is dropped", () => {
    const rig = rigOf();
    const [alice, bob] = [rig.flow("192.168.1.9", 5060), rig.flow("192.168.1.8", 5060)];
    rig.register("bob", bob, "sip:bob@192.168.1.8:5060");
    rig.receive(alice, invite(`sip:bob@${DOMAIN}`, { route: ["<sip:10.0.0.5;lr>", "<sip:203.0.113.5;lr>"] }));
    expect(methodOf(bob.one())).toBe("INVITE");
    expect(rig.opened).toEqual([]);
  });

  test("F-06 OPTIONS to us needs no digest, REGISTER of nobody's domain gets 404", () => {
    const rig = rigOf();
    const stranger = rig.flow("198.51.100.9", 5060);
    rig.receive(stranger, request("OPTIONS", `sip:${DOMAIN}`));
    const lan = rig.flow("192.168.1.9", 5060);
    rig.receive(
      lan,
      request("REGISTER", "sip:evil.example", { to: "<sip:x@evil.example>", contact: "<sip:x@192.168.1.9>" }),
    );
    expect([...stranger.kinds(), ...lan.kinds()]).toEqual([200, 404]);
  });
});

describe("F-03 phone to phone", () => {
  interface Dialog {
    rig: Rig;
    alice: TestFlow;
    bob: TestFlow;
    aliceSide: DialogSide;
    bobSide: DialogSide;
    atBob: string;
  }

  function call(rig: Rig, alice: TestFlow, bob: TestFlow, isRegistered: boolean): Dialog {
    rig.register("bob", bob, "sip:bob@192.168.1.8:5060");
    if (isRegistered) rig.register("alice", alice, "sip:alice@192.168.1.9:5060");
    const text = invite(`sip:bob@${DOMAIN}`, { transport: alice.transport.toUpperCase() });
    rig.receive(alice, text);
    const atBob = bob.one();
    const ok = answer(atBob, 200, { contact: "<sip:bob@192.168.1.8:5060>" });
    rig.receive(bob, ok);
    const atAlice = alice.all().at(-1)!;
    expect(statusOf(atAlice)).toBe(200);
    return { rig, alice, bob, atBob, aliceSide: callerSide(text, atAlice), bobSide: calleeSide(atBob, ok) };
  }

  const layouts = [["UDP", "UDP", UDP, UDP], ["TCP", "UDP", TCP, UDP], ["UDP", "TCP", UDP, TCP], [
    "IPv6",
    "IPv4",
    UDP6,
    UDP,
  ]] as const;
  for (const [one, other, mine, his] of layouts) {
    for (const isRegistered of [true, false]) {
      test(`F-03 F-04 ${one} calls ${other}, caller ${isRegistered ? "" : "not "}registered: both directions`, () => {
        const rig = rigOf({ trust: ["192.168.0.0/16", "2001:db8::/32"] });
        const alice = rig.flow(mine === UDP6 ? "2001:db8::9" : "192.168.1.9", 40009, mine);
        const bob = rig.flow("192.168.1.8", 40008, his);
        const { aliceSide, bobSide, atBob } = call(rig, alice, bob, isRegistered);
        const routes = values(atBob, "Record-Route");
        expect(routes).toHaveLength(2);
        for (const [i, listener] of [his, mine].entries()) {
          expect(routes[i]).toContain(`@${listener.advertised}`);
          expect(routes[i]!.includes(";transport=tcp")).toBe(listener === TCP);
        }
        rig.receive(alice, inDialog("ACK", aliceSide));
        expect(startLine(bob.one())).toBe("ACK sip:bob@192.168.1.8:5060 SIP/2.0");
        for (const method of ["INFO", "INVITE", "UPDATE", "BYE"]) {
          rig.receive(bob, inDialog(method, bobSide));
          const atAlice = alice.one();
          expect(startLine(atAlice)).toBe(`${method} sip:alice@192.168.1.9:5060 SIP/2.0`);
          expect(values(atAlice, "Route")).toEqual([]);
          rig.receive(alice, answer(atAlice, 200));
          expect(bob.kinds().at(-1)).toBe(200);
          rig.receive(alice, inDialog(method, aliceSide));
          const got = bob.one();
          expect(startLine(got)).toBe(`${method} sip:bob@192.168.1.8:5060 SIP/2.0`);
          rig.receive(bob, answer(got, 200));
          expect(alice.kinds().at(-1)).toBe(200);
        }
        expect(rig.untaken).toEqual([]);
      });
    }
  }

  test("F-03 both phones move in the call and find each other", () => {
    const rig = rigOf();
    const { aliceSide, bobSide } = call(rig, rig.flow("192.168.1.9", 1), rig.flow("192.168.1.8", 2), true);
    rig.pass(1000);
    const [alice, bob] = [rig.flow("192.168.77.9", 3), rig.flow("192.168.77.8", 4, TCP)];
    rig.register("alice", alice, "sip:alice@192.168.1.9:5060");
    rig.register("bob", bob, "sip:bob@192.168.1.8:5060");
    rig.receive(alice, inDialog("INFO", aliceSide));
    expect(methodOf(bob.one())).toBe("INFO");
    rig.receive(bob, inDialog("BYE", bobSide));
    expect(methodOf(alice.one())).toBe("BYE");
  });

  test("F-03 a strictly routed request reaches the other phone", () => {
    const rig = rigOf();
    const { aliceSide, bobSide, alice, bob } = call(rig, rig.flow("192.168.1.9", 1), rig.flow("192.168.1.8", 2), true);
    const strict = (side: DialogSide) => {
      const [first, ...rest] = [...side.route, `<${side.target}>`];
      return { ...side, target: first!.slice(1, -1), route: rest };
    };
    rig.receive(alice, inDialog("INFO", strict(aliceSide)));
    expect(startLine(bob.one())).toBe("INFO sip:bob@192.168.1.8:5060 SIP/2.0");
    rig.receive(bob, inDialog("INFO", strict(bobSide)));
    expect(startLine(alice.one())).toBe("INFO sip:alice@192.168.1.9:5060 SIP/2.0");
  });

  test("F-03 the caller's connection is gone and does not come back: 480, and nobody is dialled behind his NAT", () => {
    const rig = rigOf();
    const { bobSide, alice, bob } = call(rig, rig.flow("192.168.1.9", 40009, TCP), rig.flow("192.168.1.8", 2), true);
    rig.close(alice);
    rig.receive(bob, inDialog("INFO", bobSide));
    expect(bob.kinds()).toEqual([480]);
    rig.receive(bob, inDialog("BYE", bobSide, { cseq: 3 }));
    expect(bob.kinds()).toEqual([]);
    rig.pass(20_000);
    expect(bob.kinds()).toEqual([100, 480]);
    expect(rig.opened).toEqual([]);
  });

  test("F-03 without token there is no way: 481 for phones, 403 for strangers", () => {
    const rig = rigOf();
    const { aliceSide, alice } = call(rig, rig.flow("192.168.1.9", 1), rig.flow("192.168.1.8", 2), true);
    rig.receive(alice, inDialog("BYE", { ...aliceSide, route: [] }));
    expect(alice.kinds()).toEqual([481]);
    const stranger = rig.flow("198.51.100.9", 5060);
    rig.receive(stranger, inDialog("BYE", { ...aliceSide, local: "<sip:x@y.example>;tag=1", route: [] }));
    rig.receive(stranger, inDialog("ACK", { ...aliceSide, local: "<sip:x@y.example>;tag=1", route: [] }));
    rig.receive(stranger, inDialog("BYE", { ...aliceSide, callId: "other" }));
    expect(stranger.kinds()).toEqual([403, 403]);
    expect(rig.untaken).toEqual([]);
  });
});
