import { expect, test } from "bun:test";
import fc from "fast-check";
import { sourceOf } from "../../../src/core/guard/network.ts";
import { canonicalAddress } from "../../../src/io/transport/address.ts";

test.each([
  ["192.0.2.7", "192.0.2.7"],
  ["2001:db8::1", "2001:db8::/64"],
  ["2001:db8:0:7::1", "2001:db8:0:7::/64"],
  ["2001:db8:0:7:1:2:3:4", "2001:db8:0:7::/64"],
  ["1::4:5:6:7:8", "1:0:0:4::/64"],
  ["::1", "::/64"],
  ["::", "::/64"],
  ["::2:3:4:5:6:7:8", "0:2:3:4::/64"],
  ["64:ff9b::192.0.2.1", "64:ff9b::/64"],
])("X-02 the source of %s is %s", (address, source) => expect(sourceOf(address)).toBe(source));

test("X-02 property: addresses are one source exactly if their first 64 bits are the same", () => {
  const group = fc.oneof(fc.constant(0), fc.nat(0xffff));
  const groups = fc.array(group, { minLength: 8, maxLength: 8 });
  const spell = (words: number[]) => canonicalAddress(words.map((word) => word.toString(16)).join(":"))!;
  fc.assert(fc.property(groups, groups, (a, b) => {
    const mixed = [...a.slice(0, 4), ...b.slice(4)];
    // ::ffff:0:0/96 is IPv4 in other clothes.
    fc.pre([a, b, mixed].every((words) => spell(words).includes(":")));
    expect(sourceOf(spell(mixed))).toBe(sourceOf(spell(a)));
    const isSame = a.slice(0, 4).join() === b.slice(0, 4).join();
    expect(sourceOf(spell(a)) === sourceOf(spell(b))).toBe(isSame);
  }));
});
