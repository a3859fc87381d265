/** `GET /` and `GET /openapi.json`: all routes, for people and for machines. */
import { baseUrl, jsonAnswer, textAnswer, wantsText } from "./answer.ts";
import { openapi } from "./openapi.ts";
import { curlLine, FORMAT, type Route, route } from "./route.ts";

/** @param routes all there are, these two included */
export function directory(routes: () => readonly Route[]): readonly Route[] {
  return [
    route({
      id: "routes",
      method: "GET",
      path: "/",
      summary: "this list",
      query: [FORMAT],
      example: "/?format=text",
      isList: true,
      answer(c) {
        const base = baseUrl(c);
        if (wantsText(c)) return textAnswer(routesText(routes(), base));
        const items = routes().map((route) => ({
          method: route.method,
          path: route.path,
          what: route.summary,
          curl: curlLine(route, base),
        }));
        return jsonAnswer({ items, next: null }, 200, 2);
      },
    }),
    route({
      id: "openapi",
      method: "GET",
      path: "/openapi.json",
      summary: "this list for machines",
      example: "/openapi.json",
      answer: (c, { version }) => jsonAnswer(openapi(routes(), version, baseUrl(c))),
    }),
  ];
}

/** @param base URL the client used */
function routesText(routes: readonly Route[], base: string): string {
  return routes.map((route) => `${route.method} ${route.path}\n    ${route.summary}\n    ${curlLine(route, base)}\n`)
    .join("");
}
