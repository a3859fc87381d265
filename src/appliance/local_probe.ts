/**
 * What `latefork check` tries on this machine (O-02): opens the ports and closes them again, looks into the database, the
 * keys and the secret files. Changes nothing. What a running appliance holds is no fault.
 */
import { existsSync } from "node:fs";
import { Hono } from "hono";
import { covers, dateProblem, daysLeft } from "../config/certificate.ts";
import { readServiceAccountFile, readTlsFiles, readVapidFile, type TlsFiles } from "../config/files.ts";
import type { RunningAppliance } from "../config/finding.ts";
import type { Place, Problem } from "../config/problem.ts";
import type { Config, ListenEntry } from "../config/schema.ts";
import { listenControl } from "../control/server.ts";
import { hostPort, splitHostPort } from "../core/sip/host.ts";
import { inspectStore } from "../io/store/inspect.ts";
import { isWildcard } from "../io/transport/address.ts";
import { Transports } from "../io/transport/transports.ts";
import { readSecretFiles } from "./files.ts";
import { relayForAsking } from "./live_probe.ts";

/** What was found: problems, and a sentence for each part that has none. */
export interface Probed {
  readonly problems: Problem[];
  /** By part, in the order to show: `listen`, `control`, `store`, `users_file`, ... */
  readonly parts: { part: string; words: string; isIdle?: boolean }[];
}

/**
 * Tries every part. A failure becomes a problem at the key it comes from.
 * @param running the appliance at the control port of this config, if one answers
 * @param known what the check of files has found already: it is not told again
 */
export async function probeLocal(
  config: Config,
  placeOf: (path: string) => Place,
  running: RunningAppliance | null,
  known: readonly Problem[],
): Promise<Probed> {
  const problems: Problem[] = [];
  const parts: Probed["parts"] = [];
  const tell = (path: string, message: string, hint = "") => {
    problems.push({ ...placeOf(path), severity: "error", path, message, hint });
  };
  const certificates = readTlsFiles(config);
  parts.push({ part: "listen", words: await probeListeners(config, certificates, running, known, tell) });
  parts.push({ part: "control", words: await probeControl(config, running, tell) });
  parts.push({ part: "store", words: probeStore(config, running, tell) });
  parts.push(...probeCertificates(config, certificates, placeOf, problems));
  parts.push(...probeSecrets(config, known, tell));
  parts.push(...probeKeys(config, known, tell));
  return { problems, parts };
}

type Tell = (path: string, message: string, hint?: string) => void;

/** @returns what is held and what could be opened, in words */
async function probeListeners(
  config: Config,
  certificates: TlsFiles,
  running: RunningAppliance | null,
  known: readonly Problem[],
  tell: Tell,
): Promise<string> {
  const held = config.listen.filter((entry) => isHeld(entry, running));
  const free = config.listen.filter((entry) => !held.includes(entry));
  // Without its certificate a listener cannot be opened, and that was told of.
  const isBare = certificates.pairs.length === 0 && isBroken("tls", known);
  const transports = new Transports({
    listen: isBare ? free.filter(({ scheme }) => scheme !== "tls" && scheme !== "wss") : free,
    tls: { pairs: certificates.pairs, clientCa: certificates.clientCa },
    advertise: config.advertise,
    sink: { message() {}, closed() {}, malformed() {} },
    now: () => Date.now(),
    onInput() {},
    log() {},
  });
  try {
    await transports.start();
    transports.stop();
  } catch (error) {
    tell("listen", wordsOf(error), "`ss -lntup` shows who has which port");
  }
  return heldAndFree(held, free, running);
}

/** A running appliance with a wildcard names each of its addresses. Port 0 is a new port each time, so it is never held. */
function isHeld({ scheme, host, port }: ListenEntry, running: RunningAppliance | null): boolean {
  if (running === null || port === 0) return false;
  return running.listeners.some((own) =>
    own.transport === scheme && own.port === port &&
    (own.address === host || (isWildcard(host) && own.address.includes(":") === host.includes(":")))
  );
}

async function probeControl(config: Config, running: RunningAppliance | null, tell: Tell): Promise<string> {
  const held = config.control.listen.filter((entry) => running?.control.includes(controlUrlOf(entry)) ?? false);
  const free = config.control.listen.filter((entry) => !held.includes(entry));
  try {
    const server = await listenControl(new Hono(), free, config.control.token_file !== "");
    await server.stop();
  } catch (error) {
    tell("control.listen", wordsOf(error), "`ss -lntup` shows who has which port");
  }
  return heldAndFree(held, free, running);
}

/** The URL as a running control port gives it, whatever its spelling in the config. */
function controlUrlOf({ scheme, host, port, path }: Config["control"]["listen"][0]): string {
  return scheme === "unix" ? `unix:${path}` : `http://${hostPort(host, port)}`;
}

function heldAndFree(
  held: readonly { url: string }[],
  free: readonly { url: string }[],
  running: RunningAppliance | null,
): string {
  const list = (entries: readonly { url: string }[]) => entries.map(({ url }) => url).join(", ");
  const parts = [];
  if (free.length > 0) parts.push(`${list(free)} can be opened`);
  if (held.length > 0) parts.push(`${list(held)}: open in the running ${nameOf(running!)}`);
  return parts.length === 0 ? "nothing to open" : parts.join("; ");
}

/** A check makes no database, and migrates none. */
function probeStore(config: Config, running: RunningAppliance | null, tell: Tell): string {
  const { path } = config.store;
  if (path === ":memory:") return "in memory: nothing outlives a restart";
  if (!existsSync(path) && !existsSync(`${path}-wal`)) return `${path} is made at the first start`;
  const found = inspectStore(path);
  if (found.problem === "") return `${path} holds ${count(found.aors, "AoR")}, ${count(found.contacts, "device")}`;
  if (found.isBusy && running?.store.path === path) return `${path}: open in the running ${nameOf(running)}`;
  tell("store.path", found.problem);
  return "";
}

/** How long the certificates are good for: an error where phones refuse one, a warning where they soon will. */
function probeCertificates(
  config: Config,
  { pairs }: TlsFiles,
  placeOf: (path: string) => Place,
  problems: Problem[],
): Probed["parts"] {
  const nowMs = Date.now();
  const { tls } = config;
  problems.push(...missingNames(config, pairs, placeOf));
  for (const pair of pairs) {
    const message = dateProblem(pair, nowMs);
    if (message === "") continue;
    const index = tls.cert_file.indexOf(pair.certFile);
    const path = tls.cert_file.length === 1 ? "tls.cert_file" : `tls.cert_file[${index}]`;
    const severity = nowMs >= pair.validToMs || nowMs < pair.validFromMs ? "error" : "warning";
    const hint = "put a new one in its place, then latefork reload";
    problems.push({ ...placeOf(path), severity, path, message: `${pair.certFile} ${message}`, hint });
  }
  return pairs.map((pair) => {
    const days = daysLeft(pair, nowMs);
    const words = `${pair.certFile} is for ${pair.names.join(", ") || "no name"}, ${count(days, "day")} left`;
    return { part: "tls", words };
  });
}

/** A phone refuses a certificate that is not for the name it connects to. */
function missingNames(
  { listen, advertise }: Config,
  pairs: TlsFiles["pairs"],
  placeOf: (path: string) => Place,
): Problem[] {
  const found = new Map<string, Problem>();
  listen.forEach((entry, index) => {
    const isSecure = entry.scheme === "tls" || entry.scheme === "wss";
    const [host] = splitHostPort(entry.advertise || advertise);
    if (!isSecure || host === "" || pairs.length === 0 || pairs.some(({ names }) => covers(names, host))) return;
    const path = entry.advertise === "" ? "advertise" : `listen[${index}]`;
    const message = `phones that connect to ${host} refuse the certificate: none is for that name`;
    const hint = "get one that names it, or advertise a name that stands in one";
    if (!found.has(host)) found.set(host, { ...placeOf(path), severity: "warning", path, message, hint });
  });
  return [...found.values()];
}

/** The files of users and credentials. */
function probeSecrets(config: Config, known: readonly Problem[], tell: Tell): Probed["parts"] {
  const parts: Probed["parts"] = [];
  const read = (path: string, part: Config) => {
    const files = readSecretFiles(part);
    // One that cannot be read was told of by the check of files.
    if (!isBroken(path, known)) { for (const problem of files.problems) tell(path, problem); }
    return files;
  };
  if (config.users_file !== "") {
    const { users } = read("users_file", { ...config, pbx: null });
    parts.push({ part: "users_file", words: `${config.users_file}: ${count(users?.size ?? 0, "user")}` });
  }
  const { pbx } = config;
  if (pbx === null) parts.push({ part: "pbx", words: "none: latefork is the registrar", isIdle: true });
  else parts.push({ part: "pbx", words: `${pbx.uri.map(({ uri }) => uri).join(", ")}: not asked (--live does)` });
  if (pbx !== null && pbx.credentials_file !== "") {
    const { credentials } = read("pbx.credentials_file", { ...config, users_file: "" });
    parts.push({ part: "pbx.credentials_file", words: `${pbx.credentials_file}: ${count(credentials.size, "user")}` });
  }
  return parts;
}

/** Keys as the backends read them. */
function probeKeys({ push }: Config, known: readonly Problem[], tell: Tell): Probed["parts"] {
  const parts: Probed["parts"] = [];
  const relay = relayForAsking(push);
  for (const { backend, state, last_error: problem } of relay.backends()) {
    const part = `push.${backend}`;
    if (state === "broken" && !isBroken(part, known)) tell(part, problem);
    parts.push({ part, words: keyWords(push, backend) });
  }
  relay.stop();
  if (parts.length === 0) {
    parts.push({ part: "push", words: "no service is configured: sleeping phones are not woken", isIdle: true });
  }
  return parts;
}

/** An error of the check of files is about this key, or one below it. */
function isBroken(path: string, known: readonly Problem[]): boolean {
  return known.some((problem) =>
    problem.severity === "error" && (problem.path === path || problem.path.startsWith(`${path}.`))
  );
}

function keyWords(push: Config["push"], backend: string): string {
  switch (backend) {
    case "apns":
      return `${push.apns.key_file} is a P-256 key; key_id ${push.apns.key_id}, team_id ${push.apns.team_id}`;
    case "fcm":
      return accountWords(push.fcm.service_account_file);
    case "webpush": {
      const keys = readVapidFile(push.webpush.vapid_file);
      return "reason" in keys ? "" : `public key ${keys.publicKey}, subject ${push.webpush.subject}`;
    }
    default: {
      if (backend.startsWith("http.")) return senderWords(push.http[backend.slice("http.".length)]);
      const hook = push.webhook[backend.slice("webhook.".length)];
      if (hook === undefined) return "";
      return `${new URL(hook.url).origin}, ${hook.token_file === "" ? "without a token" : "with a token"}`;
    }
  }
}

function senderWords(sender: Config["push"]["http"][string] | undefined): string {
  if (sender === undefined) return "";
  const { preset, origin, token_file } = sender;
  return `${origin}, ${preset === "" ? "" : `preset ${preset}, `}${
    token_file === "" ? "without a token" : "with a token"
  }`;
}

function accountWords(file: string): string {
  const account = readServiceAccountFile(file);
  // What is wrong with it is a problem, told by the check of files.
  return "reason" in account ? "" : `${file}: project ${account.projectId}, account ${account.email}`;
}

function nameOf({ version, pid }: RunningAppliance): string {
  return `latefork ${version} (pid ${pid})`;
}

function count(number: number, what: string): string {
  return `${number} ${what}${number === 1 ? "" : "s"}`;
}

function wordsOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
