/**
 * Owns the text of a VAPID key file (RFC 8292): making one, and what is wrong with one. Must not know how it is used; the
 * push relay reads it itself.
 */
import { createECDH } from "node:crypto";

/** The form of `web-push generate-vapid-keys --json`: base64url of the uncompressed point and of the private number. */
export interface VapidKeyPair {
  readonly publicKey: string;
  readonly privateKey: string;
}

/** A new pair. */
export function makeVapidKeys(): VapidKeyPair {
  const ecdh = createECDH("prime256v1");
  ecdh.generateKeys();
  // OpenSSL drops leading zeros.
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
    const isPair = ecdh.getPublicKey().equals(Buffer.from(publicKey, "base64url"));
    return isPair ? { publicKey, privateKey } : { reason: "its two keys are no pair" };
  } catch {
    return { reason: 'its "privateKey" is damaged' };
  }
}
