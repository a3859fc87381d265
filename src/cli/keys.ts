/**
 * `latefork keys`: says what a key file holds and what to put into the config, and makes VAPID keys, which no service gives
 * out. Works on the file alone, no appliance needed. Never prints a part of a private key, except for `keys vapid`
 * without a file.
 */
import { existsSync, type Stats, statSync, writeFileSync } from "node:fs";
import { basename, resolve } from "node:path";
import { readApnsKeyFile, readVapidFile } from "../config/files.ts";
import { makeVapidKeys } from "../config/vapid_keys.ts";
import { readVerbArgs } from "./args.ts";
import { FAILED, OK, USAGE, VerbError } from "./exit.ts";
import type { Io } from "./io.ts";

/**
 * @param args what follows `keys` on the command line
 * @returns the exit code: 0, or 1 if the file holds no key of that kind or cannot be made
 */
export function runKeys(args: string[], io: Io): number {
  const { flags, words } = readVerbArgs(args, { json: { type: "boolean" } }, [1, 2]);
  const [kind, file] = words;
  if (kind !== "apns" && kind !== "vapid") throw new VerbError(USAGE, "expected: apns FILE, or vapid [FILE]");
  if (file === undefined) {
    if (kind === "apns") throw new VerbError(USAGE, "the file is missing: apns FILE");
    // Printed for a secret store; its text is that of push.webpush.vapid_file.
    io.stdout(JSON.stringify(makeVapidKeys(), null, 2) + "\n");
    return OK;
  }
  return (kind === "apns" ? keysApns : keysVapid)(file, flags.json ?? false, io);
}

/** Never replaces a file: phones that subscribed with its key cannot be pushed with another. */
function keysVapid(file: string, isJson: boolean, io: Io): number {
  const path = resolve(file);
  const isNew = !existsSync(path);
  if (isNew) {
    try {
      writeFileSync(path, `${JSON.stringify(makeVapidKeys(), null, 2)}\n`, { mode: 0o600, flag: "wx" });
    } catch (error) {
      throw new VerbError(FAILED, `cannot make ${file}: ${(error as NodeJS.ErrnoException).code ?? "error"}`);
    }
  }
  const read = readVapidFile(file);
  if ("reason" in read) {
    if (isJson) io.stdout(JSON.stringify({ file: path, ok: false, problem: read.reason }) + "\n");
    else io.stderr(`${file} holds no VAPID keys: ${read.reason}\n`);
    return FAILED;
  }
  const access = statSync(file);
  if (isJson) {
    const key = { file: path, ok: true, made: isNew, public_key: read.publicKey, world_readable: isOpen(access) };
    io.stdout(JSON.stringify(key) + "\n");
    return OK;
  }
  warnOfAccess(file, access, io);
  io.stdout(`${file}: VAPID keys, ${isNew ? "made now; keep a copy, as phones subscribe with them" : "there already"}
public key: ${read.publicKey}

Put into latefork.yaml:

  push:
    webpush:
      vapid_file: ${JSON.stringify(path)}
      subject: "mailto:ops@example.org"   # whom a push service may write to

The app subscribes with the public key (applicationServerKey of a browser, vapid of UnifiedPush), and registers with
pn-provider=webpush and the subscription's URI, escaped, as pn-prid. Then:

  latefork check
  latefork reload
  latefork push test AOR
`);
  return OK;
}

function keysApns(file: string, isJson: boolean, io: Io): number {
  const read = readApnsKeyFile(file);
  const path = resolve(file);
  if ("reason" in read) {
    if (isJson) io.stdout(JSON.stringify({ file: path, ok: false, problem: read.reason }) + "\n");
    else io.stderr(`${file} is no APNs key: ${read.reason}\n`);
    return FAILED;
  }
  // The id stands in the name Apple gives the file, and not in the file.
  const keyId = /^AuthKey_([A-Z0-9]{10})\.p8$/.exec(basename(file))?.[1] ?? "";
  const access = statSync(file);
  if (isJson) {
    const key = {
      file: path,
      ok: true,
      algorithm: "ES256",
      curve: "P-256",
      key_id: keyId,
      world_readable: isOpen(access),
    };
    io.stdout(JSON.stringify(key) + "\n");
    return OK;
  }
  warnOfAccess(file, access, io);
  io.stdout(`${file}: a private key on P-256 (ES256), as APNs takes it

Put into latefork.yaml:

  push:
    apns:
      key_file: ${JSON.stringify(path)}
      key_id: ${keyId === "" ? '""' : keyId}   # ${
    keyId === "" ? "10 characters, beside the key's name" : "from the file's name; also"
  } on developer.apple.com → Certificates, Identifiers & Profiles → Keys
      team_id: ""   # 10 characters: developer.apple.com → Account → Membership details

Whether Apple takes key and team, check --live asks; whether they may push to your app, only a push can tell:

  latefork check --live
  latefork reload
  latefork push test AOR
`);
  return OK;
}

/** Warns of a file that everyone can read, and of one that a service with a user of its own cannot. */
function warnOfAccess(file: string, access: Stats, io: Io): void {
  const { mode, uid } = access;
  if (isOpen(access)) io.stderr(`warning: everyone on this machine can read ${file} (chmod o-r ${file})\n`);
  else if (uid === 0 && (mode & 0o040) === 0) {
    io.stderr(`note: only root can read ${file}; if latefork runs as a user of its own: chown latefork ${file}\n`);
  }
}

/** True if everyone on this machine can read it. */
function isOpen({ mode }: Stats): boolean {
  return (mode & 0o004) !== 0;
}
