/**
 * N-06 as a caller has it: an INVITE leaves for the appliance, and the push for its sleeping phone is with the service. The
 * appliance and the service are processes of their own.
 */
import type { Figure } from "./figures.ts";
import { startPushService } from "./push_service.ts";
import { type LateforkOptions, startLatefork } from "./server.ts";

const RATE = 200;
const PACED = 1200;
/** Called before anything is measured: the runtime compiles what is used often. */
const WARMING = 400;

const SERVICES = [{ service: "apns", name: "APNs" }, { service: "webhook", name: "webhook" }];

/** The figures of so many rounds. */
export async function pushCallFigures(rounds: number, binary: string): Promise<Figure[]> {
  const figures: Figure[] = [];
  for (const { service, name } of SERVICES) {
    const p99: number[] = [];
    for (let round = 0; round < rounds; round++) p99.push(await roundOf(service, binary));
    figures.push({
      id: "N-06",
      name: `${name}, ${RATE}/s: INVITE → with the service, p99`,
      unit: "ms",
      ours: p99,
      max: 5,
    });
  }
  return figures;
}

/** @returns p99 of INVITE → with the service, ms */
async function roundOf(service: string, binary: string): Promise<number> {
  const local = await startPushService(service);
  const { config, files, phone } = local.provider;
  const options: LateforkOptions = { binary, store: "memory", push: { section: { [service]: config }, files } };
  const server = await startLatefork(options);
  try {
    const control = /control +(http:\S+)/.exec(await Bun.file(`${server.folder}/output`).text())![1]!;
    for (let user = 0; user < WARMING + PACED; user++) {
      // It has no connection, and there is nothing here that could open one.
      const body = JSON.stringify({ contact: `sip:u${user}@127.0.0.1;transport=tcp`, push: phone });
      const path = `${control}/v1/locations/u${user}%40127.0.0.1/devices/u${user}`;
      const { status } = await fetch(path, { method: "PUT", body });
      if (status !== 200) throw new Error(`PUT ${path} answered ${status}`);
    }
    const caller = await Caller.open(server.port);
    await caller.calls(0, WARMING);
    await caller.calls(WARMING, PACED);
    caller.close();
    const { arrivals } = await local.end();
    const sentAtMs = [...caller.sentAtMs].slice(WARMING);
    const atMs = new Map<string, number>();
    for (const [, arrivedAtMs, callId] of arrivals) if (!atMs.has(callId)) atMs.set(callId, arrivedAtMs);
    const delays = sentAtMs.map(([callId, ms]) => (atMs.get(callId) ?? Infinity) - ms).sort((a, b) => a - b);
    return delays[Math.floor(delays.length * 0.99)]!;
  } finally {
    await server.stop();
  }
}

/** Sends INVITEs and acknowledges their ends, as what is not acknowledged comes again. */
class Caller {
  /** By Call-ID, in the order they left. */
  readonly sentAtMs = new Map<string, number>();
  private ended = 0;
  private finished = () => {};

  private constructor(private readonly port: number, private readonly socket: Bun.udp.Socket<"buffer">) {}

  static async open(port: number): Promise<Caller> {
    const socket: Bun.udp.Socket<"buffer"> = await Bun.udpSocket({
      hostname: "127.0.0.1",
      socket: { data: (_, bytes) => void caller.heard(bytes.toString("latin1")) },
    });
    const caller: Caller = new Caller(port, socket);
    return caller;
  }

  /** So many calls at the rate, each to a user of its own; resolves when all are over. */
  async calls(firstUser: number, count: number): Promise<void> {
    const isOver = new Promise<void>((resolve) => this.finished = resolve);
    this.ended = -count;
    const startMs = performance.now();
    for (let sent = 0; sent < count;) {
      while (sent < count && (performance.now() - startMs) * RATE / 1000 > sent) this.invite(firstUser + sent++);
      await Bun.sleep(1);
    }
    await isOver;
  }

  close(): void {
    this.socket.close();
  }

  private invite(user: number): void {
    const callId = `call${user}@bench`;
    this.sentAtMs.set(callId, performance.timeOrigin + performance.now());
    this.send("INVITE", user, callId, `<sip:u${user}@127.0.0.1>`);
  }

  private heard(text: string): void {
    const status = Number(/^SIP\/2\.0 (\d+)/.exec(text)?.[1] ?? 0);
    if (status < 200) return;
    const callId = /^Call-ID: *(.*)\r$/m.exec(text)![1]!;
    this.send("ACK", Number(/\d+/.exec(callId)![0]), callId, /^To: *(.*)\r$/m.exec(text)![1]!);
    if (++this.ended === 0) this.finished();
  }

  private send(method: string, user: number, callId: string, to: string): void {
    const text = `${method} sip:u${user}@127.0.0.1 SIP/2.0\r\n` +
      `Via: SIP/2.0/UDP 127.0.0.1:${this.socket.port};branch=z9hG4bK${callId};rport\r\nMax-Forwards: 70\r\n` +
      `From: "Bob" <sip:bob@127.0.0.1>;tag=b\r\nTo: ${to}\r\nCall-ID: ${callId}\r\nCSeq: 1 ${method}\r\n` +
      `Contact: <sip:bob@127.0.0.1:${this.socket.port}>\r\nContent-Length: 0\r\n\r\n`;
    this.socket.send(text, this.port, "127.0.0.1");
  }
}
