/** Which addresses count as one source: an IPv4 address, and the /64 of an IPv6 address, as one host has all of it. */

/**
 * The source an address belongs to, as its key in the table of bans: `192.0.2.7`, `2001:db8:0:7::/64`.
 * @param address an IP address without brackets, in lower case
 */
export function sourceOf(address: string): string {
  if (!address.includes(":")) return address;
  const gap = address.indexOf("::");
  const head = groups(gap < 0 ? address : address.slice(0, gap));
  if (gap >= 0 && head.length < 4) {
    const tail = groups(address.slice(gap + 2));
    // An IPv4 address at the end stands for two groups.
    const length = tail.length + (address.includes(".") ? 1 : 0);
    const zeros = Math.max(0, 8 - head.length - length);
    for (let i = 0; i < zeros; i++) head.push("0");
    head.push(...tail);
  }
  const network = head.slice(0, 4);
  while (network.length > 1 && network.at(-1) === "0") network.pop();
  // `0::/64` is how `::/64` comes out.
  return network.join(":") === "0" ? "::/64" : `${network.join(":")}::/64`;
}

function groups(text: string): string[] {
  return text === "" ? [] : text.split(":");
}
