/** `/v1/trace`: the last SIP messages (O-07). */
import { renderTrace } from "../observe/trace.ts";
import { listAnswer } from "./answer.ts";
import { resolveAor } from "./aor.ts";
import { notAvailable } from "./api_error.ts";
import type { ControlHost } from "./host.ts";
import { parseWhole } from "./request.ts";
import { type ControlContext, FORMAT, type Route, route } from "./route.ts";

/** One message of `GET /v1/trace`, oldest first. */
interface TracedMessageJson {
  /** ISO 8601 in UTC. */
  at: string;
  direction: "in" | "out";
  /** `Flow.key`. */
  flow: string;
  call_id: string;
  /** The message as text, one character a byte. */
  message: string;
}

export const TRACE: readonly Route[] = [
  route({
    id: "trace",
    method: "GET",
    path: "/v1/trace",
    summary: "the last SIP messages",
    query: [
      { name: "aor", what: "of one AoR" },
      { name: "call", what: "of one call: our id or its Call-ID" },
      { name: "limit", what: "the newest so many, 1 to 10000 (default 200)" },
      FORMAT,
    ],
    example: `/v1/trace?aor=alice%40example.org&format=text`,
    isList: true,
    answer(c, host) {
      if (!["", "0", "false"].includes(c.req.query("follow") ?? "")) {
        throw notAvailable("Following the trace", "GET /v1/trace has the last messages, GET /v1/events follows calls");
      }
      if (c.req.query("format") === "pcap") throw notAvailable("The trace as pcap", "Use format=text or format=json");
      return listAnswer(c, messagesOf(c, host), (messages) => {
        return messages.length === 0 ? "no messages\n" : renderTrace(messages);
      });
    },
  }),
];

function messagesOf(c: ControlContext, host: ControlHost): TracedMessageJson[] {
  const aor = c.req.query("aor") ?? "";
  const call = c.req.query("call") ?? "";
  const callId = call === "" ? "" : host.core.silo.record(call)?.callId ?? call;
  return host.trace.find({
    aor: aor === "" ? undefined : resolveAor(aor, host),
    callId: callId === "" ? undefined : callId,
    limit: parseWhole(c.req.query("limit"), "limit", { min: 1, max: 10_000, default: 200 }),
    isPrivate: host.config.log.privacy === "mask",
  }).map(({ atMs, direction, flow, callId, message }) => ({
    at: new Date(atMs).toISOString(),
    direction,
    flow,
    call_id: callId,
    message,
  }));
}
