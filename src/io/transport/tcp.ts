/**
 * TCP: accepts and makes connections with Bun's sockets and hands them to connections.ts, which does all the rest.
 */
import type { Socket, SocketHandler, TCPSocketConnectOptions, TCPSocketListener, TCPSocketListenOptions } from "bun";
import type { Listener } from "../../core/sip/flow.ts";
import { canonicalAddress, isIpv6 } from "./address.ts";
import type { Connections, TcpFlow } from "./connections.ts";
import { openNative } from "./native.ts";

/** Null from the moment the socket opens until it was admitted, and for good if it was not. */
type TcpSocket = Socket<TcpFlow | null>;

const KEEPALIVE_IDLE_MS = 60_000;
const KEEPALIVE_INTERVAL_MS = 10_000;
/** A peer that answers neither data nor probes for so long is gone. */
const DEAD_PEER_MS = 60_000;

/** One listening socket; a wildcard one serves every local address. */
export class TcpAcceptor {
  readonly port: number;
  private readonly socket: TCPSocketListener<TcpFlow | null>;

  /**
   * @param listenerAt the listener of the local address a connection came to
   * @throws the error of bind or listen, with its code (EADDRINUSE, ...)
   */
  constructor(connections: Connections, address: string, port: number, listenerAt: (address: string) => Listener) {
    const options: TCPSocketListenOptions<TcpFlow | null> & { ipv6Only: boolean } = {
      hostname: address,
      port,
      data: null,
      // IPv4 has its own listener; without this `::` would take its port.
      ipv6Only: isIpv6(address),
      socket: {
        ...established(connections),
        open(socket) {
          accept(connections, socket, listenerAt);
        },
      },
    };
    this.socket = Bun.listen(options);
    this.port = this.socket.port;
  }

  /** Takes no more connections; those that are there stay. */
  close(): void {
    this.socket.stop(false);
  }
}

/** Dials; null if a limit forbids it. The flow is `connecting`, takes messages at once, and opens or closes later. */
export function connectTcp(
  connections: Connections,
  listener: Listener,
  address: string,
  port: number,
): TcpFlow | null {
  const flow = connections.admit(listener, address, port, false);
  if (flow === null) return null;
  const options: TCPSocketConnectOptions<TcpFlow | null> & { localAddress: string } = {
    hostname: address,
    port,
    // The peer knows us by the address we listen on.
    localAddress: listener.address,
    data: flow,
    socket: {
      ...established(connections),
      open(socket) {
        prepare(socket);
        connections.opened(flow, socket);
      },
      connectError(_socket, error) {
        connections.close(flow, connectReason(error));
      },
    },
  };
  Bun.connect(options).catch((error) => connections.close(flow, connectReason(error)));
  return flow;
}

function accept(connections: Connections, socket: TcpSocket, listenerAt: (address: string) => Listener): void {
  const local = canonicalAddress(socket.localAddress ?? "");
  const remote = canonicalAddress(socket.remoteAddress ?? "");
  // Null if the peer was gone before we looked.
  const flow = local === null || remote === null
    ? null
    : connections.admit(listenerAt(local), remote, socket.remotePort ?? 0, true);
  socket.data = flow;
  if (flow === null) {
    socket.terminate();
    return;
  }
  prepare(socket);
  connections.opened(flow, socket);
}

function established(connections: Connections): SocketHandler<TcpFlow | null, "buffer"> {
  return {
    data(socket, bytes) {
      if (socket.data) connections.received(socket.data, bytes);
    },
    drain(socket) {
      if (socket.data) connections.drained(socket.data);
    },
    close(socket, error) {
      if (socket.data) connections.lost(socket.data, error === undefined ? "Closed by its peer" : closeReason(error));
    },
    error(socket, error) {
      if (socket.data) connections.close(socket.data, closeReason(error));
    },
  };
}

function prepare(socket: TcpSocket): void {
  socket.setNoDelay(true);
  socket.setKeepAlive(true, KEEPALIVE_IDLE_MS);
  const { fd } = socket as unknown as { fd?: number };
  if (typeof fd === "number" && fd >= 0) openNative()?.findDeadPeers(fd, KEEPALIVE_INTERVAL_MS, DEAD_PEER_MS);
}

function connectReason(error: unknown): string {
  const code = (error as { code?: string } | null)?.code;
  return code === "ECONNREFUSED" ? "Cannot connect: refused" : `Cannot connect: ${code ?? String(error)}`;
}

function closeReason(error: Error): string {
  return (error as { code?: string }).code === "ECONNRESET" ? "Reset by its peer" : `Connection lost: ${error.message}`;
}
