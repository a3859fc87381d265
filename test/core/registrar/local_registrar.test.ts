import { describe, expect, test } from "bun:test";
import { UserDirectory } from "../../../src/core/registrar/users.ts";
import { answerChallenge, digestUser, parseChallenges } from "../../../src/core/sip/digest.ts";
import {
  contactsOf,
  headers,
  register,
  type RegisterText,
  Rig,
  type RigOptions,
  START_MS,
  statusLine,
  type TestFlow,
} from "./rig.ts";

const AOR = "alice@example.org";
const users = new UserDirectory([
  digestUser("alice", "example.org", "wonder"),
  { ...digestUser("olga", "example.org", "old"), ha1Sha256: "" },
  digestUser("alice", "other.example", "mirror"),
]);

function trusting(options: RigOptions = {}): Rig {
  return new Rig({ pbx: false, trust: ["192.0.2.0/24"], ...options });
}

function digesting(options: RigOptions = {}): Rig {
  return new Rig({ pbx: false, secrets: { users }, ...options });
}

function exchange(rig: Rig, flow: TestFlow, text: RegisterText = {}): string {
  rig.receive(flow, register(flow, text));
  return rig.one(flow);
}

interface Credentials {
  user?: string;
  password?: string;
  algorithm?: "MD5" | "SHA-256";
  nc?: number;
  uri?: string;
}

/** The answer to the challenges of a reply, as an Authorization line. */
function authorization(reply: string, how: Credentials = {}): string {
  const challenges = parseChallenges(headers(reply, "WWW-Authenticate")).filter(({ algorithm }) =>
    how.algorithm === undefined || algorithm === how.algorithm
  );
  const secret = { username: how.user ?? "alice", password: how.password ?? "wonder", ha1s: [] };
  const value = answerChallenge(challenges, secret, {
    method: "REGISTER",
    uri: how.uri ?? "sip:example.org",
    cnonce: "abc",
    nc: how.nc ?? 1,
  });
  return `Authorization: ${value}`;
}

describe("R-16 registrar mode, trusted source", () => {
  test("R-16 registered and answered in the same turn, durably, with no transaction kept", () => {
    const rig = trusting();
    const phone = rig.phone("192.0.2.7", 40123);
    rig.receive(phone, register(phone, { expires: 600, lines: ["User-Agent: T46"] }));
    const [sent] = rig.takeSent(phone);
    expect(sent!.isDurable).toBe(true);
    expect(statusLine(sent!.wire)).toBe("SIP/2.0 200 OK");
    expect(headers(sent!.wire, "Contact")).toEqual(["<sip:alice@192.0.2.7:40123>;expires=600"]);
    expect(headers(sent!.wire, "To")[0]).toMatch(/;tag=\w+$/);
    expect(headers(sent!.wire, "Via")[0]).toContain("rport=40123");
    expect(rig.core.table.serverCount).toBe(0);
    expect(contactsOf(rig)).toEqual(["sip:alice@192.0.2.7:40123"]);
    expect(rig.events).toMatchObject([{ type: "registration", state: "registered", aor: AOR }]);
  });

  test("R-16 a retransmission gives the same answer and changes nothing", () => {
    const rig = trusting();
    const phone = rig.phone("192.0.2.7");
    const wire = register(phone, { expires: 600 });
    rig.receive(phone, wire);
    const reply = rig.one(phone);
    const contact = { ...rig.core.usrloc.find(AOR)!.contacts[0]! };
    const changes = rig.changeCount;
    rig.events.length = 0;
    rig.pass(500);
    rig.receive(phone, wire);
    expect(rig.one(phone)).toBe(reply);
    rig.pass(29_500);
    rig.receive(phone, wire);
    expect(rig.one(phone)).toBe(reply.replace("expires=600", "expires=570"));
    expect(rig.changeCount).toBe(changes);
    expect(rig.core.usrloc.find(AOR)!.contacts[0]!.expiresAtMs).toBe(contact.expiresAtMs);
    expect(rig.events).toEqual([]);
  });

  test("R-16 a phone that never counts its CSeq up is refreshed all the same", () => {
    const rig = trusting();
    const phone = rig.phone("192.0.2.7");
    exchange(rig, phone, { expires: 600 });
    rig.pass(300_000);
    expect(headers(exchange(rig, phone, { expires: 600 }), "Contact")[0]).toEndWith(";expires=600");
    rig.pass(1000);
    expect(statusLine(exchange(rig, phone, { expires: 0 }))).toBe("SIP/2.0 200 OK");
    expect(contactsOf(rig)).toEqual([]);
  });

  test("R-11 a lower CSeq with the same Call-ID: 400, and nothing changes", () => {
    const rig = trusting();
    const phone = rig.phone("192.0.2.7");
    exchange(rig, phone, { cseq: 5, expires: 600 });
    const changes = rig.changeCount;
    for (const text of [{ expires: 300 }, { expires: 0 }, { expires: 0, contacts: ["*"] }]) {
      rig.receive(phone, register(phone, { cseq: 4, ...text }));
      const status = statusLine(rig.one(phone));
      if (text.contacts === undefined) expect(status).toStartWith("SIP/2.0 400 ");
    }
    expect(rig.changeCount).toBe(changes);
    expect(contactsOf(rig)).toHaveLength(1);
  });

  test("R-10 expiry, bounds and removal", () => {
    const rig = trusting();
    const phone = rig.phone("192.0.2.7");
    const brief = exchange(rig, phone, { expires: 59 });
    expect([statusLine(brief), headers(brief, "Min-Expires")[0]]).toEqual(["SIP/2.0 423 Interval Too Brief", "60"]);
    expect(headers(exchange(rig, phone, { expires: 999_999_999, cseq: 2 }), "Contact")[0]).toEndWith(
      ";expires=2592000",
    );
    expect(headers(exchange(rig, phone, { cseq: 3 }), "Contact")[0]).toEndWith(";expires=3600");
    rig.pass(3_599_999);
    expect(contactsOf(rig)).toHaveLength(1);
    rig.pass(1);
    expect(contactsOf(rig)).toEqual([]);
    expect(rig.core.usrloc.aorCount).toBe(0);
    exchange(rig, phone, { cseq: 4 });
    exchange(rig, rig.phone("192.0.2.8"), {});
    expect(headers(exchange(rig, phone, { cseq: 5, expires: 0 }), "Contact")).toEqual([]);
    expect(contactsOf(rig)).toEqual(["sip:alice@192.0.2.8:5060"]);
    exchange(rig, phone, { cseq: 6, expires: 0, contacts: ["*"] });
    expect(rig.core.usrloc.aorCount).toBe(0);
    expect(rig.core.schedule.nextMs).toBe(Infinity);
  });

  test("R-14 a REGISTER without Contact returns the bindings; of nobody there are none", () => {
    const rig = trusting();
    exchange(rig, rig.phone("192.0.2.7"), { expires: 600 });
    exchange(rig, rig.phone("192.0.2.8"), { expires: 700 });
    const fetched = exchange(rig, rig.phone("192.0.2.9"), { contacts: [] });
    expect(headers(fetched, "Contact")).toEqual([
      "<sip:alice@192.0.2.7:5060>;expires=600",
      "<sip:alice@192.0.2.8:5060>;expires=700",
    ]);
    expect(headers(exchange(rig, rig.phone("192.0.2.9"), { user: "bob", contacts: [] }), "Contact")).toEqual([]);
    expect(rig.core.usrloc.aorCount).toBe(1);
  });

  test("R-13 max_contacts 1, evict: the new device is reachable", () => {
    const rig = trusting({ registration: { max_contacts: 1 } });
    exchange(rig, rig.phone("192.0.2.7"));
    exchange(rig, rig.phone("192.0.2.8"));
    expect(contactsOf(rig)).toEqual(["sip:alice@192.0.2.8:5060"]);
    expect(rig.core.usrloc.aorCount).toBe(1);
  });

  test("R-13 max_contacts, reject", () => {
    const rig = trusting({ registration: { max_contacts: 1, overflow: "reject" } });
    exchange(rig, rig.phone("192.0.2.7"));
    expect(statusLine(exchange(rig, rig.phone("192.0.2.8")))).toStartWith("SIP/2.0 403 ");
    expect(contactsOf(rig)).toEqual(["sip:alice@192.0.2.7:5060"]);
  });

  test("R-15 Path is stored and echoed", () => {
    const rig = trusting();
    const reply = exchange(rig, rig.phone("192.0.2.7"), {
      lines: ["Require: path", "Path: <sip:a;lr>", "Path: <sip:b;lr>, <sip:c;lr>"],
    });
    expect(statusLine(reply)).toBe("SIP/2.0 200 OK");
    expect(headers(reply, "Path")).toEqual(["<sip:a;lr>, <sip:b;lr>, <sip:c;lr>"]);
    expect(rig.core.usrloc.find(AOR)!.contacts[0]!.path).toBe("<sip:a;lr>, <sip:b;lr>, <sip:c;lr>");
  });

  const refused: [string, RegisterText, RegExp][] = [
    ["unknown domain", { domain: "elsewhere.example" }, /^SIP\/2\.0 404 /],
    ["Require of something unknown", { lines: ["Require: path, gruu", "Require: Outbound"] }, /^SIP\/2\.0 420 /],
    ["regbadct", { contacts: ["sip:user@example.com?Route=%3Csip:sip.example.com%3E"] }, /^SIP\/2\.0 400 /],
    ["wildcard without Expires: 0", { contacts: ["*"] }, /^SIP\/2\.0 400 /],
    ["Proxy-Require", { lines: ["Proxy-Require: x"] }, /^SIP\/2\.0 420 /],
  ];
  for (const [name, text, status] of refused) {
    test(`R-16 ${name} is refused and counted`, () => {
      const rig = trusting();
      const reply = exchange(rig, rig.phone("192.0.2.7"), text);
      expect(statusLine(reply)).toMatch(status);
      if (name.startsWith("Require")) expect(headers(reply, "Unsupported")).toEqual(["gruu"]);
      expect(rig.changeCount).toBe(0);
      expect(rig.counts.size).toBeGreaterThan(0);
    });
  }

  test("R-16 without a configured domain our own addresses are ours, others are not", () => {
    const rig = trusting({ domain: [] });
    expect(statusLine(exchange(rig, rig.phone("192.0.2.7"), { domain: "10.0.0.5" }))).toBe("SIP/2.0 200 OK");
    expect(statusLine(exchange(rig, rig.phone("192.0.2.7"), { domain: "10.0.0.6" }))).toStartWith("SIP/2.0 404 ");
  });

  test("R-16 with neither users nor trust nothing registers", () => {
    const rig = new Rig({ pbx: false });
    expect(statusLine(exchange(rig, rig.phone("192.0.2.7")))).toStartWith("SIP/2.0 403 ");
    expect(rig.changeCount).toBe(0);
  });

  test("R-18 registrar mode: nobody is asked to end anything when a device expires", () => {
    const rig = trusting();
    exchange(rig, rig.phone("192.0.2.7"), { expires: 60 });
    rig.pass(60_000);
    expect(rig.sent).toEqual([]);
    expect(rig.core.usrloc.aorCount).toBe(0);
  });
});

describe("R-16 registrar mode, digest", () => {
  test("R-16 challenged with SHA-256 and MD5; either one registers", () => {
    for (const algorithm of ["SHA-256", "MD5"] as const) {
      const rig = digesting();
      const phone = rig.phone("192.0.2.7");
      const challenge = exchange(rig, phone);
      expect(statusLine(challenge)).toBe("SIP/2.0 401 Unauthorized");
      expect(headers(challenge, "WWW-Authenticate").map((value) => /algorithm=([\w-]+)/.exec(value)![1]))
        .toEqual(["SHA-256", "MD5"]);
      expect(rig.changeCount).toBe(0);
      rig.receive(phone, register(phone, { cseq: 2, lines: [authorization(challenge, { algorithm })] }));
      const [sent] = rig.takeSent(phone);
      expect(statusLine(sent!.wire)).toBe("SIP/2.0 200 OK");
      expect(sent!.isDurable).toBe(true);
      expect(contactsOf(rig)).toHaveLength(1);
    }
  });

  test("R-16 a user with an MD5 hash alone is offered MD5 alone", () => {
    const rig = digesting();
    const phone = rig.phone("192.0.2.7");
    const challenge = exchange(rig, phone, { user: "olga" });
    expect(headers(challenge, "WWW-Authenticate")).toHaveLength(1);
    const lines = [authorization(challenge, { user: "olga", password: "old" })];
    expect(statusLine(exchange(rig, phone, { user: "olga", cseq: 2, lines }))).toBe("SIP/2.0 200 OK");
  });

  test("R-16 a nonce serves several requests with rising counts, a repeated count is a replay", () => {
    const rig = digesting();
    const phone = rig.phone("192.0.2.7");
    const challenge = exchange(rig, phone);
    for (const nc of [1, 2, 5]) {
      expect(statusLine(exchange(rig, phone, { cseq: 1 + nc, lines: [authorization(challenge, { nc })] }))).toBe(
        "SIP/2.0 200 OK",
      );
    }
    const replayed = exchange(rig, rig.phone("203.0.113.66"), {
      callId: "thief",
      expires: 0,
      contacts: ["*"],
      lines: [authorization(challenge, { nc: 5 })],
    });
    expect(statusLine(replayed)).toBe("SIP/2.0 401 Unauthorized");
    expect(contactsOf(rig)).toHaveLength(1);
  });

  test("R-16 an old nonce: stale, and the next one works", () => {
    const rig = digesting();
    const phone = rig.phone("192.0.2.7");
    const challenge = exchange(rig, phone);
    rig.pass(300_001);
    const again = exchange(rig, phone, { cseq: 2, lines: [authorization(challenge)] });
    expect(statusLine(again)).toBe("SIP/2.0 401 Unauthorized");
    expect(headers(again, "WWW-Authenticate")[0]).toContain("stale=true");
    expect(statusLine(exchange(rig, phone, { cseq: 3, lines: [authorization(again)] }))).toBe("SIP/2.0 200 OK");
  });

  const wrong: [string, Credentials][] = [
    ["password", { password: "guess" }],
    ["user", { user: "mallory" }],
    ["request URI", { uri: "sip:elsewhere.example" }],
  ];
  for (const [name, how] of wrong) {
    test(`R-16 wrong ${name}: 401 without stale, counted, nothing stored`, () => {
      const rig = digesting();
      const phone = rig.phone("192.0.2.7");
      const reply = exchange(rig, phone, { cseq: 2, lines: [authorization(exchange(rig, phone), how)] });
      expect(statusLine(reply)).toBe("SIP/2.0 401 Unauthorized");
      expect(reply).not.toContain("stale=true");
      expect([...rig.counts.keys()].some((key) => key.startsWith("rejected_total{auth_"))).toBe(true);
      expect(rig.changeCount).toBe(0);
    });
  }

  test("R-16 a user for another AoR, and a user of the same name in another domain: 403", () => {
    const rig = digesting({ domain: ["example.org", "other.example"] });
    const phone = rig.phone("192.0.2.7");
    const own = exchange(rig, phone);
    const lines = [authorization(own)];
    expect(statusLine(exchange(rig, phone, { user: "olga", uri: "sip:example.org", cseq: 2, lines }))).toStartWith(
      "SIP/2.0 403 ",
    );
    const other = [authorization(own, { nc: 2 })];
    expect(statusLine(exchange(rig, phone, { domain: "other.example", uri: "sip:example.org", cseq: 3, lines: other })))
      .toStartWith("SIP/2.0 403 ");
    expect(rig.changeCount).toBe(0);
  });

  test("R-16 without a configured domain the users' realm serves our addresses, however it is spelled", () => {
    const rig = digesting({
      domain: [],
      secrets: { users: new UserDirectory([digestUser("alice", "My PBX", "wonder")]) },
    });
    const phone = rig.phone("192.0.2.7");
    const challenge = exchange(rig, phone, { domain: "10.0.0.5" });
    expect(headers(challenge, "WWW-Authenticate")[0]).toContain('realm="My PBX"');
    const lines = [authorization(challenge, { uri: "sip:10.0.0.5" })];
    expect(statusLine(exchange(rig, phone, { domain: "10.0.0.5", cseq: 2, lines }))).toBe("SIP/2.0 200 OK");
  });

  test("R-16 a retransmission is answered by the transaction, also of the request with the used-up count", () => {
    const rig = digesting();
    const phone = rig.phone("192.0.2.7");
    const wire = register(phone, { cseq: 2, lines: [authorization(exchange(rig, phone))] });
    rig.receive(phone, wire);
    const reply = rig.one(phone);
    const changes = rig.changeCount;
    rig.pass(4000);
    rig.receive(phone, wire);
    expect(rig.one(phone)).toBe(reply);
    expect(rig.changeCount).toBe(changes);
  });

  test("R-16 a trusted source needs no digest where there are users", () => {
    const rig = digesting({ trust: ["192.0.2.7/32"] });
    expect(statusLine(exchange(rig, rig.phone("192.0.2.7")))).toBe("SIP/2.0 200 OK");
    expect(statusLine(exchange(rig, rig.phone("192.0.2.8")))).toBe("SIP/2.0 401 Unauthorized");
  });

  test("R-16 the registration times are those of the REGISTER that was accepted", () => {
    const rig = digesting();
    const phone = rig.phone("192.0.2.7");
    const challenge = exchange(rig, phone, { expires: 600 });
    rig.pass(2000);
    exchange(rig, phone, { cseq: 2, expires: 600, lines: [authorization(challenge)] });
    expect(rig.core.usrloc.find(AOR)!.contacts[0]!).toMatchObject({
      registeredAtMs: START_MS + 2000,
      expiresAtMs: START_MS + 602_000,
      cseq: 2,
    });
  });
});
