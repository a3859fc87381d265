/** S-03: what the control port has answered is there after `kill -9`, over a real process and a real file. */
import { afterAll, expect, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const folder = mkdtempSync(join(tmpdir(), "latefork-kill-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const main = join(import.meta.dir, "../../src/main.ts");
const config = join(folder, "kill.yaml");
writeFileSync(
  config,
  `domain: example.org
listen: ["udp://127.0.0.1:0"]
security: { trust: [127.0.0.1/32] }
htables: { kept: { ttl: 0s, max: 1000, persist: true } }
store: { path: kill.db }
control: { listen: ["http://127.0.0.1:0"] }
`,
);

async function start() {
  const child = Bun.spawn([process.execPath, main, "serve", "-c", config], {
    cwd: folder,
    stdout: "ignore",
    stderr: "pipe",
  });
  let said = "";
  const reader = child.stderr.getReader();
  while (!said.includes("\nready\n")) {
    const { done, value } = await reader.read();
    if (done) throw new Error(said);
    said += new TextDecoder().decode(value);
  }
  return { child, api: /control {3}(http:\S+)/.exec(said)![1]! };
}

/** A change, and what is asked for afterwards: its status. */
type Change = [method: string, path: string, body: string, status: number];

const rounds: Change[][] = [
  [["PUT", "/v1/htables/kept/a", "1", 200]],
  [["POST", "/v1/htables/kept/a/incr", "", 200], ["PUT", "/v1/htables/kept/b", "x", 200]],
  [["DELETE", "/v1/htables/kept/a", "", 404]],
  [["PUT", "/v1/locations/alice@example.org/devices/door", '{"contact":"sip:door@127.0.0.1:9"}', 200]],
  [["DELETE", "/v1/locations/alice@example.org/devices/door", "", 404], ["PUT", "/v1/htables/kept/c", "x", 200]],
];

test("S-03 S-01 a change that was answered survives kill -9 in the same moment", async () => {
  let { child, api } = await start();
  try {
    for (const changes of rounds) {
      // The last answer is the hard one: nothing happens between it and the kill.
      for (const [method, path, body] of changes) {
        const answer = await fetch(api + path, { method, body: body === "" ? undefined : body });
        expect([path, method, answer.ok]).toEqual([path, method, true]);
      }
      child.kill("SIGKILL");
      await child.exited;
      ({ child, api } = await start());
      for (const [method, path, , status] of changes) {
        const name = path.replace("/incr", "");
        const found = name.includes("/devices/")
          ? (await (await fetch(api + "/v1/locations")).text()).includes('"id":"door"') ? 200 : 404
          : (await fetch(api + name)).status;
        expect([method, name, found]).toEqual([method, name, status]);
      }
    }
  } finally {
    child.kill("SIGKILL");
    await child.exited;
  }
}, 40_000);
