import { expect, test } from "bun:test";
import { type LadderEntry, renderLadder } from "../../src/observe/ladder.ts";
import type { CallRecord } from "../../src/core/silo/record.ts";
import { displayWidth } from "../../src/observe/display.ts";

function entry(tMs: number, event: string, from: string, to: string, label: string, note = ""): LadderEntry {
  return { tMs, event, from, to, label, note };
}

const story: LadderEntry[] = [
  entry(0, "invite", "PBX", "latefork", "INVITE"),
  entry(0.2, "response", "latefork", "PBX", "100"),
  entry(1, "branch", "latefork", "alice/1", "INVITE"),
  entry(1.2, "push", "latefork", "push acme", "push call", "flow lost 2 h ago"),
  entry(34, "push_result", "push acme", "latefork", "accepted", "33 ms"),
  entry(121, "response", "alice/1", "latefork", "180"),
  entry(121.1, "response", "latefork", "PBX", "180"),
  entry(2310, "register", "alice/2", "latefork", "REGISTER", "woke after 2.276 s"),
  entry(2324, "branch", "latefork", "alice/2", "INVITE (late)", "14 ms after its REGISTER"),
  entry(3911, "response", "alice/2", "latefork", "200"),
  entry(3911.2, "response", "latefork", "PBX", "200"),
  entry(3912, "cancel", "latefork", "alice/1", "CANCEL", "completed elsewhere"),
  entry(3930, "ack", "PBX", "latefork", "ACK"),
  entry(3930.4, "ack", "latefork", "alice/2", "ACK"),
];

const call = {
  id: "7f3a01",
  aor: "alice@example.org",
  from: '"Bob" <sip:bob@example.org>',
  outcome: "answered by alice/2 after 3.912 s",
  parties: ["PBX", "latefork", "alice/1", "alice/2", "push acme"],
  timeline: story,
};

test("W-22 the ladder of a late branch", () => {
  expect("\n" + renderLadder(call)).toBe(`
call 7f3a01  "Bob" <sip:bob@example.org> → alice@example.org   answered by alice/2 after 3.912 s
             PBX          latefork           alice/1         alice/2        push acme
  0.000       │── INVITE ────▶│                 │               │               │
  0.000       │◀──── 100 ─────│                 │               │               │
  0.001       │               │── INVITE ──────▶│               │               │
  0.001       │               │── push call ────┼───────────────┼──────────────▶│   flow lost 2 h ago
  0.034       │               │◀────────────────┼───────────────┼── accepted ───│   33 ms
  0.121       │◀──── 180 ─────│◀──── 180 ───────│               │               │
  2.310       │               │◀── REGISTER ────┼───────────────│               │   woke after 2.276 s
  2.324       │               │── INVITE (late) ┼──────────────▶│               │   14 ms after its REGISTER
  3.911       │◀──── 200 ─────│◀────────────────┼──── 200 ──────│               │
  3.912       │               │── CANCEL ──────▶│               │               │   completed elsewhere
  3.930       │── ACK ───────▶│─────────────────┼──── ACK ─────▶│               │
`);
});

test("W-22 the silo's call record is what the ladder reads", () => {
  const record: CallRecord = {
    ...call,
    callId: "a@b",
    to: "",
    state: "open",
    result: "",
    outcome: "",
    status: 0,
    startedAtMs: 0,
    endedAtMs: 0,
    branches: [],
    wakes: [],
    timeline: [{ tMs: 0, event: "invite", from: "PBX", to: "latefork", label: "INVITE" }],
  };
  expect(renderLadder(record)).toContain("alice@example.org   open\n");
});

test("W-22 a relayed message is one line only if it was passed on at once and unchanged", () => {
  const apart = renderLadder({
    ...call,
    timeline: [entry(5, "response", "alice/1", "latefork", "180"), entry(6, "response", "latefork", "PBX", "180")],
  });
  expect(apart.split("\n").length).toBe(5);
  const changed = renderLadder({
    ...call,
    timeline: [entry(5, "response", "alice/1", "latefork", "603"), entry(5, "response", "latefork", "PBX", "486")],
  });
  expect(changed.split("\n").length).toBe(5);
  const forked = renderLadder({
    ...call,
    timeline: [
      entry(5, "cancel", "latefork", "alice/1", "CANCEL"),
      entry(5, "cancel", "latefork", "alice/2", "CANCEL"),
    ],
  });
  expect(forked.split("\n").length).toBe(5);
});

test("W-22 the outcome stands in the title and is not said again at the end", () => {
  const timeline = [entry(5, "response", "latefork", "PBX", "480"), { tMs: 5, event: "end", note: "nobody woke up" }];
  expect(renderLadder({ ...call, outcome: "nobody woke up", timeline }).match(/nobody woke up/g)).toHaveLength(1);
  expect(renderLadder({ ...call, outcome: "open", timeline })).toContain("│   nobody woke up\n");
});

test("W-22 a remark without an arrow names its party", () => {
  const text = renderLadder({
    ...call,
    timeline: [
      { tMs: 12_345.6, event: "skip", from: "alice/1", note: "its token is dead" },
      { tMs: 1_234_567, event: "end" },
      { tMs: 1_234_568, event: "skip", from: "nobody", to: "latefork", label: "INVITE" },
    ],
  });
  const lines = text.split("\n");
  expect(lines[2]).toEndWith("│   alice/1: its token is dead");
  expect(lines[3]).toEndWith("│   end");
  expect(lines[4]).toEndWith("│   nobody latefork INVITE");
  expect(lines[2]).toStartWith("  12.346 ");
});

test("W-22 a label too long for its column is cut there and told in full in the note", () => {
  const label = "REGISTER with a very long remark behind it";
  const text = renderLadder({ ...call, timeline: [entry(1, "register", "alice/2", "latefork", label, "odd")] });
  expect(text).toContain("REGISTER with a very lo…");
  expect(text).toContain(`   ${label}, odd\n`);
});

test("W-22 names of any script keep the lines straight, and cannot move the cursor", () => {
  const parties = ["PBX", "latefork", "田中/1", "jürgen/2"];
  const text = renderLadder({
    ...call,
    from: '"\u001b[31mBob" <sip:bob@example.org>',
    parties,
    timeline: [
      entry(0, "branch", "latefork", "田中/1", "INVITE"),
      entry(1, "branch", "latefork", "jürgen/2", "INVITE"),
    ],
  });
  expect(text).not.toContain("\u001b");
  const [, header, first, second] = text.split("\n");
  const bars = [...first!].flatMap((char, i) => char === "│" ? [i] : []);
  expect([...second!].flatMap((char, i) => "│┼".includes(char) ? [i] : [])).toEqual(bars);
  for (const [i, party] of parties.entries()) {
    const start = displayWidth(header!.slice(0, header!.indexOf(party)));
    expect(start + (displayWidth(party) >> 1)).toBe(bars[i]!);
  }
});

test("W-22 every number of parties from 1 to 12 gives lines of one shape, in every direction", () => {
  for (let count = 1; count <= 12; count++) {
    for (let hub = 0; hub < Math.min(count, 3); hub++) {
      const parties = Array.from({ length: count }, (_, i) => i === hub ? "latefork" : "device/" + i);
      const timeline = parties.flatMap((from) =>
        parties.flatMap((to) =>
          ["INVITE (late)", "200", "a rather long label for an arrow"].flatMap((label) => [
            entry(1, "response", from, to, label),
            entry(2, "branch", from, to, label),
          ])
        )
      );
      const lines = renderLadder({ ...call, parties, timeline }, { width: 80 }).trimEnd().split("\n").slice(2);
      const bars = (line: string) => [...line].flatMap((char, i) => "│┼".includes(char) ? [i] : []);
      for (const line of lines) expect(bars(line)).toEqual(bars(lines[0]!));
      expect(bars(lines[0]!).length).toBe(count);
    }
  }
});

test("W-22 a call of which nothing is known yet still gives a title", () => {
  expect(renderLadder({ ...call, parties: [], timeline: [], outcome: "" })).toStartWith("call 7f3a01");
});
