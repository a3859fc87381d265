/** A contact as the store would give it back: its data, without what only lives in memory. */
import type { Contact } from "../../../src/core/usrloc/contact.ts";
import type { StoredContact } from "../../../src/core/usrloc/stored.ts";

export function storedContact(contact: Contact): StoredContact {
  const { id, aor, uri, params, instance, regId, q, callId, cseq, expiresAtMs, registeredAtMs } = contact;
  const { path, userAgent, kind, push, flowKey, upstreamEndsMs, isDropped } = contact;
  return {
    id,
    aorKey: aor.key,
    uri,
    params,
    instance,
    regId,
    q,
    callId,
    cseq,
    expiresAtMs,
    registeredAtMs,
    path,
    userAgent,
    kind,
    push: push === null ? null : { ...push },
    flowKey,
    upstreamEndsMs,
    isDropped,
  };
}
