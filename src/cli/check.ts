/**
 * `latefork check`: everything that is wrong with the config, at once (O-02). Prints a line for each part of it, and with
 * `--live` a line for each server it depends on. Reads the config and the files it names; the probes open and ask.
 */
import { checkFiles, findConfig, loadConfigFile } from "../config/files.ts";
import type { Finding, RunningAppliance } from "../config/finding.ts";
import { loadConfig } from "../config/load.ts";
import { hasErrors, type Place, type Problem, problemJson, renderProblems } from "../config/problem.ts";
import type { Config } from "../config/schema.ts";
import { jsonText, padEnd, readable } from "../observe/display.ts";
import { CONFIG, FAILED, OK } from "./exit.ts";
import type { Io } from "./io.ts";

/**
 * Opens what `serve` would open with this config, and closes it again.
 * @param placeOf where a key stands in the file, for the problems.
 * @param running the appliance that holds ports and database already; null if none does.
 * @param known problems of the files it names, which are not told again.
 */
export type Probe = (
  config: Config,
  placeOf: (path: string) => Place,
  running: RunningAppliance | null,
  known: readonly Problem[],
) => Promise<{ problems: Problem[]; parts: { part: string; words: string; isIdle?: boolean }[] }>;

/** Asks the PBX and the push services of this config. */
export type LiveProbe = (config: Config, running: RunningAppliance | null) => Promise<Finding[]>;

export interface CheckOptions {
  /** Of `-c`. */
  config: string | undefined;
  isJson: boolean;
  isLive: boolean;
}

/** What comes in from outside. */
export interface CheckPrograms {
  probe: Probe;
  live: LiveProbe;
  /** Asks the control port of this file's config; null if no latefork answers there. */
  running(file: string | null): Promise<RunningAppliance | null>;
}

/** @returns 0; 78 if the config is wrong; 1 if a server asked by `--live` failed. Warnings change nothing. */
export async function runCheck(options: CheckOptions, io: Io, programs: CheckPrograms): Promise<number> {
  const file = findConfig(options.config, io.env.LATEFORK_CONFIG);
  const { config, problems, placeOf, text } = file === null ? { ...loadConfig(""), text: "" } : loadConfigFile(file);
  const name = file ?? "defaults (no config file)";
  const parts: Finding[] = [];
  const live: Finding[] = [];
  if (config !== null) {
    const running = await programs.running(file);
    const known = checkFiles(config, placeOf);
    problems.push(...known);
    const [tried, asked] = await Promise.all([
      programs.probe(config, placeOf, running, known),
      options.isLive ? programs.live(config, running) : [],
    ]);
    problems.push(...tried.problems);
    live.push(...asked);
    const isAsked = (part: string) => part === "pbx" && asked.some((finding) => finding.part === part);
    parts.push(...findingsOf(name, tried.parts.filter(({ part }) => !isAsked(part)), problems));
  }
  const isBad = hasErrors(problems);
  const failed = live.filter(({ state }) => state === "failed").length;
  const askedCount = live.filter(({ state }) => state !== "idle").length;
  if (options.isJson) {
    const found = { file, problems: problems.map(problemJson), parts, ...options.isLive ? { live } : {} };
    io.stdout(jsonText(found) + "\n");
  } else {
    io.stdout(linesOf(parts, live));
    io.stderr(renderProblems(name, text, problems));
    if (failed > 0) io.stderr(`${name}: ${failed} of ${askedCount} asked by --live failed\n`);
    if (!isBad && failed === 0) io.stdout(`${name}: ok\n`);
  }
  return isBad ? CONFIG : failed > 0 ? FAILED : OK;
}

/** A line for the file itself, and one for each part: its problems, or else what the probe says of it. */
function findingsOf(
  file: string,
  parts: readonly { part: string; words: string; isIdle?: boolean }[],
  problems: readonly Problem[],
): Finding[] {
  const left = new Set(problems);
  const findings = parts.map(({ part, words, isIdle }): Finding => {
    const own = problems.filter((problem) => left.has(problem) && isOf(problem.path, part, parts));
    for (const problem of own) left.delete(problem);
    const said = own.map(({ message }) => message).join("; ");
    const state = own.length === 0 ? (isIdle === true ? "idle" : "ok") : worst(own);
    return { part, state, words: own.length === 0 ? words : said, hint: "", ms: null };
  });
  const rest = [...left];
  const words = rest.length === 0 ? file : `${file}: ${rest.map(named).join("; ")}`;
  const config: Finding = { part: "config", state: rest.length === 0 ? "ok" : worst(rest), words, hint: "", ms: null };
  return [config, ...findings];
}

/** The line of the file itself stands for keys of all sections, so each is named. */
function named({ path, message }: Problem): string {
  return path === "" ? message : `${path} ${message}`;
}

/** The longest part wins: a problem of `pbx.credentials_file` belongs to the part of that name, not to `pbx`. */
function isOf(path: string, part: string, parts: readonly { part: string }[]): boolean {
  const isBelow = (name: string) => path === name || path.startsWith(`${name}.`) || path.startsWith(`${name}[`);
  return isBelow(part) && !parts.some(({ part: other }) => other.length > part.length && isBelow(other));
}

function worst(problems: readonly Problem[]): "warning" | "failed" {
  return hasErrors(problems) ? "failed" : "warning";
}

const SHOWN: Readonly<Record<Finding["state"], string>> = {
  ok: "ok",
  warning: "warning",
  failed: "FAILED",
  idle: "-",
};

/** A line for each finding, those of `--live` after an empty one; below a line stands what to do about it. */
function linesOf(parts: readonly Finding[], live: readonly Finding[]): string {
  const width = Math.max(0, ...[...parts, ...live].map(({ part }) => part.length));
  const line = ({ part, state, words, hint, ms }: Finding) => {
    const more = hint === "" ? "" : `\n${" ".repeat(width + 11)}${readable(hint)}`;
    const time = ms === null ? "" : ` (${ms < 10 ? ms.toFixed(1) : Math.round(ms)} ms)`;
    return `${padEnd(part, width)}  ${padEnd(SHOWN[state], 7)}  ${readable(words)}${time}${more}\n`;
  };
  const gap = parts.length > 0 && live.length > 0 ? "\n" : "";
  return parts.map(line).join("") + gap + live.map(line).join("");
}
