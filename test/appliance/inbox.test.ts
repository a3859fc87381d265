import { expect, test } from "bun:test";
import { Inbox } from "../../src/appliance/inbox.ts";
import type { Flow } from "../../src/core/sip/flow.ts";

const flowOf = (isReliable: boolean): Flow => ({
  id: 1,
  transport: isReliable ? "tcp" : "udp",
  isReliable,
  listener: { transport: "udp", address: "192.0.2.1", port: 5060, advertised: "192.0.2.1:5060" },
  remoteAddress: "192.0.2.7",
  remotePort: 5060,
  state: "open",
  lastHeardMs: 0,
  key: "",
});
const udp = flowOf(false);

function world() {
  const handled: string[] = [];
  let dropped = 0;
  const inbox = new Inbox((_, text) => handled.push(text), () => dropped++);
  const offer = (turn: number, text: string, isStranger: boolean, flow = udp) => {
    if (inbox.admits(turn, flow, text, isStranger)) handled.push(text);
  };
  return { inbox, handled, offer, dropped: () => dropped };
}

test("X-06 a turn handles so many, and of strangers fewer; theirs are dropped, those of others wait in their order", () => {
  const { inbox, handled, offer, dropped } = world();
  for (let i = 0; i < 1000; i++) offer(1, `stranger ${i}`, true);
  expect([handled.length, dropped()]).toEqual([64, 936]);
  for (let i = 0; i < 1000; i++) offer(1, `phone ${i}`, false);
  expect([handled.length, inbox.waiting]).toEqual([256, 808]);
  for (let turn = 2; inbox.run(turn); turn++) offer(turn, `late ${turn}`, false);
  const phones = handled.filter((text) => text.startsWith("phone"));
  expect(phones).toEqual(Array.from({ length: 1000 }, (_, i) => `phone ${i}`));
  expect(handled.slice(-3)).toEqual(["late 2", "late 3", "late 4"]);
  expect([inbox.waiting, dropped()]).toEqual([0, 936]);
});

test("X-06 strangers come after what waits", () => {
  const { inbox, handled, offer } = world();
  for (let i = 0; i < 600; i++) offer(1, `phone ${i}`, false);
  expect(inbox.run(2)).toBe(true);
  offer(2, "stranger", true);
  expect(handled).not.toContain("stranger");
  expect(inbox.run(3)).toBe(false);
  offer(3, "stranger", true);
  expect(handled.at(-1)).toBe("stranger");
});

test("T-02 what a connection brings is never put off, as its end would overtake it", () => {
  const { inbox, handled, offer } = world();
  for (let i = 0; i < 300; i++) offer(1, `phone ${i}`, false);
  offer(1, "over tcp", false, flowOf(true));
  expect(handled.at(-1)).toBe("over tcp");
  expect(inbox.waiting).toBe(44);
});

test("X-06 what waits has a bound, in messages and in size", () => {
  const { inbox, offer, dropped } = world();
  for (let i = 0; i < 10_000; i++) offer(1, "x", false);
  expect([inbox.waiting, dropped()]).toEqual([8192, 10_000 - 256 - 8192]);
  const large = world();
  for (let i = 0; i < 1000; i++) large.offer(1, "x".repeat(60_000), false);
  expect(large.inbox.waiting).toBe(Math.floor(16 * 1024 * 1024 / 60_000));
});
