/** The User-Agents of tools that look for SIP servers to break into. A first filter only: a scanner can name itself otherwise. */

/** Product names, anywhere in the header, in any case. None is part of the name of a phone that people use. */
const SCANNER =
  /friendly-(?:scanner|request)|sipvicious|sip-?scan|sipcli|siparmyknife|sivus|sundayddr|vaxs?ipuseragent|pplsip|^iwar\b/i;

/** True if the value of a User-Agent header is that of a known scanner. */
export function isScannerAgent(userAgent: string): boolean {
  return SCANNER.test(userAgent);
}
