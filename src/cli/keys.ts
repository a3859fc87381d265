/**
 * `latefork keys apns FILE`: says what a key file holds and what to put where. Works on the file alone, no appliance
 * needed. Must not print a part of the key.
 */
import { statSync } from "node:fs";
import { basename, resolve } from "node:path";
import { readApnsKey } from "../config/files.ts";
import { readVerbArgs } from "./args.ts";
import { FAILED, OK, USAGE, VerbError } from "./exit.ts";
import type { Io } from "./io.ts";

/**
 * @param args what follows `keys` on the command line
 * @returns the exit code: 0, or 1 if the file holds no key of that kind
 */
export function runKeys(args: string[], io: Io): number {
  const { flags, words } = readVerbArgs(args, { json: { type: "boolean" } }, [1, 2]);
  const [kind, file] = words;
  if (kind === "vapid") throw new VerbError(FAILED, "vapid is not in this version");
  if (kind !== "apns") throw new VerbError(USAGE, "expected: apns FILE");
  if (file === undefined) throw new VerbError(USAGE, "the file is missing: apns FILE");
  return keysApns(file, flags.json ?? false, io);
}

function keysApns(file: string, isJson: boolean, io: Io): number {
  const read = readApnsKey(file);
  const path = resolve(file);
  if ("reason" in read) {
    if (isJson) io.stdout(JSON.stringify({ file: path, ok: false, problem: read.reason }) + "\n");
    else io.stderr(`${file} is no APNs key: ${read.reason}\n`);
    return FAILED;
  }
  // Apple names the file so, and says the id nowhere in it.
  const keyId = /^AuthKey_([A-Z0-9]{10})\.p8$/.exec(basename(file))?.[1] ?? "";
  const isOpen = (statSync(file).mode & 0o004) !== 0;
  if (isJson) {
    const key = { file: path, ok: true, algorithm: "ES256", curve: "P-256", key_id: keyId, world_readable: isOpen };
    io.stdout(JSON.stringify(key) + "\n");
    return OK;
  }
  if (isOpen) io.stderr(`warning: everyone on this machine can read ${file} (chmod o-r ${file})\n`);
  io.stdout(`${file}: a private key on P-256 (ES256), as APNs takes it

Put into latefork.yaml:

  push:
    apns:
      key_file: ${JSON.stringify(path)}
      key_id: ${keyId === "" ? '""' : keyId}   # ${
    keyId === "" ? "10 characters, beside the key's name" : "from the file's name; also"
  } on developer.apple.com → Certificates, Identifiers & Profiles → Keys
      team_id: ""   # 10 characters: developer.apple.com → Account → Membership details

Whether Apple knows the key, only a push can tell:

  latefork check
  latefork reload
  latefork push test AOR
`);
  return OK;
}
