/**
 * IP addresses and networks of the allow, deny and trust lists: parsing, and whether an address is inside. Must not know
 * where the lists come from. Works on 32-bit words and allocates little: it is asked for every message that arrives.
 *
 * An IPv4-mapped IPv6 address (`::ffff:192.0.2.1`, what a dual-stack socket reports) is that IPv4 address in every list.
 * `::/0` means "all of IPv6" and does not contain it.
 */

/** IPv4 as one word, IPv6 as four, most significant first. */
export type AddressWords = readonly number[];

/** Address → words, or null if it is not an IP address (names, brackets and ports are not). A zone (`%eth0`) is dropped. */
export function parseAddress(text: string): AddressWords | null {
  if (text.length > 64) return null;
  if (!text.includes(":")) {
    const word = parseIpv4(text);
    return word === null ? null : [word];
  }
  const zone = text.indexOf("%");
  const words = parseIpv6(zone < 0 ? text : text.slice(0, zone));
  return words !== null && isMapped(words) ? [words[3]!] : words;
}

/** One network: `192.0.2.0/24`, `2001:db8::/32`, or a single address. Host bits are ignored. */
export class Cidr {
  /** As written. */
  readonly text: string;
  readonly prefix: number;
  readonly words: AddressWords;
  /** True if address bits beyond the prefix are set: `192.0.2.7/24`. */
  readonly hasHostBits: boolean;

  private constructor(text: string, words: AddressWords, prefix: number) {
    this.text = text;
    this.prefix = prefix;
    this.words = words.map((word, index) => (word & maskOf(prefix, index)) >>> 0);
    this.hasHostBits = this.words.some((word, index) => word !== words[index]);
  }

  /** Returns null if the text is neither an address nor address/prefix. */
  static parse(text: string): Cidr | null {
    const slash = text.indexOf("/");
    const addressText = slash < 0 ? text : text.slice(0, slash);
    const words = parseAddress(addressText);
    if (words === null || addressText.includes("%")) return null;
    const isMappedText = words.length === 1 && addressText.includes(":");
    const bits = words.length * 32;
    if (slash < 0) return new Cidr(text, words, bits);
    const given = parseDecimal(text.slice(slash + 1), 3);
    if (given === null) return null;
    const prefix = isMappedText ? given - 96 : given;
    return prefix < 0 || prefix > bits ? null : new Cidr(text, words, prefix);
  }

  contains(address: string): boolean {
    const words = parseAddress(address);
    return words !== null && this.containsWords(words);
  }

  /** As `contains`, for an address that was parsed already. */
  containsWords(words: AddressWords): boolean {
    if (words.length !== this.words.length) return false;
    for (let index = 0; index < words.length; index++) {
      if ((words[index]! & maskOf(this.prefix, index)) >>> 0 !== this.words[index]) return false;
    }
    return true;
  }

  toJSON(): string {
    return this.text;
  }
}

/** True if one of the networks contains the address. False for an empty list, and for text that is no address. */
export function containsAddress(networks: readonly Cidr[], address: string): boolean {
  if (networks.length === 0) return false;
  const words = parseAddress(address);
  if (words === null) return false;
  for (const network of networks) {
    if (network.containsWords(words)) return true;
  }
  return false;
}

function maskOf(prefix: number, index: number): number {
  const bits = Math.min(32, Math.max(0, prefix - index * 32));
  return bits === 0 ? 0 : (0xffffffff << (32 - bits)) >>> 0;
}

function parseDecimal(text: string, maxDigits: number): number | null {
  if (text.length === 0 || text.length > maxDigits) return null;
  let value = 0;
  for (let index = 0; index < text.length; index++) {
    const digit = text.charCodeAt(index) - 48;
    if (digit < 0 || digit > 9) return null;
    value = value * 10 + digit;
  }
  return value;
}

function parseIpv4(text: string): number | null {
  const parts = text.split(".");
  if (parts.length !== 4) return null;
  let word = 0;
  for (const part of parts) {
    const value = parseDecimal(part, 3);
    // A leading zero is refused: some programs read it as octal, others as decimal.
    if (value === null || value > 255 || (part.length > 1 && part[0] === "0")) return null;
    word = word * 256 + value;
  }
  return word;
}

function parseIpv6(text: string): AddressWords | null {
  const gap = text.indexOf("::");
  if (gap >= 0 && text.indexOf("::", gap + 1) >= 0) return null;
  const head = groupsOf(gap < 0 ? text : text.slice(0, gap), gap < 0);
  const tail = gap < 0 ? [] : groupsOf(text.slice(gap + 2), true);
  if (head === null || tail === null) return null;
  const missing = 8 - head.length - tail.length;
  if (gap < 0 ? missing !== 0 : missing < 1) return null;
  const groups = [...head, ...new Array<number>(missing).fill(0), ...tail];
  return [0, 2, 4, 6].map((index) => groups[index]! * 65536 + groups[index + 1]!);
}

function groupsOf(text: string, mayEndInIpv4: boolean): number[] | null {
  if (text === "") return [];
  const groups: number[] = [];
  const parts = text.split(":");
  for (let index = 0; index < parts.length; index++) {
    const part = parts[index]!;
    if (mayEndInIpv4 && index === parts.length - 1 && part.includes(".")) {
      const word = parseIpv4(part);
      if (word === null) return null;
      groups.push(word >>> 16, word & 0xffff);
    } else {
      if (!/^[0-9a-fA-F]{1,4}$/.test(part)) return null;
      groups.push(Number.parseInt(part, 16));
    }
  }
  return groups;
}

function isMapped(words: AddressWords): boolean {
  return words[0] === 0 && words[1] === 0 && words[2] === 0xffff;
}
