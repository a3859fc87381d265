/**
 * A virtual world around the pure core: virtual time, a seeded network, push services, a scripted PBX, scripted phones.
 * One seed, one history. Time passes only in `advance`, `settle` and `until`; nothing here waits.
 *
 *   const w = new World();
 *   const b = w.phone("alice", { answerMs: 500 });
 *   b.register(); w.settle(); b.sleep(); w.settle();
 *   const call = w.pbx.call("alice");
 *   w.advance(10_000);   // push, wake, REGISTER, INVITE, 180, 200
 */
import { coreSettings } from "../../src/appliance/settings.ts";
import { Cidr } from "../../src/config/cidr.ts";
import { defaultConfig } from "../../src/config/defaults.ts";
import type { Config } from "../../src/config/schema.ts";
import { Core } from "../../src/core/core.ts";
import type { SiloCall } from "../../src/core/silo/call.ts";
import { Agenda, type Appointment } from "./agenda.ts";
import { LISTENERS, Net, type Path } from "./net.ts";
import { Caller, DOMAIN, PBX_ADDRESS, type PbxOptions, SimPbx } from "./pbx.ts";
import { Phone, type PhoneOptions } from "./phone.ts";
import { Prng } from "./prng.ts";
import { PushService } from "./push_service.ts";
import { SimPort } from "./sim_port.ts";

export interface WorldOptions {
  seed?: number;
  /** Changes the default config. */
  config?: (config: Config) => void;
  /** `registrar`: no PBX; everybody in 10/8 and 192.0.2/24 is trusted. */
  mode?: "pbx" | "registrar";
  pbx?: PbxOptions;
  /** Between latefork and the PBX. */
  lan?: Partial<Path>;
  /** Between latefork and the phones. */
  internet?: Partial<Path>;
}

const START_MS = Date.parse("2026-01-02T03:04:05Z");
/** Turns at one and the same time: more of them is a loop. */
const MAX_TURNS = 20_000;

export class World {
  readonly prng: Prng;
  readonly agenda = new Agenda();
  readonly clock = { nowMs: START_MS };
  readonly lan: Path;
  readonly internet: Path;
  readonly net: Net;
  readonly port: SimPort;
  readonly push: PushService;
  readonly core: Core;
  readonly phones: Phone[] = [];
  /** Called at the end of every turn, before anything of it is on the wire. */
  onTurn: () => void = () => {};
  /** Whether due timers run before the messages of the turn. */
  timersFirst: () => boolean = () => false;
  /** What the core was told in this turn: REGISTER 2xx of the PBX among them. */
  readonly heardInTurn: string[] = [];
  private readonly simPbx: SimPbx | null;
  private ports = 20_000;
  private inTurn = false;

  constructor(readonly options: WorldOptions = {}) {
    this.prng = new Prng(options.seed ?? 1);
    this.lan = { latencyMs: [0.5, 0.5], loss: 0, duplicate: 0, ...options.lan };
    this.internet = { latencyMs: [5, 5], loss: 0, duplicate: 0, ...options.internet };
    // deno-lint-ignore no-this-alias
    const world = this;
    this.net = new Net(this.agenda, this.prng, {
      get nowMs() {
        return world.nowMs;
      },
      receive: (link, text) => {
        this.heardInTurn.push(text);
        this.core.receive(link, text);
      },
      closed: (link, reason) => this.core.flowClosed(link, reason),
    });
    this.port = new SimPort(() => this.nowMs, this.prng, () => this.net, () => this.push);
    this.push = new PushService(this);
    const config = worldConfig(options.mode ?? "pbx");
    options.config?.(config);
    this.core = new Core(
      this.port,
      this.clock,
      coreSettings(config, {
        installation: "installation of the tests",
        nonces: new Uint8Array(32),
        users: null,
        credentials: new Map(),
      }),
    );
    this.core.setListeners([LISTENERS.udp, LISTENERS.tcp]);
    this.simPbx = config.pbx === null ? null : new SimPbx(this, options.pbx);
    if (this.simPbx !== null) {
      const { transport } = this.simPbx;
      this.core.setPbxAddresses([{ transport, address: PBX_ADDRESS, port: 5060, uri: `sip:${PBX_ADDRESS}` }]);
    }
  }

  get nowMs(): number {
    return this.clock.nowMs;
  }

  get pbx(): SimPbx {
    if (this.simPbx === null) throw new Error("This world has no PBX");
    return this.simPbx;
  }

  /** A device of a user; each call makes another one. */
  phone(user: string, options: PhoneOptions = {}): Phone {
    const number = this.phones.length + 1;
    const phone = new Phone(this, user, number, `192.0.2.${number}`, options);
    this.phones.push(phone);
    return phone;
  }

  /** A device that is registered and awake. */
  awake(user: string, options: PhoneOptions = {}): Phone {
    const phone = this.phone(user, options);
    phone.register();
    this.until(() => phone.registrations.length > 0);
    if (!phone.isRegistered) throw new Error(`${phone.name} could not register\n${this.story()}`);
    return phone;
  }

  /** A device that registered and went to sleep: its connection is closed, or its UDP flow silent since `idle`. */
  asleep(user: string, options: PhoneOptions = {}): Phone {
    const phone = this.awake(user, options);
    phone.sleep();
    this.settle();
    return phone;
  }

  /** What the core still holds besides contacts; all zero when the dust has settled. */
  dust(): Record<string, number> {
    const { table, schedule, silo, usrloc, registerWait } = this.core;
    return {
      servers: table.serverCount,
      clients: table.clientCount,
      deadlines: schedule.deadlines.size - usrloc.contactCount,
      lingering: schedule.shortLinger.size + schedule.longLinger.size,
      openCalls: silo.openCalls,
      tombstones: silo.tombstoneCount,
      siloIndexes: silo.indexedCount,
      waitForRegister: registerWait.waitingCount,
      owed: Object.values(this.core.owed()).reduce((sum, count) => sum + count, 0),
    };
  }

  /** Somebody who calls, registrar mode. */
  caller(name = "bob", transport: "udp" | "tcp" = "udp"): Caller {
    return new Caller(this, name, "10.0.0.9", transport);
  }

  freshPort(): number {
    return ++this.ports;
  }

  /** Does something `ms` from now. */
  in(ms: number, run: () => void): Appointment {
    return this.agenda.add(this.nowMs + ms, run);
  }

  /** Hands something to the core in a turn of its own (a command of the control port). */
  turn<T>(run: () => T): T {
    const result = run();
    this.endTurn();
    return result;
  }

  /** Lets `ms` pass. */
  advance(ms: number): void {
    this.run(this.nowMs + ms, () => false);
  }

  /** Runs until no message is on the wire; timers and the plans of phones further off do not count. */
  settle(): void {
    this.run(Infinity, () => this.agenda.packets === 0);
  }

  /** Runs until `isDone`, at most `ms`; throws if that is not enough. */
  until(isDone: () => boolean, ms = 60_000): void {
    this.run(this.nowMs + ms, isDone);
    if (!isDone()) throw new Error(`Still not so after ${ms} ms:\n${isDone}\n${this.story()}`);
  }

  private run(endMs: number, isDone: () => boolean): void {
    if (this.inTurn) throw new Error("advance() inside an event: use in()");
    let turns = 0;
    while (!isDone()) {
      const nextMs = Math.min(this.agenda.nextMs, this.core.schedule.nextMs);
      if (nextMs > endMs || nextMs === Infinity) {
        if (endMs !== Infinity) this.clock.nowMs = endMs;
        return;
      }
      if (nextMs > this.nowMs) {
        this.clock.nowMs = nextMs;
        turns = 0;
      } else if (++turns > MAX_TURNS) throw new Error(`Time stands still: a loop\n${this.story().slice(-4000)}`);
      this.runTurn();
    }
  }

  private runTurn(): void {
    this.inTurn = true;
    const timersFirst = this.timersFirst();
    if (timersFirst) this.core.schedule.run();
    while (this.agenda.runOne(this.nowMs));
    if (!timersFirst && this.core.schedule.nextMs <= this.nowMs) this.core.schedule.run();
    this.inTurn = false;
    this.endTurn();
  }

  private endTurn(): void {
    this.onTurn();
    this.heardInTurn.length = 0;
    this.port.flush();
  }

  /** Open calls of a user. */
  openCalls(user: string): readonly SiloCall[] {
    return this.core.silo.callsOf(`${user}@${DOMAIN}`);
  }

  /** Everything that went over the wire, as one line each: what a failing test shows. */
  story(): string {
    const start = START_MS;
    return this.net.packets.map(({ atMs, isFromCore, peer, text, fate, link }) => {
      const first = text.slice(0, text.indexOf("\r\n")).slice(0, 60);
      const cseq = /\r\nCSeq: ([^\r]*)/i.exec(text)?.[1] ?? "";
      const callId = /\r\nCall-ID: ([^\r]*)/i.exec(text)?.[1]?.slice(0, 14) ?? "";
      const arrow = isFromCore ? `latefork → ${peer}` : `${peer} → latefork`;
      const lost = fate === "sent" ? "" : `  (${fate})`;
      return `${((atMs - start) / 1000).toFixed(4).padStart(10)}  ${
        arrow.padEnd(24)
      } ${link.transport}:${link.remotePort}` +
        `  ${first}  [${cseq}; ${callId}]${lost}`;
    }).join("\n");
  }

  /** Raw text of what latefork sent to a peer, first line matching. */
  sent(peer: { name: string }, start: string): string[] {
    return this.net.packets
      .filter((packet) => packet.isFromCore && packet.peer === peer.name && packet.text.startsWith(start))
      .map((packet) => packet.text);
  }
}

function worldConfig(mode: "pbx" | "registrar"): Config {
  const config = defaultConfig();
  config.domain = [DOMAIN];
  config.registration.min_expires = 10_000;
  if (mode === "registrar") {
    config.pbx = null;
    config.security.trust = [Cidr.parse("10.0.0.0/8")!, Cidr.parse("192.0.2.0/24")!];
    return config;
  }
  config.pbx = {
    uri: [{ uri: `sip:${PBX_ADDRESS}`, host: PBX_ADDRESS, port: 5060, has_port: true, transport: "udp" }],
    ca_file: "",
    trust: [Cidr.parse(PBX_ADDRESS)!],
    mode: "aor",
    contact_id: "param",
    expires: 3_600_000,
    credentials_file: "",
    trusts_us: false,
    own_port: 0,
    verify: 300_000,
    qualify: 0,
  };
  return config;
}
