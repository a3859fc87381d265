/** RFC 3261 §16.3: what a proxy refuses before it routes. */
import { MAX_FORWARDS, PROXY_REQUIRE } from "../sip/header.ts";
import type { Message } from "../sip/message.ts";
import { digits } from "../sip/scan.ts";

/** How a request is refused: status, reason in words (`""`: the standard phrase), header lines to add. */
export interface RefusalAnswer {
  readonly status: number;
  readonly reason: string;
  readonly lines: string;
}

/** tel: numbers and urn:service:sos are dialled by phones and judged by the PBX. */
const SCHEMES = new Set(["sip", "sips", "tel", "urn"]);

/**
 * Scheme, Max-Forwards, loop, Proxy-Require, in the order of §16.3. Require is the other end's (step 5), and merged
 * requests are no loop (§16.3 note: only a UAS refuses them).
 * @param isLoop the request came back to us unchanged
 * @returns null if the request may be routed
 */
export function refusalOf(request: Message, isLoop = false): RefusalAnswer | null {
  const { scheme } = request.uri!;
  if (!SCHEMES.has(scheme)) {
    return { status: 416, reason: `Unsupported URI Scheme ${scheme}`, lines: "" };
  }
  if (hasNoHopsLeft(request)) return { status: 483, reason: "", lines: "" };
  if (isLoop) return { status: 482, reason: "", lines: "" };
  if (request.has(PROXY_REQUIRE)) {
    const tags = request.list(PROXY_REQUIRE);
    if (tags === null) return { status: 400, reason: "Malformed Proxy-Require", lines: "" };
    // We do nothing that a UA could demand of a proxy, so every tag is one we do not support.
    if (tags.length > 0) return { status: 420, reason: "", lines: "Unsupported: " + tags.join(", ") + "\r\n" };
  }
  return null;
}

/** True if Max-Forwards forbids to send it on. */
export function hasNoHopsLeft(request: Message): boolean {
  const hops = request.find(MAX_FORWARDS);
  return hops >= 0 && digits(request.raw, request.valueStart(hops), request.valueEnd(hops), 65535) === 0;
}
