/** What the store is told of usrloc, and what it gives back at the start. */
import type { Aor, Contact, ContactFields } from "./contact.ts";

/** What the store is told, within the turn in which it happened; it reads the objects when it commits. */
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

/** A contact that expired while we were away: the PBX still holds its own Contact, which somebody has to end. */
export interface StoredRemnant {
  readonly aorKey: string;
  readonly id: string;
}
/** A stored AoR as the store gives it back at start. */
export type StoredAor = Omit<Aor, "contacts">;
