/**
 * The command line: argv to verb to exit code. Loads what a verb needs when it is called, so that asking a running
 * appliance starts fast. Must not end the process, nor know how the appliance is built: that comes in as `Programs`.
 */
import manifest from "../../package.json" with { type: "json" };
import { withoutControls } from "../observe/display.ts";
import { type GlobalOptions, readCommandLine, readVerbArgs } from "./args.ts";
import type { LiveProbe, Probe } from "./check.ts";
import { FAILED, OK, USAGE, VerbError } from "./exit.ts";
import { bashCompletion, helpText, NOT_BUILT, notBuilt, verbHelpText, VERBS, verbUsage } from "./help.ts";
import type { Io } from "./io.ts";

/** What main.ts puts in: each loads its own part when it is called. */
export interface Programs {
  /**
   * Runs the appliance to its end.
   * @param configFile null: none was found, all defaults.
   * @returns the exit code.
   */
  serve(configFile: string | null): Promise<number>;
  /** @returns the exit code. */
  demo(options: { stay: boolean }): Promise<number>;
  probe: Probe;
  live: LiveProbe;
}

interface Call {
  rest: string[];
  options: GlobalOptions;
  io: Io;
  programs: Programs;
}

/**
 * @param argv without the program's own name.
 * @returns the exit code: 0 ok, 1 failed, 64 usage, 69 control port not answering, 78 config.
 */
export async function run(argv: readonly string[], io: Io, programs: Programs): Promise<number> {
  let verb = "";
  try {
    const line = readCommandLine(argv);
    verb = line.verb;
    if (line.options.isVersion) verb = "version";
    if (verb === "") {
      if (line.options.isHelp) io.stdout(helpText());
      else io.stderr(helpText());
      return line.options.isHelp ? OK : USAGE;
    }
    if (Object.hasOwn(NOT_BUILT, verb)) throw new VerbError(FAILED, notBuilt(verb));
    if (line.options.isHelp) return await OWN_VERBS.help!({ rest: [verb], options: line.options, io, programs });
    const own = Object.hasOwn(OWN_VERBS, verb) ? OWN_VERBS[verb] : undefined;
    if (own !== undefined) return await own({ rest: line.rest, options: line.options, io, programs });
    return await runClientVerb(verb, line.rest, line.options, io);
  } catch (error) {
    if (!(error instanceof VerbError)) {
      io.stderr(`latefork: ${error instanceof Error ? error.message : String(error)}\n`);
      return FAILED;
    }
    io.stderr(`latefork${verb === "" ? "" : ` ${verb}`}: ${linesOf(error.message)}\n`);
    if (error.exitCode === USAGE) {
      const usage = verbUsage(verb);
      io.stderr(usage === null ? "See: latefork help\n" : `usage: ${usage}\nSee: latefork help ${verb}\n`);
    }
    return error.exitCode;
  }
}

/** What the appliance refused with may quote what the network sent. */
function linesOf(message: string): string {
  return message.trimEnd().split("\n").map(withoutControls).join("\n");
}

/** Verbs that work without a running appliance, and `serve` itself. */
const OWN_VERBS: Readonly<Record<string, (call: Call) => Promise<number> | number>> = {
  serve: async ({ rest, options, io, programs }) => {
    readVerbArgs(rest, {}, [0, 0]);
    const { findConfig } = await import("../config/files.ts");
    return await programs.serve(findConfig(options.config, io.env.LATEFORK_CONFIG));
  },

  check: async ({ rest, options, io, programs }) => {
    const { flags } = readVerbArgs(rest, { json: { type: "boolean" }, live: { type: "boolean" } }, [0, 0]);
    const { runCheck } = await import("./check.ts");
    const { runningAppliance } = await import("./running.ts");
    const wanted = { config: options.config, isJson: flags.json ?? false, isLive: flags.live ?? false };
    return await runCheck(wanted, io, { ...programs, running: runningAppliance });
  },

  init: async ({ rest, options, io }) => {
    readVerbArgs(rest, {}, [0, 0]);
    const { runInit } = await import("./init.ts");
    return runInit(options.config, io);
  },

  demo: async ({ rest, programs }) => {
    const { flags } = readVerbArgs(rest, { stay: { type: "boolean" } }, [0, 0]);
    return await programs.demo({ stay: flags.stay ?? false });
  },

  user: async ({ rest, options, io }) => {
    const { runUser } = await import("./user.ts");
    return await runUser(rest, io, rest.some((arg) => /^--file(=|$)/.test(arg)) ? "" : await usersFile(options, io));
  },

  keys: async ({ rest, io }) => {
    const { runKeys } = await import("./keys.ts");
    return runKeys(rest, io);
  },

  config: async ({ rest, options, io }) => {
    const { flags, words } = readVerbArgs(rest, { json: { type: "boolean" } }, [1, 1]);
    if (words[0] !== "show") throw new VerbError(USAGE, "expected: show");
    if (options.control !== undefined) {
      const { show } = await import("./client_verbs.ts");
      return await show(await clientFor(options, io), io, "/v1/config", flags.json);
    }
    const config = await loadOrFail(options, io);
    const { configYaml, masked } = await import("../config/masked.ts");
    io.stdout(flags.json ? JSON.stringify(masked(config)) + "\n" : configYaml(config));
    return OK;
  },

  version: ({ rest, io }) => {
    const { flags } = readVerbArgs(rest, { json: { type: "boolean" } }, [0, 0]);
    const version = { version: manifest.version, bun: Bun.version, platform: `${process.platform}-${process.arch}` };
    io.stdout(
      flags.json
        ? JSON.stringify(version) + "\n"
        : `latefork ${version.version} (Bun ${version.bun}, ${version.platform})\n`,
    );
    return OK;
  },

  completion: ({ rest, io }) => {
    const { words } = readVerbArgs(rest, {}, [0, 1]);
    if (words[0] !== undefined && words[0] !== "bash") {
      throw new VerbError(FAILED, `no completion for ${words[0]}, only for bash`);
    }
    io.stdout(bashCompletion());
    return OK;
  },

  help: async ({ rest, io }) => {
    const { words } = readVerbArgs(rest, {}, [0, 1]);
    if (words[0] === undefined) io.stdout(helpText());
    else if (words[0] === "user") io.stdout((await import("./user.ts")).USER_USAGE);
    else if (Object.hasOwn(NOT_BUILT, words[0])) throw new VerbError(FAILED, notBuilt(words[0]));
    else {
      const text = verbHelpText(words[0]);
      if (text === null) throw await unknownVerb(words[0]);
      io.stdout(text);
    }
    return OK;
  },
};

async function runClientVerb(verb: string, rest: string[], options: GlobalOptions, io: Io): Promise<number> {
  const { CLIENT_VERBS } = await import("./client_verbs.ts");
  const clientVerb = Object.hasOwn(CLIENT_VERBS, verb) ? CLIENT_VERBS[verb] : undefined;
  if (clientVerb === undefined) throw await unknownVerb(verb);
  return await clientVerb(await clientFor(options, io), rest, io);
}

async function clientFor(options: GlobalOptions, io: Io) {
  const { controlAddress } = await import("./control_address.ts");
  const { ControlClient } = await import("./client.ts");
  return new ControlClient(await controlAddress(options, io.env.LATEFORK_CONFIG));
}

async function unknownVerb(verb: string): Promise<VerbError> {
  const { nearest } = await import("../config/nearest.ts");
  const meant = nearest(verb, VERBS.map(({ name }) => name));
  return new VerbError(USAGE, `unknown verb "${verb}"${meant === null ? "" : ` (did you mean "${meant}"?)`}`);
}

/** `users_file` of the config. A config that cannot be read is an error, not one without users. */
async function usersFile(options: GlobalOptions, io: Io): Promise<string> {
  return (await loadOrFail(options, io)).users_file;
}

async function loadOrFail(options: GlobalOptions, io: Io) {
  const { findConfig, loadConfigFile } = await import("../config/files.ts");
  const { loadConfig } = await import("../config/load.ts");
  const { renderProblems } = await import("../config/problem.ts");
  const { CONFIG } = await import("./exit.ts");
  const file = findConfig(options.config, io.env.LATEFORK_CONFIG);
  const loaded = file === null ? { ...loadConfig(""), text: "" } : loadConfigFile(file);
  if (loaded.config !== null) return loaded.config;
  throw new VerbError(CONFIG, `the config cannot be used\n${renderProblems(file ?? "", loaded.text, loaded.problems)}`);
}
