/**
 * The real `Core` with flows that record what is sent: no network, no timers but the ones a test lets pass. Made for
 * looking at single messages; whole stories with loss and delay are told in `test/sim`.
 */
import type { Config } from "../../../src/config/schema.ts";
import { Cidr } from "../../../src/config/cidr.ts";
import { defaultConfig } from "../../../src/config/defaults.ts";
import { type CoreSecrets, coreSettings } from "../../../src/appliance/settings.ts";
import { Core, type CorePort } from "../../../src/core/core.ts";
import { UserDirectory } from "../../../src/core/registrar/users.ts";
import type { Flow, FlowState, Listener, Transport } from "../../../src/core/sip/flow.ts";
import type { Contact } from "../../../src/core/usrloc/contact.ts";
import type { PushOrder } from "../../../src/core/usrloc/push_order.ts";
import { answer, methodOf, request, statusOf, uriIn, value } from "./sip_text.ts";

export class TestFlow implements Flow {
  state: FlowState = "open";
  lastHeardMs = 0;
  readonly isReliable: boolean;
  readonly key: string;
  /** What was sent over it and not taken yet. */
  readonly sent: string[] = [];

  constructor(
    readonly id: number,
    readonly transport: Transport,
    readonly listener: Listener,
    readonly remoteAddress: string,
    readonly remotePort: number,
  ) {
    this.isReliable = transport !== "udp";
    const shown = (host: string) => host.includes(":") ? `[${host}]` : host;
    this.key = `${transport}|${shown(listener.address)}:${listener.port}|${shown(remoteAddress)}:${remotePort}`;
  }

  /** Takes the one message that was sent; fails if there are none or several. */
  one(): string {
    if (this.sent.length !== 1) {
      throw new Error(`Expected one message to ${this.key}, there are ${this.sent.length}:\n${this.sent.join("\n")}`);
    }
    return this.sent.shift()!;
  }

  /** Takes everything. */
  all(): string[] {
    return this.sent.splice(0);
  }

  /** Takes everything; the statuses of responses and methods of requests. */
  kinds(): (number | string)[] {
    return this.all().map((text) => methodOf(text) || statusOf(text));
  }
}

export const UDP: Listener = { transport: "udp", address: "10.0.0.5", port: 5060, advertised: "10.0.0.5:5060" };
export const TCP: Listener = { transport: "tcp", address: "10.0.0.5", port: 5060, advertised: "10.0.0.5:5060" };
export const UDP6: Listener = {
  transport: "udp",
  address: "2001:db8::5",
  port: 5060,
  advertised: "[2001:db8::5]:5060",
};

export interface RigOptions {
  listeners?: Listener[];
  /** Null: registrar mode. */
  pbx?: { address: string; port: number; transport: Transport } | null;
  config?: (config: Config) => void;
  users?: CoreSecrets["users"];
}

export const PBX_ADDRESS = { address: "10.0.0.10", port: 5060, transport: "udp" } as const;

export class Rig {
  readonly clock = { nowMs: 1_795_000_000_000 };
  readonly core: Core;
  readonly flows: TestFlow[] = [];
  readonly counters = new Map<string, number>();
  readonly logs: string[] = [];
  readonly pushes: PushOrder[] = [];
  /** uuids of the pushes that were taken back. */
  readonly cancelledPushes: string[] = [];
  /** Everything the core drew that should be unguessable. */
  readonly tokens: string[] = [];
  /** Flows the core asked for itself, in order. */
  readonly opened: TestFlow[] = [];
  /** Connections the core closed and has not been told of yet. */
  private readonly closed: [TestFlow, string][] = [];
  /** Transports `flowTo` refuses. */
  readonly unreachable = new Set<string>();
  private tokenCount = 0;
  private serial = 0;

  constructor(readonly options: RigOptions = {}) {
    const config = defaultConfig();
    if (options.pbx !== null) {
      config.pbx = {
        uri: [],
        ca_file: "",
        trust: [],
        mode: "aor",
        contact_id: "param",
        expires: 3_600_000,
        credentials_file: "",
        trusts_us: false,
        own_port: 0,
        verify: 300_000,
        qualify: 0,
      };
    }
    options.config?.(config);
    this.core = new Core(
      this.makePort(),
      this.clock,
      coreSettings(config, {
        installation: "a secret of this installation",
        nonces: new Uint8Array(32).fill(7),
        users: options.users ?? null,
        credentials: new Map(),
      }),
    );
    this.core.setListeners(options.listeners ?? [UDP, TCP, UDP6]);
    const pbx = options.pbx === undefined ? PBX_ADDRESS : options.pbx;
    if (pbx !== null) this.core.setPbxAddresses([{ ...pbx, uri: `sip:${pbx.address}:${pbx.port}` }]);
  }

  /** The flow to an address, made on first use. */
  flow(address: string, port: number, listener: Listener = UDP): TestFlow {
    const known = this.flows.find((flow) =>
      flow.remoteAddress === address && flow.remotePort === port && flow.listener === listener &&
      flow.state !== "closed"
    );
    if (known !== undefined) return known;
    const flow = new TestFlow(this.flows.length + 1, listener.transport, listener, address, port);
    this.flows.push(flow);
    return flow;
  }

  /** The flow to the PBX. */
  get pbx(): TestFlow {
    const { address, port, transport } = this.options.pbx ?? PBX_ADDRESS;
    return this.flow(address, port, this.listenerFor(transport, address)!);
  }

  receive(flow: TestFlow, text: string): void {
    flow.lastHeardMs = this.clock.nowMs;
    this.core.receive(flow, text);
  }

  close(flow: TestFlow): void {
    flow.state = "closed";
    this.core.flowClosed(flow, "closed by the test");
  }

  pass(ms: number): void {
    const until = this.clock.nowMs + ms;
    while (this.core.schedule.nextMs <= until) {
      this.clock.nowMs = Math.max(this.clock.nowMs, this.core.schedule.nextMs);
      this.core.schedule.run();
      this.tellClosed();
    }
    this.clock.nowMs = until;
    this.core.schedule.run();
    this.tellClosed();
  }

  private tellClosed(): void {
    for (const [flow, reason] of this.closed.splice(0)) this.core.flowClosed(flow, reason);
  }

  count(counter: string, label: string): number {
    return this.counters.get(`${counter} ${label}`) ?? 0;
  }

  /** Everything that was sent to anybody and not taken yet. */
  get untaken(): string[] {
    return this.flows.flatMap((flow) => flow.sent.map((text) => `${flow.key} ${text}`));
  }

  /** Registers a phone; where there is a PBX, it grants what is asked. Nothing of it stays untaken. */
  register(user: string, flow: TestFlow, contactUri: string, options: { callId?: string; params?: string } = {}) {
    const domain = this.options.pbx === null ? flow.listener.advertised.replace(/:\d+$/, "") : "pbx.example.org";
    this.receive(
      flow,
      request("REGISTER", "sip:" + domain, {
        sentBy: "192.168.9.9:5060",
        transport: flow.transport.toUpperCase(),
        from: `<sip:${user}@${domain}>;tag=r${++this.serial}`,
        to: `<sip:${user}@${domain}>`,
        callId: options.callId ?? `reg-${user}-${this.serial}`,
        contact: `<${contactUri}>${options.params ?? ""};expires=600`,
      }),
    );
    if (this.options.pbx !== null) {
      // Other words may be on their way to the PBX: a 100, an answer.
      const [forwarded = "nothing"] = this.pbx.sent.splice(this.pbx.sent.findIndex((text) => methodOf(text) !== ""), 1);
      this.receive(this.pbx, answer(forwarded, 200, { contact: value(forwarded, "Contact") }));
    }
    // What waited for the phone follows.
    const reply = flow.sent.shift() ?? "nothing";
    if (statusOf(reply) !== 200) throw new Error(`REGISTER of ${user} got ${reply}`);
    return this.contactOf(user, contactUri);
  }

  contactOf(user: string, contactUri: string): Contact {
    for (const aor of this.core.usrloc.all()) {
      const contact = aor.user === user && aor.contacts.find(({ uri }) => uri === contactUri);
      if (contact) return contact;
    }
    throw new Error(`${user} has no contact ${contactUri}`);
  }

  /** What the PBX dials to reach an AoR: the Contact we registered there. */
  upstreamUri(user: string, host = "10.0.0.5:5060"): string {
    for (const aor of this.core.usrloc.all()) if (aor.user === user) return `sip:${user}@${host};lf=${aor.id}`;
    throw new Error(`${user} is not registered`);
  }

  private listenerFor(transport: Transport, address: string): Listener | undefined {
    const listeners = this.options.listeners ?? [UDP, TCP, UDP6];
    return listeners.find((one) => one.transport === transport && one.address.includes(":") === address.includes(":"));
  }

  private makePort(): CorePort {
    return {
      send: (flow, wire) => this.send(flow as TestFlow, wire),
      sendDurable: (flow, wire) => this.send(flow as TestFlow, wire),
      flowTo: (transport, address, port, via) => {
        const listener = via ?? this.listenerFor(transport, address);
        if (listener === undefined || this.unreachable.has(`${address}:${port}`)) return null;
        const count = this.flows.length;
        const flow = this.flow(address, port, listener);
        if (this.flows.length > count) this.opened.push(flow);
        return flow;
      },
      closeFlow: (flow, reason) => {
        const closed = flow as TestFlow;
        if (!closed.isReliable || closed.state === "closed") return;
        closed.state = "closed";
        this.closed.push([closed, reason]);
      },
      count: (counter, label) => {
        const key = `${counter} ${label}`;
        this.counters.set(key, (this.counters.get(key) ?? 0) + 1);
      },
      measure() {},
      isLogged: () => true,
      log: (level, message) => void this.logs.push(`${level} ${message}`),
      event() {},
      token: (length) => {
        const token = (++this.tokenCount).toString(36).padStart(length, "t");
        this.tokens.push(token);
        return token;
      },
      push: (order) => void this.pushes.push(order),
      cancelPush: (uuid) => void this.cancelledPushes.push(uuid),
      pin() {},
      unpin() {},
      phoneArrived() {},
      phoneLeft() {},
      contactSaved() {},
      contactRemoved() {},
      aorSaved() {},
      aorRemoved() {},
    };
  }

  private send(flow: TestFlow, wire: string): boolean {
    if (flow.state === "closed") return false;
    flow.sent.push(wire);
    return true;
  }
}

export function cidr(text: string): Cidr {
  return Cidr.parse(text)!;
}

export { UserDirectory };
export const contactUriOf = (text: string): string => uriIn(value(text, "Contact"));
