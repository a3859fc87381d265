/**
 * Tells whether the files of the database are still the ones that are open. If they are removed or replaced while the
 * appliance runs, all it writes from then on is lost, and SQLite does not notice. Knows files, nothing of SQL.
 */
import { statSync } from "node:fs";

/** The database and its log, as they were when first seen. */
export class FileWatch {
  private readonly path: string;
  /** Inode by file name; the log is made with the first write. */
  private readonly seen = new Map<string, number>();

  /** @param path of a database that is open; not `:memory:` */
  constructor(path: string) {
    this.path = path;
    this.isInPlace();
  }

  /** False while one of the files is gone or replaced; true again once it is back. */
  isInPlace(): boolean {
    let isInPlace = true;
    for (const file of [this.path, `${this.path}-wal`]) {
      const inode = inodeOf(file);
      const seen = this.seen.get(file);
      if (seen === undefined) {
        if (inode !== 0) this.seen.set(file, inode);
      } else if (seen !== inode) isInPlace = false;
    }
    return isInPlace;
  }
}

/** 0: there is no file, or it cannot be read. */
function inodeOf(path: string): number {
  try {
    return statSync(path).ino;
  } catch {
    return 0;
  }
}
