/**
 * Ids of AoRs and devices: made from what they identify and the installation's secret. The same device gets the same
 * id on every retry, challenge and restart, so the PBX never sees two Contacts for one. Ids cannot be guessed.
 */
import { createHmac } from "node:crypto";
import { detached } from "../sip/scan.ts";

/** 18 letters and digits: 72 bits. */
export function stableId(secret: string, text: string): string {
  return detached(createHmac("sha256", secret).update(text, "latin1").digest("hex").slice(0, 18));
}
