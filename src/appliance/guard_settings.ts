/** What the config means for the guard of sources. */
import { containsAddress } from "../config/cidr.ts";
import type { Config } from "../config/schema.ts";
import type { GuardSettings } from "../core/guard/source_guard.ts";

/** @param isPbxAddress true for an address of `pbx.uri` or `pbx.trust` */
export function guardSettings(config: Config, isPbxAddress: (address: string) => boolean): GuardSettings {
  const { limits, security, pbx } = config;
  return {
    requestsPerSource: limits.requests_per_source,
    strangers: limits.strangers,
    authFailures: limits.auth_failures,
    isScannerBanned: security.scanners === "ban",
    isExempt: (address) =>
      isPbxAddress(address) || containsAddress(security.allow, address) ||
      // A web server in front that does not say whom it speaks for speaks for all its phones.
      containsAddress(security.proxies, address) ||
      // A trusted source speaks for many users: another proxy, a test. With a PBX this key has no effect.
      (pbx === null && containsAddress(security.trust, address)),
    isDenied: (address) => containsAddress(security.deny, address),
  };
}
