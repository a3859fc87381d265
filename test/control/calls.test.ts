import { expect, test } from "bun:test";
import { callJson } from "../../src/control/calls.ts";
import type { CallRecord } from "../../src/core/silo/record.ts";

test("W-22 a call record in the words of the API", () => {
  const record: CallRecord = {
    id: "7f3a01",
    callId: "a@b",
    aor: "alice@example.org",
    from: Buffer.from('"Jürgen" <sip:j@example.org>', "utf8").toString("latin1"),
    to: "<sip:alice@example.org>",
    state: "open",
    result: "",
    outcome: "",
    status: 0,
    startedAtMs: 0,
    endedAtMs: 0,
    parties: ["PBX", "latefork"],
    branches: [{ id: "1", device: "d", party: "alice/1", state: "trying", status: 0, late: false }],
    wakes: [{ device: "d", party: "alice/1", state: "waiting", pushMs: 1.2003, wakeMs: null, reason: "" }],
    timeline: [{ tMs: 3.77587890625, event: "invite", from: "PBX", to: "latefork", label: "INVITE" }],
  };
  expect(callJson(record)).toMatchObject({
    call_id: "a@b",
    from: '"Jürgen" <sip:j@example.org>',
    started_at: "1970-01-01T00:00:00.000Z",
    ended_at: null,
    wakes: [{ device: "d", push_ms: 1.2, wake_ms: null }],
    timeline: [{ t_ms: 3.776, event: "invite", from: "PBX" }],
  });
});
