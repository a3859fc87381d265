/**
 * Calls of a PBX to registered phones, and questions to the control port, while strangers flood. Measures, and
 * claims nothing.
 */
import { BatchedSocket } from "./batched_socket.ts";
import type { FloodJob } from "./flood_sources.ts";
import * as sip from "./messages.ts";

export interface FloodOptions extends Omit<FloodJob, "server"> {
  /** UDP port of latefork on 127.0.0.1. */
  readonly server: number;
  /** Where its PBX is. */
  readonly pbx: number;
  /** Base of its control port. */
  readonly control: string;
  readonly callsPerSecond: number;
  /** `silent`: says nothing to strangers' REGISTERs. `fast`: refuses each at once. */
  readonly pbxIs: "silent" | "fast";
}

export interface FloodOutcome {
  /** REGISTERs of strangers. */
  readonly sent: number;
  /** Of them, what reached the PBX; repetitions included. */
  readonly forwarded: number;
  readonly calls: number;
  /** Answered, and hung up with 200. */
  readonly completed: number;
  /** INVITE to 200, ms. */
  readonly callP50Ms: number;
  readonly callP99Ms: number;
  /** `GET /readyz`, ms. */
  readonly readyP50Ms: number;
  readonly readyP99Ms: number;
  readonly readyMaxMs: number;
}

const PHONES = 50;
/** Calls under way end in this time. */
const REST_MS = 3000;
const READY_EVERY_MS = 40;

class Calls {
  readonly startedMs: number[] = [];
  readonly answeredMs: number[] = [];
  completed = 0;
  forwarded = 0;
  registered = 0;
  private pbx!: BatchedSocket;
  private phone!: BatchedSocket;

  constructor(private readonly options: FloodOptions) {}

  async open(): Promise<void> {
    const { server, pbx } = this.options;
    this.pbx = await BatchedSocket.open(pbx, server, (bytes) => this.atPbx(bytes.toString("latin1")));
    this.phone = await BatchedSocket.open(0, server, (bytes) => this.atPhone(bytes.toString("latin1")));
  }

  async register(): Promise<void> {
    for (let user = 0; user < PHONES; user++) this.phone.send(sip.register(this.phone, "a", user, user, 1));
    for (let i = 0; i < 100 && this.registered < PHONES; i++) await Bun.sleep(20);
    if (this.registered < PHONES) throw new Error(`Only ${this.registered} of ${PHONES} phones could register`);
  }

  call(): void {
    const operation = this.startedMs.length;
    this.startedMs.push(performance.now());
    this.pbx.send(sip.invite(this.pbx, operation % PHONES, operation));
  }

  close(): void {
    this.pbx.close();
    this.phone.close();
  }

  private atPbx(text: string): void {
    if (text.startsWith("REGISTER ")) return this.onRegister(text);
    const status = sip.statusOf(text);
    if (status === 0) {
      if (!text.startsWith("ACK ")) this.pbx.send(sip.response(text, "200 OK", this.pbx));
      return;
    }
    if (status < 200) return;
    const operation = sip.operationOf(text);
    if (sip.cseqMethod(text) === "BYE") return void (status === 200 && this.completed++);
    if (status >= 300) return this.pbx.send(sip.refusalAck(text, this.pbx, operation % PHONES, operation));
    const isFirst = this.answeredMs[operation] === undefined;
    if (isFirst) this.answeredMs[operation] = performance.now();
    this.pbx.send(sip.inDialog(text, "ACK", this.pbx)!);
    if (isFirst) this.pbx.send(sip.inDialog(text, "BYE", this.pbx)!);
  }

  private onRegister(text: string): void {
    if (text.includes("To: <sip:u")) {
      const contact = `${sip.line(text, "Contact")};expires=3600`;
      return this.pbx.send(sip.response(text, "200 OK", this.pbx, { contact }));
    }
    this.forwarded++;
    if (this.options.pbxIs === "fast") this.pbx.send(sip.response(text, "404 Not Found", this.pbx));
  }

  private atPhone(text: string): void {
    if (text.startsWith("SIP/2.0 200")) return void this.registered++;
    if (text.startsWith("INVITE ")) {
      this.phone.send(sip.response(text, "180 Ringing", this.phone));
      this.phone.send(sip.response(text, "200 OK", this.phone, { hasSdp: true }));
    } else if (text.startsWith("BYE ")) this.phone.send(sip.response(text, "200 OK", this.phone));
  }
}

/** Runs one flood. @throws Error if the phones cannot register before it */
export async function flood(options: FloodOptions): Promise<FloodOutcome> {
  const calls = new Calls(options);
  sip.setRun(`f${process.pid.toString(36)}${Date.now().toString(36).slice(-4)}f`);
  await calls.open();
  await calls.register();
  const sources = Bun.spawn([process.execPath, `${import.meta.dirname}/flood_sources.ts`, JSON.stringify(options)], {
    stdin: "pipe",
    stdout: "pipe",
    stderr: "inherit",
  });
  const said = sources.stdout.getReader();
  await said.read();
  sources.stdin.write("go\n");
  sources.stdin.flush();

  const readyMs: number[] = [];
  let isOver = false;
  const asking = (async () => {
    while (!isOver) {
      const askedMs = performance.now();
      await (await fetch(`${options.control}/readyz`)).text();
      readyMs.push(performance.now() - askedMs);
      await Bun.sleep(READY_EVERY_MS);
    }
  })();
  const startMs = performance.now();
  const total = options.seconds * options.callsPerSecond;
  while (calls.startedMs.length < total) {
    const due = Math.min(total, (performance.now() - startMs) / 1000 * options.callsPerSecond);
    while (calls.startedMs.length < due) calls.call();
    await Bun.sleep(5);
  }
  const { value } = await said.read();
  isOver = true;
  await asking;
  for (let waited = 0; waited < REST_MS && calls.completed < total; waited += 20) await Bun.sleep(20);
  calls.close();
  await sources.exited;
  const { sent } = JSON.parse(new TextDecoder().decode(value)) as { sent: number };
  const took = calls.answeredMs.map((answeredMs, operation) => answeredMs - calls.startedMs[operation]!);
  return {
    sent,
    forwarded: calls.forwarded,
    calls: total,
    completed: calls.completed,
    callP50Ms: quantile(took, 0.5),
    callP99Ms: quantile(took, 0.99),
    readyP50Ms: quantile(readyMs, 0.5),
    readyP99Ms: quantile(readyMs, 0.99),
    readyMaxMs: quantile(readyMs, 1),
  };
}

function quantile(values: readonly number[], share: number): number {
  const sorted = values.filter((value) => value !== undefined).sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? NaN;
}
