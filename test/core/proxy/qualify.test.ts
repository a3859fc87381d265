/** OPTIONS to the PBX: whether it is there, and how soon that is known when it is back. */
import { expect, test } from "bun:test";
import { Rig } from "./rig.ts";
import { answer, methodOf, request } from "./sip_text.ts";

const INTERVAL_MS = 30_000;

function away(): Rig {
  const rig = new Rig({ config: (config) => config.pbx!.qualify = INTERVAL_MS });
  rig.pass(0);
  rig.receive(rig.pbx, answer(rig.pbx.one(), 200));
  expect(rig.core.qualify!.state).toBe("up");
  rig.pass(INTERVAL_MS + 32_000);
  expect([rig.core.qualify!.state, rig.core.qualify!.reason]).toEqual([
    "down",
    "it does not answer OPTIONS",
  ]);
  rig.pbx.all();
  return rig;
}

test("F-07 R-21 a PBX that is away is asked every 5 s, and each question repeated: it is found within seconds", () => {
  const rig = away();
  rig.pass(20_000);
  const asked = rig.pbx.all();
  expect(new Set(asked.map(methodOf))).toEqual(new Set(["OPTIONS"]));
  expect(new Set(asked.map((wire) => /^Call-ID: (.*)$/mi.exec(wire)![1])).size).toBeGreaterThanOrEqual(4);
  expect(asked.length).toBeGreaterThan(12);
  rig.receive(rig.pbx, answer(asked.at(-1)!, 403));
  expect([rig.core.qualify!.state, rig.core.qualify!.reason]).toEqual(["up", ""]);
  expect(rig.logs.filter((line) => line.includes("answers again"))).toHaveLength(1);
});

test("F-07 any message of the PBX shows that it is back, and only one of its very address", () => {
  const rig = away();
  const options = (sentBy: string) => request("OPTIONS", "sip:10.0.0.5:5060", { sentBy });
  rig.receive(rig.flow("10.0.0.10", 5099), options("10.0.0.10:5099"));
  rig.receive(rig.flow("192.0.2.7", 5060), options("192.0.2.7:5060"));
  expect(rig.core.qualify!.state).toBe("down");
  rig.receive(rig.pbx, options("10.0.0.10"));
  expect(rig.core.qualify!.state).toBe("up");
});

test("F-07 a shorter interval than 5 s is kept", () => {
  const rig = new Rig({ config: (config) => config.pbx!.qualify = 1000 });
  rig.pass(0);
  rig.pbx.all();
  rig.pass(32_000 + 1000);
  rig.pbx.all();
  expect(rig.core.qualify!.state).toBe("down");
  rig.pass(1000);
  expect(rig.pbx.all().length).toBeGreaterThan(0);
});

test("F-07 R-21 a PBX that closes its connection after each answer is asked again at once, then every 2 s at most", () => {
  const rig = new Rig({ config: (config) => config.pbx!.qualify = INTERVAL_MS });
  let asked = 0;
  for (let ms = 0; ms < 20_000; ms += 10) {
    rig.pass(ms === 0 ? 0 : 10);
    for (const wire of rig.pbx.all()) {
      asked++;
      rig.receive(rig.pbx, answer(wire, 200));
      rig.core.qualify!.connectionClosed();
    }
  }
  expect([asked, rig.core.qualify!.state]).toEqual([11, "up"]);
});
