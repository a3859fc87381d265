import { describe, expect, test } from "bun:test";
import { statSync } from "node:fs";
import fc from "fast-check";
import { Htables } from "../../../src/core/htable/htables.ts";
import type { Aor, Contact } from "../../../src/core/usrloc/contact.ts";
import type { StoredAor, StoredContact } from "../../../src/core/usrloc/stored.ts";
import { aor, byId, contact, freshPath, open, storedAor } from "./usrloc_sample.ts";
import { storedContact as stored } from "../../core/usrloc/stored.ts";

const NOW_MS = 1_790_000_000_000;

test("R-18 every field of AoRs and contacts is there again, without a commit at close too", () => {
  const path = freshPath();
  const alice = aor("alice", {
    upstream: {
      state: "registered",
      expiresAtMs: NOW_MS + 1,
      provenMs: NOW_MS - 5,
      callId: "up@pbx",
      cseq: 77,
      lines: "Service-Route: <sip:a;lr>\r\n",
    },
  });
  const bob = aor("bob", { key: "bob@b.example.net", domain: "b.example.net" });
  const phones = [
    contact(alice, "d1"),
    contact(alice, "d2", {
      push: null,
      kind: "desk",
      regId: 0,
      q: 0,
      instance: "",
      params: "",
      path: "",
      userAgent: "",
    }),
    contact(bob, "d3", {
      cseq: 2 ** 31 - 1,
      uri: "sip:b@[2001:db8::1]:5060",
      userAgent: "Ph\u00f6n \u00ff\u0080 \0 'x'",
      upstreamEndsMs: NOW_MS + 7,
      isDropped: true,
    }),
    contact(bob, "d4", {
      push: {
        provider: "webpush",
        param: "",
        prid: "https://push.example.org/x?y",
        tokenState: "unknown",
        registeredAtMs: NOW_MS,
        keys: { p256dh: "BPoint", auth: "secret" },
        isByHand: true,
      },
    }),
  ];
  const first = open(path);
  first.aorSaved(alice);
  first.aorSaved(bob);
  for (const phone of phones) first.contactSaved(phone, false);
  expect(first.commit()).toEqual({ ok: true, rows: 6, error: "" });
  phones[0]!.expiresAtMs += 5000;
  first.contactSaved(phones[0]!, true);
  expect(first.close()).toEqual({ ok: true, rows: 1, error: "" });

  const second = open(path);
  expect(second.load(NOW_MS)).toEqual({
    aors: [alice, bob].map(storedAor),
    contacts: phones.map(stored),
    remnants: [],
    htableItems: [],
    expired: 0,
    problem: "",
  });
  second.close();
});

test("R-18 a contact that expired while we were down is left out and deleted, its AoR is kept", () => {
  const path = freshPath();
  const alice = aor("alice", {
    upstream: { state: "registered", expiresAtMs: NOW_MS + 1, callId: "c", cseq: 1, lines: "" },
  });
  const first = open(path);
  for (const [id, expiresAtMs] of [["d1", NOW_MS], ["d2", NOW_MS + 1], ["d3", NOW_MS - 1]] as const) {
    first.contactSaved(contact(alice, id, { expiresAtMs }), false);
  }
  first.close();
  const second = open(path);
  const { aors, contacts, expired } = second.load(NOW_MS);
  expect([aors.length, contacts.map((c) => c.id), expired]).toEqual([1, ["d2"], 2]);
  expect(second.close().rows).toBe(2);
  const third = open(path);
  expect([third.load(0).contacts.length, third.pending]).toEqual([1, 0]);
  third.close();
});

test("R-18 R-08 of those that expired, the ones the PBX may hold a Contact of their own for are told, once", () => {
  const path = freshPath();
  const alice = aor("alice", {
    upstream: { state: "registered", expiresAtMs: NOW_MS + 9, callId: "c", cseq: 1, lines: "" },
  });
  const first = open(path);
  const expired = { expiresAtMs: NOW_MS };
  first.contactSaved(contact(alice, "held", { ...expired, upstreamEndsMs: NOW_MS + 1 }), false);
  first.contactSaved(contact(alice, "lapsed", { ...expired, upstreamEndsMs: NOW_MS }), false);
  first.contactSaved(contact(alice, "dropped", { ...expired, upstreamEndsMs: NOW_MS + 1, isDropped: true }), false);
  first.contactSaved(contact(alice, "alive", { expiresAtMs: NOW_MS + 1, upstreamEndsMs: NOW_MS + 1 }), false);
  first.close();
  const second = open(path);
  expect(second.load(NOW_MS).remnants).toEqual([{ aorKey: alice.key, id: "held" }]);
  second.close();
  const third = open(path);
  expect(third.load(NOW_MS).remnants).toEqual([]);
  third.close();
});

describe("commit", () => {
  test("S-01 nothing changed: no transaction, and the log does not grow", () => {
    const path = freshPath();
    const store = open(path);
    const before = statSync(`${path}-wal`).size;
    expect(store.commit()).toEqual({ ok: true, rows: 0, error: "" });
    expect(statSync(`${path}-wal`).size).toBe(before);
    store.close();
  });

  test("S-01 a contact that changed many times in a turn is one row, with what it says at the commit", () => {
    const path = freshPath();
    const store = open(path);
    const alice = aor("alice");
    const phone = contact(alice, "d1");
    store.aorSaved(alice);
    for (let i = 0; i < 10; i++) store.contactSaved(phone, i > 0);
    phone.cseq = 99;
    phone.setContact({ uri: "sip:alice@192.0.2.99", params: phone.params });
    expect(store.commit().rows).toBe(2);
    for (const isRefresh of [true, false, true]) store.contactSaved(phone, isRefresh);
    phone.userAgent = "changed after a refresh was told";
    expect(store.close().rows).toBe(1);
    const again = open(path);
    expect(again.load(0).contacts).toEqual([stored(phone)]);
    again.close();
  });

  test("S-01 a refresh writes the times, CSeq, Call-ID and the token's time, and leaves the wide row alone", () => {
    const path = freshPath();
    const store = open(path);
    const phone = contact(aor("alice"), "d1");
    store.contactSaved(phone, false);
    store.commit();
    Object.assign(phone, { expiresAtMs: 1_900_000_000_001, registeredAtMs: 1_890_000_000_001, cseq: 2, callId: "new" });
    phone.push!.registeredAtMs = 1_890_000_000_001;
    const expected = stored(phone);
    phone.userAgent = "not told of";
    store.contactSaved(phone, true);
    store.close();
    const again = open(path);
    expect(again.load(0).contacts).toEqual([expected]);
    again.close();
  });

  test("S-01 one that came and went between two commits leaves nothing to do", () => {
    const store = open(":memory:");
    const alice = aor("alice");
    const phone = contact(alice, "d1");
    store.aorSaved(alice);
    store.contactSaved(phone, false);
    store.contactRemoved(phone);
    store.aorRemoved(alice);
    expect(store.pending).toBe(0);
    store.close();
  });

  test("S-04 what is only in memory is written when a copy is wanted, and not before", () => {
    const store = open(":memory:");
    const alice = aor("alice");
    const phone = contact(alice, "d1");
    store.aorSaved(alice);
    store.contactSaved(phone, false);
    expect([store.isVolatile, store.pending]).toEqual([true, 2]);
    const path = freshPath();
    expect(store.backup(path)).toBe("");
    store.close();
    const copy = open(path);
    expect(copy.isVolatile).toBe(false);
    expect(copy.load(0).contacts).toEqual([stored(phone)]);
    copy.close();
  });

  test("S-01 a device that comes back under its id after a removal in the same turn is kept", () => {
    const path = freshPath();
    const store = open(path);
    const alice = aor("alice");
    const old = contact(alice, "d1");
    store.contactSaved(old, false);
    store.commit();
    const successor = contact(aor("alice", { id: "new" }), "d1", { cseq: 5 });
    store.contactRemoved(old);
    store.aorRemoved(alice);
    store.contactSaved(successor, true);
    store.close();
    const again = open(path);
    const { aors, contacts } = again.load(0);
    expect([aors, contacts]).toEqual([[storedAor(successor.aor)], [stored(successor)]]);
    again.close();
  });

  test("S-01 a value that is none does not block the others", () => {
    const path = freshPath();
    const store = open(path);
    const alice = aor("alice");
    const broken = contact(alice, "d1", { expiresAtMs: NaN, userAgent: undefined as unknown as string });
    store.contactSaved(broken, false);
    store.contactSaved(contact(alice, "d2"), false);
    expect(store.commit().ok).toBe(true);
    store.close();
    const again = open(path);
    expect(again.load(0).contacts.map((c) => c.id)).toEqual(["d2"]);
    again.close();
  });
});

describe("bytes", () => {
  const PAGE = 1024 + 24;
  const sized = (path: string) => statSync(`${path}-wal`).size;

  test("S-05 a refresh on its own writes one page, and neighbours share theirs", () => {
    const path = freshPath();
    const store = open(path);
    const phones: Contact[] = [];
    for (let i = 0; i < 2000; i++) {
      phones.push(contact(aor(`user${i}`), `d${i}`, { callId: `${i}-3848276298220188511@192.0.2.7` }));
    }
    for (const phone of phones) store.contactSaved(phone, false);
    store.commit();
    let before = sized(path);
    store.contactSaved(phones[1000]!, true);
    store.commit();
    expect(sized(path) - before).toBe(PAGE);
    before = sized(path);
    for (let i = 500; i < 700; i++) store.contactSaved(phones[i]!, true);
    store.commit();
    // 13 rows of about 75 bytes fill a page.
    expect((sized(path) - before) / 200).toBeLessThan(100);
    store.close();
  });

  test("S-05 the log is folded into the file instead of growing for ever", () => {
    const path = freshPath();
    const store = open(path, { sync: "relaxed" });
    const phones = Array.from({ length: 300 }, (_, i) => contact(aor(`user${i}`), `d${i}`));
    for (const phone of phones) store.contactSaved(phone, false);
    for (let round = 0; round < 400; round++) {
      for (const phone of phones) store.contactSaved(phone, true);
      store.commit();
    }
    expect(sized(path)).toBeLessThan(8 * 1024 * 1024);
    store.close();
  });
});

describe("meta", () => {
  test("O-03 a secret of the installation is the same after a restart", () => {
    const path = freshPath();
    const first = open(path);
    expect(first.meta("flow_token_key")).toBeUndefined();
    first.setMeta("flow_token_key", "00ff\u00ff");
    first.setMeta("boots", "1");
    expect(first.meta("boots")).toBe("1");
    expect(first.commit().rows).toBe(2);
    first.setMeta("boots", "2");
    first.setMeta("flow_token_key", "00ff\u00ff");
    expect(first.close().rows).toBe(1);
    const second = open(path);
    expect([second.meta("flow_token_key"), second.meta("boots")]).toEqual(["00ff\u00ff", "2"]);
    second.close();
  });
});

describe("htables", () => {
  const definitions = {
    banned: { ttl: 600_000, max: 100, persist: true },
    counters: { ttl: 0, max: 100, persist: true },
    scratch: { ttl: 600_000, max: 100, persist: false },
  };

  test("S-03 persisted tables are there again with their remaining time, the others are not", () => {
    const path = freshPath();
    const first = open(path);
    const tables = new Htables(definitions, first);
    tables.get("banned")!.set("192.0.2.1", "flood \u00ff", undefined, NOW_MS);
    tables.get("banned")!.set("192.0.2.2", "scanner", 1000, NOW_MS);
    tables.get("banned")!.set("192.0.2.3", "forgiven", undefined, NOW_MS);
    tables.get("counters")!.incr("total", 41, undefined, NOW_MS);
    tables.get("scratch")!.set("k", "v", undefined, NOW_MS);
    expect(first.commit().rows).toBe(4);
    tables.get("counters")!.incr("total", 1, undefined, NOW_MS);
    tables.get("banned")!.delete("192.0.2.3", NOW_MS);
    expect(first.close().rows).toBe(2);

    const second = open(path);
    const again = new Htables(definitions, second);
    again.restore(second.load(NOW_MS + 1000).htableItems, NOW_MS + 1000);
    expect(again.all().map((table) => table.list(NOW_MS + 1000))).toEqual([
      [{ key: "192.0.2.1", value: "flood \u00ff", expiresAtMs: NOW_MS + 600_000 }],
      [{ key: "total", value: "42", expiresAtMs: Infinity }],
      [],
    ]);
    expect(second.pending).toBe(1);
    second.close();
    const third = open(path);
    expect(third.load(0).htableItems.map((item) => item.key)).toEqual(["total", "192.0.2.1"]);
    third.close();
  });

  test("S-03 entries that come and go while the disk fails leave nothing waiting", () => {
    const store = open(":memory:");
    const tables = new Htables(definitions, store);
    for (let i = 0; i < 5000; i++) tables.get("banned")!.set(`source ${i}`, "flood", 1000, NOW_MS + i);
    expect(store.pending).toBe(100);
    tables.expire(NOW_MS + 10_000);
    expect(store.pending).toBe(0);
    store.close();
  });
});

test("S-01 after any changes, commits and restarts the store gives back what was last committed", () => {
  const id = fc.constantFrom("d1", "d2", "d3", "d4", "d5");
  const user = fc.constantFrom("u1", "u2");
  const step = fc.oneof(
    { weight: 5, arbitrary: fc.record({ op: fc.constant("save"), id, user, text: fc.string({ maxLength: 5 }) }) },
    { weight: 5, arbitrary: fc.record({ op: fc.constant("refresh"), id, cseq: fc.nat() }) },
    { weight: 2, arbitrary: fc.record({ op: fc.constant("remove"), id }) },
    { weight: 2, arbitrary: fc.record({ op: fc.constant("upstream"), user, cseq: fc.nat() }) },
    { weight: 3, arbitrary: fc.record({ op: fc.constant("commit") }) },
    { weight: 1, arbitrary: fc.record({ op: fc.constant("restart") }) },
  );
  fc.assert(
    fc.property(fc.array(step, { maxLength: 40, size: "max" }), (steps) => {
      const path = freshPath();
      let store = open(path, { sync: "relaxed" });
      const aors = new Map<string, Aor>();
      const contacts = new Map<string, Contact>();
      const aorOf = (user: string) => {
        const known = aors.get(user) ?? aor(user);
        if (!aors.has(user)) store.aorSaved(known);
        aors.set(user, known);
        return known;
      };
      for (const s of steps as { op: string; id: string; user: string; text: string; cseq: number }[]) {
        const known = contacts.get(s.id);
        if (s.op === "save") {
          if (known !== undefined) {
            known.userAgent = s.text;
            store.contactSaved(known, false);
          } else {
            contacts.set(s.id, contact(aorOf(s.user), s.id, { params: s.text }));
            store.contactSaved(contacts.get(s.id)!, false);
          }
        } else if (s.op === "refresh" && known !== undefined) {
          known.cseq = s.cseq;
          store.contactSaved(known, true);
        } else if (s.op === "remove" && known !== undefined) {
          contacts.delete(s.id);
          store.contactRemoved(known);
          if (![...contacts.values()].some((c) => c.aor === known.aor)) {
            aors.delete(known.aor.user);
            store.aorRemoved(known.aor);
          }
        } else if (s.op === "upstream" && aors.has(s.user)) {
          aors.get(s.user)!.upstream.cseq = s.cseq;
          store.aorSaved(aors.get(s.user)!);
        } else if (s.op === "commit") {
          expect(store.commit().ok).toBe(true);
          expect(store.pending).toBe(0);
        } else if (s.op === "restart") {
          expect(store.close().ok).toBe(true);
          store = open(path, { sync: "relaxed" });
          const loaded = store.load(0);
          expect(byId<StoredAor>(loaded.aors)).toEqual(byId([...aors.values()].map(storedAor)));
          expect(byId<StoredContact>(loaded.contacts)).toEqual(byId([...contacts.values()].map(stored)));
        }
      }
      store.close();
      const last = open(path);
      const loaded = last.load(0);
      expect(byId(loaded.aors)).toEqual(byId([...aors.values()].map(storedAor)));
      expect(byId(loaded.contacts)).toEqual(byId([...contacts.values()].map(stored)));
      last.close();
    }),
    { numRuns: 60 },
  );
});
