/**
 * Followers of `/v1/events`: each has its own bounded queue, so that a slow one loses events and nothing else. Must
 * not know what the events mean.
 */
import type { ApplianceEvent } from "../core/port.ts";

/** Events a follower may lag behind; older ones are dropped and counted. */
const QUEUE = 256;
const KEEPALIVE_MS = 15_000;

/**
 * A stream of server-sent events. Dropped events are told as `event: lost` with their count, and a comment every 15 s
 * keeps the connection.
 * @param subscribe the appliance's; its return value ends the subscription.
 * @param ended called once when the follower is gone.
 */
export function eventStream(
  subscribe: (listener: (event: ApplianceEvent) => void) => () => void,
  ended: () => void,
): ReadableStream<Uint8Array> {
  const encoder = new TextEncoder();
  // Sent at once, so that the follower sees the headers before the first event.
  let queue: string[] = [": following\n\n"];
  let lost = 0;
  let wake: (() => void) | null = null;
  let unsubscribe = () => {};
  let keepalive: ReturnType<typeof setInterval> | undefined;
  const push = (text: string) => {
    if (queue.length >= QUEUE) {
      queue.shift();
      lost++;
    }
    queue.push(text);
    wake?.();
  };
  return new ReadableStream<Uint8Array>({
    start() {
      unsubscribe = subscribe((event) => push(eventText(event.type, event)));
      keepalive = setInterval(() => {
        if (queue.length === 0) push(": still here\n\n");
      }, KEEPALIVE_MS);
    },
    async pull(controller) {
      if (queue.length === 0) await new Promise<void>((resolve) => wake = resolve);
      wake = null;
      const text = (lost > 0 ? eventText("lost", { count: lost }) : "") + queue.join("");
      queue = [];
      lost = 0;
      controller.enqueue(encoder.encode(text));
    },
    cancel() {
      clearInterval(keepalive);
      unsubscribe();
      ended();
      wake?.();
    },
  }, { highWaterMark: 1 });
}

function eventText(type: string, data: object): string {
  // The name of an event ends its line; JSON has no line feeds of its own.
  return `event: ${type.replace(/[\r\n]/g, " ")}\ndata: ${JSON.stringify(data)}\n\n`;
}
