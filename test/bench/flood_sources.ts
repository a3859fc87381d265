/**
 * Run by flood_load.ts: REGISTERs of strangers from many loopback addresses, each below the rate of one source. Says
 * `ready` when its sockets are open, begins when it reads a line, and says how many it sent.
 */
import type { udp } from "bun";

export interface FloodJob {
  /** UDP port on 127.0.0.1. */
  readonly server: number;
  readonly sources: number;
  /** REGISTERs of one source in a second. */
  readonly perSource: number;
  readonly seconds: number;
}

const BATCH_MS = 10;

async function main({ server, sources, perSource, seconds }: FloodJob): Promise<void> {
  const sockets: udp.Socket<"buffer">[] = [];
  const net = 100 + Math.floor(Math.random() * 100);
  for (let i = 0; i < sources; i++) {
    const hostname = `127.${net}.${1 + Math.floor(i / 250)}.${1 + i % 250}`;
    sockets.push(await Bun.udpSocket({ hostname, binaryType: "buffer", socket: { data() {} } }));
  }
  console.log("ready");
  await new Promise<void>((resolve) => process.stdin.once("data", () => resolve()));
  const startMs = performance.now();
  const run = process.pid.toString(36);
  let sent = 0;
  while (performance.now() - startMs < seconds * 1000) {
    const due = Math.floor((performance.now() - startMs) / 1000 * sources * perSource);
    // What could not be sent in time is left out: a burst afterwards would be another flood than this one.
    sent = Math.max(sent, due - sources);
    for (; sent < due; sent++) {
      const socket = sockets[sent % sources]!;
      socket.send(registerOf(socket.hostname, socket.port, `${run}.${sent}`), server, "127.0.0.1");
    }
    await Bun.sleep(BATCH_MS);
  }
  console.log(JSON.stringify({ sent }));
  process.exit(0);
}

function registerOf(host: string, port: number, id: string): string {
  return `REGISTER sip:127.0.0.1 SIP/2.0\r\nVia: SIP/2.0/UDP ${host}:${port};branch=z9hG4bKx${id};rport\r\n` +
    `Max-Forwards: 70\r\nFrom: <sip:x${id}@127.0.0.1>;tag=x${id}\r\nTo: <sip:x${id}@127.0.0.1>\r\n` +
    `Call-ID: x${id}\r\nCSeq: 1 REGISTER\r\nContact: <sip:x${id}@${host}:${port}>\r\nUser-Agent: Phone/1.0\r\n` +
    `Expires: 3600\r\nContent-Length: 0\r\n\r\n`;
}

await main(JSON.parse(process.argv[2] ?? "{}"));
