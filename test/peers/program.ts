/**
 * Owns the programs a test starts: their output, their end. Each is a process group of its own, ended by its own id;
 * nothing is ever ended by name. Knows nothing of SIP.
 */
import { type ChildProcess, spawn } from "node:child_process";
import process from "node:process";

/** Output kept of one program; the newest counts. */
const MAX_OUTPUT = 400_000;

const running = new Set<Program>();
process.on("exit", () => {
  for (const program of running) program.signal("SIGKILL");
});

export interface ProgramOptions {
  cwd?: string;
  env?: Record<string, string>;
}

export class Program {
  /** Standard output and error together, in the order they came. */
  output = "";
  /** Exit code; -1 if a signal ended it or it could not be started. */
  readonly exited: Promise<number>;
  exitCode: number | null = null;
  private readonly child: ChildProcess;
  private readonly listeners = new Set<() => void>();

  constructor(readonly name: string, command: string, args: readonly string[], options: ProgramOptions = {}) {
    this.child = spawn(command, args, {
      cwd: options.cwd,
      env: { ...process.env, ...options.env },
      stdio: ["ignore", "pipe", "pipe"],
      detached: true,
    });
    running.add(this);
    for (const stream of [this.child.stdout!, this.child.stderr!]) {
      stream.setEncoding("utf8").on("data", (text: string) => {
        this.output = (this.output + text).slice(-MAX_OUTPUT);
        for (const listener of this.listeners) listener();
      });
    }
    this.exited = new Promise((resolve) => {
      const settle = (code: number) => {
        running.delete(this);
        this.exitCode = code;
        resolve(code);
        for (const listener of this.listeners) listener();
      };
      this.child.on("error", (error) => {
        this.output += `${error.message}\n`;
        settle(-1);
      });
      this.child.on("exit", (code) => settle(code ?? -1));
    });
  }

  get pid(): number {
    return this.child.pid ?? -1;
  }

  /** Resolves to the match as soon as the output has it; rejects with the output if the program ends or time is up. */
  waitFor(pattern: RegExp, withinMs: number): Promise<RegExpExecArray> {
    return new Promise((resolve, reject) => {
      const look = () => {
        const match = pattern.exec(this.output);
        if (match !== null) finish(() => resolve(match));
        else if (this.exitCode !== null) fail(`ended with ${this.exitCode} before`);
      };
      const fail = (words: string) =>
        finish(() => reject(new Error(`${this.name} ${words} ${pattern} was seen:\n${this.output.slice(-4000)}`)));
      const timer = setTimeout(() => fail(`ran ${withinMs} ms and nothing like`), withinMs);
      const finish = (then: () => void) => {
        clearTimeout(timer);
        this.listeners.delete(look);
        then();
      };
      this.listeners.add(look);
      look();
    });
  }

  /** To the whole group, so that the children of a forking server get it too. */
  signal(name: NodeJS.Signals): void {
    if (this.exitCode !== null || this.child.pid === undefined) return;
    try {
      process.kill(-this.child.pid, name);
    } catch {
      // Gone in the meantime.
    }
  }

  /** Asks it to end, and after `graceMs` ends it. */
  async end(graceMs = 2000): Promise<number> {
    this.signal("SIGTERM");
    const timer = setTimeout(() => this.signal("SIGKILL"), graceMs);
    const code = await this.exited;
    clearTimeout(timer);
    return code;
  }
}

/** True if the program can be found in PATH. */
export function isInstalled(name: string): boolean {
  return Bun.which(name) !== null;
}

/** Resolves once `isTrue` gives something truthy, asked every 20 ms; rejects with the words when time is up. */
export async function eventually<T>(
  words: string,
  withinMs: number,
  isTrue: () => T | Promise<T>,
): Promise<NonNullable<T>> {
  const endMs = Date.now() + withinMs;
  for (;;) {
    const value = await isTrue();
    if (value) return value;
    if (Date.now() > endMs) throw new Error(`Not within ${withinMs} ms: ${words}`);
    await Bun.sleep(20);
  }
}

/** The promise, or an error with these words when time is up. */
export function within<T>(withinMs: number, words: string, promise: Promise<T>): Promise<T> {
  let timer: ReturnType<typeof setTimeout>;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`Not within ${withinMs} ms: ${words}`)), withinMs);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}
