/**
 * The port that our own REGISTERs leave from (`pbx.own_port`): a PBX that trusts it must not get anything else from
 * there. Responses are taken, requests are dropped: nobody registers over it or is called over it.
 */
import type { Flow, Listener } from "../../core/sip/flow.ts";
import { hostPort } from "../../core/sip/host.ts";
import { splitHostPort } from "./address.ts";
import { isResponseText, type TransportContext, type TransportSink } from "./sink.ts";
import { UdpSocket } from "./udp.ts";

const MINUTE_MS = 60_000;

export class OwnPort implements TransportSink {
  readonly listeners: Listener[] = [];
  private readonly context: TransportContext;
  private toldMs = -Infinity;

  /** @param port 0: there is none */
  constructor(private readonly port: number, private readonly shared: TransportContext) {
    this.context = { ...shared, sink: this };
  }

  /**
   * Opens the port on the address of a listener.
   * @returns null if there is none to open, or it is open there already
   * @throws Error that names the address and what to do
   */
  async open({ address, advertised }: Listener): Promise<UdpSocket | null> {
    const { port } = this;
    if (port === 0 || this.listeners.some((listener) => listener.address === address)) return null;
    const { host } = splitHostPort(advertised);
    let socket: UdpSocket;
    try {
      socket = await UdpSocket.open(this.context, address, port, (real) => hostPort(host, real));
    } catch (cause) {
      const { message } = cause as Error;
      throw new Error(`Cannot open pbx.own_port on udp://${hostPort(address, port)}: ${message}`, { cause });
    }
    this.listeners.push(socket.listener);
    return socket;
  }

  message(flow: Flow, text: string): void {
    if (isResponseText(text)) return this.shared.sink.message(flow, text);
    this.shared.counts.ownPortDropped++;
    const nowMs = this.shared.now();
    if (nowMs - this.toldMs < MINUTE_MS) return;
    this.toldMs = nowMs;
    this.shared.log(
      "warn",
      "Dropped a request to pbx.own_port: a PBX must not write our source port over our Contact (rewrite_contact=no)",
      { flow: flow.key },
    );
  }

  closed(flow: Flow, reason: string): void {
    this.shared.sink.closed(flow, reason);
  }

  malformed(): void {
    this.shared.counts.ownPortDropped++;
  }
}
