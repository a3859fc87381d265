/** What the Route headers of a request say about us (RFC 3261 §16.4). */
import { ROUTE } from "../sip/header.ts";
import type { Message } from "../sip/message.ts";
import { parseNameAddr } from "../sip/name_addr.ts";
import { elementEnd } from "../sip/scan.ts";
import { type Uri, uriParam } from "../sip/uri.ts";

export interface OwnRoutes {
  /** Elements at the top that are ours. */
  count: number;
  /** The first and the last flow token in them: the same if there is one, empty if there is none. */
  firstToken: string;
  token: string;
  /** The last `pn-purr` in them (RFC 8599 §6.1); empty if none. */
  purr: string;
  /** The first that is not ours. */
  next: Uri | null;
}

/** Of a request without Route. */
export const NO_ROUTES: Readonly<OwnRoutes> = { count: 0, firstToken: "", token: "", purr: "", next: null };

/**
 * Reads Route up to the first element that is not ours.
 * @param isOurs `isTop`: this element stands first, so the request came here because of it
 * @returns null if an element up to there is malformed or empty
 */
export function ownRoutes(request: Message, isOurs: (uri: Uri, isTop: boolean) => boolean): OwnRoutes | null {
  let n = request.find(ROUTE);
  if (n < 0) return NO_ROUTES;
  const { raw } = request;
  const routes: OwnRoutes = { count: 0, firstToken: "", token: "", purr: "", next: null };
  for (; n >= 0; n = request.find(ROUTE, n + 1)) {
    const end = request.valueEnd(n);
    for (let at = request.valueStart(n); at < end;) {
      const stop = elementEnd(raw, at, end);
      const uri = stop < 0 ? null : parseNameAddr(raw.slice(at, stop))?.uri ?? null;
      if (uri === null) return null;
      if (!isOurs(uri, routes.count === 0)) {
        routes.next = uri;
        return routes;
      }
      routes.count++;
      if (uri.user !== "") {
        if (routes.firstToken === "") routes.firstToken = uri.user;
        routes.token = uri.user;
      }
      routes.purr = uriParam(uri, "pn-purr") ?? routes.purr;
      at = stop + 1;
    }
  }
  return routes;
}
