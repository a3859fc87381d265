/** N-08: what an idle connection by TLS and WSS holds, what a handshake costs, and ten thousand phones that come back at once. */
import { median } from "./figures.ts";
import type { Figure } from "./figures.ts";
import type { Served, Storm } from "./edge_phones.ts";
import { cpuSeconds, residentMib } from "./process_cost.ts";
import { type Server, startLatefork } from "./server.ts";

const PHONES = 10_000;
const SETTLE_MS = 2500;

export async function edgeFigures(binary: string): Promise<Figure[]> {
  const figures: Figure[] = [];
  for (const transport of ["tls", "wss"] as const) {
    const idle = await connectAll(binary, transport, 100);
    const storm = await connectAll(binary, transport, PHONES);
    const name = transport.toUpperCase();
    figures.push(
      { id: "N-08", name: `idle ${name} connection, of 10 000`, unit: "kB", ours: [idle.kib] },
      { id: "N-08", name: `${name} handshake and first answer`, unit: "µs CPU", ours: [idle.cpuUs] },
      {
        id: "N-08",
        name: `${name}: 10 000 at once, the last is served after`,
        unit: "s",
        ours: [storm.seconds],
        max: 60,
      },
      { id: "N-08", name: `${name}: not served of them`, unit: "", ours: [storm.failed], max: 0 },
      { id: "N-08", name: `${name}: OPTIONS by UDP answered meanwhile, median`, unit: "ms", ours: [storm.p50Ms] },
      { id: "N-08", name: `${name}: OPTIONS by UDP answered meanwhile, p99`, unit: "ms", ours: [storm.p99Ms] },
    );
  }
  return figures;
}

interface Connected extends Served {
  readonly kib: number;
  readonly cpuUs: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
}

async function connectAll(binary: string, transport: Storm["transport"], window: number): Promise<Connected> {
  const server = await startLatefork({ binary, store: "memory", connections: PHONES + 500 });
  try {
    await phones({ transport, port: server[transport], phones: 500, window: 50 }, () => Promise.resolve());
    await Bun.sleep(SETTLE_MS);
    const [mib, cpu] = [residentMib(server.pid), cpuSeconds(server.pid)];
    const asked = askAlong(server);
    return await phones({ transport, port: server[transport], phones: PHONES, window }, async (served) => {
      const answers = await asked.stop();
      const cpuUs = (cpuSeconds(server.pid) - cpu) * 1e6 / PHONES;
      await Bun.sleep(SETTLE_MS);
      const kib = (residentMib(server.pid) - mib) * 1024 / PHONES;
      const sorted = answers.toSorted((a, b) => a - b);
      const p99Ms = sorted[Math.floor(sorted.length * 0.99)] ?? NaN;
      return { ...served, kib, cpuUs, p50Ms: median(answers), p99Ms };
    });
  } finally {
    await server.stop();
  }
}

/** Connects them, and lets them go when the figure is taken. */
async function phones<T>(storm: Storm, take: (served: Served) => Promise<T>): Promise<T> {
  const child = Bun.spawn([process.execPath, `${import.meta.dirname}/edge_phones.ts`, JSON.stringify(storm)], {
    stdin: "pipe",
    stdout: "pipe",
    stderr: "inherit",
  });
  let said = "";
  for await (const chunk of child.stdout) {
    said += new TextDecoder().decode(chunk);
    if (said.includes("\n")) break;
  }
  const taken = await take(JSON.parse(said) as Served);
  child.stdin.write("\n");
  child.stdin.end();
  await child.exited;
  return taken;
}

/** Asks by UDP every 10 ms, as a call in progress would speak; how long each answer took, ms. */
function askAlong(server: Server): { stop(): Promise<number[]> } {
  const times: number[] = [];
  let isOver = false;
  const asking = (async () => {
    let heard = () => {};
    const socket = await Bun.udpSocket({ hostname: "127.0.0.1", socket: { data: () => heard() } });
    for (let n = 0; !isOver; n++) {
      const answered = new Promise<void>((resolve) => heard = resolve);
      const atMs = performance.now();
      socket.send(
        `OPTIONS sip:127.0.0.1:${server.port} SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1:${socket.port};branch=z9hG4bK${n};rport\r\n` +
          `From: <sip:a@example.org>;tag=a\r\nTo: <sip:127.0.0.1>\r\nCall-ID: edge-${n}\r\nCSeq: 1 OPTIONS\r\n` +
          "Max-Forwards: 70\r\nContent-Length: 0\r\n\r\n",
        server.port,
        "127.0.0.1",
      );
      await Promise.race([answered, Bun.sleep(1000)]);
      times.push(performance.now() - atMs);
      await Bun.sleep(10);
    }
    socket.close();
  })();
  return {
    async stop() {
      isOver = true;
      await asking;
      return times;
    },
  };
}
