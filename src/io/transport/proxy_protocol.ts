/**
 * PROXY protocol, version 2: what a load balancer writes in front of a connection, so that we know whose it is
 * (haproxy, doc/proxy-protocol.txt, §2.2). Pure. Version 1 is text and is not read.
 */
import { canonicalAddress } from "./address.ts";

export type ProxyHeader =
  | { readonly kind: "none" }
  | { readonly kind: "incomplete" }
  | { readonly kind: "malformed"; readonly reason: string }
  /** `address` is empty where the connection is the proxy's own (a health check), or of a kind that has none. */
  | { readonly kind: "header"; readonly length: number; readonly address: string; readonly port: number };

const SIGNATURE = Buffer.from("\r\n\r\n\0\r\nQUIT\n", "latin1");
const FIXED_BYTES = 16;
/** Addresses, and what a proxy adds to them; the protocol allows 64 KiB. */
const MAX_BYTES = 2048;
const LOCAL = 0x20;
const PROXY = 0x21;
const TCP_OVER_IPV4 = 0x11;
const TCP_OVER_IPV6 = 0x21;

/** Reads the header that a connection begins with. */
export function readProxyHeader(bytes: Buffer): ProxyHeader {
  const common = Math.min(bytes.length, SIGNATURE.length);
  if (SIGNATURE.compare(bytes, 0, common, 0, common) !== 0) return { kind: "none" };
  if (bytes.length < FIXED_BYTES) return { kind: "incomplete" };
  const length = FIXED_BYTES + bytes.readUInt16BE(14);
  const command = bytes[12]!;
  if (command !== LOCAL && command !== PROXY) return { kind: "malformed", reason: "its version is not 2" };
  if (length > MAX_BYTES) return { kind: "malformed", reason: `it is larger than ${MAX_BYTES} bytes` };
  if (bytes.length < length) return { kind: "incomplete" };
  if (command === LOCAL) return { kind: "header", length, address: "", port: 0 };
  switch (bytes[13]) {
    case TCP_OVER_IPV4:
      if (length < FIXED_BYTES + 12) break;
      return { kind: "header", length, address: bytes.subarray(16, 20).join("."), port: bytes.readUInt16BE(24) };
    case TCP_OVER_IPV6: {
      if (length < FIXED_BYTES + 36) break;
      const words = Array.from({ length: 8 }, (_, n) => bytes.readUInt16BE(16 + 2 * n).toString(16));
      return { kind: "header", length, address: canonicalAddress(words.join(":"))!, port: bytes.readUInt16BE(48) };
    }
    default:
      return { kind: "header", length, address: "", port: 0 };
  }
  return { kind: "malformed", reason: "it is too short for its addresses" };
}
