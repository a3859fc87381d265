/** Reads the command line: the options every verb takes, the verb, and the verb's own. Must not know the verbs. */
import { parseArgs, type ParseArgsConfig } from "node:util";
import { USAGE, VerbError } from "./exit.ts";

/** Options every verb takes, before or behind it. */
export interface GlobalOptions {
  config: string | undefined;
  control: string | undefined;
  tokenFile: string | undefined;
  isHelp: boolean;
  isVersion: boolean;
}

export interface CommandLine {
  /** Empty if there is none. */
  verb: string;
  /** What is left for the verb. */
  rest: string[];
  options: GlobalOptions;
}

const WITH_VALUE = new Map<string, "config" | "control" | "tokenFile">([
  ["-c", "config"],
  ["--config", "config"],
  ["--control", "control"],
  ["--token-file", "tokenFile"],
]);

/**
 * Takes the global options out, wherever they stand before a `--`.
 * @throws VerbError with the code for usage.
 */
export function readCommandLine(argv: readonly string[]): CommandLine {
  const options: GlobalOptions = {
    config: undefined,
    control: undefined,
    tokenFile: undefined,
    isHelp: false,
    isVersion: false,
  };
  const rest: string[] = [];
  let verb = "";
  for (let i = 0; i < argv.length; i++) {
    const arg = argv[i]!;
    if (arg === "--") {
      rest.push(...argv.slice(i));
      break;
    }
    const equals = arg.startsWith("--") ? arg.indexOf("=") : -1;
    const key = WITH_VALUE.get(equals < 0 ? arg : arg.slice(0, equals));
    if (key !== undefined) {
      const value = equals < 0 ? argv[++i] : arg.slice(equals + 1);
      // `-c --json`: the value was forgotten, and what stands there is the next option. `--config=-x` means it.
      const isForgotten = equals < 0 && value?.startsWith("-");
      if (value === undefined || value === "" || isForgotten) throw new VerbError(USAGE, `${arg} needs a value`);
      options[key] = value;
    } else if (arg === "-h" || arg === "--help") options.isHelp = true;
    else if (verb === "" && (arg === "--version" || arg === "-V")) options.isVersion = true;
    else if (verb === "" && arg.startsWith("-")) throw new VerbError(USAGE, `unknown option ${arg}`);
    else if (verb === "") verb = arg;
    else rest.push(arg);
  }
  return { verb, rest, options };
}

/**
 * The verb's own options and its words.
 * @param words how many there must be, at least and at most.
 * @throws VerbError with the code for usage.
 */
export function readVerbArgs(
  rest: readonly string[],
  options: NonNullable<ParseArgsConfig["options"]>,
  words: readonly [min: number, max: number],
): { values: Record<string, string | undefined>; flags: Record<string, boolean>; words: string[] } {
  let parsed;
  try {
    parsed = parseArgs({ args: [...rest], allowPositionals: true, options });
  } catch (error) {
    // The first sentence says what is wrong; the others are advice for programmers.
    throw new VerbError(USAGE, (error as Error).message.split(/[.\n]/)[0]!);
  }
  const { positionals } = parsed;
  if (positionals.length < words[0]) throw new VerbError(USAGE, "an argument is missing");
  if (positionals.length > words[1]) throw new VerbError(USAGE, `unexpected argument "${positionals[words[1]]}"`);
  const values: Record<string, string | undefined> = {};
  const flags: Record<string, boolean> = {};
  for (const [name, value] of Object.entries(parsed.values)) {
    if (typeof value === "string") values[name] = value;
    else if (typeof value === "boolean") flags[name] = value;
  }
  return { values, flags, words: positionals };
}
