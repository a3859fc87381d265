/** who may answer what we sent. A branch can be seen on the way, so its source must fit, too. */
import { describe, expect, test } from "bun:test";
import { cidr, Rig, type RigOptions, type TestFlow } from "./rig.ts";
import { answer, request, statusOf, value } from "./sip_text.ts";

const CONTACT = "sip:alice@192.168.9.9:5060";

function start(options: RigOptions = {}): { rig: Rig; phone: TestFlow } {
  const rig = new Rig(options);
  const phone = rig.flow("192.0.2.9", 40000);
  rig.register("alice", phone, CONTACT);
  return { rig, phone };
}

function isDropped(rig: Rig): boolean {
  return rig.count("rejected_total", "response_source") === 1 && rig.untaken.length === 0;
}

describe("X-03 an answer to what the PBX was asked", () => {
  const sources: [what: string, address: string, port: number, isBelieved: boolean][] = [
    ["its address and port", "10.0.0.10", 5060, true],
    ["another port of it", "10.0.0.10", 5099, true],
    ["another of its nodes", "10.0.1.7", 5060, true],
    ["a stranger who saw the branch", "198.51.100.66", 5060, false],
    ["a phone", "192.0.2.9", 40000, false],
  ];
  for (const [what, address, port, isBelieved] of sources) {
    test(`X-03 a REGISTER is ${isBelieved ? "" : "not "}accepted by ${what}`, () => {
      const { rig } = start({ config: (config) => config.pbx!.trust = [cidr("10.0.1.0/24")] });
      const mallory = rig.flow("203.0.113.7", 5060);
      const [domain, contact] = ["pbx.example.org", "<sip:mallory@203.0.113.7>;expires=600"];
      const from = `<sip:mallory@${domain}>;tag=m`;
      rig.receive(mallory, request("REGISTER", "sip:" + domain, { from, to: `<sip:mallory@${domain}>`, contact }));
      const forwarded = rig.pbx.one();
      rig.receive(rig.flow(address, port), answer(forwarded, 200, { contact: value(forwarded, "Contact") }));
      if (isBelieved) return expect(statusOf(mallory.one())).toBe(200);
      expect(isDropped(rig)).toBe(true);
      expect(rig.logs.filter((line) => line.startsWith("warn "))).toEqual([
        `warn Dropped a 200 to REGISTER from ${address}: the request went to 10.0.0.10; if it is the PBX, ` +
        "name the address in pbx.trust",
      ]);
      expect(rig.core.usrloc.find("mallory@" + domain)).toBeUndefined();
    });
  }
});

describe("X-03 an answer to what a phone was asked", () => {
  const sources: [what: string, address: string, port: number, isBelieved: boolean][] = [
    ["its flow", "192.0.2.9", 40000, true],
    ["another port of its NAT", "192.0.2.9", 45555, true],
    ["a stranger who saw the branch", "198.51.100.66", 40000, false],
    ["the PBX", "10.0.0.10", 5060, false],
  ];
  for (const method of ["INVITE", "MESSAGE"]) {
    for (const [what, address, port, isBelieved] of sources) {
      test(`X-03 ${method} is ${isBelieved ? "" : "not "}answered from ${what}`, () => {
        const { rig, phone } = start();
        rig.receive(rig.pbx, request(method, rig.upstreamUri("alice")));
        rig.pbx.all();
        rig.receive(rig.flow(address, port), answer(phone.one(), 200, { contact: `<${CONTACT}>` }));
        if (isBelieved) expect(rig.pbx.kinds()).toEqual([200]);
        else expect(isDropped(rig)).toBe(true);
      });
    }
  }

  test("X-03 a phone that rang, registers in another network and answers there is believed", () => {
    const { rig, phone } = start();
    rig.receive(rig.pbx, request("INVITE", rig.upstreamUri("alice")));
    const invite = phone.one();
    rig.receive(phone, answer(invite, 180));
    const moved = rig.flow("203.0.113.77", 41000);
    rig.receive(moved, answer(invite, 200, { contact: `<${CONTACT}>` }));
    expect(rig.pbx.kinds()).toEqual([100, 180]);
    rig.pass(1000);
    rig.register("alice", moved, CONTACT);
    moved.all();
    rig.receive(moved, answer(invite, 200, { contact: `<${CONTACT}>` }));
    expect(rig.pbx.kinds().at(-1)).toBe(200);
  });
});
