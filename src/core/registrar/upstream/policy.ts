/**
 * What is asked of the PBX and who may ask it: the mode, who renews a binding, and for how long it is asked. The bottom
 * of this folder: everything else here may ask it, it knows nothing of the others.
 */
import { askedSeconds, type RegistrarMode, type RegistrarSettings } from "../settings.ts";
import type { WantedContact } from "../register.ts";

export class UpstreamPolicy {
  /** Ids of our Contacts of which the PBX refused our own REGISTER: the phones must renew them. */
  private readonly refused = new Set<string>();

  /** @param current the settings of this moment; a reload changes them */
  constructor(private readonly current: () => RegistrarSettings) {}

  get settings(): RegistrarSettings {
    return this.current();
  }

  /** Contacts without an id are the same for all devices, so there can be only one of them per AoR. */
  get mode(): RegistrarMode {
    const { placement, mode } = this.settings;
    return placement === "aor" ? "aor" : mode;
  }

  /** True if the PBX holds one Contact for all devices of an AoR. */
  get isOneForAll(): boolean {
    return this.mode === "aor";
  }

  /** True if we can register for this user ourselves. In mode mirror the phones alone do. */
  canRenew(user: string): boolean {
    const { settings } = this;
    return this.mode !== "mirror" && (settings.trustsUs || settings.credentials(user) !== null);
  }

  /** True if we can, and the PBX did not refuse it for the Contact with this id. */
  isRenewing(user: string, id: string): boolean {
    return this.canRenew(user) && !this.refused.has(id);
  }

  /** The PBX refused our own REGISTER for this Contact, or takes it again. */
  noteRefused(id: string, isRefused: boolean): void {
    if (isRefused) this.refused.add(id);
    else this.refused.delete(id);
  }

  /** Seconds a phone asks for, within our bounds. */
  asked(wanted: WantedContact): number {
    return askedSeconds(wanted.expires, this.settings);
  }

  /** Seconds the PBX is asked for, for a device that needs so many: no more than usual where we renew it ourselves. */
  askedUpstream(user: string, id: string, seconds: number): number {
    const { upstreamExpires } = this.settings;
    return this.isRenewing(user, id) ? upstreamExpires : Math.max(seconds, upstreamExpires);
  }
}
