/**
 * The effects every pure part shares. Each part declares the further effects it needs as its own interface that
 * extends this one; the appliance implements all of them in one object. An effect never re-enters a pure part: its result
 * arrives later as a new input.
 */
import type { Flow } from "./sip/flow.ts";

/** Severity of a log line, least first. `debug` is not built unless it is asked for (see {@link Port.isLogged}). */
export const LOG_LEVELS = ["debug", "info", "warn", "error"] as const;
export type LogLevel = (typeof LOG_LEVELS)[number];

/** What a log line can carry besides its message. */
export interface LogFields {
  call?: string;
  aor?: string;
  device?: string;
  flow?: string;
  [name: string]: string | number | boolean | undefined;
}

/** The counters of `/metrics`, without their `latefork_` prefix; one label each. */
export type Counter =
  | "registrations_total"
  | "calls_total"
  | "late_branches_total"
  | "push_total"
  | "rejected_total"
  | "pbx_doubts_total";

/** Histograms of `/metrics`, in seconds. */
export type Histogram =
  | "wake_seconds"
  | "late_branch_seconds"
  | "push_seconds"
  | "store_commit_seconds"
  | "loop_lag_seconds";

/** Things that happen and that `/v1/events` tells. */
export interface ApplianceEvent {
  type: string;
  [field: string]: string | number | boolean | undefined;
}

export interface Port {
  /**
   * Sends one message (latin1 text, one character a byte) over a flow.
   * @returns false if the flow is closed or its queue is full; the caller then treats it as a transport failure.
   */
  send(flow: Flow, wire: string): boolean;
  /** As `send`, but leaves only after the store has committed everything changed so far (S-01). */
  sendDurable(flow: Flow, wire: string): boolean;
  /** Adds one to a counter; `label` is the value of its (first) label. */
  count(counter: Counter, label: string): void;
  /** Adds one measurement to a histogram. */
  measure(histogram: Histogram, seconds: number): void;
  /** True if a line of this level about this AoR would be written: ask before building an expensive debug line. */
  isLogged(level: LogLevel, aor?: string): boolean;
  log(level: LogLevel, message: string, fields?: LogFields): void;
  /** Tells the followers of `/v1/events`. */
  event(event: ApplianceEvent): void;
  /** A fresh random token of lower-case letters and digits, `length` characters long, unguessable. */
  token(length: number): string;
}
