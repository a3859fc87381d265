/** What every resource of the control port has: the live parts, the turn its changes run in, and the AoRs they are about. */
import type { Appliance } from "../appliance.ts";
import { ApiError } from "../control/backend.ts";
import type { Aor } from "../usrloc/model.ts";

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
