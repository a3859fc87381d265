/** A player's way to latefork: a UDP socket or a TCP connection that carries whole SIP messages. Knows no SIP beyond framing. */
import { StreamFramer } from "../core/sip/framing.ts";

export const LOOPBACK = "127.0.0.1";

export interface Line {
  readonly transport: "udp" | "tcp";
  /** Local port. */
  readonly port: number;
  /** Latin1 text, one character a byte. */
  send(text: string): void;
  close(): void;
}

/** A UDP socket that talks to one peer port on loopback. */
export async function openUdp(peerPort: number, onMessage: (text: string) => void): Promise<Line> {
  const socket = await Bun.udpSocket({
    hostname: LOOPBACK,
    port: 0,
    socket: { data: (_socket, bytes) => onMessage(bytes.toString("latin1")) },
  });
  return {
    transport: "udp",
    port: socket.port,
    send: (text) => void socket.send(Buffer.from(text, "latin1"), peerPort, LOOPBACK),
    close: () => socket.close(),
  };
}

/** A TCP connection to a port on loopback; `onClose` also when the other side, or we, closed it. */
export async function connectTcp(
  peerPort: number,
  onMessage: (text: string) => void,
  onClose: () => void,
): Promise<Line> {
  const framer = new StreamFramer({ maxHeaderBytes: 65_536, maxMessageBytes: 65_536 });
  const socket = await Bun.connect({
    hostname: LOOPBACK,
    port: peerPort,
    socket: {
      data: (_socket, bytes) => {
        for (const frame of framer.feed(bytes.toString("latin1"))) {
          if (frame.kind === "message") onMessage(frame.text);
        }
      },
      close: onClose,
      error: onClose,
    },
  });
  return {
    transport: "tcp",
    port: socket.localPort,
    // The demo's messages fit the socket's buffer: they are small and few.
    send: (text) => void socket.write(Buffer.from(text, "latin1")),
    close: () => socket.end(),
  };
}

/** A port that is free for UDP and for TCP just now. */
export async function freePort(): Promise<number> {
  for (let attempt = 0; attempt < 20; attempt++) {
    const tcp = Bun.listen({ hostname: LOOPBACK, port: 0, socket: { data() {} } });
    const port = tcp.port;
    try {
      const udp = await Bun.udpSocket({ hostname: LOOPBACK, port });
      udp.close();
      return port;
    } catch {
      // Another program has it for UDP: try another one.
    } finally {
      tcp.stop(true);
    }
  }
  throw new Error(`No port on ${LOOPBACK} is free for both UDP and TCP`);
}
