/** Owns the signing of a JWT (RFC 7515, RFC 7518). It must not know what is claimed, nor how long it is good for. */
import { type KeyObject, sign } from "node:crypto";

/**
 * A compact JWT: RS256 with an RSA key, ES256 with one on P-256. Synchronous, so that a push that needs a new token
 * still leaves within `send` (N-06); 30 µs for ES256.
 */
export function signedJwt(
  header: Readonly<Record<string, string>>,
  claims: Readonly<Record<string, string | number>>,
  key: KeyObject,
): string {
  const alg = key.asymmetricKeyType === "rsa" ? "RS256" : "ES256";
  const text = `${base64url({ alg, ...header })}.${base64url(claims)}`;
  // RFC 7518 §3.4: r and s alone, not the DER sequence that is usual elsewhere.
  const signature = sign("sha256", Buffer.from(text), { key, dsaEncoding: "ieee-p1363" });
  return `${text}.${signature.toString("base64url")}`;
}

function base64url(value: unknown): string {
  return Buffer.from(JSON.stringify(value)).toString("base64url");
}
