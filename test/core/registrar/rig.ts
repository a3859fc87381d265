/**
 * The real core between phones and a PBX in virtual time, on raw text: flows are names, sends are recorded, nothing
 * is delivered by itself. For whole stories with phones that answer see test/sim.
 */
import { Cidr } from "../../../src/config/cidr.ts";
import { defaultConfig } from "../../../src/config/defaults.ts";
import type { Config, DeviceRule, PbxConfig } from "../../../src/config/schema.ts";
import { type CoreSecrets, coreSettings } from "../../../src/appliance/settings.ts";
import { Core, type CorePort } from "../../../src/core/core.ts";
import type { SourceGuard } from "../../../src/core/guard/source_guard.ts";
import {
  aorOutlook,
  deviceOutlook,
  type RefreshOutlook,
  type UpstreamState,
  upstreamStates,
} from "../../../src/core/registrar/refresh_outlook.ts";
import type { PushOrder } from "../../../src/core/usrloc/push_order.ts";
import type { Flow, FlowState, Listener, Transport } from "../../../src/core/sip/flow.ts";
import { type Message, parseMessage } from "../../../src/core/sip/message.ts";
import type { ApplianceEvent, Counter, LogFields, LogLevel } from "../../../src/core/port.ts";
import type { Aor, Contact } from "../../../src/core/usrloc/contact.ts";
import type { ChangeLog } from "../../../src/core/usrloc/stored.ts";

export const UDP: Listener = { transport: "udp", address: "10.0.0.5", port: 5060, advertised: "10.0.0.5:5060" };
export const TCP: Listener = { transport: "tcp", address: "10.0.0.5", port: 5060, advertised: "10.0.0.5:5060" };
export const START_MS = Date.parse("2026-01-02T03:04:05.678Z");

let flowCount = 0;

export class TestFlow implements Flow {
  readonly id = ++flowCount;
  readonly isReliable: boolean;
  readonly key: string;
  state: FlowState = "open";
  lastHeardMs = 0;

  constructor(
    readonly transport: Transport,
    readonly remoteAddress: string,
    readonly remotePort: number,
    readonly listener: Listener = transport === "udp" ? UDP : TCP,
  ) {
    this.isReliable = transport !== "udp";
    this.key = `${transport}|${listener.address}:${listener.port}|${remoteAddress}:${remotePort}`;
  }
}

export interface RigOptions {
  /** False: registrar mode. */
  pbx?: boolean | Partial<PbxConfig>;
  registration?: Partial<Config["registration"]>;
  domain?: string[];
  devices?: DeviceRule[];
  trust?: string[];
  secrets?: Partial<CoreSecrets>;
  maxBindings?: number;
  listener?: Listener;
  /** The store, in place of the count of changes. */
  changes?: ChangeLog;
  nowMs?: number;
  /** Who bans sources; nobody without it. */
  guard?: (rig: Rig) => SourceGuard;
}

export interface Sent {
  flow: Flow;
  wire: string;
  isDurable: boolean;
}

export class Rig implements CorePort {
  readonly clock: { nowMs: number };
  readonly core: Core;
  readonly config: Config;
  readonly secrets: CoreSecrets;
  /** Everything sent and not taken yet. */
  readonly sent: Sent[] = [];
  readonly pushes: PushOrder[] = [];
  readonly events: ApplianceEvent[] = [];
  readonly logged: { level: LogLevel; message: string; fields: LogFields }[] = [];
  readonly counts = new Map<string, number>();
  readonly pinned = new Map<Flow, number>();
  /** Calls of the change log, if no store was given. */
  changeCount = 0;
  /** The PBX's main flow; null: it cannot be reached. */
  pbx: TestFlow | null;
  private readonly flows = new Map<string, TestFlow>();
  private readonly changes: ChangeLog | null;
  private tokens = 0;
  private readonly guard: SourceGuard | null;

  constructor(options: RigOptions = {}) {
    this.clock = { nowMs: options.nowMs ?? START_MS };
    this.changes = options.changes ?? null;
    const config = this.config = defaultConfig();
    Object.assign(config.registration, options.registration);
    config.domain = options.domain ?? ["example.org"];
    config.devices = options.devices ?? [];
    config.security.trust = (options.trust ?? []).map((network) => Cidr.parse(network)!);
    config.limits.bindings = options.maxBindings ?? config.limits.bindings;
    this.pbx = new TestFlow("udp", "10.0.0.2", 5060, options.listener);
    if (options.pbx !== false) {
      config.pbx = {
        uri: [{ uri: "sip:10.0.0.2", host: "10.0.0.2", port: 5060, has_port: false, transport: "udp" }],
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
        ...(typeof options.pbx === "object" ? options.pbx : {}),
      };
    }
    this.secrets = {
      installation: "secret of the installation",
      nonces: new Uint8Array(32).fill(7),
      users: null,
      credentials: new Map(),
      ...options.secrets,
    };
    this.guard = options.guard?.(this) ?? null;
    this.core = new Core(this, this.clock, coreSettings(config, this.secrets), this.guard);
    this.core.setListeners([UDP, TCP]);
    if (config.pbx !== null) this.pbxIsBack();
    this.sent.length = 0;
  }

  /** The PBX's name is resolved (again). */
  pbxIsBack(): void {
    this.core.setPbxAddresses([{ transport: "udp", address: "10.0.0.2", port: 5060, uri: "sip:10.0.0.2" }]);
  }

  /** A flow of a phone; the same object for the same UDP address, a new connection each time for TCP. */
  phone(address: string, port = 5060, transport: Transport = "udp"): TestFlow {
    const key = `${address}:${port}`;
    const known = transport === "udp" ? this.flows.get(key) : undefined;
    if (known !== undefined) return known;
    const flow = new TestFlow(transport, address, port);
    if (transport === "udp") this.flows.set(key, flow);
    return flow;
  }

  /** A message comes in. */
  receive(flow: TestFlow, wire: string): void {
    flow.lastHeardMs = this.clock.nowMs;
    this.core.receive(flow, wire);
  }

  fromPbx(wire: string): void {
    this.receive(this.pbx!, wire);
  }

  /** A connection closes. */
  close(flow: TestFlow): void {
    flow.state = "closed";
    this.core.flowClosed(flow, "closed by the peer");
  }

  /** An address set through the control port (R-20), for a new device or for one that is known. */
  setByHand(aor: Aor, known: Contact | null, uri: string, flow: TestFlow): void {
    const { usrloc } = this.core;
    const saved = usrloc.save(aor, known, known?.id ?? "desk1", {
      uri,
      params: "",
      instance: "",
      regId: 0,
      q: 1000,
      callId: "",
      cseq: 0,
      expiresAtMs: this.clock.nowMs + 1e9,
      registeredAtMs: this.clock.nowMs,
      path: "",
      userAgent: "",
      kind: "desk",
      push: null,
      flowKey: flow.key,
    }, flow);
    this.core.deviceSet(saved);
  }

  outlookOf(contact: Contact): RefreshOutlook {
    return deviceOutlook(contact, this.core.mid, this.clock.nowMs);
  }

  outlookOfAor(aor: Aor): RefreshOutlook | null {
    return aorOutlook(aor, this.core.mid, this.clock.nowMs);
  }

  upstreamStates(): Map<UpstreamState, number> {
    return upstreamStates(this.core.usrloc.all(), this.core.mid, this.clock.nowMs);
  }

  /** Lets time pass, deadline by deadline. */
  pass(ms: number): void {
    const endMs = this.clock.nowMs + ms;
    while (this.core.schedule.nextMs <= endMs) {
      this.clock.nowMs = Math.max(this.clock.nowMs, this.core.schedule.nextMs);
      this.core.schedule.run();
    }
    this.clock.nowMs = endMs;
  }

  /** What was sent to a flow since the last time, taken out. */
  take(flow: Flow | null): string[] {
    return this.takeSent(flow).map((sent) => sent.wire);
  }

  takeSent(flow: Flow | null): Sent[] {
    const taken = this.sent.filter((sent) => sent.flow === flow);
    this.sent.splice(0, this.sent.length, ...this.sent.filter((sent) => sent.flow !== flow));
    return taken;
  }

  /** The one message sent to a flow since the last time. */
  one(flow: Flow | null): string {
    const taken = this.take(flow);
    if (taken.length !== 1) {
      throw new Error(`Expected one message, got ${taken.length}:\n${taken.join("\n----\n")}\nlog: ${this.logText}`);
    }
    return taken[0]!;
  }

  get logText(): string {
    return this.logged.map((line) => `${line.level} ${line.message}`).join("\n");
  }

  count(counter: Counter, label: string): void {
    const key = `${counter}{${label}}`;
    this.counts.set(key, (this.counts.get(key) ?? 0) + 1);
  }

  send(flow: Flow, wire: string): boolean {
    if (flow.state === "closed") return false;
    this.sent.push({ flow, wire, isDurable: false });
    return true;
  }

  sendDurable(flow: Flow, wire: string): boolean {
    if (flow.state === "closed") return false;
    this.sent.push({ flow, wire, isDurable: true });
    return true;
  }

  flowTo(transport: Transport, address: string, port: number, _via?: Listener): Flow | null {
    if (address === "10.0.0.2") return this.pbx;
    return transport === "udp" ? this.phone(address, port) : null;
  }

  closeFlow(flow: Flow): void {
    (flow as TestFlow).state = "closed";
  }

  token(length: number): string {
    return `t${(++this.tokens).toString(36)}`.padEnd(length, "x");
  }

  log(level: LogLevel, message: string, fields: LogFields = {}): void {
    this.logged.push({ level, message, fields });
  }

  event(event: ApplianceEvent): void {
    this.events.push(event);
  }

  pin(flow: Flow): void {
    this.pinned.set(flow, (this.pinned.get(flow) ?? 0) + 1);
  }

  unpin(flow: Flow): void {
    const left = (this.pinned.get(flow) ?? 0) - 1;
    if (left < 0) throw new Error(`${flow.key} was unpinned once too often`);
    if (left === 0) this.pinned.delete(flow);
    else this.pinned.set(flow, left);
  }

  phoneArrived(address: string): void {
    this.guard?.phoneArrived(address);
  }

  phoneLeft(address: string): void {
    this.guard?.phoneLeft(address);
  }

  push(order: PushOrder): void {
    this.pushes.push(order);
  }

  isLogged(): boolean {
    return true;
  }

  contactSaved(contact: Contact, isRefresh: boolean): void {
    this.changeCount++;
    this.changes?.contactSaved(contact, isRefresh);
  }

  contactRemoved(contact: Contact): void {
    this.changeCount++;
    this.changes?.contactRemoved(contact);
  }

  aorSaved(aor: Aor): void {
    this.changeCount++;
    this.changes?.aorSaved(aor);
  }

  aorRemoved(aor: Aor): void {
    this.changeCount++;
    this.changes?.aorRemoved(aor);
  }

  measure(): void {}
  cancelPush(): void {}
}

export interface RegisterText {
  user?: string;
  domain?: string;
  uri?: string;
  callId?: string;
  cseq?: number;
  branch?: string;
  /** Contact header values, one a line. */
  contacts?: string[];
  /** Expires header; undefined: none. */
  expires?: number | string;
  /** Further header lines without CRLF. */
  lines?: string[];
}

let branchCount = 0;

/** A phone's REGISTER. */
export function register(flow: Flow, text: RegisterText = {}): string {
  const user = text.user ?? "alice";
  const domain = text.domain ?? "example.org";
  const lines = [
    `REGISTER ${text.uri ?? `sip:${domain}`} SIP/2.0`,
    `Via: SIP/2.0/${flow.transport.toUpperCase()} ${flow.remoteAddress}:${flow.remotePort};branch=${
      text.branch ?? `z9hG4bKphone${++branchCount}`
    };rport`,
    "Max-Forwards: 70",
    `From: <sip:${user}@${domain}>;tag=f1`,
    `To: <sip:${user}@${domain}>`,
    `Call-ID: ${text.callId ?? `call-${flow.key}`}`,
    `CSeq: ${text.cseq ?? 1} REGISTER`,
    ...(text.contacts ?? [`<sip:${user}@${flow.remoteAddress}:${flow.remotePort}>`]).map((c) => `Contact: ${c}`),
    ...(text.expires === undefined ? [] : [`Expires: ${text.expires}`]),
    ...(text.lines ?? []),
    "Content-Length: 0",
  ];
  return lines.join("\r\n") + "\r\n\r\n";
}

/** An answer to a request that latefork (or a phone) sent. */
export function answer(request: string, status: string, lines: string[] = []): string {
  const kept = headerLines(request).filter((line) => /^(?:via|v|from|f|to|t|call-id|i|cseq)\s*:/i.test(line));
  const tagged = kept.map((line) => /^(?:to|t)\s*:/i.test(line) && !/;tag=/.test(line) ? `${line};tag=pbx` : line);
  return [`SIP/2.0 ${status}`, ...tagged, ...lines, "Content-Length: 0"].join("\r\n") + "\r\n\r\n";
}

/** The header lines, without the first line. */
export function headerLines(wire: string): string[] {
  return wire.slice(0, wire.indexOf("\r\n\r\n")).split("\r\n").slice(1);
}

/** The values of a header, one a line. */
export function headers(wire: string, name: string): string[] {
  const start = name.toLowerCase() + ":";
  return headerLines(wire).filter((line) => line.toLowerCase().startsWith(start)).map((line) =>
    line.slice(start.length).trim()
  );
}

/** Feature-Caps as {@link headers} has them, each PURR of a proper form (RFC 8599 §6.1) shown as `PURR`. */
export function caps(wire: string): string[] {
  return headers(wire, "Feature-Caps").map((value) => value.replace(/(?<=;\+sip\.pnspurr=")[a-z0-9]{72}(?=")/, "PURR"));
}

export function statusLine(wire: string): string {
  return wire.slice(0, wire.indexOf("\r\n"));
}

/** What is left of a message without the lines of these headers. */
export function without(wire: string, ...names: string[]): string[] {
  const starts = names.map((name) => name.toLowerCase() + ":");
  return wire.split("\r\n").filter((line) => !starts.some((start) => line.toLowerCase().startsWith(start)));
}

export function parsed(wire: string): Message {
  const message = parseMessage(wire);
  if (message.problem !== null) throw new Error(`${message.problem.text}:\n${wire}`);
  return message;
}

/** The PBX accepts the REGISTER and lists its Contacts as they were asked for, unless told otherwise. */
export function accepted(wire: string, contacts?: string[], lines: string[] = []): string {
  const listed = (contacts ?? headers(wire, "Contact").filter((value) => !value.endsWith("expires=0")))
    .map((value) => `Contact: ${value}`);
  return answer(wire, "200 OK", [...listed, ...lines]);
}

/** The whole of an accepted REGISTER: what the PBX got, and what the phone got. */
export function registered(rig: Rig, flow: TestFlow, text: RegisterText = {}): { upstream: string; reply: string } {
  rig.receive(flow, register(flow, text));
  const upstream = rig.one(rig.pbx);
  rig.fromPbx(accepted(upstream));
  return { upstream, reply: rig.one(flow) };
}

/** Contact URIs here, in order of registration. */
export function contactsOf(rig: Rig, aor = "alice@example.org"): string[] {
  return rig.core.usrloc.find(aor)?.contacts.map((contact) => contact.uri) ?? [];
}
