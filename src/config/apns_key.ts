/** Owns the text of a `.p8` file: the key in it, or why APNs would not take it. Must not know how it is used. */
import { createPrivateKey, type KeyObject } from "node:crypto";

/** Larger files hold no key. */
export const MAX_KEY_FILE = 16_384;

/** The key in a file's text, or why there is none, in words that follow the file's name. Never part of the key. */
export function readApnsKey(text: string): { key: KeyObject } | { reason: string } {
  const reason = labelProblem(text);
  if (reason !== "") return { reason };
  let key: KeyObject;
  try {
    key = createPrivateKey(text.replace(/^\ufeff/, ""));
  } catch {
    return { reason: "the key in it is damaged: are all its lines there, each on its own?" };
  }
  const kind = key.asymmetricKeyDetails?.namedCurve ?? key.asymmetricKeyType ?? "";
  return kind === "prime256v1" ? { key } : { reason: `it holds a key of another kind (${kind}); Apple's are on P-256` };
}

/** What is wrong with the first line; empty if nothing. */
function labelProblem(text: string): string {
  const label = /-----BEGIN ([A-Z0-9 ]+)-----/.exec(text)?.[1];
  if (text.trim() === "") return "it is empty";
  if (label === undefined) return "it is not PEM text; Apple gives the key as AuthKey_KEYID.p8, and only once";
  if (label === "CERTIFICATE") return "it is a certificate; what is needed is a key, made under Keys as .p8";
  if (label.endsWith("PUBLIC KEY")) return "it is a public key; the private one is needed";
  return label === "ENCRYPTED PRIVATE KEY" ? "it is encrypted; Apple's .p8 is not" : "";
}
