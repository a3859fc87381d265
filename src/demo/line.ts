/**
 * A player's way to latefork: a UDP socket, a TCP or TLS connection, or a WebSocket, that carries whole SIP messages. Knows no SIP
 * beyond framing.
 */
import { StreamFramer } from "../core/sip/framing.ts";

export const LOOPBACK = "127.0.0.1";

/** How a player reaches latefork. */
export type LineTransport = "udp" | "tcp" | "tls" | "wss";

export interface Line {
  readonly transport: LineTransport;
  /** Local port; of a web page 0: it is not known. */
  readonly port: number;
  /** What it calls itself in Via and Contact: `127.0.0.1:40123`. A web page knows no address of its own (RFC 7118 §5). */
  readonly sentBy: string;
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
    sentBy: `${LOOPBACK}:${socket.port}`,
    send: (text) => void socket.send(Buffer.from(text, "latin1"), peerPort, LOOPBACK),
    close: () => socket.close(),
  };
}

/**
 * A TCP connection to a port on loopback, or TLS; `onClose` also when the other side, or we, closed it.
 * @param ca PEM of the CA that its certificate must be of; empty: TCP
 */
export async function connectStream(
  peerPort: number,
  ca: string,
  onMessage: (text: string) => void,
  onClose: () => void,
): Promise<Line> {
  const framer = new StreamFramer({ maxHeaderBytes: 65_536, maxMessageBytes: 65_536 });
  const ready = Promise.withResolvers<void>();
  if (ca === "") ready.resolve();
  const socket = await Bun.connect({
    hostname: LOOPBACK,
    port: peerPort,
    ...(ca === "" ? {} : { tls: { ca } }),
    socket: {
      handshake: (_socket, isVerified, error) => {
        if (isVerified) ready.resolve();
        else ready.reject(error ?? new Error("The certificate is not to be believed"));
      },
      data: (_socket, bytes) => {
        for (const frame of framer.feed(bytes.toString("latin1"))) {
          if (frame.kind === "message") onMessage(frame.text);
        }
      },
      close: onClose,
      error: onClose,
    },
  });
  await ready.promise;
  return {
    transport: ca === "" ? "tcp" : "tls",
    port: socket.localPort,
    sentBy: `${LOOPBACK}:${socket.localPort}`,
    // The demo's messages fit the socket's buffer: they are small and few.
    send: (text) => void socket.write(Buffer.from(text, "latin1")),
    close: () => socket.end(),
  };
}

/** A WebSocket over TLS, as a web page opens it. @param ca as above */
export async function openWeb(
  url: string,
  ca: string,
  onMessage: (text: string) => void,
  onClose: () => void,
): Promise<Line> {
  // Its types are those of browsers, which take no CA.
  const socket = new WebSocket(url, { protocols: ["sip"], tls: { ca } } as unknown as string[]);
  await new Promise<void>((resolve, reject) => {
    socket.onopen = () => resolve();
    socket.onerror = () => reject(new Error(`Cannot open ${url}`));
  });
  socket.onmessage = ({ data }) => onMessage(String(data));
  socket.onclose = onClose;
  return {
    transport: "wss",
    port: 0,
    sentBy: `${crypto.randomUUID().slice(-12)}.invalid`,
    send: (text) => socket.send(text),
    close: () => socket.close(),
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
