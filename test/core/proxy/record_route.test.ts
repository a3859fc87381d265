import { expect, test } from "bun:test";
import { OwnAddresses } from "../../../src/core/proxy/address.ts";
import { type RecordedSide, recordRoutes } from "../../../src/core/proxy/record_route.ts";
import type { Listener, Transport } from "../../../src/core/sip/flow.ts";
import { parseUri } from "../../../src/core/sip/uri.ts";
import { TestFlow } from "./rig.ts";

function listener(transport: Transport, port: number): Listener {
  return { transport, address: "10.0.0.5", port, advertised: `sip.example.org:${port}` };
}
const LISTENERS = {
  udp: listener("udp", 5060),
  tls: listener("tls", 5061),
  ws: listener("ws", 8080),
  wss: listener("wss", 8443),
};

function side(transport: keyof typeof LISTENERS, token: string, isSips = false): RecordedSide {
  return { flow: new TestFlow(1, transport, LISTENERS[transport], "192.0.2.7", 40000), token, isSips };
}

test("F-03 each side of a call gets a Record-Route of its own transport, and sips where its Request-URI is", () => {
  const cases: [from: RecordedSide, to: RecordedSide, values: string[]][] = [
    [side("udp", ""), side("tls", "t"), [
      "<sip:t@sip.example.org:5061;transport=tls;lr>",
      "<sip:sip.example.org:5060;lr>",
    ]],
    [side("udp", ""), side("tls", "t", true), ["<sips:t@sip.example.org:5061;lr>", "<sip:sip.example.org:5060;lr>"]],
    [side("tls", "f", true), side("udp", "", true), [
      "<sip:sip.example.org:5060;lr>",
      "<sips:f@sip.example.org:5061;lr>",
    ]],
    [side("wss", "f", true), side("udp", "", true), [
      "<sip:sip.example.org:5060;lr>",
      "<sips:f@sip.example.org:8443;transport=ws;lr>",
    ]],
    [side("ws", "f", true), side("wss", "t"), [
      "<sip:t@sip.example.org:8443;transport=ws;lr>",
      "<sip:f@sip.example.org:8080;transport=ws;lr>",
    ]],
    [side("tls", "f", true), side("tls", "", true), ["<sips:f@sip.example.org:5061;lr>"]],
    [side("tls", "f"), side("tls", "", true), [
      "<sips:sip.example.org:5061;lr>",
      "<sip:f@sip.example.org:5061;transport=tls;lr>",
    ]],
  ];
  for (const [from, to, values] of cases) expect(recordRoutes(from, to)).toEqual(values);
});

test("F-03 what stands in our Record-Route is ours when it comes back, also where the name has no port", () => {
  for (const port of [":8443", ""]) {
    for (const [transport, usual] of [["udp", 5060], ["tls", 5061], ["ws", 5060], ["wss", 8443]] as const) {
      const own = new OwnAddresses();
      const advertised = "sip.example.org" + port;
      const at: Listener = { transport, address: "10.0.0.5", port: usual, advertised };
      own.add(at);
      const flow = new TestFlow(1, transport, at, "192.0.2.7", 40000);
      for (const isSips of [false, true]) {
        const same = { flow, token: "t", isSips };
        const [value] = recordRoutes(same, { ...same, token: "" });
        const uri = parseUri(value!.slice(1, -1))!;
        expect([value, own.isUs(uri)]).toEqual([value, true]);
      }
    }
  }
});
