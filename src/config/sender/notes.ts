/** What is told while a sender is read: each problem once, by the names of keys. Must not know what a sender is made of. */
import { didYouMean } from "../parsed.ts";
import type { Written, WrittenMap } from "./sender.ts";

/** Where a problem is: the names of keys from the sender down, and the part of the text that is wrong; `key`: the key is. */
export type ReportSender = (
  path: readonly string[],
  message: string,
  hint: string,
  part?: { readonly at: number; readonly length: number } | "key",
) => void;

export class Notes {
  /** What holds for all events is looked at for each, and told once. */
  private readonly told = new Set<string>();

  constructor(private readonly report: ReportSender) {}

  get hasProblems(): boolean {
    return this.told.size > 0;
  }

  problem(path: readonly string[], message: string, hint: string, at?: number | "key", length = 1): undefined {
    const key = JSON.stringify([path, message, at]);
    if (this.told.has(key)) return;
    this.told.add(key);
    this.report(path, message, hint, typeof at === "number" ? { at, length } : at);
  }

  /** Notes that another check reports it. */
  isTold(path: readonly string[]): void {
    this.told.add(JSON.stringify(path));
  }

  /** A text; empty if there is none, or after its problem was told. */
  text(value: Written | undefined, path: readonly string[]): string {
    if (value === undefined) return "";
    if (typeof value === "string") return value;
    if (typeof value === "number" || typeof value === "boolean") return String(value);
    this.problem(path, "expected text", value === null ? "remove the key" : "");
    return "";
  }

  checkKeys(map: WrittenMap, keys: readonly string[], above: readonly string[]): void {
    for (const key of Object.keys(map)) {
      if (!keys.includes(key)) this.problem([...above, key], "unknown key", didYouMean(key, keys), "key");
    }
  }
}

export function isMap(value: Written | undefined): value is WrittenMap {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
