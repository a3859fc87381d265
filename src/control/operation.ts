/** What an operator does to a running appliance: the log's level for a while (O-05), draining (O-04). */
import { LOG_LEVELS } from "../core/port.ts";
import { parseOverride } from "../observe/log.ts";
import { fields, jsonAnswer } from "./answer.ts";
import { resolveAor } from "./aor.ts";
import { ApiError } from "./api_error.ts";
import type { ControlHost } from "./host.ts";
import type { Fields } from "./request.ts";
import { type Route, route } from "./route.ts";

export const OPERATION: readonly Route[] = [
  route({
    id: "setLog",
    method: "PUT",
    path: "/v1/log",
    summary: "log level and overrides, for a while",
    body: "json",
    example: `/v1/log -d '{"overrides":["aor=alice@example.org -> debug"],"for":"10m"}'`,
    answer: async (c, host) => jsonAnswer(setLog(await fields(c), host)),
  }),
  route({
    id: "drain",
    method: "POST",
    path: "/v1/drain",
    summary: "take no new calls, end when the open ones have ended",
    example: "/v1/drain",
    status: 202,
    answer(_c, host) {
      host.endWhenDrained();
      return jsonAnswer({ draining: true, calls_open: host.core.owed().calls, waits_for: host.waitsFor() }, 202);
    },
  }),
];

/** `for`: how long level and overrides hold; absent: until the next reload. Overrides replace the ones set here before. */
function setLog(body: Fields, host: ControlHost) {
  const forMs = body.durationMs("for") ?? 0;
  const level = body.choice("level", LOG_LEVELS);
  const texts = body.texts("overrides");
  body.end();
  const overrides = texts?.map((text) => override(text, host));
  host.log.change({ level, overrides, forMs });
  const { expiresInMs, ...state } = host.log.state();
  return {
    level: state.level,
    overrides: state.overrides,
    expires_in: expiresInMs === null ? null : Math.round(expiresInMs / 1000),
  };
}

function override(text: string, host: ControlHost): ReturnType<typeof parseOverride> {
  try {
    const read = parseOverride(text);
    if (read.field !== "aor") return read;
    // Lines carry the canonical AoR: a bare user would match none.
    const value = resolveAor(read.value, host);
    return { ...read, value, text: `aor=${value} -> ${read.level}` };
  } catch (error) {
    if (error instanceof ApiError) throw error;
    const fields = "Fields are aor, call, device and flow, levels debug, info, warn and error";
    throw new ApiError(400, "invalid_value", (error as Error).message, fields);
  }
}
