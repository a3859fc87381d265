import { afterAll, describe, expect, test } from "bun:test";
import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";

const main = resolve(import.meta.dir, "../../src/main.ts");
/** The demo's own temporary folder goes in here, so that what it leaves behind can be seen. */
const temp = mkdtempSync(join(tmpdir(), "latefork-demo-test-"));
afterAll(() => rmSync(temp, { recursive: true, force: true }));

function demo(...options: string[]) {
  return Bun.spawn([process.execPath, main, "demo", ...options], {
    cwd: temp,
    env: { ...process.env, TMPDIR: temp },
    stdin: "ignore",
    stdout: "pipe",
    stderr: "pipe",
  });
}

/** Reads until `until` was said, or the end. */
async function output(stream: ReadableStream<Uint8Array>, until: RegExp | null = null): Promise<string> {
  const decoder = new TextDecoder();
  let text = "";
  for await (const chunk of stream) {
    text += decoder.decode(chunk, { stream: true });
    if (until !== null && until.test(text)) break;
  }
  return text;
}

describe("latefork demo", () => {
  test("O-01 plays the whole story with exit 0, shows the ladder, and leaves nothing behind", async () => {
    const child = demo();
    const [said, complained] = await Promise.all([output(child.stdout), output(child.stderr)]);
    expect(complained).toBe("");
    expect(await child.exited).toBe(0);
    expect(said).not.toContain("✗");
    expect(said).toMatch(/── INVITE \(late\) .*ms after its REGISTER/);
    expect(said).toMatch(/── CANCEL .*completed elsewhere/);
    expect(said).toContain("answered by alice/2");
    for (const chapter of ["held", "487", "480", "declines", "kill -9", "checks held", "What to try next"]) {
      expect(said).toContain(chapter);
    }
    expect(readdirSync(temp)).toEqual([]);
  }, 60_000);

  test("O-01 --stay: the curl lines it prints work, and Ctrl-C ends it with nothing left behind", async () => {
    const child = demo("--stay");
    const said = await output(child.stdout, /every route with its curl line\n.*\n/);
    const lines = said.split("\n").map((line) => line.trim()).filter((line) => line.startsWith("curl "));
    // A stream of events ends when its reader goes.
    const curls = lines.filter((line) => !line.includes("/v1/events"));
    expect(curls.length).toBeGreaterThan(5);
    const answers = new Map<string, string>();
    for (const curl of curls) {
      const shell = Bun.spawnSync(["sh", "-c", curl]);
      expect({ curl, exit: shell.exitCode }).toEqual({ curl, exit: 0 });
      answers.set(curl, shell.stdout.toString());
    }
    const answer = (part: string) => [...answers].find(([curl]) => curl.includes(part))?.[1];
    expect(answer("/call/alice")).toBe("the PBX calls alice\n");
    expect(answer("/ladder")).toStartWith("call ");
    expect(answer("/v1/push ")).toContain('"accepted":true');
    expect(answer("/v1/locations")).toContain("carol@example.org");
    child.kill("SIGINT");
    expect(await child.exited).toBe(0);
    expect(readdirSync(temp)).toEqual([]);
  }, 60_000);

  test("O-01 a signal in the middle of the story ends it with exit 1 and nothing left behind", async () => {
    const child = demo();
    await output(child.stdout, /Bob calls/);
    child.kill("SIGTERM");
    expect(await child.exited).toBe(1);
    expect(readdirSync(temp)).toEqual([]);
  }, 60_000);
});
