/** What a reload may put into force: keys that need a restart keep their old values (O-03). */
import type { Config } from "../config/schema.ts";

/** The new config with the old values at `restartPaths` (dotted, as `diffConfig` gives them). */
export function mergeLive(before: Config, after: Config, restartPaths: readonly string[]): Config {
  const merged = { ...after } as unknown as Record<string, unknown>;
  for (const path of restartPaths) {
    const keys = path.split(".");
    let from = before as unknown as Record<string, unknown>;
    let to = merged;
    for (const key of keys.slice(0, -1)) {
      if (from[key] === null || typeof from[key] !== "object") break;
      from = from[key] as Record<string, unknown>;
      to = (to[key] = { ...(to[key] as object) }) as Record<string, unknown>;
    }
    const last = keys.at(-1)!;
    if (last in from) to[last] = from[last];
    else delete to[last];
  }
  return merged as unknown as Config;
}
