/**
 * STUN binding over the SIP port (RFC 5389, asked for by RFC 5626 §3.5.2): recognises a request and writes its answer.
 * Bytes in, bytes out; knows no sockets.
 */
const HEADER_BYTES = 20;
const MAGIC_COOKIE = 0x2112a442;
const BINDING_REQUEST = 0x0001;
const BINDING_SUCCESS = 0x0101;
const XOR_MAPPED_ADDRESS = 0x0020;

/** True if a datagram is STUN and not SIP (RFC 5389 §8: two zero bits, then the magic cookie). */
export function isStun(bytes: Buffer): boolean {
  return bytes.length >= HEADER_BYTES && bytes[0]! < 0x40 && bytes.readUInt32BE(4) === MAGIC_COOKIE;
}

/**
 * The Binding Success for a Binding Request from `address` and `port`; null for any other STUN message, which gets no
 * answer. At most 24 bytes longer than the shortest request, so it is of no use as an amplifier.
 */
export function answerStun(request: Buffer, address: string, port: number): Buffer | null {
  if (request.readUInt16BE(0) !== BINDING_REQUEST || request.readUInt16BE(2) !== request.length - HEADER_BYTES) {
    return null;
  }
  const isIpv6 = address.includes(":");
  const valueBytes = isIpv6 ? 20 : 8;
  const answer = Buffer.alloc(HEADER_BYTES + 4 + valueBytes);
  answer.writeUInt16BE(BINDING_SUCCESS, 0);
  answer.writeUInt16BE(4 + valueBytes, 2);
  request.copy(answer, 4, 4, HEADER_BYTES);
  answer.writeUInt16BE(XOR_MAPPED_ADDRESS, 20);
  answer.writeUInt16BE(valueBytes, 22);
  answer[25] = isIpv6 ? 2 : 1;
  answer.writeUInt16BE(port ^ (MAGIC_COOKIE >>> 16), 26);
  const bytes = isIpv6 ? ipv6Bytes(address) : address.split(".").map(Number);
  // RFC 5389 §15.2: an address is xored with the cookie, and an IPv6 one with the transaction id behind it.
  for (let at = 0; at < bytes.length; at++) answer[28 + at] = bytes[at]! ^ answer[4 + at]!;
  return answer;
}

/** The 16 bytes of a canonical IPv6 address. */
function ipv6Bytes(address: string): number[] {
  const [head, tail] = address.split("::");
  const left = groups(head!);
  const right = tail === undefined ? [] : groups(tail);
  const middle = Array<number>(Math.max(0, 8 - left.length - right.length)).fill(0);
  return [...left, ...middle, ...right].flatMap((group) => [group >> 8, group & 0xff]);
}

function groups(text: string): number[] {
  return text === "" ? [] : text.split(":").map((group) => parseInt(group, 16));
}
