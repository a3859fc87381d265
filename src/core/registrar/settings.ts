/** What the registrar is told from the config, and what it tells others. Expiries are seconds here, as in SIP. */
import type { DigestSecret } from "../sip/digest.ts";
import type { Flow } from "../sip/flow.ts";
import type { Message } from "../sip/message.ts";
import type { Contact } from "../usrloc/contact.ts";
import type { DeviceKind } from "../usrloc/model.ts";

/** RFC 3261 §20.19: the largest number of seconds an expiry may be. */
export const MAX_EXPIRES = 4294967295;

/** `aor`: one upstream Contact per AoR. `contact`: one per device. `mirror`: one per device, with the phone's own expiry. */
export const REGISTRAR_MODES = ["aor", "contact", "mirror"] as const;
export type RegistrarMode = (typeof REGISTRAR_MODES)[number];

/** where the id of the upstream Contact stands. */
export const CONTACT_PLACEMENTS = ["param", "user", "aor"] as const;
export type ContactPlacement = (typeof CONTACT_PLACEMENTS)[number];

export interface RegistrarSettings {
  readonly mode: RegistrarMode;
  readonly placement: ContactPlacement;
  /** What we ask of the PBX (`pbx.expires`). */
  readonly upstreamExpires: number;
  readonly minExpires: number;
  readonly defaultExpires: number;
  readonly maxExpires: number;
  readonly maxContacts: number;
  readonly overflow: "evict" | "reject";
  readonly repliesWithAll: boolean;
  /** ContactWriter in all (`limits.bindings`). */
  readonly maxBindings: number;
  readonly idleMs: number;
  /** True if there are `devices:` rules: what they say of a phone must be asked with every REGISTER. */
  readonly hasDeviceRules: boolean;
  /** The PBX takes our REGISTERs without a challenge (`pbx.trusts_us`). */
  readonly trustsUs: boolean;
  /** After a doubt about the PBX nothing is absorbed longer than this (`pbx.verify`), ms. */
  readonly verifyMs: number;
  /** How often the PBX is asked for signs of life (`pbx.qualify`), ms; 0: it is not. */
  readonly qualifyMs: number;
  /** How long before a binding ends its phone is pushed (`push.refresh_before`). */
  readonly refreshLeadMs: number;
  /** What is done with a REGISTER for a push service that is not served here (`push.unsupported`). */
  readonly unsupportedPush: "forward" | "555";
  /** Secret of the installation: ids of AoRs and devices are made from it, so that they stay the same and cannot be guessed. */
  readonly idSecret: string;
  /** Credentials of an AoR towards the PBX; null if there are none. */
  credentials(user: string): DigestSecret | null;
}

/**
 * Seconds a phone asks for, within our bounds.
 * @param expires null: it names none
 */
export function askedSeconds(
  expires: number | null,
  { defaultExpires, maxExpires }: Pick<RegistrarSettings, "defaultExpires" | "maxExpires">,
): number {
  return Math.min(expires ?? defaultExpires, maxExpires);
}

/** What a `devices:` rule says of a phone that does not speak RFC 8599. */
export interface DeviceHint {
  readonly kind: DeviceKind | "";
  readonly provider: string;
  readonly prid: string;
}

/** Looks a REGISTER up in the `devices:` rules; `contactParam` reads a parameter of the Contact, URI first. */
export type DeviceHints = (request: Message, contactParam: (name: string) => string | undefined) => DeviceHint | null;

/** Who hears of accepted registrations. */
export interface RegistrarUser {
  /** In the turn in which the PBX (or we) accepted it: calls are resumed now (W-04). */
  onRegistered(contact: Contact, arrivedAtMs: number): void;
  /** A fresh PURR of a device (RFC 8599 §6.1). */
  purrOf(contact: Contact): string;
  /** A login over this flow was right. */
  onLoginPassed(flow: Flow): void;
  /** Logins over this flow were wrong. @param names who each of them said it is, as the network spells it */
  onLoginFailed(flow: Flow, names: readonly string[]): void;
}
