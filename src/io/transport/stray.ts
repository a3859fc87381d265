/**
 * Datagrams to a local address that has no UDP socket of its own yet, for a wildcard listener: an address that came after
 * start, or one of 127/8. Bun's sockets do not tell the local address, so a socket of the C library takes these datagrams
 * and is polled. Its owner opens a real socket for the address and delivers them.
 */
import { type AddressedDatagram, openNative } from "./native.ts";

/** So many are taken at once; the rest waits in the kernel. */
const MAX_TAKEN = 64;

export class StrayDatagrams {
  readonly port: number;
  private readonly isIpv6: boolean;
  private fd = -1;

  constructor(isIpv6: boolean, port: number) {
    this.isIpv6 = isIpv6;
    this.port = port;
  }

  /**
   * Binds the wildcard address beside the sockets of single addresses, whose descriptors are given.
   * @returns false where that cannot be done
   */
  open(beside: readonly number[]): boolean {
    if (this.fd >= 0) return true;
    const native = openNative();
    if (native === null) return false;
    // Set for the bind alone: with it another program could take the port as well.
    for (const fd of beside) native.setReuseAddress(fd, true);
    this.fd = native.openWildcard(this.isIpv6, this.port);
    for (const fd of beside) native.setReuseAddress(fd, false);
    return this.fd >= 0;
  }

  /** What has come since the last time. */
  take(): AddressedDatagram[] {
    const taken: AddressedDatagram[] = [];
    const native = openNative();
    if (this.fd < 0 || native === null) return taken;
    while (taken.length < MAX_TAKEN) {
      const datagram = native.receiveAddressed(this.fd);
      if (datagram === null) break;
      taken.push(datagram);
    }
    return taken;
  }

  close(): void {
    if (this.fd < 0) return;
    openNative()?.close(this.fd);
    this.fd = -1;
  }
}
