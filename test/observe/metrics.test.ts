import { expect, test } from "bun:test";
import { Metrics } from "../../src/observe/metrics.ts";

/** The samples of one metric, by name with labels. */
function samples(metrics: Metrics, name: string): Record<string, number> {
  const found: Record<string, number> = {};
  for (const line of metrics.text().split("\n")) {
    if (!line.startsWith("latefork_" + name)) continue;
    const space = line.lastIndexOf(" ");
    found[line.slice("latefork_".length, space)] = Number(line.slice(space + 1));
  }
  return found;
}

test("O-05 counters have their labels in order", () => {
  const metrics = new Metrics();
  metrics.count("push_total", "acme|accepted");
  metrics.count("push_total", "acme|accepted");
  metrics.count("push_total", "acme");
  metrics.count("calls_total", "answered");
  expect(samples(metrics, "push_total")).toEqual({
    'push_total{provider="acme",result="accepted"}': 2,
    'push_total{provider="acme",result=""}': 1,
  });
  expect(metrics.value("calls_total", "answered")).toBe(1);
});

test("O-05 a counter without labels begins at 0 and has one series whatever it is told", () => {
  const metrics = new Metrics();
  expect(samples(metrics, "late_branches_total")).toEqual({ late_branches_total: 0 });
  metrics.count("late_branches_total", "x");
  metrics.count("late_branches_total");
  expect(samples(metrics, "late_branches_total")).toEqual({ late_branches_total: 2 });
});

test("O-05 label values from the network cannot grow the memory", () => {
  const metrics = new Metrics();
  for (let i = 0; i < 1000; i++) metrics.count("push_total", "acme|reason" + i);
  const series = samples(metrics, "push_total");
  expect(Object.keys(series).length).toBe(201);
  expect(series['push_total{provider="other",result="other"}']).toBe(800);
});

test("O-05 a histogram counts up to and including its bounds", () => {
  const metrics = new Metrics();
  for (const seconds of [0.05, 0.1, 0.11, 100, NaN, Infinity]) metrics.measure("wake_seconds", seconds);
  const found = samples(metrics, "wake_seconds");
  expect(found['wake_seconds_bucket{le="0.1"}']).toBe(2);
  expect(found['wake_seconds_bucket{le="0.25"}']).toBe(3);
  expect(found['wake_seconds_bucket{le="30"}']).toBe(3);
  expect(found['wake_seconds_bucket{le="+Inf"}']).toBe(4);
  expect(found.wake_seconds_count).toBe(4);
  expect(found.wake_seconds_sum).toBeCloseTo(100.26);
});

test("O-05 gauges are read when somebody asks; a broken one takes no other with it", () => {
  const metrics = new Metrics();
  let open = 1;
  metrics.gauge("calls_open", "Open calls", [], () => open);
  metrics.gauge("locations", "Registered devices", ["kind"], () => [[["mobile"], 2], [["desk"], 1]]);
  metrics.gauge("build_info", "Build", ["version"], () => [[['1"\\\n'], 1]]);
  metrics.gauge("banned", "Banned sources", [], () => {
    throw new Error("broken");
  });
  open = 7;
  expect(samples(metrics, "calls_open")).toEqual({ calls_open: 7 });
  expect(samples(metrics, "locations")).toEqual({ 'locations{kind="mobile"}': 2, 'locations{kind="desk"}': 1 });
  expect(samples(metrics, "build_info")).toEqual({ 'build_info{version="1\\"\\\\\\n"}': 1 });
  expect(samples(metrics, "process_resident_memory_bytes").process_resident_memory_bytes).toBeGreaterThan(1e6);
});

test("O-05 every line is a comment or a sample, and every metric says its type once", () => {
  const metrics = new Metrics();
  metrics.count("rejected_total", "banned");
  metrics.measure("push_seconds", 0.2);
  const lines = metrics.text().trimEnd().split("\n");
  for (const line of lines) {
    expect(line).toMatch(/^(# (HELP|TYPE) latefork_\w+ .+|latefork_\w+(\{\w+="[^"]*"(,\w+="[^"]*")*\})? [\d.e+-]+)$/);
  }
  const types = lines.filter((line) => line.startsWith("# TYPE")).map((line) => line.split(" ")[2]);
  expect(new Set(types).size).toBe(types.length);
});
