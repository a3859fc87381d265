/** What the core is told by its owner. The appliance makes it from the config file; nothing here knows of a file. */
import type { Authenticator } from "./registrar/authenticator.ts";
import type { RefreshSettings } from "./registrar/refresh_push.ts";
import type { DeviceHints, RegistrarSettings } from "./registrar/settings.ts";
import type { UserDirectory } from "./registrar/users.ts";
import type { SiloSettings } from "./silo/settings.ts";
import type { TransactionLimits } from "./transaction/table.ts";

export interface CoreSettings {
  /** Hosts behind the `@` of our AoRs, lower-case; empty: our own addresses, and the PBX's. Read at the start only. */
  readonly domains: readonly string[];
  /** Text key of flow tokens and ids; belongs to the installation and outlives restarts. Read at the start only. */
  readonly installation: string;
  /** REGISTERs go to a PBX; false: we are the registrar ourselves. Read at the start only. */
  readonly isMidRegistrar: boolean;
  /** Our own REGISTERs leave from listeners of their own (`pbx.own_port`). Read at the start only. */
  readonly hasOwnPort: boolean;
  /** How often the PBX is asked by OPTIONS, ms; 0: never. */
  readonly qualifyMs: number;
  readonly transactions: TransactionLimits;
  readonly registrar: RegistrarSettings;
  readonly refresh: RefreshSettings;
  readonly silo: SiloSettings;
  /** The rules for phones that do not speak RFC 8599. */
  readonly deviceHints: DeviceHints;
  /** Users of registrar mode; null: there are no passwords here. */
  readonly users: UserDirectory | null;
  /** Makes the checker of passwords; null where there are no users, or no domain to know them in. */
  readonly authenticator: () => Authenticator | null;
  readonly isKnownUser: (user: string, domain: string) => boolean;
  /** Registrar mode: sources believed without digest. Asked once for each address, then remembered. */
  readonly isTrusted: (address: string) => boolean;
  /** Sources whose requests are the PBX's, besides the addresses of its URI. */
  readonly isPbxTrusted: (address: string) => boolean;
}
