/**
 * The numbers of `/metrics` as Prometheus text: counters, histograms, and gauges that are read for each answer. Must not
 * know where the numbers come from. A file of our own, as importing prom-client adds 16 MB of RSS; the hot path here is
 * one Map lookup and one increment.
 */
import type { Counter, Histogram } from "../core/port.ts";

/** One sample of a gauge: values of its labels in order, and the number. */
export type GaugeSample = readonly [labels: readonly string[], value: number];

const PREFIX = "latefork_";
/** Series one counter may have; label values beyond them count as `other`, so that no peer can grow the memory. */
const MAX_SERIES = 200;

const COUNTERS: Record<Counter, { help: string; labels: readonly string[] }> = {
  registrations_total: { help: "REGISTER requests by how they were answered", labels: ["result"] },
  calls_total: { help: "Calls ended, by result", labels: ["result"] },
  late_branches_total: { help: "Branches added to a ringing call after its first fork", labels: [] },
  push_total: { help: "Pushes by provider and result", labels: ["provider", "result"] },
  pbx_doubts_total: {
    help: "Times the PBX may have lost its registrations: lost (it was away or does not list them), maybe (signs)",
    labels: ["kind"],
  },
  rejected_total: { help: "Requests refused for what they are or where they come from", labels: ["reason"] },
};

const HISTOGRAMS: Record<Histogram, { help: string; buckets: readonly number[] }> = {
  wake_seconds: {
    help: "Push sent to REGISTER accepted",
    buckets: [0.1, 0.25, 0.5, 1, 1.5, 2, 3, 4, 6, 8, 12, 20, 30],
  },
  late_branch_seconds: {
    help: "REGISTER came in to INVITE of the late branch sent",
    buckets: [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1],
  },
  push_seconds: {
    help: "Push sent to verdict of its service",
    buckets: [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30],
  },
  store_commit_seconds: {
    help: "One commit of the database",
    buckets: [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1],
  },
  loop_lag_seconds: {
    help: "Delay of the loop's timer behind its deadline",
    buckets: [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1],
  },
};

interface Series {
  value: number;
}

interface Measured {
  /** One count a bucket, not cumulative; the last is +Inf. */
  counts: Float64Array;
  sum: number;
}

interface Gauge {
  help: string;
  labels: readonly string[];
  read: () => number | Iterable<GaugeSample>;
  type: "gauge" | "counter";
}

export class Metrics {
  private readonly counters = new Map<Counter, Map<string, Series>>();
  private readonly histograms = new Map<Histogram, Measured>();
  private readonly gauges = new Map<string, Gauge>();

  constructor() {
    for (const name of Object.keys(COUNTERS) as Counter[]) {
      const series = new Map<string, Series>();
      if (COUNTERS[name].labels.length === 0) series.set("", { value: 0 });
      this.counters.set(name, series);
    }
    for (const name of Object.keys(HISTOGRAMS) as Histogram[]) {
      this.histograms.set(name, { counts: new Float64Array(HISTOGRAMS[name].buckets.length + 1), sum: 0 });
    }
    this.gauge("process_resident_memory_bytes", "Resident memory", [], () => process.memoryUsage.rss());
  }

  /**
   * Adds one. Counters with several labels (`push_total`) take their values in order, joined by
   * `|`: `acme|accepted`; a label left out is empty.
   */
  count(counter: Counter, label = ""): void {
    const all = this.counters.get(counter)!;
    const series = all.get(label);
    if (series !== undefined) {
      series.value++;
      return;
    }
    if (COUNTERS[counter].labels.length === 0) label = "";
    else if (all.size >= MAX_SERIES) label = "other";
    const added = all.get(label);
    if (added === undefined) all.set(label, { value: 1 });
    else added.value++;
  }

  /** Adds one measurement; what is not a number is left out. */
  measure(histogram: Histogram, seconds: number): void {
    if (!Number.isFinite(seconds)) return;
    const measured = this.histograms.get(histogram)!;
    const buckets = HISTOGRAMS[histogram].buckets;
    let bucket = 0;
    while (bucket < buckets.length && seconds > buckets[bucket]!) bucket++;
    measured.counts[bucket]!++;
    measured.sum += seconds;
  }

  /**
   * A number that is read for each answer of `/metrics`. Registering a name again replaces it.
   * @param name without the prefix: `locations`, `calls_open`, `upstream_bindings`, `flows`, `banned`, `build_info`.
   * @param labels names of its labels; `read` gives a plain number if there are none.
   */
  gauge(
    name: string,
    help: string,
    labels: readonly string[],
    read: () => number | Iterable<GaugeSample>,
    type: "gauge" | "counter" = "gauge",
  ): void {
    this.gauges.set(name, { help, labels, read, type });
  }

  /** The value of one counter series, for status pages and tests. */
  value(counter: Counter, label = ""): number {
    return this.counters.get(counter)!.get(label)?.value ?? 0;
  }

  /** Prometheus text format 0.0.4. */
  text(): string {
    const lines: string[] = [];
    for (const [name, series] of this.counters) {
      const { help, labels } = COUNTERS[name];
      head(lines, name, help, "counter");
      for (const [label, { value }] of series) {
        const values = label === "other" ? labels.map(() => "other") : label.split("|");
        lines.push(`${PREFIX}${name}${labelSet(labels, values)} ${value}`);
      }
    }
    for (const [name, measured] of this.histograms) histogramText(lines, name, measured);
    for (const [name, gauge] of this.gauges) gaugeText(lines, name, gauge);
    return lines.join("\n") + "\n";
  }
}

function histogramText(lines: string[], name: Histogram, { counts, sum }: Measured): void {
  const { help, buckets } = HISTOGRAMS[name];
  head(lines, name, help, "histogram");
  let cumulative = 0;
  counts.forEach((count, i) => {
    cumulative += count;
    const bound = i < buckets.length ? String(buckets[i]) : "+Inf";
    lines.push(`${PREFIX}${name}_bucket{le="${bound}"} ${cumulative}`);
  });
  lines.push(`${PREFIX}${name}_sum ${sum}`, `${PREFIX}${name}_count ${cumulative}`);
}

function gaugeText(lines: string[], name: string, { help, labels, read, type }: Gauge): void {
  head(lines, name, help, type);
  let samples: number | Iterable<GaugeSample>;
  try {
    samples = read();
  } catch {
    // One gauge that cannot be read must not take the others with it.
    return;
  }
  if (typeof samples === "number") {
    lines.push(`${PREFIX}${name} ${samples}`);
    return;
  }
  for (const [values, value] of samples) lines.push(`${PREFIX}${name}${labelSet(labels, values)} ${value}`);
}

function head(lines: string[], name: string, help: string, type: string): void {
  lines.push(`# HELP ${PREFIX}${name} ${help}`, `# TYPE ${PREFIX}${name} ${type}`);
}

function labelSet(labels: readonly string[], values: readonly string[]): string {
  if (labels.length === 0) return "";
  return "{" + labels.map((label, i) => `${label}="${escapeLabel(values[i] ?? "")}"`).join(",") + "}";
}

function escapeLabel(value: string): string {
  return value.replace(/\\/g, "\\\\").replace(/"/g, '\\"').replace(/\n/g, "\\n");
}
