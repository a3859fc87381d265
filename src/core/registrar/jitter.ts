/** Chance for times, out of the tokens that the shell makes: what thousands do at once they should not do again at once. */
import { hashOf } from "../sip/hash.ts";
import type { Port } from "../port.ts";

/** Evenly from 0 up to, and without, `maxMs`, whatever characters tokens are made of. */
export function jitterMs(port: Pick<Port, "token">, maxMs: number): number {
  let hash = hashOf(port.token(8));
  // A last stirring so that the upper bits depend on the last characters, too.
  hash = Math.imul(hash ^ (hash >>> 16), 0x45d9f3b);
  hash ^= hash >>> 15;
  return (hash >>> 0) / 2 ** 32 * maxMs;
}
