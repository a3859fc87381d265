/** Owns running SIPp: one scenario, its keys, and what it says when a scenario is not met. */
import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Program, within } from "./program.ts";

export interface SippOptions {
  /** File of `scenarios/`, without `.xml`. */
  scenario?: string;
  /** `@NAME@` in the scenario's text; unlike the value of a key it may hold SIPp's own keywords. */
  fill?: Record<string, string>;
  /** Instead: a scenario that SIPp brings along. */
  builtIn?: "uac" | "uas";
  address: string;
  port: number;
  /** `host:port` it sends to; none for a scenario that only receives. */
  remote?: string;
  transport?: "udp" | "tcp";
  /** Called user (`[service]`). */
  user?: string;
  /** Username and password for digest. */
  credentials?: { user: string; password: string };
  /** `[name]` in the scenario. */
  keys?: Record<string, string>;
  calls?: number;
  /** Calls per second, and at most open at a time. */
  rate?: number;
  limit?: number;
  /** Scenario for requests that belong to no call of the main one: a phone that registered is called. */
  onOther?: string;
  /** Overrides every `<pause>` without a time. */
  pauseMs?: number;
  deadlineMs?: number;
}

const scenarios = join(import.meta.dir, "scenarios");

export class Sipp {
  readonly program: Program;
  private readonly folder: string;

  constructor(folder: string, options: SippOptions) {
    this.folder = folder;
    const seconds = Math.ceil((options.deadlineMs ?? 20_000) / 1000);
    const { builtIn, scenario } = options;
    const args = builtIn === undefined ? ["-sf", this.filled(options)] : ["-sn", builtIn];
    args.push("-i", options.address);
    args.push("-p", String(options.port), "-t", options.transport === "tcp" ? "t1" : "u1");
    args.push("-m", String(options.calls ?? 1), "-r", String(options.rate ?? 1), "-l", String(options.limit ?? 500));
    args.push("-nostdin", "-timeout", `${seconds}s`, "-timeout_error", "-trace_err", "-trace_msg", "-trace_screen");
    args.push("-error_file", join(folder, "errors"), "-message_file", join(folder, "messages"), "-screen_file");
    args.push(join(folder, "screen"), "-s", options.user ?? "service");
    if (options.onOther !== undefined) args.push("-oocsf", join(scenarios, `${options.onOther}.xml`));
    if (options.pauseMs !== undefined) args.push("-d", String(options.pauseMs));
    if (options.credentials !== undefined) {
      args.push("-au", options.credentials.user, "-ap", options.credentials.password);
    }
    for (const [name, value] of Object.entries(options.keys ?? {})) args.push("-key", name, value);
    if (options.remote !== undefined) args.push(options.remote);
    this.program = new Program(`sipp ${builtIn ?? scenario}`, "sipp", args, { cwd: folder, env: { TERM: "dumb" } });
  }

  /** The scenario's file: its own, or what it becomes when it is filled in. */
  private filled({ scenario, fill }: SippOptions): string {
    const file = join(scenarios, `${scenario}.xml`);
    if (fill === undefined) return file;
    let text = readFileSync(file, "utf8");
    for (const [name, value] of Object.entries(fill)) text = text.replaceAll(`@${name}@`, () => value);
    const made = join(this.folder, `${scenario}.xml`);
    writeFileSync(made, text);
    return made;
  }

  /** Resolves if the scenario was met, else rejects with what SIPp saw. */
  async done(withinMs = 25_000): Promise<void> {
    const code = await within(withinMs, `the end of ${this.program.name}`, this.program.exited)
      .catch((error) => Promise.reject(new Error(`${error.message}\n${this.errors()}`)));
    if (code !== 0) throw new Error(`${this.program.name} ended with ${code}: ${this.errors()}`);
  }

  /** What SIPp found wrong. */
  errors(): string {
    const file = join(this.folder, "errors");
    return existsSync(file) ? readFileSync(file, "utf8").slice(0, 2000) : "no errors told";
  }

  /** Errors and messages of a run. */
  report(): string {
    if (!existsSync(this.folder)) return this.program.output.slice(-2000);
    const texts = readdirSync(this.folder).filter((name) => name === "errors" || name === "messages")
      .map((name) => `-- ${this.program.name}: ${name}\n${readFileSync(join(this.folder, name), "utf8").slice(-6000)}`);
    return texts.length > 0 ? texts.join("\n") : this.program.output.slice(-2000);
  }

  /** The messages it sent and received, as text. */
  messages(): string {
    const file = join(this.folder, "messages");
    return existsSync(file) ? readFileSync(file, "utf8") : "";
  }

  async end(): Promise<void> {
    this.program.signal("SIGKILL");
    await this.program.exited;
  }
}
