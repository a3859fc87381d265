/** The PBX as the proxy sees it: the addresses it is reached at, and the addresses its requests are believed from. */
import type { Flow, Transport } from "../sip/flow.ts";
import { type Uri, uriParam } from "../sip/uri.ts";
import type { TransactionPort } from "../transaction/timers.ts";
import { bareHost } from "../sip/host.ts";

/** One resolved address of the PBX. */
export interface PbxAddress {
  readonly transport: Transport;
  readonly address: string;
  readonly port: number;
  /** As configured: `sip:192.168.1.10:5060;transport=udp`. */
  readonly uri: string;
}

export class Pbx {
  private addresses: readonly PbxAddress[] = [];
  private current: Flow | null = null;

  constructor(
    private readonly port: TransactionPort,
    /** True if requests from this IP address are the PBX's. */
    private readonly isTrusted: (address: string) => boolean,
  ) {}

  /** The addresses, in order of preference; told again when DNS says otherwise. */
  setAddresses(addresses: readonly PbxAddress[]): void {
    this.addresses = addresses;
    this.current = null;
  }

  get preferred(): PbxAddress | null {
    return this.addresses[0] ?? null;
  }

  /** The way to the PBX; null if its name is not resolved or no listener fits. */
  flow(): Flow | null {
    if (this.current !== null && this.current.state !== "closed") return this.current;
    for (const { transport, address, port } of this.addresses) {
      this.current = this.port.flowTo(transport, address, port);
      if (this.current !== null) return this.current;
    }
    return null;
  }

  /** True if this flow's peer address is one the PBX's requests come from. */
  isPbxAddress(address: string): boolean {
    return this.isTrusted(address) || this.addresses.some((own) => own.address === address);
  }

  /**
   * Where a request to the PBX side goes: to the very address its URI names if that is the PBX's, else to the PBX.
   * Never to a third party (F-06).
   */
  flowTowards(uri: Uri): Flow | null {
    const host = bareHost(uri.host);
    if (this.isPbxAddress(host)) {
      const transport = uriParam(uri, "transport")?.toLowerCase() === "tcp" ? "tcp" : "udp";
      const main = this.flow();
      if (
        main !== null && main.remoteAddress === host && main.transport === transport &&
        main.remotePort === (uri.port || 5060)
      ) {
        return main;
      }
      return this.port.flowTo(transport, host, uri.port === 0 ? 5060 : uri.port) ?? main;
    }
    return this.flow();
  }
}
