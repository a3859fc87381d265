/** One part of a JWT (RFC 7515 §3.1) as the local push services read it, whoever sent it. */

/** The object in a header or a payload; empty if it is none. */
export function jwtPart(text: string): Record<string, unknown> {
  try {
    const value = JSON.parse(Buffer.from(text, "base64url").toString("utf8"));
    return typeof value === "object" && value !== null ? value : {};
  } catch {
    return {};
  }
}
