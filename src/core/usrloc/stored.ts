/** What usrloc tells the store, and what the store gives back at the start. */
import type { Aor, Contact, ContactFields } from "./contact.ts";

/** Changes, told to the store in the turn in which they happen. It reads the objects when it commits. */
export interface ChangeLog {
  /** The contact is new, or any field but its flow object changed. `isRefresh`: only `expiresAtMs`, `registeredAtMs`, `cseq`, `callId` changed. */
  contactSaved(contact: Contact, isRefresh: boolean): void;
  contactRemoved(contact: Contact): void;
  /** The AoR is new or its upstream binding changed. */
  aorSaved(aor: Aor): void;
  aorRemoved(aor: Aor): void;
}

/** A stored contact as the store gives it back at start (`flow` is made by the appliance from `flowKey`). */
export interface StoredContact extends ContactFields {
  readonly id: string;
  readonly aorKey: string;
  upstreamEndsMs: number;
  readonly isDropped: boolean;
}

/** A contact that expired while we were away. The PBX still holds our Contact for it, which must be removed. */
export interface StoredRemnant {
  readonly aorKey: string;
  readonly id: string;
}
/** A stored AoR as the store gives it back at start. */
export type StoredAor = Omit<Aor, "contacts">;
