/**
 * Which verdicts about pushes are worth a warning (O-05). A refresh push that is refused comes again every minute or so, for
 * each phone that nothing but an admin can help: said once, it does not bury what else goes wrong. Knows no log.
 */
import { Recent } from "../core/guard/recent.ts";
import type { PushRequest, PushVerdict } from "../io/push/types.ts";

/** Devices whose last refusal is remembered; one that is forgotten is told once more. */
const MAX_REMEMBERED = 10_000;

export class PushLog {
  private readonly refusals = new Recent<string>(MAX_REMEMBERED);

  /** `debug`: the same was said of this device before; null: it went well, or its token is dead, which is told elsewhere. */
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
