/**
 * The text of `pbx.credentials_file`: lines of `user:password` or `user:realm:ha1`, `#` comments. A line of a users
 * file is read too. Must not open files, and never repeats a password or hash in a problem.
 */
import { type DigestSecret, wireText } from "../core/sip/digest.ts";
import { parseUserLine, splitLines, type UsersFileProblem } from "./users_file.ts";

/**
 * Reads the whole file; a line with a problem is left out, the others count.
 * @returns secrets by user in wire text ({@link wireText}), as messages name it. Lines of one user add up: hashes of
 * several realms, and a password for all others
 */
export function parseCredentialsFile(
  text: string,
): { secrets: Map<string, DigestSecret>; problems: UsersFileProblem[] } {
  const secrets = new Map<string, DigestSecret>();
  const problems: UsersFileProblem[] = [];
  for (const [index, raw] of splitLines(text).entries()) {
    const added = readLine(raw);
    if (added === null) continue;
    if (added === "unreadable") {
      const message = "Cannot read credentials: expected user:password or user:realm:ha1";
      problems.push({ line: index + 1, message, hint: "Correct the line, or begin it with #" });
      continue;
    }
    const known = secrets.get(added.username);
    if (known !== undefined && isTwice(known, added)) {
      const message = `User ${raw.slice(0, raw.indexOf(":")).trim()} has credentials for the same realm already`;
      problems.push({ line: index + 1, message, hint: "Remove one of the two lines; the first one is used" });
      continue;
    }
    secrets.set(added.username, known === undefined ? added : merged(known, added));
  }
  return { secrets, problems };
}

/** null: nothing stands there. */
function readLine(raw: string): DigestSecret | "unreadable" | null {
  const hashed = parseUserLine(raw);
  if (hashed === null) return null;
  if (typeof hashed !== "string") {
    const { user, realm, ha1Md5, ha1Sha256 } = hashed;
    return hashedSecret(user, realm, ha1Md5, ha1Sha256);
  }
  const [, user = "", realm = "", ha1Sha256 = ""] = /^([^:]+):(.+):([0-9a-f]{64})$/i.exec(raw.trim()) ?? [];
  return ha1Sha256 === "" ? passwordSecret(raw) : hashedSecret(user, realm, "", ha1Sha256.toLowerCase());
}

function hashedSecret(user: string, realm: string, md5: string, sha256: string): DigestSecret {
  const ha1s: DigestSecret["ha1s"][number][] = [];
  if (md5 !== "") ha1s.push({ realm: wireText(realm), hash: "MD5", ha1: md5 });
  if (sha256 !== "") ha1s.push({ realm: wireText(realm), hash: "SHA-256", ha1: sha256 });
  return { username: wireText(user), password: null, ha1s };
}

/** The password is everything behind the first colon, colons and spaces included. */
function passwordSecret(raw: string): DigestSecret | "unreadable" {
  const line = raw.endsWith("\r") ? raw.slice(0, -1) : raw;
  const colon = line.indexOf(":");
  if (colon < 0) return "unreadable";
  const user = line.slice(0, colon).trim();
  const password = line.slice(colon + 1);
  if (user === "" || password.trim() === "") return "unreadable";
  return { username: wireText(user), password: wireText(password), ha1s: [] };
}

function isTwice(known: DigestSecret, added: DigestSecret): boolean {
  if (added.password !== null) return known.password !== null;
  return added.ha1s.some(({ realm, hash }) => known.ha1s.some((other) => other.realm === realm && other.hash === hash));
}

function merged(known: DigestSecret, added: DigestSecret): DigestSecret {
  return { ...known, password: known.password ?? added.password, ha1s: [...known.ha1s, ...added.ha1s] };
}
