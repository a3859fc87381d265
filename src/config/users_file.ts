/**
 * The text of a users file: lines of `user:realm:ha1-md5[:ha1-sha256]`, `#` comments, blank lines. Reads it, and
 * edits one line without touching the others. Must not open files. Never repeats a hash in a problem: a hash is as good
 * as the password.
 */
import { type DigestUser, digestUser } from "../core/sip/digest.ts";

/** A line that is not used, and why. Never carries the text of a hash or password. */
export interface UsersFileProblem {
  /** From 1. */
  line: number;
  message: string;
  hint: string;
}

const HINT = 'Write it with "latefork user add USER@REALM"';
const BOM = "\ufeff";

/** Reads the whole file; a line with a problem is left out, the others count. */
export function parseUsersFile(text: string): { users: DigestUser[]; problems: UsersFileProblem[] } {
  const users: DigestUser[] = [];
  const problems: UsersFileProblem[] = [];
  const seen = new Map<string, number>();
  for (const [index, raw] of splitLines(text).entries()) {
    const line = index + 1;
    const parsed = parseUserLine(raw);
    if (parsed === null) continue;
    if (typeof parsed === "string") {
      problems.push({ line, message: parsed, hint: HINT });
      continue;
    }
    const key = keyOf(parsed.user, parsed.realm);
    const first = seen.get(key);
    if (first !== undefined) {
      const message = `User ${parsed.user} of realm ${parsed.realm} stands on line ${first} already`;
      problems.push({ line, message, hint: "Remove one of the two lines; the first one is used" });
      continue;
    }
    seen.set(key, line);
    users.push(parsed);
  }
  return { users, problems };
}

/**
 * The file with the user's line: it replaces the user's old line, or stands at the end.
 * @returns the new text, and whether the user was there before
 */
export function withUser(
  text: string,
  user: string,
  realm: string,
  password: string,
): { text: string; isReplaced: boolean } {
  const lines = splitLines(text);
  const at = lines.findIndex((line) => isLineOf(line, user, realm));
  const added = formatUser(digestUser(user, realm, password));
  const replaced = lines[at];
  if (replaced !== undefined) {
    lines[at] = added + (replaced.endsWith("\r") ? "\r" : "");
    return { text: lines.join("\n"), isReplaced: true };
  }
  const isLastLineOpen = text !== "" && !text.endsWith("\n");
  return { text: text + (isLastLineOpen ? "\n" : "") + added + "\n", isReplaced: false };
}

/** The file without the user, however often it stands there; null if it does not. */
export function withoutUser(text: string, user: string, realm: string): string | null {
  const lines = splitLines(text);
  const kept = lines.filter((line) => !isLineOf(line, user, realm));
  return kept.length === lines.length ? null : kept.join("\n");
}

/** One line of the file, without its end. */
export function formatUser({ user, realm, ha1Md5, ha1Sha256 }: DigestUser): string {
  return `${user}:${realm}:${ha1Md5}` + (ha1Sha256 === "" ? "" : `:${ha1Sha256}`);
}

/** What is wrong with a name or realm that is to be written; null if it can be. */
export function nameProblem(user: string, realm: string): string | null {
  if (user === "" || realm === "") return "Cannot write a user without a name and a realm";
  if (user.startsWith("#")) return 'Cannot write a user whose name begins with "#": such a line is a comment';
  if (user.includes(":")) return 'Cannot write a user with ":" in the name: digest cannot tell where it ends';
  if (/[\s\p{Cc}]/u.test(user + realm)) return "Cannot write a user or realm with spaces or control characters";
  return null;
}

/** One line: the user, null if nothing stands there, or what is wrong. */
export function parseUserLine(raw: string): DigestUser | string | null {
  const line = raw.trim();
  if (line === "" || line.startsWith("#")) return null;
  const fields = line.split(":");
  if (fields.length < 3) return "Cannot read a user: expected user:realm:ha1-md5[:ha1-sha256]";
  const [user = ""] = fields;
  const last = fields.at(-1) ?? "";
  const isMd5 = (field: string) => /^[0-9a-f]{32}$/i.test(field);
  const hasSha256 = /^[0-9a-f]{64}$/i.test(last);
  const ha1Md5 = hasSha256 ? fields.at(-2) ?? "" : last;
  if (!isMd5(ha1Md5) && !(hasSha256 && ha1Md5 === "")) {
    return "Cannot read the hashes of a user: expected 32 hexadecimal digits, then none or 64 (never a password)";
  }
  // The realm may hold colons: it can be an IPv6 address.
  const realm = fields.slice(1, hasSha256 ? -2 : -1).join(":");
  if (user === "" || realm === "") return "Cannot read a user: the name or the realm is empty";
  return { user, realm, ha1Md5: ha1Md5.toLowerCase(), ha1Sha256: hasSha256 ? last.toLowerCase() : "" };
}

function isLineOf(line: string, user: string, realm: string): boolean {
  const parsed = parseUserLine(line);
  return parsed !== null && typeof parsed !== "string" && keyOf(parsed.user, parsed.realm) === keyOf(user, realm);
}

/** The lines of a file that people edit. A CR at the end of a line is trimmed when it is read, and written back. */
export function splitLines(text: string): string[] {
  return (text.startsWith(BOM) ? text.slice(BOM.length) : text).split("\n");
}

function keyOf(user: string, realm: string): string {
  return `${user}\n${realm.toLowerCase()}`;
}
