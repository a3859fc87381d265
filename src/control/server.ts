/**
 * The sockets of the control port: http on an address, or a unix socket. Must not know routes or the appliance.
 */
import { chmodSync, lstatSync, unlinkSync } from "node:fs";
import { connect } from "node:net";
import { hostPort } from "../core/sip/host.ts";
import type { ControlApp } from "./app.ts";
import { isThisMachine } from "./guard.ts";

/** Where to listen; the config's `ControlEntry` is one. */
export interface ControlListen {
  /** As written. */
  url: string;
  scheme: "http" | "unix";
  /** Without brackets; empty for unix. */
  host: string;
  /** 0: a free one. */
  port: number;
  /** Of the unix socket; empty for http. */
  path: string;
}

export interface ControlServer {
  /** With the real ports: `http://127.0.0.1:8060`, `unix:/run/latefork.sock`. */
  readonly urls: readonly string[];
  /** Closes listeners and connections, streams of followers included. */
  stop(): Promise<void>;
}

export class ControlListenError extends Error {}

/**
 * Opens all listeners, or none.
 * @param hasToken true if a bearer token is configured: without one http is for loopback only.
 * @throws ControlListenError that names the URL and what to do.
 */
export async function listenControl(
  app: ControlApp,
  listens: readonly ControlListen[],
  hasToken: boolean,
): Promise<ControlServer> {
  const servers: Bun.Server<undefined>[] = [];
  const urls: string[] = [];
  const paths: string[] = [];
  const stop = async () => {
    await Promise.all(servers.map((server) => server.stop(true)));
    for (const path of paths) removeSocket(path);
  };
  try {
    for (const listen of listens) {
      if (listen.scheme === "unix") {
        servers.push(await listenUnix(app, listen));
        paths.push(listen.path);
        urls.push(`unix:${listen.path}`);
      } else {
        const server = listenHttp(app, listen, hasToken);
        servers.push(server);
        urls.push(`http://${hostPort(listen.host, server.port!)}`);
      }
    }
  } catch (error) {
    await stop();
    if (error instanceof ControlListenError) throw error;
    throw new ControlListenError((error as Error).message);
  }
  return { urls, stop };
}

function listenHttp(app: ControlApp, { url, host, port }: ControlListen, hasToken: boolean): Bun.Server<undefined> {
  if (!hasToken && !isThisMachine(host)) {
    throw new ControlListenError(`Cannot listen on ${url}: it is not loopback, so control.token_file must be set`);
  }
  try {
    return Bun.serve({
      hostname: host,
      port,
      fetch: (request, server) =>
        app.fetch(request, { address: host, isUnix: false, keepOpen: () => server.timeout(request, 0) }),
    });
  } catch (error) {
    throw new ControlListenError(`Cannot listen on ${url}: ${reasonOf(error)}`);
  }
}

/** Bun says "Failed to start server. Is port 8060 in use?" and knows that it is. */
function reasonOf(error: unknown): string {
  const { code, message } = error as NodeJS.ErrnoException;
  return code === "EADDRINUSE" ? "the address is in use by another program" : message;
}

async function listenUnix(app: ControlApp, { url, path }: ControlListen): Promise<Bun.Server<undefined>> {
  await removeStaleSocket(url, path);
  // The umask makes the mode right from the first moment, before the chmod.
  const mask = process.umask(0o177);
  try {
    const server = Bun.serve({
      unix: path,
      fetch: (request, server) =>
        app.fetch(request, { address: "", isUnix: true, keepOpen: () => server.timeout(request, 0) }),
    });
    chmodSync(path, 0o600);
    return server;
  } catch (error) {
    throw new ControlListenError(`Cannot listen on ${url}: ${(error as Error).message}`);
  } finally {
    process.umask(mask);
  }
}

/** Removes the socket of a killed process. A socket that somebody answers on stays, and so does any other file. */
async function removeStaleSocket(url: string, path: string): Promise<void> {
  const found = lstatSync(path, { throwIfNoEntry: false });
  if (found === undefined) return;
  if (!found.isSocket()) throw new ControlListenError(`Cannot listen on ${url}: there is a file that is no socket`);
  if (await isAnswering(path)) throw new ControlListenError(`Cannot listen on ${url}: another process answers there`);
  unlinkSync(path);
}

function isAnswering(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(path);
    socket.on("connect", () => {
      socket.destroy();
      resolve(true);
    });
    socket.on(
      "error",
      (error: NodeJS.ErrnoException) => resolve(error.code !== "ECONNREFUSED" && error.code !== "ENOENT"),
    );
  });
}

function removeSocket(path: string): void {
  try {
    unlinkSync(path);
  } catch {
    // It is gone already, or we may not remove it any more.
  }
}
