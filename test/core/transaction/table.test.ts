import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { Owner, requestText, Rig } from "./rig.ts";

type Parts = Parameters<typeof requestText>[1];

describe("F-05 requests are matched to transactions (RFC 3261 §17.2.3)", () => {
  const cases: [name: string, first: [string, Parts], second: [string, Parts], isSame: boolean][] = [
    ["the same again", ["INVITE", {}], ["INVITE", {}], true],
    ["branch in another case", ["INVITE", { branch: "Z9HG4BKA" }], ["INVITE", { branch: "z9hg4bka" }], true],
    ["host in another case", ["INVITE", { sentBy: "A.b" }], ["INVITE", { sentBy: "a.B" }], true],
    ["another Request-URI and From tag", ["INVITE", {}], ["INVITE", { uri: "sip:x", fromTag: "f2" }], true],
    ["another branch", ["INVITE", {}], ["INVITE", { branch: "z9hG4bKb" }], false],
    ["another sent-by host", ["INVITE", {}], ["INVITE", { sentBy: "192.0.2.2:5070" }], false],
    ["another sent-by port", ["INVITE", {}], ["INVITE", { sentBy: "192.0.2.1:5071" }], false],
    ["port 5060 said and unsaid", ["INVITE", { sentBy: "a" }], ["INVITE", { sentBy: "a:5060" }], false],
    ["another method", ["INVITE", {}], ["OPTIONS", {}], false],
    // RFC 2543: no cookie, or nothing behind it (RFC 4475 §3.2.1)
    ["2543: the same again", ["INVITE", { branch: "" }], ["INVITE", { branch: "" }], true],
    ["2543: the cookie alone", ["INVITE", { branch: "z9hG4bK" }], ["INVITE", { branch: "z9hG4bK" }], true],
    [
      "2543: another Call-ID",
      ["INVITE", { branch: "z9hG4bK" }],
      ["INVITE", { branch: "z9hG4bK", callId: "c2" }],
      false,
    ],
    ["2543: another CSeq", ["INVITE", { branch: "1" }], ["INVITE", { branch: "1", cseq: 8 }], false],
    ["2543: another From tag", ["INVITE", { branch: "1" }], ["INVITE", { branch: "1", fromTag: "f2" }], false],
    ["2543: another Request-URI", ["INVITE", { branch: "1" }], ["INVITE", { branch: "1", uri: "sip:b" }], false],
    ["2543: another top Via", ["INVITE", { branch: "1" }], ["INVITE", { branch: "1", viaParams: ";x" }], false],
    ["2543: another To tag", ["BYE", { branch: "1", toTag: "a" }], ["BYE", { branch: "1", toTag: "b" }], false],
    ["2543: another method", ["INFO", { branch: "1" }], ["BYE", { branch: "1" }], false],
  ];
  for (const [name, [method, parts], [again, changed], isSame] of cases) {
    test(`${name}: ${isSame ? "absorbed" : "new"}`, () => {
      const rig = new Rig();
      rig.receive(requestText(method, parts), rig.flow());
      rig.receive(requestText(again, changed), rig.flow("udp", 5071));
      expect([rig.requests.length, rig.table.serverCount]).toEqual(isSame ? [1, 1] : [2, 2]);
    });
  }

  // UAs that have one branch for all they send: what has another Call-ID or CSeq is no repetition.
  for (const method of ["INVITE", "OPTIONS"]) {
    for (const changed of [{ cseq: 8 }, { callId: "c2" }]) {
      test(`${method} under a branch used before, ${Object.keys(changed)[0]} changed: new, and the later one is known`, () => {
        const rig = new Rig();
        const flow = rig.flow();
        const first = rig.receive(requestText(method), flow)!;
        first.respond(486);
        const second = rig.receive(requestText(method, changed), flow)!;
        rig.receive(requestText(method, changed), flow);
        expect(rig.requests).toEqual([first, second]);
        second.respond(603);
        rig.take();
        rig.receive(requestText(method, changed), flow);
        expect(rig.take()).toEqual(["603"]);
        if (method === "INVITE") rig.receive(requestText("ACK"), flow);
        expect(second.state).toBe(method === "INVITE" ? "confirmed" : "completed");
        rig.settle();
      });
    }
  }

  for (const changed of [{ cseq: 8 }, { callId: "c2" }]) {
    const what = Object.keys(changed)[0];
    test(`an INVITE under the branch of one that waits, ${what} changed: a retransmission (RFC 3261 §17.2.3)`, () => {
      const rig = new Rig();
      const flow = rig.flow();
      const first = rig.receive(requestText("INVITE"), flow)!;
      first.respond(180);
      rig.take();
      rig.receive(requestText("INVITE", changed), flow);
      expect([rig.requests, rig.take()]).toEqual([[first], ["180"]]);
      rig.receive(requestText("CANCEL"), flow);
      expect(rig.cancelled).toBe(first);
      first.respond(487);
      rig.receive(requestText("ACK"), flow);
      expect(first.state).toBe("confirmed");
      rig.requests[1]!.respond(200);
      rig.settle();
    });
  }

  test("an ACK with a CSeq of its own is absorbed by its branch", () => {
    const rig = new Rig();
    rig.receive(requestText("INVITE"), rig.flow())!.respond(486);
    rig.receive(requestText("ACK", { cseq: 8, callId: "c2" }), rig.flow());
    expect([rig.requests[0]!.state, rig.told]).toEqual(["confirmed", ["request INVITE"]]);
  });

  for (const branch of ["z9hG4bKa", "", "z9hG4bK", "1"]) {
    const kind = branch === "z9hG4bKa" ? "3261" : `2543, branch "${branch}"`;

    test(`ACK of a failure belongs to its INVITE (${kind})`, () => {
      const rig = new Rig();
      const invite = rig.receive(requestText("INVITE", { branch }), rig.flow())!;
      invite.respond(486);
      rig.receive(requestText("ACK", { branch, toTag: invite.toTag }), rig.flow());
      expect([invite.state, rig.told]).toEqual(["confirmed", ["request INVITE"]]);
      rig.receive(requestText("ACK", { branch, toTag: invite.toTag }), rig.flow());
      expect(rig.told).toEqual(["request INVITE"]);
      rig.settle();
    });

    test(`ACK of a 2xx is the user's, also under its INVITE's branch (${kind})`, () => {
      const rig = new Rig();
      const invite = rig.receive(requestText("INVITE", { branch }), rig.flow())!;
      invite.respond(200);
      rig.receive(requestText("ACK", { branch, toTag: invite.toTag }), rig.flow());
      rig.receive(requestText("ACK", { branch: "z9hG4bKother", toTag: invite.toTag }), rig.flow());
      expect([invite.state, rig.told]).toEqual(["accepted", ["request INVITE", "ack", "ack"]]);
      expect(rig.table.serverCount).toBe(1);
      rig.settle();
    });

    test(`CANCEL finds its INVITE and is a transaction of its own (${kind})`, () => {
      const rig = new Rig();
      const invite = rig.receive(requestText("INVITE", { branch }), rig.flow())!;
      const cancel = rig.receive(requestText("CANCEL", { branch }), rig.flow())!;
      expect([rig.cancelled, cancel.isInvite, rig.table.serverCount]).toEqual([invite, false, 2]);
      cancel.respond(200);
      expect([invite.state, cancel.state]).toEqual(["proceeding", "completed"]);
      rig.receive(requestText("CANCEL", { branch }), rig.flow());
      expect([rig.told, rig.take()]).toEqual([["request INVITE", "cancel"], ["200", "200"]]);
      invite.respond(487);
      rig.settle();
    });
  }

  test("CANCEL of nothing, of another sent-by, of what is no INVITE, and of what ended finds none", () => {
    const rig = new Rig();
    rig.receive(requestText("OPTIONS"), rig.flow())!.respond(200);
    rig.receive(requestText("INVITE", { sentBy: "a" }), rig.flow())!.respondOnce(403);
    for (const parts of [{}, { sentBy: "a" }, { branch: "z9hG4bKz" }]) {
      rig.receive(requestText("CANCEL", parts), rig.flow())!.respond(481);
      expect(rig.cancelled).toBeNull();
    }
    rig.settle();
  });

  test("CANCEL finds an INVITE that has its final response: that one decides", () => {
    for (const status of [200, 486]) {
      const rig = new Rig();
      const invite = rig.receive(requestText("INVITE"), rig.flow())!;
      invite.respond(status);
      rig.receive(requestText("CANCEL"), rig.flow());
      expect(rig.cancelled).toBe(invite);
    }
  });

  test("ACK of nothing makes nothing", () => {
    const rig = new Rig();
    rig.receive(requestText("ACK"), rig.flow());
    expect([rig.told, rig.table.serverCount]).toEqual([["ack"], 0]);
  });
});

describe("F-05 responses are matched to transactions (RFC 3261 §17.1.3)", () => {
  const sent = (...methods: string[]) => {
    const rig = new Rig();
    const flow = rig.flow();
    const owners = methods.map((method) => {
      const owner = new Owner(rig);
      rig.table.send(
        requestText(method, { branch: "z9hG4bKUs", sentBy: "us:5060" }),
        method,
        "z9hG4bKUs",
        flow,
        owner,
      );
      return owner;
    });
    return { rig, flow, owners };
  };

  test("by branch in any case, over whatever flow of the host they come", () => {
    const { rig, owners } = sent("INVITE");
    rig.respond(180, "Z9HG4BKUS", "INVITE", rig.flow("udp", 5071));
    rig.respond(180, "Z9HG4BKUS", "INVITE", rig.flow("tcp", 5072));
    expect(owners[0]!.heard).toEqual(["180 at 0", "180 at 0"]);
  });

  test("X-03 from another host only where the table's user knows it for the one that was asked", () => {
    const { rig, owners } = sent("INVITE");
    const other = { ...rig.flow(), remoteAddress: "198.51.100.66" };
    rig.respond(200, "z9hG4bKUs", "INVITE", other);
    expect([owners[0]!.heard, rig.told]).toEqual([[], ["foreign 200"]]);
    rig.answerers.add(other);
    rig.respond(200, "z9hG4bKUs", "INVITE", other);
    expect(owners[0]!.heard).toEqual(["200 at 0"]);
  });

  test("not with another branch, and not with another method in CSeq", () => {
    for (const [branch, method] of [["z9hG4bKother", "INVITE"], ["z9hG4bKUs", "OPTIONS"], ["z9hG4bKUs", "CANCEL"]]) {
      const { rig, owners, flow } = sent("INVITE");
      rig.respond(200, branch!, method!, flow);
      expect([owners[0]!.heard, rig.told]).toEqual([[], ["stray 200"]]);
    }
  });

  test("a CANCEL and its INVITE share a branch and hear their own", () => {
    const { rig, owners, flow } = sent("INVITE", "CANCEL");
    rig.respond(200, "z9hG4bKUs", "CANCEL", flow);
    expect(owners.map(({ heard }) => heard)).toEqual([[], ["200 at 0"]]);
    rig.respond(487, "z9hG4bKUs", "INVITE", flow);
    expect(owners.map(({ heard }) => heard)).toEqual([["487 at 0"], ["200 at 0"]]);
    rig.settle();
  });

  test("a branch used again belongs to the later request, and the end of the earlier one does not take it away", () => {
    const { rig, owners, flow } = sent("OPTIONS", "OPTIONS");
    rig.respond(100, "z9hG4bKUs", "OPTIONS", flow);
    expect(owners.map(({ heard }) => heard)).toEqual([[], ["100 at 0"]]);
    rig.settle();
  });
});

describe("F-01 branches", () => {
  test("are never the same, begin with the cookie and what nobody can guess, and end as their maker asks", () => {
    const { table } = new Rig();
    const branches = Array.from({ length: 1000 }, () => table.newBranch());
    expect(new Set(branches).size).toBe(1000);
    expect(table.branchStart).toMatch(/^z9hG4bK.{12}$/);
    for (const branch of branches) expect(branch).toMatch(new RegExp(`^${table.branchStart}[0-9a-z]+.{10}$`));
    expect(branches[0]!.length).toBe(table.branchStart.length + 1 + 10);
    // The counter alone would tell the next one.
    expect(branches[1]!.slice(-10)).not.toBe(branches[0]!.slice(-10));
    expect(table.newBranch(".loop")).toEndWith(".loop");
  });
});

test("F-08 whatever comes in whatever order, no state is illegal and nothing is left behind", () => {
  const step = fc.record({
    what: fc.constantFrom(
      "INVITE",
      "ACK",
      "CANCEL",
      "OPTIONS",
      "BYE",
      "respond",
      "response",
      "close",
      "wait",
      "quiet",
      "abandon",
      "nudge",
    ),
    pick: fc.nat(30),
    status: fc.constantFrom(100, 180, 200, 202, 302, 486, 487, 503, 603),
    ms: fc.constantFrom(0, 1, 499, 500, 5000, 32_000),
    isReliable: fc.boolean(),
  });
  const pending = { INVITE: ["proceeding"], other: ["trying", "proceeding"] };
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
      const rig = new Rig();
      const flows = [rig.flow(), rig.flow("tcp"), rig.flow("tcp", 5071)];
      const clients: ReturnType<typeof rig.table.send>[] = [];
      const finals = new Map<object, number>();
      const failed = new Set<object>();
      for (const { what, pick, status, ms, isReliable } of steps) {
        const flow = flows[isReliable ? 1 + pick % 2 : 0]!;
        const branch = `z9hG4bK${pick % 4}`;
        const server = rig.requests[pick % Math.max(1, rig.requests.length)];
        const client = clients[pick % Math.max(1, clients.length)];
        switch (what) {
          case "respond": {
            if (server === undefined) break;
            const { isPending, state } = server;
            const isFurther = state === "accepted" && status < 300 && status >= 200;
            if (isFurther) server.relay(status, "SIP/2.0 200 OK\r\n\r\n");
            else if (pick % 7 === 0 && status > 300) server.respondOnce(status);
            else server.respond(status);
            if (!isPending) expect(server.state).toBe(state);
            else if (status < 200) expect([...pending.INVITE, ...pending.other]).toContain(server.state);
            else expect(server.isPending).toBe(false);
            break;
          }
          case "response":
            if (client !== undefined) rig.respond(status, client.key.replace("|CANCEL", ""), client.method, flow);
            break;
          case "close":
            flow.state = "closed";
            rig.table.flowClosed(flow);
            break;
          case "wait":
            rig.runTo(rig.nowMs + ms);
            break;
          case "quiet":
          case "abandon":
          case "nudge":
            client?.[what]();
            break;
          default:
            if (pick % 2 === 0 || what === "ACK") rig.receive(requestText(what, { branch, cseq: 7 + pick % 3 }), flow);
            else {
              const own = what === "CANCEL" && client !== undefined
                ? client.key.replace("|CANCEL", "")
                : rig.table.newBranch();
              clients.push(rig.table.send(requestText(what, { branch: own, sentBy: "us" }), what, own, flow, {
                onResponse: (response, transaction) => {
                  if (response.status < 200) return expect(finals.has(transaction)).toBe(false);
                  const first = finals.get(transaction);
                  // One final, and for INVITE further 2xx after a 2xx.
                  if (first !== undefined) {
                    expect([transaction.isInvite, first < 300, response.status < 300]).toEqual([true, true, true]);
                  }
                  finals.set(transaction, response.status);
                },
                onFailure: (_, transaction) => {
                  expect([finals.has(transaction), failed.has(transaction)]).toEqual([false, false]);
                  failed.add(transaction);
                  if (transaction.state === "terminated") finals.set(transaction, 999);
                },
              }));
            }
        }
      }
      for (const server of rig.requests) if (server.isPending) server.respond(500);
      for (const client of clients) client.abandon();
      const endMs = rig.nowMs;
      expect(rig.settle() - endMs).toBeLessThanOrEqual(37_000);
      for (const server of rig.requests) expect(server.state).toBe("terminated");
      for (const client of clients) expect(client.state).toBe("terminated");
    }),
    { numRuns: 500 },
  );
});
