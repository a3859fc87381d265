/** The command line with its output in variables, and programs that record that they were called. */
import type { Programs } from "../../src/cli/verbs.ts";
import { run } from "../../src/cli/verbs.ts";
import type { Finding } from "../../src/config/finding.ts";
import type { Problem } from "../../src/config/problem.ts";

export interface Outcome {
  code: number;
  out: string;
  err: string;
  /** Programs called, with their arguments. */
  called: unknown[];
}

export interface RecordedOptions {
  env?: Record<string, string>;
  /** What the probe finds, and the parts it tried. */
  found?: Problem[];
  parts?: { part: string; words: string; isIdle?: boolean }[];
  /** What `--live` finds. */
  live?: Finding[];
  input?: string;
}

/** Runs one command line in this process. */
export async function latefork(
  argv: readonly string[],
  options: RecordedOptions = {},
): Promise<Outcome> {
  const outcome: Outcome = { code: -1, out: "", err: "", called: [] };
  const io = {
    // A config of the machine that runs the test must not matter.
    env: { LATEFORK_CONFIG: NO_CONFIG, ...options.env },
    isInputTerminal: false,
    readPassword: () => Promise.resolve(options.input ?? ""),
    stdout: (text: string) => void (outcome.out += text),
    stderr: (text: string) => void (outcome.err += text),
  };
  const programs: Programs = {
    serve: (configFile) => {
      outcome.called.push(["serve", configFile]);
      return Promise.resolve(0);
    },
    demo: (demo) => {
      outcome.called.push(["demo", demo]);
      return Promise.resolve(0);
    },
    probe: (config) => {
      outcome.called.push(["probe", config.store.path]);
      return Promise.resolve({ problems: options.found ?? [], parts: options.parts ?? [] });
    },
    live: (config) => {
      outcome.called.push(["live", config.store.path]);
      return Promise.resolve(options.live ?? []);
    },
  };
  outcome.code = await run(argv, io, programs);
  return outcome;
}

const NO_CONFIG = "/nonexistent/latefork.yaml";
