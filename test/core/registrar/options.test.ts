import { describe, expect, test } from "bun:test";
import { headers, registered, type RegisterText, Rig, statusLine, type TestFlow } from "./rig.ts";

let optionsCount = 0;

function options(uri: string): string {
  return `OPTIONS ${uri} SIP/2.0\r\nVia: SIP/2.0/UDP 10.0.0.2:5060;branch=z9hG4bKo${++optionsCount}\r\n` +
    `Max-Forwards: 70\r\nFrom: <sip:asterisk@10.0.0.2>;tag=1\r\nTo: <${uri}>\r\nCall-ID: o\r\nCSeq: 1 OPTIONS\r\n` +
    "Content-Length: 0\r\n\r\n";
}

/** Registers alice, lets something happen, and gives the status of the PBX's OPTIONS to our Contact. */
function qualify(text: RegisterText, transport: "udp" | "tcp", happen: (rig: Rig, flow: TestFlow) => void = () => {}) {
  const rig = new Rig();
  const phone = rig.phone("192.0.2.7", 40000, transport);
  const { upstream } = registered(rig, phone, text);
  happen(rig, phone);
  rig.sent.length = 0;
  rig.fromPbx(options(/<([^>]*)>/.exec(headers(upstream, "Contact")[0]!)![1]!));
  expect(rig.take(phone)).toEqual([]);
  expect(rig.pushes).toEqual([]);
  return statusLine(rig.one(rig.pbx)).slice(8, 11);
}

const PUSHABLE: RegisterText = { contacts: ["<sip:alice@192.0.2.7;pn-provider=acme;pn-prid=tok>"], expires: 600 };

describe("R-19 OPTIONS of the PBX", () => {
  test("R-19 an awake phone: 200 here, the phone hears nothing of it", () => {
    expect(qualify({ expires: 600 }, "udp")).toBe("200");
  });

  test("R-19 a UDP phone that was silent for an hour: 200", () => {
    expect(qualify({ expires: 7200 }, "udp", (rig) => rig.pass(3_600_000))).toBe("200");
  });

  test("R-19 a sleeping phone that a push can wake: 200", () => {
    expect(qualify(PUSHABLE, "tcp", (rig, flow) => rig.close(flow))).toBe("200");
  });

  test("R-19 a phone without connection and without push: 480", () => {
    expect(qualify({ expires: 600 }, "tcp", (rig, flow) => rig.close(flow))).toBe("480");
  });

  test("R-19 a phone whose token died: 404, it is gone", () => {
    const status = qualify(PUSHABLE, "tcp", (rig, flow) => {
      rig.close(flow);
      const { id } = rig.core.usrloc.find("alice@example.org")!.contacts[0]!;
      rig.core.pushResult({ uuid: "u", outcome: "dead", status: 410, reason: "", ms: 1 }, id, "tok", rig.clock.nowMs);
    });
    expect(["404", "480"]).toContain(status);
  });

  test("R-19 an expired registration: 404 or 480", () => {
    expect(["404", "480"]).toContain(qualify({ expires: 60 }, "udp", (rig) => rig.pass(60_000)));
  });

  test("R-19 by AoR, an unknown AoR, and the appliance itself", () => {
    const rig = new Rig();
    registered(rig, rig.phone("192.0.2.7"), PUSHABLE);
    const status = (uri: string) => {
      rig.fromPbx(options(uri));
      return statusLine(rig.one(rig.pbx)).slice(8, 11);
    };
    expect(status("sip:alice@example.org")).toBe("200");
    expect(status("sip:alice@10.0.0.5:5060")).toBe("200");
    expect(["404", "480"]).toContain(status("sip:bob@10.0.0.5:5060"));
    expect(status("sip:10.0.0.5:5060")).toBe("200");
  });
});
