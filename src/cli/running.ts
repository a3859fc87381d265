/** Finds the appliance that runs with a config: `check` holds nothing against it. Must not know what is checked. */
import type { RunningAppliance } from "../config/finding.ts";
import { ControlClient } from "./client.ts";
import { controlAddress } from "./control_address.ts";

const NO_OPTIONS = { control: undefined, tokenFile: undefined, isHelp: false, isVersion: false };
/** One that is there answers at once. */
const ANSWER_MS = 2000;

/**
 * Asks the control port of this config.
 * @param file null: none, all defaults.
 * @returns null if no latefork answers there, or the config does not say where.
 */
export async function runningAppliance(file: string | null): Promise<RunningAppliance | null> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  try {
    const client = new ControlClient(await controlAddress({ ...NO_OPTIONS, config: file ?? undefined }, undefined));
    const late = new Promise<null>((resolve) => timer = setTimeout(() => resolve(null), ANSWER_MS));
    const info = await Promise.race([client.json<RunningAppliance>("GET", "/v1/info"), late]);
    return info !== null && isInfo(info) ? info : null;
  } catch {
    return null;
  } finally {
    clearTimeout(timer);
  }
}

/** Another program may answer there, with any JSON. */
function isInfo(info: RunningAppliance): boolean {
  const { pid, version, listeners, control, store } = info ?? {};
  return typeof pid === "number" && typeof version === "string" && Array.isArray(listeners) &&
    Array.isArray(control) && typeof store?.path === "string";
}
