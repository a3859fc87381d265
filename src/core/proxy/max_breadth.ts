/**
 * Max-Breadth (RFC 5393 §5.3): how many branches a request may have at one time, all proxies together. It keeps a
 * handful of accounts that forward to each other from growing one call into millions.
 */
import type { Edit } from "../sip/edit.ts";
import { FROM, MAX_BREADTH } from "../sip/header.ts";
import type { Message } from "../sip/message.ts";
import { digits } from "../sip/scan.ts";

const DEFAULT = 60;

/** What a request allows; the default if it has no Max-Breadth, or one that is not a number. */
export function breadthOf(request: Message): number {
  const n = request.find(MAX_BREADTH);
  if (n < 0) return DEFAULT;
  const breadth = digits(request.raw, request.valueStart(n), request.valueEnd(n), 65535);
  return breadth < 0 ? DEFAULT : Math.min(breadth, DEFAULT);
}

/** Puts the share of a branch into its request. */
export function setBreadth(edit: Edit, request: Message, breadth: number): void {
  const n = request.find(MAX_BREADTH);
  if (n >= 0) edit.replace(request.valueStart(n), request.valueEnd(n), String(breadth));
  // Not between our Via and theirs: some UAs read no further than the first other header.
  else edit.insert(request.lineStart(request.find(FROM)), "Max-Breadth: " + breadth + "\r\n");
}
