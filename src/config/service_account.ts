/**
 * Owns what stands in a Google service account file: whether it is one FCM takes, and if not, why not. Must not know how
 * it is used; the push relay reads it itself.
 */
import { createPrivateKey } from "node:crypto";

/** Why this text is no service account, in words that follow the file's name; empty if it is one. Never part of the key. */
export function serviceAccountProblem(text: string): string {
  if (text.trim() === "") return "it is empty";
  let account: Record<string, unknown>;
  try {
    const value: unknown = JSON.parse(text);
    if (typeof value !== "object" || value === null || Array.isArray(value)) return "it is JSON, but no object";
    account = value as Record<string, unknown>;
  } catch {
    return "it is not JSON; Firebase gives it under Project settings → Service accounts → Generate new private key";
  }
  if ("project_info" in account && "client" in account) {
    return "it is the app's google-services.json; what is needed is the key of a service account";
  }
  if (account.type !== "service_account") return 'it is no service account: its "type" is another';
  for (const name of ["project_id", "client_email", "private_key", "token_uri"]) {
    if (typeof account[name] !== "string" || account[name] === "") return `its "${name}" is missing`;
  }
  if (!/^[\w.:-]{1,128}$/.test(String(account.project_id))) return 'its "project_id" is none';
  const tokenUri = String(account.token_uri);
  if (!URL.canParse(tokenUri) || new URL(tokenUri).protocol !== "https:") return 'its "token_uri" is not an https URL';
  try {
    const kind = createPrivateKey(String(account.private_key)).asymmetricKeyType;
    return kind === "rsa" ? "" : `its "private_key" is of another kind (${kind}); Google's are RSA`;
  } catch {
    return 'its "private_key" is damaged; generate a new one';
  }
}
