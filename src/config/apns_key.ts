/**
 * Owns what stands in a `.p8` file: whether it is a key APNs takes, and if not, why not. Must not know how it is used;
 * the push relay reads it itself.
 */
import { createPrivateKey } from "node:crypto";

/** Larger files hold no key. */
export const MAX_KEY_FILE = 16_384;

/** Why this text is no APNs key, in words that follow the file's name; empty if it is one. Never part of the key. */
export function apnsKeyProblem(text: string): string {
  const label = /-----BEGIN ([A-Z0-9 ]+)-----/.exec(text)?.[1];
  if (text.trim() === "") return "it is empty";
  if (label === undefined) return "it is not PEM text; Apple gives the key as AuthKey_KEYID.p8, and only once";
  if (label === "CERTIFICATE") return "it is a certificate; what is needed is a key, made under Keys as .p8";
  if (label.endsWith("PUBLIC KEY")) return "it is a public key; the private one is needed";
  if (label === "ENCRYPTED PRIVATE KEY") return "it is encrypted; Apple's .p8 is not";
  let kind: string;
  try {
    const key = createPrivateKey(text.replace(/^\ufeff/, ""));
    kind = key.asymmetricKeyDetails?.namedCurve ?? key.asymmetricKeyType ?? "";
  } catch {
    return "the key in it is damaged: are all its lines there, each on its own?";
  }
  return kind === "prime256v1" ? "" : `it holds a key of another kind (${kind}); Apple's are on P-256`;
}
