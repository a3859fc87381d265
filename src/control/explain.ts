/** `/v1/explain`: why a phone would not ring. Not in this version: it says so, and what does it meanwhile. */
import { notAvailable } from "./api_error.ts";
import { AOR, type Route, route } from "./route.ts";

export const EXPLAIN: readonly Route[] = [
  route({
    id: "explain",
    method: "GET",
    path: "/v1/explain/{aor}",
    summary: "why a phone would not ring (not in this version)",
    example: `/v1/explain/${AOR}`,
    status: 501,
    answer() {
      throw notAvailable(
        "explain",
        "GET /v1/locations/{aor} says whether a phone can be woken, GET /v1/calls/{id}/ladder what became of a call",
      );
    },
  }),
];
