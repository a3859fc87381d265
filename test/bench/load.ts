/**
 * The load process: a closed loop of `window` operations over loopback UDP that plays the phones and the PBX (or
 * caller). Knows nothing of who it loads; its process is its own, so that no cost of it is counted with the server's.
 *
 *   bun test/bench/load.ts JSON     a {@link Job}; says "ready" after the set-up, starts when a line comes on stdin, says an {@link Outcome}
 */
import { BatchedSocket } from "./batched_socket.ts";
import { readLatin1 } from "../../src/io/transport/latin1.ts";
import * as sip from "./messages.ts";

/**
 * `reg`: phone A registers, again and again. `call`: the PBX calls phone A: INVITE 180 200 ACK BYE 200. `late`: the PBX
 * calls, phone A rings, device B of the user registers at that moment, must get the same call, and answers it. `fill`:
 * every user registers once, each from an address and port of its own.
 */
export type Work = "reg" | "call" | "late" | "fill";

export interface Job {
  readonly work: Work;
  /** Port of the server on 127.0.0.1. */
  readonly server: number;
  /** Port of the PBX socket; 0: a free one. */
  readonly pbx: number;
  /**
   * Ports of phones A and B, the same for every load of a server: from other ports the users would register anew, and
   * a registrar that goes by the Contact alone would go on calling the ports of before.
   */
  readonly phones: readonly [number, number];
  /** Users the operations go round. `call` and `late` register them first. */
  readonly users: number;
  /** Number of the first of them: a late branch needs users whose device B is not registered yet. */
  readonly firstUser: number;
  readonly operations: number;
  /** A phone counts on from load to load: CSeq of the first REGISTER. */
  readonly firstCseq: number;
  readonly window: number;
}

export interface Outcome {
  readonly ok: number;
  /** Operations that ended with a refusal, and the first status seen. */
  readonly refused: number;
  readonly refusal: number;
  /** Operations that did not end within {@link PATIENCE_MS}. */
  readonly lost: number;
  readonly seconds: number;
  /** `reg`: REGISTER → 200. `call`: INVITE → 200 of the BYE. `late`: REGISTER of device B → its INVITE. */
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly maxMs: number;
}

/** No message is sent again: what takes longer than this was lost. Below T1 · 4, so that the server's retries do not hide a loss. */
const PATIENCE_MS = 1500;
/** One by one nothing queues, and every loss stops the load for as long. */
const PATIENCE_ALONE_MS = 400;
const WAITING = 1;
const RINGING = 2;
const ANSWERED = 3;
const ENDED = 4;

class Load {
  private phoneA!: BatchedSocket;
  private phoneB!: BatchedSocket;
  private registers!: sip.RegisterTemplate;
  private pbx!: BatchedSocket;
  private readonly states: Uint8Array;
  private readonly startedMs: Float64Array;
  private readonly late: Float64Array;
  private readonly latencies: number[] = [];
  private started = 0;
  private open = 0;
  /** Everything below has ended. */
  private oldest = 0;
  private isSetUp = false;
  private counts = { ok: 0, refused: 0, refusal: 0, lost: 0 };
  private finish: () => void = () => {};

  constructor(private readonly job: Job) {
    const count = Math.max(job.operations, job.users);
    this.states = new Uint8Array(count);
    this.startedMs = new Float64Array(count);
    this.late = new Float64Array(count);
  }

  async openSockets(): Promise<void> {
    const { server, pbx, phones } = this.job;
    this.phoneA = await BatchedSocket.open(phones[0], server, (bytes) => this.onDatagram(this.phoneA, bytes));
    this.registers = new sip.RegisterTemplate(this.phoneA, "a");
    this.phoneB = await BatchedSocket.open(phones[1], server, (bytes) => this.onDatagram(this.phoneB, bytes));
    this.pbx = await BatchedSocket.open(pbx, server, (bytes) => this.onDatagram(this.pbx, bytes));
  }

  /** Registers the users who will be called. @throws Error if one of them cannot be registered */
  async setUp(): Promise<void> {
    if (this.job.work === "reg" || this.job.work === "fill") return;
    this.isSetUp = true;
    await this.loop(this.job.users, Math.min(50, this.job.users));
    const { refused, refusal, lost } = this.counts;
    if (refused + lost > 0) {
      throw new Error(`Cannot register the users: ${refused} refused (${refusal}), ${lost} without an answer`);
    }
    this.isSetUp = false;
    this.states.fill(0);
    this.latencies.length = 0;
    this.counts = { ok: 0, refused: 0, refusal: 0, lost: 0 };
  }

  async measure(): Promise<Outcome> {
    const start = performance.now();
    await this.loop(this.job.operations, this.job.window);
    const seconds = (performance.now() - start) / 1000;
    const sorted = Float64Array.from(this.latencies).sort();
    const at = (share: number) => sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? NaN;
    return { ...this.counts, seconds, p50Ms: at(0.5), p99Ms: at(0.99), maxMs: at(1) };
  }

  closeSockets(): void {
    for (const socket of [this.phoneA, this.phoneB, this.pbx]) socket.close();
  }

  private async loop(operations: number, window: number): Promise<void> {
    this.started = this.open = this.oldest = 0;
    const ended = new Promise<void>((resolve) => this.finish = resolve);
    const fill = () => {
      while (this.open < window && this.started < operations) this.start(this.started++);
      if (this.open === 0) this.finish();
    };
    this.onEnded = fill;
    fill();
    const sweep = setInterval(() => this.giveUpOld(), 100);
    await ended;
    clearInterval(sweep);
  }

  private onEnded: () => void = () => {};

  private start(operation: number): void {
    const user = this.userOf(operation);
    this.open++;
    this.states[operation] = WAITING;
    this.startedMs[operation] = performance.now();
    if (this.job.work === "fill") {
      // 200 ports an address: the ports of one would not be enough for everybody.
      void this.registerAlone(
        user,
        operation,
        `127.0.${1 + Math.floor(operation / 40_000)}.${1 + operation / 200 % 200 | 0}`,
      );
    } else if (this.isSetUp || this.job.work === "reg") {
      this.phoneA.sendWritten((target, at) =>
        this.registers.write(target, at, user, operation, this.job.firstCseq + operation)
      );
    } else this.pbx.send(sip.invite(this.pbx, user, operation));
  }

  private userOf(operation: number): number {
    return this.job.firstUser + operation % this.job.users;
  }

  private async registerAlone(user: number, operation: number, address: string): Promise<void> {
    const socket = await BatchedSocket.open(0, this.job.server, (bytes) => {
      this.onDatagram(socket, bytes);
      socket.close();
    }, address);
    socket.send(sip.register(socket, "a", user, operation, this.job.firstCseq + operation));
  }

  private end(operation: number, result: "ok" | "refused" | "lost", status = 0): void {
    if (this.states[operation] === ENDED) return;
    this.states[operation] = ENDED;
    this.open--;
    this.counts[result]++;
    if (result === "refused" && this.counts.refusal === 0) this.counts.refusal = status;
    this.onEnded();
  }

  private giveUpOld(): void {
    const before = performance.now() - (this.job.window === 1 ? PATIENCE_ALONE_MS : PATIENCE_MS);
    for (; this.oldest < this.started; this.oldest++) {
      if (this.states[this.oldest] === ENDED) continue;
      if (this.startedMs[this.oldest]! > before) return;
      if ((this.job.work === "call" || this.job.work === "late") && !this.isSetUp) {
        this.pbx.send(sip.cancel(this.pbx, this.userOf(this.oldest), this.oldest));
      }
      this.end(this.oldest, "lost");
    }
  }

  private onDatagram(at: BatchedSocket, bytes: Buffer): void {
    const answer = this.isRegistering ? sip.answerOf(bytes) : null;
    if (answer === null) return this.onMessage(at, readLatin1(bytes));
    if (answer.status >= 200 && answer.operation < this.startedMs.length) {
      this.onRegistered(answer.operation, answer.status);
    }
  }

  /** True while nothing but REGISTERs of phone A is sent. */
  private get isRegistering(): boolean {
    return this.isSetUp || this.job.work === "reg" || this.job.work === "fill";
  }

  private onRegistered(operation: number, status: number): void {
    if (this.states[operation] === WAITING) this.latencies.push(performance.now() - this.startedMs[operation]!);
    this.end(operation, status === 200 ? "ok" : "refused", status);
  }

  private onMessage(at: BatchedSocket, text: string): void {
    const status = sip.statusOf(text);
    if (status === 0) this.onRequest(at, text);
    else if (status >= 200) this.onFinal(status, text);
  }

  private onFinal(status: number, text: string): void {
    const method = sip.cseqMethod(text);
    const operation = sip.operationOf(text);
    if (operation < 0 || operation >= this.startedMs.length) return;
    // The answer to device B of a late branch says nothing here.
    if (method === "INVITE") this.onCallAnswered(operation, status, text);
    else if (method === "BYE") {
      if (this.job.work === "call") this.latencies.push(performance.now() - this.startedMs[operation]!);
      this.end(operation, status === 200 ? "ok" : "refused", status);
    }
  }

  private onCallAnswered(operation: number, status: number, text: string): void {
    if (status >= 300) {
      this.pbx.send(sip.refusalAck(text, this.pbx, this.userOf(operation), operation));
      return this.end(operation, "refused", status);
    }
    const ack = sip.inDialog(text, "ACK", this.pbx);
    const bye = sip.inDialog(text, "BYE", this.pbx);
    if (ack === null || bye === null) return this.end(operation, "refused", status);
    this.pbx.send(ack);
    if (this.states[operation] === ANSWERED || this.states[operation] === ENDED) return;
    this.states[operation] = ANSWERED;
    this.pbx.send(bye);
  }

  private onRequest(at: BatchedSocket, text: string): void {
    if (text.startsWith("INVITE ")) this.onInvite(at, text);
    else if (text.startsWith("CANCEL ")) {
      at.send(sip.response(text, "200 OK", at));
      at.send(sip.response(text, "487 Request Terminated", at, { method: "INVITE" }));
    } else if (text.startsWith("REGISTER ")) this.onRegisterAtPbx(text);
    else if (!text.startsWith("ACK ")) at.send(sip.response(text, "200 OK", at));
  }

  private onInvite(at: BatchedSocket, text: string): void {
    const operation = sip.operationOf(text);
    if (operation < 0 || operation >= this.startedMs.length || this.states[operation] === ENDED) return;
    if (this.job.work === "call") {
      at.send(sip.response(text, "180 Ringing", at));
      at.send(sip.response(text, "200 OK", at, { hasSdp: true }));
    } else if (at === this.phoneB) {
      const registeredMs = this.late[operation]!;
      if (registeredMs > 0) this.latencies.push(performance.now() - registeredMs);
      this.late[operation] = 0;
      at.send(sip.response(text, "200 OK", at, { hasSdp: true }));
    } else if (this.states[operation] === WAITING) {
      this.states[operation] = RINGING;
      at.send(sip.response(text, "180 Ringing", at));
      const user = this.userOf(operation);
      const wire = sip.register(this.phoneB, "b", user, operation, this.job.firstCseq + operation);
      this.late[operation] = performance.now();
      this.phoneB.sendNow(wire);
    }
  }

  /** The PBX of a mid-registrar takes every REGISTER, for as long as it asks. */
  private onRegisterAtPbx(text: string): void {
    const contact = sip.line(text, "Contact");
    const expires = contact.includes(";expires=") ? "" : `;expires=${sip.line(text, "Expires").trim() || "3600"}`;
    this.pbx.send(sip.response(text, "200 OK", this.pbx, { contact: contact + expires }));
  }
}

async function main(job: Job): Promise<void> {
  const load = new Load(job);
  sip.setRun(`x${process.pid.toString(36)}${Date.now().toString(36).slice(-4)}x`);
  await load.openSockets();
  await load.setUp();
  console.log("ready");
  await new Promise<void>((resolve) => process.stdin.once("data", () => resolve()));
  console.log(JSON.stringify(await load.measure()));
  load.closeSockets();
  process.exit(0);
}

await main(JSON.parse(process.argv[2] ?? "{}"));
