/**
 * The load of `edge`, a process of its own: phones that connect by TLS or WSS, ping, and then say nothing.
 *
 *   bun test/bench/edge_phones.ts JSON     a {@link Storm}; says a {@link Served} when all are there, ends when a line comes on stdin
 */

export interface Storm {
  readonly transport: "tls" | "wss";
  readonly port: number;
  readonly phones: number;
  /** How many connect at a time. */
  readonly window: number;
}

export interface Served {
  readonly seconds: number;
  readonly failed: number;
}

const PING = "\r\n\r\n";
const UPGRADE = "GET /sip HTTP/1.1\r\nHost: sip.example.org\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
  "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: sip\r\n\r\n";
/** The ping in a frame, masked with zeros. */
const FRAMED_PING = "\x81\x84\0\0\0\0" + PING;

const { transport, port, phones, window } = JSON.parse(Bun.argv[2]!) as Storm;
const sockets: unknown[] = [];

/** Resolves when its ping was answered. */
function connect(): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  let isUpgraded = transport === "tls";
  const bytes = (text: string) => Buffer.from(text, "latin1");
  Bun.connect({
    hostname: "127.0.0.1",
    port,
    tls: { rejectUnauthorized: false },
    socket: {
      handshake(socket) {
        sockets.push(socket);
        socket.write(bytes(isUpgraded ? PING : UPGRADE));
      },
      data(socket) {
        if (isUpgraded) return resolve();
        isUpgraded = true;
        socket.write(bytes(FRAMED_PING));
      },
      close: () => reject(new Error("closed")),
      connectError: (_socket, error) => reject(error),
    },
  }).catch(reject);
  return promise;
}

const startedMs = performance.now();
let left = phones;
let failed = 0;
async function one(): Promise<void> {
  while (left-- > 0) await connect().catch(() => void failed++);
}
await Promise.all(Array.from({ length: window }, one));
const served: Served = { seconds: (performance.now() - startedMs) / 1000, failed };
console.log(JSON.stringify(served));
await Bun.stdin.stream().getReader().read();
process.exit(0);
