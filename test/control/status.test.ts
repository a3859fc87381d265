import { expect, test } from "bun:test";
import { type StatusJson, statusText } from "../../src/control/status.ts";
import { duration } from "../../src/control/text.ts";

test("a duration is told in its two largest units", () => {
  const cases: [number, string][] = [[0, "0s"], [59.9, "59s"], [61, "1m 1s"], [3600, "1h"], [90_061, "1d 1h"], [
    -5,
    "0s",
  ]];
  for (const [seconds, text] of cases) expect(duration(seconds)).toBe(text);
});

test("the status screen counts in words, and cuts off no advice", () => {
  const advice = "The PBX grants only 60 s: raise " + "its maximum ".repeat(20) + "end";
  const counts = {
    aors: 1,
    devices: 2,
    push_devices: 1,
    at_risk: 1,
    upstream_failing: 2,
    short_grants: 1,
    flows: 2,
    calls_open: 0,
    calls_held: 0,
    banned: 0,
  };
  const status: StatusJson = {
    state: "ready",
    version: "0.1.0",
    uptime: 1,
    pbx: { uri: "sip:pbx", state: "up", mode: "aor", rtt_ms: 1, reason: "" },
    counts,
    push: [],
    problems: [{ at: "2026-01-02T03:04:05.678Z", level: "warn", message: advice }],
  };
  const text = statusText(status);
  expect(text).toContain("registered  2 devices of 1 AoR, 1 can be woken\n");
  expect(text).toContain(
    "1 device AT RISK (latefork locations), 2 bindings cannot be renewed, 1 AoR granted less than a push needs\n",
  );
  expect(text).toContain(advice);
  expect(statusText({ ...status, pbx: null })).not.toContain("at the pbx");
});
