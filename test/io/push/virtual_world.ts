/** The relay's world in virtual time: timers run when the test says so. `fetch` is real unless the test replaces it. */
import { Htable } from "../../../src/core/htable/htable.ts";
import { MAX_RATED_DEVICES } from "../../../src/io/push/rate.ts";
import { isIP } from "node:net";
import type { PushConfig } from "../../../src/io/push/relay.ts";
import type { PushRequest } from "../../../src/io/push/types.ts";
import type { HostLookup, HttpFetch, PushWorld } from "../../../src/io/push/world.ts";

interface Timer {
  atMs: number;
  delayMs: number;
  fn: () => void;
}

export class VirtualWorld implements PushWorld {
  nowMs = Date.parse("2026-01-02T03:04:05.678Z");
  readonly timers = new Set<Timer>();
  readonly secrets = new Map<string, string>();
  readonly rates = new Htable("push_limits", { ttl: 60_000, max: MAX_RATED_DEVICES, persist: false });
  /** Names of the test; others do not exist. */
  readonly names = new Map<string, string[]>();
  private watchers: (() => void)[] = [];
  fetch: HttpFetch;

  constructor(http: HttpFetch = (url, init) => fetch(url, init as RequestInit)) {
    this.fetch = http;
  }

  now = (): number => this.nowMs;
  /** How far the system's clock is ahead of ours, which was read at the start. */
  systemAheadMs = 0;
  systemNow = (): number => this.nowMs + this.systemAheadMs;
  /** No jitter: back-off is exactly 250 ms · 2^n. */
  random = (): number => 0;

  schedule = (delayMs: number, fn: () => void): () => void => {
    const timer = { atMs: this.nowMs + delayMs, delayMs, fn };
    this.timers.add(timer);
    this.wake();
    return () => {
      this.timers.delete(timer);
      this.wake();
    };
  };

  private wake(): void {
    for (const watcher of this.watchers.splice(0)) watcher();
  }

  lookup: HostLookup = (host, done) => {
    const addresses = this.names.get(host);
    if (addresses === undefined) return done(Object.assign(new Error("no such name"), { code: "ENOTFOUND" }), []);
    done(null, addresses.map((address) => ({ address, family: isIP(address) })));
  };

  readSecret = (path: string): string => {
    const secret = this.secrets.get(path);
    if (secret === undefined) throw Object.assign(new Error("no such file"), { code: "ENOENT" });
    return secret;
  };

  /** Lets time pass, timer by timer, giving promises a chance to settle in between. */
  async pass(ms: number): Promise<void> {
    const endMs = this.nowMs + ms;
    for (;;) {
      await settle();
      const due = [...this.timers].filter((timer) => timer.atMs <= endMs).sort((a, b) => a.atMs - b.atMs)[0];
      if (due === undefined) break;
      this.timers.delete(due);
      this.nowMs = Math.max(this.nowMs, due.atMs);
      due.fn();
    }
    this.nowMs = endMs;
    await settle();
  }

  /** Waits (for real sockets) until `count` timers that end in exactly `delayMs` are set. */
  async timerSet(delayMs: number, count = 1): Promise<void> {
    while ([...this.timers].filter((timer) => timer.atMs === this.nowMs + delayMs).length < count) {
      await new Promise<void>((resolve) => this.watchers.push(resolve));
    }
  }

  /** Waits (for real sockets) until no timer is left that was set for `delayMs`. */
  async timerGone(delayMs: number): Promise<void> {
    while ([...this.timers].some((timer) => timer.delayMs === delayMs)) {
      await new Promise<void>((resolve) => this.watchers.push(resolve));
    }
  }
}

export async function settle(): Promise<void> {
  for (let i = 0; i < 20; i++) await Promise.resolve();
}

export function pushConfig(
  webhook: Record<string, { url: string; token_file?: string; timeout?: number }>,
): PushConfig {
  return {
    unsupported: "forward",
    refresh_before: 130_000,
    missed: false,
    privacy: "full",
    proxy: "",
    http: {},
    apns: { key_file: "", key_id: "", team_id: "", server: "", sandbox_server: "", ca_file: "" },
    fcm: { service_account_file: "", server: "", ca_file: "" },
    webpush: { subject: "", vapid_file: "", ca_file: "", allow_hosts: [] },
    webhook: Object.fromEntries(
      Object.entries(webhook).map(([key, hook]) => [key, { token_file: "", timeout: 5000, ...hook }]),
    ),
  };
}

let serial = 0;

export function pushRequest(changes: Partial<PushRequest> = {}): PushRequest {
  serial++;
  return {
    uuid: `uuid-${serial}`,
    event: "call",
    provider: "acme",
    param: "org.example.phone",
    prid: "token-1",
    aor: "alice@example.org",
    device: `device${serial}`,
    callId: "a84b4c76e66710@pc33",
    fromUri: "sip:bob@example.org",
    fromName: "Bob",
    toUri: "sip:alice@example.org",
    ttlMs: 30_000,
    ...changes,
  };
}
