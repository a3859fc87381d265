/** Words that the text tables of several resources share: durations, counts, pairs of name and value. */
import { readable } from "../observe/display.ts";

/** Width of what a service said: what to do about it comes last, and must not be cut off. */
export const ADVICE = 300;

/** `1 device`, `2 devices`. */
export function many(count: number, thing: string): string {
  return `${count} ${thing}${count === 1 ? "" : "s"}`;
}

/** `4d 3h`, `3h 2m`, `2m 1s`, `59s`. */
export function duration(seconds: number): string {
  const whole = Math.max(0, Math.floor(seconds));
  const parts: [number, string][] = [
    [Math.floor(whole / 86_400), "d"],
    [Math.floor(whole / 3600) % 24, "h"],
    [Math.floor(whole / 60) % 60, "m"],
    [whole % 60, "s"],
  ];
  const first = parts.findIndex(([count]) => count > 0);
  if (first < 0) return "0s";
  return parts.slice(first, first + 2).filter(([count]) => count > 0).map(([count, unit]) => `${count}${unit}`).join(
    " ",
  );
}

/** One a line, the names in one column. */
export function pairs(rows: readonly (readonly [string, string])[]): string {
  const width = rows.reduce((widest, [name]) => Math.max(widest, name.length), 0);
  return rows.map(([name, value]) => `${name.padEnd(width)}  ${readable(value)}\n`).join("");
}
