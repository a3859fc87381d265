/** `/v1/tls`: the certificates that phones are shown, and how long each is good for (T-06). */
import { renderTable } from "../observe/table.ts";
import { listAnswer } from "./answer.ts";
import type { CertificateState } from "./host.ts";
import { FORMAT, type Route, route } from "./route.ts";
import { ADVICE } from "./text.ts";

export const TLS: readonly Route[] = [
  route({
    id: "tls",
    method: "GET",
    path: "/v1/tls",
    summary: "certificates: names, issuer, days left",
    query: [FORMAT],
    example: "/v1/tls?format=text",
    isList: true,
    answer: (c, host) => listAnswer(c, host.certificates.infos(), certificatesText),
  }),
];

export function certificatesText(items: readonly CertificateState[]): string {
  return renderTable(items, [
    { title: "names", value: ({ names }) => names.join(", ") || "none" },
    { title: "issuer", value: ({ issuer }) => issuer },
    { title: "days left", value: ({ days_left }) => String(days_left), align: "right" },
    { title: "file", value: ({ file }) => file },
    { title: "problem", value: ({ problem }) => problem, maxWidth: ADVICE },
  ], "no certificates: nothing listens on tls or wss");
}
