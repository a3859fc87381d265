/**
 * How each route is answered: reads the request, asks the backend, picks JSON or text. Must not know sockets, nor how
 * the appliance does what it is asked.
 */
import { ECDH } from "node:crypto";
import type { Context } from "hono";
import { parseOverride } from "../observe/log.ts";
import { renderTrace } from "../observe/trace.ts";
import { ApiError, type ControlBackend, type DevicePatch, type LogChange, type PushBody } from "./backend.ts";
import { eventStream } from "./events.ts";
import type { Entrance } from "./guard.ts";
import { openapi } from "./openapi.ts";
import { Fields, parseDurationMs, parseWhole, readText } from "./request.ts";
import { curlLine, type RouteId, ROUTES } from "./routes.ts";
import { locationsText, locationText } from "./location_text.ts";
import * as text from "./text.ts";
import type { PushKeys } from "../core/usrloc/model.ts";

/** What the server tells about the connection of a request. */
export interface ControlEnv extends Entrance {
  /** Turns the idle timeout of this request off: its answer waits for others (push services, names), or for its reader. */
  keepOpen(): void;
}

export type ControlContext = Context<{ Bindings: ControlEnv }>;
type Handler = (c: ControlContext) => Response | Promise<Response>;

const JSON_BYTES = 64 * 1024;
const VALUE_BYTES = 64 * 1024;
const CONFIG_BYTES = 1024 * 1024;
/** Followers of `/v1/events` at a time. */
const FOLLOWERS = 64;

/** One handler a route, over this backend. */
export function handlers(backend: ControlBackend): Record<RouteId, Handler> {
  let followers = 0;
  const aor = (c: ControlContext) => backend.resolveAor(param(c, "aor"));
  return {
    routes: (c) => {
      if (wantsText(c)) return textAnswer(text.routesText(ROUTES, baseUrl(c)));
      const items = ROUTES.map((route) => ({
        method: route.method,
        path: route.path,
        what: route.what,
        curl: curlLine(route, baseUrl(c)),
      }));
      return jsonAnswer({ items, next: null }, 200, 2);
    },
    openapi: async (c) => jsonAnswer(openapi((await backend.info()).version, baseUrl(c))),

    healthz: () => jsonAnswer({ status: "ok" }),
    readyz: () => {
      const { state, reason } = backend.readiness();
      return jsonAnswer({ ready: state === "ready", state, reason }, state === "ready" ? 200 : 503);
    },
    metrics: async () =>
      new Response(await backend.metricsText(), {
        headers: { "content-type": "text/plain; version=0.0.4; charset=utf-8" },
      }),
    info: async (c) => either(c, await backend.info(), text.infoText),
    status: async (c) => either(c, await backend.status(), text.statusText),

    locations: async (c) => {
      const page = await backend.locations({ filter: c.req.query("q") ?? "", ...pageQuery(c) });
      return pageAnswer(c, page, locationsText);
    },
    location: async (c) => either(c, await backend.location(aor(c)), locationText),
    deleteLocation: async (c) => done(await backend.deleteLocation(aor(c))),
    putDevice: async (c) => jsonAnswer(await backend.putDevice(aor(c), param(c, "id"), devicePatch(await fields(c)))),
    deleteDevice: async (c) => done(await backend.deleteDevice(aor(c), param(c, "id"))),

    calls: async (c) => {
      const state = c.req.query("state") ?? "";
      if (state !== "" && state !== "open" && state !== "ended") {
        throw new ApiError(400, "invalid_value", `Cannot use state "${state.slice(0, 60)}"`, "Expected open or ended");
      }
      const filter = c.req.query("aor") ?? "";
      const page = await backend.calls({
        state,
        aor: filter === "" ? "" : backend.resolveAor(filter),
        ...pageQuery(c),
      });
      return pageAnswer(c, page, text.callsText);
    },
    call: async (c) =>
      wantsText(c) ? textAnswer(await backend.ladder(param(c, "id"))) : jsonAnswer(await backend.call(param(c, "id"))),
    endCall: async (c) => done(await backend.endCall(param(c, "id"))),
    ladder: async (c) => textAnswer(await backend.ladder(param(c, "id"))),
    addBranch: async (c) => jsonAnswer(await backend.addBranch(param(c, "id"), branchTarget(await fields(c))), 201),
    removeBranch: async (c) => done(await backend.removeBranch(param(c, "id"), param(c, "b"))),

    silo: async (c) => listAnswer(c, await backend.silo(), text.siloText),
    siloOf: async (c) => either(c, await backend.siloOf(aor(c)), (entry) => text.siloText([entry])),
    append: async (c) => jsonAnswer(await backend.append(aor(c))),

    htables: async (c) => listAnswer(c, await backend.htables(), text.htablesText),
    htable: async (c) => pageAnswer(c, await backend.htable(param(c, "t"), pageQuery(c)), text.htableText),
    htableGet: async (c) =>
      either(c, await backend.htableGet(param(c, "t"), param(c, "key")), (entry) => entry.value + "\n"),
    htableSet: async (c) => {
      const ttlMs = parseDurationMs(c.req.query("ttl") || "0", "ttl");
      const value = await readText(c.req.raw, VALUE_BYTES);
      return jsonAnswer(await backend.htableSet(param(c, "t"), param(c, "key"), value, ttlMs));
    },
    htableDelete: async (c) => done(await backend.htableDelete(param(c, "t"), param(c, "key"))),
    htableIncr: async (c) => {
      const by = parseWhole(c.req.query("by"), "by", { min: -1e12, max: 1e12, default: 1 });
      return jsonAnswer(await backend.htableIncr(param(c, "t"), param(c, "key"), by));
    },

    pushBackends: async (c) => listAnswer(c, await backend.pushBackends(), text.pushBackendsText),
    push: async (c) => {
      c.env.keepOpen();
      return jsonAnswer(await backend.push(pushBody(await fields(c), backend)));
    },
    pushRecent: async (c) => listAnswer(c, await backend.pushRecent(), text.pushRecentText),

    explain: () => {
      throw notAvailable(
        "explain",
        "GET /v1/locations/{aor} says whether a phone can be woken, GET /v1/calls/{id}/ladder what became of a call",
      );
    },
    events: (c) => {
      const headers = { "content-type": "text/event-stream", "cache-control": "no-store" };
      // Nobody reads the answer to a HEAD, so nobody would end what it follows.
      if (c.req.method === "HEAD") return new Response(null, { headers });
      if (followers >= FOLLOWERS) {
        throw new ApiError(
          503,
          "too_many_followers",
          `${FOLLOWERS} followers are connected already`,
          "End one of them",
        );
      }
      followers++;
      c.env.keepOpen();
      const stream = eventStream((listener) => backend.subscribe(listener), () => followers--);
      return new Response(stream, { headers });
    },
    trace: async (c) => {
      if (!["", "0", "false"].includes(c.req.query("follow") ?? "")) {
        throw notAvailable("Following the trace", "GET /v1/trace has the last messages, GET /v1/events follows calls");
      }
      if (c.req.query("format") === "pcap") throw notAvailable("The trace as pcap", "Use format=text or format=json");
      const filter = c.req.query("aor") ?? "";
      const items = await backend.trace({
        aor: filter === "" ? "" : backend.resolveAor(filter),
        call: c.req.query("call") ?? "",
        limit: parseWhole(c.req.query("limit"), "limit", { min: 1, max: 10_000, default: 200 }),
      });
      return listAnswer(c, items, (messages) => messages.length === 0 ? "no messages\n" : renderTrace(messages));
    },

    config: async (c) => {
      const config = await backend.configMasked();
      if (!wantsText(c)) return jsonAnswer(config);
      const { stringify } = await import("yaml");
      // A section that is not set has no line, so that the text loads again.
      return textAnswer(stringify(Object.fromEntries(Object.entries(config).filter(([, value]) => value !== null))));
    },
    configCheck: async (c) =>
      jsonAnswer({ problems: await backend.configCheck(await readText(c.req.raw, CONFIG_BYTES)) }),
    reload: async (c) => {
      c.env.keepOpen();
      return jsonAnswer(await backend.reload());
    },
    setLog: async (c) => jsonAnswer(await backend.setLog(logChange(await fields(c), backend))),
    drain: async () => jsonAnswer({ draining: true, ...await backend.drain() }, 202),
    backup: async (c) => {
      c.env.keepOpen();
      const { path, dispose } = await backend.backup();
      return new Response(fileStream(path, dispose), {
        headers: {
          "content-type": "application/vnd.sqlite3",
          "content-length": String(Bun.file(path).size),
          "content-disposition": 'attachment; filename="latefork.db"',
        },
      });
    },
  };
}

/** `{"error":{...}}` with the status; always JSON, so that scripts can rely on it. */
export function errorAnswer(error: ApiError): Response {
  const { code, message, hint, details, status } = error;
  const answer = jsonAnswer({ error: { code, message, hint }, ...details }, status);
  if (status === 401) answer.headers.set("www-authenticate", 'Bearer realm="latefork"');
  return answer;
}

export function jsonAnswer(value: unknown, status = 200, indent = 0): Response {
  return new Response(JSON.stringify(value, null, indent) + "\n", {
    status,
    headers: { "content-type": "application/json", "cache-control": "no-store" },
  });
}

function textAnswer(body: string): Response {
  return new Response(body, { headers: { "content-type": "text/plain; charset=utf-8", "cache-control": "no-store" } });
}

function done(_: void): Response {
  return new Response(null, { status: 204 });
}

function either<T>(c: ControlContext, value: T, asText: (value: T) => string): Response {
  return wantsText(c) ? textAnswer(asText(value)) : jsonAnswer(value);
}

function listAnswer<T>(c: ControlContext, items: T[], asText: (items: T[]) => string): Response {
  return wantsText(c) ? textAnswer(asText(items)) : jsonAnswer({ items, next: null });
}

function pageAnswer<T>(
  c: ControlContext,
  page: { items: T[]; next: string | null },
  asText: (items: T[]) => string,
): Response {
  if (!wantsText(c)) return jsonAnswer({ items: page.items, next: page.next });
  const more = page.next === null ? "" : `(more, continue after ${page.next})\n`;
  return textAnswer(asText(page.items) + more);
}

/** `?format=` decides, else whether plain text is what the client names first. */
function wantsText(c: ControlContext): boolean {
  const format = c.req.query("format") ?? "";
  if (format === "text" || format === "json") return format === "text";
  if (format !== "") {
    throw new ApiError(
      400,
      "invalid_value",
      `Cannot answer in format "${format.slice(0, 60)}"`,
      "Expected json or text",
    );
  }
  return /^\s*text\/plain\b/i.test(c.req.header("accept") ?? "");
}

function param(c: ControlContext, name: string): string {
  return c.req.param(name) ?? "";
}

function pageQuery(c: ControlContext): { limit: number; after: string } {
  return {
    limit: parseWhole(c.req.query("limit"), "limit", { min: 1, max: 1000, default: 100 }),
    after: c.req.query("after") ?? "",
  };
}

async function fields(c: ControlContext): Promise<Fields> {
  return Fields.parse(await readText(c.req.raw, JSON_BYTES));
}

function devicePatch(body: Fields): DevicePatch {
  const patch: DevicePatch = {
    contact: body.text("contact"),
    kind: body.choice("kind", ["mobile", "desk"]),
    user_agent: body.text("user_agent"),
    expires_in: body.count("expires_in"),
  };
  const push = body.object("push");
  body.end();
  if (push === undefined) return patch;
  if (push === null) return { ...patch, push: null };
  patch.push = { provider: push.requiredText("provider"), param: push.text("param"), prid: push.requiredText("prid") };
  const keys = pushKeys(push);
  if (keys !== undefined) patch.push.keys = keys;
  push.end();
  return patch;
}

/** The keys of a Web Push subscription, as a browser's PushSubscription has them: both or none. */
function pushKeys(body: Fields): PushKeys | undefined {
  const [p256dh, auth] = [body.text("p256dh"), body.text("auth")];
  if (p256dh === undefined && auth === undefined) return undefined;
  const [point, secret] = [p256dh, auth].map((text) => Buffer.from(text ?? "", "base64url"));
  if (!isPoint(point!) || secret!.length !== 16) {
    throw new ApiError(
      400,
      "invalid_keys",
      "Cannot use p256dh and auth as the keys of a subscription",
      "Expected both, in base64url: a point of 65 bytes on P-256, and 16 bytes",
    );
  }
  return { p256dh: point!.toString("base64url"), auth: secret!.toString("base64url") };
}

function isPoint(bytes: Uint8Array): boolean {
  try {
    ECDH.convertKey(bytes, "prime256v1");
    return bytes.length === 65;
  } catch {
    return false;
  }
}

function branchTarget(body: Fields): { contact: string } | { device: string } {
  const contact = body.text("contact");
  const device = body.text("device");
  body.end();
  if (contact && !device) return { contact };
  if (device && !contact) return { device };
  throw new ApiError(400, "invalid_body", "Cannot tell what to add", 'Send {"contact":"sip:..."} or {"device":"id"}');
}

function pushBody(body: Fields, backend: ControlBackend): PushBody {
  const aor = body.text("aor");
  const events = ["call", "message", "refresh", "cancel", "missed", "test"] as const;
  const event = body.choice("event", events) ?? "test";
  if (aor) {
    const device = body.text("device");
    body.end();
    return { aor: backend.resolveAor(aor), event, ...(device === undefined ? {} : { device }) };
  }
  if (body.text("provider") === undefined) {
    throw new ApiError(
      400,
      "invalid_body",
      "Cannot tell whom to push",
      'Send {"aor":"alice@example.org"} or {"provider":"...","param":"...","prid":"..."}',
    );
  }
  const token = {
    provider: body.requiredText("provider").toLowerCase(),
    param: body.text("param") ?? "",
    prid: body.requiredText("prid"),
    event,
  };
  const keys = pushKeys(body);
  body.end();
  return keys === undefined ? token : { ...token, keys };
}

function logChange(body: Fields, backend: ControlBackend): LogChange {
  const change: LogChange = { for_ms: body.durationMs("for") ?? 0 };
  const level = body.choice("level", ["debug", "info", "warn", "error"]);
  const overrides = body.texts("overrides");
  body.end();
  if (level !== undefined) change.level = level;
  if (overrides !== undefined) {
    try {
      change.overrides = overrides.map(parseOverride).map((override) => {
        if (override.field !== "aor") return override;
        // Lines carry the canonical AoR: a bare user would match none.
        const value = backend.resolveAor(override.value);
        return { ...override, value, text: `aor=${value} -> ${override.level}` };
      });
    } catch (error) {
      if (error instanceof ApiError) throw error;
      const fields = "Fields are aor, call, device and flow, levels debug, info, warn and error";
      throw new ApiError(400, "invalid_value", (error as Error).message, fields);
    }
  }
  return change;
}

function notAvailable(what: string, hint: string): ApiError {
  return new ApiError(501, "not_available", `${what} is not in this version`, hint);
}

function baseUrl(c: ControlContext): string {
  return `http://${c.req.header("host") ?? "127.0.0.1:8060"}`;
}

/** The file, and `ended` once, whether it was read to its end or not. */
function fileStream(path: string, ended: () => void): ReadableStream<Uint8Array> {
  const reader = Bun.file(path).stream().getReader();
  return new ReadableStream<Uint8Array>({
    async pull(controller) {
      try {
        const { done, value } = await reader.read();
        if (!done) return controller.enqueue(value);
        controller.close();
      } catch (error) {
        controller.error(error);
      }
      ended();
    },
    async cancel() {
      await reader.cancel();
      ended();
    },
  });
}
