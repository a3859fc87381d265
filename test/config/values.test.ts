/** Values: what is read, what is refused, and that what is written is read again. */
import { expect, test } from "bun:test";
import fc from "fast-check";
import { Cidr, containsAddress, parseAddress } from "../../src/config/cidr.ts";
import { parseControl, parseListen, parsePbxUri } from "../../src/config/endpoint.ts";
import { editDistance, nearest } from "../../src/config/nearest.ts";
import {
  formatDuration,
  formatRate,
  formatSize,
  parseDuration,
  parseLogOverride,
  parseRate,
  parseSize,
} from "../../src/config/values.ts";

/** The value, or null. */
function valueOf<T>(parsed: { ok: true; value: T } | { ok: false }): T | null {
  return parsed.ok ? parsed.value : null;
}

test.each([
  ["0", 0],
  ["0s", 0],
  ["1500ms", 1500],
  ["1.5s", 1500],
  ["30s", 30_000],
  ["2m", 120_000],
  ["1h", 3_600_000],
  ["30d", 2_592_000_000],
  ["30", null],
  ["", null],
  ["-1s", null],
  ["1h30m", null],
  ["1 s", null],
  ["1constructor", null],
  ["1e3s", null],
  ["999999999999999d", null],
])("O-02 duration %s is %p ms", (text, ms) => {
  expect(valueOf(parseDuration(text))).toBe(ms);
});

test.each([["512", 512], ["64k", 65_536], ["64K", 65_536], ["1m", 1_048_576], ["2g", 2_147_483_648], ["1.5k", 1536]])(
  "O-02 size %s is %p bytes",
  (text, bytes) => {
    expect(valueOf(parseSize(text))).toBe(bytes);
  },
);

test.each(["", "k", "-1", "64kb", "1.0001k", "1toString"])("O-02 size %p is refused", (text) => {
  expect(parseSize(text).ok).toBe(false);
});

test.each(["", "50", "50/", "/s", "0/s", "5/0s", "5/ms", "-1/s", "5/s/s"])("O-02 rate %p is refused", (text) => {
  expect(parseRate(text).ok).toBe(false);
});

test("O-02 durations, sizes and rates are written as they are read", () => {
  const number = fc.integer({ min: 0, max: 10 ** 12 });
  fc.assert(fc.property(number, (ms) => valueOf(parseDuration(formatDuration(ms))) === ms));
  fc.assert(fc.property(number, (bytes) => valueOf(parseSize(formatSize(bytes))) === bytes));
  const rate = fc.record({
    count: fc.integer({ min: 1, max: 10 ** 9 - 1 }),
    seconds: fc.integer({ min: 1, max: 99_999 }),
  });
  fc.assert(fc.property(rate, ({ count, seconds }) => {
    const given = { count, per_ms: seconds * 1000 };
    expect(valueOf(parseRate(formatRate(given)))).toEqual(given);
  }));
  expect([60_000, 120_000, 90_000, 3_600_000, 600_000].map(formatDuration)).toEqual([
    "60s",
    "120s",
    "90s",
    "1h",
    "10m",
  ]);
});

test.each([
  ["aor=a@b", "is not an override"],
  ["aor -> debug", "is not an override"],
  ["aor= -> debug", "is not an override"],
  ["aor=alice -> debug", '"alice" is no AoR'],
  ["usr=a -> debug", 'unknown field "usr"'],
  ["aor=a -> debgu", 'unknown level "debgu"'],
])("O-02 log override %p is refused", (text, message) => {
  const parsed = parseLogOverride(text);
  expect(parsed.ok ? "" : parsed.message).toContain(message);
});

test.each([
  ["10.0.0.0/8", "10.255.0.1", true],
  ["10.0.0.0/8", "11.0.0.1", false],
  ["10.0.0.0/8", "::ffff:10.1.2.3", true],
  ["10.0.0.0/8", "::ffff:0a01:0203", true],
  ["::ffff:10.0.0.0/104", "10.9.9.9", true],
  ["192.168.1.10", "192.168.1.10", true],
  ["192.168.1.10", "192.168.1.11", false],
  ["192.168.1.10/32", "192.168.1.10", true],
  ["192.168.1.77/24", "192.168.1.1", true],
  ["0.0.0.0/0", "203.0.113.1", true],
  ["0.0.0.0/0", "2001:db8::1", false],
  ["::/0", "2001:db8::1", true],
  ["::/0", "203.0.113.1", false],
  ["2001:db8::/33", "2001:db8:7fff::1", true],
  ["2001:db8::/33", "2001:db8:8000::1", false],
  ["2001:DB8::1", "2001:0db8:0:0:0:0:0:1", true],
  ["fe80::/10", "fe80::1%eth0", true],
  ["::1", "::1", true],
  ["128.0.0.0/1", "255.255.255.255", true],
  ["10.0.0.0/8", "example.org", false],
  ["10.0.0.0/8", "", false],
])("X-03 %s contains %s: %p", (network, address, isInside) => {
  expect(Cidr.parse(network)!.contains(address)).toBe(isInside);
  expect(containsAddress([Cidr.parse("203.0.113.77")!, Cidr.parse(network)!], address)).toBe(isInside);
});

test.each([
  "",
  "10.0.0",
  "10.0.0.0/33",
  "10.0.0.0/",
  "10.0.0.0/-1",
  "10.0.0.0/8/8",
  "256.1.1.1",
  "01.2.3.4",
  "::1/129",
  ":::",
  "1::2::3",
  "1:2:3:4:5:6:7",
  "1:2:3:4:5:6:7:8:9",
  "1:2:3:4:5:6:7::8",
  "12345::",
  "::1.2.3.4.5",
  "1.2.3.4::",
  "::ffff:10.0.0.0/90",
  "fe80::1%eth0",
  "[::1]",
  "example.org",
  "10.0.0.0 /8",
])("X-03 %p is no network", (text) => {
  expect(Cidr.parse(text)).toBeNull();
});

test("X-03 IPv6 written in full, shortened and with an IPv4 tail is one address", () => {
  const words = fc.array(fc.integer({ min: 0, max: 0xffff }), { minLength: 8, maxLength: 8 });
  fc.assert(fc.property(words, (groups) => {
    const full = groups.map((group) => group.toString(16).padStart(4, "0")).join(":");
    const canonical = new URL(`http://[${full}]/`).hostname.slice(1, -1);
    expect(parseAddress(canonical)).toEqual(parseAddress(full)!);
  }));
});

test.each([
  ["udp://0.0.0.0", "udp 0.0.0.0 5060 "],
  ["TCP://[::]:5070/", "tcp :: 5070 "],
  ["tls://127.0.0.1", "tls 127.0.0.1 5061 "],
  ["ws://127.0.0.1:8080/sip", "ws 127.0.0.1 8080 /sip"],
  ["wss://127.0.0.1", "wss 127.0.0.1 443 /"],
  ["udp://::1:5060", null],
  ["udp://[::1]x", null],
  ["udp://[::1", null],
  ["udp://127.0.0.1:", null],
  ["udp://127.0.0.1:65536", null],
  ["udp://127.0.0.1/sip", null],
  ["udp://", null],
  ["127.0.0.1:5060", null],
])("T-01 listener %s is %p", (text, expected) => {
  const entry = valueOf(parseListen(text));
  expect(entry === null ? null : `${entry.scheme} ${entry.host} ${entry.port} ${entry.path}`).toBe(expected);
});

test.each([
  ["sip:10.0.0.1", "udp 10.0.0.1 5060"],
  ["SIP:Pbx.Example.org:5080;transport=TCP;lr", "tcp pbx.example.org 5080"],
  ["sip:[2001:db8::1]:5060", "udp 2001:db8::1 5060"],
  ["sips:pbx.example.org", "tls pbx.example.org 5061"],
  ["sip:alice@10.0.0.1", null],
  ["sip:10.0.0.1:0", null],
  ["sip:10.0.0.1?a=b", null],
  ["sip:10.0.0.1;maddr=1.2.3.4", null],
  ["sip:", null],
  ["sip:10.0.0.999", null],
  ["<sip:10.0.0.1>", null],
])("F-07 PBX %s is %p", (text, expected) => {
  const uri = valueOf(parsePbxUri(text));
  expect(uri === null ? null : `${uri.transport} ${uri.host} ${uri.port}`).toBe(expected);
});

test.each(["https://127.0.0.1", "unix:run", `unix:/${"x".repeat(120)}`, "127.0.0.1:8060", "http://127.0.0.1:1/path"])(
  "X-04 control listener %s is refused",
  (text) => {
    expect(parseControl(text).ok).toBe(false);
  },
);

test("O-02 a suggestion is near, or there is none", () => {
  expect(editDistance("tpc", "tcp")).toBe(1);
  expect(editDistance("kitten", "sitting")).toBe(3);
  expect(nearest("min-expires", ["min_expires", "max_expires"])).toBe("min_expires");
  expect(nearest("zebra", ["window", "hedge"])).toBeNull();
  expect(nearest("x".repeat(1000), ["window"])).toBeNull();
});
