/**
 * `latefork check`: everything that is wrong with the config, at once (O-02). Reads the config and the files it names;
 * opening database, keys and ports is the probe's.
 */
import { checkFiles, findConfig, loadConfigFile } from "../config/files.ts";
import { loadConfig } from "../config/load.ts";
import { hasErrors, type Place, type Problem, problemJson, renderProblems } from "../config/problem.ts";
import type { Config } from "../config/schema.ts";
import { CONFIG, OK } from "./exit.ts";
import type { Io } from "./io.ts";

/**
 * Tries what `serve` would do with this config, and lets go of it again.
 * @param placeOf where a key stands in the file, for the problems.
 */
export type Probe = (config: Config, placeOf: (path: string) => Place) => Promise<Problem[]>;

/** @returns 0, or 78 if there is an error; warnings are printed and change nothing. */
export async function runCheck(flag: string | undefined, isJson: boolean, io: Io, probe: Probe): Promise<number> {
  const file = findConfig(flag, io.env.LATEFORK_CONFIG);
  const { config, problems, placeOf, text } = file === null ? { ...loadConfig(""), text: "" } : loadConfigFile(file);
  const name = file ?? "defaults (no config file)";
  if (config !== null) {
    problems.push(...checkFiles(config, placeOf));
    // A port that is taken says nothing more once a key is missing.
    if (!hasErrors(problems)) problems.push(...await probe(config, placeOf));
  }
  const isBad = hasErrors(problems);
  if (isJson) io.stdout(JSON.stringify({ file, problems: problems.map(problemJson) }) + "\n");
  else {
    io.stderr(renderProblems(name, text, problems));
    if (!isBad) io.stdout(`${name}: ok\n`);
  }
  return isBad ? CONFIG : OK;
}
