/**
 * latefork as the demo runs it: a temporary folder with config and database, and the appliance in this process, or in a
 * process of its own that can be killed. Asks it as an admin would, through the control port.
 */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Appliance } from "../appliance/appliance.ts";
import { loadConfigFile } from "../config/files.ts";
import { renderProblems } from "../config/problem.ts";
import { Log } from "../observe/log.ts";
import type { MadeCertificate } from "./certificate.ts";
import { Missed } from "./stage.ts";

const START_MS = 10_000;

export class Box {
  private readonly folder = mkdtempSync(join(tmpdir(), "latefork-demo-"));
  private appliance: Appliance | null = null;
  private child: ReturnType<typeof Bun.spawn> | null = null;
  /** What the appliance logged in this process. */
  readonly logged: string[] = [];

  constructor(private readonly controlPort: number) {}

  get configFile(): string {
    return join(this.folder, "latefork.yaml");
  }

  get controlUrl(): string {
    return `http://127.0.0.1:${this.controlPort}`;
  }

  /** Writes config, push token, and the certificate if it has one (`sip.pem`, `sip.key`). */
  write(config: string, token: string, certificate?: MadeCertificate): void {
    writeFileSync(this.configFile, config);
    if (certificate !== undefined) {
      writeFileSync(join(this.folder, "sip.pem"), certificate.cert);
      writeFileSync(join(this.folder, "sip.key"), certificate.key, { mode: 0o600 });
    }
    writeFileSync(join(this.folder, "push.token"), token + "\n", { mode: 0o600 });
  }

  /** Runs the appliance in this process. @throws Error in words */
  async start(): Promise<void> {
    const loaded = loadConfigFile(this.configFile);
    if (loaded.config === null) {
      throw new Error(renderProblems(this.configFile, loaded.text, loaded.problems));
    }
    const log = new Log({ ...loaded.config.log, format: "text" }, {
      isTty: false,
      write: (bytes) => {
        this.logged.push(...new TextDecoder().decode(bytes).split("\n").filter((line) => line !== ""));
        return bytes.length;
      },
      nowMs: () => Date.now(),
      later: (flush, delayMs) => void setTimeout(flush, delayMs),
    });
    this.appliance = new Appliance({ config: loaded.config, configFile: this.configFile, log });
    await this.appliance.start();
  }

  async stop(): Promise<void> {
    await this.appliance?.stop();
    this.appliance = null;
  }

  /** Runs `latefork serve` as a process of its own on the same config. @returns its pid */
  async startProcess(): Promise<number> {
    // A compiled binary is its own program; from source, Bun runs the main file.
    const program = Bun.main.startsWith("/$bunfs/") ? [process.execPath] : [process.execPath, Bun.main];
    const child = Bun.spawn([...program, "serve", "-c", this.configFile], {
      stdin: "ignore",
      stdout: "ignore",
      stderr: "pipe",
    });
    this.child = child;
    const timer = setTimeout(() => child.kill("SIGKILL"), START_MS);
    let said = "";
    for await (const chunk of child.stderr) {
      said += new TextDecoder().decode(chunk);
      if (/^ready$/m.test(said)) break;
    }
    clearTimeout(timer);
    if (!/^ready$/m.test(said)) throw new Missed(`latefork serve did not start: ${said.trim() || "it said nothing"}`);
    return child.pid;
  }

  /** `kill -9`. @returns the signal it died of */
  async killProcess(): Promise<string> {
    const child = this.child;
    if (child === null) return "";
    child.kill("SIGKILL");
    await child.exited;
    this.child = null;
    return String(child.signalCode ?? "");
  }

  /** What `curl` would get. @throws Missed if it is no 2xx */
  async text(path: string, method = "GET"): Promise<string> {
    const response = await fetch(this.controlUrl + path, { method });
    const body = await response.text();
    if (!response.ok) throw new Missed(`${method} ${path} answered ${response.status}: ${body}`);
    return body;
  }

  async json<T>(path: string): Promise<T> {
    return JSON.parse(await this.text(path)) as T;
  }

  /** Ends everything and removes the folder. */
  async remove(): Promise<void> {
    await this.killProcess();
    await this.stop();
    rmSync(this.folder, { recursive: true, force: true });
  }
}
