import { describe, expect, test } from "bun:test";
import type { ServerState, ServerTransaction } from "../../../src/core/transaction/server.ts";
import { requestText, Rig, type TestFlow } from "./rig.ts";

/** How each state is reached: the responses sent, and whether an ACK came. */
const WAYS: Record<string, { method: string; statuses: number[]; isAcked?: boolean; state: ServerState }> = {
  "new": { method: "INVITE", statuses: [], state: "proceeding" },
  "proceeding": { method: "INVITE", statuses: [100, 180], state: "proceeding" },
  "accepted": { method: "INVITE", statuses: [180, 200], state: "accepted" },
  "completed": { method: "INVITE", statuses: [180, 486], state: "completed" },
  "confirmed": { method: "INVITE", statuses: [486], isAcked: true, state: "confirmed" },
  "trying": { method: "OPTIONS", statuses: [], state: "trying" },
  "trying, answered 100": { method: "OPTIONS", statuses: [100], state: "proceeding" },
  "finished": { method: "OPTIONS", statuses: [200], state: "completed" },
};

interface Reached {
  rig: Rig;
  flow: TestFlow;
  transaction: ServerTransaction;
  method: string;
}

function reach(way: string, transport: "udp" | "tcp" = "udp"): Reached {
  const { method, statuses, isAcked = false } = WAYS[way]!;
  const rig = new Rig();
  const flow = rig.flow(transport);
  const transaction = rig.receive(requestText(method), flow)!;
  for (const status of statuses) transaction.respond(status);
  if (isAcked) rig.receive(requestText("ACK", { toTag: "t" }), flow);
  rig.take();
  rig.told.length = 0;
  return { rig, flow, transaction, method };
}

function give(input: string, { rig, flow, transaction, method }: Reached): void {
  if (input === "again") rig.receive(requestText(method), flow);
  else if (input === "ACK") rig.receive(requestText("ACK", { toTag: "t" }), flow);
  else transaction.respond(Number(input));
}

describe("F-05 server transactions (RFC 3261 §17.2, RFC 6026 §7.1)", () => {
  const table: [way: string, input: string, state: ServerState, sent: string[], told?: string[]][] = [
    ["new", "again", "proceeding", []],
    ["new", "100", "proceeding", ["100"]],
    ["new", "180", "proceeding", ["180"]],
    ["new", "200", "accepted", ["200"]],
    ["new", "300", "completed", ["300"]],
    ["new", "699", "completed", ["699"]],
    ["new", "ACK", "proceeding", [], ["ack"]],
    ["proceeding", "again", "proceeding", ["180"]],
    ["proceeding", "183", "proceeding", ["183"]],
    ["proceeding", "200", "accepted", ["200"]],
    ["proceeding", "486", "completed", ["486"]],
    ["accepted", "again", "accepted", []],
    ["accepted", "180", "accepted", []],
    ["accepted", "200", "accepted", []],
    ["accepted", "486", "accepted", []],
    ["accepted", "ACK", "accepted", [], ["ack"]],
    ["completed", "again", "completed", ["486"]],
    ["completed", "180", "completed", []],
    ["completed", "200", "completed", []],
    ["completed", "500", "completed", []],
    ["completed", "ACK", "confirmed", []],
    ["confirmed", "again", "confirmed", []],
    ["confirmed", "200", "confirmed", []],
    ["confirmed", "ACK", "confirmed", []],
    ["trying", "again", "trying", []],
    ["trying", "100", "proceeding", ["100"]],
    ["trying", "200", "completed", ["200"]],
    ["trying", "404", "completed", ["404"]],
    ["trying, answered 100", "again", "proceeding", ["100"]],
    ["trying, answered 100", "503", "completed", ["503"]],
    ["finished", "again", "completed", ["200"]],
    ["finished", "100", "completed", []],
    ["finished", "486", "completed", []],
  ];
  for (const [way, input, state, sent, told = []] of table) {
    test(`${way} ─${input}→ ${state}, sends ${sent.join() || "nothing"}`, () => {
      const reached = reach(way);
      const { transaction, rig } = reached;
      expect(transaction.state).toBe(WAYS[way]!.state);
      const before = { status: transaction.status, dueMs: transaction.dueMs, toTag: transaction.toTag };
      give(input, reached);
      expect({ state: transaction.state, sent: rig.take(), told: rig.told }).toEqual({ state, sent, told });
      // What is no move leaves everything as it was.
      if (sent.length === 0 && input !== "ACK") {
        expect({ status: transaction.status, dueMs: transaction.dueMs, toTag: transaction.toTag }).toEqual(before);
      }
      transaction.respond(500);
      rig.settle();
      expect(transaction.state).toBe("terminated");
    });
  }

  test("over a connection nothing lingers that only absorbs repetitions (timers I and J are 0)", () => {
    expect(reach("finished", "tcp").transaction.state).toBe("terminated");
    const { transaction, rig, flow } = reach("completed", "tcp");
    rig.receive(requestText("ACK"), flow);
    expect(transaction.state).toBe("terminated");
    expect(rig.settle()).toBe(0);
  });

  test("what ended answers nothing, and the same request makes a new transaction", () => {
    const { transaction, rig, flow } = reach("finished");
    rig.settle();
    transaction.respond(500);
    transaction.relay(200, "SIP/2.0 200 OK\r\n\r\n");
    transaction.onRetransmission();
    transaction.onAck();
    expect(rig.take()).toEqual([]);
    expect(rig.receive(requestText("OPTIONS"), flow)).not.toBe(transaction);
  });
});

describe("F-05 server timers", () => {
  const cases: [name: string, way: string, transport: "udp" | "tcp", repeats: number[], endMs: number][] = [
    [
      "G doubles to T2, H ends it",
      "completed",
      "udp",
      [500, 1500, 3500, 7500, 11500, 15500, 19500, 23500, 27500, 31500],
      32000,
    ],
    ["no G over a connection, but H", "completed", "tcp", [], 32000],
    ["I absorbs ACKs for T4", "confirmed", "udp", [], 5000],
    ["J absorbs repetitions for 64·T1", "finished", "udp", [], 32000],
    ["L keeps the way open for 2xx for 64·T1", "accepted", "udp", [], 32000],
    ["L also over a connection", "accepted", "tcp", [], 32000],
  ];
  for (const [name, way, transport, repeats, endMs] of cases) {
    test(name, () => {
      const { rig, transaction } = reach(way, transport);
      rig.runTo(endMs - 1);
      expect(rig.takeTimes()).toEqual(repeats.map((atMs) => [atMs, "486"]));
      expect(transaction.state).toBe(WAYS[way]!.state);
      rig.runTo(endMs);
      expect(transaction.state).toBe("terminated");
      expect([rig.take(), rig.settle()]).toEqual([[], endMs]);
    });
  }

  test("no timer of an INVITE runs while the owner thinks", () => {
    for (const way of ["new", "proceeding"]) expect(reach(way).rig.schedule.nextMs).toBe(Infinity);
  });

  for (const transport of ["udp", "tcp"] as const) {
    test(`F-01 ${transport}: what is no INVITE gets one 100 after 3.5 s without an answer (RFC 4320 §4.1)`, () => {
      const { rig, flow, transaction } = reach("trying", transport);
      rig.runTo(30_000);
      expect(rig.takeTimes()).toEqual([[3500, "100"]]);
      rig.receive(requestText("OPTIONS"), flow);
      expect(rig.take()).toEqual(["100"]);
      transaction.respond(200);
      expect(rig.settle()).toBe(transport === "udp" ? 62_000 : 30_000);
      expect(rig.take()).toEqual(["200"]);
    });

    test(`F-01 ${transport}: an answer that is late is asked for after 28 s`, () => {
      const { rig, transaction } = reach("trying", transport);
      const late: number[] = [];
      transaction.owner = { onCancel() {}, onLate: () => late.push(rig.nowMs) };
      rig.runTo(60_000);
      expect([late, rig.schedule.deadlines.size]).toEqual([[28_000], 0]);
    });

    test(`F-01 ${transport}: no 100 goes behind an answer, nor is anything left of its timer`, () => {
      for (const answer of ["respond", "respondOnce"] as const) {
        const { rig, transaction } = reach("trying", transport);
        rig.runTo(3499);
        transaction[answer](480);
        expect(rig.schedule.deadlines.size).toBe(0);
        rig.settle();
        expect(rig.take()).toEqual(["480"]);
      }
    });
  }

  test("F-01 nobody whose connection is gone is dialled for a 100", () => {
    const { rig, flow, transaction } = reach("trying", "tcp");
    flow.state = "closed";
    rig.runTo(10_000);
    expect([rig.asked, rig.take()]).toEqual([[], []]);
    rig.reachable = rig.flow("tcp", 5071);
    transaction.respond(200);
    expect(rig.take()).toEqual(["200"]);
    rig.settle();
  });

  test("an ACK stops G and H at once", () => {
    const { rig, flow, transaction } = reach("completed");
    rig.runTo(700).receive(requestText("ACK"), flow);
    expect(transaction.state).toBe("confirmed");
    expect([rig.takeTimes(), rig.schedule.deadlines.size]).toEqual([[[500, "486"]], 0]);
    rig.runTo(3000).receive(requestText("ACK"), flow);
    expect(rig.settle()).toBe(5700);
    expect(rig.take()).toEqual([]);
  });

  test("late timers are not made up for", () => {
    const { rig } = reach("completed");
    rig.clock.nowMs += 3000;
    rig.schedule.run();
    expect(rig.sent.map(({ isDurable }) => isDurable)).toEqual([false]);
    expect(rig.takeTimes()).toEqual([[3000, "486"]]);
    rig.runTo(4000);
    expect(rig.takeTimes()).toEqual([[4000, "486"]]);
  });
});

describe("F-01 responses of a server transaction", () => {
  test("all carry the same To tag, 100 none; the Via says where the request came from", () => {
    const rig = new Rig();
    const transaction = rig.receive(requestText("INVITE", { sentBy: "10.0.0.1", viaParams: ";rport" }), rig.flow())!;
    transaction.respond(100);
    expect(transaction.toTag).toBe("");
    for (const status of [101, 486]) transaction.respond(status);
    expect(transaction.toTag.length).toBe(10);
    const lines = rig.sent.map(({ wire }) => wire.split("\r\n"));
    expect(lines.map((of) => of.find((line) => line.startsWith("To:")))).toEqual([
      "To: <sip:alice@us>",
      `To: <sip:alice@us>;tag=${transaction.toTag}`,
      `To: <sip:alice@us>;tag=${transaction.toTag}`,
    ]);
    expect(new Set(lines.map((of) => of[1]))).toEqual(
      new Set(["Via: SIP/2.0/UDP 10.0.0.1;branch=z9hG4bKa;rport=5070;received=192.0.2.1"]),
    );
    expect(lines.map((of) => of[0])).toEqual(["SIP/2.0 100 Trying", "SIP/2.0 101 Trying", "SIP/2.0 486 Busy Here"]);
  });

  test("carry words and lines of their owner", () => {
    const { rig, transaction } = reach("trying");
    transaction.respond(503, "Shutting down", "Retry-After: 10\r\n");
    expect(rig.sent[0]!.wire).toStartWith("SIP/2.0 503 Shutting down\r\n");
    expect(rig.sent[0]!.wire).toInclude("\r\nRetry-After: 10\r\n");
  });

  test("S-01 wait for the commit where they promise something, and only then", () => {
    const { rig, transaction } = reach("trying");
    transaction.respond(100);
    transaction.respond(200, "", "", true);
    transaction.onRetransmission();
    expect(rig.sent.map(({ what, isDurable }) => [what, isDurable])).toEqual([["100", false], ["200", true], [
      "200",
      false,
    ]]);
    const call = reach("new");
    call.transaction.relay(183, "SIP/2.0 183 Words\r\n\r\n");
    call.transaction.relay(200, "SIP/2.0 200 OK\r\n\r\n", true);
    call.transaction.relay(200, "SIP/2.0 200 OK\r\n\r\n", true);
    expect(call.rig.sent.map(({ isDurable }) => isDurable)).toEqual([false, true, true]);
  });

  test("of a branch pass as they are built; a 2xx again and another one too, after it nothing else", () => {
    const { rig, transaction } = reach("new");
    const wire = (status: number) => `SIP/2.0 ${status} \xe4\r\nX: ${status}\r\n\r\n`;
    for (const status of [183, 200, 202, 180, 299, 487, 300]) transaction.relay(status, wire(status));
    expect(rig.sent.map((sent) => sent.wire)).toEqual([183, 200, 202, 299].map(wire));
    expect(transaction).toMatchObject({ state: "accepted", status: 200, isPending: false });
  });

  test("a further 2xx to anything but INVITE does not pass", () => {
    const { rig, transaction } = reach("finished");
    transaction.relay(200, "SIP/2.0 200 OK\r\n\r\n");
    expect(rig.take()).toEqual([]);
  });

  test("once and forgotten: the same answer to the same request, and nothing is kept or repeated", () => {
    const rig = new Rig();
    const flow = rig.flow();
    for (const method of ["INVITE", "OPTIONS", "INVITE"]) {
      const transaction = rig.receive(requestText(method), flow)!;
      transaction.respondOnce(403, method === "OPTIONS" ? "Go away" : "", "X: y\r\n");
      expect(transaction).toMatchObject({ state: "terminated", status: 403 });
      transaction.respondOnce(500);
    }
    const wires = rig.sent.map(({ wire }) => wire);
    expect(rig.sent.map(({ isDurable }) => isDurable)).toEqual([false, false, false]);
    expect(wires[2]).toBe(wires[0]!);
    expect(wires[0]).toMatch(/^SIP\/2.0 403 Forbidden\r\n[^]*;tag=s[0-9a-z]+\r\n[^]*\r\nX: y\r\n/);
    expect(wires[1]).toStartWith("SIP/2.0 403 Go away\r\n");
    rig.receive(requestText("INVITE", { callId: "c2" }), flow)!.respondOnce(403);
    expect(rig.sent[3]!.wire.match(/;tag=s\w+/)![0]).not.toBe(wires[0]!.match(/;tag=s\w+/)![0]);
    rig.receive(requestText("ACK"), flow);
    expect(rig.told.at(-1)).toBe("ack");
    expect(rig.settle()).toBe(0);
  });

  test("the request is let go when its answer is out, the call's when it is acknowledged", () => {
    expect(reach("finished").transaction.request).toBeUndefined();
    const owner = { onCancel: () => {} };
    for (const [way, end] of [["completed", "ACK"], ["trying", "200"]] as const) {
      const reached = reach(way);
      reached.transaction.owner = owner;
      give(end, reached);
      expect(reached.transaction.owner).toBeNull();
    }
    const { transaction, rig } = reach("accepted");
    transaction.owner = owner;
    rig.settle();
    expect(transaction.owner).toBeNull();
  });
});

describe("T-03 where responses go (RFC 3261 §18.2.2, RFC 3581)", () => {
  const answer = (rig: Rig, flow: TestFlow, parts: Parameters<typeof requestText>[1]) => {
    rig.receive(requestText("OPTIONS", parts), flow)!.respond(200);
    return rig.sent.map((sent) => sent.flow);
  };

  test("over UDP with rport to where the request came from", () => {
    const rig = new Rig();
    const flow = rig.flow("udp", 40000);
    expect(answer(rig, flow, { viaParams: ";rport" })).toEqual([flow]);
    expect(rig.asked).toEqual([]);
  });

  test("over UDP without rport to the port of sent-by, out of the socket it came to", () => {
    for (const [sentBy, port] of [["10.0.0.1:5070", 5070], ["10.0.0.1", 5060]] as const) {
      const rig = new Rig();
      const flow = rig.flow("udp", 40000);
      rig.reachable = rig.flow("udp", port);
      expect(answer(rig, flow, { sentBy })).toEqual([rig.reachable]);
      expect(rig.asked).toEqual([["udp", "192.0.2.1", port, flow.listener]]);
    }
  });

  test("over UDP without rport, but from that very port, over its flow", () => {
    for (const [sentBy, port] of [["192.0.2.1:5070", 5070], ["192.0.2.1", 5060]] as const) {
      const rig = new Rig();
      const flow = rig.flow("udp", port);
      expect(answer(rig, flow, { sentBy })).toEqual([flow]);
      expect(rig.asked).toEqual([]);
    }
  });

  test("over UDP over its flow where no other can be made", () => {
    const rig = new Rig();
    const flow = rig.flow("udp", 40000);
    expect(answer(rig, flow, {})).toEqual([flow]);
  });

  test("over the connection while it is open, else a new one to the port of sent-by", () => {
    for (
      const [transport, sentBy, port] of [["tcp", "a", 5060], ["tcp", "a:5070", 5070], ["tls", "a", 5061]] as const
    ) {
      const rig = new Rig();
      const flow = rig.flow(transport, 40000);
      const transaction = rig.receive(requestText("INVITE", { sentBy }), flow)!;
      transaction.respond(180);
      flow.state = "closed";
      rig.reachable = rig.flow(transport, port);
      transaction.respond(200);
      transaction.relay(200, "SIP/2.0 200 OK\r\n\r\n");
      expect(rig.sent.map((sent) => sent.flow)).toEqual([flow, rig.reachable, rig.reachable]);
      expect(rig.asked).toEqual([[transport, "192.0.2.1", port, undefined]]);
    }
  });

  test("nowhere where there is no way, which is counted, and the transaction goes on", () => {
    const rig = new Rig();
    const flow = rig.flow("ws");
    const transaction = rig.receive(requestText("INVITE"), flow)!;
    flow.state = "closed";
    transaction.respond(486);
    expect(rig.counted).toEqual(["rejected_total reply_without_flow"]);
    expect(transaction.state).toBe("completed");
    rig.settle();
  });

  test("the repeated answer goes where the first one went", () => {
    const rig = new Rig();
    const flow = rig.flow("udp", 40000);
    rig.reachable = rig.flow("udp", 5070);
    rig.receive(requestText("OPTIONS"), flow)!.respond(200);
    rig.receive(requestText("OPTIONS"), flow);
    expect(rig.sent.map((sent) => sent.flow)).toEqual([rig.reachable, rig.reachable]);
  });
});
