/** What a request inside a dialog is worth if its phone sleeps, and which of them belong together. Reads messages alone. */
import type { Message } from "../sip/message.ts";

/**
 * What a request is worth whose phone has no connection, or says nothing.
 * `push`: the phone is woken. `wait`: it is not, but if it comes by itself, it gets the request. `none`: 480 at once.
 */
export type Worth = "push" | "wait" | "none";

/** @param wakeMethods `wake.methods` */
export function worthOf(request: Message, wakeMethods: ReadonlySet<string>): Worth {
  switch (request.method) {
    case "BYE":
      return "wait";
    // No phone need wake to be asked whether it is there, nor for what follows its own answer.
    case "ACK":
    case "CANCEL":
    case "PRACK":
    case "OPTIONS":
      return "none";
    case "NOTIFY":
    case "SUBSCRIBE":
      // The presence of all entries of a phone's list would wake it all day.
      return isOfSubscription(request) && !wakeMethods.has(request.method) ? "none" : "push";
    default:
      return "push";
  }
}

export function isSameDialog(a: Message, b: Message): boolean {
  return a.callId === b.callId && a.from.tag === b.from.tag && a.to.tag === b.to.tag;
}

/** True for two NOTIFYs of one subscription. */
export function isSameSubscription(a: Message, b: Message): boolean {
  return a.method === "NOTIFY" && b.method === "NOTIFY" && isSameDialog(a, b) && eventOf(a) === eventOf(b);
}

/** RFC 3515 §2.4.4: the subscription that a REFER makes lives in the dialog of its call, and tells how that goes on. */
function isOfSubscription(request: Message): boolean {
  const event = eventOf(request);
  const semicolon = event.indexOf(";");
  return (semicolon < 0 ? event : event.slice(0, semicolon)).trim().toLowerCase() !== "refer";
}

function eventOf(request: Message): string {
  return request.valueOf("event") ?? request.valueOf("o") ?? "";
}
