/** What makes a push service ill in the eyes of an admin, and what is one phone's own affair. */
import { expect, test } from "bun:test";
import { type AttemptAnswer, retry } from "../../../src/io/push/backend.ts";
import { Health, MAX_HEALTH_HOSTS } from "../../../src/io/push/health.ts";

type Word = "ok" | "dead" | "refused" | "unasked" | "down" | "config" | "suspect";

function answer(word: Word): AttemptAnswer {
  const plain = { status: 403, reason: word, retryAfterMs: -1, isOurFault: false };
  switch (word) {
    case "ok":
      return { ...plain, kind: "accepted", status: 201 };
    case "dead":
      return { ...plain, kind: "dead", status: 410 };
    case "refused":
      return { ...plain, kind: "refused" };
    case "unasked":
      return { ...plain, kind: "refused", status: 0 };
    case "down":
      return retry("down");
    case "config":
      return { ...plain, kind: "refused", isOurFault: true };
    case "suspect":
      return { ...plain, kind: "refused", isOurFault: true, isPerhapsThePhones: true };
  }
}

/** Each word: host, device, what was said. */
type Said = [host: string, device: string, word: Word];

test.each<[string, Said[], boolean, string[]]>([
  ["nothing was said", [], false, []],
  ["the last word of the one host counts", [["a", "1", "ok"], ["a", "1", "down"]], true, ["a"]],
  ["it recovers with the next good word", [["a", "1", "down"], ["a", "2", "dead"]], false, []],
  ["a fault of ours is one, whoever hears it", [["a", "1", "ok"], ["a", "2", "config"]], true, ["a"]],
  ["one phone with another key is its own affair", [["a", "1", "ok"], ["a", "2", "suspect"]], false, []],
  ["however often it is called", [["a", "1", "ok"], ["a", "2", "suspect"], ["a", "2", "suspect"]], false, []],
  ["two phones are no accident", [["a", "1", "ok"], ["a", "2", "suspect"], ["a", "3", "suspect"]], true, ["a"]],
  [
    "unless somebody was served between",
    [["a", "1", "ok"], ["a", "2", "suspect"], ["a", "1", "ok"], [
      "a",
      "3",
      "suspect",
    ]],
    false,
    [],
  ],
  ["the only phone there is", [["a", "1", "ok"], ["a", "1", "suspect"]], true, ["a"]],
  ["nobody was ever served", [["a", "1", "suspect"]], true, ["a"]],
  ["a strange service that one phone named", [["a", "1", "ok"], ["b", "2", "down"]], false, ["b"]],
  ["a service that fails several", [["a", "1", "ok"], ["b", "2", "down"], ["b", "3", "down"]], true, ["b"]],
  ["no service is well", [["a", "1", "down"], ["b", "2", "down"]], true, ["b", "a"]],
  ["what was refused here says nothing of the host", [["a", "1", "down"], ["a", "2", "unasked"]], true, ["a"]],
  ["what the host refuses is a word of its own", [["a", "1", "down"], ["a", "2", "refused"]], false, []],
])("P-04 health: %s", (_name, said, isFailing, failing) => {
  const health = new Health();
  for (const [host, device, word] of said) health.note(host, device, answer(word));
  expect(health.isFailing).toBe(isFailing);
  expect(health.hosts().filter(({ state }) => state === "failing").map(({ host }) => host)).toEqual(failing);
});

test("P-04 health: hosts are bounded, and tell why they fail", () => {
  const health = new Health();
  for (let i = 0; i <= MAX_HEALTH_HOSTS; i++) health.note(`https://${i}`, String(i), answer("ok"));
  health.note("https://1", "1", answer("down"));
  const hosts = health.hosts();
  expect(hosts).toHaveLength(MAX_HEALTH_HOSTS);
  expect(hosts.at(0)).toEqual({ host: "https://1", state: "failing", last_reason: "down" });
  expect(hosts.at(-1)).toEqual({ host: "https://2", state: "healthy", last_reason: "" });
});
