/**
 * Who may talk to the control port: the Host header against DNS rebinding, the origin against pages of other
 * sites, and the bearer token. Must not know the routes.
 */
import { createHash, timingSafeEqual } from "node:crypto";
import { isLoopback } from "../core/sip/host.ts";
import { ApiError } from "./api_error.ts";

/** Where a request came in. */
export interface Entrance {
  /** IP address or name listened on, without brackets; empty for a unix socket. */
  address: string;
  isUnix: boolean;
}

/**
 * @param hostNames names of the config besides loopback and the listen address.
 * @throws ApiError 403 `host_not_allowed` or `cross_origin`.
 */
export function checkOrigin(headers: Headers, entrance: Entrance, hostNames: readonly string[]): void {
  const host = headers.get("host") ?? "";
  if (!entrance.isUnix && !isKnownHost(hostWithoutPort(host), entrance.address, hostNames)) {
    throw new ApiError(
      403,
      "host_not_allowed",
      "The Host header names none of our hosts",
      "Use the address the control port listens on, or a name of the config's domain or advertise",
    );
  }
  // Without CORS a page of another site could not read answers, but it could send a POST.
  const origin = headers.get("origin");
  if (origin !== null && origin !== `http://${host}` && origin !== `https://${host}`) {
    throw new ApiError(
      403,
      "cross_origin",
      "Pages of other sites may not use the control port",
      "Use curl or the command line",
    );
  }
}

/**
 * @param token empty: none is configured, everybody may.
 * @throws ApiError 401 `unauthorized`.
 */
export function checkToken(headers: Headers, token: string): void {
  if (token === "") return;
  const match = /^bearer[ \t]+(\S+)[ \t]*$/i.exec(headers.get("authorization") ?? "");
  // Digests have one length: the comparison does not give away the length of the token.
  if (match !== null && timingSafeEqual(digest(match[1]!), digest(token))) return;
  throw new ApiError(
    401,
    "unauthorized",
    match === null ? "A bearer token is needed" : "The bearer token is not ours",
    'Send the content of control.token_file: curl -H "Authorization: Bearer $(cat FILE)" ...',
  );
}

/** True for a host that only this machine can reach. @param host without brackets */
export function isThisMachine(host: string): boolean {
  return host.toLowerCase() === "localhost" || isLoopback(host);
}

function isKnownHost(host: string, address: string, hostNames: readonly string[]): boolean {
  if (host === "") return false;
  if (isThisMachine(host) || host === address.toLowerCase()) return true;
  // DNS rebinding needs a name. Where we listen on every address, a request for an address literal came to one of ours.
  const isLiteral = host.includes(":") || /^\d{1,3}(\.\d{1,3}){3}$/.test(host);
  if (isLiteral && (address === "0.0.0.0" || address === "::")) return true;
  return hostNames.some((name) => hostWithoutPort(name) === host);
}

function hostWithoutPort(text: string): string {
  const match = /^(?:\[([^\]]*)\]|([^:]*))(?::\d*)?$/.exec(text.trim().toLowerCase());
  return match === null ? "" : match[1] ?? match[2]!;
}

function digest(text: string): Buffer {
  return createHash("sha256").update(text).digest();
}
