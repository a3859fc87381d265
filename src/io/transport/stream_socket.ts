/** What accepted and dialled sockets have in common: how they tell connections.ts, and how dead peers are found. */
import type { Socket, SocketHandler } from "bun";
import type { Connections, StreamFlow } from "./connections.ts";
import { openNative } from "./native.ts";

const KEEPALIVE_IDLE_MS = 60_000;
const KEEPALIVE_INTERVAL_MS = 10_000;
/** A peer that answers neither data nor probes for so long is gone. */
const DEAD_PEER_MS = 60_000;

/** For sockets whose `data` is their flow; null: events are dropped. */
export function established(connections: Connections): SocketHandler<StreamFlow | null, "buffer"> {
  return {
    data(socket, bytes) {
      if (socket.data) connections.received(socket.data, bytes);
    },
    drain(socket) {
      if (socket.data) connections.drained(socket.data);
    },
    close(socket, error) {
      if (socket.data) connections.lost(socket.data, error ? closeReason(error) : "Closed by its peer");
    },
    error(socket, error) {
      if (socket.data) connections.close(socket.data, closeReason(error));
    },
  };
}

export function prepare(socket: Socket<unknown>): void {
  socket.setNoDelay(true);
  socket.setKeepAlive(true, KEEPALIVE_IDLE_MS);
  const { fd } = socket as unknown as { fd?: number };
  if (typeof fd === "number" && fd >= 0) openNative()?.findDeadPeers(fd, KEEPALIVE_INTERVAL_MS, DEAD_PEER_MS);
}

export function closeReason(error: Error): string {
  return (error as { code?: string }).code === "ECONNRESET" ? "Reset by its peer" : `Connection lost: ${error.message}`;
}
