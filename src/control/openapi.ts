/** The routes as an OpenAPI 3.1 document. Must not know how a route is answered. */
import type { Route } from "./route.ts";

const BODY_TYPES = { json: "application/json", text: "text/plain", yaml: "application/yaml" } as const;

/** @param server base URL the client used. */
export function openapi(routes: readonly Route[], version: string, server: string): Record<string, unknown> {
  const paths: Record<string, Record<string, unknown>> = {};
  for (const route of routes) {
    const path = paths[route.path] ??= {};
    path[route.method.toLowerCase()] = operation(route);
  }
  return {
    openapi: "3.1.0",
    info: { title: "latefork control port", version },
    servers: [{ url: server }],
    security: [{}, { bearer: [] }],
    paths,
    components: {
      securitySchemes: { bearer: { type: "http", scheme: "bearer" } },
      schemas: {
        List: {
          type: "object",
          required: ["items", "next"],
          properties: {
            items: { type: "array", items: {} },
            next: { type: ["string", "null"], description: "for `after` of the next page; null: this was the last" },
          },
        },
        Error: {
          type: "object",
          required: ["error"],
          properties: {
            error: {
              type: "object",
              required: ["code", "message", "hint"],
              properties: { code: { type: "string" }, message: { type: "string" }, hint: { type: "string" } },
            },
          },
        },
      },
    },
  };
}

function operation(route: Route): Record<string, unknown> {
  const parameters = [
    ...[...route.path.matchAll(/\{(\w+)\}/g)].map(([, name]) => ({
      name,
      in: "path",
      required: true,
      schema: { type: "string" },
    })),
    ...route.query.map(({ name, what }) => ({ name, in: "query", description: what, schema: { type: "string" } })),
  ];
  const schema = route.body === "json" ? { type: "object" } : { type: "string" };
  return {
    operationId: route.id,
    summary: route.summary,
    parameters,
    ...(route.body === undefined
      ? {}
      : { requestBody: { required: true, content: { [BODY_TYPES[route.body]]: { schema } } } }),
    responses: {
      ...answers(route),
      default: {
        description: "refused",
        content: { "application/json": { schema: { $ref: "#/components/schemas/Error" } } },
      },
    },
  };
}

/** The answers that are no refusal. Refusals are under `default`. */
function answers(route: Route): Record<string, unknown> {
  const described = { description: route.summary, ...(route.status === 204 ? {} : { content: contentOf(route) }) };
  if (route.alsoStatus === undefined) return { [route.status]: described };
  const [status, description] = route.alsoStatus;
  return { [route.status]: described, [status]: { description, content: { "application/json": {} } } };
}

function contentOf(route: Route): Record<string, unknown> {
  if (route.produces !== undefined) return { [route.produces]: {} };
  const json = route.isList
    ? { schema: { $ref: "#/components/schemas/List" } }
    : route.status === 501
    ? { schema: { $ref: "#/components/schemas/Error" } }
    : {};
  const hasText = route.query.some(({ name }) => name === "format");
  return { "application/json": json, ...(hasText ? { "text/plain": {} } : {}) };
}
