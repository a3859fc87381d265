/**
 * calls and the control port while 20 000 REGISTERs a second come from a thousand strangers, each of them below
 * `limits.requests_per_source`; before a PBX that says nothing to them, and before one that refuses each at once.
 */
import type { Figure } from "./figures.ts";
import { flood, type FloodOptions, type FloodOutcome } from "./flood_load.ts";
import { residentMib } from "./process_cost.ts";
import type { Server } from "./server.ts";

const SECONDS = 8;
const CALLS_PER_SECOND = 200;
const FLOOD = { sources: 1000, perSource: 20 };
const NONE = { sources: 1, perSource: 0 };

/** @param start a mid-registrar */
export async function floodFigures(start: () => Promise<Server>, progress: (text: string) => void): Promise<Figure[]> {
  const figures: Figure[] = [];
  const run = async (what: string, sources: Pick<FloodOptions, "sources" | "perSource">, pbxIs: "silent" | "fast") => {
    const server = await start();
    try {
      const base = { server: server.port, pbx: server.pbx, control: server.control, seconds: SECONDS };
      const outcome = await flood({ ...base, ...sources, callsPerSecond: CALLS_PER_SECOND, pbxIs });
      progress(`flood, ${what}: ${outcome.sent} REGISTERs sent, ${outcome.forwarded} at the PBX`);
      figures.push(...figuresOf(what, outcome, residentMib(server.pid)));
    } finally {
      await server.stop();
    }
  };
  await run("none", NONE, "fast");
  await run("PBX silent", FLOOD, "silent");
  await run("PBX refuses", FLOOD, "fast");
  return figures;
}

function figuresOf(what: string, outcome: FloodOutcome, memoryMib: number): Figure[] {
  const one = (name: string, unit: string, value: number, max?: number): Figure => ({
    id: "X-06",
    name: `flood, ${what}: ${name}`,
    unit,
    ours: [value],
    ...(max === undefined ? {} : { max }),
  });
  return [
    one(`calls lost of ${outcome.calls}`, "", outcome.calls - outcome.completed, 0),
    one("INVITE → 200, p50", "ms", outcome.callP50Ms),
    one("INVITE → 200, p99", "ms", outcome.callP99Ms),
    one("/readyz, p99", "ms", outcome.readyP99Ms, 100),
    one("/readyz, longest", "ms", outcome.readyMaxMs),
    one("memory", "MiB RSS", memoryMib),
  ];
}
