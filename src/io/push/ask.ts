/**
 * Owns how a push service is asked without a phone (O-02, `latefork check --live`): a push to a token that no phone has, its
 * result, and a bare connection where a service must not be sent anything. It must not know any service.
 */
import { isIP } from "node:net";
import { bareHost } from "../../core/sip/host.ts";
import { unreachable } from "./http/answer.ts";
import { pushOfNoCall } from "./request.ts";
import type { PushRequest } from "./types.ts";
import { isPublicAddress } from "./http/public_address.ts";
import type { HostLookup } from "./world.ts";

/** What one address of a service said. */
export interface ServiceAnswer {
  /** `idle`: there is nothing to ask. `warning`: something is wrong, and not with our settings. */
  readonly state: "ok" | "warning" | "failed" | "idle";
  /** What was asked and answered, and what to do about it. Holds no secret. */
  readonly words: string;
  /** What the answer does not show; empty if nothing is left. */
  readonly unverified: string;
  /** From the question to the answer. */
  readonly ms: number;
}

/** Hosts asked at a time: phones choose those of Web Push. */
export const MAX_ASKED_HOSTS = 16;
/** For DNS, TCP and TLS together. */
export const CONNECT_MS = 4000;

/**
 * A push to a token that no phone has. It is a `refresh`: if there were such a phone, it would show nothing.
 *
 * @param uuid of the push, as services want one.
 */
export function pushForNobody(uuid: string, provider: string, param: string, prid: string): PushRequest {
  return pushOfNoCall({ uuid, provider, param, prid }, "refresh", CONNECT_MS);
}

/** Where and how {@link connectOnly} connects. */
export interface Way {
  /** Scheme, host and port. */
  readonly origin: string;
  /** Certificates (PEM) to trust instead of the system's. */
  readonly ca?: string | undefined;
  /** The name came from a phone: to public addresses alone. */
  readonly isPublicOnly: boolean;
  readonly lookup: HostLookup;
  readonly signal: AbortSignal;
}

/**
 * Opens a connection, with TLS where the origin is https, and closes it again; nothing is sent.
 *
 * @returns why there is none, in words; empty if there was one. It never rejects.
 */
export async function connectOnly(way: Way): Promise<string> {
  const host = bareHost(new URL(way.origin).hostname);
  const found = isIP(host) !== 0 ? { addresses: [host] } : await addressesOf(host, way.lookup, way.signal);
  if ("error" in found) return unreachable(way.origin, found.error);
  const open = way.isPublicOnly ? found.addresses.filter(isPublicAddress) : found.addresses;
  if (found.addresses.length > 0 && open.length === 0) return `${host} is not on a public address`;
  let problem = `no address found for ${way.origin}`;
  for (const address of open) {
    if (way.signal.aborted) break;
    problem = await connectTo(address, way);
    if (problem === "") return "";
  }
  return problem;
}

/** What to do about a problem of {@link connectOnly}. @param where the key that names the address, or who did */
export function adviceOn(problem: string, where: string, caFile: string): string {
  if (problem.startsWith("no address ")) return `is the name in ${where} right, and does this machine's DNS know it?`;
  if (problem.includes("certificate")) {
    return `it must be for the name in ${where}, in date, and signed by an authority that ${caFile} trusts`;
  }
  return `is ${where} right, does it run, and does a firewall let this machine out to it?`;
}

function addressesOf(
  host: string,
  lookup: HostLookup,
  signal: AbortSignal,
): Promise<{ addresses: string[] } | { error: unknown }> {
  return new Promise((resolve) => {
    const late = (): void => resolve({ error: { code: "no answer from DNS" } });
    if (signal.aborted) return late();
    signal.addEventListener("abort", late, { once: true });
    lookup(host, (error, addresses) => {
      resolve(error === null ? { addresses: addresses.map(({ address }) => address) } : { error });
    });
  });
}

function connectTo(address: string, { origin, ca, signal }: Way): Promise<string> {
  const url = new URL(origin);
  const isTls = url.protocol === "https:";
  const port = url.port === "" ? (isTls ? 443 : 80) : Number(url.port);
  const name = bareHost(url.hostname);
  return new Promise((resolve) => {
    const finish = (problem: string): void => {
      signal.removeEventListener("abort", late);
      socket.destroy();
      resolve(problem);
    };
    const late = (): void => finish(`${origin} did not take a connection in time (${address})`);
    // Loaded here, as a running appliance never asks. Certificates are checked explicitly:
    // NODE_TLS_REJECT_UNAUTHORIZED=0 would switch that off.
    const socket = isTls
      ? process.getBuiltinModule("node:tls").connect({
        host: address,
        port,
        // RFC 6066 §3: an address is not a server name.
        ...(name === address ? {} : { servername: name }),
        ALPNProtocols: ["h2", "http/1.1"],
        rejectUnauthorized: true,
        ...(ca === undefined ? {} : { ca }),
      })
      : process.getBuiltinModule("node:net").connect({ host: address, port });
    signal.addEventListener("abort", late, { once: true });
    socket.on(isTls ? "secureConnect" : "connect", () => finish(""));
    socket.on("error", (error) => finish(unreachable(origin, error)));
    socket.on("close", () => finish(`${origin} closed the connection without an answer`));
  });
}
