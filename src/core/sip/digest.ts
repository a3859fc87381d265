/**
 * Digest authentication as text (RFC 3261 §22, RFC 7616, RFC 8760): challenges and credentials read and written,
 * hashes, the client's side of it. Must not know messages, users, clocks or where a client nonce comes from.
 *
 * All text here is wire text, one character a byte. Text of a message is that already; Unicode (a password from a file read
 * as UTF-8) goes through {@link wireText} first. Nothing that reads throws.
 */
import { createHash } from "node:crypto";
import { MAX_VALUES, parseAuthValue } from "./auth_value.ts";
import { detached } from "./scan.ts";

/** The hash functions known here. SHA-512-256 is not: a challenge with it is passed over. */
export type HashName = "MD5" | "SHA-256";

/** Canonical spelling of the `algorithm` parameter. */
export type Algorithm = HashName | "MD5-sess" | "SHA-256-sess";

export type Qop = "auth" | "auth-int";

/** A digest challenge that can be answered. */
export interface Challenge {
  realm: string;
  nonce: string;
  /** Absent is null: then it must not be sent back. */
  opaque: string | null;
  algorithm: Algorithm;
  /** The best `qop` offered that is known here. null: the server is of RFC 2069, and the response is made without qop. */
  qop: Qop | null;
  /** The server says that only the nonce was too old. */
  isStale: boolean;
}

/** Digest credentials as a client sent them. They are complete; nothing else of them is verified. */
export interface Credentials {
  username: string;
  realm: string;
  nonce: string;
  uri: string;
  /** Lower-case hexadecimal. */
  response: string;
  algorithm: Algorithm;
  /** null: the client left it out (RFC 2069). */
  qop: Qop | null;
  /** As sent; empty without qop. */
  nc: string;
  /** Empty without qop. */
  cnonce: string;
}

/**
 * A user as a server keeps it: hashes of the password, never the password. The names are Unicode, as people write them:
 * all other text here is wire text.
 */
export interface DigestUser {
  user: string;
  realm: string;
  /** HA1, lower-case hexadecimal; empty if not kept. */
  ha1Md5: string;
  /** Empty if not kept; a user has at least one of the two. */
  ha1Sha256: string;
}

/** What a client needs to answer: a password fits every realm, a hash its own realm only. */
export interface DigestSecret {
  username: string;
  /** null: only the hashes are known. */
  password: string | null;
  /** HA1 of the plain algorithm, lower-case hexadecimal. */
  ha1s: readonly { realm: string; hash: HashName; ha1: string }[];
}

/** The request to be authorized. `cnonce` must be unguessable; `nc` counts the uses of the nonce from 1. */
export interface DigestRequest {
  method: string;
  /** The Request-URI, to the byte. */
  uri: string;
  cnonce: string;
  nc: number;
  /** Needed where the server offers `auth-int` alone. */
  body?: string;
}

const ALGORITHMS = new Map<string, Algorithm>([
  ["md5", "MD5"],
  ["sha-256", "SHA-256"],
  ["md5-sess", "MD5-sess"],
  ["sha-256-sess", "SHA-256-sess"],
]);

/** UTF-8 bytes of Unicode text, one character each. */
export function wireText(text: string): string {
  let wire = "";
  for (const byte of new TextEncoder().encode(text)) wire += String.fromCharCode(byte);
  return wire;
}

/** The hash under an algorithm. */
export function hashOf(algorithm: Algorithm): HashName {
  return algorithm.startsWith("SHA-256") ? "SHA-256" : "MD5";
}

/** Hash of wire text in lower-case hexadecimal. */
export function digestHash(hash: HashName, text: string): string {
  return createHash(hash === "MD5" ? "md5" : "sha256").update(text, "latin1").digest("hex");
}

/** HA1 of the plain algorithm: what a users file keeps in place of the password (RFC 7616 §3.4.2). */
export function ha1(hash: HashName, username: string, realm: string, password: string): string {
  return digestHash(hash, `${username}:${realm}:${password}`);
}

/** The user with both hashes. All of it is Unicode. */
export function digestUser(user: string, realm: string, password: string): DigestUser {
  const hashed = (hash: HashName) => ha1(hash, wireText(user), wireText(realm), wireText(password));
  return { user, realm, ha1Md5: hashed("MD5"), ha1Sha256: hashed("SHA-256") };
}

/**
 * The `response` value (RFC 7616 §3.4.1; without qop RFC 2617 §3.2.2.1).
 * @param plainHa1 as {@link ha1} gives it, for the `-sess` algorithms too
 */
export function digestResponse(
  plainHa1: string,
  method: string,
  credentials: Pick<Credentials, "algorithm" | "nonce" | "uri" | "qop" | "nc" | "cnonce">,
  body = "",
): string {
  const { algorithm, nonce, uri, qop, nc, cnonce } = credentials;
  const hash = hashOf(algorithm);
  const key = algorithm.endsWith("-sess") ? digestHash(hash, `${plainHa1}:${nonce}:${cnonce}`) : plainHa1;
  const a2 = qop === "auth-int" ? `${method}:${uri}:${digestHash(hash, body)}` : `${method}:${uri}`;
  const ha2 = digestHash(hash, a2);
  return digestHash(hash, qop === null ? `${key}:${nonce}:${ha2}` : `${key}:${nonce}:${nc}:${cnonce}:${qop}:${ha2}`);
}

/** The digest challenges in the values of all WWW-Authenticate (or all Proxy-Authenticate) lines that can be answered. */
export function parseChallenges(values: readonly string[]): Challenge[] {
  const challenges: Challenge[] = [];
  for (const value of values.slice(0, MAX_VALUES)) {
    for (const { scheme, params, isMalformed } of parseAuthValue(value)) {
      const realm = params.get("realm");
      const nonce = params.get("nonce");
      const algorithm = algorithmOf(params);
      const qop = offeredQop(params.get("qop"));
      if (scheme !== "digest" || isMalformed || realm === undefined || nonce === undefined) continue;
      if (algorithm === null || qop === undefined) continue;
      const isStale = params.get("stale")?.toLowerCase() === "true";
      challenges.push({ realm, nonce, opaque: params.get("opaque") ?? null, algorithm, qop, isStale });
    }
  }
  return challenges;
}

/** Reads an Authorization or Proxy-Authorization value. `other`: a scheme that is not digest, which is no error. */
export function parseCredentials(value: string): Credentials | "malformed" | "other" {
  const first = parseAuthValue(value)[0];
  if (first === undefined) return "malformed";
  if (first.scheme !== "digest") return "other";
  const { params } = first;
  const username = params.get("username");
  const realm = params.get("realm");
  const nonce = params.get("nonce");
  const uri = params.get("uri");
  const response = params.get("response")?.toLowerCase();
  const algorithm = algorithmOf(params);
  if (first.isMalformed || username === undefined || realm === undefined || nonce === undefined) return "malformed";
  if (uri === undefined || response === undefined || algorithm === null) return "malformed";
  const qop = params.get("qop")?.toLowerCase() ?? null;
  if (qop === null) return { username, realm, nonce, uri, response, algorithm, qop, nc: "", cnonce: "" };
  const nc = params.get("nc") ?? "";
  const cnonce = params.get("cnonce") ?? "";
  if ((qop !== "auth" && qop !== "auth-int") || cnonce === "" || !/^[0-9a-f]{1,8}$/i.test(nc)) return "malformed";
  return { username, realm, nonce, uri, response, algorithm, qop, nc, cnonce };
}

/** The value of a WWW-Authenticate or Proxy-Authenticate line. */
export function formatChallenge(challenge: Challenge): string {
  const { realm, nonce, opaque, algorithm, qop, isStale } = challenge;
  return `Digest realm=${quoted(realm)}, nonce=${quoted(nonce)}, algorithm=${algorithm}` +
    (qop === null ? "" : `, qop="${qop}"`) + (opaque === null ? "" : `, opaque=${quoted(opaque)}`) +
    (isStale ? ", stale=true" : "");
}

/** The value of an Authorization or Proxy-Authorization line. */
export function formatCredentials(credentials: Credentials, opaque: string | null = null): string {
  const { username, realm, nonce, uri, response, algorithm, qop, nc, cnonce } = credentials;
  return `Digest username=${quoted(username)}, realm=${quoted(realm)}, nonce=${quoted(nonce)}, uri=${quoted(uri)}, ` +
    `response="${response}", algorithm=${algorithm}` + (opaque === null ? "" : `, opaque=${quoted(opaque)}`) +
    (qop === null ? "" : `, qop=${qop}, nc=${nc}, cnonce=${quoted(cnonce)}`);
}

/**
 * The strongest of the challenges that the secret can answer; among equals the first, which is the server's wish
 * (RFC 8760 §2.4). null if there is none.
 */
export function chooseChallenge(challenges: readonly Challenge[], secret: DigestSecret): Challenge | null {
  let best: Challenge | null = null;
  for (const challenge of challenges) {
    if (ha1For(challenge, secret) === null) continue;
    if (best === null || strength(challenge) > strength(best)) best = challenge;
  }
  return best;
}

/**
 * Answers the challenge {@link chooseChallenge} picks.
 * @returns the value of the Authorization (401) or Proxy-Authorization (407) line; null if none can be answered
 */
export function answerChallenge(
  challenges: readonly Challenge[],
  secret: DigestSecret,
  request: DigestRequest,
): string | null {
  const challenge = chooseChallenge(challenges, secret);
  const plainHa1 = challenge && ha1For(challenge, secret);
  if (challenge === null || plainHa1 === null) return null;
  const { realm, nonce, algorithm, qop, opaque } = challenge;
  const nc = request.nc.toString(16).padStart(8, "0");
  const draft = {
    username: secret.username,
    realm,
    nonce,
    uri: request.uri,
    algorithm,
    qop,
    nc,
    cnonce: request.cnonce,
  };
  const response = digestResponse(plainHa1, request.method, draft, request.body);
  return formatCredentials({ ...draft, response }, opaque);
}

/**
 * The memory of one client towards one server: the nonce in use and its count, so that a refresh costs one request
 * and not two. One session serves one kind of header: keep two where both 401 and 407 may come.
 */
export class DigestSession {
  private readonly secret: DigestSecret;
  private challenge: Challenge | null = null;
  private nc = 0;
  private cnonce = "";
  private staleInARow = 0;

  constructor(secret: DigestSecret) {
    this.secret = secret;
  }

  /**
   * The server challenged. `answer`: send the request again with what {@link authorize} gives. `refused`: the
   * credentials were used on a fresh nonce and are wrong (or the server finds every nonce stale). `unsupported`: no
   * challenge with an algorithm and realm we have a secret for; the session stays as it was.
   */
  challenged(challenges: readonly Challenge[]): "answer" | "refused" | "unsupported" {
    const challenge = chooseChallenge(challenges, this.secret);
    if (challenge === null) return "unsupported";
    // nc > 1: a server that never says stale may have forgotten the nonce. This is not a refusal yet.
    if (this.nc === 1 && (!challenge.isStale || ++this.staleInARow > 2)) {
      this.challenge = null;
      this.nc = 0;
      this.staleInARow = 0;
      return "refused";
    }
    const { realm, nonce, opaque } = challenge;
    this.challenge = {
      ...challenge,
      realm: detached(realm),
      nonce: detached(nonce),
      opaque: opaque === null ? null : detached(opaque),
    };
    this.nc = 0;
    return "answer";
  }

  /** The server took the credentials: the nonce stays in use. */
  accepted(): void {
    this.staleInARow = 0;
  }

  /**
   * Value of the Authorization (or Proxy-Authorization) line of the next request, with the count one higher; null as
   * long as no challenge came.
   */
  authorize(request: Omit<DigestRequest, "nc">): string | null {
    if (this.challenge === null) return null;
    this.nc++;
    // One cnonce for the life of a nonce: servers differ in which cnonce makes the key of the -sess algorithms.
    if (this.nc === 1) this.cnonce = detached(request.cnonce);
    return answerChallenge([this.challenge], this.secret, { ...request, cnonce: this.cnonce, nc: this.nc });
  }
}

function ha1For(challenge: Challenge, secret: DigestSecret): string | null {
  const hash = hashOf(challenge.algorithm);
  const known = secret.ha1s.find((entry) => entry.hash === hash && entry.realm === challenge.realm);
  if (known !== undefined) return known.ha1;
  return secret.password === null ? null : ha1(hash, secret.username, challenge.realm, secret.password);
}

function strength(challenge: Challenge): number {
  return hashOf(challenge.algorithm) === "SHA-256" ? 1 : 0;
}

function algorithmOf(params: Map<string, string>): Algorithm | null {
  return ALGORITHMS.get(params.get("algorithm")?.toLowerCase() ?? "md5") ?? null;
}

/** undefined: something is offered, but nothing known here. */
function offeredQop(list: string | undefined): Qop | null | undefined {
  if (list === undefined) return null;
  const offered = list.toLowerCase().split(",").map((item) => item.trim());
  return offered.includes("auth") ? "auth" : offered.includes("auth-int") ? "auth-int" : undefined;
}

/** A quoted string; a line break in the value could end the header and becomes a space. */
function quoted(value: string): string {
  return `"${value.replace(/[\r\n]/g, " ").replace(/["\\]/g, "\\$&")}"`;
}
