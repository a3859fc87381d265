/**
 * Certificates (X.509 v3, ECDSA P-256), made at run time: no key lies in the repository, and no program is needed but
 * the runtime. Just enough DER for that.
 */
import { createPrivateKey, generateKeyPairSync, type KeyObject, randomBytes, sign } from "node:crypto";

const DAY_MS = 86_400_000;

/** What a certificate says. */
export interface CertificateOptions {
  /** Names it is for (`sip.example.org`, `*.example.org`). */
  readonly names?: readonly string[];
  /** IPv4 addresses it is for. */
  readonly addresses?: readonly string[];
  /** ms of the epoch; from yesterday to the day after tomorrow if they are left out. */
  readonly validFromMs?: number;
  readonly validToMs?: number;
}

/** PEM texts. */
export interface MadeCertificate {
  readonly cert: string;
  readonly key: string;
}

interface Subject {
  readonly name: string;
  readonly key: KeyObject;
  readonly isCa: boolean;
  readonly options: CertificateOptions;
}

/** A CA that lives as long as this object. */
export class CertificateAuthority {
  private readonly keys = generateKeyPairSync("ec", { namedCurve: "prime256v1" });
  /** PEM. */
  readonly cert: string;

  constructor(private readonly name = "latefork's own CA") {
    this.cert = issue({ name, key: this.keys.publicKey, isCa: true, options: {} }, name, this.keys.privateKey);
  }

  issue(options: CertificateOptions): MadeCertificate {
    const own = generateKeyPairSync("ec", { namedCurve: "prime256v1" });
    const subject = { name: options.names?.[0] ?? "localhost", key: own.publicKey, isCa: false, options };
    return { key: pemOfKey(own.privateKey), cert: issue(subject, this.name, this.keys.privateKey) };
  }
}

/** A self-signed one. */
export function selfSigned(options: CertificateOptions): MadeCertificate {
  const own = generateKeyPairSync("ec", { namedCurve: "prime256v1" });
  const name = options.names?.[0] ?? "localhost";
  const cert = issue({ name, key: own.publicKey, isCa: false, options }, name, own.privateKey);
  return { key: pemOfKey(own.privateKey), cert };
}

/** RFC 5280 §4.1. */
function issue(subject: Subject, issuer: string, signer: KeyObject): string {
  const { key, isCa, options } = subject;
  const now = Date.now();
  const algorithm = sequence(oid("2a8648ce3d040302")); // ecdsa-with-SHA256
  const alternatives = [
    ...(options.addresses ?? []).map((address) => tlv(0x87, Buffer.from(address.split(".").map(Number)))),
    ...(options.names ?? []).map((text) => tlv(0x82, Buffer.from(text))),
  ];
  const extensions = [
    // subjectAltName
    ...(alternatives.length === 0 ? [] : [sequence(oid("551d11"), octets(sequence(...alternatives)))]),
    // basicConstraints, critical
    sequence(
      oid("551d13"),
      tlv(0x01, Buffer.from([0xff])),
      octets(sequence(...(isCa ? [tlv(0x01, Buffer.from([0xff]))] : []))),
    ),
  ];
  const serial = randomBytes(8);
  serial[0] = (serial[0]! & 0x7f) | 0x40; // a positive number without a leading zero
  const body = sequence(
    tlv(0xa0, tlv(0x02, Buffer.from([2]))),
    tlv(0x02, serial),
    algorithm,
    name(issuer),
    sequence(time(options.validFromMs ?? now - DAY_MS), time(options.validToMs ?? now + 2 * DAY_MS)),
    name(subject.name),
    key.export({ type: "spki", format: "der" }),
    tlv(0xa3, sequence(...extensions)),
  );
  const signature = sign("sha256", body, signer);
  const der = sequence(body, algorithm, tlv(0x03, Buffer.concat([Buffer.from([0]), signature])));
  const lines = der.toString("base64").match(/.{1,64}/g)!.join("\n");
  return `-----BEGIN CERTIFICATE-----\n${lines}\n-----END CERTIFICATE-----\n`;
}

function name(common: string): Buffer {
  return sequence(tlv(0x31, sequence(oid("550403"), tlv(0x0c, Buffer.from(common)))));
}

function time(ms: number): Buffer {
  return tlv(0x17, Buffer.from(new Date(ms).toISOString().replace(/^..|[-:T]|\.\d+/g, "")));
}

function oid(hex: string): Buffer {
  return tlv(0x06, Buffer.from(hex, "hex"));
}

function octets(content: Buffer): Buffer {
  return tlv(0x04, content);
}

function sequence(...parts: Buffer[]): Buffer {
  return tlv(0x30, Buffer.concat(parts));
}

function tlv(tag: number, content: Buffer): Buffer {
  const { length } = content;
  const head = length < 128
    ? [tag, length]
    : length < 256
    ? [tag, 0x81, length]
    : [tag, 0x82, length >> 8, length & 255];
  return Buffer.concat([Buffer.from(head), content]);
}

function pemOfKey(key: KeyObject): string {
  // Through the object, so that a wrong key fails here and not in a handshake.
  return createPrivateKey(key.export({ type: "pkcs8", format: "pem" })).export({ type: "pkcs8", format: "pem" })
    .toString();
}
