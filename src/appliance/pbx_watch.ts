/**
 * When the PBX's names are asked: at the start, after a reload, and again every minute, sooner where DNS failed. Knows no
 * sockets, and not what is done with the addresses.
 */
import type { PbxConfig } from "../config/schema.ts";
import { needsResolving, type PbxNames, resolvePbx } from "./pbx_names.ts";

/** Names are asked again this often. */
const RESOLVE_MS = 60_000;
/** How long the start waits for DNS: a box that boots together with its router has none for a while. */
const FIRST_NAMES_MS = 5_000;

export interface PbxWatchOptions {
  /** Instead of the system's resolver. */
  readonly resolvePbx?: typeof resolvePbx | undefined;
  /** How long the start waits, ms. */
  readonly firstNamesMs?: number | undefined;
}

/** Who uses the addresses. */
export interface PbxWatchOwner {
  /** `pbx` of the config at this moment; null: registrar mode. */
  pbx(): PbxConfig | null;
  nowMs(): number;
  /** Takes what DNS answered. Its `problems` are logged already. */
  takeNames(names: PbxNames): void;
  warn(message: string): void;
  onFault(error: unknown): void;
}

export class PbxWatch {
  private askAtMs = Infinity;
  private readonly resolvePbx: typeof resolvePbx;
  private readonly firstNamesMs: number;

  constructor(private readonly owner: PbxWatchOwner, options: PbxWatchOptions = {}) {
    this.resolvePbx = options.resolvePbx ?? resolvePbx;
    this.firstNamesMs = options.firstNamesMs ?? FIRST_NAMES_MS;
  }

  /** Asks now, and again later if a name failed. */
  async resolve(): Promise<void> {
    const pbx = this.owner.pbx();
    if (pbx !== null) this.take(await this.resolvePbx(pbx));
  }

  /** For the start: waits for DNS so long and no longer. null: the answer is taken when it comes. */
  async firstNames(): Promise<PbxNames | null> {
    const pbx = this.owner.pbx();
    if (pbx === null) return null;
    const asked = this.resolvePbx(pbx);
    const waited = Promise.withResolvers<null>();
    const timer = setTimeout(() => waited.resolve(null), this.firstNamesMs);
    const names = await Promise.race([asked, waited.promise]);
    clearTimeout(timer);
    if (names === null) {
      this.owner.warn("Started before DNS answered: the addresses of pbx.uri come later");
      asked.then((late) => this.take(late)).catch((error) => this.owner.onFault(error));
    }
    return names;
  }

  /** Hands the addresses on, and sets when they are asked again. */
  take(names: PbxNames): void {
    for (const problem of names.problems) this.owner.warn(problem);
    this.owner.takeNames(names);
    const pbx = this.owner.pbx();
    if (pbx !== null && needsResolving(pbx)) {
      this.askAtMs = this.owner.nowMs() + (names.problems.length > 0 ? RESOLVE_MS / 6 : RESOLVE_MS);
    }
  }

  /** About once a second. */
  tick(nowMs: number): void {
    if (nowMs < this.askAtMs) return;
    this.askAtMs = Infinity;
    this.resolve().catch((error) => this.owner.onFault(error));
  }
}
