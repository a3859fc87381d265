/** what strangers are told when there is no room for them, and who is not asked to wait. */
import { expect, test } from "bun:test";
import { headers, register, Rig, statusLine } from "./rig.ts";

function busyRig(): Rig {
  const rig = new Rig();
  rig.core.table.limits = { transactions: 1000, strangersInFlight: 2 };
  for (let i = 0; i < 2; i++) {
    const phone = rig.phone(`192.0.2.${10 + i}`);
    rig.core.receive(phone, register(phone, { user: `u${i}` }), false, true);
  }
  expect(rig.take(rig.pbx)).toHaveLength(2);
  return rig;
}

test("X-06 one too many of strangers gets 503 with Retry-After, without a transaction and without the PBX", () => {
  const rig = busyRig();
  const before = rig.core.table.serverCount;
  const waits = Array.from({ length: 40 }, (_, i) => {
    const phone = rig.phone(`192.0.2.${50 + i}`);
    rig.core.receive(phone, register(phone, { user: `v${i}` }), false, true);
    const reply = rig.one(phone);
    expect(statusLine(reply)).toBe("SIP/2.0 503 Busy");
    return Number(headers(reply, "Retry-After")[0]);
  });
  expect([Math.min(...waits), Math.max(...waits)]).toEqual([10, 29]);
  expect(rig.take(rig.pbx)).toEqual([]);
  expect(rig.core.table.serverCount).toBe(before);
  expect(rig.counts.get("rejected_total{busy}")).toBe(40);
});

test("X-06 a phone that we know is forwarded all the same", () => {
  const rig = busyRig();
  const phone = rig.phone("192.0.2.99");
  rig.core.receive(phone, register(phone, { user: "alice" }), false, false);
  expect(rig.take(rig.pbx)).toHaveLength(1);
});

test("X-06 who found no time is told so if it asked something, and nothing else is answered", () => {
  const rig = new Rig();
  const phone = rig.phone("192.0.2.7", 5060, "tcp");
  rig.core.busy(phone, register(phone));
  expect(statusLine(rig.one(phone))).toBe("SIP/2.0 503 Busy");
  for (const wire of ["SIP/2.0 200 OK\r\n\r\n", "x", register(phone).replaceAll("REGISTER", "ACK")]) {
    rig.core.busy(phone, wire);
  }
  expect(rig.take(phone)).toEqual([]);
});
