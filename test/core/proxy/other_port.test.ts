/**
 * T-03: UDP phones that send from another port than they listen on, and say so: no `rport`, and Via, Contact and source
 * address agree, so no NAT is between (Cisco desk phones).
 */
import { describe, expect, test } from "bun:test";
import { cidr, Rig, type TestFlow, UDP6 } from "./rig.ts";
import { answer, calleeSide, inDialog, methodOf, request, type RequestOptions, statusOf, value } from "./sip_text.ts";

const FROM_PORT = 49_321;
const ADDRESS = "192.168.9.9";
const CISCO: RequestOptions = { viaParams: "", sentBy: `${ADDRESS}:5060`, contact: `<sip:alice@${ADDRESS}:5060>` };

interface Phone {
  rig: Rig;
  /** Where it sends from. */
  source: TestFlow;
  /** Where it listens. */
  listening: TestFlow;
}

function registered(
  isRegistrar = false,
  changes: RequestOptions = {},
  source: [string, number] = [ADDRESS, FROM_PORT],
): Phone {
  const rig = new Rig(
    isRegistrar ? { pbx: null, config: (config) => config.security.trust = [cidr("192.168.0.0/16")] } : {},
  );
  const v6 = source[0].includes(":");
  const domain = isRegistrar ? "10.0.0.5" : "pbx.example.org";
  const [from, to] = [`<sip:alice@${domain}>;tag=r`, `<sip:alice@${domain}>`];
  const flow = rig.flow(...source, v6 ? UDP6 : undefined);
  const listening = rig.flow(source[0], 5060, v6 ? UDP6 : undefined);
  rig.receive(flow, request("REGISTER", "sip:" + domain, { ...CISCO, from, to, ...changes }));
  if (!isRegistrar) {
    const forwarded = rig.pbx.one();
    rig.receive(rig.pbx, answer(forwarded, 200, { contact: `${value(forwarded, "Contact")};expires=600` }));
  }
  const told = [...flow.all(), ...listening.all()];
  expect(told.map(statusOf)).toEqual([200]);
  return { rig, source: flow, listening };
}

describe("T-03 a phone that sends from another port than its Contact's", () => {
  for (const method of ["INVITE", "NOTIFY", "MESSAGE"]) {
    test(`T-03 gets ${method} at its Contact's port, and answers from where it sends`, () => {
      const { rig, source, listening } = registered();
      rig.receive(rig.pbx, request(method, rig.upstreamUri("alice")));
      rig.receive(source, answer(listening.one(), 200, { contact: CISCO.contact! }));
      expect(source.sent).toEqual([]);
      expect(rig.pbx.kinds().at(-1)).toBe(200);
    });
  }

  test("T-03 W-02 also when nothing was heard of it for long, as nothing ever is from that port", () => {
    const { rig, listening } = registered();
    rig.pass(590_000);
    rig.pbx.all();
    rig.receive(rig.pbx, request("INVITE", rig.upstreamUri("alice")));
    expect(methodOf(listening.one())).toBe("INVITE");
  });

  test("T-03 registrar mode: the same, and after a refresh from yet another port", () => {
    const { rig, listening } = registered(true);
    const [from, to] = ["<sip:alice@10.0.0.5>;tag=r", "<sip:alice@10.0.0.5>"];
    rig.receive(rig.flow(ADDRESS, 49_999), request("REGISTER", "sip:10.0.0.5", { ...CISCO, from, to, cseq: 2 }));
    expect(listening.kinds()).toEqual([200]);
    rig.receive(
      rig.flow("192.168.9.8", 5060),
      request("INVITE", "sip:alice@10.0.0.5", { from: "<sip:bob@10.0.0.5>;tag=b" }),
    );
    expect(methodOf(listening.one())).toBe("INVITE");
  });

  test("T-03 IPv6", () => {
    const address = "2001:db8::99";
    const contact = `<sip:alice@[${address}]>`;
    const { rig, source, listening } = registered(false, { sentBy: `[${address}]`, contact }, [address, FROM_PORT]);
    rig.receive(rig.pbx, request("INVITE", rig.upstreamUri("alice")));
    expect([methodOf(listening.one()), source.sent]).toEqual(["INVITE", []]);
  });

  for (const from of ["<sip:alice@pbx.example.org>;tag=a", "<sip:anonymous@anonymous.invalid>;tag=a"]) {
    test(`T-03 calls as ${from}, and is reached in that call at its Contact's port`, () => {
      const { rig, source, listening } = registered();
      rig.receive(source, request("INVITE", "sip:bob@pbx.example.org", { ...CISCO, from }));
      const atPbx = rig.pbx.one();
      expect(methodOf(atPbx)).toBe("INVITE");
      const ok = answer(atPbx, 200, { contact: "<sip:bob@10.0.0.10>" });
      rig.receive(rig.pbx, ok);
      expect(listening.kinds()).toEqual([100, 200]);
      rig.receive(rig.pbx, inDialog("BYE", calleeSide(atPbx, ok)));
      expect([methodOf(listening.one()), source.sent]).toEqual(["BYE", []]);
    });
  }
});

describe("T-03 others are called where they send from", () => {
  const cases: [what: string, changes: RequestOptions, source: [string, number]][] = [
    ["who asks for rport", { viaParams: ";rport" }, [ADDRESS, FROM_PORT]],
    ["whose NAT has another address", {}, ["203.0.113.9", FROM_PORT]],
    ["whose Via is another host", { sentBy: "192.168.1.1:5060" }, [ADDRESS, FROM_PORT]],
    ["whose Contact is another host", { contact: "<sip:alice@192.168.1.1:5060>" }, [ADDRESS, FROM_PORT]],
    ["whose Contact is a name", { contact: "<sip:alice@phone.example.org:5060>" }, [ADDRESS, FROM_PORT]],
    ["whose Contact is on TCP", { contact: `<sip:alice@${ADDRESS}:5060;transport=tcp>` }, [ADDRESS, FROM_PORT]],
    ["who is behind a proxy", { headers: [["Path", "<sip:192.168.9.9;lr>"], ["Supported", "path"]] }, [
      ADDRESS,
      FROM_PORT,
    ]],
  ];
  for (const [what, changes, source] of cases) {
    test(`T-03 ${what}`, () => {
      const phone = registered(false, changes, source);
      phone.rig.receive(phone.rig.pbx, request("INVITE", phone.rig.upstreamUri("alice")));
      expect([phone.source.kinds(), phone.listening.kinds()]).toEqual([["INVITE"], []]);
    });
  }
});
