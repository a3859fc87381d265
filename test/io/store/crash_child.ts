/**
 * Run by crash.test.ts, which kills it: changes contacts, commits, and says on stdout what has been acknowledged.
 * Arguments: the database, the number of the first turn. A line `N` says: everything up to turn N is committed.
 */
import { writeSync } from "node:fs";
import type { Contact } from "../../../src/core/usrloc/contact.ts";
import { aor, contact, open } from "./usrloc_sample.ts";

const [path = "", first] = process.argv.slice(2);
const store = open(path);
const contacts = new Map<string, Contact>();
const save = (id: string, cseq: number) => {
  let phone = contacts.get(id);
  const isNew = phone === undefined;
  phone ??= contact(aor(id), id);
  contacts.set(id, phone);
  phone.cseq = cseq;
  if (isNew) store.aorSaved(phone.aor);
  store.contactSaved(phone, !isNew);
};
for (const { id, aorKey, ...fields } of store.load(0).contacts) {
  contacts.set(id, contact(aor(aorKey.slice(0, aorKey.indexOf("@"))), id, fields));
}
for (let turn = Number(first);; turn++) {
  save(`fixed${turn % 7}`, turn);
  save(`both${turn % 3}`, turn);
  save(`new${turn}`, turn);
  if (turn % 2 === 0) {
    const gone = contacts.get(`new${turn - 1}`);
    if (gone !== undefined) {
      contacts.delete(gone.id);
      store.contactRemoved(gone);
      store.aorRemoved(gone.aor);
    }
  }
  store.changed("banned", `source${turn % 5}`, String(turn), Infinity);
  const { ok, error } = store.commit();
  if (!ok) throw new Error(error);
  writeSync(1, `${turn}\n`);
}
