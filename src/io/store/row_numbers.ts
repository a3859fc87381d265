/** Which row of a table belongs to which object, and which rows have to go. Knows nothing of SQL. */

/**
 * Row numbers of one table by the name of the object, each with what is kept beside it. Numbers rise and are given once in
 * this process: so rows above the last commit are known not to be on the disk.
 */
export class RowNumbers<T> {
  private readonly entries = new Map<string, T>();
  private readonly make: (row: number) => T;
  private last = 0;
  private lastStored = 0;
  /** Rows on the disk to delete at the next commit; never more than there are on the disk. */
  readonly removed = new Set<number>();

  constructor(make: (row: number) => T) {
    this.make = make;
  }

  get(name: string): T | undefined {
    return this.entries.get(name);
  }

  /** The next free row, for a new object. */
  give(name: string): T {
    const entry = this.make(++this.last);
    this.entries.set(name, entry);
    return entry;
  }

  /** A row found on the disk; give them in rising order. */
  loaded(name: string, row: number): T {
    const entry = this.make(row);
    this.entries.set(name, entry);
    this.last = this.lastStored = row;
    return entry;
  }

  remove(name: string, row: number): void {
    this.entries.delete(name);
    if (row <= this.lastStored) this.removed.add(row);
  }

  /** What was given is on the disk, what was removed is gone from it. */
  committed(): void {
    this.lastStored = this.last;
    this.removed.clear();
  }
}
