/** The world as the relay and its backends see it: time, chance, DNS, HTTP, secret files. Pure types. */

/** The world as the relay sees it; tests put virtual time here. */
export interface PushWorld {
  /** Ms since the epoch. */
  now(): number;
  /** The system clock, ms since the epoch: for what other machines compare with theirs. `now` may be a steady clock that never hears of a correction (a box without a battery, NTP after the start). */
  systemNow(): number;
  /** 0 ≤ x < 1, for jitter. */
  random(): number;
  fetch: HttpFetch;
  /** Runs `fn` after `delayMs`; returns what cancels it. */
  schedule(delayMs: number, fn: () => void): () => void;
  /** The addresses of a name. */
  lookup: HostLookup;
  /** Reads a secret file; throws if it cannot. */
  readSecret(path: string): string;
}

/** Asks for the addresses of a name, in the order to try them; answers later, or within the call. */
export type HostLookup = (
  host: string,
  done: (error: Error | null, addresses: { address: string; family: number }[]) => void,
) => void;

/** The part of `fetch` the backends use. */
export type HttpFetch = (url: string, init: HttpRequest) => Promise<Response>;

export interface HttpRequest {
  method: "GET" | "POST" | "PUT" | "PATCH" | "DELETE";
  headers: Record<string, string>;
  /** Empty: none. */
  body: string;
  redirect: "manual";
  signal: AbortSignal;
  /** Bun: false opens a connection of its own instead of one from the pool. */
  keepalive?: boolean;
  /** Bun: false leaves a compressed answer as it is (a few bytes may hold gigabytes). */
  decompress?: boolean;
  /** Bun: said explicitly, as `NODE_TLS_REJECT_UNAUTHORIZED=0` would switch verification off otherwise. */
  tls?: { rejectUnauthorized: true; ca?: string };
}
