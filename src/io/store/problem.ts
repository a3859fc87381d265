/** What went wrong with the database file, in words an admin can act on (S-02). Owns texts only. */

/**
 * @param action what was tried: `open`, `read`, `write`, `migrate`, `back up`
 * @param path the file
 * @param error what SQLite or the file system threw
 * @returns one sentence without a period: the action, the file, the cause, what to do
 */
export function describeProblem(action: string, path: string, error: unknown): string {
  const code = codeOf(error);
  const start = `Cannot ${action} ${path}: `;
  if (isBusy(error)) {
    return `${start}another process is using it (is latefork already running?)`;
  }
  if (code.startsWith("SQLITE_CORRUPT") || code === "SQLITE_NOTADB") return start + damage(path);
  if (code === "SQLITE_FULL" || code === "ENOSPC") return `${start}the disk is full, free some space`;
  if (code.startsWith("SQLITE_READONLY") || code === "EACCES" || code === "EPERM" || code === "EROFS") {
    return `${start}no permission, give the file and its folder to the user latefork runs as`;
  }
  if (code.startsWith("SQLITE_CANTOPEN")) return `${start}the file or its folder cannot be opened`;
  if (code.startsWith("SQLITE_IOERR")) return `${start}the disk reports an error (${code})`;
  const text = error instanceof Error ? error.message : String(error);
  return start + (code === "" || text.includes(code) ? text : `${text} (${code})`);
}

/** True if another process has the file open. */
export function isBusy(error: unknown): boolean {
  return /^SQLITE_(?:BUSY|LOCKED)/.test(codeOf(error));
}

/** The second half of the sentence for a damaged file, with the way out. */
export function damage(path: string): string {
  return `the database is damaged; stop latefork, then put a backup in its place (and remove its -wal file), ` +
    `or move ${path} away to start empty`;
}

/**
 * The sentence for a log whose database holds nothing, with the ways out.
 * @param bytes of the database; null: it is missing
 * @param logBytes of the log beside it
 */
export function logWithoutDatabase(path: string, bytes: number | null, logBytes: number): string {
  const log = `${path}-wal`;
  const state = bytes === null
    ? "missing"
    : bytes === 0
    ? "empty"
    : `cut off after ${bytes} ${bytes === 1 ? "byte" : "bytes"}`;
  const back = bytes === null ? `put ${path} back beside it if it was moved; else ` : "";
  return `Cannot open ${path}: it is ${state}, though ${log} beside it holds rows (${
    Math.ceil(logBytes / 1024)
  } KiB), which ` +
    `are of no use without it: registrations and tables are lost; stop latefork, then ${back}put a backup in its place ` +
    `(and remove ${log}), or move both away to start empty`;
}

/** The sentence for a file that was removed while it is open, with the way to keep what is in it. */
export function misplaced(path: string): string {
  return `Cannot keep ${path}: it was removed or replaced while latefork runs; write a copy with "latefork backup FILE", ` +
    `stop latefork, copy FILE to ${path}, remove ${path}-wal if it is there, and start`;
}

function codeOf(error: unknown): string {
  const code = (error as { code?: unknown } | null)?.code;
  return typeof code === "string" ? code : "";
}
