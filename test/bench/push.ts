/** N-06 and P-05: how soon a push is with APNs, and how many go over one connection. The provider is local. */
import { PushRelay } from "../../src/push/relay.ts";
import { pushConfig, pushRequest } from "../push/virtual_world.ts";
import type { Figure } from "./figures.ts";

const RATE = 200;
const PACED = 3000;
const FULL = 20_000;

interface Provider {
  url: string;
  ca: string;
  p8: string;
  keyId: string;
  teamId: string;
}

/** One round: 200 pushes a second for 15 s, then as many as go, 64 at a time. */
export async function pushRound(): Promise<{ p99Ms: number; perSecond: number; cpuUs: number }> {
  const child = Bun.spawn([process.execPath, `${import.meta.dir}/apns_provider.ts`], {
    stdin: "pipe",
    stderr: "inherit",
  });
  const lines = child.stdout.getReader();
  const provider: Provider = JSON.parse(await lineOf(lines));
  const config = pushConfig({});
  config.apns = {
    key_file: "key",
    key_id: provider.keyId,
    team_id: provider.teamId,
    server: provider.url,
    sandbox_server: provider.url,
    ca_file: "ca",
  };
  const relay = new PushRelay(config, { readSecret: (path) => path === "ca" ? provider.ca : provider.p8 });
  relay.warm();
  const sentAtMs = new Map<string, number>();
  const send = async (isTimed: boolean): Promise<void> => {
    const param = `${provider.teamId}.org.example.phone.voip`;
    const request = pushRequest({ provider: "apns", param, prid: "ab".repeat(32), uuid: crypto.randomUUID() });
    if (isTimed) sentAtMs.set(request.uuid, performance.timeOrigin + performance.now());
    const verdict = await relay.sendNow(request);
    if (verdict.outcome !== "accepted") throw new Error(`A push failed: ${verdict.reason}`);
  };
  await send(false);

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

  await child.stdin.end();
  const { arrivals, faults, connections }: { arrivals: [string, number][]; faults: string[]; connections: number } =
    JSON
      .parse(await lineOf(lines));
  relay.stop();
  await child.exited;
  if (faults.length > 0 || connections !== 1) throw new Error(`The provider complains: ${connections} ${faults}`);
  const delays = arrivals.filter(([id]) => sentAtMs.has(id)).map(([id, atMs]) => atMs - sentAtMs.get(id)!);
  delays.sort((a, b) => a - b);
  return {
    p99Ms: delays[Math.floor(delays.length * 0.99)]!,
    perSecond,
    cpuUs: (cpu.user + cpu.system) / FULL,
  };
}

/** The figures of so many rounds. */
export async function pushFigures(rounds: number): Promise<Figure[]> {
  const results = [];
  for (let round = 0; round < rounds; round++) results.push(await pushRound());
  return [
    {
      id: "N-06",
      name: `APNs, ${RATE}/s: send → with the provider, p99`,
      unit: "ms",
      ours: results.map(({ p99Ms }) => p99Ms),
      max: 5,
    },
    {
      id: "P-05",
      name: "APNs, one connection",
      unit: "pushes/s",
      ours: results.map(({ perSecond }) => perSecond),
    },
    { id: "P-05", name: "APNs, a push", unit: "µs CPU", ours: results.map(({ cpuUs }) => cpuUs) },
  ];
}

let rest = "";
async function lineOf(reader: { read(): Promise<{ done: boolean; value?: Uint8Array }> }): Promise<string> {
  const decoder = new TextDecoder();
  for (;;) {
    const end = rest.indexOf("\n");
    if (end !== -1) {
      const line = rest.slice(0, end);
      rest = rest.slice(end + 1);
      return line;
    }
    const { done, value } = await reader.read();
    if (done) throw new Error("The provider ended");
    rest += decoder.decode(value, { stream: true });
  }
}
