/** Looking into a database from outside: what is said of it, and that nothing of it changes (O-02, S-02). */
import { Database } from "bun:sqlite";
import { afterAll, expect, test } from "bun:test";
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { inspectStore } from "../../../src/io/store/inspect.ts";
import { STEPS } from "../../../src/io/store/migrations.ts";
import { openStore } from "../../../src/io/store/sqlite.ts";

const folder = mkdtempSync(join(tmpdir(), "latefork-inspect-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

let serial = 0;
function place(): string {
  const path = join(folder, `${++serial} #?%20`);
  mkdirSync(path);
  return join(path, "latefork.db");
}

/** Rows as the store writes them; the columns not named have their defaults. */
function fill(path: string, rows: [provider: string, prid: string, state: string][]): void {
  openStore({ path, sync: "full" }).store!.close();
  const db = new Database(path);
  db.run("INSERT INTO aor (row, key) VALUES (1, 'alice@example.org')");
  const insert = db.prepare("INSERT INTO contact (pn_provider, pn_prid, pn_token_state) VALUES (?, ?, ?)");
  for (const row of rows) insert.run(...row);
  insert.finalize();
  db.close(true);
}

/** All there is in the folder, to the byte and the time. */
function stateOf(path: string): unknown {
  const parent = join(path, "..");
  return readdirSync(parent).sort().map((name) => {
    const { mtimeMs, mode } = statSync(join(parent, name));
    return [name, mtimeMs, mode, readFileSync(join(parent, name)).toString("base64")];
  });
}

const PHONES: [string, string, string][] = [
  ["webpush", "https://push.example.org/a", "ok"],
  ["apns", "00fc", "dead"],
  ["", "", "unknown"],
];
const TOKENS = [{ provider: "webpush", prid: "https://push.example.org/a" }];

test("O-02 a database nobody has open is counted and left as it is", () => {
  const path = place();
  fill(path, PHONES);
  const before = stateOf(path);
  expect(inspectStore(path)).toEqual({ problem: "", isBusy: false, aors: 1, contacts: 3, tokens: TOKENS });
  expect(stateOf(path)).toEqual(before);
});

test("O-02 a database that is open is busy, and its owner goes on", () => {
  const path = place();
  fill(path, PHONES);
  const { store } = openStore({ path, sync: "full" });
  const before = stateOf(path);
  const found = inspectStore(path);
  expect([found.isBusy, found.tokens]).toEqual([true, []]);
  expect(found.problem).toContain("another process is using it");
  expect(stateOf(path)).toEqual(before);
  store!.setMeta("a", "b");
  expect(store!.commit().ok).toBe(true);
  store!.close();
  expect(inspectStore(path).contacts).toBe(3);
});

test("O-02 a database whose appliance was killed is read with its log, which stays for the next start", () => {
  const path = place();
  fill(path, PHONES);
  const { store } = openStore({ path, sync: "full" });
  store!.setMeta("secret", "of the log alone");
  store!.commit();
  const copy = place();
  cpSync(join(path, ".."), join(copy, ".."), { recursive: true });
  store!.close();
  const before = stateOf(copy);
  expect(JSON.stringify(before)).toContain("latefork.db-wal");
  expect(inspectStore(copy)).toMatchObject({ problem: "", contacts: 3, tokens: TOKENS });
  expect(stateOf(copy)).toEqual(before);
  const next = openStore({ path: copy, sync: "full" }).store!;
  expect(next.meta("secret")).toBe("of the log alone");
  next.close();
});

test("S-02 an older schema is looked at and not migrated", () => {
  const path = place();
  fill(path, []);
  rmSync(path);
  const db = new Database(path, { create: true });
  db.run(STEPS[0]!);
  db.run("PRAGMA application_id = 0x4c54464b");
  db.run("PRAGMA user_version = 1");
  db.run("INSERT INTO contact (pn_provider, pn_prid) VALUES ('webpush', 'https://push.example.org/a')");
  db.close(true);
  const before = stateOf(path);
  expect(inspectStore(path)).toMatchObject({ problem: "", aors: 0, contacts: 1, tokens: TOKENS });
  expect(stateOf(path)).toEqual(before);
});

test("S-02 what is no database of ours is told, whatever it is", () => {
  const cases: [(path: string) => void, string][] = [
    [(path) => writeFileSync(path, "not a database, but long enough to be looked at as one".repeat(30)), "damaged"],
    [(path) => new Database(path, { create: true }).run("CREATE TABLE theirs (a)"), "a database of another program"],
    [
      (path) => {
        fill(path, []);
        const db = new Database(path);
        db.run("PRAGMA user_version = 999");
        db.close(true);
      },
      "written by a newer latefork",
    ],
    [() => {}, "cannot be opened"],
  ];
  for (const [make, words] of cases) {
    const path = place();
    make(path);
    const { problem, isBusy, tokens } = inspectStore(path);
    expect(problem).toContain(words);
    expect([isBusy, tokens]).toEqual([false, []]);
  }
});

test("S-02 a log without its database, or beside an empty one, is told and left as it is", () => {
  for (const isThere of [true, false]) {
    const path = place();
    if (isThere) writeFileSync(path, "");
    writeFileSync(`${path}-wal`, "x".repeat(4096));
    const before = existsSync(path);
    expect(inspectStore(path).problem).toContain(isThere ? "it is empty" : "it is missing");
    expect([existsSync(path), readFileSync(`${path}-wal`).length]).toEqual([before, 4096]);
  }
});

test("O-02 a file that was made and not filled is a new database", () => {
  const path = place();
  writeFileSync(path, "");
  expect(inspectStore(path)).toMatchObject({ problem: "", aors: 0, contacts: 0 });
});
