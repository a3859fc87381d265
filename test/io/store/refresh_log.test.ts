import { Database } from "bun:sqlite";
import { expect, test } from "bun:test";
import fc from "fast-check";
import { migrate } from "../../../src/io/store/migrations.ts";
import { UsrlocRows } from "../../../src/io/store/usrloc_rows.ts";
import type { Contact } from "../../../src/core/usrloc/contact.ts";
import type { StoredAor, StoredContact } from "../../../src/core/usrloc/stored.ts";
import { aor, byId, contact } from "./usrloc_sample.ts";
import { storedContact as stored } from "../../core/usrloc/stored.ts";

/** Short enough that a few dozen refreshes make it trim. */
const MIN_ROWS = 16;

function memory(): Database {
  const db = new Database(":memory:");
  expect(migrate(db, ":memory:")).toBe("");
  return db;
}

function transact(db: Database, rows: UsrlocRows, outcome: "COMMIT" | "ROLLBACK" = "COMMIT"): void {
  db.run("BEGIN");
  rows.write();
  db.run(outcome);
  if (outcome === "COMMIT") rows.committed();
}

function loaded(rows: UsrlocRows): StoredContact[] {
  const aors: StoredAor[] = [];
  const contacts: StoredContact[] = [];
  rows.load(0, aors, contacts, []);
  return contacts;
}

function logRows(db: Database): number {
  return (db.query("SELECT count(*) AS n FROM binding").get() as { n: number }).n;
}

test("S-01 a first commit longer than the log keeps every contact", () => {
  const db = memory();
  const rows = new UsrlocRows(db, MIN_ROWS);
  const contacts = Array.from({ length: 500 }, (_, i) => contact(aor(`user${i}`), `d${i}`));
  for (const phone of contacts) rows.contactSaved(phone, false);
  transact(db, rows);
  expect(byId(loaded(new UsrlocRows(db, MIN_ROWS)))).toEqual(byId(contacts.map(stored)));
});

test("N-07 the log stays about twice as long as there are contacts, however they refresh", () => {
  const db = memory();
  const rows = new UsrlocRows(db, MIN_ROWS);
  const contacts = Array.from({ length: 100 }, (_, i) => contact(aor(`user${i}`), `d${i}`));
  for (const phone of contacts) rows.contactSaved(phone, false);
  transact(db, rows);
  let longest = 0;
  for (let turn = 0; turn < 3000; turn++) {
    // A third never refresh: they lie at the old end and have to be moved.
    const phone = contacts[(turn * 37) % 67]!;
    phone.cseq++;
    rows.contactSaved(phone, true);
    transact(db, rows);
    longest = Math.max(longest, logRows(db));
  }
  expect(longest).toBeLessThanOrEqual(2 * 100 + 10);
  for (const phone of contacts.slice(1)) rows.contactRemoved(phone);
  for (let turn = 0; turn < 300; turn++) {
    rows.contactSaved(contacts[0]!, true);
    transact(db, rows);
  }
  expect(logRows(db)).toBeLessThanOrEqual(MIN_ROWS + 1);
  expect(loaded(new UsrlocRows(db, MIN_ROWS))).toEqual([stored(contacts[0]!)]);
});

test("S-01 whatever is saved, refreshed, removed, rolled back and reloaded, the newest committed row of each counts", () => {
  const ids = Array.from({ length: 60 }, (_, i) => `d${i}`);
  const id = fc.constantFrom(...ids);
  const change = fc.record({ op: fc.constantFrom("refresh", "refresh", "refresh", "save", "remove"), id });
  const turn = fc.record({
    changes: fc.array(change, { maxLength: 120, size: "max" }),
    outcome: fc.constantFrom("COMMIT", "COMMIT", "COMMIT", "ROLLBACK", "RELOAD"),
  });
  fc.assert(
    fc.property(fc.array(turn, { maxLength: 30 }), (turns) => {
      const db = memory();
      let rows = new UsrlocRows(db, MIN_ROWS);
      const contacts = new Map<string, Contact>();
      let cseq = 0;
      for (const { changes, outcome } of turns) {
        for (const { op, id } of changes) {
          const known = contacts.get(id);
          if (op === "remove") {
            if (known !== undefined) rows.contactRemoved(known);
            contacts.delete(id);
            continue;
          }
          const phone = known ?? contact(aor(id), id);
          contacts.set(id, phone);
          phone.cseq = ++cseq;
          rows.contactSaved(phone, op === "refresh");
        }
        transact(db, rows, outcome === "ROLLBACK" ? "ROLLBACK" : "COMMIT");
        if (outcome !== "RELOAD") continue;
        rows = new UsrlocRows(db, MIN_ROWS);
        // Another process has objects of its own.
        for (const phone of contacts.values()) phone.storeEntry = undefined;
        expect(byId(loaded(rows))).toEqual(byId([...contacts.values()].map(stored)));
      }
      transact(db, rows);
      expect(rows.pending).toBe(0);
      expect(byId(loaded(new UsrlocRows(db, MIN_ROWS)))).toEqual(byId([...contacts.values()].map(stored)));
      db.close();
    }),
    { numRuns: 200 },
  );
});
