/**
 * `/v1/events`: registrations, calls and pushes as they happen. Each follower has its own bounded queue, so that a slow one
 * loses events and nothing else. Must not know what the events mean.
 */
import type { ApplianceEvent } from "../core/port.ts";
import { jsonText } from "../observe/display.ts";
import { ApiError } from "./api_error.ts";
import type { ControlHost } from "./host.ts";
import { type Route, route } from "./route.ts";

/** So many events a follower may lag behind. Older ones are dropped and counted. */
const QUEUE = 256;
const KEEPALIVE_MS = 15_000;
/** Followers at a time. */
const FOLLOWERS = 64;

export const EVENTS: readonly Route[] = [
  route({
    id: "events",
    method: "GET",
    path: "/v1/events",
    summary: "registrations, calls, pushes as server-sent events",
    example: "/v1/events -N",
    produces: "text/event-stream",
    answer(c, { world }: ControlHost) {
      const headers = { "content-type": "text/event-stream", "cache-control": "no-store" };
      // The answer to a HEAD has no reader who could end the stream.
      if (c.req.method === "HEAD") return new Response(null, { headers });
      const { followers } = world;
      if (followers.size >= FOLLOWERS) {
        const message = `${FOLLOWERS} followers are connected already`;
        throw new ApiError(503, "too_many_followers", message, "End one of them");
      }
      c.env.keepOpen();
      const stream = eventStream((follower) => {
        followers.add(follower);
        return () => followers.delete(follower);
      });
      return new Response(stream, { headers });
    },
  }),
];

/**
 * A stream of server-sent events. Dropped events are told as `event: lost` with their count, and a comment every 15 s
 * keeps the connection.
 * @param subscribe called once; what it returns ends the subscription
 */
export function eventStream(
  subscribe: (follower: (event: ApplianceEvent) => void) => () => void,
): ReadableStream<Uint8Array> {
  const encoder = new TextEncoder();
  // A first line leaves at once, and with it the headers.
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
      wake?.();
    },
  }, { highWaterMark: 1 });
}

function eventText(type: string, data: object): string {
  // The name of an event ends its line; JSON has no line feeds.
  return `event: ${type.replace(/[\r\n]/g, " ")}\ndata: ${jsonText(data)}\n\n`;
}
