/**
 * Finds the appliance that runs with a config: the ports and the database it holds are no fault for `check`. Must not know
 * what is checked.
 */
import type { RunningAppliance } from "../config/finding.ts";
import { ControlClient } from "./client.ts";
import { controlAddress } from "./control_address.ts";

const NO_OPTIONS = { control: undefined, tokenFile: undefined, isHelp: false, isVersion: false };
/** An appliance that runs answers at once. */
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
    const info = await Promise.race([client.json<Info>("GET", "/v1/info"), late]);
    if (info === null || !isInfo(info)) return null;
    const push = await Promise.race([client.json<PushHealth>("GET", "/v1/push").catch(() => null), late]);
    return { ...info, pushHosts: hostsOf(push) };
  } catch {
    return null;
  } finally {
    clearTimeout(timer);
  }
}

/** The fields of `GET /v1/info` that matter here. */
type Info = Omit<RunningAppliance, "pushHosts">;
/** Of `GET /v1/push`. */
type PushHealth = { items?: { hosts?: { host?: unknown }[] }[] };

function hostsOf(push: PushHealth | null): string[] {
  const items = Array.isArray(push?.items) ? push.items : [];
  const hosts = items.flatMap((item) => Array.isArray(item?.hosts) ? item.hosts : []).map((entry) => entry?.host);
  return hosts.filter((host): host is string => typeof host === "string");
}

/** Another program may answer there, with any JSON. */
function isInfo(info: Info): boolean {
  const { pid, version, listeners, control, store } = info ?? {};
  return typeof pid === "number" && typeof version === "string" && Array.isArray(listeners) &&
    Array.isArray(control) && typeof store?.path === "string";
}
