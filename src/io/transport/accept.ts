/**
 * Accepts connections of all stream transports with Bun's sockets and hands them to connections.ts, which does all the
 * rest. What comes before the first byte of SIP is here: the header of a proxy in front of us, then TLS.
 */
import type { Socket, TCPSocketListener, TCPSocketListenOptions } from "bun";
import type { Listener } from "../../core/sip/flow.ts";
import { canonicalAddress, isIpv6 } from "./address.ts";
import type { Connections, StreamFlow } from "./connections.ts";
import { readProxyHeader } from "./proxy_protocol.ts";
import type { TransportContext } from "./sink.ts";
import { closeReason, prepare } from "./stream_socket.ts";
import type { TlsServer } from "./tls.ts";
import type { WebListener } from "./upgrade.ts";
import { WebSocketFramer } from "./websocket.ts";

/** What an acceptor is made of. */
export interface AcceptorOptions {
  readonly connections: Connections;
  readonly context: TransportContext;
  readonly address: string;
  readonly port: number;
  /** The listener of the local address a connection came to. */
  readonly listenerAt: (address: string) => Listener;
  /** Null: without TLS. */
  readonly tls: TlsServer | null;
  /** Null: no WebSocket. */
  readonly web: WebListener | null;
}

/** A ClientHello is smaller than this. What comes before it, a proxy's header, has a bound of its own. */
const MAX_FIRST_BYTES = 16 * 1024;
/** RFC 8446 §5.1: the record a handshake begins with. */
const HANDSHAKE_RECORD = 22;

/** Null from the moment the socket opens until it was admitted, and for good if it was not. */
type ArrivingSocket = Socket<StreamFlow | Arrival | null>;

/** One listening socket; a wildcard one serves every local address. */
export class Acceptor {
  readonly port: number;
  private readonly socket: TCPSocketListener<StreamFlow | Arrival | null>;

  /** @throws the error of bind or listen, with its code (EADDRINUSE, ...) */
  constructor(private readonly options: AcceptorOptions) {
    const { connections, address, port } = options;
    const listen: TCPSocketListenOptions<StreamFlow | Arrival | null> & { ipv6Only: boolean } = {
      hostname: address,
      port,
      data: null,
      // IPv4 has its own listener; without this `::` would take its port.
      ipv6Only: isIpv6(address),
      socket: {
        open: (socket) => this.accept(socket),
        data(socket, bytes) {
          const { data } = socket;
          if (data instanceof Arrival) data.receive(bytes);
          else if (data) connections.received(data, bytes);
        },
        drain(socket) {
          const { data } = socket;
          if (data && !(data instanceof Arrival)) connections.drained(data);
        },
        close(socket, error) {
          const flow = flowOf(socket.data);
          if (flow) connections.lost(flow, error ? closeReason(error) : "Closed by its peer");
        },
        error(socket, error) {
          const flow = flowOf(socket.data);
          if (flow) connections.close(flow, closeReason(error));
        },
      },
    };
    this.socket = Bun.listen(listen);
    this.port = this.socket.port;
  }

  /** Takes no more connections; those that are there stay. */
  close(): void {
    this.socket.stop(false);
  }

  private accept(socket: ArrivingSocket): void {
    const { connections, context, listenerAt, tls, web } = this.options;
    const local = canonicalAddress(socket.localAddress ?? "");
    const remote = canonicalAddress(socket.remoteAddress ?? "");
    // Null if the peer was gone before we looked.
    const flow = local === null || remote === null ? null : connections.admit(
      listenerAt(local),
      remote,
      socket.remotePort ?? 0,
      true,
      web === null ? null : new WebSocketFramer(context.limits, web),
    );
    socket.data = flow;
    if (flow === null) {
      socket.terminate();
      return;
    }
    prepare(socket);
    const isProxied = context.isProxy(remote!);
    if (tls === null && !isProxied) connections.opened(flow, socket);
    else socket.data = new Arrival(connections, flow, socket, tls, isProxied);
  }
}

/** A connection that was accepted, until its first byte of SIP may come. */
export class Arrival {
  private first: Buffer = Buffer.alloc(0);
  private isQueued = false;

  constructor(
    private readonly connections: Connections,
    readonly flow: StreamFlow,
    private readonly socket: ArrivingSocket,
    private readonly tls: TlsServer | null,
    private awaitsProxy: boolean,
  ) {
    // So that it can be closed.
    flow.stream = socket;
  }

  receive(bytes: Buffer): void {
    const { connections, flow, socket } = this;
    if (flow.state !== "connecting") return;
    // A copy: more may come before its turn.
    this.first = Buffer.concat([this.first, bytes]);
    if (this.awaitsProxy && !this.readProxy()) return;
    if (this.tls === null) {
      socket.data = flow;
      connections.opened(flow, socket);
      if (this.first.length > 0) connections.received(flow, this.first);
      return;
    }
    if (this.first.length > MAX_FIRST_BYTES) return connections.failHandshake(flow, "its first bytes are too many");
    if (this.first.length === 0 || this.isQueued) return;
    if (this.first[0] !== HANDSHAKE_RECORD) {
      return connections.failHandshake(flow, "what came is no TLS; is it a phone that is set to TCP?");
    }
    this.isQueued = true;
    this.flow.waitsForUs = true;
    this.tls.enqueue(this);
  }

  /** Its turn has come: what the peer has sent is the beginning of a handshake. */
  startTls(): void {
    const { flow, socket, connections } = this;
    if (flow.state !== "connecting") return;
    flow.waitsForUs = false;
    flow.sinceMs = this.tls!.nowMs;
    // From here on the TLS socket tells of it.
    socket.data = null;
    this.tls!.upgrade(socket as unknown as Socket<null>, flow, this.first, connections);
    this.first = Buffer.alloc(0);
  }

  /** False if there is nothing more to do now: more of the header is to come, or the connection is closed. */
  private readProxy(): boolean {
    const { flow, connections } = this;
    const header = readProxyHeader(this.first);
    switch (header.kind) {
      case "incomplete":
        return false;
      case "malformed":
        connections.failHandshake(flow, header.reason, "The proxy's header cannot be read");
        return false;
      case "header":
        this.first = this.first.subarray(header.length);
        this.awaitsProxy = false;
        return header.address === "" || connections.isFrom(flow, header.address, header.port);
      case "none":
        // A proxy may have calls of its own.
        this.awaitsProxy = false;
        return true;
    }
  }
}

function flowOf(data: StreamFlow | Arrival | null): StreamFlow | null {
  return data instanceof Arrival ? data.flow : data;
}
