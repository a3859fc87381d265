import { expect, test } from "bun:test";
import { freshPath, open } from "./usrloc_sample.ts";

const CHILD = new URL("./crash_child.ts", import.meta.url).pathname;

/** Lets the child work until it has acknowledged `turns`, kills it with no warning, gives the last turn acknowledged. */
async function workUntilKilled(path: string, first: number, turns: number): Promise<number> {
  const child = Bun.spawn([process.execPath, CHILD, path, String(first)], { stdout: "pipe", stderr: "inherit" });
  let text = "";
  let isKilled = false;
  const decoder = new TextDecoder();
  for await (const chunk of child.stdout) {
    text += decoder.decode(chunk);
    if (!isKilled && text.split("\n").length > turns) {
      child.kill("SIGKILL");
      isKilled = true;
    }
  }
  await child.exited;
  expect(child.signalCode).toBe("SIGKILL");
  return Number(text.slice(0, text.lastIndexOf("\n")).split("\n").at(-1));
}

test(
  "S-01 kill -9 at any moment loses nothing that was acknowledged, and a turn is there whole or not at all",
  async () => {
    const path = freshPath();
    let next = 1;
    for (const turns of [1, 2, 3, 40, 137, 5, 300]) {
      const acknowledged = await workUntilKilled(path, next, turns);
      const store = open(path);
      const { contacts, htableItems, problem } = store.load(0);
      expect(problem).toBe("");
      const cseqs = new Map(contacts.map((contact) => [contact.id, contact.cseq]));
      // The turn after the last one acknowledged may have been committed and not reported.
      const last = Math.max(...cseqs.values());
      expect([acknowledged, acknowledged + 1]).toContain(last);
      const expected = new Map<string, number>();
      for (let turn = 1; turn <= last; turn++) {
        expected.set(`fixed${turn % 7}`, turn).set(`both${turn % 3}`, turn).set(`new${turn}`, turn);
        if (turn % 2 === 0) expected.delete(`new${turn - 1}`);
      }
      expect(Object.fromEntries([...cseqs].sort())).toEqual(Object.fromEntries([...expected].sort()));
      const bans = htableItems.map((item) => Number(item.value)).sort((a, b) => a - b);
      expect(bans).toEqual(Array.from({ length: Math.min(5, last) }, (_, i) => Math.max(0, last - 5) + i + 1));
      store.close();
      next = last + 1;
    }
  },
  60_000,
);
