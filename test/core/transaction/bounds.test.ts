/** how many transactions there are, whoever sends what. */
import { describe, expect, test } from "bun:test";
import { parseMessage } from "../../../src/core/sip/message.ts";
import { requestText, Rig } from "./rig.ts";

class Bounded extends Rig {
  private asks = 0;

  constructor(transactions: number, strangersInFlight: number) {
    super();
    this.table.limits = { transactions, strangersInFlight };
  }

  /** A new request. @returns whether there was room for it */
  ask(who: "stranger" | "known", method = "REGISTER"): boolean {
    const raw = requestText(method, { branch: `z9hG4bK${++this.asks}` });
    return this.table.receiveRequest(parseMessage(raw), this.flow(), this, who === "stranger");
  }
}

describe("X-06 strangers' requests that wait for an answer", () => {
  test("are as many as the limit says, and the PBX's and the phones' come in all the same", () => {
    const rig = new Bounded(1000, 3);
    expect([1, 2, 3, 4].map(() => rig.ask("stranger"))).toEqual([true, true, true, false]);
    expect([1, 2, 3, 4].map(() => rig.ask("known"))).toEqual([true, true, true, true]);
    expect([rig.table.strangersInFlight, rig.requests.length]).toEqual([3, 7]);
  });

  test("make room with their final response, once, and not with a provisional one", () => {
    const rig = new Bounded(1000, 1);
    rig.ask("stranger");
    rig.requests[0]!.respond(100);
    expect(rig.ask("stranger")).toBe(false);
    rig.requests[0]!.respond(403);
    expect(rig.table.strangersInFlight).toBe(0);
    expect(rig.ask("stranger")).toBe(true);
    rig.requests[1]!.respondOnce(403);
    rig.settle();
    expect(rig.table.strangersInFlight).toBe(0);
  });

  test("one that comes again is absorbed, though there is no room", () => {
    const rig = new Bounded(1000, 1);
    const again = parseMessage(requestText("REGISTER", { branch: "z9hG4bKa" }));
    for (let i = 0; i < 3; i++) expect(rig.table.receiveRequest(again, rig.flow(), rig, true)).toBe(true);
    expect(rig.requests).toHaveLength(1);
  });
});

describe("X-01 limits.transactions", () => {
  test("beyond it those that only absorb repetitions end, oldest first, and nobody is refused", () => {
    const rig = new Bounded(160, 1000);
    let most = 0;
    for (let i = 0; i < 2000; i++) {
      expect(rig.ask("known")).toBe(true);
      rig.requests.at(-1)!.respond(200);
      most = Math.max(most, rig.table.serverCount);
    }
    expect(most).toBeLessThanOrEqual(160);
    expect(rig.requests.at(-1)!.state).toBe("completed");
    expect(rig.requests[0]!.state).toBe("terminated");
    rig.settle();
  });

  test("one that waits for an answer never ends early: then strangers find no room, and at twice as many nobody", () => {
    const rig = new Bounded(100, 1000);
    const room = (who: "stranger" | "known") => {
      let count = 0;
      while (count < 500 && rig.ask(who)) count++;
      return count;
    };
    expect([room("stranger"), room("known"), room("stranger")]).toEqual([100, 100, 0]);
    expect(rig.requests.every(({ isPending }) => isPending)).toBe(true);
    rig.requests[150]!.respond(200);
    expect([rig.ask("known"), rig.ask("known")]).toEqual([true, false]);
  });

  test("a CANCEL finds its INVITE even then", () => {
    const rig = new Bounded(1, 1);
    for (let i = 0; i < 2; i++) rig.ask("known");
    const cancel = requestText("CANCEL", { branch: "z9hG4bKx" });
    expect(rig.table.receiveRequest(parseMessage(cancel), rig.flow(), rig)).toBe(true);
  });
});
