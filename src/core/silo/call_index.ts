/**
 * Calls by a text they share: AoR or Call-ID. Most keys have one call, and a Set for each would be a quarter of what
 * an ended call weighs. Knows nothing of what the keys mean.
 */
import type { Call } from "./call.ts";

const NO_CALLS: readonly Call[] = [];

export class CallIndex {
  private readonly byKey = new Map<string, Call | Set<Call>>();

  /** Keys that have a call. */
  get size(): number {
    return this.byKey.size;
  }

  keys(): IterableIterator<string> {
    return this.byKey.keys();
  }

  /** The calls of a key in the order they were added, as they are now: what happens to them meanwhile changes no list. */
  of(key: string): readonly Call[] {
    const calls = this.byKey.get(key);
    return calls === undefined ? NO_CALLS : calls instanceof Set ? [...calls] : [calls];
  }

  count(key: string): number {
    const calls = this.byKey.get(key);
    return calls === undefined ? 0 : calls instanceof Set ? calls.size : 1;
  }

  add(key: string, call: Call): void {
    const calls = this.byKey.get(key);
    if (calls === undefined) this.byKey.set(key, call);
    else if (calls instanceof Set) calls.add(call);
    else if (calls !== call) this.byKey.set(key, new Set([calls, call]));
  }

  /** @returns false if it was not there */
  remove(key: string, call: Call): boolean {
    const calls = this.byKey.get(key);
    if (calls === call) return this.byKey.delete(key);
    if (!(calls instanceof Set) || !calls.delete(call)) return false;
    if (calls.size === 0) this.byKey.delete(key);
    return true;
  }
}
