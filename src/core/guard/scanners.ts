/** The User-Agents of tools that look for SIP servers to break into. What they are worth: their makers could change them. */

/** No word of a phone that people use; the product name anywhere in the header, in any case. */
const SCANNER =
  /friendly-(?:scanner|request)|sipvicious|sip-?scan|sipcli|siparmyknife|sivus|sundayddr|vaxs?ipuseragent|pplsip|^iwar\b/i;

/** True if the value of a User-Agent header is that of a known scanner. */
export function isScannerAgent(userAgent: string): boolean {
  return SCANNER.test(userAgent);
}
