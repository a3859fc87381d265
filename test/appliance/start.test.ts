/** The start of a box whose DNS is slow, as after a power cut of the whole house. */
import { afterAll, expect, spyOn, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Appliance, type ApplianceOptions } from "../../src/appliance/appliance.ts";
import type { PbxNames } from "../../src/appliance/pbx_names.ts";
import { loadConfig } from "../../src/config/load.ts";
import { Log } from "../../src/observe/log.ts";

const folder = mkdtempSync(join(tmpdir(), "latefork-start-"));
afterAll(() => rmSync(folder, { recursive: true }));

function appliance(options: Partial<ApplianceOptions>): Appliance {
  const { config } = loadConfig(`
domain: example.org
listen: ["udp://127.0.0.1:0"]
control: { listen: ["http://127.0.0.1:0"] }
pbx: { uri: "sip:pbx.example.org", qualify: 0s }
store: { path: ${folder}/latefork.db }
`);
  const output = { isTty: false, write: (bytes: Uint8Array) => bytes.length, nowMs: () => 0, later: () => {} };
  return new Appliance({ config: config!, configFile: null, log: new Log(config!.log, output), ...options });
}

const names: PbxNames = {
  addresses: [{ uri: "sip:pbx.example.org", transport: "udp", address: "127.0.0.1", port: 9 }],
  problems: [],
};

test("R-18 nobody is heard before the stored locations are there, however long DNS takes", async () => {
  const answer = Promise.withResolvers<PbxNames>();
  const asked = Promise.withResolvers<void>();
  const box = appliance({
    resolvePbx: () => {
      asked.resolve();
      return answer.promise;
    },
  });
  const started = box.start();
  await asked.promise;
  expect([box.transports.listeners(), box.readiness().state]).toEqual([[], "starting"]);
  answer.resolve(names);
  await started;
  expect([box.transports.listeners().length, box.readiness().state]).toEqual([1, "ready"]);
  expect(box.core.pbx!.isPbxAddress("127.0.0.1")).toBe(true);
  await box.stop();
});

test("R-18 a start that has waited long enough for DNS goes on, and takes the PBX's addresses when they come", async () => {
  const answer = Promise.withResolvers<PbxNames>();
  const box = appliance({ resolvePbx: () => answer.promise, firstNamesMs: 0 });
  await box.start();
  expect([box.readiness().state, box.core.pbx!.isPbxAddress("127.0.0.1")]).toEqual(["ready", false]);
  answer.resolve(names);
  await answer.promise;
  await new Promise((resolve) => setImmediate(resolve));
  expect(box.core.pbx!.isPbxAddress("127.0.0.1")).toBe(true);
  await box.stop();
});

test("T-01 an address that came is ours, though another one went at the same moment", async () => {
  const box = appliance({ resolvePbx: () => Promise.resolve(names) });
  await box.start();
  const [there] = box.transports.listeners();
  const came = { ...there!, address: "192.0.2.9", advertised: "192.0.2.9:5060" };
  using _listeners = spyOn(box.transports, "listeners").mockReturnValue([came]);
  expect(box.core.own.isOurHost("192.0.2.9")).toBe(false);
  box["tick"](box.turn.nowMs);
  expect(box.core.own.isOurHost("192.0.2.9")).toBe(true);
  await box.stop();
});
