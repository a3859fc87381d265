/**
 * Owns one test's little world: addresses nobody else uses, a folder, the programs it starts; all of it is gone when
 * the test is over, and told when it failed.
 */
import { test } from "bun:test";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import process from "node:process";
import { CertificateAuthority } from "../../src/demo/certificate.ts";
import { Appliance, type ConfigTree } from "./appliance.ts";
import { Baresip, type BaresipOptions } from "./baresip.ts";
import { Kamailio, type KamailioOptions } from "./kamailio.ts";
import { Pbx } from "./pbx.ts";
import { type Peer, type PeerOptions } from "./peer.ts";
import { Phone, type PhoneOptions } from "./phone.ts";
import { isInstalled, Program, within } from "./program.ts";
import { type PushAnswer, PushReceiver, ResettingServer } from "./push_receiver.ts";
import { Sipp, type SippOptions } from "./sipp.ts";
import { WebPhone, type WebPhoneOptions } from "./web_phone.ts";

/** Last byte of the address of each party, so that everybody can own the same port. */
export const HOST = {
  us: 10,
  pbx: 20,
  phoneA: 31,
  phoneB: 32,
  phoneC: 33,
  push: 40,
  caller: 50,
  stranger: 66,
} as const;
export type Party = keyof typeof HOST;

/** SIPp as one of the parties. */
type SippParty = Omit<SippOptions, "address" | "port"> & { from: Party; to?: Party; address?: string; port?: number };

/** What tells one registration from another; the rest is the same for all. */
type Registration = Partial<Omit<SippParty, "from">> & {
  /** Further parameters of the Contact's URI. */
  push?: string;
  instance: string;
  /** Seconds. */
  expires?: string;
};

export class Rig {
  readonly folder = mkdtempSync(join(tmpdir(), "latefork-peers-"));
  /** 127/8 is all loopback: two random bytes keep runs beside each other apart. */
  private readonly net = `127.${10 + Math.floor(Math.random() * 240)}.${Math.floor(Math.random() * 250)}`;
  /** The SIP port of everybody: not 5060, which another program may hold on every address. sipsak reads four digits. */
  readonly port = 6100 + Math.floor(Math.random() * 1900) * 2;
  /** TLS ports of latefork and of the PBX, and its WebSocket ports. */
  readonly tlsPort = this.port + 2;
  private readonly webPorts = { ws: this.port + 3, wss: this.port + 4 } as const;
  private readonly authority = new CertificateAuthority("Peers CA");
  /** PEM of the CA that every certificate here is of. */
  readonly caFile = join(this.folder, "ca.pem");
  private readonly ends: (() => void | Promise<void>)[] = [];
  private readonly reports: (() => string | Promise<string>)[] = [];
  private count = 0;

  address(party: Party): string {
    return `${this.net}.${HOST[party]}`;
  }

  /** `host:port` of a party. */
  at(party: Party): string {
    return `${this.address(party)}:${this.port}`;
  }

  /** A config for this rig; `parts` replace whole sections. */
  config(parts: ConfigTree = {}): ConfigTree {
    return {
      domain: "example.com",
      listen: [`udp://${this.at("us")}`, `tcp://${this.at("us")}`],
      pbx: { uri: `sip:${this.at("pbx")};transport=udp`, qualify: "0" },
      registration: { min_expires: "10s" },
      wake: { window: "8s", ring_timeout: "30s" },
      store: { path: join(this.folder, "latefork.db") },
      limits: { requests_per_source: "5000/s" },
      control: { listen: [`http://${this.address("us")}:${this.port + 1}`] },
      log: { level: "debug" },
      ...parts,
    };
  }

  /** The same with TLS and WebSocket. */
  edgeConfig(parts: ConfigTree = {}): ConfigTree {
    const us = this.address("us");
    const { certFile, keyFile } = this.certify("us");
    return this.config({
      listen: [
        `udp://${this.at("us")}`,
        `tls://${us}:${this.tlsPort}`,
        `ws://${us}:${this.webPorts.ws}/sip`,
        `wss://${us}:${this.webPorts.wss}/sip`,
      ],
      tls: { cert_file: certFile, key_file: keyFile },
      ...parts,
    });
  }

  /** Files of a certificate for the address of a party. */
  certify(party: Party): { certFile: string; keyFile: string } {
    const { cert, key } = this.authority.issue({
      names: [`${party.toLowerCase()}.test`],
      addresses: [this.address(party)],
    });
    const [certFile, keyFile] = [join(this.folder, `${party}.pem`), join(this.folder, `${party}.key`)];
    writeFileSync(certFile, cert);
    writeFileSync(keyFile, key, { mode: 0o600 });
    writeFileSync(this.caFile, this.authority.cert);
    return { certFile, keyFile };
  }

  webPhone(scheme: "ws" | "wss", options: Omit<WebPhoneOptions, "url" | "ca">): WebPhone {
    const url = `${scheme}://${this.address("us")}:${this.webPorts[scheme]}/sip`;
    const phone = new WebPhone({ url, ca: scheme === "wss" ? this.authority.cert : "", ...options });
    this.ends.push(() => phone.end());
    this.reports.push(() => `-- JsSIP\n${phone.report()}`);
    return phone;
  }

  /** A section `push` whose provider `acme` is this receiver. */
  pushTo(receiver: { url: string }): ConfigTree {
    return { webhook: { acme: { url: receiver.url, timeout: "2s" } } };
  }

  async appliance(config: ConfigTree): Promise<Appliance> {
    const appliance = await Appliance.start(this.folder, `${this.address("us")}:${this.port + 1}`, config);
    this.ends.push(() => appliance.end());
    this.reports.push(() => appliance.report());
    return appliance;
  }

  async kamailio(users: readonly string[], options: Partial<KamailioOptions> = {}): Promise<Kamailio> {
    const kamailio = await Kamailio.start({
      address: this.address("pbx"),
      port: this.port,
      us: this.address("us"),
      folder: this.folder,
      users,
      ...options,
    });
    this.ends.push(() => kamailio.end());
    this.reports.push(() => `-- kamailio\n${kamailio.program.output.slice(-4000)}`);
    return kamailio;
  }

  receiver(answer?: PushAnswer): PushReceiver {
    const receiver = new PushReceiver(this.address("push"), answer);
    this.ends.push(() => receiver.end());
    return receiver;
  }

  resetting(): ResettingServer {
    const server = new ResettingServer(this.address("push"));
    this.ends.push(() => server.end());
    return server;
  }

  /** A phone that goes through latefork. */
  phone(party: Party, options: Omit<PhoneOptions, "address" | "port">): Phone {
    const route = `sip:${this.at("us")};transport=${options.transport ?? "udp"};lr`;
    return this.keep(
      new Phone({ address: this.address(party), port: this.port, password: "secret", route, ...options }),
    );
  }

  pbx(options: Partial<PeerOptions> = {}): Pbx {
    return this.keep(new Pbx({ address: this.address("pbx"), port: this.port, user: "pbx", ...options }));
  }

  sipp(options: SippParty): Sipp {
    const { from, to, ...rest } = options;
    const folder = join(this.folder, `sipp${++this.count}`);
    mkdirSync(folder);
    const remote = to === undefined ? undefined : this.at(to);
    const sipp = new Sipp(folder, { address: this.address(from), port: this.port, remote, ...rest });
    this.ends.push(() => sipp.end());
    this.reports.push(() => `-- ${sipp.program.name}\n${sipp.report()}`);
    return sipp;
  }

  /** A phone that registers by SIPp with its password, over TCP; its connection is gone when it is done. */
  register(from: Party, { push = ";ob", instance, expires = "600", user = "alice", ...more }: Registration): Sipp {
    return this.sipp({
      from,
      to: "us",
      transport: "tcp",
      scenario: "register",
      user,
      credentials: { user, password: "secret" },
      keys: { push, instance, expires },
      pauseMs: 1,
      ...more,
    });
  }

  baresip(party: Party, options: Pick<BaresipOptions, "user" | "password" | "transport" | "port">): Baresip {
    const folder = join(this.folder, `baresip${++this.count}`);
    const isTls = options.transport === "tls";
    const outbound = isTls ? `${this.address("us")}:${this.tlsPort}` : this.at("us");
    const tls = isTls ? { caFile: this.caFile } : {};
    const baresip = new Baresip(folder, { address: this.address(party), outbound, ...tls, ...options });
    this.ends.push(() => baresip.end());
    this.reports.push(() => `-- baresip\n${baresip.program.output.slice(-6000)}`);
    return baresip;
  }

  program(name: string, command: string, args: string[], cwd?: string): Program {
    const program = new Program(name, command, args, { cwd });
    this.ends.push(async () => void await program.end());
    this.reports.push(() => `-- ${name}\n${program.output.slice(-6000)}`);
    return program;
  }

  async report(): Promise<string> {
    return (await Promise.all(this.reports.map((report) => report()))).join("\n\n");
  }

  async end(): Promise<void> {
    await Promise.all(this.ends.toReversed().map((end) => end()));
    rmSync(this.folder, { recursive: true, force: true });
  }

  private keep<T extends Peer>(peer: T): T {
    this.ends.push(() => peer.end());
    return peer;
  }
}

/**
 * A claim that needs these programs; without them it is skipped and its name says why. When it fails, everything the
 * parties saw is printed; with `PEERS_REPORT=1` also when it holds.
 */
export function peerTest(name: string, needs: string[], claim: (rig: Rig) => Promise<void>, limitMs = 25_000): void {
  const missing = needs.filter((program) => !isInstalled(program));
  if (missing.length > 0) return test.skip(`${name} (not installed: ${missing.join(", ")})`, () => {});
  test(name, async () => {
    const rig = new Rig();
    try {
      await within(limitMs, "the test's end", claim(rig));
      if (process.env.PEERS_REPORT) console.error(`\n==== ${name}\n${await rig.report()}\n====`);
    } catch (error) {
      console.error(`\n==== ${name}\n${await within(5000, "a report", rig.report()).catch(String)}\n====`);
      throw error;
    } finally {
      await within(8000, "the end of every program", rig.end());
    }
  }, limitMs + 15_000);
}
