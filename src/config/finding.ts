/**
 * What `latefork check` found of one part of the config, a line each (O-02). Types alone: the probes find, the command line
 * prints, and neither knows the other.
 */

export interface Finding {
  /** `listen`, `store`, `push.apns`; of `--live` also `dns` and `pbx`. */
  readonly part: string;
  /** `idle`: nothing to try or to ask. */
  readonly state: "ok" | "warning" | "failed" | "idle";
  /** What was tried, and the result. Holds no secret. */
  readonly words: string;
  /** What to do about it, or what remains unknown; empty if there is nothing to say. */
  readonly hint: string;
  /** From the question to the answer; null if nothing was asked. */
  readonly ms: number | null;
}

/** The appliance that runs already, as its control port says. The ports and files it holds are no fault. */
export interface RunningAppliance {
  readonly pid: number;
  readonly version: string;
  readonly listeners: readonly { readonly transport: string; readonly address: string; readonly port: number }[];
  readonly control: readonly string[];
  readonly store: { readonly path: string };
  /** Web Push services it has pushed to since its start: scheme, host and port. */
  readonly pushHosts: readonly string[];
}
