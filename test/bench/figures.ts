/** What was measured, held against its target, as a table. Pure. */

export interface Figure {
  /** Row of the requirements. */
  readonly id: string;
  readonly name: string;
  readonly unit: string;
  /** One a round. */
  readonly ours: readonly number[];
  /** What is compared with (Kamailio, in most), round by round; undefined: nothing. */
  readonly theirs?: readonly number[];
  /** Target for ours ÷ theirs. */
  readonly maxRatio?: number;
  /** Target for ours alone. */
  readonly max?: number;
}

/** The middle value; NaN of nothing. */
export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  const upper = sorted[middle] ?? NaN;
  return sorted.length % 2 === 1 ? upper : ((sorted[middle - 1] ?? NaN) + upper) / 2;
}

/** Median over the rounds of ours ÷ theirs: both ran within seconds of each other. Null without something to compare. */
export function ratio(figure: Figure): number | null {
  const { ours, theirs } = figure;
  if (theirs === undefined || theirs.length === 0) return null;
  return median(ours.map((value, round) => value / (theirs[round] ?? theirs.at(-1) ?? NaN)));
}

/** `ok`, `missed`, or empty where there is no target or nothing to hold against it. */
export function verdict(figure: Figure): string {
  if (figure.max !== undefined) return Math.max(...figure.ours) <= figure.max ? "ok" : "missed";
  const found = ratio(figure);
  if (figure.maxRatio === undefined || found === null) return "";
  return found <= figure.maxRatio ? "ok" : "missed";
}

export function tableOf(figures: readonly Figure[]): string {
  const title = ["", "", "latefork", "beside it", "ratio", "target", ""];
  const rows = [title];
  for (const figure of figures) {
    const found = ratio(figure);
    const target = figure.max !== undefined
      ? `≤ ${figure.max} ${figure.unit}`
      : figure.maxRatio !== undefined
      ? `≤ ${figure.maxRatio.toFixed(2)}`
      : "";
    rows.push([
      figure.id,
      figure.name,
      `${shown(median(figure.ours))} ${figure.unit}`,
      figure.theirs === undefined ? "" : `${shown(median(figure.theirs))} ${figure.unit}`,
      found === null || !Number.isFinite(found) ? "" : found.toFixed(2),
      target,
      verdict(figure),
    ]);
  }
  const widths = title.map((_, column) => Math.max(...rows.map((row) => row[column]?.length ?? 0)));
  return rows.map((row) => row.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join("  ").trimEnd()).join("\n");
}

function shown(value: number): string {
  return value >= 100 ? value.toFixed(0) : value >= 10 ? value.toFixed(1) : value.toFixed(2).replace(/\.?0+$/, "");
}
