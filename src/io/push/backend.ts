/**
 * Owns the contract between the relay and a push service. A backend makes one attempt and says how it ended. The delivery
 * has windows, retries, queues, limits and health, so that every backend behaves alike.
 */
import type { ServiceAnswer } from "./ask.ts";
import { codeOf } from "./http/answer.ts";
import type { PushEvent, PushRequest } from "./types.ts";
import type { PushWorld } from "./world.ts";

/** How an attempt ended. `retry`: not now (429, 5xx, no connection); the delivery decides whether there is time. */
export interface AttemptAnswer {
  readonly kind: "accepted" | "dead" | "refused" | "retry";
  /** HTTP status, 0 if no answer came. */
  readonly status: number;
  /** In words, for people, with what to do about it. Never a secret. */
  readonly reason: string;
  /** Wait the service asked for (Retry-After), or -1. */
  readonly retryAfterMs: number;
  /** Of `dead`: when the service last saw it dead, ms since the epoch. A token registered since then is not meant (P-04). */
  readonly deadSinceMs?: number;
  /** The fault lies in our set-up (credentials, address), not in this one push: shown as the backend's health. */
  readonly isOurFault: boolean;
  /** Of a fault that seems ours: one phone alone may have caused it (see `health.ts`). */
  readonly isPerhapsThePhones?: boolean;
  /** The host that said it, if the backend has several: scheme, host and port. */
  readonly host?: string;
}

/** What an attempt is given. */
export interface PushAttempt {
  /** What is left of the push's life: what the service may keep it for. */
  readonly leftMs: number;
  /** 1 for the first. From the second on, a fresh connection is better than one that may be dead. */
  readonly attempt: number;
  /** Fires when the attempt takes too long or the relay stops: let go of everything. */
  readonly signal: AbortSignal;
  /** Call it once, as soon as the outcome is known; later calls are ignored. */
  answer(answer: AttemptAnswer): void;
  /** The outcome if time runs out before {@link answer}: the status is there, the body is still coming. */
  draft(answer: AttemptAnswer): void;
}

/** The attempt with the host in its answers, for a backend with several: an answer of one says nothing about another. */
export function answeredBy(host: string, attempt: PushAttempt): PushAttempt {
  return {
    ...attempt,
    answer: (given) => attempt.answer({ ...given, host }),
    draft: (given) => attempt.draft({ ...given, host }),
  };
}

/** The attempt could not be made or the service cannot take it now. */
export function retry(reason: string, status = 0, retryAfterMs = -1): AttemptAnswer {
  return { kind: "retry", status, reason, retryAfterMs, isOurFault: false };
}

/** The service, or we in its place, will say no to this push again; the fault is the push's own. */
export function refused(reason: string): AttemptAnswer {
  return { kind: "refused", status: 0, reason, retryAfterMs: -1, isOurFault: false };
}

/**
 * The file with a backend's key, then the CA to trust instead of the system's, where one is named.
 *
 * @param part of the config: `push.apns`.
 * @param setting which of `files` is the key's.
 * @returns in words which file cannot be read.
 */
export function readKeyFile<Setting extends string>(
  world: PushWorld,
  part: string,
  setting: Setting,
  files: Readonly<Record<Setting | "ca_file", string>>,
): { text: string; ca: string | undefined } | { problem: string } {
  let read: Setting | "ca_file" = setting;
  try {
    const text = world.readSecret(files[setting]);
    read = "ca_file";
    return { text, ca: files.ca_file === "" ? undefined : world.readSecret(files.ca_file) };
  } catch (error) {
    return { problem: `Cannot read ${part}.${read} ${files[read]}: ${codeOf(error) || "error"}` };
  }
}

export interface PushBackend {
  /** Config key without `push.`: `webhook.acme`, `apns`. Label for health, logs and metrics: bounded, unlike `provider`. */
  readonly name: string;
  /** `pn-provider` it serves, `*` for all without a backend. */
  readonly provider: string;
  /** Other `pn-provider` values it serves, unless a backend of that very name exists. */
  readonly aliases?: readonly string[];
  /** Its configuration as one text: a reload keeps a backend whose settings did not change. */
  readonly settings: string;
  /** Scheme, host and port; neither path nor query, which may hold secrets. */
  readonly host: string;
  /** Longest time one attempt may take. */
  readonly timeoutMs: number;
  /** Why it cannot send, in words; empty if it can. */
  problem(): string;
  /** Opens the connection ahead of the first push, where the service's protocol allows it (P-05). */
  warm(): void;
  /** A device with this token exists: as {@link warm}, for a backend whose connections depend on tokens. */
  expect?(prid: string, isEncrypted: boolean): void;
  /** Reads secrets again. Returns a problem in words, or an empty text; an old secret that worked is kept. */
  reload(): string;
  /** Takes over from the backend that a reload replaces by it what would have to be learned or made anew. */
  succeed?(before: PushBackend): void;
  /** False: pushes of this event are not sent (the service has nothing for them). Absent: all are. */
  sends?(event: PushEvent): boolean;
  /**
   * Makes one attempt. The request leaves within this call, before the first await (N-06).
   *
   * @returns settles once its connection is free again, which may be after the answer; it never rejects.
   */
  attempt(request: PushRequest, attempt: PushAttempt): Promise<void>;
  /**
   * Asks its service without a push to a phone (O-02); called while {@link problem} is empty.
   *
   * @param prids tokens of devices that it serves: some services are known by them alone.
   * @param signal fires when the answer takes too long.
   * @returns one answer for each address asked; it never rejects.
   */
  ask(prids: readonly string[], signal: AbortSignal): Promise<ServiceAnswer[]>;
  /** Closes its connections. */
  stop(): void;
}
