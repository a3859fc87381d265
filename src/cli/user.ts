/**
 * `latefork user add|rm|ls`: the verb that edits the users file. Works on the file alone, no appliance needed.
 * No prompts: the password comes from standard input or a file. Must not print a password or a hash.
 */
import {
  chownSync,
  closeSync,
  fsyncSync,
  openSync,
  readFileSync,
  realpathSync,
  renameSync,
  type Stats,
  statSync,
  unlinkSync,
  writeSync,
} from "node:fs";
import { dirname } from "node:path";
import { parseArgs } from "node:util";
import { nameProblem, parseUsersFile, withoutUser, withUser } from "../config/users_file.ts";

/** What the verb needs of the process. */
export interface UserIo {
  /** All of standard input, read as UTF-8. */
  readPassword(): Promise<string>;
  /** Standard input is a terminal, so no password comes from it. */
  isInputTerminal: boolean;
  stdout(text: string): void;
  stderr(text: string): void;
}

export const USER_USAGE = `usage: latefork user add USER@DOMAIN [--password-file FILE] [--file FILE]
       latefork user rm USER@DOMAIN [--file FILE]
       latefork user ls [--json] [--file FILE]

The password is the one line of FILE or of standard input:  printf %s "$PASSWORD" | latefork user add alice@example.org
--file names the users file; the default is users_file of the config.
`;

const OK = 0;
const FAILED = 1;
const USAGE = 64;

interface UserOptions {
  verb: string;
  names: string[];
  file: string;
  passwordFile: string | undefined;
  json: boolean;
}

/**
 * Runs the verb.
 * @param args what follows `user` on the command line
 * @param usersFile `users_file` of the config; empty if not set
 * @returns the exit code: 0, 1 (failed, said on stderr), 64 (usage)
 */
export async function runUser(args: readonly string[], io: UserIo, usersFile: string): Promise<number> {
  const options = readOptions(args, usersFile);
  if (typeof options === "string") return usageError(io, options);
  try {
    if (options.verb === "ls") return list(options, io);
    const [given = ""] = options.names;
    const name = splitName(given);
    const problem = nameProblem(name.user, name.realm);
    if (problem !== null) return usageError(io, `${problem} (got "${given}", expected USER@DOMAIN)`);
    return options.verb === "rm" ? remove(options.file, name, io) : await add(options, name, io);
  } catch (error) {
    io.stderr(`latefork user: ${reasonOf(error)}\n`);
    return FAILED;
  }
}

interface Name {
  user: string;
  realm: string;
}

async function add({ file, passwordFile }: UserOptions, { user, realm }: Name, io: UserIo): Promise<number> {
  if (passwordFile === undefined && io.isInputTerminal) {
    return usageError(io, "Cannot ask for a password: pipe it in, or give --password-file");
  }
  const given = passwordFile === undefined ? await io.readPassword() : readFileSync(passwordFile, "utf8");
  const password = given.replace(/\r?\n$/, "");
  if (password === "") throw new Error("Cannot add a user with an empty password");
  if (/[\r\n]/.test(password)) throw new Error("Cannot add a user with a password of several lines: expected one");
  let isReplaced = false;
  editFile(file, io, (text) => {
    const edited = withUser(text, user, realm, password);
    isReplaced = edited.isReplaced;
    return edited.text;
  });
  io.stdout(`${isReplaced ? "changed" : "added"} ${user}@${realm} in ${file}${RELOAD}`);
  return OK;
}

function remove(file: string, { user, realm }: Name, io: UserIo): number {
  const isRemoved = editFile(file, io, (text) => withoutUser(text, user, realm));
  if (!isRemoved) throw new Error(`Cannot remove ${user}@${realm}: ${file} does not have it`);
  io.stdout(`removed ${user}@${realm} from ${file}${RELOAD}`);
  return OK;
}

const RELOAD = "; a running latefork takes it over with `latefork reload`\n";

/** Prints the users on stdout, and lines that cannot be read on stderr. Such a line makes it fail. */
function list({ file, json }: UserOptions, io: UserIo): number {
  const { users, problems } = parseUsersFile(readUsers(file));
  const items = users.map(({ user, realm, ha1Md5, ha1Sha256 }) => {
    return { user, realm, hashes: [...(ha1Sha256 ? ["sha-256"] : []), ...(ha1Md5 ? ["md5"] : [])] };
  });
  if (json) {
    io.stdout(JSON.stringify({ items, next: null }) + "\n");
  } else {
    const title = { user: "USER", realm: "REALM", hashes: ["HASHES"] };
    const rows = [title, ...items];
    const userWidth = Math.max(...rows.map(({ user }) => user.length));
    const realmWidth = Math.max(...rows.map(({ realm }) => realm.length));
    for (const { user, realm, hashes } of rows) {
      io.stdout(`${user.padEnd(userWidth)}  ${realm.padEnd(realmWidth)}  ${hashes.join(", ")}\n`);
    }
  }
  for (const { line, message, hint } of problems) io.stderr(`${file}:${line}: ${message} (${hint})\n`);
  return problems.length === 0 ? OK : FAILED;
}

/**
 * Replaces the file by what `change` makes of its text, in one step and readable by its owner alone. `change` returns null
 * to leave the file as it is. The new file serves as a lock: of two calls at a time neither loses the other's user.
 * @returns false if the file was left as it is
 */
function editFile(file: string, io: UserIo, change: (text: string) => string | null): boolean {
  const before = statOrNull(file);
  // A link stays a link: what it points to is replaced.
  const target = before === null ? file : realpathSync(file);
  const fresh = `${target}.new`;
  const handle = openLock(fresh);
  let isInPlace = false;
  try {
    const text = change(before === null ? "" : readUsers(target));
    if (text === null) return false;
    writeWhole(handle, text);
    if (before !== null) keepOwner(fresh, before);
    fsyncSync(handle);
    renameSync(fresh, target);
    isInPlace = true;
    syncFolder(dirname(target));
    if (before !== null && (before.mode & 0o077) !== 0) {
      io.stderr(`${file}: made readable for its owner alone (was ${(before.mode & 0o777).toString(8)})\n`);
    }
    return true;
  } finally {
    closeSync(handle);
    if (!isInPlace) unlinkSync(fresh);
  }
}

function openLock(fresh: string): number {
  try {
    return openSync(fresh, "wx", 0o600);
  } catch (error) {
    if (codeOf(error) !== "EEXIST") throw error;
    throw new Error(`Cannot edit the users file: ${fresh} exists, another one is editing it; if not, remove that file`);
  }
}

function writeWhole(handle: number, text: string): void {
  const bytes = new TextEncoder().encode(text);
  for (let at = 0; at < bytes.length;) at += writeSync(handle, bytes, at);
}

/** Keeps the owner of the file: the service may run as another user than the admin. */
function keepOwner(fresh: string, { uid, gid }: Stats): void {
  const made = statSync(fresh);
  if (made.uid !== uid || made.gid !== gid) chownSync(fresh, uid, gid);
}

/** The rename survives a power cut only once the folder is on disk. */
function syncFolder(folder: string): void {
  const handle = openSync(folder, "r");
  try {
    fsyncSync(handle);
  } finally {
    closeSync(handle);
  }
}

function readUsers(file: string): string {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(readFileSync(file));
  } catch (error) {
    if (error instanceof TypeError) throw new Error(`Cannot read ${file}: it is not UTF-8 text`);
    throw error;
  }
}

/** The options, or what is wrong with them. */
function readOptions(args: readonly string[], usersFile: string): UserOptions | string {
  let parsed;
  try {
    parsed = parseArgs({
      args: [...args],
      allowPositionals: true,
      options: { file: { type: "string" }, "password-file": { type: "string" }, json: { type: "boolean" } },
    });
  } catch (error) {
    return reasonOf(error);
  }
  const [verb = "", ...names] = parsed.positionals;
  const { file = usersFile, json = false } = parsed.values;
  const passwordFile = parsed.values["password-file"];
  if (verb === "") return "expected add, rm or ls";
  if (verb !== "add" && verb !== "rm" && verb !== "ls") return `unknown verb "${verb}": expected add, rm or ls`;
  if (names.length !== (verb === "ls" ? 0 : 1)) return verb === "ls" ? "ls takes no name" : `${verb} takes one name`;
  if (passwordFile !== undefined && verb !== "add") return "--password-file is for add";
  if (json && verb !== "ls") return "--json is for ls";
  if (file === "") return "no users file: give --file FILE, or set users_file in the config";
  return { verb, names, file, passwordFile, json };
}

/** `alice@example.org`, also as `sip:alice@example.org`; the domain in lower case. */
function splitName(text: string): Name {
  const name = text.replace(/^sips?:/i, "");
  const at = name.lastIndexOf("@");
  return at < 0 ? { user: name, realm: "" } : { user: name.slice(0, at), realm: name.slice(at + 1).toLowerCase() };
}

function usageError(io: UserIo, message: string): number {
  io.stderr(`latefork user: ${message}\n${USER_USAGE}`);
  return USAGE;
}

function statOrNull(file: string): Stats | null {
  try {
    return statSync(file);
  } catch (error) {
    if (codeOf(error) === "ENOENT") return null;
    throw error;
  }
}

function reasonOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

function codeOf(error: unknown): string {
  return error instanceof Error && "code" in error ? String(error.code) : "";
}
