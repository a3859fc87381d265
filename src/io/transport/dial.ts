/** Makes connections with Bun's sockets and hands them to connections.ts, which does all the rest. */
import type { TCPSocketConnectOptions } from "bun";
import type { Listener } from "../../core/sip/flow.ts";
import type { Connections, StreamFlow } from "./connections.ts";
import { established, prepare } from "./stream_socket.ts";
import { peerReason, type TlsPeer } from "./tls.ts";

/**
 * Dials; null if a limit forbids it. The flow is `connecting`, takes messages at once, and opens or closes later.
 * @param peer what the certificate of the other side must name; null: TCP
 */
export function connectStream(
  connections: Connections,
  listener: Listener,
  address: string,
  port: number,
  peer: TlsPeer | null,
): StreamFlow | null {
  const flow = connections.admit(listener, address, port, false);
  if (flow === null) return null;
  const options: TCPSocketConnectOptions<StreamFlow | null> & { localAddress: string } = {
    hostname: address,
    port,
    // The peer knows us by the address we listen on.
    localAddress: listener.address,
    data: flow,
    socket: {
      ...established(connections),
      open(socket) {
        prepare(socket);
        if (peer === null) connections.opened(flow, socket);
        // So that it can be closed while the handshake goes on.
        else if (flow.state === "connecting") flow.stream = socket;
        else socket.terminate();
      },
      connectError(_socket, error) {
        connections.close(flow, connectReason(error));
      },
    },
  };
  if (peer !== null) {
    options.tls = { rejectUnauthorized: true, ...(peer.ca === "" ? {} : { ca: peer.ca }), serverName: peer.name };
    options.socket.handshake = (socket, isVerified, error) => {
      if (isVerified && error === null) connections.opened(flow, socket);
      else connections.failHandshake(flow, peerReason(error, peer));
    };
  }
  Bun.connect(options).catch((error) => connections.close(flow, connectReason(error)));
  return flow;
}

function connectReason(error: unknown): string {
  const code = (error as { code?: string } | null)?.code;
  return code === "ECONNREFUSED" ? "Cannot connect: refused" : `Cannot connect: ${code ?? String(error)}`;
}
