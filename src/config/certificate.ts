/**
 * Owns the text of a certificate and its key: its names, its end, and whether they belong together. Must not know where it
 * is used.
 */
import { createPrivateKey, type KeyObject, X509Certificate } from "node:crypto";

/** Chains are small; a bundle of all well-known CAs has 250 kB. */
export const MAX_CERTIFICATE_FILE = 1024 * 1024;
/** From here on its end is worth a warning. */
export const EXPIRES_SOON_DAYS = 14;
const DAY_MS = 86_400_000;

/** What a certificate says. */
export interface CertificateFacts {
  /** Names and addresses it is for, in its order. */
  readonly names: readonly string[];
  /** Who vouches for it, `CN=R11, O=Let's Encrypt`. */
  readonly issuer: string;
  /** ms of the epoch. */
  readonly validFromMs: number;
  readonly validToMs: number;
}

/** A certificate with its chain, and its key, as they are shown to phones. */
export interface CertificatePair extends CertificateFacts {
  readonly certFile: string;
  /** PEM. */
  readonly cert: string;
  readonly key: string;
}

/** The first certificate of a PEM text, or why there is none, in words that follow the file's name. */
export function readCertificate(text: string): { facts: CertificateFacts; certificate: X509Certificate } | {
  reason: string;
} {
  if (text.trim() === "") return { reason: "it is empty" };
  const label = /-----BEGIN ([A-Z0-9 ]+)-----/.exec(text)?.[1];
  if (label === undefined) return { reason: "it is not PEM text (-----BEGIN CERTIFICATE-----)" };
  if (label.endsWith("PRIVATE KEY")) return { reason: "it begins with a key; what is needed is a certificate" };
  let certificate: X509Certificate;
  try {
    certificate = new X509Certificate(text);
  } catch {
    return { reason: "the certificate in it is damaged: are all its lines there, each on its own?" };
  }
  const facts = {
    names: namesOf(certificate),
    issuer: certificate.issuer.split("\n").reverse().join(", "),
    validFromMs: Date.parse(certificate.validFrom),
    validToMs: Date.parse(certificate.validTo),
  };
  return { facts, certificate };
}

/** The pair of two PEM texts, or which of them is wrong and why, in words that follow the file's name. */
export function readPair(
  certFile: string,
  cert: string,
  key: string,
): CertificatePair | { which: "cert_file" | "key_file"; reason: string } {
  const read = readCertificate(cert);
  if ("reason" in read) return { which: "cert_file", reason: read.reason };
  const made = readKey(key);
  if (typeof made === "string") return { which: "key_file", reason: made };
  if (!read.certificate.checkPrivateKey(made)) {
    return { which: "key_file", reason: `the key does not belong to the certificate in ${certFile}` };
  }
  return { ...read.facts, certFile, cert, key };
}

/** True if a certificate for these names is one for this host; a star stands for one label (RFC 6125 §6.4.3). @param host lower-case */
export function covers(names: readonly string[], host: string): boolean {
  const dot = host.indexOf(".");
  return names.includes(host) || (dot > 0 && names.includes("*" + host.slice(dot)));
}

/** Whole days that are left; negative: so long ago it has expired. */
export function daysLeft({ validToMs }: CertificateFacts, nowMs: number): number {
  return Math.floor((validToMs - nowMs) / DAY_MS);
}

/** What its dates mean for phones, in words that follow the file's name; empty if all is well for a while. */
export function dateProblem(facts: CertificateFacts, nowMs: number): string {
  const { validFromMs, validToMs } = facts;
  if (nowMs >= validToMs) return `has expired on ${dayOf(validToMs)}: phones refuse it`;
  if (nowMs < validFromMs) return `is not valid before ${dayOf(validFromMs)}: is the clock right?`;
  const days = daysLeft(facts, nowMs);
  return days < EXPIRES_SOON_DAYS ? `expires on ${dayOf(validToMs)}, in ${days === 1 ? "1 day" : `${days} days`}` : "";
}

function dayOf(ms: number): string {
  return new Date(ms).toISOString().slice(0, 10);
}

function readKey(text: string): KeyObject | string {
  if (text.trim() === "") return "it is empty";
  const label = /-----BEGIN ([A-Z0-9 ]+)-----/.exec(text)?.[1];
  if (label === undefined) return "it is not PEM text (-----BEGIN PRIVATE KEY-----)";
  if (label === "ENCRYPTED PRIVATE KEY" || text.includes("Proc-Type: 4,ENCRYPTED")) {
    return "it is encrypted; take the pass phrase off: openssl pkey -in OLD -out NEW";
  }
  if (!label.endsWith("PRIVATE KEY") && label !== "EC PARAMETERS") return `it holds no private key but a ${label}`;
  try {
    return createPrivateKey(text);
  } catch {
    return "the key in it is damaged: are all its lines there, each on its own?";
  }
}

/** RFC 6125 §6.4.4: the common name counts where there are no alternative names. */
function namesOf(certificate: X509Certificate): string[] {
  const names: string[] = [];
  for (const part of (certificate.subjectAltName ?? "").split(", ")) {
    const name = /^(?:DNS|IP Address):(.+)$/.exec(part.trim())?.[1];
    if (name !== undefined) names.push(name.toLowerCase());
  }
  const common = /^CN=(.+)$/m.exec(certificate.subject)?.[1];
  if (names.length === 0 && common !== undefined) names.push(common.toLowerCase());
  return names;
}
