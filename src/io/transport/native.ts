/**
 * The few calls of the C library that Bun's sockets do not offer, through `bun:ffi`: socket options on a descriptor,
 * the kernel's choice of a source address, and a wildcard UDP socket that tells the local address of a datagram.
 * Linux on 64-bit little-endian machines; elsewhere {@link openNative} gives null and the callers do without.
 * Nothing here throws after it was opened: a failed call is `null`, `false` or -1.
 */
import { dlopen, FFIType, ptr } from "bun:ffi";
import { readdirSync } from "node:fs";
import { readLatin1, writeLatin1 } from "./latin1.ts";

const SYMBOLS = {
  setsockopt: { args: [FFIType.i32, FFIType.i32, FFIType.i32, FFIType.ptr, FFIType.u32], returns: FFIType.i32 },
  getsockopt: { args: [FFIType.i32, FFIType.i32, FFIType.i32, FFIType.ptr, FFIType.ptr], returns: FFIType.i32 },
  socket: { args: [FFIType.i32, FFIType.i32, FFIType.i32], returns: FFIType.i32 },
  bind: { args: [FFIType.i32, FFIType.ptr, FFIType.u32], returns: FFIType.i32 },
  connect: { args: [FFIType.i32, FFIType.ptr, FFIType.u32], returns: FFIType.i32 },
  getsockname: { args: [FFIType.i32, FFIType.ptr, FFIType.ptr], returns: FFIType.i32 },
  recvmsg: { args: [FFIType.i32, FFIType.ptr, FFIType.i32], returns: FFIType.i64_fast },
  close: { args: [FFIType.i32], returns: FFIType.i32 },
  inet_pton: { args: [FFIType.i32, FFIType.ptr, FFIType.ptr], returns: FFIType.i32 },
  inet_ntop: { args: [FFIType.i32, FFIType.ptr, FFIType.ptr, FFIType.u32], returns: FFIType.ptr },
} as const;

type Libc = ReturnType<typeof dlopen<typeof SYMBOLS>>["symbols"];

const AF_INET = 2;
const AF_INET6 = 10;
const SOCK_DGRAM_NONBLOCK_CLOEXEC = 2 | 0o4000 | 0o2000000;
const SOL_SOCKET = 1;
const SO_REUSEADDR = 2;
const SO_SNDBUF = 7;
const SO_RCVBUF = 8;
const SO_RCVBUFFORCE = 33;
const IPPROTO_IP = 0;
const IP_PKTINFO = 8;
const IP_RECVERR = 11;
const IPPROTO_TCP = 6;
const TCP_KEEPINTVL = 5;
const TCP_KEEPCNT = 6;
const TCP_USER_TIMEOUT = 18;
const IPPROTO_IPV6 = 41;
const IPV6_RECVERR = 25;
const IPV6_V6ONLY = 26;
const IPV6_RECVPKTINFO = 49;
const IPV6_PKTINFO = 50;
const MSG_DONTWAIT = 0x40;

/** A datagram together with the local address it was sent to. */
export interface AddressedDatagram {
  readonly localAddress: string;
  readonly remoteAddress: string;
  readonly remotePort: number;
  readonly bytes: Buffer;
}

/** The C library, opened; see the file header. */
export class Native {
  private readonly libc: Libc;
  private readonly int = new Int32Array(1);
  private readonly intLength = new Uint32Array(1);
  private readonly text = Buffer.alloc(64);
  private readonly sockaddr = Buffer.alloc(32);
  private readonly payload = Buffer.alloc(65536);
  private readonly control = Buffer.alloc(128);
  private readonly iovec = Buffer.alloc(16);
  private readonly msghdr = Buffer.alloc(56);

  constructor(libc: Libc) {
    this.libc = libc;
  }

  /**
   * Raises the receive buffer: past `net.core.rmem_max` if we may (SO_RCVBUFFORCE), else up to it.
   * @returns bytes of payload the kernel grants (getsockopt tells twice as much, half of it its own bookkeeping), or null
   */
  raiseReceiveBuffer(fd: number, bytes: number): number | null {
    if (!this.set(fd, SOL_SOCKET, SO_RCVBUFFORCE, bytes)) this.set(fd, SOL_SOCKET, SO_RCVBUF, bytes);
    const granted = this.get(fd, SOL_SOCKET, SO_RCVBUF);
    return granted === null ? null : granted >> 1;
  }

  /** Sets SO_SNDBUF as far as the kernel allows. */
  setSendBuffer(fd: number, bytes: number): boolean {
    return this.set(fd, SOL_SOCKET, SO_SNDBUF, bytes);
  }

  /**
   * Bun sets IP_RECVERR: an ICMP error that one peer caused then fails the next send to any peer.
   */
  ignoreIcmpErrors(fd: number, isIpv6: boolean): boolean {
    return isIpv6 ? this.set(fd, IPPROTO_IPV6, IPV6_RECVERR, 0) : this.set(fd, IPPROTO_IP, IP_RECVERR, 0);
  }

  setReuseAddress(fd: number, isOn: boolean): boolean {
    return this.set(fd, SOL_SOCKET, SO_REUSEADDR, isOn ? 1 : 0);
  }

  /** A peer that is gone is found within `timeoutMs`, whether data is in flight (RFC 5482) or the line is silent. */
  findDeadPeers(fd: number, probeIntervalMs: number, timeoutMs: number): void {
    const seconds = Math.max(1, Math.round(probeIntervalMs / 1000));
    this.set(fd, IPPROTO_TCP, TCP_KEEPINTVL, seconds);
    this.set(fd, IPPROTO_TCP, TCP_KEEPCNT, Math.max(1, Math.round(timeoutMs / 1000 / seconds)));
    this.set(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, timeoutMs);
  }

  /**
   * The address the kernel would send from to `address`; with `from`, tells whether it can be sent from there.
   * @returns null if there is no way
   */
  sourceAddress(address: string, from = ""): string | null {
    const isIpv6 = address.includes(":");
    const fd = this.libc.socket(isIpv6 ? AF_INET6 : AF_INET, SOCK_DGRAM_NONBLOCK_CLOEXEC, 0);
    if (fd < 0) return null;
    try {
      if (from !== "") {
        const length = this.writeSockaddr(from, 0);
        if (length === 0 || this.libc.bind(fd, ptr(this.sockaddr), length) !== 0) return null;
      }
      const length = this.writeSockaddr(address, 9);
      if (length === 0 || this.libc.connect(fd, ptr(this.sockaddr), length) !== 0) return null;
      this.intLength[0] = this.sockaddr.length;
      if (this.libc.getsockname(fd, ptr(this.sockaddr), ptr(this.intLength)) !== 0) return null;
      return this.readSockaddr()?.address ?? null;
    } finally {
      this.libc.close(fd);
    }
  }

  /** False only if the kernel says that the machine has no such address. */
  canBind(address: string): boolean {
    const isIpv6 = address.includes(":");
    const fd = this.libc.socket(isIpv6 ? AF_INET6 : AF_INET, SOCK_DGRAM_NONBLOCK_CLOEXEC, 0);
    if (fd < 0) return true;
    const length = this.writeSockaddr(address, 0);
    const isBound = length > 0 && this.libc.bind(fd, ptr(this.sockaddr), length) === 0;
    this.libc.close(fd);
    return isBound;
  }

  /**
   * A UDP socket on the wildcard address, beside the sockets that are bound to single addresses of the same port (those
   * need SO_REUSEADDR for the moment). Datagrams reach it only if no other socket is bound to their destination.
   * @returns the descriptor, or -1
   */
  openWildcard(isIpv6: boolean, port: number): number {
    const fd = this.libc.socket(isIpv6 ? AF_INET6 : AF_INET, SOCK_DGRAM_NONBLOCK_CLOEXEC, 0);
    if (fd < 0) return -1;
    const isReady = this.set(fd, SOL_SOCKET, SO_REUSEADDR, 1) &&
      (isIpv6
        ? this.set(fd, IPPROTO_IPV6, IPV6_V6ONLY, 1) && this.set(fd, IPPROTO_IPV6, IPV6_RECVPKTINFO, 1)
        : this.set(fd, IPPROTO_IP, IP_PKTINFO, 1));
    const length = this.writeSockaddr(isIpv6 ? "::" : "0.0.0.0", port);
    if (!isReady || this.libc.bind(fd, ptr(this.sockaddr), length) !== 0) {
      this.libc.close(fd);
      return -1;
    }
    this.set(fd, SOL_SOCKET, SO_REUSEADDR, 0);
    return fd;
  }

  /** A port that is free on every address of a family now; 0 if none is. */
  freeUdpPort(isIpv6: boolean): number {
    const fd = this.openWildcard(isIpv6, 0);
    if (fd < 0) return 0;
    this.intLength[0] = this.sockaddr.length;
    const isKnown = this.libc.getsockname(fd, ptr(this.sockaddr), ptr(this.intLength)) === 0;
    this.libc.close(fd);
    return isKnown ? this.sockaddr.readUInt16BE(2) : 0;
  }

  /** The next datagram of a socket of {@link openWildcard}; null if there is none, or none sent to a single address. */
  receiveAddressed(fd: number): AddressedDatagram | null {
    const header = this.msghdr;
    this.iovec.writeBigUInt64LE(BigInt(ptr(this.payload)), 0);
    this.iovec.writeBigUInt64LE(BigInt(this.payload.length), 8);
    header.fill(0);
    header.writeBigUInt64LE(BigInt(ptr(this.sockaddr)), 0);
    header.writeUInt32LE(this.sockaddr.length, 8);
    header.writeBigUInt64LE(BigInt(ptr(this.iovec)), 16);
    header.writeBigUInt64LE(1n, 24);
    header.writeBigUInt64LE(BigInt(ptr(this.control)), 32);
    header.writeBigUInt64LE(BigInt(this.control.length), 40);
    const length = Number(this.libc.recvmsg(fd, ptr(header), MSG_DONTWAIT));
    if (length < 0) return null;
    const remote = this.readSockaddr();
    const localAddress = this.readLocalAddress();
    if (remote === null || localAddress === null) return null;
    const bytes = Buffer.from(this.payload.subarray(0, length));
    return { localAddress, remoteAddress: remote.address, remotePort: remote.port, bytes };
  }

  close(fd: number): void {
    this.libc.close(fd);
  }

  private set(fd: number, level: number, option: number, value: number): boolean {
    this.int[0] = value;
    return this.libc.setsockopt(fd, level, option, ptr(this.int), 4) === 0;
  }

  private get(fd: number, level: number, option: number): number | null {
    this.intLength[0] = 4;
    if (this.libc.getsockopt(fd, level, option, ptr(this.int), ptr(this.intLength)) !== 0) return null;
    return this.int[0]!;
  }

  /** Fills `sockaddr`; 0 if the text is no address. */
  private writeSockaddr(address: string, port: number): number {
    const isIpv6 = address.includes(":");
    this.sockaddr.fill(0);
    this.sockaddr.writeUInt16LE(isIpv6 ? AF_INET6 : AF_INET, 0);
    this.sockaddr.writeUInt16BE(port, 2);
    const length = writeLatin1(this.text, address.slice(0, 62));
    this.text[length] = 0;
    const target = ptr(this.sockaddr, isIpv6 ? 8 : 4);
    if (this.libc.inet_pton(isIpv6 ? AF_INET6 : AF_INET, ptr(this.text), target) !== 1) return 0;
    return isIpv6 ? 28 : 16;
  }

  private readSockaddr(): { address: string; port: number } | null {
    const family = this.sockaddr.readUInt16LE(0);
    const address = this.addressText(family, this.sockaddr, family === AF_INET6 ? 8 : 4);
    return address === null ? null : { address, port: this.sockaddr.readUInt16BE(2) };
  }

  private addressText(family: number, bytes: Buffer, offset: number): string | null {
    if (family !== AF_INET && family !== AF_INET6) return null;
    const got = this.libc.inet_ntop(family, ptr(bytes, offset), ptr(this.text), this.text.length);
    if (got === null) return null;
    return readLatin1(this.text, 0, this.text.indexOf(0));
  }

  /** From the control message of the last recvmsg; null for multicast and broadcast. */
  private readLocalAddress(): string | null {
    const length = Number(this.msghdr.readBigUInt64LE(40));
    const control = this.control;
    if (length < 28) return null;
    const level = control.readInt32LE(8);
    const type = control.readInt32LE(12);
    if (level === IPPROTO_IP && type === IP_PKTINFO) {
      // in_pktinfo: interface, address to answer from, address in the header; they differ for broadcast.
      if (control.readUInt32LE(20) !== control.readUInt32LE(24)) return null;
      return this.addressText(AF_INET, control, 24);
    }
    if (level === IPPROTO_IPV6 && type === IPV6_PKTINFO && length >= 36) {
      return control[16] === 0xff ? null : this.addressText(AF_INET6, control, 16);
    }
    return null;
  }
}

let opened: Native | null | undefined;

/** The C library of this machine, or null where it cannot be used. Opened once. */
export function openNative(): Native | null {
  if (opened === undefined) opened = load();
  return opened;
}

function load(): Native | null {
  if (process.platform !== "linux" || (process.arch !== "x64" && process.arch !== "arm64")) return null;
  for (const name of libraryNames()) {
    try {
      return new Native(dlopen(name, SYMBOLS).symbols);
    } catch {
      // Try the next C library.
    }
  }
  return null;
}

function libraryNames(): string[] {
  const arch = process.arch === "x64" ? "x86_64" : "aarch64";
  const names = ["libc.so.6", `libc.musl-${arch}.so.1`];
  try {
    for (const file of readdirSync("/lib")) if (file.startsWith("ld-musl-")) names.push(`/lib/${file}`);
  } catch {
    // No /lib: the names above must do.
  }
  return names;
}
