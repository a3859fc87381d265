/** What supervisors and monitoring ask: alive, ready, metrics (O-05). */
import { jsonAnswer } from "./answer.ts";
import { type Route, route } from "./route.ts";

export const HEALTH: readonly Route[] = [
  route({
    id: "healthz",
    method: "GET",
    path: "/healthz",
    summary: "the process is alive",
    example: "/healthz",
    answer: () => jsonAnswer({ status: "ok" }),
  }),
  route({
    id: "readyz",
    method: "GET",
    path: "/readyz",
    summary: "ready; 503 while starting, draining, or if the store failed",
    example: "/readyz",
    alsoStatus: [503, "not ready, and why"],
    answer(_c, host) {
      const { state, reason } = host.readiness();
      return jsonAnswer({ ready: state === "ready", state, reason }, state === "ready" ? 200 : 503);
    },
  }),
  route({
    id: "metrics",
    method: "GET",
    path: "/metrics",
    summary: "metrics for Prometheus",
    example: "/metrics",
    produces: "text/plain",
    answer: (_c, { metrics }) =>
      new Response(metrics.text(), { headers: { "content-type": "text/plain; version=0.0.4; charset=utf-8" } }),
  }),
];
