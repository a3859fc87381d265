/** Owns the text of a Google service account file: the account, or why FCM would not take it. Must not know how it is used. */
import { createPrivateKey, type KeyObject } from "node:crypto";

/** What is needed of the file. */
export interface ServiceAccount {
  readonly projectId: string;
  readonly email: string;
  readonly key: KeyObject;
  /** `kid` of the assertion; empty if the file has none. */
  readonly keyId: string;
  /** Where access tokens are had: https. */
  readonly tokenUri: string;
}

/** The account in a file's text, or why there is none, in words that follow the file's name. Never part of the key. */
export function readServiceAccount(text: string): ServiceAccount | { reason: string } {
  if (text.trim() === "") return { reason: "it is empty" };
  let account: Record<string, unknown>;
  try {
    const value: unknown = JSON.parse(text);
    if (typeof value !== "object" || value === null || Array.isArray(value)) {
      return { reason: "it is JSON, but no object" };
    }
    account = value as Record<string, unknown>;
  } catch {
    return {
      reason: "it is not JSON; Firebase gives it under Project settings → Service accounts → Generate new private key",
    };
  }
  const reason = fieldProblem(account);
  if (reason !== "") return { reason };
  let key: KeyObject;
  try {
    key = createPrivateKey(String(account.private_key));
  } catch {
    return { reason: 'its "private_key" is damaged; generate a new one' };
  }
  const kind = key.asymmetricKeyType;
  if (kind !== "rsa") return { reason: `its "private_key" is of another kind (${kind}); Google's are RSA` };
  return {
    projectId: String(account.project_id),
    email: String(account.client_email),
    key,
    keyId: typeof account.private_key_id === "string" ? account.private_key_id : "",
    tokenUri: String(account.token_uri),
  };
}

/** What is wrong with the fields but for the key; empty if nothing. */
function fieldProblem(account: Readonly<Record<string, unknown>>): string {
  if ("project_info" in account && "client" in account) {
    return "it is the app's google-services.json; what is needed is the key of a service account";
  }
  if (account.type !== "service_account") return 'it is no service account: its "type" is another';
  for (const name of ["project_id", "client_email", "private_key", "token_uri"]) {
    if (typeof account[name] !== "string" || account[name] === "") return `its "${name}" is missing`;
  }
  // It becomes a part of a path.
  if (!/^[\w.:-]{1,128}$/.test(String(account.project_id))) return 'its "project_id" is none';
  const tokenUri = String(account.token_uri);
  const isHttps = URL.canParse(tokenUri) && new URL(tokenUri).protocol === "https:";
  return isHttps ? "" : 'its "token_uri" is not an https URL';
}
