/** Starts and ends the servers that are measured, each in a folder of its own, on loopback ports that were free. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { CertificateAuthority } from "../../src/demo/certificate.ts";

const root = join(import.meta.dirname, "../..");

/** A server that answers. */
export interface Server {
  readonly pid: number;
  /** UDP port on 127.0.0.1. */
  readonly port: number;
  /** TLS and WSS ports; 0: it has none. */
  readonly tls: number;
  readonly wss: number;
  /** Where a mid-registrar's PBX must listen; 0: it has none. */
  readonly pbx: number;
  /** Base of its control port; empty: it has none. */
  readonly control: string;
  /** Where the load's phones are. */
  readonly phones: readonly [number, number];
  /** From starting the process to the first answered request. */
  readonly startMs: number;
  /** Ends it and removes its folder; `keep`: the folder stays. */
  stop(keep?: boolean): Promise<void>;
  readonly folder: string;
}

export interface LateforkOptions {
  /** The compiled binary; "": from source. */
  readonly binary: string;
  /** `memory`, or a database file on the disk of the temporary folder. */
  readonly store: "memory" | "durable";
  readonly isMidRegistrar?: boolean;
  /** Value of `push:`, and the files it names; calls then wait a second for their phones. */
  readonly push?: { section: Record<string, unknown>; files: Record<string, string> };
  /** It listens on TLS and WSS, too, for so many connections and handshakes at a time. */
  readonly connections?: number;
  /** A folder that {@link Server.stop} kept. */
  readonly folder?: string;
}

/** @throws Error with what the server said if it does not answer */
export async function startLatefork(options: LateforkOptions): Promise<Server> {
  const folder = options.folder ?? mkdtempSync(join(tmpdir(), "latefork-bench-"));
  const port = await freePort();
  const control = freeTcpPort();
  const pbx = options.isMidRegistrar ? await freePort() : 0;
  const config = join(folder, "latefork.yaml");
  const { connections } = options;
  const [tls, wss] = connections === undefined ? [0, 0] : [await freePort(), await freePort()];
  const { push } = options;
  for (const [name, text] of Object.entries(push?.files ?? {})) {
    writeFileSync(join(folder, name), text, { mode: 0o600 });
  }
  writeFileSync(
    config,
    (connections === undefined
      ? `listen: ["udp://127.0.0.1:${port}"]\n`
      : edgeConfig(folder, port, tls, wss, connections)) +
      (pbx === 0
        ? `security: { trust: [127.0.0.0/8] }\n`
        : `pbx: { uri: "sip:127.0.0.1:${pbx};transport=udp", qualify: 0 }\n`) +
      `store: { path: "${options.store === "memory" ? ":memory:" : join(folder, "latefork.db")}" }\n` +
      `control: { listen: ["http://127.0.0.1:${control}"] }\n` +
      (push === undefined ? "" : `push: ${yamlOf(push.section)}\nwake: { window: 1s }\n`) +
      `log: { level: warn }\n`,
  );
  const command = options.binary === ""
    ? [process.execPath, join(root, "src/main.ts"), "serve", "-c", config]
    : [options.binary, "serve", "-c", config];
  return { ...await start(command, folder, port, pbx, `http://127.0.0.1:${control}`), tls, wss };
}

function edgeConfig(folder: string, port: number, tls: number, wss: number, connections: number): string {
  const { cert, key } = new CertificateAuthority().issue({ addresses: ["127.0.0.1"] });
  writeFileSync(join(folder, "sip.pem"), cert);
  writeFileSync(join(folder, "sip.key"), key, { mode: 0o600 });
  const limits = `connections: ${connections}, connections_per_source: ${connections}, handshakes: ${connections}`;
  return `listen: ["udp://127.0.0.1:${port}", "tls://127.0.0.1:${tls}", "wss://127.0.0.1:${wss}/sip"]\n` +
    `tls: { cert_file: sip.pem, key_file: sip.key }\nlimits: { ${limits}, requests_per_source: 100000/s }\n`;
}

/** JSON is YAML, too. A timeout is a number of milliseconds in the relay's config, and has a unit in a file. */
function yamlOf(section: Record<string, unknown>): string {
  return JSON.stringify(section, (key, value) => key === "timeout" ? `${value}ms` : value);
}

/** Why Kamailio cannot be measured here; null: it can. */
export function whyNoKamailio(): string | null {
  const path = Bun.which("kamailio", { PATH: `${process.env.PATH}:/usr/sbin:/usr/local/sbin` });
  return path === null ? "kamailio is not installed (Debian: kamailio kamailio-extra-modules)" : null;
}

/** @throws Error with what the server said if it does not answer */
export async function startKamailio(): Promise<Server> {
  const path = Bun.which("kamailio", { PATH: `${process.env.PATH}:/usr/sbin:/usr/local/sbin` })!;
  const folder = mkdtempSync(join(tmpdir(), "kamailio-bench-"));
  const port = await freePort();
  const config = join(import.meta.dirname, "kamailio.cfg");
  const command = [path, "-f", config, "-l", `udp:127.0.0.1:${port}`, "-m", "512", "-M", "16", "-DD", "-E"];
  return await start(
    [...command, "-w", folder, "-Y", folder, "-P", join(folder, "pid"), "-b", "4194304"],
    folder,
    port,
    0,
  );
}

async function start(command: string[], folder: string, port: number, pbx: number, control = ""): Promise<Server> {
  const phones = [await freePort(), await freePort()] as const;
  const startedMs = performance.now();
  const output = Bun.file(join(folder, "output"));
  const child = Bun.spawn(command, { cwd: folder, stdin: "ignore", stdout: "ignore", stderr: output });
  const isAnswering = await answers(port, pbx === 0 ? "REGISTER" : "OPTIONS", () => child.exitCode !== null);
  const startMs = performance.now() - startedMs;
  if (!isAnswering) {
    child.kill("SIGKILL");
    await child.exited;
    throw new Error(`Cannot start "${command.join(" ")}":\n${(await output.text()).slice(-2000)}`);
  }
  return {
    pid: child.pid,
    port,
    tls: 0,
    wss: 0,
    pbx,
    control,
    phones,
    startMs,
    folder,
    async stop(keep = false) {
      child.kill("SIGTERM");
      const timer = setTimeout(() => child.kill("SIGKILL"), 5000);
      await child.exited;
      clearTimeout(timer);
      if (!keep) rmSync(folder, { recursive: true, force: true });
    },
  };
}

/**
 * Asks every few ms until something comes back; false: not within 15 s, or the process ended. A mid-registrar is asked
 * with OPTIONS, as its PBX is not there yet to answer a REGISTER.
 */
async function answers(port: number, method: string, hasEnded: () => boolean): Promise<boolean> {
  let isAnswered = false;
  const socket = await Bun.udpSocket({
    hostname: "127.0.0.1",
    socket: { data: () => void (isAnswered = true), error: () => {} },
  });
  for (let n = 0; n < 5000 && !isAnswered && !hasEnded(); n++) {
    const probe =
      `REGISTER sip:127.0.0.1 SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.1:${socket.port};branch=z9hG4bKprobe${n}` +
      `;rport\r\nMax-Forwards: 70\r\nFrom: <sip:probe@127.0.0.1>;tag=p\r\nTo: <sip:probe@127.0.0.1>\r\n` +
      `Call-ID: probe@bench\r\nCSeq: ${n + 1} ${method}\r\nContact: <sip:probe@127.0.0.1:${socket.port}>\r\n` +
      `Expires: 60\r\nContent-Length: 0\r\n\r\n`;
    try {
      socket.send(probe, port, "127.0.0.1");
    } catch {
      // Nobody listens yet, says the kernel.
    }
    await Bun.sleep(3);
  }
  socket.close();
  return isAnswered;
}

function freeTcpPort(): number {
  const listener = Bun.listen({ hostname: "127.0.0.1", port: 0, socket: { data() {} } });
  const { port } = listener;
  listener.stop(true);
  return port;
}

async function freePort(): Promise<number> {
  const socket = await Bun.udpSocket({ hostname: "127.0.0.1", port: 0 });
  const { port } = socket;
  socket.close();
  return port;
}
