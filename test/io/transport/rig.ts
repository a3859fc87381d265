/**
 * Transports under test with their owner's loop (a flush at the end of each turn), a clock that the test moves, and
 * real peers on loopback whose messages can be awaited.
 */
import type { PeerCertificate } from "node:tls";
import type { Flow, Listener } from "../../../src/core/sip/flow.ts";
import type { FramingProblem } from "../../../src/core/sip/framing.ts";
import { type Listen, Transports, type TransportsOptions } from "../../../src/io/transport/transports.ts";

/** Values that arrive some time and are taken in order. */
export class Inbox<T> {
  readonly all: T[] = [];
  private taken = 0;
  private waiting: (() => void) | null = null;

  put(value: T): void {
    this.all.push(value);
    this.waiting?.();
  }

  async next(): Promise<T> {
    while (this.taken === this.all.length) await new Promise<void>((resolve) => this.waiting = resolve);
    return this.all[this.taken++]!;
  }

  async take(count: number): Promise<T[]> {
    const taken: T[] = [];
    while (taken.length < count) taken.push(await this.next());
    return taken;
  }
}

export interface Received {
  flow: Flow;
  text: string;
}

export class Rig {
  readonly transports: Transports;
  readonly messages = new Inbox<Received>();
  readonly closed = new Inbox<{ flow: Flow; reason: string }>();
  readonly malformed = new Inbox<Received & { problem: FramingProblem }>();
  readonly logged: string[] = [];
  nowMs = 1000;
  /** What the owner does with a message, within the input. */
  onMessage: (flow: Flow, text: string) => void = () => {};
  onMalformed: (flow: Flow) => void = () => {};
  onClosed: (flow: Flow) => void = () => {};
  private isTurnPlanned = false;

  constructor(listen: string[], options: Partial<TransportsOptions> = {}) {
    this.transports = new Transports({
      listen: listen.map(entry),
      advertise: "",
      now: () => this.nowMs,
      onInput: () => this.planTurn(),
      log: (level, message) => this.logged.push(`${level} ${message}`),
      sink: {
        message: (flow, text) => {
          this.onMessage(flow, text);
          this.messages.put({ flow, text });
        },
        closed: (flow, reason) => {
          this.onClosed(flow);
          this.closed.put({ flow, reason });
        },
        malformed: (flow, text, problem) => {
          this.onMalformed(flow);
          this.malformed.put({ flow, text, problem });
        },
      },
      ...options,
    });
  }

  static async start(listen: string[], options: Partial<TransportsOptions> = {}): Promise<Rig> {
    const rig = new Rig(listen, options);
    await rig.transports.start();
    return rig;
  }

  /** Why connections were closed. */
  get reasons(): string[] {
    return this.closed.all.map(({ reason }) => reason);
  }

  get listener(): Listener {
    return this.transports.listeners()[0]!;
  }

  /** As the owner does outside a turn: send, then flush. */
  send(flow: Flow, wire: string): boolean {
    const isSent = this.transports.send(flow, wire);
    this.transports.flush();
    return isSent;
  }

  [Symbol.dispose](): void {
    this.transports.stop();
  }

  private planTurn(): void {
    if (this.isTurnPlanned) return;
    this.isTurnPlanned = true;
    setImmediate(() => {
      this.isTurnPlanned = false;
      this.transports.flush();
    });
  }
}

/** `tcp://127.0.0.1`, `udp://[::1]:0`, `ws://127.0.0.1/sip`; port 0 if none is given. */
function entry(url: string): Listen {
  const [scheme, rest] = url.split("://") as [Listen["scheme"], string];
  const [, bracketed, plain, port, path = ""] = /^(?:\[(.*)\]|([^:/]*))(?::(\d+))?(\/.*)?$/.exec(rest)!;
  return { scheme, host: bracketed ?? plain!, port: Number(port ?? 0), path, advertise: "" };
}

export interface UdpPeer extends Disposable {
  readonly port: number;
  /** What came, with where it came from. */
  readonly inbox: Inbox<{ text: string; from: string }>;
  send(text: string, port: number, address: string): void;
  sendMany(texts: string[], port: number, address: string): void;
}

export async function udpPeer(address = "127.0.0.1"): Promise<UdpPeer> {
  const inbox = new Inbox<{ text: string; from: string }>();
  const socket = await Bun.udpSocket({
    hostname: address,
    binaryType: "buffer",
    socket: {
      data(_socket, bytes, port, from) {
        inbox.put({ text: bytes.toString("latin1"), from: `${from} ${port}` });
      },
    },
  });
  return {
    port: socket.port,
    inbox,
    send: (text, port, to) => void socket.send(Buffer.from(text, "latin1"), port, to),
    sendMany: (texts, port, to) =>
      void socket.sendMany(texts.flatMap((text) => [Buffer.from(text, "latin1"), port, to])),
    [Symbol.dispose]: () => socket.close(),
  };
}

/** A TCP peer: what it was sent, piece by piece, and its end. */
export class TcpPeer {
  readonly pieces = new Inbox<string>();
  readonly ended: Promise<void>;
  text = "";
  private resolveEnd: () => void = () => {};
  private socket: Bun.Socket | null = null;

  constructor() {
    this.ended = new Promise((resolve) => this.resolveEnd = resolve);
  }

  static async connect(port: number, address = "127.0.0.1", localAddress = address): Promise<TcpPeer> {
    const peer = new TcpPeer();
    const options = { hostname: address, port, localAddress, socket: peer.handler() };
    await Bun.connect(options);
    return peer;
  }

  /** Through TLS; rejects if there is no handshake. */
  static async secure(port: number, tls: Bun.TLSOptions, localAddress = "127.0.0.1"): Promise<TcpPeer> {
    const peer = new TcpPeer();
    await new Promise<void>((resolve, reject) => {
      const options = {
        hostname: "127.0.0.1",
        port,
        localAddress,
        tls,
        socket: {
          ...peer.handler(),
          handshake: (_socket: unknown, isDone: boolean, error: Error | null) => {
            if (isDone || tls.rejectUnauthorized === false) resolve();
            else reject(error);
          },
        },
      };
      peer.ended.then(() => reject(new Error("Closed before the handshake was done")));
      Bun.connect(options).catch(reject);
    });
    return peer;
  }

  /** The certificate of the other side. */
  get certificate(): PeerCertificate {
    return this.socket!.getPeerCertificate();
  }

  handler(): Bun.SocketHandler<undefined> {
    return {
      open: (socket) => {
        this.socket = socket as Bun.Socket;
        socket.setNoDelay(true);
      },
      data: (_socket, bytes) => {
        const piece = (bytes as Buffer).toString("latin1");
        this.text += piece;
        this.pieces.put(piece);
      },
      close: () => this.resolveEnd(),
      error: () => {},
    };
  }

  get localPort(): number {
    return this.socket!.localPort;
  }

  write(text: string): void {
    this.socket!.write(Buffer.from(text, "latin1"));
  }

  /** Until so much has come in all. */
  async readUntil(length: number): Promise<string> {
    while (this.text.length < length) await this.pieces.next();
    return this.text;
  }

  get remoteAddress(): string {
    return this.socket!.remoteAddress;
  }

  stopReading(): void {
    this.socket!.pause();
  }

  readAgain(): void {
    this.socket!.resume();
  }

  end(): void {
    this.socket!.end();
  }

  reset(): void {
    this.socket!.terminate();
  }

  [Symbol.dispose](): void {
    this.socket?.terminate();
  }
}

export function request(callId: string, body = ""): string {
  return `MESSAGE sip:alice@example.org SIP/2.0\r\nCall-ID: ${callId}\r\nContent-Length: ${body.length}\r\n\r\n${body}`;
}

export function response(callId: string, body = ""): string {
  return `SIP/2.0 200 OK\r\nCall-ID: ${callId}\r\nContent-Length: ${body.length}\r\n\r\n${body}`;
}

/** One character for each byte there is. */
export const ALL_BYTES = Array.from({ length: 256 }, (_, code) => String.fromCharCode(code)).join("");
