/**
 * What the pure parts know of the network: a flow is the way to and from one peer (UDP 5-tuple, or one
 * connection). Sockets live in transport/; nothing here may know them.
 */

/** The transports of the `listen` URLs. */
export type Transport = "udp" | "tcp" | "tls" | "ws" | "wss";

/** One local address messages arrive at and leave from. */
export interface Listener {
  readonly transport: Transport;
  /** Local IP address without brackets, as bound: `127.0.0.1`, `::1`. */
  readonly address: string;
  readonly port: number;
  /** `host` or `host:port` to put in Via, Record-Route, Path and Contact; IPv6 in brackets; the port is left out only when `advertise` says so. */
  readonly advertised: string;
  /** Of ws and wss: the path of their URL. */
  readonly path?: string;
}

/**
 * `connecting`: outbound connection on its way, sends are queued. `open`: usable. `closed`: gone for good; a flow
 * never comes back, its successor is a new object.
 */
export type FlowState = "connecting" | "open" | "closed";

/** A way to one peer. Identity is the object: two messages over the same 5-tuple or connection carry the same object. */
export interface Flow {
  /** Unique in this process, never reused. */
  readonly id: number;
  readonly transport: Transport;
  /** True for everything but UDP: no retransmissions (RFC 3261 §17). */
  readonly isReliable: boolean;
  readonly listener: Listener;
  /** IP address without brackets. */
  readonly remoteAddress: string;
  readonly remotePort: number;
  readonly state: FlowState;
  /** When anything (message, keepalive, pong) last came from the peer, in ms of the appliance clock; 0 = never. */
  readonly lastHeardMs: number;
  /**
   * Text that names the flow across restarts: `udp|127.0.0.1:5060|192.0.2.7:40123`; for connections the same with
   * their transport, which tells an admin where the device was, but cannot be used to send.
   */
  readonly key: string;
  /** Usrloc's own note on what is registered over it, in place of an index. Only usrloc reads it. */
  registered?: object | undefined;
  /** The same, on who was and has left it. */
  former?: object | undefined;
}
