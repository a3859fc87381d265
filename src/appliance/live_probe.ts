/**
 * Asks for `latefork check --live` (O-02): the PBX and its names, and every push service. All are asked at the same time, each
 * for a few seconds. A running appliance is not disturbed: nothing is written, and no port of the config is taken.
 */
import { existsSync } from "node:fs";
import type { Finding, RunningAppliance } from "../config/finding.ts";
import type { Config } from "../config/schema.ts";
import { PushRelay } from "../io/push/relay.ts";
import { inspectStore } from "../io/store/inspect.ts";
import { type PbxProbeOptions, probePbx } from "./pbx_probe.ts";

export interface LiveOptions extends PbxProbeOptions {
  /** How long a push service may take. */
  readonly pushMs: number;
}

/** Where a service works, connecting and answering together take less. */
const PUSH_MS = 8000;

/**
 * Asks every server the config names. Never throws.
 * @param running the appliance that runs with this config, if one does
 */
export async function probeLive(
  config: Config,
  running: RunningAppliance | null,
  options: Partial<LiveOptions> = {},
): Promise<Finding[]> {
  const [pbx, push] = await Promise.all([
    probePbx(config, options),
    probePush(config, running, options.pushMs ?? PUSH_MS),
  ]);
  return [...pbx, ...push];
}

/** A relay that pushes nothing, and so counts no pushes. */
export function relayForAsking(push: Config["push"]): PushRelay {
  return new PushRelay(push, { rates: { incr: () => null } });
}

async function probePush(config: Config, running: RunningAppliance | null, limitMs: number): Promise<Finding[]> {
  const relay = relayForAsking(config.push);
  const { path } = config.store;
  const isKept = path !== ":memory:" && existsSync(path);
  const found = isKept && config.push.webpush.vapid_file !== "" ? inspectStore(path) : null;
  // While an appliance runs its database is locked. It tells which services it knows.
  const known = running?.pushHosts.map((host) => ({ provider: "webpush", prid: host })) ?? [];
  const tokens = [...known, ...found?.tokens ?? []];
  const isBlind = tokens.length === 0 && (running !== null || (found !== null && found.problem !== ""));
  try {
    const asked = await relay.ask(tokens, limitMs);
    return asked.map(({ part, answer: { state, words, unverified, ms } }): Finding => {
      if (isBlind && part === "push.webpush" && state === "idle") {
        return { part, state, words: hiddenWords(running), hint: "", ms: null };
      }
      const hint = unverified === "" ? "" : `not asked: ${unverified}`;
      return { part, state, words, hint, ms: state === "idle" ? null : ms };
    });
  } finally {
    relay.stop();
  }
}

function hiddenWords(running: RunningAppliance | null): string {
  if (running === null) return "phones name the services, and the database that knows them cannot be read";
  return `phones name the services, and the running latefork (pid ${running.pid}) has pushed to none since its start`;
}
