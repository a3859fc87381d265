/**
 * The control port as a hono app. Every request passes the guard, then goes to the handler of its route. Every fault becomes
 * `{"error":...}`. Must not know sockets (server.ts), resources, nor whose host it is.
 */
import { Hono } from "hono";
import { errorAnswer } from "./answer.ts";
import { ApiError } from "./api_error.ts";
import { checkOrigin, checkToken } from "./guard.ts";
import type { ControlHost } from "./host.ts";
import { type ControlContext, type ControlEnv, methodsOf } from "./route.ts";
import { ROUTES } from "./routes.ts";

export type ControlApp = Hono<{ Bindings: ControlEnv }>;

/** Open without a token: for supervisors and load balancers. */
const OPEN_TO_ALL = ["/healthz", "/readyz"];

/** @param token gives the bearer token of this moment; empty: none is configured */
export function controlApp(host: ControlHost, token: () => string): ControlApp {
  const app: ControlApp = new Hono<{ Bindings: ControlEnv }>();
  app.use(async (c, next) => {
    checkOrigin(c.req.raw.headers, c.env, hostNames(host));
    if (!OPEN_TO_ALL.includes(c.req.path)) checkToken(c.req.raw.headers, token());
    await next();
    if (c.req.method === "HEAD") await announceLength(c);
  });
  for (const route of ROUTES) {
    app.on(route.method, route.path.replace(/\{(\w+)\}/g, ":$1"), (c) => route.answer(c, host));
  }
  app.notFound((c) => notFound(c));
  app.onError((error, c) => {
    if (error instanceof ApiError) return errorAnswer(error);
    host.world.log("error", `Control port failed on ${c.req.method} ${c.req.path}: ${error.stack ?? error.message}`);
    return errorAnswer(new ApiError(500, "internal", "The control port failed on this request", "The log says why"));
  });
  return app;
}

/** Names besides loopback and the listen addresses that the Host header may carry. */
function hostNames({ config }: ControlHost): string[] {
  const advertised = [config.advertise, ...config.listen.map(({ advertise }) => advertise)].filter((text) =>
    text !== ""
  );
  return [...config.domain, ...advertised.map((text) => text.replace(/:\d+$/, ""))];
}

/** RFC 9110 §8.6: the length of a HEAD is that of its GET, or is not given. Left alone, the server would say 0. */
async function announceLength(c: ControlContext): Promise<void> {
  if (c.res.body === null || c.res.headers.has("content-length")) return;
  const { byteLength } = await c.res.arrayBuffer();
  const { status, headers } = c.res;
  headers.set("content-length", String(byteLength));
  c.res = new Response(null, { status, headers });
}

function notFound(c: ControlContext): Response {
  const methods = methodsOf(ROUTES, c.req.path);
  if (methods.length === 0) {
    return errorAnswer(new ApiError(404, "unknown_route", "There is no such path", "GET / lists the routes"));
  }
  const allowed = methods.includes("GET") ? ["HEAD", ...methods] : methods;
  const answer = errorAnswer(
    new ApiError(405, "method_not_allowed", `${c.req.method} is not for this path`, `Use ${methods.join(" or ")}`),
  );
  answer.headers.set("allow", allowed.join(", "));
  return answer;
}
