/** The gauge `flows`: how many devices can be reached over which transport. Must not know sockets. */
import type { GaugeSample } from "../observe/metrics.ts";
import type { Reachability, Usrloc } from "../core/usrloc/usrloc.ts";

const STATES: readonly Reachability[] = ["live", "unknown", "lost"];

/**
 * One sample for each transport and state. Those at 0 are there too, so that a graph has no holes. One pass over all contacts.
 * @param idleMs silence after which UDP is unknown.
 */
export function flowSamples(usrloc: Usrloc, idleMs: number): GaugeSample[] {
  const counts = new Map<string, number>();
  for (const transport of ["udp", "tcp"]) for (const state of STATES) counts.set(`${transport}|${state}`, 0);
  for (const aor of usrloc.all()) {
    for (const contact of aor.contacts) {
      // Of a lost flow only the key is left. A device set by hand may never have had one.
      const transport = contact.flow?.transport ?? contact.flowKey.split("|")[0]!;
      if (transport === "") continue;
      const key = `${transport}|${usrloc.reachability(contact, idleMs)}`;
      counts.set(key, (counts.get(key) ?? 0) + 1);
    }
  }
  return [...counts].map(([key, count]) => [key.split("|"), count]);
}
