/**
 * `npm run bench`: measures latefork, and Kamailio beside it in the same minutes where it is installed, and prints the
 * numbers that have a target (N-01 to N-08). Figures, not claims: it fails only if something could not be measured.
 *
 *   npm run bench -- [--only reg,call,late,memory,start,scale,push,edge,flood] [--rounds N] [--binary PATH] [--json]
 */
import { parseArgs } from "node:util";
import { resolve } from "node:path";
import type { Job, Outcome } from "./load.ts";
import { cpuSeconds, residentMib } from "./process_cost.ts";
import { type Figure, tableOf } from "./figures.ts";
import { edgeFigures } from "./edge.ts";
import { floodFigures } from "./flood.ts";
import { pushFigures } from "./push.ts";
import { pushCallFigures } from "./push_call.ts";
import { type LateforkOptions, type Server, startKamailio, startLatefork, whyNoKamailio } from "./server.ts";

const parts = { reg, call, late, memory, start, scale, push, edge, flood };
type Part = keyof typeof parts;

const { values: options } = parseArgs({
  options: {
    only: { type: "string", default: Object.keys(parts).join(",") },
    rounds: { type: "string", default: "3" },
    binary: { type: "string", default: "" },
    json: { type: "boolean", default: false },
  },
});
const rounds = Math.min(20, Math.max(1, Number(options.rounds) || 1));
const binary = options.binary === "" ? "" : resolve(options.binary);
const noKamailio = whyNoKamailio();

interface Measured extends Outcome {
  /** CPU of the server per operation. */
  readonly cpuUs: number;
}

/** N-01. Every server refreshes the same 10 000 registrations over and over. */
async function reg(): Promise<Figure[]> {
  const job = { work: "reg", users: 10_000, operations: 100_000, window: 200 } as const;
  const durable = () => startOurs({ store: "durable" });
  const results = await compare({ kamailio, latefork: ours, durable }, job, 100_000);
  const cpu = (name: string) => results.get(name)?.map((result) => result.cpuUs);
  const unit = "µs CPU";
  return [
    { id: "N-01", name: "REGISTER, in memory", unit, ours: cpu("latefork")!, theirs: cpu("kamailio"), maxRatio: 0.35 },
    { id: "N-01", name: "REGISTER, durable", unit, ours: cpu("durable")!, theirs: cpu("kamailio"), maxRatio: 0.5 },
  ];
}

/** N-02. */
async function call(): Promise<Figure[]> {
  const job = { work: "call", users: 2000, operations: 5000, window: 200 } as const;
  const midRegistrar = () => startOurs({ store: "memory", isMidRegistrar: true });
  const results = await compare({ kamailio, latefork: ours, midRegistrar }, job, 8000);
  const cpu = (name: string) => results.get(name)?.map((result) => result.cpuUs);
  const unit = "µs CPU";
  return [
    { id: "N-02", name: "call, registrar", unit, ours: cpu("latefork")!, theirs: cpu("kamailio"), maxRatio: 0.5 },
    {
      id: "N-02",
      name: "call, mid-registrar",
      unit,
      ours: cpu("midRegistrar")!,
      theirs: cpu("kamailio"),
      maxRatio: 0.5,
    },
  ];
}

/** N-03, at load and one by one: the closer the REGISTER follows the INVITE, the more Kamailio loses. */
async function late(): Promise<Figure[]> {
  const figures: Figure[] = [];
  for (const [window, operations] of [[200, 2000], [1, 800]] as const) {
    const results = await compare(
      { kamailio, latefork: ours },
      { work: "late", users: operations, operations, window },
      1000,
    );
    const of = (name: string, key: keyof Measured) => results.get(name)?.map((result) => result[key]);
    const figure = (name: string, unit: string, key: keyof Measured, limits: Partial<Figure>): Figure => ({
      id: "N-03",
      name: `late branch, ${window} at a time: ${name}`,
      unit,
      ours: of("latefork", key)!,
      theirs: of("kamailio", key),
      ...limits,
    });
    figures.push(
      figure("p50", "ms", "p50Ms", {}),
      figure("p99", "ms", "p99Ms", { maxRatio: 1 }),
      figure(`lost of ${operations}`, "", "lost", { max: 0 }),
      figure("all of it", "µs CPU", "cpuUs", {}),
    );
  }
  return figures;
}

/** N-04. Each contact over a flow of its own, as real phones are. */
async function memory(): Promise<Figure[]> {
  const idle: number[] = [];
  const filled: number[] = [];
  await withServer(ours, async (server) => {
    await Bun.sleep(1000);
    idle.push(residentMib(server.pid));
    await load(server, { work: "fill", users: 50_000, operations: 50_000, window: 100, firstUser: 0 });
    await Bun.sleep(1000);
    filled.push(residentMib(server.pid));
  });
  return [
    { id: "N-04", name: "memory, idle", unit: "MiB RSS", ours: idle, max: 64 },
    { id: "N-04", name: "memory, 50 000 contacts", unit: "MiB RSS", ours: filled, max: 160 },
  ];
}

/** N-05: from starting the process to the answer to the first REGISTER, with an empty and with a full database. */
async function start(): Promise<Figure[]> {
  const empty: number[] = [];
  for (let round = 0; round < Math.max(3, rounds); round++) {
    await withServer(() => startOurs({ store: "durable" }), (server) => void empty.push(server.startMs));
  }
  const server = await startOurs({ store: "durable" });
  await load(server, { work: "reg", users: 100_000, operations: 100_000, window: 500, firstUser: 0 });
  await server.stop(true);
  const full: number[] = [];
  const again = () => startOurs({ store: "durable", folder: server.folder });
  await withServer(again, (restarted) => void full.push(restarted.startMs));
  return [
    { id: "N-05", name: "start to first answered REGISTER", unit: "ms", ours: empty, max: 200 },
    { id: "N-05", name: "the same with 100 000 stored contacts", unit: "ms", ours: full, max: 1500 },
  ];
}

/** N-07. */
async function scale(): Promise<Figure[]> {
  const costOf = async (users: number) => {
    const cost: number[] = [];
    await withServer(ours, async (server) => {
      await load(server, { work: "reg", users, operations: Math.max(users, 20_000), window: 200, firstUser: 0 });
      for (let round = 0; round < rounds; round++) {
        const job = { work: "reg", users, operations: 40_000, window: 200, firstUser: round * 20_000 % users } as const;
        cost.push((await load(server, job)).cpuUs);
      }
    });
    return cost;
  };
  const few = await costOf(1000);
  const many = await costOf(100_000);
  return [{
    id: "N-07",
    name: "REGISTER, 100 000 contacts against 1000",
    unit: "µs CPU",
    ours: many,
    theirs: few,
    maxRatio: 1.2,
  }];
}

function ours(): Promise<Server> {
  return startOurs({ store: "memory" });
}

function startOurs(rest: Omit<LateforkOptions, "binary">): Promise<Server> {
  return startLatefork({ binary, ...rest });
}

const kamailio = startKamailio;

/** N-06: the relay alone, and from the INVITE. */
async function push(): Promise<Figure[]> {
  return [...await pushFigures(rounds), ...await pushCallFigures(rounds, binary)];
}

/** N-08. */
function edge(): Promise<Figure[]> {
  return edgeFigures(binary);
}

/** */
function flood(): Promise<Figure[]> {
  return floodFigures(() => startOurs({ store: "memory", isMidRegistrar: true }), progress);
}

/** Runs the job on every server in turn, `rounds` times, each round in the other order; Kamailio only where there is one. */
async function compare(
  starts: Record<string, () => Promise<Server>>,
  job: Omit<Job, "server" | "pbx" | "phones" | "firstCseq" | "firstUser">,
  warmUp: number,
): Promise<Map<string, Measured[]>> {
  const servers = new Map<string, Server>();
  const results = new Map<string, Measured[]>();
  let firstUser = 0;
  // Users of their own each time: device B of a late branch must be new.
  const next = () => job.work === "late" ? firstUser += job.users : 0;
  try {
    for (const [name, starter] of Object.entries(starts)) {
      if (name === "kamailio" && noKamailio !== null) continue;
      servers.set(name, await starter());
      results.set(name, []);
    }
    for (const server of servers.values()) {
      await load(server, { ...job, operations: warmUp, users: Math.min(job.users, warmUp), firstUser: next() });
    }
    for (let round = 0; round < rounds; round++) {
      const order = round % 2 === 0 ? [...servers] : [...servers].reverse();
      for (const [name, server] of order) {
        const result = await load(server, { ...job, firstUser: next() });
        results.get(name)!.push(result);
        progress(`${job.work} round ${round + 1} ${name}: ${result.cpuUs.toFixed(1)} µs CPU, ${lossesOf(result)}`);
      }
    }
  } finally {
    for (const server of servers.values()) await server.stop();
  }
  return results;
}

function lossesOf(result: Outcome): string {
  return `${Math.round(result.ok / result.seconds)}/s, ${result.lost} lost, ${result.refused} refused` +
    (result.refused > 0 ? ` (${result.refusal})` : "");
}

async function withServer(
  starter: () => Promise<Server>,
  use: (server: Server) => Promise<void> | void,
): Promise<void> {
  const server = await starter();
  try {
    await use(server);
  } finally {
    await server.stop();
  }
}

/** How far the phones of a server have counted. */
const cseqs = new WeakMap<Server, number>();

/** Runs one load in a process of its own. @throws Error if it fails, or if every operation did */
async function load(server: Server, job: Omit<Job, "server" | "pbx" | "phones" | "firstCseq">): Promise<Measured> {
  const firstCseq = cseqs.get(server) ?? 1;
  cseqs.set(server, firstCseq + Math.max(job.operations, job.users));
  const whole: Job = { ...job, server: server.port, pbx: server.pbx, phones: server.phones, firstCseq };
  const child = Bun.spawn([process.execPath, `${import.meta.dirname}/load.ts`, JSON.stringify(whole)], {
    stdin: "pipe",
    stdout: "pipe",
    stderr: "inherit",
  });
  const lines = linesOf(child.stdout);
  const ready = await lines.next();
  if (ready.value !== "ready") throw new Error(`The load could not be set up: ${JSON.stringify(whole)}`);
  const before = cpuSeconds(server.pid);
  child.stdin.write("go\n");
  child.stdin.flush();
  const said = await lines.next();
  const seconds = cpuSeconds(server.pid) - before;
  await child.exited;
  if (said.done) throw new Error(`The load ended without a result: ${JSON.stringify(whole)}`);
  const outcome = JSON.parse(said.value) as Outcome;
  if (outcome.ok === 0) throw new Error(`Nothing worked: ${JSON.stringify(whole)} gave ${said.value}`);
  return { ...outcome, cpuUs: seconds / job.operations * 1e6 };
}

async function* linesOf(stream: ReadableStream<Uint8Array>): AsyncGenerator<string, void> {
  let rest = "";
  const decoder = new TextDecoder();
  for await (const chunk of stream) {
    rest += decoder.decode(chunk, { stream: true });
    for (let end = rest.indexOf("\n"); end >= 0; end = rest.indexOf("\n")) {
      yield rest.slice(0, end);
      rest = rest.slice(end + 1);
    }
  }
}

function progress(text: string): void {
  console.error(text);
}

async function main(): Promise<void> {
  const wanted = options.only.split(",");
  const unknown = wanted.find((name) => !(name in parts));
  if (unknown !== undefined) {
    console.error(`unknown part "${unknown}": expected ${Object.keys(parts).join(", ")}`);
    process.exit(64);
  }
  if (noKamailio !== null) progress(`no comparison: ${noKamailio}`);
  const figures: Figure[] = [];
  for (const name of wanted) figures.push(...await parts[name as Part]());
  console.log(options.json ? JSON.stringify({ rounds, binary, noKamailio, figures }) : tableOf(figures));
}

await main();
