import { describe, expect, test } from "bun:test";
import type { Listener } from "../../../../src/core/sip/flow.ts";
import { accepted, answer, headers, register, registered, Rig, statusLine, TestFlow } from "../rig.ts";

const OWN: Listener = { transport: "udp", address: "10.0.0.5", port: 5066, advertised: "10.0.0.5:5066" };
const PUSHABLE = "<sip:alice@192.0.2.7;pn-provider=acme;pn-param=p;pn-prid=tok>";

/** The PBX trusts port 5066 alone. */
class TrustedRig extends Rig {
  readonly own = new TestFlow("udp", "10.0.0.2", 5060, OWN);

  constructor(pbx: ConstructorParameters<typeof Rig>[0] = {}) {
    super({ ...pbx, pbx: { trusts_us: true, own_port: 5066, expires: 600_000, ...(pbx.pbx as object) } });
    this.core.setOwnListeners([OWN]);
  }

  override flowTo(...[transport, address, port, via]: Parameters<Rig["flowTo"]>) {
    return via === OWN ? this.own : super.flowTo(transport, address, port);
  }
}

/** Our next REGISTER out of the port. */
function nextOwn(rig: TrustedRig): string {
  while (!rig.sent.some(({ flow }) => flow === rig.own)) rig.pass(100);
  return rig.one(rig.own);
}

test("R-09 a PBX that takes a REGISTER of a phone without a password is told of once, one that checks it is not", () => {
  const told = (rig: Rig) => rig.logged.filter(({ message }) => message.includes("without a password"));
  const rig = new Rig();
  const phone = rig.phone("203.0.113.9");
  registered(rig, phone, { lines: ['Authorization: Digest username="alice"'] });
  registered(rig, phone, { cseq: 2, contacts: [] });
  registered(rig, phone, { cseq: 3, expires: 0, lines: ['Authorization: Digest username="alice"'] });
  expect(told(rig)).toEqual([]);
  registered(rig, phone, { user: "bob", callId: "b" });
  registered(rig, phone, { user: "carol", callId: "c" });
  expect(told(rig).map(({ level, fields }) => [level, fields.aor])).toEqual([["info", "bob@example.org"]]);
});

describe("R-09 pbx.own_port", () => {
  test("R-09 a phone's REGISTER leaves with the rest, whoever it says it is; never from the trusted port", () => {
    const rig = new TrustedRig();
    for (const transport of ["udp", "tcp"] as const) {
      const stranger = rig.phone("203.0.113.9", 4001, transport);
      rig.receive(stranger, register(stranger, { callId: transport }));
      const upstream = rig.one(rig.pbx);
      expect(headers(upstream, "Via")[0]).toStartWith("SIP/2.0/UDP 10.0.0.5:5060;");
      rig.fromPbx(answer(upstream, "401 Unauthorized", ['WWW-Authenticate: Digest realm="pbx", nonce="n"']));
      expect(statusLine(rig.one(stranger))).toBe("SIP/2.0 401 Unauthorized");
      expect(rig.take(rig.own)).toEqual([]);
    }
  });

  test("R-09 our renewal leaves from it alone, names the ordinary address, and its answer is taken", () => {
    const rig = new TrustedRig();
    const phone = rig.phone("192.0.2.7", 4001, "tcp");
    const { upstream } = registered(rig, phone, { contacts: [PUSHABLE], expires: 86_400 });
    rig.close(phone);
    const renewal = nextOwn(rig);
    expect(rig.take(rig.pbx)).toEqual([]);
    expect(headers(renewal, "Via")[0]).toStartWith("SIP/2.0/UDP 10.0.0.5:5066;");
    expect(headers(renewal, "Contact")).toEqual(headers(upstream, "Contact"));
    rig.receive(rig.own, accepted(renewal));
    const { expiresAtMs, state } = rig.core.usrloc.find("alice@example.org")!.upstream;
    expect([state, expiresAtMs - rig.clock.nowMs > 590_000]).toEqual(["registered", true]);
    expect(rig.core.mid!.renewals.failing).toBe(0);
  });

  test("R-09 where the PBX asks for a password all the same, it is given from there", () => {
    const rig = new TrustedRig({
      secrets: { credentials: new Map([["alice", { username: "alice", password: "wonder", ha1s: [] }]]) },
    });
    const phone = rig.phone("192.0.2.7", 4001, "tcp");
    registered(rig, phone, { contacts: [PUSHABLE], expires: 86_400 });
    rig.close(phone);
    rig.receive(rig.own, answer(nextOwn(rig), "401 Unauthorized", ['WWW-Authenticate: Digest realm="pbx", nonce="n"']));
    expect(headers(rig.one(rig.own), "Authorization")[0]).toStartWith('Digest username="alice"');
    expect(rig.take(rig.pbx)).toEqual([]);
  });

  test("R-08 a removal of ours leaves from it, too", () => {
    const rig = new TrustedRig();
    const phone = rig.phone("192.0.2.7", 4001, "tcp");
    registered(rig, phone, { contacts: [PUSHABLE], expires: 120 });
    rig.close(phone);
    rig.core.usrloc.remove(rig.core.usrloc.find("alice@example.org")!.contacts[0]!, "control");
    expect(headers(rig.one(rig.own), "Contact")[0]).toEndWith(";expires=0");
    expect(rig.take(rig.pbx)).toEqual([]);
  });

  test("R-09 without such a port beside the way to the PBX nothing of ours leaves: it would be trusted nowhere else", () => {
    const rig = new TrustedRig();
    rig.core.setOwnListeners([]);
    const phone = rig.phone("192.0.2.7", 4001, "tcp");
    registered(rig, phone, { contacts: [PUSHABLE], expires: 86_400 });
    rig.close(phone);
    rig.pass(700_000);
    expect([rig.take(rig.own), rig.take(rig.pbx)]).toEqual([[], []]);
    expect(rig.core.mid!.renewals.failing).toBe(1);
  });
});
