import { expect, test } from "bun:test";
import { bareHost, splitHostPort } from "../../../src/core/sip/host.ts";

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
