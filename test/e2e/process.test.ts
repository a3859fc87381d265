/** The start and the end of the process: what it prints, the ports it took, and how it is asked to go. */
import { afterAll, expect, test } from "bun:test";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const folder = mkdtempSync(join(tmpdir(), "latefork-process-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const main = join(import.meta.dir, "../../src/main.ts");

async function start(name: string, ...options: string[]) {
  const file = join(folder, name + ".yaml");
  writeFileSync(
    file,
    `domain: example.org
listen: ["udp://127.0.0.1:0", "tcp://127.0.0.1:0"]
security: { trust: [127.0.0.1/32] }
store: { path: ${name}.db }
control: { listen: ["http://127.0.0.1:0"] }
`,
  );
  const child = Bun.spawn([process.execPath, ...options, main, "serve", "-c", name + ".yaml"], {
    cwd: folder,
    stdout: "ignore",
    stderr: "pipe",
  });
  let said = "";
  const reader = child.stderr.getReader();
  const read = async () => {
    const { done, value } = await reader.read();
    if (value !== undefined) said += new TextDecoder().decode(value);
    return !done;
  };
  const hears = async (words: string) => {
    while (!said.includes(words) && await read());
  };
  await hears("\nready\n");
  const api = /control {3}(http:\S+)/.exec(said)?.[1] ?? "";
  return { child, api, file, said: () => said, hears };
}

test("the start prints its real ports, then ready, and /v1/info says the same", async () => {
  const { child, api, said, file } = await start("ports");
  try {
    const info = await (await fetch(api + "/v1/info")).json() as {
      listeners: { url: string; port: number }[];
      control: string[];
      config: string;
    };
    const printed = [...said().matchAll(/listen {4}([a-z]+:\/\/[\d.:]+)/g)].map(([, url]) => url!);
    expect(info.listeners.map(({ url }) => url)).toEqual(printed);
    for (const { port, url } of info.listeners) {
      expect([url, port > 0]).toEqual([`${url.split(":")[0]}://127.0.0.1:${port}`, true]);
    }
    expect(info.control).toEqual([api]);
    expect(info.config).toBe(file);
  } finally {
    child.kill();
    await child.exited;
  }
}, 20_000);

test("O-04 a drain asked for over the control port is answered, then ends the process with 0", async () => {
  const { child, api, said, hears } = await start("drain");
  const answer = await fetch(api + "/v1/drain", { method: "POST" });
  expect(answer.status).toBe(202);
  expect(await answer.json()).toEqual({ draining: true, calls_open: 0, waits_for: "" });
  expect(await child.exited).toBe(0);
  await hears("stopping, ");
  expect(said()).toContain("stopping, the control port asked for it\n");
}, 20_000);

test("O-03 a reload by signal that is refused says in the log what is wrong and where", async () => {
  const { child, file, said, hears } = await start("hangup");
  try {
    writeFileSync(file, readFileSync(file, "utf8") + "wake: { windw: 3s }\n");
    child.kill("SIGHUP");
    await hears("Reload refused: 6:9: wake.windw: unknown key (did you mean");
    expect(said()).toContain("Reload refused: hangup.yaml cannot be used; the old config stays");
  } finally {
    child.kill();
    await child.exited;
  }
}, 20_000);

test("X-06 what is thrown where nobody catches it is told and counted, and the box goes on", async () => {
  const thrower = join(folder, "thrower.ts");
  // Behind the listeners, as a callback of a library would; the process that only starts the real one is over by then.
  writeFileSync(
    thrower,
    `setTimeout(() => { throw new Error("from a timer") }, 1000);
setTimeout(() => void Promise.reject(new Error("from a promise")), 1100);
`,
  );
  const { child, api, hears } = await start("fault", "--preload", thrower);
  try {
    await hears("from a timer");
    await hears("from a promise");
    expect((await fetch(api + "/readyz")).status).toBe(200);
    expect(await (await fetch(api + "/metrics")).text()).toContain('latefork_rejected_total{reason="fault"} 2');
  } finally {
    child.kill();
    expect(await child.exited).toBe(0);
  }
}, 20_000);
