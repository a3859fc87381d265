/** Finds address and token of the running appliance: on the command line, else in the config. Must not connect. */
import { bareHost } from "../core/sip/host.ts";
import type { GlobalOptions } from "./args.ts";
import { CONFIG, USAGE, VerbError } from "./exit.ts";

export interface ControlAddress {
  /** As people write it. */
  url: string;
  isSecure: boolean;
  /** Without brackets; empty for a unix socket. */
  host: string;
  port: number;
  /** Of the unix socket; empty for http. */
  socketPath: string;
  /** Empty: none. */
  token: string;
}

const DEFAULT_URL = "http://127.0.0.1:8060";

/**
 * A token from the config goes to the address of the config only; with `--control` it takes `-c` or `--token-file`.
 * @throws VerbError: usage, or the config cannot be used.
 */
export async function controlAddress(options: GlobalOptions, variable: string | undefined): Promise<ControlAddress> {
  if (options.control !== undefined && options.tokenFile !== undefined) {
    return { ...parseControlUrl(options.control), token: await tokenOf(options.tokenFile) };
  }
  if (options.control !== undefined && options.config === undefined) {
    return { ...parseControlUrl(options.control), token: "" };
  }
  const { findConfig, loadConfigFile } = await import("../config/files.ts");
  const file = findConfig(options.config, variable);
  if (file === null) {
    const token = options.tokenFile === undefined ? "" : await tokenOf(options.tokenFile);
    return { ...parseControlUrl(options.control ?? DEFAULT_URL), token };
  }
  const { config, problems, text } = loadConfigFile(file);
  if (config === null) {
    const { renderProblems } = await import("../config/problem.ts");
    throw new VerbError(
      CONFIG,
      `the config cannot be used, so give --control URL\n${renderProblems(file, text, problems)}`,
    );
  }
  const tokenFile = options.tokenFile ?? config.control.token_file;
  const token = tokenFile === "" ? "" : await tokenOf(tokenFile);
  if (options.control !== undefined) return { ...parseControlUrl(options.control), token };
  const listen = config.control.listen[0];
  if (listen === undefined) throw new VerbError(CONFIG, `${file} has no control.listen`);
  if (listen.scheme === "http" && listen.port === 0) {
    throw new VerbError(
      USAGE,
      `control.listen takes a free port (${listen.url}): give --control URL, the start of serve prints it`,
    );
  }
  if (listen.scheme === "unix") {
    return { url: listen.url, isSecure: false, host: "", port: 0, socketPath: listen.path, token };
  }
  const host = ANY[listen.host] ?? listen.host;
  return { url: listen.url, isSecure: false, host, port: listen.port, socketPath: "", token };
}

/** An appliance that listens on all addresses is reached on loopback. */
const ANY: Readonly<Record<string, string>> = { "0.0.0.0": "127.0.0.1", "::": "::1" };

/** `http://host:port`, `https://host` or `unix:/path`. */
function parseControlUrl(text: string): Omit<ControlAddress, "token"> {
  if (text.startsWith("unix:")) {
    const socketPath = text.slice("unix:".length).replace(/^\/\//, "");
    if (socketPath !== "") return { url: text, isSecure: false, host: "", port: 0, socketPath };
  }
  const url = URL.canParse(text) ? new URL(text) : null;
  const isPlain = url !== null && url.username === "" && url.password === "" && url.pathname === "/" &&
    url.search === "";
  if (!isPlain || (url.protocol !== "http:" && url.protocol !== "https:")) {
    throw new VerbError(USAGE, `cannot use --control "${text}": expected ${DEFAULT_URL} or unix:/run/latefork.sock`);
  }
  const isSecure = url.protocol === "https:";
  const host = bareHost(url.hostname);
  const port = url.port === "" ? (isSecure ? 443 : 80) : Number(url.port);
  return { url: text.replace(/\/$/, ""), isSecure, host, port, socketPath: "" };
}

async function tokenOf(file: string): Promise<string> {
  const { readToken } = await import("../config/files.ts");
  const read = readToken(file);
  if ("reason" in read) throw new VerbError(CONFIG, `cannot read the token file ${file}: ${read.reason}`);
  return read.token;
}
