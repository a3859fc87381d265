/**
 * From the config and its secrets to the settings of the core. Knows every key that the core reads, and nothing of the
 * core's inside. Reads no file.
 */
import { containsAddress } from "../config/cidr.ts";
import { compilePattern, Pattern } from "../config/pattern.ts";
import type { Config, DeviceRule } from "../config/schema.ts";
import { Authenticator } from "../core/registrar/authenticator.ts";
import type { CoreSettings } from "../core/settings.ts";
import type { DeviceHints, RegistrarSettings } from "../core/registrar/settings.ts";
import type { UserDirectory } from "../core/registrar/users.ts";
import type { SiloSettings } from "../core/silo/settings.ts";
import type { DigestSecret } from "../core/sip/digest.ts";
import { unquote } from "../core/sip/scan.ts";
import { canonicalUser } from "../core/sip/uri.ts";

/** What the core needs besides the config. */
export interface CoreSecrets {
  /** Key of flow tokens and ids, as text. Made once for an installation; it outlives restarts. */
  readonly installation: string;
  /** Key of the digest nonces, made at start. */
  readonly nonces: Uint8Array;
  /** Users of registrar mode; null: no users file. */
  readonly users: UserDirectory | null;
  /** Credentials towards the PBX by user (`pbx.credentials_file`). */
  readonly credentials: ReadonlyMap<string, DigestSecret>;
}

/** All settings of the core, at the start and with each reload. */
export function coreSettings(config: Config, secrets: CoreSecrets): CoreSettings {
  const { pbx, security, domain } = config;
  return {
    domains: domain,
    installation: secrets.installation,
    isMidRegistrar: pbx !== null,
    hasOwnPort: pbx !== null && pbx.own_port !== 0,
    qualifyMs: pbx?.qualify ?? 0,
    registrar: registrarSettings(config, secrets),
    refresh: { leadMs: config.push.refresh_before, idleMs: config.wake.idle },
    silo: siloSettings(config),
    transactions: { transactions: config.limits.transactions, strangersInFlight: config.limits.strangers_in_flight },
    deviceHints: deviceHints(config.devices),
    users: secrets.users,
    authenticator: () => authenticator(config, secrets),
    isKnownUser: (user, domain) => isKnownUser(config, secrets, user, domain),
    isTrusted: (address) => containsAddress(security.trust, address),
    isPbxTrusted: (address) => pbx !== null && containsAddress(pbx.trust, address),
  };
}

function siloSettings(config: Config): SiloSettings {
  const { wake, limits } = config;
  return {
    windowMs: wake.window,
    ringTimeoutMs: wake.ring_timeout,
    hedgeMs: wake.hedge,
    idleMs: wake.idle,
    wakeMethods: new Set(wake.methods),
    progress: wake.progress,
    delayedCancel: wake.delayed_cancel,
    tellsMissed: config.push.missed,
    untold: { cancel: unsent(config, "cancel"), missed: unsent(config, "missed") },
    decline: wake.decline,
    isSingleAnswer: wake.single_answer,
    maxCalls: limits.calls,
    maxCallsPerAor: limits.calls_per_aor,
    keptCalls: config.trace.calls,
    callerParty: config.pbx === null ? "caller" : "PBX",
  };
}

/** Providers whose sender has nothing for this event; a webhook of the same name takes their pushes. */
function unsent({ push }: Config, event: "cancel" | "missed"): Set<string> {
  const names = Object.keys(push.http).filter((name) => push.http[name]!.events[event] === null);
  return new Set(names.filter((name) => !Object.hasOwn(push.webhook, name)));
}

function registrarSettings(config: Config, secrets: CoreSecrets): RegistrarSettings {
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
    verifyMs: pbx?.verify ?? 300_000,
    qualifyMs: pbx?.qualify ?? 0,
    refreshLeadMs: config.push.refresh_before,
    unsupportedPush: config.push.unsupported,
    idSecret: secrets.installation,
    credentials: (user) => secrets.credentials.get(user) ?? null,
  };
}

/** The `devices:` rules as a function. The first that fits wins. */
function deviceHints(rules: readonly DeviceRule[]): DeviceHints {
  const compiled = rules.map((rule) => ({
    rule,
    userAgent: rule.user_agent === "" ? null : patternOf(rule.user_agent),
    header: rule.header === null ? null : patternOf(rule.header.pattern),
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

/** A pattern of the config, which was checked when it was read. */
function patternOf(text: string): Pattern {
  const pattern = compilePattern(text);
  if (pattern instanceof Pattern) return pattern;
  throw new Error(`Cannot compile ${text}: ${pattern.reason}`);
}

/** Checks passwords. null: there are no users, or no domain that they belong to. */
function authenticator(config: Config, { users, nonces }: CoreSecrets): Authenticator | null {
  if (users === null) return null;
  const realms = realmsOf(config, users);
  if (realms.length === 0) return null;
  return new Authenticator({ realms, nonceLifetimeMs: 300_000, secret: nonces }, users);
}

/** True if the users file has this user in the domain. Where the host is none of the realms, the first realm counts. */
function isKnownUser(config: Config, { users }: CoreSecrets, user: string, domain: string): boolean {
  if (users === null) return false;
  const name = canonicalUser(user);
  if (users.find(name, domain) !== null) return true;
  const realms = realmsOf(config, users);
  return realms.length > 0 && !realms.includes(domain) && users.find(name, realms[0]!) !== null;
}

/** The domains; where none is configured, the realms of the users file, which phones know. */
function realmsOf(config: Config, users: UserDirectory): readonly string[] {
  return config.domain.length > 0 ? config.domain : users.realms;
}
