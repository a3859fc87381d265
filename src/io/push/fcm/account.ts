/**
 * Owns what is needed of a Google service account file. It must not know tokens, messages or connections; what is wrong
 * with a file is said by `latefork check`.
 */
import { createPrivateKey, type KeyObject } from "node:crypto";

export interface FcmAccount {
  readonly projectId: string;
  readonly email: string;
  readonly key: KeyObject;
  /** `kid` of the assertion; empty if the file has none. */
  readonly keyId: string;
  /** Where access tokens are had: https. */
  readonly tokenUri: string;
}

/** The account in a file's text; null if there is none. */
export function fcmAccountOf(text: string): FcmAccount | null {
  try {
    const { project_id, client_email, private_key, private_key_id, token_uri } = JSON.parse(text);
    const key = createPrivateKey(private_key);
    // It becomes a part of a path.
    const isProject = typeof project_id === "string" && /^[\w.:-]{1,128}$/.test(project_id);
    const isUri = typeof token_uri === "string" && URL.canParse(token_uri) && new URL(token_uri).protocol === "https:";
    if (!isProject || !isUri || typeof client_email !== "string" || key.asymmetricKeyType !== "rsa") return null;
    const keyId = typeof private_key_id === "string" ? private_key_id : "";
    return { projectId: project_id, email: client_email, key, keyId, tokenUri: token_uri };
  } catch {
    return null;
  }
}
