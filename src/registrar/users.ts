/**
 * The users file: lines of `user:realm:ha1-md5[:ha1-sha256]`, `#` comments, blank lines. Reads it into a directory and
 * edits it as text, other lines untouched. Must not know files, passwords or SIP.
 *
 * The text is wire text, one character a byte (read the file as latin1), so that users beyond ASCII compare with what
 * phones send. A hash is worth its password to whoever reads it: no problem text ever repeats one.
 */

/** One line of the file. */
export interface User {
  user: string;
  realm: string;
  /** HA1, lower-case hexadecimal; empty if the line has none. */
  ha1Md5: string;
  /** Empty if the line has none; at least one of the two is there. */
  ha1Sha256: string;
}

/** A line that is not used, and why. Never carries the text of a hash or password. */
export interface UsersProblem {
  /** From 1. */
  line: number;
  message: string;
  hint: string;
}

/** The hashes a user has. */
export interface HashOffer {
  hasMd5: boolean;
  hasSha256: boolean;
}

const HINT = 'Write it with "latefork user add USER@REALM"';
const BOM = "\xef\xbb\xbf";

/** Reads the whole file; a line with a problem is left out, the others count. */
export function parseUsers(text: string): { users: User[]; problems: UsersProblem[] } {
  const users: User[] = [];
  const problems: UsersProblem[] = [];
  const seen = new Map<string, number>();
  for (const [index, raw] of splitLines(text).entries()) {
    const line = index + 1;
    const parsed = parseLine(raw);
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

/** The users by name and realm. Read-only: a reload makes a new one. */
export class UserDirectory {
  readonly #users = new Map<string, User>();
  /**
   * What most users have, both if there is no user. A challenge to a name that is not here offers this, so that it
   * looks like the challenge to a name that is.
   */
  readonly commonOffer: HashOffer;

  /** Of two entries for the same user and realm the first one counts. */
  constructor(users: readonly User[]) {
    const counts = [0, 0, 0, 0];
    for (const user of users) {
      const key = keyOf(user.user, user.realm);
      if (this.#users.has(key)) continue;
      this.#users.set(key, user);
      counts[(user.ha1Md5 === "" ? 0 : 1) + (user.ha1Sha256 === "" ? 0 : 2)]++;
    }
    const most = counts[3] >= Math.max(counts[1], counts[2]) ? 3 : counts[1] >= counts[2] ? 1 : 2;
    this.commonOffer = { hasMd5: (most & 1) !== 0, hasSha256: (most & 2) !== 0 };
  }

  get size(): number {
    return this.#users.size;
  }

  /** @param realm in any case, as it is a domain; the name is compared to the byte */
  find(user: string, realm: string): User | null {
    return this.#users.get(keyOf(user, realm)) ?? null;
  }
}

/**
 * The file with the user's line put in: in place of the line it had, else at the end.
 * @returns the new text, and whether the user was there before
 */
export function withUser(text: string, user: User): { text: string; isReplaced: boolean } {
  const lines = splitLines(text);
  const at = lineOf(lines, user.user, user.realm);
  if (at >= 0) {
    lines[at] = formatUser(user) + (lines[at].endsWith("\r") ? "\r" : "");
    return { text: lines.join("\n"), isReplaced: true };
  }
  const isLastLineOpen = text !== "" && !text.endsWith("\n");
  return { text: text + (isLastLineOpen ? "\n" : "") + formatUser(user) + "\n", isReplaced: false };
}

/** The file without the line of this user; null if there is none. */
export function withoutUser(text: string, user: string, realm: string): string | null {
  const lines = splitLines(text);
  const at = lineOf(lines, user, realm);
  if (at < 0) return null;
  lines.splice(at, 1);
  return lines.join("\n");
}

/** One line of the file, without its end. */
export function formatUser({ user, realm, ha1Md5, ha1Sha256 }: User): string {
  return `${user}:${realm}:${ha1Md5}` + (ha1Sha256 === "" ? "" : `:${ha1Sha256}`);
}

/** What is wrong with a name or realm that is to be written; null if it can be. */
export function nameProblem(user: string, realm: string): string | null {
  if (user === "" || realm === "") return "Cannot write a user without a name and a realm";
  if (user.startsWith("#")) return 'Cannot write a user whose name begins with "#": such a line is a comment';
  if (user.includes(":")) return 'Cannot write a user with ":" in the name: digest cannot tell where it ends';
  if (/[\0-\x20\x7f]/.test(user + realm)) return "Cannot write a user or realm with spaces or control characters";
  return null;
}

/** null: nothing stands there; text: what is wrong. */
function parseLine(raw: string): User | string | null {
  const line = raw.trim();
  if (line === "" || line.startsWith("#")) return null;
  const fields = line.split(":");
  if (fields.length < 3) return "Cannot read a user: expected user:realm:ha1-md5[:ha1-sha256]";
  const [user] = fields;
  const last = fields[fields.length - 1];
  const isMd5 = (field: string) => /^[0-9a-f]{32}$/i.test(field);
  const hasSha256 = /^[0-9a-f]{64}$/i.test(last);
  const ha1Md5 = hasSha256 ? fields[fields.length - 2] : last;
  if (!isMd5(ha1Md5) && !(hasSha256 && ha1Md5 === "")) {
    return "Cannot read the hashes of a user: expected 32 hexadecimal digits, then none or 64 (never a password)";
  }
  // What is between may hold colons: a realm can be an IPv6 address.
  const realm = fields.slice(1, hasSha256 ? -2 : -1).join(":");
  if (user === "" || realm === "") return "Cannot read a user: the name or the realm is empty";
  return { user, realm, ha1Md5: ha1Md5.toLowerCase(), ha1Sha256: hasSha256 ? last.toLowerCase() : "" };
}

function lineOf(lines: readonly string[], user: string, realm: string): number {
  const key = keyOf(user, realm);
  return lines.findIndex((line) => {
    const parsed = parseLine(line);
    return parsed !== null && typeof parsed !== "string" && keyOf(parsed.user, parsed.realm) === key;
  });
}

/** Lines keep a CR that an editor left: it is trimmed on reading and written back. */
function splitLines(text: string): string[] {
  return (text.startsWith(BOM) ? text.slice(BOM.length) : text).split("\n");
}

function keyOf(user: string, realm: string): string {
  // A line holds no line end, so no name from the network can reach into the realm.
  return `${user}\n${realm.toLowerCase()}`;
}
