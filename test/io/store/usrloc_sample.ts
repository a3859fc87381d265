/** Makes AoRs and contacts for the tests of the store, and compares them with what a store gives back. */
import { afterAll } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { openStore, type SqliteStore, type StoreOptions } from "../../../src/io/store/sqlite.ts";
import { type Aor, Contact, type ContactFields } from "../../../src/core/usrloc/contact.ts";
import type { StoredAor } from "../../../src/core/usrloc/stored.ts";

/** A path in a fresh folder that goes when the test file is done. */
export function freshPath(): string {
  const folder = mkdtempSync(join(tmpdir(), "latefork-store-"));
  afterAll(() => rmSync(folder, { recursive: true, force: true }));
  return join(folder, "latefork.db");
}

/** A store that must open. */
export function open(path: string, options: Partial<StoreOptions> = {}): SqliteStore {
  const { store, problem } = openStore({ path, sync: "full", ...options });
  if (store === null) throw new Error(problem);
  return store;
}

export function aor(user: string, fields: Partial<Aor> = {}): Aor {
  return {
    key: `${user}@example.org`,
    user,
    domain: "example.org",
    id: `a${user}`,
    contacts: [],
    upstream: { state: "none", expiresAtMs: 0, callId: "", cseq: 0, lines: "" },
    ...fields,
  };
}

/** A contact as usrloc holds it. */
export function contact(
  of: Aor,
  id: string,
  fields: Partial<ContactFields & { upstreamEndsMs: number; isDropped: boolean }> = {},
): Contact {
  const made = new Contact(id, of, {
    uri: `sip:${of.user}@192.0.2.7:40123;transport=tls;ob`,
    params: ";reg-id=1",
    instance: `urn:uuid:00000000-0000-1000-8000-${id}`,
    regId: 1,
    q: 700,
    callId: `call-${id}@192.0.2.7`,
    cseq: 1,
    expiresAtMs: 1_800_000_000_123,
    registeredAtMs: 1_790_000_000_456,
    path: "<sip:edge.example.org;lr>",
    userAgent: "Acrobits/1.2.3",
    kind: "mobile",
    push: {
      provider: "apns",
      param: "ABCD1234.org.example.voip",
      prid: `token-${id}`,
      tokenState: "valid",
      registeredAtMs: 1_790_000_000_456,
    },
    flowKey: "tls|192.0.2.1:5061|192.0.2.7:40123",
    ...fields,
  }, { onExpiryDue: () => {} });
  made.upstreamEndsMs = fields.upstreamEndsMs ?? 0;
  made.isDropped = fields.isDropped ?? false;
  return made;
}

export function storedAor(of: Aor): StoredAor {
  const { contacts: _contacts, upstream, ...fields } = of;
  return { ...fields, upstream: { ...upstream } };
}

export function byId<T extends { id: string }>(items: T[]): T[] {
  return [...items].sort((a, b) => (a.id < b.id ? -1 : 1));
}
