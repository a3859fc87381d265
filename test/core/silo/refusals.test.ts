/** W-20, W-08, W-22, O-04: what is left of a call that was refused before anybody could be asked. */
import { expect, test } from "bun:test";
import type { Config } from "../../../src/config/schema.ts";
import { DOMAIN } from "../../sim/pbx.ts";
import { World } from "../../sim/world.ts";

const told = (w: World) => w.core.silo.allRecords().map(({ status, result, outcome }) => [status, result, outcome]);

test("W-20 W-22 a call beyond a limit leaves a record that says which limit, where people look for it", () => {
  const w = new World({ config: (config) => config.limits.calls_per_aor = 1 });
  w.asleep("alice", { wakeMs: null });
  w.pbx.call("alice");
  const refused = w.pbx.call("alice", { from: '"Carol" <sip:carol@example.org>' });
  w.advance(100);
  const record = w.core.silo.allRecords().find(({ callId }) => callId === refused.callId)!;
  expect(record).toMatchObject({
    aor: `alice@${DOMAIN}`,
    from: '"Carol" <sip:carol@example.org>',
    state: "ended",
    result: "refused",
    status: 486,
    outcome: "refused: as many calls for this user are open as limits.calls_per_aor allows (1) (486)",
    parties: ["PBX", "latefork"],
  });
  expect(record.timeline.map(({ event, label }) => [event, label])).toEqual([
    ["invite", "INVITE"],
    ["response", "486"],
    ["end", undefined],
  ]);
  expect(w.core.silo.record(record.id)).toBe(record);
  expect(w.port.counters.get("calls_total:refused")).toBeUndefined();
});

const others: [string, number, string, (config: Config) => void, (w: World) => void][] = [
  ["limits.calls", 503, "refused: as many calls are open as limits.calls allows (0)", (config) => {
    config.limits.calls = 0;
  }, () => {}],
  ["a drain", 503, "refused: latefork is shutting down", () => {}, (w) => w.core.isDraining = true],
];

test.each(others)("W-20 O-04 %s leaves a record too", (_what, status, why, config, before) => {
  const w = new World({ config });
  w.awake("alice");
  before(w);
  w.pbx.call("alice");
  w.advance(100);
  expect(told(w)).toEqual([[status, "refused", `${why} (${status})`]]);
});

test("W-08 W-22 a call for somebody who is not registered leaves a record under the name people know", () => {
  const w = new World();
  const call = w.pbx.call("nobody");
  w.advance(100);
  expect(call.status).toBe(480);
  expect(w.core.silo.allRecords().map(({ aor }) => aor)).toEqual([`nobody@${DOMAIN}`]);
  expect(told(w)).toEqual([[480, "refused", "nobody is registered (480)"]]);
});

test("W-08 W-22 registrar mode: no such user, and a domain that is none of ours", () => {
  const w = new World({ mode: "registrar" });
  const bob = w.caller();
  bob.invite(`sip:nobody@${DOMAIN}`, "nobody");
  w.advance(100);
  bob.invite("sip:alice@elsewhere.example", "alice");
  w.advance(100);
  expect(w.core.silo.allRecords().map(({ aor, outcome }) => [aor, outcome])).toEqual([
    ["alice@elsewhere.example", "elsewhere.example is no domain of ours (403)"],
    [`nobody@${DOMAIN}`, "no such user (404)"],
  ]);
});

test("W-22 the same again within 10 s is counted in the record, later it gets one of its own", () => {
  const w = new World();
  for (let i = 0; i < 3; i++) {
    w.pbx.call("nobody");
    w.advance(1000);
  }
  expect(told(w)).toEqual([[480, "refused", "nobody is registered (480), and 2 more within 10 s"]]);
  expect(w.core.silo.allRecords()[0]!.timeline.at(-1)!.note).toBe("nobody is registered (480), and 2 more within 10 s");
  w.advance(10_000);
  w.pbx.call("nobody");
  w.advance(100);
  expect(told(w)[0]).toEqual([480, "refused", "nobody is registered (480)"]);
  expect(told(w).length).toBe(2);
});

test("W-20 X-06 a flood of refused calls pushes out no record of a call, nor a scan those of limits", () => {
  const w = new World({
    config: (config) => {
      config.trace.calls = 16;
      config.limits.calls_per_aor = 1;
    },
  });
  w.awake("alice", { decline: { afterMs: 10, status: 486 } });
  w.asleep("carol", { wakeMs: null });
  const calls = Array.from({ length: 20 }, () => {
    const call = w.pbx.call("alice");
    w.advance(100);
    return call.callId;
  });
  const open = w.pbx.call("carol");
  const refused = w.pbx.call("carol");
  for (let i = 0; i < 500; i++) w.pbx.call(`scan${i}`);
  w.advance(1000);
  const records = w.core.silo.allRecords();
  expect(records.filter(({ state }) => state === "ended").length).toBeLessThanOrEqual(16);
  const kept = records.map(({ callId }) => callId);
  expect(kept).toContain(refused.callId);
  expect(kept[0]).toBe(open.callId);
  expect(calls.filter((id) => kept.includes(id))).toEqual(calls.slice(-13));
  expect(w.port.logs.filter(({ level }) => level === "warn").length).toBe(1);
});

test("W-22 trace.calls 0 keeps none of them either, and a smaller trace.calls is obeyed after a reload", () => {
  const w = new World({ config: (config) => config.trace.calls = 0 });
  w.pbx.call("nobody");
  w.advance(100);
  expect(told(w)).toEqual([]);
  const other = new World({ config: (config) => config.trace.calls = 20 });
  other.awake("alice", { decline: { afterMs: 10, status: 486 } });
  const call = () => {
    other.pbx.call("alice");
    other.advance(100);
  };
  for (let i = 0; i < 10; i++) call();
  other.core.silo.settings = { ...other.core.silo.settings, keptCalls: 4 };
  call();
  other.advance(100_000);
  expect(told(other).length).toBe(4);
});
