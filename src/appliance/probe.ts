/** What `latefork check` tries beyond reading: opening the database, the ports and the secret files, and letting go again. */
import type { Place, Problem } from "../config/problem.ts";
import type { Config } from "../config/schema.ts";
import { listenControl } from "../control/server.ts";
import { Hono } from "hono";
import { openStore } from "../store/sqlite.ts";
import { Transports } from "../transport/transports.ts";
import { readSecretFiles } from "./files.ts";
import { resolvePbx } from "./pbx_names.ts";
import { existsSync } from "node:fs";

/** Tries it all; every failure is a problem at the key it comes from. */
export async function probe(config: Config, placeOf: (path: string) => Place): Promise<Problem[]> {
  const problems: Problem[] = [];
  const tell = (path: string, severity: Problem["severity"], message: string, hint = "") => {
    problems.push({ ...placeOf(path), severity, path, message, hint });
  };
  await probeListeners(config, (message) => tell("listen", "error", message));
  try {
    const server = await listenControl(new Hono(), config.control.listen, config.control.token_file !== "");
    await server.stop();
  } catch (error) {
    tell("control.listen", "error", words(error));
  }
  probeStore(config, (message) => tell("store.path", "error", message));
  for (const problem of readSecretFiles(config).problems) {
    tell(config.pbx === null ? "users_file" : "pbx.credentials_file", "error", problem);
  }
  if (config.pbx !== null) {
    for (const problem of (await resolvePbx(config.pbx)).problems) {
      tell("pbx.uri", "warning", problem, "It is asked again every few seconds while running");
    }
  }
  return problems;
}

async function probeListeners(config: Config, tell: (message: string) => void): Promise<void> {
  const transports = new Transports({
    listen: config.listen,
    advertise: config.advertise,
    sink: { message() {}, closed() {}, malformed() {} },
    now: () => Date.now(),
    onInput() {},
    log() {},
  });
  try {
    await transports.start();
    transports.stop();
  } catch (error) {
    tell(words(error));
  }
}

/** A database that is not there yet is not made by a check. */
function probeStore(config: Config, tell: (message: string) => void): void {
  const { path, sync } = config.store;
  if (path === ":memory:" || !existsSync(path)) return;
  const opened = openStore({ path, sync });
  if (opened.store === null) tell(opened.problem);
  else opened.store.close();
}

function words(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
