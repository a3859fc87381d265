/** RFC 3261 §16.3: what a proxy refuses before it routes. */
import { MAX_FORWARDS, PROXY_REQUIRE } from "../sip/header.ts";
import type { Message } from "../sip/message.ts";
import { digits } from "../sip/scan.ts";
import { isSipScheme } from "../sip/uri.ts";

/** A refusal: status, the reason in words, header lines to add. */
export interface Refusal {
  readonly status: number;
  readonly reason: string;
  readonly lines: string;
}

/**
 * Checks scheme, Max-Forwards and Proxy-Require.
 * @returns null if the request may be routed
 */
export function refusalOf(request: Message): Refusal | null {
  const uri = request.uri!;
  // A phone may dial tel: numbers; the PBX judges them.
  if (!isSipScheme(uri) && uri.scheme !== "tel") {
    return { status: 416, reason: `Unsupported URI Scheme ${uri.scheme}`, lines: "" };
  }
  const hops = request.find(MAX_FORWARDS);
  if (hops >= 0 && digits(request.raw, request.valueStart(hops), request.valueEnd(hops), 65535) === 0) {
    return { status: 483, reason: "", lines: "" };
  }
  if (request.has(PROXY_REQUIRE)) {
    const tags = request.list(PROXY_REQUIRE);
    if (tags === null) return { status: 400, reason: "Malformed Proxy-Require", lines: "" };
    // We do nothing that a UA could demand of a proxy, so every tag is one we do not support.
    if (tags.length > 0) return { status: 420, reason: "", lines: "Unsupported: " + tags.join(", ") + "\r\n" };
  }
  return null;
}
