/**
 * Owns the text of a VAPID key file (RFC 8292): makes one, and reads the keys in one or says why there are none. Must not
 * know how they are used.
 */
import { createECDH, type ECDH } from "node:crypto";

/** The form of `web-push generate-vapid-keys --json`: base64url of the uncompressed point and of the private number. */
export interface VapidKeyPair {
  readonly publicKey: string;
  readonly privateKey: string;
}

/** A new pair. */
export function makeVapidKeys(): VapidKeyPair {
  const ecdh = createECDH("prime256v1");
  ecdh.generateKeys();
  return pairOf(ecdh);
}

function pairOf(ecdh: ECDH): VapidKeyPair {
  // RFC 7518 §6.2.2.1: of full length; OpenSSL drops leading zeros.
  const bytes = ecdh.getPrivateKey();
  const number = Buffer.concat([Buffer.alloc(32 - bytes.length), bytes]);
  return { publicKey: ecdh.getPublicKey().toString("base64url"), privateKey: number.toString("base64url") };
}

/** The pair in a file's text, or why there is none, in words that follow the file's name. Never part of the private key. */
export function readVapidKeys(text: string): VapidKeyPair | { reason: string } {
  if (text.trim() === "") return { reason: "it is empty" };
  let value: Partial<Record<"publicKey" | "privateKey", unknown>>;
  try {
    value = JSON.parse(text) ?? {};
  } catch {
    return { reason: "it is not JSON; `latefork keys vapid FILE` makes one" };
  }
  const { publicKey, privateKey } = value;
  if (typeof publicKey !== "string" || typeof privateKey !== "string") {
    return { reason: 'its "publicKey" or "privateKey" is missing; `latefork keys vapid FILE` makes one' };
  }
  try {
    const ecdh = createECDH("prime256v1");
    ecdh.setPrivateKey(Buffer.from(privateKey, "base64url"));
    const point = ecdh.getPublicKey();
    if (!point.equals(Buffer.from(publicKey, "base64url"))) return { reason: "its two keys are no pair" };
    return pairOf(ecdh);
  } catch {
    return { reason: 'its "privateKey" is damaged' };
  }
}
