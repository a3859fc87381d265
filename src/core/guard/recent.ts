/**
 * A map that forgets: it holds at most `max` entries. Those unused for longest go first, half of all at a time. It is made
 * of two maps: with one, each deletion of the oldest would step over all entries deleted at the front before.
 */
export class Recent<Value> {
  private young = new Map<string, Value>();
  private old = new Map<string, Value>();

  constructor(private readonly max: number) {}

  /** Entries held, at most `max`. */
  get size(): number {
    return this.young.size + this.old.size;
  }

  get(key: string): Value | undefined {
    const value = this.young.get(key);
    if (value !== undefined || this.old.size === 0) return value;
    const found = this.old.get(key);
    if (found === undefined) return undefined;
    this.old.delete(key);
    this.set(key, found);
    return found;
  }

  set(key: string, value: Value): void {
    if (this.young.size >= this.max / 2) {
      this.old = this.young;
      this.young = new Map();
    } else if (this.old.size > 0) this.old.delete(key);
    this.young.set(key, value);
  }

  delete(key: string): void {
    this.young.delete(key);
    this.old.delete(key);
  }

  clear(): void {
    this.young = new Map();
    this.old = new Map();
  }
}
