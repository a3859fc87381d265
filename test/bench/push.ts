/** N-06 and P-05: how soon a push is with each service, and how many go to it. The services are local. */
import { PushRelay } from "../../src/io/push/relay.ts";
import { pushConfig, pushRequest, VirtualWorld } from "../io/push/virtual_world.ts";
import type { Figure } from "./figures.ts";
import { startPushService } from "./push_service.ts";

const RATE = 200;
const PACED = 3000;
const FULL = 20_000;
/** Sent before anything is measured: the runtime compiles what is used often. */
const WARMING = 50;

/** What is measured: a service, by the name of its section in the config. */
const SERVICES = [
  { service: "apns", name: "APNs" },
  { service: "fcm", name: "FCM" },
  { service: "webpush", name: "Web Push, no payload", isBare: true },
  { service: "webpush", name: "Web Push, encrypted" },
  { service: "webhook", name: "webhook" },
];

/** One round: 200 pushes a second for 15 s, then as many as go, 64 at a time. */
async function pushRound(
  service: string,
  isBare: boolean,
): Promise<Round> {
  const local = await startPushService(service);
  const { config: section, files, phone } = local.provider;
  const config = Object.assign(pushConfig({}), { [service]: section });
  const relay = new PushRelay(config, { rates: new VirtualWorld().rates, readSecret: (path) => files[path]! });
  const keys = isBare ? undefined : phone.keys;
  relay.expect({ ...phone, keys });
  const sentAtMs = new Map<string, number>();
  const send = async (isTimed: boolean): Promise<void> => {
    const request = pushRequest({ ...phone, keys, uuid: crypto.randomUUID() });
    if (isTimed) sentAtMs.set(request.uuid, performance.timeOrigin + performance.now());
    const verdict = await relay.sendNow(request);
    if (verdict.outcome !== "accepted") throw new Error(`A push failed: ${verdict.reason}`);
  };
  for (let i = 0; i < WARMING; i++) await send(false);

  const startMs = performance.now();
  const sent: Promise<void>[] = [];
  while (sent.length < PACED) {
    while (sent.length < PACED && (performance.now() - startMs) * RATE / 1000 > sent.length) sent.push(send(true));
    await Bun.sleep(1);
  }
  await Promise.all(sent);

  const cpuBefore = process.cpuUsage();
  const fullMs = performance.now();
  let left = FULL;
  await Promise.all(Array.from({ length: 64 }, async () => {
    while (left-- > 0) await send(false);
  }));
  const perSecond = FULL / (performance.now() - fullMs) * 1000;
  const cpu = process.cpuUsage(cpuBefore);

  const { arrivals } = await local.end();
  relay.stop();
  // A push without payload says no uuid, but they come in the order they were sent: behind those that warm up.
  const uuids = [...sentAtMs.keys()];
  const timed = isBare
    ? arrivals.slice(WARMING, WARMING + PACED).map(([, atMs], i) => [uuids[i]!, atMs] as const)
    : arrivals;
  const delays = timed.filter(([uuid]) => sentAtMs.has(uuid)).map(([uuid, atMs]) => atMs - sentAtMs.get(uuid)!);
  delays.sort((a, b) => a - b);
  return {
    p99Ms: delays[Math.floor(delays.length * 0.99)]!,
    perSecond,
    cpuUs: (cpu.user + cpu.system) / FULL,
  };
}

interface Round {
  p99Ms: number;
  perSecond: number;
  cpuUs: number;
}

/** The figures of so many rounds. */
export async function pushFigures(rounds: number): Promise<Figure[]> {
  const figures: Figure[] = [];
  for (const { service, name, isBare } of SERVICES) {
    const results: Round[] = [];
    for (let round = 0; round < rounds; round++) results.push(await pushRound(service, isBare ?? false));
    const ours = (pick: (result: Round) => number): number[] => results.map(pick);
    figures.push(
      {
        id: "N-06",
        name: `${name}, ${RATE}/s: send → with the service, p99`,
        unit: "ms",
        ours: ours(({ p99Ms }) => p99Ms),
        max: 5,
      },
      { id: "P-05", name: `${name}, one service`, unit: "pushes/s", ours: ours(({ perSecond }) => perSecond) },
      { id: "P-05", name: `${name}, a push`, unit: "µs CPU", ours: ours(({ cpuUs }) => cpuUs) },
    );
  }
  return figures;
}
