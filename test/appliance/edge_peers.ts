/** Phones and PBXs that speak SIP over TLS, WSS and UDP to a real appliance: what they hear is a queue of messages. */
import { type Message, parseMessage } from "../../src/core/sip/message.ts";
import { StreamFramer } from "../../src/core/sip/framing.ts";
import { Inbox, TcpPeer, udpPeer } from "../io/transport/rig.ts";

/** One of them. `transport` is the word of a Via. */
export interface SipPeer extends Disposable {
  readonly transport: "UDP" | "TLS" | "WSS";
  readonly heard: Inbox<Message>;
  /** What it calls itself in Via and Contact. */
  readonly sentBy: string;
  send(text: string): void;
}

/** The next message that is no answer of ours to what it does not await. */
export async function next(peer: SipPeer, what: string | number): Promise<Message> {
  while (true) {
    const message = await peer.heard.next();
    if (message.isRequest ? message.method === what : message.status === what) return message;
  }
}

/** A PBX, or a phone, on a UDP port of loopback that talks to one port. */
export async function udpPbx(to: () => number): Promise<SipPeer & { port: number }> {
  const socket = await udpPeer();
  const heard = new Inbox<Message>();
  const read = async () => {
    while (true) heard.put(parseMessage((await socket.inbox.next()).text, true));
  };
  void read();
  return {
    transport: "UDP",
    heard,
    port: socket.port,
    sentBy: `127.0.0.1:${socket.port}`,
    send: (text) => socket.send(text, to(), "127.0.0.1"),
    [Symbol.dispose]: () => socket[Symbol.dispose](),
  };
}

function streamPeer(peer: TcpPeer, sentBy: string): SipPeer {
  const framer = new StreamFramer({ maxHeaderBytes: 65536, maxMessageBytes: 65536 });
  const heard = new Inbox<Message>();
  const read = async () => {
    while (true) {
      for (const frame of framer.feed(await peer.pieces.next())) {
        if (frame.kind === "message") heard.put(parseMessage(frame.text, false));
      }
    }
  };
  void read();
  return {
    transport: "TLS",
    heard,
    sentBy,
    send: (text) => peer.write(text),
    [Symbol.dispose]: () => peer[Symbol.dispose](),
  };
}

/** A phone behind NAT: what it calls itself leads nowhere. */
export async function tlsPhone(port: number, tls: Bun.TLSOptions): Promise<SipPeer> {
  return streamPeer(await TcpPeer.secure(port, tls), "10.9.9.9:40000");
}

/** A PBX that listens on TLS; `accepted` resolves with whoever calls first. */
export function tlsPbx(tls: Bun.TLSOptions): { port: number; accepted: Promise<SipPeer>; stop(): void } {
  const socket = new TcpPeer();
  const first = Promise.withResolvers<SipPeer>();
  const server = Bun.listen({
    hostname: "127.0.0.1",
    port: 0,
    tls,
    socket: {
      ...socket.handler(),
      handshake: () => first.resolve(streamPeer(socket, `127.0.0.1:${server.port}`)),
    },
  });
  return { port: server.port, accepted: first.promise, stop: () => server.stop(true) };
}

/** A web page: its host is one nobody can look up (RFC 7118 §5). */
export async function webPhone(url: string, ca: string): Promise<SipPeer> {
  const socket = new WebSocket(url, { protocols: ["sip"], tls: { ca } } as unknown as string[]);
  const heard = new Inbox<Message>();
  socket.onmessage = ({ data }) => heard.put(parseMessage(data as string, true));
  await new Promise((resolve, reject) => {
    socket.onopen = resolve;
    socket.onerror = reject;
  });
  return {
    transport: "WSS",
    heard,
    sentBy: "df7jal23ls0d.invalid",
    send: (text) => socket.send(text),
    [Symbol.dispose]: () => socket.close(),
  };
}
