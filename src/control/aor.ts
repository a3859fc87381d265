/** What requests name: an AoR as people type it, one of its devices, a URI to send to. Each as it is, or a refusal. */
import type { Flow } from "../core/sip/flow.ts";
import { bareHost } from "../core/sip/host.ts";
import { aorOf, parseUri, type Uri, uriParam } from "../core/sip/uri.ts";
import type { Aor } from "../core/usrloc/contact.ts";
import { ApiError } from "./api_error.ts";
import { param } from "./answer.ts";
import { type ControlHost, domainsOf } from "./host.ts";
import type { ControlContext } from "./route.ts";

/** The canonical AoR that `{aor}` of the path names. */
export function aorParam(c: ControlContext, host: ControlHost): string {
  return resolveAor(param(c, "aor"), host);
}

/**
 * `user@domain` or a bare user (first domain) to the canonical AoR.
 * @throws ApiError 400 `invalid_aor`
 */
export function resolveAor(text: string, host: ControlHost): string {
  const address = text.replace(/^sips?:/i, "");
  const domain = domainsOf(host)[0] ?? "";
  const whole = address.includes("@") || domain === "" ? address : `${address}@${domain}`;
  // Without any domain there is nobody yet, so that whoever is asked for is unknown and not wrong.
  const uri = parseUri("sip:" + (whole.includes("@") ? whole : whole + "@invalid"));
  if (uri === null || uri.user === "") {
    throw new ApiError(
      400,
      "invalid_aor",
      `Cannot read address of record "${text.slice(0, 100)}"`,
      "Give user@domain, or a user of the first domain; escape in a path what is no letter or digit (@ may stay)",
    );
  }
  return whole.includes("@") ? aorOf(uri) : whole;
}

/** @throws ApiError 404 `unknown_aor` */
export function registeredAor({ core }: ControlHost, key: string): Aor {
  const aor = core.usrloc.find(key);
  if (aor === undefined) {
    throw new ApiError(404, "unknown_aor", `${key} is not registered`, "GET /v1/locations lists who is");
  }
  return aor;
}

export function unknownDevice(aor: string, id: string): ApiError {
  return new ApiError(404, "unknown_device", `${aor} has no device ${id}`, "GET /v1/locations/{aor} lists its devices");
}

/**
 * The flow to the address of a URI; null: it is a name, or no listener has its transport.
 * @throws ApiError 409 `no_route` for a transport there is none of
 */
export function flowTo({ world }: ControlHost, uri: Uri): Flow | null {
  const transport = uri.scheme === "sips" ? "tls" : uriParam(uri, "transport")?.toLowerCase() || "udp";
  // What is to go over TLS must not go in the clear instead.
  if (transport !== "udp" && transport !== "tcp") {
    throw new ApiError(
      409,
      "no_route",
      `Transport ${transport.slice(0, 20)} is not available in this version`,
      "Use transport=udp or transport=tcp, and sip: instead of sips:",
    );
  }
  return world.flowTo(transport, bareHost(uri.host), uri.port || 5060);
}
