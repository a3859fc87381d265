/**
 * Decides which sources are heard: denied and exempt networks, messages per second and source, failed logins,
 * scanners, and the table of bans. Asked before a message is parsed. Must not know what a message means, nor sockets.
 * Addresses are IP addresses as the transports spell them.
 */
import type { ApplianceEvent, Counter, LogFields, LogLevel } from "../port.ts";
import { detached } from "../sip/scan.ts";
import { Allowance, AllowanceRule, type Rate } from "./allowance.ts";
import { LineBudget } from "./line_budget.ts";
import { sourceOf } from "./network.ts";
import { Recent } from "./recent.ts";
import { isScannerAgent } from "./scanners.ts";
import { TokenBucket } from "./token_bucket.ts";

/** The table of bans; an htable is one. Its keys are what {@link sourceOf} gives, or single IPv6 addresses. */
export interface BanTable {
  readonly size: number;
  readonly max: number;
  /** How long a ban lasts, ms; 0: for ever. */
  readonly ttlMs: number;
  get(key: string, nowMs: number): string | undefined;
  set(key: string, value: string, ttlMs: number | undefined, nowMs: number): void;
}

/** What the config says; see {@link SourceGuard.configure}. */
export interface GuardSettings {
  readonly requestsPerSource: Rate;
  /** Messages of all strangers together. */
  readonly strangers: Rate;
  readonly authFailures: Rate;
  readonly isScannerBanned: boolean;
  /** Never banned or limited, denied or not: the PBX, `security.allow` and `proxies`, in registrar mode `security.trust`. */
  isExempt(address: string): boolean;
  /** Never answered. */
  isDenied(address: string): boolean;
}

export interface GuardPort {
  count(counter: Counter, label: string): void;
  log(level: LogLevel, message: string, fields?: LogFields): void;
  event(event: ApplianceEvent): void;
}

/** Why a source is banned: what the value of its entry in the table begins with. */
export type BanReason = "flood" | "scanner" | "auth_failures";

/**
 * What becomes of a message. `known`: handled, before anybody else's; from the PBX, a registered phone, or an address where
 * phones registered. `stranger`: handled. `busy`: within the rate of its source, and too much of all strangers. `dropped`:
 * not answered.
 */
export type Admission = "known" | "stranger" | "busy" | "dropped";

type Standing = "heard" | "exempt" | "denied";

/** Sources remembered. One that was forgotten starts anew with a full allowance. */
const MAX_SOURCES = 16_384;
const MAX_FAILURES = 4096;
const MAX_AGENTS = 256;
/** Users that a ban names; the others are "and others". */
const MAX_NAMES = 5;
/** New bans in a second: addresses of datagrams can be forged, and each ban is a row on the disk. */
const BANS_PER_SECOND = 20;
/** So many times as many failed logins for the address of registered phones: one of many has an old password. */
const SHARED_FAILURES_FACTOR = 10;

class Source {
  standing: Standing = "heard";
  /** The {@link SourceGuard} generation it was judged in. */
  generation = -1;
  constructor(readonly address: string, readonly key: string, readonly allowance: Allowance) {}
}

interface Failures {
  count: number;
  sinceMs: number;
  /** Who failed, as far as they are kept. */
  names: string[];
}

export class SourceGuard {
  private rule: AllowanceRule;
  private readonly strangers: TokenBucket;
  /** Raised when what is exempt or denied may have changed. */
  private generation = 0;
  private readonly sources = new Recent<Source>(MAX_SOURCES);
  /** Of IPv6: the addresses of a /64 share one. */
  private readonly allowances = new Recent<Allowance>(MAX_SOURCES);
  private readonly failures = new Recent<Failures>(MAX_FAILURES);
  /** Stored contacts by the source they were heard from last; bounded by them. */
  private readonly phones = new Map<string, number>();
  /** User-Agents that are no scanner's. */
  private readonly goodAgents = new Set<string>();
  private bansAtMs = 0;
  private bansInSecond = 0;
  private readonly lines: LineBudget;

  constructor(private readonly bans: BanTable, private readonly port: GuardPort, private settings: GuardSettings) {
    this.rule = new AllowanceRule(settings.requestsPerSource);
    this.strangers = new TokenBucket(settings.strangers);
    this.lines = new LineBudget((level, message, fields) => port.log(level, message, fields), "floods and bans");
  }

  /** The config changed: new rates count from now on, sources are judged anew, bans stay. */
  configure(settings: GuardSettings): void {
    const { count, per_ms } = this.settings.requestsPerSource;
    const rate = settings.requestsPerSource;
    this.settings = settings;
    this.strangers.configure(settings.strangers);
    this.generation++;
    if (rate.count === count && rate.per_ms === per_ms) return;
    this.rule = new AllowanceRule(rate);
    // Allowances saved under the old rate are dropped.
    this.sources.clear();
    this.allowances.clear();
  }

  /** The answers of {@link GuardSettings.isExempt} or `isDenied` may have changed: the PBX's name has other addresses. */
  judgeAnew(): void {
    this.generation++;
  }

  /**
   * True if a message may be looked at. Others are counted in `rejected_total` and get no answer.
   * @param isRegistered it came over a flow of a registered phone
   */
  admits(address: string, isRegistered: boolean, nowMs: number): boolean {
    return this.isAdmitted(this.sourceAt(address, nowMs), isRegistered, nowMs);
  }

  /** As {@link admits}, for messages: strangers share a rate besides. */
  admission(address: string, isRegistered: boolean, nowMs: number): Admission {
    const source = this.sourceAt(address, nowMs);
    if (!this.isAdmitted(source, isRegistered, nowMs)) return "dropped";
    if (isRegistered || source.standing === "exempt" || this.phones.has(source.key)) return "known";
    if (this.strangers.take(nowMs)) return "stranger";
    this.drop("busy");
    return "busy";
  }

  private isAdmitted(source: Source, isRegistered: boolean, nowMs: number): boolean {
    if (source.standing === "exempt") return true;
    if (source.standing === "denied") return this.drop("denied");
    if (this.bans.size > 0 && this.isBanned(source, nowMs)) return this.drop("banned");
    const verdict = source.allowance.take(this.rule, isRegistered, nowMs);
    if (verdict === "pass") return true;
    if (verdict === "flood") this.onFlood(source, nowMs);
    return this.drop("rate");
  }

  /** True for sources that get no connection and no answer to keepalives: denied or banned. */
  isRefused(address: string, nowMs: number): boolean {
    const source = this.sourceAt(address, nowMs);
    if (source.standing !== "heard") return source.standing === "denied";
    return this.bans.size > 0 && this.isBanned(source, nowMs);
  }

  /**
   * True if the User-Agent of a request is that of a scanner: the request is to be dropped. The source is banned.
   * @param userAgent value of the header; registered phones need not be asked about
   */
  isScanner(address: string, userAgent: string, nowMs: number): boolean {
    if (!this.settings.isScannerBanned || this.goodAgents.has(userAgent)) return false;
    if (!isScannerAgent(userAgent)) {
      if (this.goodAgents.size >= MAX_AGENTS) this.goodAgents.clear();
      this.goodAgents.add(detached(userAgent));
      return false;
    }
    const source = this.sourceAt(address, nowMs);
    if (source.standing === "exempt") return false;
    this.drop("scanner");
    if (!this.phones.has(source.key)) this.ban(source, "scanner", userAgent, nowMs);
    return true;
  }

  /**
   * A login failed, here or at the PBX.
   * @param name of the user that failed, as the network spells it
   */
  authFailed(address: string, name: string, nowMs: number): void {
    const source = this.sourceAt(address, nowMs);
    if (source.standing === "exempt") return;
    const { count, per_ms } = this.settings.authFailures;
    let failures = this.failures.get(source.key);
    if (failures === undefined || nowMs - failures.sinceMs >= per_ms) {
      failures = { count: 0, sinceMs: nowMs, names: [] };
      this.failures.set(source.key, failures);
    }
    failures.count++;
    noteName(failures.names, printable(name));
    const allowed = this.phones.has(source.key) ? count * SHARED_FAILURES_FACTOR : count;
    if (failures.count < allowed) return;
    this.failures.delete(source.key);
    this.ban(source, "auth_failures", `${failures.count} failed logins`, nowMs, failures.names.join(", "));
  }

  /** The PBX took a password. This takes one failure back: phones that answer an old challenge first must not add up to a ban. */
  authPassed(address: string): void {
    if (this.failures.size === 0) return;
    const failures = this.failures.get(sourceOf(address));
    if (failures !== undefined && failures.count > 0) failures.count--;
  }

  /** A stored contact was last heard from this address, over a flow or before we were started. */
  phoneArrived(address: string): void {
    const key = sourceOf(address);
    this.phones.set(key, (this.phones.get(key) ?? 0) + 1);
  }

  /** Undoes one {@link phoneArrived}. */
  phoneLeft(address: string): void {
    const key = sourceOf(address);
    const count = this.phones.get(key) ?? 0;
    if (count > 1) this.phones.set(key, count - 1);
    else this.phones.delete(key);
  }

  /** Number of entries that strangers can cause, for the test that they are bounded. */
  get remembered(): number {
    return this.sources.size + this.allowances.size + this.failures.size + this.goodAgents.size;
  }

  private sourceAt(address: string, nowMs: number): Source {
    const source = this.sources.get(address) ?? this.remember(address, nowMs);
    if (source.generation !== this.generation) this.judge(source);
    return source;
  }

  private remember(address: string, nowMs: number): Source {
    const key = sourceOf(address);
    let allowance = this.allowances.get(key);
    if (allowance === undefined) {
      allowance = new Allowance(this.rule, nowMs);
      if (key !== address) this.allowances.set(key, allowance);
    }
    const source = new Source(address, key, allowance);
    this.sources.set(address, source);
    return source;
  }

  private judge(source: Source): void {
    source.generation = this.generation;
    const { settings } = this;
    source.standing = settings.isExempt(source.address)
      ? "exempt"
      : settings.isDenied(source.address)
      ? "denied"
      : "heard";
  }

  private isBanned({ address, key }: Source, nowMs: number): boolean {
    if (this.bans.get(key, nowMs) !== undefined) return true;
    return key !== address && this.bans.get(address, nowMs) !== undefined;
  }

  private onFlood(source: Source, nowMs: number): void {
    // A ban would end its calls, and a forged address could bring one about: only what is too much is dropped.
    if (this.phones.has(source.key)) {
      return this.tell("warn", "Flood from the address of registered phones: limited, not banned", source.key, nowMs);
    }
    this.ban(source, "flood", "flood", nowMs);
  }

  private ban(source: Source, reason: BanReason, why: string, nowMs: number, names = ""): void {
    const { bans } = this;
    if (nowMs - this.bansAtMs >= 1000) {
      this.bansAtMs = nowMs;
      this.bansInSecond = 0;
    }
    // A table full of forged addresses must not push out bans set by hand.
    if (this.bansInSecond >= BANS_PER_SECOND || bans.size >= bans.max) return;
    this.bansInSecond++;
    bans.set(source.key, names === "" ? reason : `${reason}: ${names}`, undefined, nowMs);
    const seconds = bans.ttlMs === 0 ? "for good" : `for ${Math.round(bans.ttlMs / 1000)} s`;
    const users = names === "" ? undefined : names;
    this.tell(reason === "scanner" ? "info" : "warn", `Banned ${seconds}: ${printable(why)}`, source.key, nowMs, users);
    this.port.event({ type: "ban", source: source.key, reason, users });
  }

  private tell(level: LogLevel, message: string, source: string, nowMs: number, users?: string): void {
    this.lines.tell(level, message, users === undefined ? { source } : { source, users }, nowMs);
  }

  private drop(reason: string): false {
    this.port.count("rejected_total", reason);
    return false;
  }
}

function noteName(names: string[], name: string): void {
  if (name === "" || names.includes(name) || names.length > MAX_NAMES) return;
  names.push(names.length < MAX_NAMES ? detached(name) : "and others");
}

/** Text of a stranger, made fit for a log line. */
function printable(text: string): string {
  return text.slice(0, 60).replace(/[^\x20-\x7e]/g, "?");
}
