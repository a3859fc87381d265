/**
 * Asks the PBX for `latefork check --live` (O-02): looks its names up, and sends each address an OPTIONS as the appliance
 * would, but from a free port. Owns the few seconds this takes. Knows no calls and no registrations.
 */
import { isIP } from "node:net";
import type { Finding } from "../config/finding.ts";
import type { Config, PbxConfig } from "../config/schema.ts";
import { hostPort } from "../core/sip/host.ts";
import { clip, readable } from "../observe/display.ts";
import type { PbxAddress } from "../core/proxy/pbx.ts";
import { sendOptions } from "../core/proxy/qualify.ts";
import type { Flow } from "../core/sip/flow.ts";
import { type Message, parseMessage } from "../core/sip/message.ts";
import type { ClientFailure, ClientOwner } from "../core/transaction/client.ts";
import { Transactions, type TransactionUser } from "../core/transaction/table.ts";
import { Schedule, type TransactionPort } from "../core/transaction/timers.ts";
import { type Listen, Transports } from "../io/transport/transports.ts";
import { Certificates } from "./certificates.ts";
import { resolvePbx } from "./pbx_names.ts";
import { Turn } from "./turn.ts";

export interface PbxProbeOptions {
  /** How long DNS may take. */
  readonly dnsMs: number;
  /** How long the PBX may take. Over UDP an OPTIONS is sent four times in this time. */
  readonly answerMs: number;
  readonly resolve: typeof resolvePbx;
}

const DEFAULTS: PbxProbeOptions = { dnsMs: 5000, answerMs: 5000, resolve: resolvePbx };
/** So many addresses are asked at most: a name may have any number. */
const MAX_ADDRESSES = 16;
const MAX_SERVER_WORDS = 60;

/** A finding for each name and each address. Never throws. */
export async function probePbx(config: Config, options: Partial<PbxProbeOptions> = {}): Promise<Finding[]> {
  const { pbx } = config;
  if (pbx === null) return [];
  const all = { ...DEFAULTS, ...options };
  const names = await Promise.all(pbx.uri.map((uri) => resolveOne({ ...pbx, uri: [uri] }, all)));
  const findings = names.flatMap(({ finding }) => finding === null ? [] : [finding]);
  const addresses = names.flatMap((name) => name.addresses);
  return [...findings, ...await askAll(config, addresses, all.answerMs)];
}

interface ResolvedName {
  readonly addresses: PbxAddress[];
  /** null: the URI has an address, not a name. */
  readonly finding: Finding | null;
}

async function resolveOne(pbx: PbxConfig, { dnsMs, resolve }: PbxProbeOptions): Promise<ResolvedName> {
  const { host, uri } = pbx.uri[0]!;
  const startedMs = performance.now();
  let timer: ReturnType<typeof setTimeout> | undefined;
  const late = new Promise<null>((end) => timer = setTimeout(() => end(null), dnsMs));
  const found = await Promise.race([resolve(pbx), late]);
  clearTimeout(timer);
  const ms = performance.now() - startedMs;
  if (isIP(host) !== 0) return { addresses: found?.addresses ?? [], finding: null };
  const finding = (state: Finding["state"], words: string, hint: string): Finding => {
    return { part: "dns", state, words, hint, ms: tenths(ms) };
  };
  if (found === null) {
    const words = `no answer about ${host} (pbx.uri ${uri}) within ${dnsMs / 1000} s`;
    return { addresses: [], finding: finding("failed", words, "are the servers of /etc/resolv.conf reachable?") };
  }
  if (found.addresses.length === 0) {
    const words = found.problems[0] ?? `${host} of pbx.uri has no address`;
    const hint =
      `is the name right, and does this machine's DNS know it (getent ahosts ${host})? An address in pbx.uri ` +
      "needs no DNS";
    return { addresses: [], finding: finding("failed", words, hint) };
  }
  const list = [...new Set(found.addresses.map(({ address }) => address))].join(", ");
  return { addresses: found.addresses, finding: finding("ok", `${host} → ${list}`, "") };
}

function tenths(ms: number): number {
  return Math.round(ms * 10) / 10;
}

/** Asks all at a time; the answers come in the order of the addresses. */
async function askAll(config: Config, addresses: readonly PbxAddress[], answerMs: number): Promise<Finding[]> {
  const asked = addresses.slice(0, MAX_ADDRESSES);
  if (asked.length === 0) return [];
  const agent = new OptionsAgent(config, addresses, answerMs);
  try {
    await agent.start();
    const findings = await Promise.all(asked.map((address) => agent.ask(address)));
    const left = addresses.length - asked.length;
    const rest: Finding[] = left === 0
      ? []
      : [{ part: "pbx", state: "idle", words: `${left} further addresses were not asked`, hint: "", ms: null }];
    return [...lessUnused(asked, findings), ...rest];
  } catch (error) {
    const words = `cannot ask: ${error instanceof Error ? error.message : String(error)}`;
    return [{ part: "pbx", state: "failed", words, hint: "listen must name addresses of this machine", ms: null }];
  } finally {
    agent.stop();
  }
}

/** An address that no listener leads to is a warning only, if its name has others: IPv6, where we have IPv4 alone. */
function lessUnused(asked: readonly PbxAddress[], findings: readonly Finding[]): Finding[] {
  return findings.map((finding, at) => {
    const isOneOfMany = asked.some(({ uri }, other) => uri === asked[at]!.uri && findings[other]!.ms !== null);
    return finding.ms === null && isOneOfMany ? { ...finding, state: "warning" } : finding;
  });
}

/** Transactions over sockets of their own, open only while the PBX is asked. */
class OptionsAgent {
  private readonly turn: Turn;
  private readonly transports: Transports;
  private readonly table: Transactions;
  private readonly answerMs: number;
  private readonly listen: readonly Listen[];
  /** Why a connection closed. */
  private readonly closed = new Map<Flow, string>();

  constructor(config: Config, addresses: readonly PbxAddress[], answerMs: number) {
    this.answerMs = answerMs;
    const certificates = new Certificates(config);
    certificates.takeAddresses(addresses);
    this.listen = freePorts(config);
    const turn: Turn = new Turn({
      runDue: () => schedule.run(),
      flush: () => this.transports.flush(),
      commit() {},
      nextMs: () => schedule.nextMs,
      tick: (nowMs) => this.transports.tick(nowMs),
      // What a stranger sends is no finding. If the OPTIONS stays unanswered, that is one.
      onFault() {},
      onLag() {},
    });
    this.turn = turn;
    const schedule: Schedule = new Schedule(turn);
    this.transports = new Transports({
      listen: this.listen,
      advertise: "",
      sink: {
        message: (flow, text) => this.turn.run(() => this.heard(flow, text)),
        closed: (flow, reason) => {
          this.closed.set(flow, reason);
          this.turn.run(() => this.table.flowClosed(flow));
        },
        malformed() {},
      },
      now: () => {
        turn.enter();
        return turn.nowMs;
      },
      onInput: () => turn.enter(),
      log() {},
      limits: { connectTimeoutMs: answerMs },
      tls: certificates.settings(),
      tlsPeer: (address) => certificates.peerAt(address, true),
    });
    this.table = new Transactions(portOn(this.transports), schedule);
  }

  async start(): Promise<void> {
    await this.transports.start();
  }

  stop(): void {
    this.turn.stop();
    this.transports.stop();
  }

  ask(to: PbxAddress): Promise<Finding> {
    const place = `${to.transport} ${hostPort(to.address, to.port)}`;
    return new Promise((resolve) => {
      const finish = (state: Finding["state"], words: string, hint: string, ms: number | null): void => {
        clearTimeout(timer);
        resolve({ part: "pbx", state, words: `${place} ${words}`, hint, ms: ms === null ? null : tenths(ms) });
      };
      let sentMs = 0;
      let flow: Flow | null = null;
      const silence = (): void => {
        const words = `did not answer OPTIONS within ${this.answerMs / 1000} s`;
        finish("failed", words, silenceHint(to), performance.now() - sentMs);
      };
      const timer = setTimeout(silence, this.answerMs);
      const owner: ClientOwner = {
        onResponse: (response) => {
          if (response.status < 200) return;
          const { words, hint } = answered(response);
          finish("ok", words, hint, performance.now() - sentMs);
        },
        onFailure: (failure: ClientFailure) => {
          // Why a connection failed is told within this turn.
          queueMicrotask(() => {
            if (failure === "timeout") return silence();
            const reason = flow === null ? "" : this.closed.get(flow) ?? "";
            const words = `cannot be reached${reason === "" ? "" : `: ${reason.replace("Cannot connect: ", "")}`}`;
            const isRefused = reason.endsWith("refused");
            const hint = isRefused
              ? `nothing listens there: is the PBX running, and ${to.transport} switched on in it?`
              : "";
            const isExplained = hint !== "" || reason.startsWith("TLS ");
            finish("failed", words, isExplained ? hint : silenceHint(to), performance.now() - sentMs);
          });
        },
      };
      this.turn.run(() => {
        flow = this.transports.flowTo(to.transport, to.address, to.port);
        if (flow === null) {
          return finish("failed", "is out of reach", outOfReachHint(to, this.listen), null);
        }
        sentMs = performance.now();
        sendOptions(this.table, flow, owner);
      });
    });
  }

  private heard(flow: Flow, text: string): void {
    const message = parseMessage(text, !flow.isReliable);
    if (message.problem === null && !message.isRequest) this.table.receiveResponse(message, flow, NOBODY);
  }
}

/** A probe asks, and takes nothing but the answers. */
const NOBODY: TransactionUser = {
  onRequest() {},
  onAck() {},
  onCancel() {},
  isAnswerer: () => false,
  onForeignResponse() {},
  onStrayResponse() {},
};

/** The addresses of the config, by which the PBX may know us. The ports stay free for the appliance. */
function freePorts(config: Config): Listen[] {
  const listens = new Map<string, Listen>();
  for (const { scheme, host } of config.listen) {
    if (scheme === "ws" || scheme === "wss") continue;
    listens.set(`${scheme} ${host}`, { scheme, host, port: 0, advertise: "" });
  }
  return [...listens.values()];
}

function portOn(transports: Transports): TransactionPort {
  return {
    send: (flow, wire) => transports.send(flow, wire),
    sendDurable: (flow, wire) => transports.send(flow, wire),
    flowTo: (...to) => transports.flowTo(...to),
    closeFlow: (...what) => transports.close(...what),
    count() {},
    measure() {},
    isLogged: () => false,
    log() {},
    event() {},
    token: (length) => {
      let text = "";
      while (text.length < length) text += crypto.randomUUID().replaceAll("-", "");
      return text.slice(0, length);
    },
  };
}

/** Any answer shows that the PBX is there. If it is no plain 200, the hint says what it means. */
function answered(response: Message): { words: string; hint: string } {
  const server = response.valueOf("server") ?? response.valueOf("user-agent") ?? "";
  const who = server === "" ? "" : ` (${clip(readable(server), MAX_SERVER_WORDS)})`;
  const { status } = response;
  const phrase = readable(response.raw.slice("SIP/2.0 200 ".length, response.headersStart).trim());
  const words = `answered OPTIONS with ${status} ${clip(phrase, MAX_SERVER_WORDS)}`.trimEnd() + who;
  if (status === 401 || status === 403 || status === 407) {
    return { words, hint: "it is there, and wants to know who asks: that does no harm" };
  }
  if (status === 404 || status === 405) return { words, hint: "it is there; OPTIONS without a user is not served" };
  if (status >= 500) return { words, hint: "it is there, and says that something is wrong with it" };
  return { words, hint: "" };
}

function outOfReachHint({ transport, address }: PbxAddress, listen: readonly Listen[]): string {
  const ofTransport = listen.filter(({ scheme }) => scheme === transport);
  if (ofTransport.length === 0) return `listen has no ${transport}:// entry: add one`;
  const family = isIP(address);
  const ofFamily = ofTransport.filter(({ host }) => isIP(host) === family);
  if (ofFamily.length === 0) {
    return `listen has no IPv${family} address for ${transport}: add one, or leave it to the others`;
  }
  const hosts = ofFamily.map(({ host }) => host).join(", ");
  return `no way leads there from ${hosts} (listen): \`ip route get ${address}\` shows what this machine would do`;
}

function silenceHint({ transport, port }: PbxAddress): string {
  const kind = transport === "udp" ? "udp" : "tcp";
  return `is the PBX running, does it listen on ${kind} ${port}, and does a firewall let this machine through? ` +
    `On the PBX, \`tcpdump -ni any ${kind} port ${port}\` shows whether OPTIONS arrives`;
}
