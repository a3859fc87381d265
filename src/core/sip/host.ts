/** Hosts and ports as they stand in URIs, sent-by and config. */

/** `host` without brackets and in lower case, for comparison with addresses. */
export function bareHost(host: string): string {
  return host.charCodeAt(0) === 91 ? host.slice(1, -1) : host;
}

/** `host:port` → `[host, port]`, port 0 if absent, brackets off. */
export function splitHostPort(text: string): [string, number] {
  const close = text.lastIndexOf("]");
  const colon = text.indexOf(":", close < 0 ? 0 : close);
  if (colon < 0) return [bareHost(text.toLowerCase()), 0];
  return [bareHost(text.slice(0, colon).toLowerCase()), Number(text.slice(colon + 1))];
}
