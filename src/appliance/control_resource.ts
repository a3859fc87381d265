/** What every resource of the control port has: the live parts, the turn its changes run in, and the AoRs they are about. */
import { bareHost } from "../core/sip/host.ts";
import type { Appliance } from "./appliance.ts";
import { ApiError } from "../control/backend.ts";
import type { Flow } from "../core/sip/flow.ts";
import { type Uri, uriParam } from "../core/sip/uri.ts";
import type { Aor } from "../core/usrloc/contact.ts";

export abstract class ControlResource {
  constructor(protected readonly appliance: Appliance) {}

  protected get nowMs(): number {
    return this.appliance.turn.nowMs;
  }

  /** Runs a change inside a turn; an error of the API goes on to the asker. */
  protected input<T>(change: () => T): T {
    this.appliance.turn.enter();
    return change();
  }

  /** The configured domains, else those of the AoRs there are. */
  protected domains(): string[] {
    const { config, core } = this.appliance;
    return config.domain.length > 0 ? config.domain : [...core.usrloc.domains()];
  }

  /**
   * The flow to the address of a URI; null: it is a name, or no listener has its transport.
   * @throws ApiError 409 `no_route` for a transport there is none of
   */
  protected flowTo(uri: Uri): Flow | null {
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
    return this.appliance.world.flowTo(transport, bareHost(uri.host), uri.port || 5060);
  }

  /** @throws ApiError 404 `unknown_aor` */
  protected aor(key: string): Aor {
    const aor = this.appliance.core.usrloc.find(key);
    if (aor === undefined) {
      throw new ApiError(404, "unknown_aor", `${key} is not registered`, "GET /v1/locations lists who is");
    }
    return aor;
  }
}

export function unknownDevice(aor: string, id: string): ApiError {
  return new ApiError(404, "unknown_device", `${aor} has no device ${id}`, "GET /v1/locations/{aor} lists its devices");
}
