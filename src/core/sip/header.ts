/** The header names that mean something here, as small numbers, compact forms folded in (RFC 3261 §7.3.3, §20). */

export const OTHER = 0;
export const VIA = 1;
export const FROM = 2;
export const TO = 3;
export const CALL_ID = 4;
export const CSEQ = 5;
export const CONTACT = 6;
export const MAX_FORWARDS = 7;
export const CONTENT_LENGTH = 8;
export const EXPIRES = 9;
export const ROUTE = 10;
export const RECORD_ROUTE = 11;
export const PATH = 12;
export const AUTHORIZATION = 13;
export const PROXY_AUTHORIZATION = 14;
export const WWW_AUTHENTICATE = 15;
export const PROXY_AUTHENTICATE = 16;
export const REQUIRE = 17;
export const PROXY_REQUIRE = 18;
export const SUPPORTED = 19;
export const UNSUPPORTED = 20;
export const USER_AGENT = 21;
export const CONTENT_TYPE = 22;
export const MIN_EXPIRES = 23;
export const RETRY_AFTER = 24;
export const REASON = 25;
export const TIMESTAMP = 26;
export const MAX_BREADTH = 27;
export const FEATURE_CAPS = 28;
export const REPLACES = 29;
export const SERVER = 30;
export const DATE = 31;
export const SERVICE_ROUTE = 32;

const NAMES: Record<string, number> = {
  "via": VIA,
  "v": VIA,
  "from": FROM,
  "f": FROM,
  "to": TO,
  "t": TO,
  "call-id": CALL_ID,
  "i": CALL_ID,
  "cseq": CSEQ,
  "contact": CONTACT,
  "m": CONTACT,
  "max-forwards": MAX_FORWARDS,
  "content-length": CONTENT_LENGTH,
  "l": CONTENT_LENGTH,
  "expires": EXPIRES,
  "route": ROUTE,
  "record-route": RECORD_ROUTE,
  "path": PATH,
  "authorization": AUTHORIZATION,
  "proxy-authorization": PROXY_AUTHORIZATION,
  "www-authenticate": WWW_AUTHENTICATE,
  "proxy-authenticate": PROXY_AUTHENTICATE,
  "require": REQUIRE,
  "proxy-require": PROXY_REQUIRE,
  "supported": SUPPORTED,
  "k": SUPPORTED,
  "unsupported": UNSUPPORTED,
  "user-agent": USER_AGENT,
  "content-type": CONTENT_TYPE,
  "c": CONTENT_TYPE,
  "min-expires": MIN_EXPIRES,
  "retry-after": RETRY_AFTER,
  "reason": REASON,
  "timestamp": TIMESTAMP,
  "max-breadth": MAX_BREADTH,
  "feature-caps": FEATURE_CAPS,
  "replaces": REPLACES,
  "server": SERVER,
  "date": DATE,
  "service-route": SERVICE_ROUTE,
};

// A perfect hash in a small table: the multiplier and size below were searched so that no two names collide (a test
// checks it), and the candidate is then compared to the letter.
const TABLE_BITS = 10;
const MASK = (1 << TABLE_BITS) - 1;
const tableIds = new Uint8Array(1 << TABLE_BITS);
const tableNames: string[] = new Array(1 << TABLE_BITS).fill("");

for (const [name, id] of Object.entries(NAMES)) {
  const slot = slotOf(name, 0, name.length);
  if (tableNames[slot] !== "") throw new Error(`header names "${name}" and "${tableNames[slot]}" share a slot`);
  tableNames[slot] = name;
  tableIds[slot] = id;
}

function slotOf(text: string, start: number, end: number): number {
  const length = end - start;
  const first = text.charCodeAt(start) | 32;
  const last = text.charCodeAt(end - 1) | 32;
  const middle = text.charCodeAt(start + (length >> 1)) | 32;
  return (first * 31 + last * 131 + middle * 7 + length * 67) & MASK;
}

/** The id of the header name at `[start, end)`, any case, long or compact; `OTHER` if it is not one of ours. */
export function headerId(text: string, start: number, end: number): number {
  if (end <= start) return OTHER;
  const slot = slotOf(text, start, end);
  const name = tableNames[slot]!;
  if (name.length !== end - start) return OTHER;
  for (let i = 0; i < name.length; i++) {
    let code = text.charCodeAt(start + i);
    if (code >= 65 && code <= 90) code |= 32;
    if (code !== name.charCodeAt(i)) return OTHER;
  }
  return tableIds[slot]!;
}
