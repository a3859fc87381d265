/**
 * What the control port needs of whoever runs it: the live parts, each as far as a resource uses it. The appliance is one;
 * tests build another around a core in virtual time. Must not know HTTP, sockets or the parts of `io/`.
 */
import type { Config } from "../config/schema.ts";
import type { Core } from "../core/core.ts";
import type { Htables } from "../core/htable/htables.ts";
import type { ApplianceEvent, LogLevel } from "../core/port.ts";
import type { Flow, Listener, Transport } from "../core/sip/flow.ts";
import type { Aor } from "../core/usrloc/contact.ts";
import type { PushKeys } from "../core/usrloc/model.ts";
import type { PushOrder } from "../core/usrloc/push_order.ts";
import type { Log } from "../observe/log.ts";
import type { Metrics } from "../observe/metrics.ts";
import type { TraceRing } from "../observe/trace.ts";

export interface ControlHost {
  readonly version: string;
  /** When it was started, ms since the epoch. */
  readonly startedAtMs: number;
  /** Path of the config file; null: none was found. */
  readonly configFile: string | null;
  /** The effective config; a reload replaces it. */
  readonly config: Config;
  /** Control URLs with their real ports. */
  readonly controlUrls: readonly string[];
  /** Every change runs inside a turn, so that it is committed and sent like any other input. */
  readonly turn: HostTurn;
  readonly core: Core;
  readonly htables: Htables;
  readonly relay: PushDesk;
  readonly transports: OpenTransports;
  /** What tls and wss listeners show. */
  readonly certificates: { infos(): readonly CertificateState[] };
  readonly trace: TraceRing;
  readonly metrics: Metrics;
  readonly log: Log;
  readonly world: HostWorld;
  /** The one spelling of an IP address; null if the text is none. */
  canonicalAddress(text: string): string | null;
  readiness(): Readiness;
  /** @throws ApiError 422 `config_invalid` with `details: { problems }`; the old config stays. */
  reload(): Promise<ReloadResult>;
  /** What a drain waits for, in words: `1 call open, 1 ACK to pass`; empty: nothing. */
  waitsFor(): string;
  /** Takes no new calls, and ends the process when the open ones have ended and what is on its way has arrived. */
  endWhenDrained(): void;
}

/** The loop turn: one commit for all that it changed. */
export interface HostTurn {
  readonly nowMs: number;
  /** Opens a turn if none is open. */
  enter(): void;
  /** Resolves when the open turn has ended, and the store has committed what it changed (or has failed, and says so). */
  committed(): Promise<void>;
}

export type ApplianceState = "starting" | "ready" | "draining" | "store_failed" | "stopped";

export interface Readiness {
  state: ApplianceState;
  /** In words, where it is not `ready`. */
  reason: string;
}

export interface ReloadResult {
  /** Paths of the keys that took effect. */
  applied: string[];
  restart_required: string[];
}

/** Told of every event; it must not throw. */
export type EventFollower = (event: ApplianceEvent) => void;

/** Effects beyond the core's, and what the appliance remembers for people. */
export interface HostWorld {
  /** Followers of events; whoever leaves takes itself out. */
  readonly followers: Set<EventFollower>;
  /** Warnings and errors of late, newest last. */
  readonly problems: readonly { atMs: number; level: LogLevel; message: string }[];
  log(level: LogLevel, message: string): void;
  /** Null: no listener leads there. */
  flowTo(transport: Transport, address: string, port: number): Flow | null;
  /**
   * Writes a consistent copy of the database.
   * @returns the problem in words; empty: it is written
   */
  backup(path: string, aors: Iterable<Aor>): string;
}

/** The sockets, as far as they are shown. */
export interface OpenTransports {
  listeners(): readonly Listener[];
  /** Flows by transport and state. */
  flowSamples(): readonly (readonly [labels: readonly string[], count: number])[];
}

/** A certificate in `GET /v1/tls`. */
export interface CertificateState {
  readonly file: string;
  readonly names: readonly string[];
  readonly issuer: string;
  /** ISO 8601 in UTC, as `valid_to`. */
  readonly valid_from: string;
  readonly valid_to: string;
  /** Whole days; below 0 it has expired. */
  readonly days_left: number;
  /** What its dates mean for phones; empty if all is well for a while. */
  readonly problem: string;
}

/** The push relay, as far as it is shown and sent by hand. */
export interface PushDesk {
  serves(provider: string): boolean;
  backends(): readonly PushBackendState[];
  /** Newest first. */
  recent(): readonly RecentPush[];
  /** One push to a bare token, of no device. */
  testPush(token: PushToken, event: HandEvent): Promise<HandVerdict>;
  /** One push by hand to a device, as if `event` had happened to it. */
  pushByHand(token: PushToken, event: HandEvent, to: { aor: string; device: string }): Promise<HandVerdict>;
}

/** What may be sent by hand: what the core orders, and `test`. */
export type HandEvent = PushOrder["event"] | "test";

export interface PushToken {
  readonly provider: string;
  readonly param: string;
  readonly prid: string;
  readonly keys?: PushKeys | undefined;
}

export interface HandVerdict {
  readonly uuid: string;
  readonly provider: string;
  /** `dead`: the service does not know the token any more. `failed`: not delivered in time. */
  readonly outcome: "accepted" | "dead" | "refused" | "failed";
  /** HTTP status of the service; 0: none came. */
  readonly status: number;
  readonly reason: string;
  readonly ms: number;
  /** Of `dead`: since when, ms of the turn's clock, where the service says it. */
  readonly deadSinceMs?: number;
}

export interface RecentPush extends Omit<HandVerdict, "uuid" | "deadSinceMs"> {
  /** ISO 8601 in UTC. */
  readonly at: string;
  readonly event: string;
  readonly aor: string;
  readonly device: string;
  readonly accepted: boolean;
}

export interface PushBackendState {
  readonly provider: string;
  /** `apns`, `webhook.acme` */
  readonly backend: string;
  readonly state: string;
  readonly accepted: number;
  readonly refused: number;
  readonly dead: number;
  readonly failed: number;
  readonly last_error: string;
  readonly hosts: { host: string; state: "healthy" | "failing"; last_reason: string }[];
}

/** Runs a change of what is stored inside a turn, and waits until it is committed (S-01, S-03). */
export async function asDurableInput<T>(host: ControlHost, change: () => T): Promise<T> {
  const result = asInput(host, change);
  await host.turn.committed();
  return result;
}

/** Runs a change inside a turn; what it throws goes on to the asker. */
export function asInput<T>({ turn }: ControlHost, change: () => T): T {
  turn.enter();
  return change();
}

/** The configured domains, else those of the AoRs there are. */
export function domainsOf({ config, core }: ControlHost): string[] {
  return config.domain.length > 0 ? config.domain : [...core.usrloc.domains()];
}
