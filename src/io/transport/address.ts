/**
 * IP addresses as text: one spelling for each, the names of flows made of them, and the addresses of this machine.
 * Knows no sockets.
 */
import { isIP } from "node:net";
import { networkInterfaces } from "node:os";
import type { Transport } from "../../core/sip/flow.ts";
import { bareHost, hostPort, isLoopback } from "../../core/sip/host.ts";

/**
 * The canonical spelling of an address, without brackets: IPv6 as of RFC 5952, IPv4-mapped IPv6 (`::ffff:192.0.2.1`) as
 * plain IPv4. Null if the text is not an IP address.
 */
export function canonicalAddress(text: string): string | null {
  const bare = text.endsWith("]") ? bareHost(text) : text;
  const family = isIP(bare);
  if (family === 4) return bare;
  // A zone (`%eth0`) has no meaning outside this machine.
  if (family !== 6 || bare.includes("%")) return null;
  const mapped = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(bare);
  if (mapped !== null) return mapped[1]!;
  return new URL(`http://[${bare}]/`).hostname.slice(1, -1);
}

export function isIpv6(address: string): boolean {
  return address.includes(":");
}

export function isWildcard(address: string): boolean {
  return address === "0.0.0.0" || address === "::";
}

/** Splits `host`, `host:port`, `[v6]:port` and a bare IPv6 address; port 0 if there is none. Host in lower case, without brackets. */
export function splitHostPort(text: string): { host: string; port: number } {
  const lower = text.toLowerCase();
  if (isIP(lower) === 6) return { host: canonicalAddress(lower) ?? lower, port: 0 };
  const colon = lower.lastIndexOf(":");
  const hasPort = colon > lower.lastIndexOf("]") && colon >= 0;
  const host = hasPort ? lower.slice(0, colon) : lower;
  return { host: canonicalAddress(host) ?? host, port: hasPort ? Number(lower.slice(colon + 1)) || 0 : 0 };
}

/** The name of a flow across restarts, see `Flow.key`. */
export function flowKey(transport: Transport, local: string, localPort: number, remote: string, remotePort: number) {
  // `join`, not `+`: a concatenation keeps its pieces alive until it is read, and each contact keeps a key.
  return [transport, hostPort(local, localPort), hostPort(remote, remotePort)].join("|");
}

/** The parts of a {@link flowKey}; null if the text is none. */
export function parseFlowKey(
  key: string,
): { transport: string; local: string; localPort: number; remote: string; remotePort: number } | null {
  const parts = key.split("|");
  if (parts.length !== 3) return null;
  const local = splitHostPort(parts[1]!);
  const remote = splitHostPort(parts[2]!);
  if (isIP(local.host) === 0 || isIP(remote.host) === 0 || !isPort(local.port) || !isPort(remote.port)) return null;
  return {
    transport: parts[0]!,
    local: local.host,
    localPort: local.port,
    remote: remote.host,
    remotePort: remote.port,
  };
}

export function isPort(port: number): boolean {
  return Number.isInteger(port) && port >= 1 && port <= 65535;
}

/**
 * Every address of this machine, loopback first. Link-local IPv6 is left out: it means nothing without its zone, which
 * no SIP header can carry.
 */
export function machineAddresses(): string[] {
  const addresses: string[] = [];
  for (const entries of Object.values(networkInterfaces())) {
    for (const { address } of entries ?? []) {
      const canonical = canonicalAddress(address);
      if (canonical !== null && !/^fe[89ab]/.test(canonical) && !addresses.includes(canonical)) {
        addresses.push(canonical);
      }
    }
  }
  return addresses.sort((a, b) => Number(isLoopback(b)) - Number(isLoopback(a)));
}
