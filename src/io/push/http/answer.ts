/**
 * Owns what HTTP says besides status and body: how long to wait, and, in words, why there is no answer. Every backend that
 * speaks HTTP uses it. It must not know any push service.
 */

/** RFC 9110 §10.2.3: seconds or a date. Ms from now, or -1 if absent or unreadable. */
export function retryAfterMsOf(header: string | null | undefined, nowMs: number): number {
  if (header === null || header === undefined) return -1;
  if (/^\d+$/.test(header)) return Number(header) * 1000;
  const dateMs = Date.parse(header);
  return Number.isNaN(dateMs) ? -1 : Math.max(0, dateMs - nowMs);
}

/** Why no answer came, for people. Made from the error's code: messages of the runtime may quote a URL. */
export function unreachable(host: string, error: unknown): string {
  const code = codeOf(error);
  switch (code) {
    case "ECONNREFUSED":
      return `${host} refuses connections`;
    case "ECONNRESET":
      return `${host} closed the connection without an answer`;
    case "ENOTFOUND":
    case "EAI_AGAIN":
      return `no address found for ${host}`;
  }
  const isCertificate = /CERT|SELF_SIGNED|ISSUER|ALTNAME|SIGNATURE|CRL/.test(code);
  return isCertificate
    ? `the certificate of ${host} is not trusted (${code})`
    : `cannot reach ${host} (${code || "error"})`;
}

/** The code of an error, or its name if it has no code; empty for other values. */
export function codeOf(error: unknown): string {
  if (typeof error !== "object" || error === null) return "";
  const { code, name } = error as { code?: unknown; name?: unknown };
  if (typeof code === "string") return code;
  return typeof name === "string" ? name : "";
}
