/**
 * Certificates for 127.0.0.1 (X.509 v3, ECDSA P-256), made for each run: no key lies in the repository, and no program
 * is needed but the runtime. Just enough DER for that.
 */
import { createPrivateKey, generateKeyPairSync, type KeyObject, randomBytes, sign } from "node:crypto";

const DAY_MS = 86_400_000;

/** A self-signed one. */
export function certificate(): { key: string; cert: string } {
  const own = generateKeyPairSync("ec", { namedCurve: "prime256v1" });
  const cert = issue("localhost", own.publicKey, "localhost", own.privateKey, false);
  return { key: pemOfKey(own.privateKey), cert };
}

/** One that a CA of our own made. */
export function issuedCertificate(): { ca: string; key: string; cert: string } {
  const authority = generateKeyPairSync("ec", { namedCurve: "prime256v1" });
  const own = generateKeyPairSync("ec", { namedCurve: "prime256v1" });
  return {
    ca: issue("Test CA", authority.publicKey, "Test CA", authority.privateKey, true),
    key: pemOfKey(own.privateKey),
    cert: issue("localhost", own.publicKey, "Test CA", authority.privateKey, false),
  };
}

/** RFC 5280 §4.1. */
function issue(subject: string, key: KeyObject, issuer: string, signer: KeyObject, isCa: boolean): string {
  const now = Date.now();
  const algorithm = sequence(oid("2a8648ce3d040302")); // ecdsa-with-SHA256
  const extensions = [
    // subjectAltName: IP 127.0.0.1, and a name for tests that resolve it themselves
    sequence(
      oid("551d11"),
      octets(sequence(tlv(0x87, Buffer.from([127, 0, 0, 1])), tlv(0x82, Buffer.from("push.test")))),
    ),
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
    sequence(time(now - DAY_MS), time(now + 2 * DAY_MS)),
    name(subject),
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
