/**
 * usrloc in SQLite: which AoRs and contacts changed since the last commit, and the statements that write and load them.
 * Knows nothing of transactions and files; `SqliteStore` drives it.
 *
 * What seldom changes is in the wide row of `contact`; what changes with every REGISTER is in the log of refreshes.
 */
import type { Database } from "bun:sqlite";
import type { Aor, Contact } from "../../core/usrloc/contact.ts";
import type { DeviceKind, TokenState, Upstream } from "../../core/usrloc/model.ts";
import type { ChangeLog, StoredAor, StoredContact, StoredRemnant } from "../../core/usrloc/stored.ts";
import { SharedTexts } from "../../core/usrloc/shared_texts.ts";
import { LogEntry, RefreshLog, type RefreshRow } from "./refresh_log.ts";
import { RowNumbers } from "./row_numbers.ts";

const PUT_AOR = `INSERT OR REPLACE INTO aor
  (row, key, user, domain, id, upstream_state, upstream_expires_at, upstream_call_id, upstream_cseq,
   upstream_lines, upstream_proven)
  VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`;
const PUT_CONTACT = `INSERT OR REPLACE INTO contact
  (row, id, aor_key, uri, params, instance, reg_id, q, path, user_agent, kind, pn_provider, pn_param, pn_prid,
   pn_token_state, flow_key, pn_p256dh, pn_auth, pn_by_hand)
  VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`;

interface AorRow {
  row: number;
  key: string;
  user: string;
  domain: string;
  id: string;
  upstream_state: string;
  upstream_expires_at: number;
  upstream_call_id: string;
  upstream_cseq: number;
  upstream_lines: string;
  upstream_proven: number;
}

interface ContactRow {
  row: number;
  id: string;
  aor_key: string;
  uri: string;
  params: string;
  instance: string;
  reg_id: number;
  q: number;
  path: string;
  user_agent: string;
  kind: string;
  pn_provider: string;
  pn_param: string;
  pn_prid: string;
  pn_token_state: string;
  flow_key: string;
  pn_p256dh: string;
  pn_auth: string;
  pn_by_hand: number;
}

/**
 * The changes of usrloc since the last commit. Bounded by what lives and what is on the disk: a contact counts once
 * however often it changed, and one that came and went without a commit leaves nothing.
 */
export class UsrlocRows implements ChangeLog {
  private readonly db: Database;
  private readonly log: RefreshLog;
  private readonly putAor;
  private readonly putContact;
  private readonly deleteAor;
  private readonly deleteContact;
  private readonly aorRows = new RowNumbers<number>((row) => row);
  private readonly contactRows = new RowNumbers<LogEntry>((row) => new LogEntry(row));
  private readonly aors = new Map<string, Aor>();
  private readonly saved = new Map<string, Contact>();
  private readonly refreshed = new Set<Contact>();

  /** @param minLogRows see `RefreshLog` */
  constructor(db: Database, minLogRows?: number) {
    this.db = db;
    this.log = new RefreshLog(db, minLogRows);
    this.putAor = db.prepare(PUT_AOR);
    this.putContact = db.prepare(PUT_CONTACT);
    this.deleteAor = db.prepare("DELETE FROM aor WHERE row = ?");
    this.deleteContact = db.prepare("DELETE FROM contact WHERE row = ?");
  }

  contactSaved(contact: Contact, isRefresh: boolean): void {
    const entry = contact.storeEntry as LogEntry | undefined ?? this.contactRows.get(contact.id);
    contact.storeEntry = entry;
    if (isRefresh && entry !== undefined) {
      if (entry.isQueued) return;
      entry.isQueued = true;
      this.refreshed.add(contact);
      return;
    }
    if (entry !== undefined) {
      entry.isQueued = true;
      this.refreshed.delete(contact);
    }
    this.saved.set(contact.id, contact);
  }

  contactRemoved(contact: Contact): void {
    this.saved.delete(contact.id);
    this.refreshed.delete(contact);
    contact.storeEntry = undefined;
    const entry = this.contactRows.get(contact.id);
    if (entry === undefined) return;
    this.contactRows.remove(contact.id, entry.row);
    this.log.remove(entry);
  }

  aorSaved(aor: Aor): void {
    this.aors.set(aor.key, aor);
  }

  aorRemoved(aor: Aor): void {
    this.aors.delete(aor.key);
    const row = this.aorRows.get(aor.key);
    if (row !== undefined) this.aorRows.remove(aor.key, row);
  }

  /** AoRs and contacts waiting to be written or deleted. */
  get pending(): number {
    return this.refreshed.size + this.saved.size + this.aors.size + this.contactRows.removed.size +
      this.aorRows.removed.size;
  }

  /** Writes what is pending; it stays pending until `committed`. Throws what SQLite throws. */
  write(): void {
    this.log.begin();
    for (const row of this.contactRows.removed) this.deleteContact.run(row);
    for (const row of this.aorRows.removed) this.deleteAor.run(row);
    for (const contact of this.saved.values()) {
      // A contact cannot be loaded without its AoR: the AoR is written too, in any order of the changes.
      if (this.aorRows.get(contact.aor.key) === undefined) this.aors.set(contact.aor.key, contact.aor);
      const entry = this.contactRows.get(contact.id) ?? this.contactRows.give(contact.id);
      contact.storeEntry = entry;
      entry.isQueued = true;
      this.writeContact(entry.row, contact);
      this.log.append(entry, contact);
    }
    for (const aor of this.aors.values()) this.writeAor(aor);
    for (const contact of this.refreshed) {
      // Another object has its id by now.
      if (this.saved.size > 0 && this.saved.has(contact.id)) continue;
      this.log.append(contact.storeEntry as LogEntry, contact);
    }
    this.log.trim();
  }

  /** The transaction with what `write` wrote is on the disk. */
  committed(): void {
    for (const contact of this.refreshed) (contact.storeEntry as LogEntry).isQueued = false;
    for (const contact of this.saved.values()) (contact.storeEntry as LogEntry).isQueued = false;
    this.refreshed.clear();
    this.saved.clear();
    this.aors.clear();
    this.contactRows.committed();
    this.aorRows.committed();
    this.log.committed();
  }

  /** When the last REGISTER of a stored contact came in; 0 if not after `afterMs`. Throws what SQLite throws. */
  newestAfter(afterMs: number): number {
    // Outdated rows of the log may be in another clock: the exact question is asked only if this one finds something.
    const ofLog = "SELECT max(registered_at) AS newest FROM binding";
    const ofContacts = `${ofLog} WHERE contact_row IN (SELECT row FROM contact)
      AND seq IN (SELECT max(seq) FROM binding GROUP BY contact_row)`;
    let newestMs = 0;
    for (const sql of [ofLog, ofContacts]) {
      const select = this.db.prepare<{ newest: number | null }, []>(sql);
      newestMs = select.get()?.newest ?? 0;
      select.finalize();
      if (newestMs <= afterMs) return 0;
    }
    return newestMs;
  }

  /**
   * Adds what is stored to the lists. Call once, before any change. Throws what SQLite throws.
   * @param remnants of contacts that expired before the PBX's own Contact for them
   * @returns how many contacts had expired by `nowMs`; they are left out, and deleted by the next commit
   */
  load(nowMs: number, aors: StoredAor[], contacts: StoredContact[], remnants: StoredRemnant[]): number {
    // Many phones share few domains, models and apps: each text is one string.
    const shared = new SharedTexts(Infinity);
    const aorKeys = this.loadAors(aors, shared);
    const refreshes = this.log.load();
    const select = this.db.prepare<ContactRow, []>("SELECT * FROM contact ORDER BY row");
    const entries = new Map<number, LogEntry>();
    let expired = 0;
    try {
      for (const row of select.iterate()) {
        const entry = this.contactRows.loaded(row.id, row.row);
        const contact = refreshes.get(row.row);
        const aorKey = aorKeys.get(row.aor_key);
        if (contact !== undefined && contact.expires_at > nowMs && aorKey !== undefined) {
          entries.set(row.row, entry);
          contacts.push(storedContact(row, contact, aorKey, shared));
        } else {
          this.contactRows.remove(row.id, row.row);
          expired++;
          const isHeld = contact !== undefined && contact.upstream_ends_at > nowMs && contact.upstream_dropped === 0;
          if (isHeld && aorKey !== undefined) remnants.push({ aorKey, id: row.id });
        }
      }
    } finally {
      select.finalize();
    }
    for (const { contact_row, seq } of refreshes.values()) {
      const entry = entries.get(contact_row);
      if (entry !== undefined) this.log.adopt(entry, seq);
    }
    return expired;
  }

  finalize(): void {
    this.log.finalize();
    this.putAor.finalize();
    this.putContact.finalize();
    this.deleteAor.finalize();
    this.deleteContact.finalize();
  }

  /** Gives the keys as one string each, for the contacts to share. */
  private loadAors(aors: StoredAor[], shared: SharedTexts): Map<string, string> {
    const select = this.db.prepare<AorRow, []>("SELECT * FROM aor ORDER BY row");
    const keys = new Map<string, string>();
    try {
      for (const row of select.iterate()) {
        keys.set(row.key, row.key);
        this.aorRows.loaded(row.key, row.row);
        aors.push(storedAor(row, shared));
      }
    } finally {
      select.finalize();
    }
    return keys;
  }

  private writeAor(aor: Aor): void {
    const row = this.aorRows.get(aor.key) ?? this.aorRows.give(aor.key);
    const { state, expiresAtMs, provenMs = 0, callId, cseq, lines } = aor.upstream;
    this.putAor.run(row, aor.key, aor.user, aor.domain, aor.id, state, expiresAtMs, callId, cseq, lines, provenMs);
  }

  private writeContact(row: number, contact: Contact): void {
    const push = contact.push;
    this.putContact.run(
      row,
      contact.id,
      contact.aor.key,
      contact.uri,
      contact.params,
      contact.instance,
      contact.regId,
      contact.q,
      contact.path,
      contact.userAgent,
      contact.kind,
      push === null ? "" : push.provider,
      push === null ? "" : push.param,
      push === null ? "" : push.prid,
      push === null ? "unknown" : push.tokenState,
      contact.flowKey,
      push?.keys?.p256dh ?? "",
      push?.keys?.auth ?? "",
      push?.isByHand ? 1 : 0,
    );
  }
}

function storedAor(row: AorRow, shared: SharedTexts): StoredAor {
  return {
    key: row.key,
    user: row.user,
    domain: shared.of(row.domain),
    id: row.id,
    upstream: {
      state: shared.of(row.upstream_state) as Upstream["state"],
      expiresAtMs: row.upstream_expires_at,
      provenMs: row.upstream_proven === 0 ? undefined : row.upstream_proven,
      callId: row.upstream_call_id,
      cseq: row.upstream_cseq,
      lines: shared.of(row.upstream_lines),
    },
  };
}

function storedContact(
  row: ContactRow,
  contact: RefreshRow,
  aorKey: string,
  shared: SharedTexts,
): StoredContact {
  return {
    id: row.id,
    aorKey,
    uri: row.uri,
    params: row.params,
    instance: row.instance,
    regId: row.reg_id,
    q: row.q,
    callId: contact.call_id,
    cseq: contact.cseq,
    expiresAtMs: contact.expires_at,
    registeredAtMs: contact.registered_at,
    path: shared.of(row.path),
    userAgent: shared.of(row.user_agent),
    kind: shared.of(row.kind) as DeviceKind,
    // `prid` is never empty (model.ts), so an empty one says there is no push.
    push: row.pn_prid === "" ? null : {
      provider: shared.of(row.pn_provider),
      param: shared.of(row.pn_param),
      prid: row.pn_prid,
      tokenState: shared.of(row.pn_token_state) as TokenState,
      registeredAtMs: contact.pn_registered_at,
      keys: row.pn_p256dh === "" ? undefined : { p256dh: row.pn_p256dh, auth: row.pn_auth },
      isByHand: row.pn_by_hand === 1 ? true : undefined,
    },
    flowKey: row.flow_key,
    upstreamEndsMs: contact.upstream_ends_at,
    isDropped: contact.upstream_dropped === 1,
  };
}
