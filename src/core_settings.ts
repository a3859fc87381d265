/**
 * From the config, and the secrets that go with it, to what the pure parts are told. Knows every key that the core
 * reads and no part from inside; reads nothing itself.
 */
import type { Config, DeviceRule } from "./config/schema.ts";
import { Authenticator } from "./registrar/authenticator.ts";
import type { RefreshSettings } from "./registrar/refresh_push.ts";
import type { DeviceHints, RegistrarSettings } from "./registrar/settings.ts";
import type { UserDirectory } from "./registrar/users.ts";
import type { SiloSettings } from "./silo/settings.ts";
import type { DigestSecret } from "./sip/digest.ts";
import { unquote } from "./sip/scan.ts";
import { canonicalUser } from "./sip/uri.ts";

/** What the core is given besides the config: secrets and files, read by the shell. */
export interface CoreSecrets {
  /** Text key of flow tokens and ids; belongs to the installation and outlives restarts. */
  readonly installation: string;
  /** Key of the digest nonces, made at start. */
  readonly nonces: Uint8Array;
  /** Users of registrar mode; null: no users file. */
  readonly users: UserDirectory | null;
  /** Credentials towards the PBX by user (`pbx.credentials_file`). */
  readonly credentials: ReadonlyMap<string, DigestSecret>;
}

export function siloSettings(config: Config): SiloSettings {
  const { wake, limits } = config;
  return {
    windowMs: wake.window,
    ringTimeoutMs: wake.ring_timeout,
    hedgeMs: wake.hedge,
    idleMs: wake.idle,
    progress: wake.progress,
    delayedCancel: wake.delayed_cancel,
    tellsMissed: config.push.missed,
    decline: wake.decline,
    isSingleAnswer: wake.single_answer,
    maxCalls: limits.calls,
    maxCallsPerAor: limits.calls_per_aor,
    keptCalls: config.trace.calls,
    callerParty: config.pbx === null ? "caller" : "PBX",
  };
}

export function registrarSettings(config: Config, secrets: CoreSecrets): RegistrarSettings {
  const { registration, pbx } = config;
  return {
    mode: pbx?.mode ?? "aor",
    placement: pbx?.contact_id ?? "param",
    upstreamExpires: Math.round((pbx?.expires ?? 3_600_000) / 1000),
    minExpires: Math.round(registration.min_expires / 1000),
    defaultExpires: Math.round(registration.default_expires / 1000),
    maxExpires: Math.round(registration.max_expires / 1000),
    maxContacts: registration.max_contacts,
    overflow: registration.overflow,
    repliesWithAll: registration.reply_contacts === "all",
    maxBindings: config.limits.bindings,
    idleMs: config.wake.idle,
    hasDeviceRules: config.devices.length > 0,
    trustsUs: pbx?.trusts_us ?? false,
    refreshLeadMs: config.push.refresh_before,
    unsupportedPush: config.push.unsupported,
    idSecret: secrets.installation,
    credentials: (user) => secrets.credentials.get(user) ?? null,
  };
}

export function refreshSettings(config: Config): RefreshSettings {
  return { leadMs: config.push.refresh_before, idleMs: config.wake.idle };
}

/** The `devices:` rules as a function; the first that fits wins. */
export function deviceHints(rules: readonly DeviceRule[]): DeviceHints {
  const compiled = rules.map((rule) => ({
    rule,
    userAgent: rule.user_agent === "" ? null : new RegExp(rule.user_agent),
    header: rule.header === null ? null : new RegExp(rule.header.pattern),
  }));
  return (request, paramNamed) => {
    for (const { rule, userAgent, header } of compiled) {
      if (userAgent !== null && !userAgent.test(request.valueOf("user-agent") ?? "")) continue;
      if (header !== null && !header.test(request.valueOf(rule.header!.name.toLowerCase()) ?? "")) continue;
      const source = rule.push?.token_from ?? null;
      const token = source === null
        ? ""
        : source.source === "contact"
        ? paramNamed(source.name)
        : request.valueOf(source.name);
      return { kind: rule.kind, provider: rule.push?.provider ?? "", prid: unquote(token ?? "") };
    }
    return null;
  };
}

/** Who checks passwords; null where there are no users, or no domain to know them in. */
export function authenticator(config: Config, { users, nonces }: CoreSecrets): Authenticator | null {
  if (users === null) return null;
  const realms = realmsOf(config, users);
  if (realms.length === 0) return null;
  return new Authenticator({ realms, nonceLifetimeMs: 300_000, secret: nonces }, users);
}

/** True if the users file has this user, in the domain or, where the host is but an address of ours, in the first realm. */
export function isKnownUser(config: Config, { users }: CoreSecrets, user: string, domain: string): boolean {
  if (users === null) return false;
  const name = canonicalUser(user);
  if (users.find(name, domain) !== null) return true;
  const realms = realmsOf(config, users);
  return realms.length > 0 && !realms.includes(domain) && users.find(name, realms[0]!) !== null;
}

/** Without a domain of our own the users' realms are what phones know. */
function realmsOf(config: Config, users: UserDirectory): readonly string[] {
  return config.domain.length > 0 ? config.domain : users.realms;
}
