/**
 * Owns which addresses a subscription URI may lead to. The URI comes from a phone, that is, from the network: it must
 * not make this machine talk to its own neighbours. It must not know URIs or pushes.
 */
import { BlockList, isIP, type LookupFunction } from "node:net";
import type { HostLookup } from "../world.ts";

/** IANA's special-purpose registries (RFC 6890), and multicast. */
const NOT_PUBLIC_4 = [
  "0.0.0.0/8",
  "10.0.0.0/8",
  "100.64.0.0/10",
  "127.0.0.0/8",
  "169.254.0.0/16",
  "172.16.0.0/12",
  "192.0.0.0/24",
  "192.0.2.0/24",
  "192.88.99.0/24",
  "192.168.0.0/16",
  "198.18.0.0/15",
  "198.51.100.0/24",
  "203.0.113.0/24",
  "224.0.0.0/3",
];
/** Within 2000::/3, which is all that is public. 2002::/16 and 2001::/32 hold IPv4 addresses that the sender chooses. */
const NOT_PUBLIC_6 = ["2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20"];
const PUBLIC_6 = "2000::/3";

const blocked4 = listOf(NOT_PUBLIC_4, "ipv4");
const blocked6 = listOf(NOT_PUBLIC_6, "ipv6");
const open6 = listOf([PUBLIC_6], "ipv6");

/** The code of the error of a name that has no public address. */
export const NOT_PUBLIC = "ENOTPUBLIC";

/** True for an address of the public internet; false for every other text. */
export function isPublicAddress(address: string): boolean {
  switch (isIP(address)) {
    case 4:
      return !blocked4.check(address, "ipv4");
    case 6:
      return open6.check(address, "ipv6") && !blocked6.check(address, "ipv6");
    default:
      return false;
  }
}

/**
 * A lookup that gives public addresses alone. A connection made with it goes to the address that was judged: the name is not
 * looked up a second time, when it might have another one.
 *
 * @param judged told of a name that has addresses whether one is public.
 */
export function publicLookup(lookup: HostLookup, judged: (isPublic: boolean) => void): LookupFunction {
  return (hostname, options, callback) => {
    lookup(hostname, (error, addresses) => {
      if (error !== null) return callback(error, [], 0);
      const open = addresses.filter(({ address }) => isPublicAddress(address));
      judged(open.length > 0);
      if (open.length === 0) {
        return callback(Object.assign(new Error(NOT_PUBLIC), { code: NOT_PUBLIC }), [], 0);
      }
      if (options.all) callback(null, open);
      else callback(null, open[0]!.address, open[0]!.family);
    });
  };
}

function listOf(networks: readonly string[], family: "ipv4" | "ipv6"): BlockList {
  const list = new BlockList();
  for (const network of networks) {
    const [address = "", prefix] = network.split("/");
    list.addSubnet(address, Number(prefix), family);
  }
  return list;
}
