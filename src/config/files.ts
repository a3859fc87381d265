/**
 * The files of a config: the config itself, and those it names. Opens them and looks at size and mode. What stands in a
 * key file or a certificate is read by a file of its own; users files are not looked into.
 */
import { accessSync, closeSync, constants, fstatSync, openSync, readFileSync, type Stats, statSync } from "node:fs";
import type { KeyObject } from "node:crypto";
import { dirname, resolve } from "node:path";
import { MAX_KEY_FILE, readApnsKey } from "./apns_key.ts";
import { type CertificatePair, MAX_CERTIFICATE_FILE, readCertificate, readPair } from "./certificate.ts";
import { readServiceAccount, type ServiceAccount } from "./service_account.ts";
import { readVapidKeys, type VapidKeyPair } from "./vapid_keys.ts";
import { MAX_CONFIG_SIZE } from "./document.ts";
import { loadConfig, type Loaded } from "./load.ts";
import type { Place, Problem } from "./problem.ts";
import type { Config } from "./schema.ts";
import { join, keyValues } from "./tree.ts";

/** Where a config is looked for, first to last, if neither `-c` nor the environment names one. */
export const CONFIG_PLACES: readonly string[] = ["./latefork.yaml", "/etc/latefork.yaml"];

/** The file to use: `-c FILE`, else `$LATEFORK_CONFIG`, else the first place that exists; null = none, all defaults. */
export function findConfig(flag: string | undefined, variable: string | undefined): string | null {
  if (flag !== undefined && flag !== "") return flag;
  if (variable !== undefined && variable !== "") return variable;
  return CONFIG_PLACES.find((place) => statOf(place)?.isFile() === true) ?? null;
}

export interface LoadedFile extends Loaded {
  /** As given. */
  file: string;
  text: string;
}

/** Reads and checks a config file. A file that cannot be read is a problem like any other. Does not look at files it names. */
export function loadConfigFile(file: string): LoadedFile {
  const read = readBounded(file, MAX_CONFIG_SIZE);
  if ("reason" in read) {
    const hint = read.reason === REASONS["ENOENT"] ? "latefork init -c FILE writes one to begin with" : "";
    const problems = [problem({ line: 1, column: 1, length: 0 }, "error", "", `cannot be read: ${read.reason}`, hint)];
    return { file, text: "", config: null, problems, placeOf: () => problems[0]! };
  }
  return { file, text: read.text, ...loadConfig(read.text, { folder: dirname(resolve(file)) }) };
}

/** Files that are missing or unreadable (errors), and secrets that everyone can read (warnings). */
export function checkFiles(config: Config, placeOf: (path: string) => Place): Problem[] {
  const problems: Problem[] = [];
  for (const { path, key, value } of keyValues(config)) {
    const { file: use } = key.kind;
    for (const [name, file] of key.kind.files?.(value) ?? []) {
      const below = join(path, name);
      checkReadable(file, below, true, (severity, message, hint) => {
        problems.push(problem(placeOf(below), severity, below, message, hint));
      });
    }
    if (use === undefined) continue;
    const named = Array.isArray(value) ? value as string[] : [value as string];
    named.forEach((file, index) => {
      if (file === "") return;
      const place = itemPath(path, index, named);
      const report = (severity: Problem["severity"], message: string, hint: string) => {
        problems.push(problem(placeOf(place), severity, place, message, hint));
      };
      if (use === "database") checkDatabase(file, report);
      else checkReadable(file, path, use === "secret", report);
    });
  }
  const { problems: ofTls } = readTlsFiles(config);
  for (const { path, message } of ofTls) {
    // One that cannot be read was told of.
    if (problems.some((known) => known.path === path && known.severity === "error")) continue;
    problems.push(problem(placeOf(path), "error", path, message, ""));
  }
  return problems;
}

/** Where an item stands; a list of one may be written as its one value. */
function itemPath(path: string, index: number, list: readonly unknown[]): string {
  return list.length === 1 ? path : `${path}[${index}]`;
}

/** Certificates and CAs of the config's files. */
export interface TlsFiles {
  readonly pairs: readonly CertificatePair[];
  /** PEM, or empty. */
  readonly clientCa: string;
  readonly pbxCa: string;
  /** With each file that cannot be used it is as if it were not named. */
  readonly problems: readonly { path: string; message: string }[];
}

/** Reads what TLS needs; never throws. */
export function readTlsFiles({ tls, pbx }: Config): TlsFiles {
  const problems: { path: string; message: string }[] = [];
  const read = (path: string, file: string): string | null => {
    const text = readBounded(file, MAX_CERTIFICATE_FILE);
    if (!("reason" in text)) return text.text;
    problems.push({ path, message: `cannot read ${file}: ${text.reason}` });
    return null;
  };
  const pairs: CertificatePair[] = [];
  tls.cert_file.forEach((certFile, index) => {
    const keyFile = tls.key_file[index];
    if (keyFile === undefined) return;
    const place = (key: "cert_file" | "key_file") => itemPath(`tls.${key}`, index, tls[key]);
    const [cert, key] = [read(place("cert_file"), certFile), read(place("key_file"), keyFile)];
    if (cert === null || key === null) return;
    const pair = readPair(certFile, cert, key);
    if (!("reason" in pair)) return void pairs.push(pair);
    const wrong = pair.which === "cert_file" ? certFile : keyFile;
    problems.push({ path: place(pair.which), message: `cannot use ${wrong}: ${pair.reason}` });
  });
  const ca = (path: string, file: string): string => {
    if (file === "") return "";
    const text = read(path, file);
    if (text === null) return "";
    const certificate = readCertificate(text);
    if (!("reason" in certificate)) return text;
    problems.push({ path, message: `cannot use ${file}: ${certificate.reason}` });
    return "";
  };
  return {
    pairs,
    clientCa: ca("tls.client_ca_file", tls.client_ca_file),
    pbxCa: ca("pbx.ca_file", pbx?.ca_file ?? ""),
    problems,
  };
}

/** The one line of a token file, without the white space around it. The reason never holds the token. */
export function readToken(file: string): { token: string } | { reason: string } {
  const read = readBounded(file, 4096);
  if ("reason" in read) return read;
  const token = read.text.trim();
  if (token === "") return { reason: "it is empty" };
  // RFC 9110 §11.2: a token has no space. A second line would make every request fail.
  if (!/^[\x21-\x7e]+$/.test(token)) return { reason: "it must hold one line without spaces" };
  return { token };
}

/** The key of a `.p8` file, or what is wrong with it. The reason never holds a part of the key. */
export function readApnsKeyFile(file: string): { key: KeyObject } | { reason: string } {
  const read = readBounded(file, MAX_KEY_FILE);
  return "reason" in read ? read : readApnsKey(read.text);
}

/** The keys of a VAPID file, or what is wrong with it. The reason never holds a part of the private key. */
export function readVapidFile(file: string): VapidKeyPair | { reason: string } {
  const read = readBounded(file, MAX_KEY_FILE);
  return "reason" in read ? read : readVapidKeys(read.text);
}

/** The account of a service account file, or what is wrong with it. The reason never holds a part of the key. */
export function readServiceAccountFile(file: string): ServiceAccount | { reason: string } {
  const read = readBounded(file, MAX_KEY_FILE);
  return "reason" in read ? read : readServiceAccount(read.text);
}

type ReportFile = (severity: Problem["severity"], message: string, hint: string) => void;

function checkReadable(file: string, path: string, isSecret: boolean, report: ReportFile): void {
  const stat = statOf(file);
  const reason = stat === null ? REASONS["ENOENT"]! : unreadable(file, stat);
  if (reason !== "") return report("error", `cannot read ${file}: ${reason}`, stat === null ? MAKE_IT : "");
  if (path.endsWith("token_file")) {
    const read = readToken(file);
    if ("reason" in read) report("error", `cannot use ${file}: ${read.reason}`, "");
  }
  const keyProblem = keyProblemOf(path, file);
  if (keyProblem !== "") report("error", `cannot use ${file}: ${keyProblem}`, "");
  if (isSecret && (stat!.mode & 0o004) !== 0) {
    report("warning", `everyone on this machine can read ${file}`, `chmod o-r ${file}`);
  }
}

/** How the files with the key of a push service are read. */
const KEY_FILES: Readonly<Record<string, (file: string) => object | { reason: string }>> = {
  "push.apns.key_file": readApnsKeyFile,
  "push.fcm.service_account_file": readServiceAccountFile,
  "push.webpush.vapid_file": readVapidFile,
};

/** What is wrong with the key of a push service; empty if nothing, or if it is no such key. */
function keyProblemOf(path: string, file: string): string {
  const read = KEY_FILES[path]?.(file) ?? {};
  return "reason" in read ? String(read.reason) : "";
}

/** We make the database and its folders: what is checked is the right to write. */
function checkDatabase(file: string, report: ReportFile): void {
  if (file === ":memory:") return;
  const stat = statOf(file);
  if (stat !== null && !stat.isFile()) return report("error", `${file} is not a file`, "");
  if (stat !== null && !isAllowed(file, constants.R_OK | constants.W_OK)) {
    return report("error", `cannot write ${file}`, "");
  }
  let folder = dirname(resolve(file));
  while (statOf(folder) === null && dirname(folder) !== folder) folder = dirname(folder);
  if (statOf(folder)?.isDirectory() !== true) return report("error", `${folder} is not a folder`, "");
  // SQLite puts its journal beside the database.
  if (!isAllowed(folder, constants.W_OK | constants.X_OK)) {
    report("error", `cannot write into ${folder}`, "change its owner, or set store.path");
  }
}

function unreadable(file: string, stat: Stats): string {
  if (stat.isDirectory()) return "it is a folder";
  return isAllowed(file, constants.R_OK) ? "" : "permission denied";
}

function isAllowed(file: string, mode: number): boolean {
  try {
    accessSync(file, mode);
    return true;
  } catch {
    return false;
  }
}

function statOf(file: string): Stats | null {
  try {
    return statSync(file);
  } catch {
    return null;
  }
}

/** Checks the opened file, not its name: the file may be swapped between check and read. */
function readBounded(file: string, limit: number): { text: string } | { reason: string } {
  let handle: number | null = null;
  try {
    // A FIFO would block the start.
    handle = openSync(file, constants.O_RDONLY | constants.O_NONBLOCK);
    const stat = fstatSync(handle);
    if (stat.isDirectory()) return { reason: "it is a folder" };
    // A device may never end.
    if (!stat.isFile()) return { reason: "it is not a regular file" };
    if (stat.size > limit) return { reason: `it is larger than ${limit} bytes` };
    const bytes = readFileSync(handle);
    return bytes.length > limit ? { reason: `it is larger than ${limit} bytes` } : { text: bytes.toString("utf8") };
  } catch (error) {
    const code = error instanceof Error && "code" in error ? String(error.code) : "";
    return { reason: REASONS[code] ?? (code === "" ? "it cannot be opened" : code) };
  } finally {
    if (handle !== null) closeSync(handle);
  }
}

const MAKE_IT = "make it, or remove the key";

const REASONS: Readonly<Record<string, string>> = {
  ENOENT: "there is no such file",
  EACCES: "permission denied",
  EISDIR: "it is a folder",
  ENOTDIR: "there is no such folder",
};

function problem(place: Place, severity: Problem["severity"], path: string, message: string, hint: string): Problem {
  return { severity, line: place.line, column: place.column, length: place.length, path, message, hint };
}
