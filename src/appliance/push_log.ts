/**
 * Which verdicts about pushes are worth a warning (O-05). A refused refresh push comes again every minute or so, until an admin
 * helps. It is warned of once for each phone, so that it does not bury other faults. Knows no log.
 */
import { Recent } from "../core/guard/recent.ts";
import type { PushRequest, PushVerdict } from "../io/push/types.ts";

/** So many devices have their last refusal remembered. One that is forgotten is warned of once more. */
const MAX_REMEMBERED = 10_000;

export class PushLog {
  private readonly refusals = new Recent<string>(MAX_REMEMBERED);

  /** `debug`: this device was warned of with the same words. null: all is well, or the token is dead, which is logged elsewhere. */
  levelOf({ outcome, reason }: PushVerdict, { event, device }: PushRequest): "warn" | "debug" | null {
    const isRefresh = event === "refresh" && device !== "";
    if (outcome !== "refused" && outcome !== "failed") {
      if (isRefresh) this.refusals.delete(device);
      return null;
    }
    if (!isRefresh || outcome === "failed") return "warn";
    if (this.refusals.get(device) === reason) return "debug";
    this.refusals.set(device, reason);
    return "warn";
  }
}
