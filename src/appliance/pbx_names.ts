/** Turns the PBX's names into addresses. Literal addresses are taken as they are, names go to the system's resolver. */
import { lookup } from "node:dns/promises";
import { isIP } from "node:net";
import type { PbxConfig } from "../config/schema.ts";
import type { PbxAddress } from "../core/proxy/pbx.ts";

/** What a look-up gave. */
export interface PbxNames {
  addresses: PbxAddress[];
  /** In words, one for each name that could not be resolved. */
  problems: string[];
}

/** Resolves every URI of `pbx.uri`, in the order of the config. Never throws. */
export async function resolvePbx(pbx: PbxConfig): Promise<PbxNames> {
  const names: PbxNames = { addresses: [], problems: [] };
  for (const { uri, host, port, transport } of pbx.uri) {
    if (isIP(host) !== 0) {
      names.addresses.push({ uri, transport, address: host, port });
      continue;
    }
    try {
      for (const { address } of await lookup(host, { all: true })) {
        names.addresses.push({ uri, transport, address, port });
      }
    } catch (error) {
      names.problems.push(
        `Cannot resolve ${host} of pbx.uri: ${(error as NodeJS.ErrnoException).code ?? String(error)}`,
      );
    }
  }
  return names;
}

/** True if any URI has a name that DNS may answer differently later. */
export function needsResolving(pbx: PbxConfig): boolean {
  return pbx.uri.some(({ host }) => isIP(host) === 0);
}
