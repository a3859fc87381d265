/** Owns the appliance under test: latefork as its own process, its config, and what its control port says. */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";
import { stringify } from "yaml";
import { eventually, Program } from "./program.ts";

const root = join(import.meta.dir, "..", "..");

/** The config as in the file: a tree of the YAML's own names. */
export type ConfigTree = Record<string, unknown>;

export interface Info {
  pid: number;
  version: string;
  listeners: { url: string; transport: string; address: string; port: number }[];
}

export interface Device {
  id: string;
  kind: string;
  contact: string;
  expires_in: number;
  flow: { state: string; transport: string; remote: string };
  push: { provider: string; token_state: string } | null;
}

export interface Location {
  aor: string;
  upstream: { state: string; expires_in: number };
  devices: Device[];
}

export interface Call {
  id: string;
  call_id: string;
  aor: string;
  state: string;
  result: string;
  status: number;
  outcome: string;
  branches: { id: string; device: string; state: string; status: number; late: boolean }[];
  wakes: { device: string; state: string; push_ms: number | null; wake_ms: number | null; reason: string }[];
  timeline: { t_ms: number; event: string; note?: string; status?: number }[];
}

export class Appliance {
  readonly program: Program;
  readonly control: string;

  private constructor(folder: string, controlAddress: string, config: ConfigTree) {
    const file = join(folder, "latefork.yaml");
    writeFileSync(file, stringify(config));
    this.control = `http://${controlAddress}`;
    // The compiled binary instead of the source, where one is named.
    const binary = process.env.LATEFORK_BINARY;
    const command = binary === undefined ? [process.execPath, "src/main.ts"] : [binary];
    this.program = new Program("latefork", command[0]!, [...command.slice(1), "serve", "-c", file], { cwd: root });
  }

  /** @param controlAddress `host:port` that the config names too. */
  static async start(folder: string, controlAddress: string, config: ConfigTree): Promise<Appliance> {
    const appliance = new Appliance(folder, controlAddress, config);
    await appliance.program.waitFor(/\bready\b/, 10_000);
    return appliance;
  }

  async get<T>(path: string): Promise<T> {
    const response = await fetch(this.control + path);
    if (!response.ok) throw new Error(`GET ${path}: ${response.status} ${await response.text()}`);
    return await response.json() as T;
  }

  async text(path: string): Promise<string> {
    const response = await fetch(this.control + path);
    return await response.text();
  }

  info(): Promise<Info> {
    return this.get<Info>("/v1/info");
  }

  /** Null if the AoR is not known. */
  async location(aor: string): Promise<Location | null> {
    const response = await fetch(`${this.control}/v1/locations/${encodeURIComponent(aor)}`);
    if (response.status === 404) return null;
    if (!response.ok) throw new Error(`Location of ${aor}: ${response.status} ${await response.text()}`);
    return await response.json() as Location;
  }

  /** Sets the push token of a device that cannot tell its own. */
  async setPush(aor: string, device: string, push: { provider: string; prid: string }): Promise<void> {
    const url = `${this.control}/v1/locations/${encodeURIComponent(aor)}/devices/${device}`;
    const response = await fetch(url, { method: "PUT", body: JSON.stringify({ push }) });
    if (!response.ok) throw new Error(`Push token of ${device}: ${response.status} ${await response.text()}`);
  }

  async calls(query = ""): Promise<Call[]> {
    return (await this.get<{ items: Call[] }>(`/v1/calls?limit=1000${query}`)).items;
  }

  /** Waits until the newest call of the AoR is as asked. */
  callOf(aor: string, words: string, isRight: (call: Call) => boolean, withinMs = 5000): Promise<Call> {
    return eventually(`a call of ${aor} that ${words}`, withinMs, async () => {
      const [call] = await this.calls(`&aor=${encodeURIComponent(aor)}`);
      return call !== undefined && isRight(call) ? call : null;
    });
  }

  /** A metric summed over the labels that fit. */
  async metric(name: string, labels = ""): Promise<number> {
    let sum = 0;
    for (const line of (await this.text("/metrics")).split("\n")) {
      const match = /^(\w+)(?:\{(.*)\})? (\S+)$/.exec(line);
      if (match?.[1] === `latefork_${name}` && (match[2] ?? "").includes(labels)) sum += Number(match[3]);
    }
    return sum;
  }

  /** What a person needs to see of it when a test fails. */
  async report(): Promise<string> {
    const trace = await this.text("/v1/trace?format=text&limit=200").catch((error) => `no trace: ${error.message}`);
    const calls = await this.calls().catch(() => []);
    const ladders = await Promise.all(
      calls.slice(0, 4).map(({ id }) => this.text(`/v1/calls/${id}/ladder`).catch(() => "")),
    );
    return `-- latefork: messages\n${trace.slice(-30_000)}\n-- latefork: calls\n${
      ladders.join("\n")
    }\n-- latefork: output\n${this.program.output.slice(-8000)}`;
  }

  /** As a power cut would. */
  async kill(): Promise<void> {
    this.program.signal("SIGKILL");
    await this.program.exited;
  }

  async end(): Promise<void> {
    // Open calls would hold a graceful end up.
    this.program.signal("SIGKILL");
    await this.program.exited;
  }
}
