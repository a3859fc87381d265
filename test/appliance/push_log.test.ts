import { afterAll, expect, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Appliance } from "../../src/appliance.ts";
import { loadConfigFile } from "../../src/config/files.ts";
import { Log } from "../../src/observe/log.ts";

const folder = mkdtempSync(join(tmpdir(), "latefork-push-log-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

test.each([[401, true], [202, false]])("O-05 a push answered %i is in log and status: %p", async (status, isTold) => {
  const pusher = Bun.serve({ hostname: "127.0.0.1", port: 0, fetch: () => new Response("who are you", { status }) });
  const file = join(folder, "latefork.yaml");
  writeFileSync(
    file,
    `listen: ["udp://127.0.0.1:0"]
pbx: { uri: "sip:127.0.0.1:5099", qualify: 0s }
push: { webhook: { acme: { url: "http://127.0.0.1:${pusher.port}/wake" } } }
store: { path: ":memory:" }
control: { listen: ["http://127.0.0.1:0"] }
log: { format: text }
`,
  );
  let logged = "";
  const output = {
    isTty: false,
    write: (bytes: Uint8Array) => (logged += new TextDecoder().decode(bytes), bytes.length),
    nowMs: () => 0,
    later: () => {},
  };
  const config = loadConfigFile(file).config!;
  const appliance = new Appliance({ config, configFile: file, log: new Log(config.log, output) });
  await appliance.start();
  const push = { provider: "acme", param: "", prid: "token", event: "test" };
  await fetch(`${appliance.controlUrls[0]}/v1/push`, { method: "POST", body: JSON.stringify(push) });
  const { problems } = await (await fetch(`${appliance.controlUrls[0]}/v1/status`)).json() as { problems: unknown[] };
  await appliance.stop();
  pusher.stop(true);
  expect(/Push refused: 401 from .*who are you; check push.webhook.acme.token_file/.test(logged)).toBe(isTold);
  expect(problems).toHaveLength(isTold ? 1 : 0);
});
