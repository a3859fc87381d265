/**
 * Who sent a request, in registrar mode (R-16, F-06): challenges, nonces, the replay check, the verdict on
 * credentials. Must not know transactions, bindings or which requests need authentication.
 *
 * Nonces carry their own proof: `time.salt.mac`, so a challenge costs no memory. Only a nonce that was used with the
 * right password is remembered, for the replay check, and that table is bounded: when it overflows, every nonce as
 * old as the forgotten one is stale, so forgetting never lets a replay through. A nonce of before a restart (another
 * secret) is stale as well, which a phone answers without asking its user.
 *
 * Cost, measured on one core with Bun 1.4.5: a challenge 4 µs (one HMAC), a verdict 9 µs (three hashes, one HMAC),
 * paid for challenged requests alone.
 */
import { createHmac, timingSafeEqual } from "node:crypto";
import {
  type Credentials,
  digestResponse,
  type DigestUser,
  formatChallenge,
  hashOf,
  parseCredentials,
} from "../sip/digest.ts";
import { detached } from "../sip/scan.ts";
import { canonicalUser, isSipScheme, parseUri } from "../sip/uri.ts";
import type { HashOffer, UserDirectory } from "./users.ts";

export interface AuthenticatorSettings {
  /** Our domains, at least one; the first one challenges requests for none of them. */
  readonly realms: readonly string[];
  readonly nonceLifetimeMs: number;
  /** Key of the nonces: 32 random bytes, made at start. */
  readonly secret: Uint8Array;
  /** How many used nonces are remembered; default 50 000, about 10 MB when full. */
  readonly maxNonces?: number;
}

export interface ChallengeRequest {
  /** REGISTER gives 401, every other method 407 (RFC 3261 §22.1, §22.3). */
  method: string;
  /** Who is to answer: the `user` of the failed verdict if it has one, else the user of To (REGISTER) or From. */
  user: string;
  /** The domain beside it; the realm, if it is one of ours. */
  domain: string;
  /** Wall clock. */
  nowMs: number;
  /** Unguessable letters and digits, fresh for every challenge, 8 or more. */
  salt: string;
  /** As the failed verdict says. */
  isStale: boolean;
}

/** What to put in the response: one header line a value, in this order (RFC 8760 §2.3). */
export interface ChallengeAnswer {
  status: 401 | 407;
  header: "WWW-Authenticate" | "Proxy-Authenticate";
  values: string[];
}

/**
 * `missing`: no digest credentials for a realm of ours. `unknown_user`, `bad_response`: to be counted as failures
 * . `stale`: the nonce is not ours or too old, and the password was not looked at. `replay`: the password is right,
 * the count of the nonce is not. To both the challenge says `stale` (RFC 7616 §3.3).
 * `bad_uri`: made for another Request-URI. `malformed`: not readable, or an algorithm or qop that was not offered.
 */
export type AuthFailure =
  | "missing"
  | "unknown_user"
  | "bad_response"
  | "stale"
  | "replay"
  | "bad_uri"
  | "malformed";

/**
 * `user` on failure is the name in the credentials, unproven; empty if there is none. On success `user` and `realm`
 * are as in the users file; that the user may act for the AoR in To or From is for the caller to check. `failed` names
 * each wrong password (`alice@example.org`), also where another line of the same request was right.
 */
export type AuthVerdict =
  | { ok: true; user: string; realm: string; failed: readonly string[] }
  | { ok: false; reason: AuthFailure; stale: boolean; user: string; failed: readonly string[] };

const DEFAULT_MAX_NONCES = 50_000;
/** Header lines looked at in one request. */
const MAX_VALUES = 8;
const MAC_LENGTH = 32;

/** RFC 3261 §22.1: an ACK cannot be answered and a CANCEL not sent again, so neither is challenged. */
export function isChallengeable(method: string): boolean {
  return method !== "ACK" && method !== "CANCEL";
}

/** The header in which the answer to {@link Authenticator.challenge} comes. */
export function credentialsHeader(method: string): "Authorization" | "Proxy-Authorization" {
  return method === "REGISTER" ? "Authorization" : "Proxy-Authorization";
}

export class Authenticator {
  private readonly settings: AuthenticatorSettings;
  private readonly firstRealm: string;
  private users: UserDirectory;
  private readonly maxNonces: number;
  /** Highest count of every nonce in use, in order of first use. */
  private readonly counts = new Map<string, number>();
  /** Unremembered nonces issued up to then are stale. */
  private forgottenUntilMs = -1;
  /** Stands in for a hash we do not have: nothing fits it, and the verdict takes as long. */
  private readonly decoyHa1: string;

  /** @throws without a realm: a challenge cannot be made then */
  constructor(settings: AuthenticatorSettings, users: UserDirectory) {
    const [firstRealm] = settings.realms;
    if (firstRealm === undefined) throw new Error("Cannot make an authenticator without a realm: give a domain");
    this.settings = settings;
    this.firstRealm = firstRealm;
    this.users = users;
    this.maxNonces = Math.max(1, settings.maxNonces ?? DEFAULT_MAX_NONCES);
    this.decoyHa1 = createHmac("sha256", settings.secret).update("decoy").digest("hex");
  }

  /** Our domains, the first one first. */
  get realms(): readonly string[] {
    return this.settings.realms;
  }

  /** The users file was read again; nonces and their counts stay. */
  setUsers(users: UserDirectory): void {
    this.users = users;
  }

  /**
   * A challenge with SHA-256 first, then MD5, as far as the user has the hashes. To an unknown user it looks like the
   * one to most users.
   */
  challenge(request: ChallengeRequest): ChallengeAnswer {
    const { realm, offer } = this.offerFor(request.user, request.domain);
    const issued = Math.floor(request.nowMs).toString(36);
    const nonce = `${issued}.${request.salt}.${this.mac(issued, request.salt, realm)}`;
    const fields = { realm, nonce, opaque: null, qop: "auth" as const, isStale: request.isStale };
    const values: string[] = [];
    if (offer.hasSha256) values.push(formatChallenge({ ...fields, algorithm: "SHA-256" }));
    if (offer.hasMd5) values.push(formatChallenge({ ...fields, algorithm: "MD5" }));
    return request.method === "REGISTER"
      ? { status: 401, header: "WWW-Authenticate", values }
      : { status: 407, header: "Proxy-Authenticate", values };
  }

  /**
   * Judges the values of the lines of {@link credentialsHeader}: of each realm and hash the first one, as there is one
   * answer to a challenge (RFC 3261 §22.3, RFC 8760 §2.4). A good verdict uses up the nonce count: ask once for each
   * request.
   */
  verify(values: readonly string[], method: string, requestUri: string, nowMs: number): AuthVerdict {
    const failed: string[] = [];
    const seen = new Set<string>();
    let failure: AuthVerdict = { ok: false, reason: "missing", stale: false, user: "", failed };
    for (const value of values.slice(0, MAX_VALUES)) {
      const credentials = parseCredentials(value);
      if (credentials === "other") continue;
      if (credentials === "malformed") {
        if (failure.reason === "missing") failure = { ...failure, reason: "malformed" };
        continue;
      }
      const { username, realm } = credentials;
      const kind = `${hashOf(credentials.algorithm)} ${realm.toLowerCase()}`;
      if (!this.isOurRealm(realm) || seen.has(kind)) continue;
      seen.add(kind);
      const judged = this.judge(credentials, method, requestUri, nowMs);
      if (typeof judged !== "string") return { ok: true, user: judged.user, realm: judged.realm, failed };
      if (judged === "bad_response" || judged === "unknown_user") failed.push(`${username}@${realm}`);
      if (failure.stale || (judged === "missing" && failure.reason !== "missing")) continue;
      const isStale = judged === "stale" || judged === "replay";
      failure = { ok: false, reason: judged, stale: isStale, user: username, failed };
    }
    return failure;
  }

  /** Who it is, or why not. */
  private judge(
    credentials: Credentials,
    method: string,
    requestUri: string,
    nowMs: number,
  ): DigestUser | AuthFailure {
    const { username, realm, nonce, algorithm, qop } = credentials;
    // An initial request of some phones (3GPP TS 24.229 §5.1.1.2): it asks for a challenge.
    if (nonce === "") return "missing";
    if (algorithm.endsWith("-sess") || qop === "auth-int") return "malformed";
    if (!isSameTarget(credentials.uri, requestUri)) return "bad_uri";
    // an old or foreign nonce is a question. The password is not looked at, so that `stale` says nothing of it.
    const issuedMs = this.issuedMs(nonce, realm);
    if (issuedMs < 0 || Math.abs(nowMs - issuedMs) > this.settings.nonceLifetimeMs) return "stale";
    const user = this.users.find(username, realm);
    const ha1 = user === null ? "" : hashOf(algorithm) === "SHA-256" ? user.ha1Sha256 : user.ha1Md5;
    const isRight = equalsInConstantTime(
      digestResponse(ha1 === "" ? this.decoyHa1 : ha1, method, credentials),
      credentials.response,
    );
    if (user === null) return "unknown_user";
    if (!isRight) return "bad_response";
    const last = this.counts.get(nonce);
    if (last === undefined && issuedMs <= this.forgottenUntilMs) return "stale";
    // Without qop there is no count: such a nonce is good once.
    const count = qop === null ? 1 : parseInt(credentials.nc, 16);
    if (count <= (last ?? 0)) return "replay";
    this.remember(nonce, count, nowMs);
    return user;
  }

  private remember(nonce: string, count: number, nowMs: number): void {
    if (this.counts.has(nonce)) {
      this.counts.set(nonce, count);
      return;
    }
    this.counts.set(detached(nonce), count);
    for (const oldest of this.counts.keys()) {
      const issuedMs = issuedMsOf(oldest);
      const isExpired = nowMs - issuedMs > this.settings.nonceLifetimeMs;
      if (!isExpired && this.counts.size <= this.maxNonces) return;
      this.counts.delete(oldest);
      this.forgottenUntilMs = Math.max(this.forgottenUntilMs, issuedMs);
    }
  }

  private offerFor(user: string, domain: string): { realm: string; offer: HashOffer } {
    const realm = this.settings.realms.find((ours) => ours.toLowerCase() === domain.toLowerCase()) ??
      this.firstRealm;
    const found: DigestUser | null = this.users.find(user, realm);
    if (found === null) return { realm, offer: this.users.commonOffer };
    // The realm as the file spells it: the hashes were made with that.
    return { realm: found.realm, offer: { hasMd5: found.ha1Md5 !== "", hasSha256: found.ha1Sha256 !== "" } };
  }

  private isOurRealm(realm: string): boolean {
    const lower = realm.toLowerCase();
    return this.settings.realms.some((ours) => ours.toLowerCase() === lower);
  }

  /** When the nonce was made here; -1 if it was not, or not with this secret or for this realm. */
  private issuedMs(nonce: string, realm: string): number {
    const [issued = "", salt = "", mac = "", more] = nonce.split(".", 4);
    if (more !== undefined || !equalsInConstantTime(this.mac(issued, salt, realm), mac)) return -1;
    return issuedMsOf(nonce);
  }

  private mac(issued: string, salt: string, realm: string): string {
    const text = `${issued}.${salt}.${realm.toLowerCase()}`;
    return createHmac("sha256", this.settings.secret).update(text, "latin1").digest("hex").slice(0, MAC_LENGTH);
  }
}

function issuedMsOf(nonce: string): number {
  return parseInt(nonce.slice(0, nonce.indexOf(".")), 36);
}

/** RFC 3261 §22.4 asks for an equivalent URI; phones leave out port and parameters, so neither is looked at. */
function isSameTarget(uri: string, requestUri: string): boolean {
  if (uri === requestUri) return true;
  const a = parseUri(uri);
  const b = parseUri(requestUri);
  if (a === null || b === null || !isSipScheme(a)) return false;
  return a.scheme === b.scheme && a.host === b.host && canonicalUser(a.user) === canonicalUser(b.user);
}

function equalsInConstantTime(a: string, b: string): boolean {
  if (a.length !== b.length) return false;
  const bytes = new TextEncoder();
  const [left, right] = [bytes.encode(a), bytes.encode(b)];
  return left.length === right.length && timingSafeEqual(left, right);
}
