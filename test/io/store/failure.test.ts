import { Database } from "bun:sqlite";
import { describe, expect, test } from "bun:test";
import {
  chmodSync,
  closeSync,
  existsSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { dirname, join } from "node:path";
import { replaceDatabase } from "../../../src/io/store/backup.ts";
import { APPLICATION_ID, migrate, STEPS } from "../../../src/io/store/migrations.ts";
import { openStore } from "../../../src/io/store/sqlite.ts";
import { aor, contact, freshPath, open } from "./usrloc_sample.ts";
import { storedContact as stored } from "../../core/usrloc/stored.ts";

const options = (path: string) => ({ path, sync: "full" }) as const;

/** A database with `count` contacts, closed. */
function filled(count: number): string {
  const path = freshPath();
  const store = open(path);
  for (let i = 0; i < count; i++) store.contactSaved(contact(aor(`user${i}`), `d${i}`), false);
  store.close();
  return path;
}

/** What a killed process leaves behind: all rows are in the log. */
function killed(): string {
  const path = freshPath();
  const store = open(path);
  store.contactSaved(contact(aor("alice"), "d1"), false);
  store.commit();
  const copies = [path, `${path}-wal`].map((file) => [file, readFileSync(file)] as const);
  store.close();
  for (const [file, bytes] of copies) writeFileSync(file, bytes);
  return path;
}

/** Null: there is no such file. */
function bytesOf(path: string): string | null {
  return existsSync(path) && statSync(path).isFile() ? readFileSync(path, "base64") : null;
}

function raw(path: string, sql: string): unknown[] {
  const db = new Database(path);
  const statement = db.prepare(sql);
  const rows = statement.all();
  statement.finalize();
  db.close(true);
  return rows;
}

describe("opening", () => {
  test("S-02 the folder is made, and nobody else may read the file or its log", () => {
    const path = join(dirname(freshPath()), "a", "b", "latefork.db");
    const store = open(path);
    store.setMeta("key", "secret");
    store.commit();
    expect([path, `${path}-wal`].map((file) => statSync(file).mode & 0o777)).toEqual([0o600, 0o600]);
    store.close();
    const loose = filled(1);
    chmodSync(loose, 0o644);
    open(loose).close();
    expect(statSync(loose).mode & 0o777).toBe(0o600);
  });

  test("S-02 a second latefork on the same file is refused, and the first goes on", () => {
    const path = freshPath();
    const first = open(path);
    expect(openStore(options(path))).toEqual({
      store: null,
      problem: `Cannot open ${path}: another process is using it (is latefork already running?)`,
    });
    first.setMeta("k", "v");
    expect(first.commit().ok).toBe(true);
    first.close();
    open(path).close();
  });

  const damaged: { name: string; make: () => string; says: RegExp }[] = [
    {
      name: "a file that is no database",
      make: () => {
        const path = freshPath();
        writeFileSync(path, "this is not a database, whatever its name says".repeat(100));
        return path;
      },
      says: /^Cannot open .*latefork\.db: the database is damaged; stop latefork, .*put a backup in its place/,
    },
    {
      name: "pages overwritten with noise",
      make: () => {
        const path = filled(500);
        const bytes = readFileSync(path);
        for (let at = 20 * 1024; at < bytes.length; at++) bytes[at] = (at * 7919) & 0xff;
        writeFileSync(path, bytes);
        return path;
      },
      says: /the database is damaged/,
    },
    {
      name: "a file cut in half",
      make: () => {
        const path = filled(500);
        const bytes = readFileSync(path);
        writeFileSync(path, bytes.subarray(0, (bytes.length >> 11) << 10));
        return path;
      },
      says: /the database is damaged/,
    },
    {
      name: "the database of another program",
      make: () => {
        const path = freshPath();
        raw(path, "CREATE TABLE theirs (x)");
        return path;
      },
      says: /it is a database of another program$/,
    },
    {
      name: "a newer schema",
      make: () => {
        const path = filled(1);
        raw(path, `PRAGMA user_version = ${STEPS.length + 1}`);
        return path;
      },
      says: new RegExp(`written by a newer latefork \\(schema ${STEPS.length + 1}, this one knows ${STEPS.length}\\)`),
    },
    {
      name: "an empty file beside the log of what was stored",
      make: () => {
        const path = killed();
        writeFileSync(path, "");
        return path;
      },
      says:
        /^Cannot open (.*latefork\.db): it is empty, though \1-wal beside it holds rows \(\d+ KiB\).*put a backup in its place \(and remove \1-wal\), or move both away to start empty$/,
    },
    {
      name: "a log whose database is missing",
      make: () => {
        const path = killed();
        rmSync(path);
        return path;
      },
      says:
        /^Cannot open (.*latefork\.db): it is missing, though \1-wal beside it holds rows \(\d+ KiB\).*put .* back beside it/,
    },
    {
      name: "a file cut off within its first bytes, beside its log",
      make: () => {
        const path = killed();
        writeFileSync(path, "S");
        return path;
      },
      says: /it is cut off after 1 byte/,
    },
    {
      name: "a file cut off within its first bytes",
      make: () => {
        const path = freshPath();
        writeFileSync(path, "SQLite form");
        return path;
      },
      says: /the database is damaged/,
    },
    {
      name: "a folder",
      make: () => {
        const path = freshPath();
        mkdirSync(path);
        return path;
      },
      says: /^Cannot open .*latefork\.db: /,
    },
  ];
  for (const { name, make, says } of damaged) {
    test(`S-02 refused with a reason, the file left as it was: ${name}`, () => {
      const path = make();
      const files = [path, `${path}-wal`];
      const before = files.map(bytesOf);
      const { store, problem } = openStore(options(path));
      expect(store).toBeNull();
      expect(problem).toMatch(says);
      expect(files.map(bytesOf)).toEqual(before);
    });
  }

  test("R-18 what a killed process left is read with its log; an empty file without a log is a new database", () => {
    const store = open(killed());
    expect(store.load(0).contacts.length).toBe(1);
    store.close();
    for (const log of [null, "", "x".repeat(32)]) {
      const path = freshPath();
      writeFileSync(path, "");
      if (log !== null) writeFileSync(`${path}-wal`, log);
      open(path).close();
    }
  });

  test("S-02 damage found only while loading is reported, and nothing is written any more", () => {
    const path = filled(8000);
    const store = open(path);
    // After the check at open, and in a file larger than SQLite's page cache.
    const file = openSync(path, "r+");
    const { size } = statSync(path);
    writeSync(file, new Uint8Array(size >> 1).fill(0xa5), 0, size >> 1, size >> 1);
    closeSync(file);
    const { contacts, problem } = store.load(0);
    expect(contacts.length).toBeLessThan(8000);
    expect(problem).toStartWith(`Cannot read ${path}: the database is damaged`);
    store.setMeta("k", "v");
    expect([store.commit(), store.state]).toEqual([{ ok: false, rows: 0, error: problem }, "failed"]);
    expect(store.close().ok).toBe(false);
  });
});

describe("a disk that fails", () => {
  test("S-02 full: reported, everything kept, written as soon as there is room", () => {
    const path = freshPath();
    const store = open(path, { maxPages: 100 });
    const alice = aor("alice");
    const small = contact(alice, "d1");
    store.contactSaved(small, false);
    expect(store.commit().ok).toBe(true);
    const large = contact(alice, "d2", { params: "x".repeat(200_000) });
    store.contactSaved(large, false);
    small.cseq = 7;
    store.contactSaved(small, true);
    const error = `Cannot write ${path}: the disk is full, free some space`;
    for (let attempt = 0; attempt < 3; attempt++) {
      expect(store.commit()).toEqual({ ok: false, rows: 0, error });
      expect([store.state, store.lastError, store.pending]).toEqual(["failed", error, 2]);
    }
    large.setContact({ uri: large.uri, params: ";short" });
    expect(store.commit()).toEqual({ ok: true, rows: 2, error: "" });
    expect([store.state, store.lastError, store.pending]).toEqual(["ok", "", 0]);
    store.close();
    const again = open(path);
    expect(again.load(0).contacts).toEqual([stored(small), stored(large)]);
    again.close();
  });

  test("S-02 contacts that come and go while it is full do not pile up, and those on the disk are deleted later", () => {
    const path = freshPath();
    const store = open(path, { maxPages: 100 });
    const alice = aor("alice");
    const onDisk = contact(alice, "d0");
    store.contactSaved(onDisk, false);
    store.commit();
    const large = contact(alice, "large", { params: "x".repeat(200_000) });
    store.contactSaved(large, false);
    store.contactRemoved(onDisk);
    for (let i = 1; i <= 1000; i++) {
      const phone = contact(alice, `d${i}`);
      store.contactSaved(phone, false);
      if (i % 100 === 0) expect(store.commit().ok).toBe(false);
      store.contactRemoved(phone);
    }
    expect(store.pending).toBe(2);
    store.contactRemoved(large);
    expect(store.commit()).toEqual({ ok: true, rows: 1, error: "" });
    store.close();
    const again = open(path);
    expect(again.load(0).contacts).toEqual([]);
    again.close();
  });

  test("S-02 after close every call answers, and says that the store is closed", () => {
    const path = freshPath();
    const store = open(path);
    store.close();
    store.setMeta("k", "v");
    const closed = { ok: false, rows: 0, error: `Cannot write ${path}: the store is closed` };
    expect([store.commit(), store.close(), store.state]).toEqual([closed, closed, "closed"]);
    expect(store.backup(`${path}.copy`)).toBe(closed.error);
  });
});

describe("migration", () => {
  const opened = (path: string) => new Database(path);
  const next = [...STEPS, "ALTER TABLE contact ADD COLUMN colour TEXT NOT NULL DEFAULT 'red'"];

  test("S-02 data moves forward, after a copy of what was", () => {
    const path = filled(3);
    const db = opened(path);
    expect(migrate(db, path, next)).toBe("");
    db.close();
    expect(raw(path, "SELECT id, colour FROM contact ORDER BY row")).toEqual(
      ["d0", "d1", "d2"].map((id) => ({ id, colour: "red" })),
    );
    expect(raw(path, "PRAGMA user_version")).toEqual([{ user_version: next.length }]);
    const copy = `${path}.before-v${next.length}`;
    expect(statSync(copy).mode & 0o777).toBe(0o600);
    const before = open(copy);
    expect(before.load(0).contacts.length).toBe(3);
    before.close();
    expect(openStore(options(path)).problem).toMatch(/newer latefork/);
  });

  test("S-02 a phone stored by the first version is there again, without keys it could not have, and can get them", () => {
    const path = freshPath();
    const db = opened(path);
    expect(migrate(db, path, STEPS.slice(0, 1))).toBe("");
    db.run("INSERT INTO aor (row, key, user, domain, id) VALUES (1, 'a@b', 'a', 'b', 'x')");
    db.run(
      "INSERT INTO contact (row, id, aor_key, pn_provider, pn_prid) VALUES (1, 'd1', 'a@b', 'webpush', 'https://p/')",
    );
    db.run("INSERT INTO binding (seq, contact_row, expires_at, pn_registered_at) VALUES (1, 1, 9000, 7)");
    db.close();
    const store = open(path);
    const push = {
      provider: "webpush",
      param: "",
      prid: "https://p/",
      tokenState: "unknown",
      registeredAtMs: 7,
    } as const;
    expect(store.load(0).contacts.map((one) => one.push)).toEqual([push]);
    const keyed = contact(aor("a", { key: "a@b" }), "d1", { push: { ...push, keys: { p256dh: "p", auth: "a" } } });
    store.contactSaved(keyed, false);
    store.close();
    const again = open(path);
    expect(again.load(0).contacts.map((one) => one.push)).toEqual([keyed.push]);
    again.close();
    expect(readdirSync(dirname(path)).sort()).toEqual(["latefork.db", `latefork.db.before-v${STEPS.length}`]);
  });

  test("S-02 R-18 a phone stored before the PBX's grant for it was: there again, with a grant not known, and gets one", () => {
    const path = freshPath();
    const db = opened(path);
    expect(migrate(db, path, STEPS.slice(0, 3))).toBe("");
    db.run("INSERT INTO aor (row, key, user, domain, id) VALUES (1, 'a@b', 'a', 'b', 'x')");
    db.run("INSERT INTO contact (row, id, aor_key) VALUES (1, 'd1', 'a@b')");
    db.run("INSERT INTO binding (seq, contact_row, expires_at, call_id, cseq) VALUES (1, 1, 9000, 'c', 4)");
    db.close();
    const store = open(path);
    const [old] = store.load(0).contacts;
    expect(old).toMatchObject({ id: "d1", callId: "c", cseq: 4, upstreamEndsMs: 0, isDropped: false });
    store.contactSaved(contact(aor("a", { key: "a@b" }), "d1", { upstreamEndsMs: 70, isDropped: true }), true);
    store.close();
    const again = open(path);
    expect(again.load(0).contacts[0]).toMatchObject({ upstreamEndsMs: 70, isDropped: true });
    again.close();
  });

  test("S-02 an AoR stored before the lines of the PBX's 2xx were: there again, with none", () => {
    const path = freshPath();
    const db = opened(path);
    expect(migrate(db, path, STEPS.slice(0, 4))).toBe("");
    db.run(
      "INSERT INTO aor (row, key, user, domain, id, upstream_state) VALUES (1, 'a@b', 'a', 'b', 'x', 'registered')",
    );
    db.close();
    const store = open(path);
    const [old] = store.load(0).aors;
    expect(old).toMatchObject({ key: "a@b", upstream: { state: "registered", lines: "" } });
    store.aorSaved({ ...old!, contacts: [], upstream: { ...old!.upstream, lines: "Service-Route: <sip:a>\r\n" } });
    store.close();
    const again = open(path);
    expect(again.load(0).aors[0]!.upstream.lines).toBe("Service-Route: <sip:a>\r\n");
    again.close();
  });

  test("S-02 a step that fails leaves the data at the last good version, and the copy in place", () => {
    const path = filled(3);
    const db = opened(path);
    const problem = migrate(db, path, [...next, "UPDATE contact SET colour = 'blue'; DROP TABLE no_such_table"]);
    db.close();
    expect(problem).toMatch(/^Cannot migrate .*latefork\.db: no such table: no_such_table/);
    expect(raw(path, "SELECT DISTINCT colour FROM contact")).toEqual([{ colour: "red" }]);
    expect(raw(path, "PRAGMA user_version")).toEqual([{ user_version: next.length }]);
    expect(readdirSync(dirname(path)).sort()).toEqual(["latefork.db", `latefork.db.before-v${next.length + 1}`]);
  });

  test("S-02 a new file takes all steps without a copy, and a file at the newest version none", () => {
    const path = freshPath();
    open(path).close();
    open(path).close();
    expect(readdirSync(dirname(path))).toEqual(["latefork.db"]);
    expect(raw(path, "PRAGMA user_version")).toEqual([{ user_version: STEPS.length }]);
    expect(raw(path, "PRAGMA application_id")).toEqual([{ application_id: APPLICATION_ID }]);
  });
});

describe("backup", () => {
  test("S-04 taken while running it holds everything told so far, and nothing is overwritten", () => {
    const path = freshPath();
    const copy = `${path}.copy`;
    const store = open(path);
    const phone = contact(aor("alice"), "d1");
    store.contactSaved(phone, false);
    expect(store.backup(copy)).toBe("");
    expect(statSync(copy).mode & 0o777).toBe(0o600);
    expect(store.backup(copy)).toBe(`Cannot back up to ${copy}: the file exists`);
    expect(store.backup(join(copy, "below-a-file"))).toStartWith("Cannot back up to ");
    phone.cseq = 2;
    store.contactSaved(phone, true);
    expect(store.close().ok).toBe(true);
    const fromCopy = open(copy);
    expect(fromCopy.load(0).contacts).toEqual([{ ...stored(phone), cseq: 1 }]);
    fromCopy.close();
  });

  test("S-04 a copy takes the place of a damaged database, log and all", () => {
    const path = filled(2);
    const copy = `${path}.copy`;
    const store = open(path);
    store.load(0);
    expect(store.backup(copy)).toBe("");
    expect(() => replaceDatabase(copy, path)).toThrow("locked");
    store.close();
    writeFileSync(path, "ruined");
    writeFileSync(`${path}-wal`, "ruined");
    replaceDatabase(copy, path);
    expect(existsSync(`${path}-wal`)).toBe(false);
    expect(statSync(path).mode & 0o777).toBe(0o600);
    const again = open(path);
    expect(again.load(0).contacts.length).toBe(2);
    again.close();
  });

  test("S-04 a damaged copy replaces nothing", () => {
    const path = filled(2);
    const copy = `${path}.copy`;
    writeFileSync(copy, "x".repeat(5000));
    const before = readFileSync(path);
    expect(() => replaceDatabase(copy, path)).toThrow();
    expect(readFileSync(path).equals(before)).toBe(true);
  });
});

test("S-02 a database file that is removed or replaced while it is open is missed, a backup holds all, and it may come back", () => {
  const path = freshPath();
  const store = open(path);
  store.contactSaved(contact(aor("user"), "d0"), false);
  store.commit();
  const checked = () => {
    store.checkFile();
    return [store.state, store.lastError.startsWith(`Cannot keep ${path}: it was removed or replaced`)];
  };
  for (const file of [path, `${path}-wal`]) {
    expect([file, checked()]).toEqual([file, ["ok", false]]);
    renameSync(file, `${file}.away`);
    expect([file, checked()]).toEqual([file, ["failed", true]]);
    writeFileSync(file, "");
    expect([file, checked()]).toEqual([file, ["failed", true]]);
    store.contactSaved(contact(aor("later"), `later ${file}`), false);
    const copy = freshPath();
    expect([file, store.commit().ok, store.backup(copy), store.state]).toEqual([file, true, "", "failed"]);
    const saved = open(copy);
    expect([file, saved.load(0).contacts.some(({ id }) => id === `later ${file}`)]).toEqual([file, true]);
    saved.close();
    renameSync(`${file}.away`, file);
  }
  expect(checked()).toEqual(["ok", false]);
  store.close();
});
