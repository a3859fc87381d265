import { expect, test } from "bun:test";
import { eventStream } from "../../src/control/events.ts";
import type { ApplianceEvent } from "../../src/core/port.ts";

test("X-06 a follower that does not read loses the oldest events and is told how many", async () => {
  let listener: ((event: ApplianceEvent) => void) | null = null;
  const stream = eventStream((added) => {
    listener = added;
    return () => listener = null;
  });
  const reader = stream.getReader();
  const read = async () => new TextDecoder().decode((await reader.read()).value);
  expect(await read()).toBe(": following\n\n");
  listener!({ type: "first" });
  expect(await read()).toContain("first");
  for (let i = 0; i < 1000; i++) listener!({ type: "flood", i });
  let text = "";
  while (!text.includes('"i":999')) text += await read();
  const lost = Number(/event: lost\ndata: \{"count":(\d+)\}/.exec(text)![1]);
  expect(text.split("event: flood").length - 1 + lost).toBe(1000);
  expect(lost).toBeGreaterThan(700);
  await reader.cancel();
  expect(listener).toBeNull();
});

test("a line feed in an event cannot make another one", async () => {
  let listener: ((event: ApplianceEvent) => void) | null = null;
  const stream = eventStream((added) => {
    listener = added;
    return () => {};
  });
  const reader = stream.getReader();
  await reader.read();
  listener!({ type: "a\n\nevent: fake", text: "b\n\nevent: fake" });
  const text = new TextDecoder().decode((await reader.read()).value);
  expect(text.split("\n\n").length).toBe(2);
  await reader.cancel();
});
