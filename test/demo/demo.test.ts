import { afterAll, describe, expect, test } from "bun:test";
import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";

const main = resolve(import.meta.dir, "../../src/main.ts");
/** The demo's own temporary folder goes in here, so that what it leaves behind can be seen. */
const temp = mkdtempSync(join(tmpdir(), "latefork-demo-test-"));
const children: { kill(): void }[] = [];
afterAll(() => {
  // A failed test leaves its demo running; SIGKILL to one that has ended does nothing.
  for (const child of children) child.kill();
  rmSync(temp, { recursive: true, force: true });
});

function demo(...options: string[]) {
  const child = Bun.spawn([process.execPath, main, "demo", ...options], {
    cwd: temp,
    env: { ...process.env, TMPDIR: temp },
    stdin: "ignore",
    stdout: "pipe",
    stderr: "pipe",
  });
  children.push({ kill: () => child.kill("SIGKILL") });
  return child;
}

/** What a stream says, as it comes. */
class Said {
  text = "";
  readonly end: Promise<string>;
  private look: () => void = () => {};

  constructor(stream: ReadableStream<Uint8Array>) {
    this.end = this.read(stream);
  }

  /** Resolves once the text fits, or has ended. */
  async until(wanted: RegExp): Promise<string> {
    const seen = new Promise<void>((resolve) => {
      this.look = () => wanted.test(this.text) && resolve();
      this.look();
    });
    await Promise.race([seen, this.end]);
    return this.text;
  }

  private async read(stream: ReadableStream<Uint8Array>): Promise<string> {
    const decoder = new TextDecoder();
    for await (const chunk of stream) {
      this.text += decoder.decode(chunk, { stream: true });
      this.look();
    }
    return this.text;
  }
}

describe("latefork demo", () => {
  test("O-01 plays the whole story with exit 0, shows the ladder, and leaves nothing behind", async () => {
    const child = demo();
    const [said, complained] = await Promise.all([new Said(child.stdout).end, new Said(child.stderr).end]);
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

  const hasCurl = Bun.which("curl") !== null;
  if (!hasCurl) console.log("skipped: there is no curl here to try the printed lines with");
  test.skipIf(!hasCurl)(
    "O-01 --stay: the curl lines it prints work, and Ctrl-C ends it with nothing left behind",
    async () => {
      const child = demo("--stay");
      const said = new Said(child.stdout);
      await said.until(/every route with its curl line\n.*\n/);
      const lines = said.text.split("\n").map((line) => line.trim()).filter((line) => line.startsWith("curl "));
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
      expect(await said.until(/^call (call-\w+ is over|to alice)/m)).toMatch(/^call call-\w+ is over$/m);
      child.kill("SIGINT");
      expect(await child.exited).toBe(0);
      expect(readdirSync(temp)).toEqual([]);
    },
    60_000,
  );

  test("O-01 a signal in the middle of the story ends it with exit 1 and nothing left behind", async () => {
    const child = demo();
    await new Said(child.stdout).until(/Bob calls/);
    child.kill("SIGTERM");
    expect(await child.exited).toBe(1);
    expect(readdirSync(temp)).toEqual([]);
  }, 60_000);
});
