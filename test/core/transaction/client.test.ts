import { describe, expect, test } from "bun:test";
import { type Flow } from "../../../src/core/sip/flow.ts";
import type { ClientState, ClientTransaction } from "../../../src/core/transaction/client.ts";
import { Owner, Rig, type TestFlow } from "./rig.ts";

interface Started {
  rig: Rig;
  flow: TestFlow;
  owner: Owner;
  branch: string;
  method: string;
  transaction: ClientTransaction;
}

function wireOf(method: string, branch: string): string {
  return `${method} sip:alice@10.0.0.1 SIP/2.0\r\nVia: SIP/2.0/UDP us:5060;branch=${branch}\r\nMax-Forwards: 70\r\n` +
    `From: <sip:us>;tag=f1\r\nTo: <sip:alice@us>\r\nCall-ID: c1\r\nCSeq: 7 ${method}\r\n\r\n`;
}

function start(method: string, transport: "udp" | "tcp" = "udp", statuses: number[] = [], rig = new Rig()): Started {
  const flow = rig.flow(transport);
  const owner = new Owner(rig);
  const branch = rig.table.newBranch();
  const transaction = rig.table.send(wireOf(method, branch), method, branch, flow, owner);
  for (const status of statuses) rig.respond(status, branch, method, flow);
  return { rig, flow, owner, branch, method, transaction };
}

describe("F-05 client transactions (RFC 3261 §17.1, RFC 6026 §7.2)", () => {
  const ways: Record<string, { method: string; statuses: number[] }> = {
    calling: { method: "INVITE", statuses: [] },
    proceeding: { method: "INVITE", statuses: [180] },
    accepted: { method: "INVITE", statuses: [200] },
    completed: { method: "INVITE", statuses: [486] },
    trying: { method: "OPTIONS", statuses: [] },
    "trying, heard 100": { method: "OPTIONS", statuses: [100] },
    finished: { method: "OPTIONS", statuses: [200] },
  };
  const table: [way: string, status: number, state: ClientState, isHeard: boolean, sent: string[]][] = [
    ["calling", 100, "proceeding", true, []],
    ["calling", 183, "proceeding", true, []],
    ["calling", 200, "accepted", true, []],
    ["calling", 300, "completed", true, ["ACK"]],
    ["calling", 699, "completed", true, ["ACK"]],
    ["proceeding", 180, "proceeding", true, []],
    ["proceeding", 299, "accepted", true, []],
    ["proceeding", 486, "completed", true, ["ACK"]],
    ["accepted", 180, "accepted", false, []],
    ["accepted", 200, "accepted", true, []],
    ["accepted", 202, "accepted", true, []],
    ["accepted", 300, "accepted", false, []],
    ["accepted", 486, "accepted", false, []],
    ["completed", 180, "completed", false, []],
    ["completed", 200, "completed", false, []],
    ["completed", 300, "completed", false, ["ACK"]],
    ["completed", 486, "completed", false, ["ACK"]],
    ["completed", 603, "completed", false, ["ACK"]],
    ["trying", 100, "proceeding", true, []],
    ["trying", 200, "completed", true, []],
    ["trying", 404, "completed", true, []],
    ["trying, heard 100", 183, "proceeding", true, []],
    ["trying, heard 100", 503, "completed", true, []],
    ["finished", 100, "completed", false, []],
    ["finished", 200, "completed", false, []],
    ["finished", 500, "completed", false, []],
  ];
  for (const [way, status, state, isHeard, sent] of table) {
    test(`${way} ─${status}→ ${state}, sends ${sent.join() || "nothing"}${isHeard ? "" : ", and is not heard"}`, () => {
      const { rig, flow, owner, branch, method, transaction } = start(ways[way]!.method, "udp", ways[way]!.statuses);
      rig.take();
      owner.heard.length = 0;
      const hadProvisional = transaction.hasProvisional;
      rig.respond(status, branch, method, flow);
      expect({ state: transaction.state, sent: rig.take(), heard: owner.heard })
        .toEqual({ state, sent, heard: isHeard ? [`${status} at 0`] : [] });
      expect(transaction.hasProvisional).toBe(hadProvisional || (isHeard && status < 200));
      // What waits out its time, or rings, is repeated no more.
      expect(rig.schedule.deadlines.size).toBe(["trying", "proceeding"].includes(state) && method !== "INVITE" ? 1 : 0);
      transaction.abandon();
      rig.settle();
      expect(transaction.state).toBe("terminated");
      expect(owner.heard.length).toBeLessThanOrEqual(1);
    });
  }

  test("over a connection a failed call and any other final response end it at once (timers D and K are 0)", () => {
    for (const [method, status, sent] of [["INVITE", 486, ["INVITE", "ACK"]], ["OPTIONS", 200, ["OPTIONS"]]] as const) {
      const { rig, owner, transaction } = start(method, "tcp", [status]);
      expect([transaction.state, rig.take(), owner.heard]).toEqual(["terminated", [...sent], [`${status} at 0`]]);
      expect(rig.settle()).toBe(0);
    }
  });

  test("the ACK answers the first final response, and goes again as it was", () => {
    const { rig, flow, branch } = start("INVITE", "udp", [486]);
    rig.respond(603, branch, "INVITE", flow);
    const acks = rig.sent.filter(({ what }) => what === "ACK").map(({ wire }) => wire);
    expect(acks.length).toBe(2);
    expect(acks[1]).toBe(acks[0]!);
    expect(acks[0]).toInclude("\r\nTo: <sip:alice@us>;tag=t486\r\n");
    expect(acks[0]).toInclude(`;branch=${branch}\r\n`);
  });
});

describe("F-05 client timers", () => {
  type Case = [
    name: string,
    method: string,
    transport: "udp" | "tcp",
    statuses: number[],
    repeats: number[],
    endMs: number,
    heard: string[],
  ];
  const cases: Case[] = [
    ["A doubles, B ends it", "INVITE", "udp", [], [500, 1500, 3500, 7500, 15500, 31500], 32000, ["timeout at 32000"]],
    ["no A over a connection, but B", "INVITE", "tcp", [], [], 32000, ["timeout at 32000"]],
    [
      "E doubles to T2, F ends it",
      "OPTIONS",
      "udp",
      [],
      [500, 1500, 3500, 7500, 11500, 15500, 19500, 23500, 27500, 31500],
      32000,
      ["timeout at 32000"],
    ],
    ["no E over a connection, but F", "OPTIONS", "tcp", [], [], 32000, ["timeout at 32000"]],
    [
      "E is T2 once a 1xx came, F stays",
      "OPTIONS",
      "udp",
      [100],
      [500, 4500, 8500, 12500, 16500, 20500, 24500, 28500],
      32000,
      ["100 at 0", "timeout at 32000"],
    ],
    ["D absorbs repeated failures for 64·T1", "INVITE", "udp", [486], [], 32000, ["486 at 0"]],
    ["K absorbs repeated answers for T4", "OPTIONS", "udp", [200], [], 5000, ["200 at 0"]],
    ["M lets further 2xx through for 64·T1", "INVITE", "udp", [200], [], 32000, ["200 at 0"]],
    ["M also over a connection", "INVITE", "tcp", [200], [], 32000, ["200 at 0"]],
  ];
  for (const [name, method, transport, statuses, repeats, endMs, heard] of cases) {
    test(name, () => {
      const { rig, owner, transaction } = start(method, transport);
      rig.take();
      for (const status of statuses) rig.respond(status, transaction.key, method, rig.flow());
      if (statuses.includes(486)) expect(rig.take()).toEqual(["ACK"]);
      rig.runTo(endMs - 1);
      expect(rig.takeTimes()).toEqual(repeats.map((atMs) => [atMs, method]));
      expect(transaction.state).not.toBe("terminated");
      rig.runTo(endMs);
      // An INVITE that Timer B ended listens on.
      const isLapsed = method === "INVITE" && statuses.length === 0;
      expect([transaction.state, owner.heard]).toEqual([isLapsed ? "calling" : "terminated", heard]);
      expect([rig.take(), rig.settle()]).toEqual([[], isLapsed ? 64_000 : endMs]);
      expect(owner.heard).toEqual(heard);
    });
  }

  test("nothing came before anything came", () => {
    expect(start("INVITE").transaction.hasProvisional).toBe(false);
  });

  test("a call that rings has no timer of its own: Timer C is the branch's", () => {
    for (const transport of ["udp", "tcp"] as const) {
      const { rig, transaction } = start("INVITE", transport, [180]);
      expect(rig.schedule.nextMs).toBe(Infinity);
      transaction.abandon();
      rig.settle();
    }
  });

  test("a 1xx after the first repetition stretches the next one, not the one under way", () => {
    const { rig, branch, flow } = start("OPTIONS");
    rig.runTo(600).respond(100, branch, "OPTIONS", flow);
    rig.runTo(6000);
    expect(rig.takeTimes().map(([atMs]) => atMs)).toEqual([0, 500, 1500, 5500]);
  });
});

describe("F-05 a flow that fails", () => {
  test("fails every request without final response at once, and no other", () => {
    const rig = new Rig();
    const flow = rig.flow("tcp");
    const other = rig.flow("tcp", 5071);
    const send = (method: string, over: Flow, statuses: number[]) => {
      const owner = new Owner(rig);
      const branch = rig.table.newBranch();
      const transaction = rig.table.send(wireOf(method, branch), method, branch, over, owner);
      for (const status of statuses) rig.respond(status, branch, method, over);
      return { owner, transaction };
    };
    const pending = [
      send("INVITE", flow, []),
      send("INVITE", flow, [180]),
      send("OPTIONS", flow, []),
      send("BYE", flow, [100]),
    ];
    const done = [send("INVITE", flow, [200]), send("OPTIONS", flow, [200]), send("INVITE", other, [])];
    const before = done.map(({ transaction }) => transaction.state);
    rig.runTo(100);
    flow.state = "closed";
    rig.table.flowClosed(flow);
    expect(pending.map(({ owner, transaction }) => [owner.heard.at(-1), transaction.state]))
      .toEqual(pending.map(() => ["transport at 100", "terminated"]));
    expect(done.map(({ transaction }) => transaction.state)).toEqual(before);
    expect(rig.table["byFlow"].has(flow)).toBe(false);
    rig.table.flowClosed(flow);
    for (const { transaction } of pending) expect(transaction.owner).toBeNull();
    for (const { owner } of pending) expect(owner.heard.filter((text) => text.startsWith("transport")).length).toBe(1);
    rig.settle();
  });

  test("fails a request it cannot take before send returns", () => {
    for (const transport of ["udp", "tcp"] as const) {
      const rig = new Rig();
      const flow = { ...rig.flow(transport), isDead: true };
      const owner = new Owner(rig);
      const transaction = rig.table.send(wireOf("INVITE", "z9hG4bKx"), "INVITE", "z9hG4bKx", flow, owner);
      expect([transaction.state, owner.heard]).toEqual(["terminated", ["transport at 0"]]);
      expect(rig.settle()).toBe(0);
    }
  });

  test("fails a repetition it cannot take", () => {
    const { rig, flow, owner } = start("INVITE");
    flow.isDead = true;
    rig.runTo(40000);
    expect(owner.heard).toEqual(["transport at 500"]);
    rig.settle();
  });

  test("a request sent in answer to a failure over the same flow fails too, and nothing stays behind", () => {
    const rig = new Rig();
    const flow = rig.flow("tcp");
    let failures = 0;
    const again = () => {
      const branch = rig.table.newBranch();
      rig.table.send(wireOf("OPTIONS", branch), "OPTIONS", branch, flow, {
        onResponse: () => {},
        onFailure: () => ++failures < 3 && again(),
      });
    };
    again();
    flow.state = "closed";
    rig.table.flowClosed(flow);
    expect(failures).toBe(3);
    expect(rig.settle()).toBe(0);
  });

  test("without an owner fails in silence", () => {
    const rig = new Rig();
    const flow = rig.flow("tcp");
    rig.table.send(wireOf("BYE", "z9hG4bKx"), "BYE", "z9hG4bKx", flow, null);
    rig.table.send(wireOf("BYE", "z9hG4bKy"), "BYE", "z9hG4bKy", flow, null);
    rig.respond(200, "z9hG4bKy", "BYE", flow);
    rig.table.flowClosed(flow);
    rig.settle();
  });
});

describe("W-11 a branch that lost before its phone was heard of", () => {
  test("is not repeated any more, but listened to for another 64·T1", () => {
    const { rig, owner, transaction } = start("INVITE");
    rig.runTo(10_000);
    transaction.quiet();
    rig.take();
    rig.runTo(41_999);
    expect([transaction.state, rig.take(), owner.heard]).toEqual(["calling", [], []]);
    rig.runTo(42_000);
    expect(owner.heard).toEqual(["timeout at 42000"]);
    rig.settle();
  });

  test("is heard when it says something after all", () => {
    for (const [status, state] of [[180, "proceeding"], [200, "accepted"], [486, "completed"]] as const) {
      const { rig, owner, transaction, branch, flow } = start("INVITE");
      transaction.quiet();
      rig.runTo(31_000).respond(status, branch, "INVITE", flow);
      expect([transaction.state, owner.heard]).toEqual([state, [`${status} at 31000`]]);
      transaction.abandon();
      rig.settle();
    }
  });

  test("also over a connection, and for what is no call", () => {
    for (const [method, transport] of [["INVITE", "tcp"], ["OPTIONS", "udp"], ["OPTIONS", "tcp"]] as const) {
      const { rig, owner, transaction } = start(method, transport);
      rig.runTo(400);
      transaction.quiet();
      rig.take();
      rig.runTo(60_000);
      expect([rig.take(), owner.heard]).toEqual([[], ["timeout at 32400"]]);
      rig.settle();
    }
  });

  test("has no deadline of ours where it rings already", () => {
    const { rig, transaction } = start("INVITE", "udp", [180]);
    transaction.quiet();
    expect(rig.schedule.nextMs).toBe(Infinity);
  });
});

describe("W-11 W-12 a call that Timer B ended is listened to for another 64·T1", () => {
  const lapsed = (transport: "udp" | "tcp" = "udp") => {
    const started = start("INVITE", transport);
    started.rig.runTo(32_000);
    started.rig.take();
    return started;
  };

  test("in silence, whatever its phone's registration says, and then forgotten without a word", () => {
    const { rig, owner, transaction } = lapsed();
    rig.runTo(40_000);
    transaction.nudge();
    rig.runTo(63_999);
    expect([transaction.state, rig.take()]).toEqual(["calling", []]);
    rig.runTo(64_000);
    expect([transaction.state, owner.heard]).toEqual(["terminated", ["timeout at 32000"]]);
  });

  test("so that a phone heard of late is dealt with", () => {
    for (
      const [status, state, sent] of [[180, "proceeding", []], [200, "accepted", []], [486, "completed", [
        "ACK",
      ]]] as const
    ) {
      const { rig, owner, transaction, branch, flow } = lapsed();
      rig.runTo(50_000).respond(status, branch, "INVITE", flow);
      expect([transaction.state, rig.take()]).toEqual([state, [...sent]]);
      expect(owner.heard).toEqual(["timeout at 32000", `${status} at 50000`]);
      transaction.abandon();
      rig.settle();
    }
  });

  test("unless its connection closes, which is no second failure", () => {
    const { rig, owner, transaction, flow } = lapsed("tcp");
    rig.table.flowClosed(flow);
    expect([transaction.state, owner.heard]).toEqual(["terminated", ["timeout at 32000"]]);
    expect(rig.settle()).toBe(32_000);
  });
});

describe("F-05 what is abandoned", () => {
  test("ends at once where no final response came, and is not heard of again", () => {
    for (const statuses of [[], [180]]) {
      const { rig, owner, transaction, branch, flow } = start("INVITE", "udp", statuses);
      owner.heard.length = 0;
      transaction.abandon();
      expect(transaction.state).toBe("terminated");
      rig.respond(200, branch, "INVITE", flow);
      expect([owner.heard, rig.told]).toEqual([[], ["stray 200"]]);
      expect(rig.settle()).toBe(0);
    }
  });

  test("goes on absorbing where one came", () => {
    for (const [status, state, sent] of [[200, "accepted", []], [486, "completed", ["ACK"]]] as const) {
      const { rig, owner, transaction, branch, flow } = start("INVITE", "udp", [status]);
      transaction.abandon();
      rig.take();
      rig.respond(status, branch, "INVITE", flow);
      expect([transaction.state, owner.heard, rig.take()]).toEqual([state, [`${status} at 0`], [...sent]]);
      expect(rig.settle()).toBe(32000);
    }
  });

  test("does nothing when its flow closes afterwards", () => {
    const { rig, owner, transaction } = start("INVITE");
    transaction.abandon();
    rig.take();
    transaction.onFlowClosed();
    expect([transaction.state, owner.heard, rig.take()]).toEqual(["terminated", [], []]);
  });
});

describe("W-04 a phone heard of while a request to it waits to be repeated", () => {
  test("gets it at once, and the intervals begin anew within Timer B", () => {
    const { rig, transaction, owner } = start("INVITE");
    rig.runTo(10_000);
    transaction.nudge();
    rig.runTo(40_000);
    expect(rig.takeTimes().map(([atMs]) => atMs))
      .toEqual([0, 500, 1500, 3500, 7500, 10_000, 10_500, 11_500, 13_500, 17_500, 25_500]);
    expect(owner.heard).toEqual(["timeout at 32000"]);
    rig.settle();
  });

  test("does not get it again within T1 of the last time", () => {
    const { rig, transaction } = start("INVITE");
    transaction.nudge();
    rig.runTo(499);
    transaction.nudge();
    rig.runTo(999);
    transaction.nudge();
    rig.runTo(1000);
    transaction.nudge();
    transaction.nudge();
    expect(rig.takeTimes().map(([atMs]) => atMs)).toEqual([0, 500, 1000]);
    rig.settle();
  });

  test("P-02 another request, too", () => {
    const { rig, transaction } = start("INFO");
    rig.runTo(4000);
    transaction.nudge();
    rig.runTo(6000);
    expect(rig.takeTimes().map(([atMs]) => atMs)).toEqual([0, 500, 1500, 3500, 4000, 4500, 5500]);
    rig.settle();
  });

  test("near the end Timer B stays", () => {
    const { rig, transaction, owner } = start("INVITE");
    rig.runTo(31_400);
    transaction.nudge();
    rig.runTo(31_950);
    transaction.nudge();
    rig.settle();
    expect(owner.heard).toEqual(["timeout at 32000"]);
  });

  test("fails with its flow", () => {
    const { rig, transaction, owner, flow } = start("INVITE");
    rig.runTo(1100);
    flow.isDead = true;
    transaction.nudge();
    expect(owner.heard).toEqual(["transport at 1100"]);
    rig.settle();
  });

  test("gets nothing where nothing is to be repeated", () => {
    const quiet = start("INVITE");
    quiet.transaction.quiet();
    for (
      const started of [
        start("INVITE", "tcp"),
        start("INVITE", "udp", [180]),
        start("INVITE", "udp", [486]),
        start("INFO", "udp", [100]),
        start("INFO", "udp", [200]),
        quiet,
      ]
    ) {
      started.rig.clock.nowMs += 450 + 100;
      started.rig.take();
      started.transaction.nudge();
      expect(started.rig.take()).toEqual([]);
    }
  });
});
