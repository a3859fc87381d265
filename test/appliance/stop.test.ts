/** The end of the appliance, asked for more than once. */
import { afterAll, expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Appliance } from "../../src/appliance/appliance.ts";
import { loadConfig } from "../../src/config/load.ts";
import { Log } from "../../src/observe/log.ts";

const folder = mkdtempSync(join(tmpdir(), "latefork-stop-"));
afterAll(() => rmSync(folder, { recursive: true }));

test("O-04 whoever asks again for the end waits for it: what was collected is on the disk then", async () => {
  const { config } = loadConfig(`
listen: ["udp://127.0.0.1:0"]
control: { listen: ["http://127.0.0.1:0"] }
store: { path: ${folder}/latefork.db, flush: 10s }
`);
  const output = { isTty: false, write: (bytes: Uint8Array) => bytes.length, nowMs: () => 0, later: () => {} };
  const appliance = new Appliance({ config: config!, configFile: null, log: new Log(config!.log, output) });
  await appliance.start();
  appliance.htables.ensure("kept", { ttl: 0, max: 1, persist: true }).set("key", "value", undefined, 0);
  const first = appliance.stop();
  await appliance.stop();
  expect([appliance.store.state, appliance.store.pending]).toEqual(["closed", 0]);
  await first;
});
