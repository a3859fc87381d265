import { expect, test } from "bun:test";
import { bareHost, hostPort, isLoopback, splitHostPort, uriHost } from "../../../src/core/sip/host.ts";

test("F-02 hosts lose their brackets, and their port where there is one", () => {
  expect(["[::1]", "a.example", "192.0.2.1"].map(bareHost)).toEqual(["::1", "a.example", "192.0.2.1"]);
  expect(["A.Example", "a:5060", "[2001:DB8::1]", "[::1]:5061", "192.0.2.1:1"].map(splitHostPort)).toEqual([
    ["a.example", 0],
    ["a", 5060],
    ["2001:db8::1", 0],
    ["::1", 5061],
    ["192.0.2.1", 1],
  ]);
});

test("F-02 an address gets brackets exactly if it is IPv6", () => {
  expect(["::1", "192.0.2.1", "a.example"].map(uriHost)).toEqual(["[::1]", "192.0.2.1", "a.example"]);
  expect([hostPort("2001:db8::7", 5061), hostPort("192.0.2.1", 5060)]).toEqual([
    "[2001:db8::7]:5061",
    "192.0.2.1:5060",
  ]);
});

test("X-04 loopback is 127/8 and ::1, also mapped", () => {
  const loopback = ["127.0.0.1", "127.9.9.9", "::1", "[::1]", "0:0::0:1", "::ffff:127.0.0.1", "::ffff:7f00:1"];
  expect(loopback.filter((address) => !isLoopback(address))).toEqual([]);
  const others = [
    "",
    "0.0.0.0",
    "::",
    "128.0.0.1",
    "localhost",
    "127.evil.example",
    "127.0.0.1.example",
    "::2",
    "::1:1",
  ];
  expect(others.filter(isLoopback)).toEqual([]);
});
