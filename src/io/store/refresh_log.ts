/**
 * What every REGISTER changes (times, CSeq, Call-ID, the PBX's grant) as a log in SQLite, the table `binding`. A refresh
 * appends a row, the newest row of a contact counts, the oldest rows are trimmed. A commit touches the two ends of one
 * table, for any number of contacts in any order: cost and bytes of a refresh stay the same (N-07, S-05). Knows nothing
 * of transactions; `UsrlocRows` drives it.
 */
import type { Database } from "bun:sqlite";
import type { Contact } from "../../core/usrloc/contact.ts";

const COLUMNS =
  "contact_row, expires_at, registered_at, pn_registered_at, cseq, call_id, upstream_ends_at, upstream_dropped";

/** The newest row of one contact, as `load` gives it. */
export interface RefreshRow {
  seq: number;
  contact_row: number;
  expires_at: number;
  registered_at: number;
  pn_registered_at: number;
  cseq: number;
  call_id: string;
  upstream_ends_at: number;
  upstream_dropped: number;
}

/** One contact's place in the log; a link in the list of all of them, oldest first. The log alone writes to it. */
export class LogEntry {
  readonly row: number;
  /** Its newest row on the disk; 0: none yet. */
  seq = 0;
  /** The row the transaction under way has written for it; 0: none. */
  nextSeq = 0;
  /** True while the contact waits to be written for the next commit. */
  isQueued = false;
  older: LogEntry | null = null;
  newer: LogEntry | null = null;

  /** @param row of the contact, in the table `contact` */
  constructor(row: number) {
    this.row = row;
  }
}

/** The log. It has two rows for each contact, so that most rows are outdated when they are trimmed. */
export class RefreshLog {
  private readonly db: Database;
  private readonly put;
  private readonly copy;
  private readonly trimStatement;
  private readonly minRows: number;
  private readonly slackRows: number;
  private oldest: LogEntry | null = null;
  private newest: LogEntry | null = null;
  /** Entries in the list. */
  private live = 0;
  /** Rows on the disk are `first..last`, with gaps. */
  private first = 1;
  private last = 0;
  private appended: LogEntry[] = [];
  private trimmedTo = 0;

  /** @param minRows the length below which nothing is trimmed; small values are for tests */
  constructor(db: Database, minRows = 8192) {
    this.db = db;
    this.minRows = minRows;
    this.slackRows = minRows >> 4;
    // REPLACE heals a missing value with the column's default; the row itself is always new.
    this.put = db.prepare(`INSERT OR REPLACE INTO binding (seq, ${COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)`);
    this.copy = db.prepare(`INSERT INTO binding (seq, ${COLUMNS}) SELECT ?, ${COLUMNS} FROM binding WHERE seq = ?`);
    this.trimStatement = db.prepare("DELETE FROM binding WHERE seq < ?");
  }

  /** Forgets what an earlier transaction wrote and did not commit. */
  begin(): void {
    for (const entry of this.appended) entry.nextSeq = 0;
    this.appended.length = 0;
    this.trimmedTo = this.first;
  }

  /** Writes what the contact says now as its newest row. Throws what SQLite throws. */
  append(entry: LogEntry, contact: Contact): void {
    this.put.run(
      this.sequence(entry),
      entry.row,
      contact.expiresAtMs,
      contact.registeredAtMs,
      contact.push === null ? 0 : contact.push.registeredAtMs,
      contact.cseq,
      contact.callId,
      contact.upstreamEndsMs,
      contact.isDropped ? 1 : 0,
    );
  }

  /**
   * Removes the oldest rows once there are enough too many; rows that still count move to the new end. It touches about
   * twice as many rows as the commit appended at most, and a constant: no commit stalls on it. Call after the appends.
   */
  trim(): void {
    const end = this.last + this.appended.length;
    // Never trims rows of this transaction: they are not in the list yet and would not be moved.
    const limit = Math.max(this.minRows, 2 * Math.max(this.live, this.appended.length));
    const surplus = end - this.first + 1 - limit;
    if (surplus < this.slackRows) return;
    const first = this.first + Math.min(surplus, 2 * (this.slackRows + this.appended.length));
    for (let entry = this.oldest; entry !== null && entry.seq < first; entry = entry.newer) {
      if (entry.nextSeq === 0) this.copy.run(this.sequence(entry), entry.seq);
    }
    this.trimStatement.run(first);
    this.trimmedTo = first;
  }

  /** The transaction is on the disk. */
  committed(): void {
    for (const entry of this.appended) {
      entry.seq = entry.nextSeq;
      entry.nextSeq = 0;
      this.last = entry.seq;
      this.unlink(entry);
      this.link(entry);
    }
    this.appended.length = 0;
    this.first = this.trimmedTo;
  }

  /** The contact is gone: its rows do not count any more, and are trimmed with the others. */
  remove(entry: LogEntry): void {
    this.unlink(entry);
  }

  /** The newest row of every contact by its `contact_row`, longest unchanged first. Before any change; then `adopt` in this order. */
  load(): Map<number, RefreshRow> {
    // The database leaves outdated rows out: to make objects of them takes half the time of loading.
    const select = this.db.prepare<RefreshRow, []>(
      `SELECT seq, ${COLUMNS} FROM binding
       WHERE seq IN (SELECT max(seq) FROM binding GROUP BY contact_row) ORDER BY seq`,
    );
    const ends = this.db.prepare<{ first: number | null; last: number | null }, []>(
      "SELECT (SELECT min(seq) FROM binding) AS first, (SELECT max(seq) FROM binding) AS last",
    );
    const rows = new Map<number, RefreshRow>();
    try {
      const { first, last } = ends.get()!;
      this.first = this.trimmedTo = first ?? 1;
      this.last = last ?? 0;
      for (const row of select.iterate()) rows.set(row.contact_row, row);
    } finally {
      select.finalize();
      ends.finalize();
    }
    return rows;
  }

  /** Takes a loaded contact into the list. */
  adopt(entry: LogEntry, seq: number): void {
    entry.seq = seq;
    this.link(entry);
  }

  finalize(): void {
    this.put.finalize();
    this.copy.finalize();
    this.trimStatement.finalize();
  }

  private sequence(entry: LogEntry): number {
    this.appended.push(entry);
    return entry.nextSeq = this.last + this.appended.length;
  }

  private link(entry: LogEntry): void {
    entry.older = this.newest;
    entry.newer = null;
    if (this.newest === null) this.oldest = entry;
    else this.newest.newer = entry;
    this.newest = entry;
    this.live++;
  }

  private unlink(entry: LogEntry): void {
    const { older, newer } = entry;
    if (older === null && newer === null && this.oldest !== entry) return;
    if (older === null) this.oldest = newer;
    else older.newer = newer;
    if (newer === null) this.newest = older;
    else newer.older = older;
    entry.older = entry.newer = null;
    this.live--;
  }
}
