/** `latefork serve`: runs the appliance until a signal ends it, and prints what was started. */
import { Appliance } from "../appliance/appliance.ts";
import { checkFiles, loadConfigFile } from "../config/files.ts";
import { loadConfig } from "../config/load.ts";
import { hasErrors, type Problem, problemLine, renderProblems } from "../config/problem.ts";
import { hostPort } from "../core/sip/host.ts";
import { CONFIG, FAILED, OK } from "./exit.ts";
import type { Io } from "./io.ts";

/**
 * Starts with this config and stays until SIGTERM or SIGINT; SIGHUP reloads.
 * @param file null: none was found, all defaults
 * @returns the exit code
 */
export async function serve(file: string | null, io: Io): Promise<number> {
  const loaded = file === null ? { ...loadConfig(""), text: "" } : loadConfigFile(file);
  if (loaded.config !== null) loaded.problems.push(...checkFiles(loaded.config, loaded.placeOf));
  if (loaded.problems.length > 0) {
    io.stderr(renderProblems(file ?? "defaults (no config file)", loaded.text, loaded.problems));
  }
  if (loaded.config === null || hasErrors(loaded.problems)) return CONFIG;
  const appliance = new Appliance({ config: loaded.config, configFile: file });
  try {
    await appliance.start();
  } catch (error) {
    io.stderr(`latefork: ${error instanceof Error ? error.message : String(error)}\n`);
    return FAILED;
  }
  // A supervisor may send a signal as soon as it reads `ready`. Without a handler SIGHUP and SIGTERM kill.
  const end = ended(appliance, io);
  io.stderr(startTree(appliance));
  await end;
  return OK;
}

/** What was started, as a tree, then `ready`. */
export function startTree(appliance: Appliance): string {
  const { config } = appliance;
  const listeners = appliance.transports.listeners();
  const buffers = appliance.transports.receiveBuffers();
  const lines = [
    `latefork ${appliance.version} (Bun ${Bun.version}, pid ${process.pid})`,
    `├─ config    ${appliance.configFile ?? "none found, all defaults"}`,
  ];
  for (const listener of listeners) {
    const bytes = buffers.find((buffer) => buffer.listener === listener)?.bytes ?? null;
    const place = hostPort(listener.address, listener.port);
    const advertised = listener.advertised === place ? "" : `, advertised as ${listener.advertised}`;
    const buffer = bytes === null ? "" : `, receive buffer ${Math.round(bytes / 1024)} KiB`;
    lines.push(`├─ listen    ${listener.transport}://${place}${listener.path ?? ""}${advertised}${buffer}`);
  }
  for (const { names, days_left, problem } of appliance.certificates.infos()) {
    lines.push(`├─ tls       ${names.join(", ")}: ${problem || `${days_left} days left`}`);
  }
  lines.push(
    config.pbx === null
      ? "├─ mode      registrar (no pbx in the config)"
      : `├─ mode      mid-registrar for ${config.pbx.uri.map(({ uri }) => uri).join(", ")}, one Contact per ${
        config.pbx.mode === "aor" ? "AoR" : "device"
      }`,
  );
  for (const url of appliance.controlUrls) lines.push(`├─ control   ${url}`);
  const { usrloc } = appliance.core;
  const isLost = appliance.readiness().state === "store_failed";
  const place = isLost ? "in memory, nothing is kept (see warning)" : config.store.path;
  lines.push(`├─ store     ${place}, ${usrloc.aorCount} AoRs, ${usrloc.contactCount} devices`);
  const backends = appliance.relay.backends();
  lines.push(
    `${appliance.warnings.length > 0 ? "├─" : "└─"} push      ${
      backends.length === 0 ? "no backend" : backends.map(({ backend, host }) => `${backend} → ${host}`).join(", ")
    }`,
  );
  appliance.warnings.forEach((warning, i) =>
    lines.push(`${i === appliance.warnings.length - 1 ? "└─" : "├─"} warning   ${warning}`)
  );
  return lines.join("\n") + "\nready\n";
}

/** The answer to `POST /v1/drain` leaves before the control port closes. */
const ANSWER_MS = 100;

/** Waits for the end: SIGTERM, SIGINT or the control port drain first, a further signal ends at once. */
function ended(appliance: Appliance, io: Io): Promise<void> {
  return new Promise((resolve) => {
    let isEnding = false;
    const drain = async (why: string) => {
      if (!isEnding) {
        isEnding = true;
        const waits = appliance.waitsFor();
        io.stderr(`stopping${why}${waits === "" ? "" : `: waiting for ${waits}; a signal ends at once`}\n`);
        await appliance.drain();
      }
      await appliance.stop().catch((error) => appliance.onFault(error));
      resolve();
    };
    // X-06: an exception in a callback of a library must not end all calls.
    process.on("uncaughtException", (error) => appliance.onFault(error));
    process.on("unhandledRejection", (error) => appliance.onFault(error));
    process.on("SIGTERM", () => drain(""));
    process.on("SIGINT", () => drain(""));
    appliance.onEndAsked = () => {
      if (!isEnding) setTimeout(() => isEnding || drain(", the control port asked for it"), ANSWER_MS);
    };
    process.on("SIGHUP", async () => {
      try {
        await appliance.reload();
      } catch (error) {
        for (const line of refusal(error)) appliance.log.log("error", `Reload refused: ${line}`);
      }
    });
  });
}

/** A reload by SIGHUP has no answer but the log: it gets each problem with its place, as `check` prints it. */
function refusal(error: unknown): string[] {
  const { problems } = (error as { details?: { problems?: Problem[] } }).details ?? {};
  const errors = (problems ?? []).filter(({ severity }) => severity === "error");
  const message = error instanceof Error ? error.message : String(error);
  return [message, ...errors.map(problemLine)];
}
