import { afterAll, expect, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Appliance } from "../../src/appliance/appliance.ts";
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

test("O-05 a refresh push refused for the same reason again and again is a warning once; a call's is one each time", async () => {
  const pusher = Bun.serve({ hostname: "127.0.0.1", port: 0, fetch: () => new Response("no", { status: 403 }) });
  const file = join(folder, "refresh.yaml");
  writeFileSync(
    file,
    `listen: ["udp://127.0.0.1:0"]
security: { trust: [127.0.0.0/8] }
push: { webhook: { acme: { url: "http://127.0.0.1:${pusher.port}/wake" } } }
store: { path: ":memory:" }
control: { listen: ["http://127.0.0.1:0"] }
`,
  );
  const config = loadConfigFile(file).config!;
  const silent = { isTty: false, write: (bytes: Uint8Array) => bytes.length, nowMs: () => 0, later: () => {} };
  const appliance = new Appliance({ config, configFile: file, log: new Log(config.log, silent) });
  await appliance.start();
  const url = appliance.controlUrls[0]!;
  const ask = async (method: string, path: string, body: unknown): Promise<void> => {
    expect((await fetch(url + path, { method, body: JSON.stringify(body) })).status).toBe(200);
  };
  const push = { provider: "acme", prid: "token" };
  for (const device of ["a", "b"]) {
    await ask("PUT", `/v1/locations/${device}%40x/devices/${device}`, { contact: "sip:x@127.0.0.1", push });
  }
  const pushed = async (device: string, event: string): Promise<number> => {
    await ask("POST", "/v1/push", { aor: `${device}@x`, event });
    return (await (await fetch(`${url}/v1/status`)).json() as { problems: unknown[] }).problems.length;
  };
  expect(await pushed("a", "refresh")).toBe(1);
  expect(await pushed("a", "refresh")).toBe(1);
  expect(await pushed("b", "refresh")).toBe(2);
  expect(await pushed("a", "call")).toBe(3);
  expect(await pushed("a", "call")).toBe(4);
  await appliance.stop();
  pusher.stop(true);
});
