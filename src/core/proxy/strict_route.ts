/**
 * Strict routers (RFC 2543) put the next hop into the Request-URI and the remote target at the end of Route. The request is
 * rewritten before it is routed, in both directions, and read again: this is rare.
 */
import { Edit } from "../sip/edit.ts";
import { ROUTE } from "../sip/header.ts";
import { type Message, parseMessage } from "../sip/message.ts";
import { parseNameAddr } from "../sip/name_addr.ts";
import { elementEnd } from "../sip/scan.ts";
import { type Uri, uriParam, withoutHeaders } from "../sip/uri.ts";

/** True if the hop behind this Route or Record-Route URI is a loose router. */
export function isLoose(uri: Uri): boolean {
  return uriParam(uri, "lr") !== undefined;
}

/**
 * RFC 3261 §16.4: the Request-URI is our Record-Route value, and the last Route is the real Request-URI.
 * @returns the request as a loose router would have sent it; null if its Route cannot be read
 */
export function fromStrictRouter(request: Message): Message | null {
  const n = lastRouteLine(request);
  if (n < 0) return null;
  const { raw } = request;
  const start = request.valueStart(n);
  const end = request.valueEnd(n);
  let at = start;
  for (let stop = elementEnd(raw, at, end); stop !== end; stop = elementEnd(raw, at, end)) {
    if (stop < 0) return null;
    at = stop + 1;
  }
  const uri = parseNameAddr(raw.slice(at, end))?.uri ?? null;
  if (uri === null) return null;
  const edit = new Edit(raw).replace(request.uriStart, request.uriEnd, withoutHeaders(uri));
  const ours = "<" + request.uri!.text + ">";
  const first = request.find(ROUTE);
  if (first === n && at === start) edit.replace(start, end, ours);
  else {
    // Its token is in it: back to the top of Route with it.
    edit.insert(request.valueStart(first), ours + ", ");
    if (at === start) edit.removeLine(request, n);
    else edit.replace(at - 1, end, "");
  }
  return readAgain(edit);
}

/**
 * RFC 3261 §16.6 step 6: the next hop is a strict router, so its URI becomes the Request-URI and the target goes to the
 * end of Route. The Route of the next hop stays: it is for the caller to drop with his own.
 */
export function towardsStrictRouter(request: Message, next: Uri): Message | null {
  const n = lastRouteLine(request);
  if (n < 0) return null;
  return readAgain(
    new Edit(request.raw)
      .replace(request.uriStart, request.uriEnd, withoutHeaders(next))
      .insert(request.valueEnd(n), ", <" + request.uri!.text + ">"),
  );
}

function lastRouteLine(request: Message): number {
  let last = -1;
  for (let n = request.find(ROUTE); n >= 0; n = request.find(ROUTE, n + 1)) last = n;
  return last;
}

function readAgain(edit: Edit): Message | null {
  const message = parseMessage(edit.build(), false);
  return message.problem === null ? message : null;
}
