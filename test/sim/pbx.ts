/** The scripted PBX: a registrar that grants what it is asked (or something else), with or without a challenge, and a caller. */
import { digestResponse, ha1, parseCredentials } from "../../src/core/sip/digest.ts";
import { SimCall } from "./call.ts";
import { Exchange } from "./exchange.ts";
import { type Link, LISTENERS } from "./net.ts";
import { type Incoming, Ua } from "./ua.ts";
import { requestText } from "./wire.ts";
import type { World } from "./world.ts";

export interface PbxOptions {
  transport?: "udp" | "tcp";
  /** Challenges every REGISTER without credentials (401). */
  isChallenging?: boolean;
  /** Seconds granted for the seconds asked. */
  grant?: (asked: number) => number;
  /** Time until it answers a REGISTER, ms. */
  answerMs?: number;
  /** Tells of waiting messages with each REGISTER it accepts, just before its 200, as Asterisk does. */
  isNotifying?: boolean;
  /** Takes the source of a message for the truth, as Asterisk does with `rewrite_contact=yes` (FreePBX's default). */
  isRewriting?: boolean;
}

export const PBX_ADDRESS = "10.0.0.1";
export const DOMAIN = "pbx.example.org";

/** Password of every user of the PBX. */
export function passwordOf(user: string): string {
  return "secret-" + user;
}

/** Calls somebody through latefork: the PBX, and in registrar mode anybody. */
export class Caller extends Ua {
  readonly calls: SimCall[] = [];

  constructor(world: World, name: string, readonly address: string, readonly transport: "udp" | "tcp") {
    super(world, name, { ...world.lan });
    world.net.listen(this, address, 5060);
  }

  /** The way to latefork. */
  get link(): Link {
    if (this.transport === "udp") return this.world.net.udp(this, this.address, 5060);
    const { net } = this.world;
    const link = net.flowTo("tcp", this.address, 5060)!;
    // What this side has closed it does not use, also before latefork hears of it.
    return link.isClosedByPeer ? net.connect(this, this.address, 5060) : link;
  }

  /** An INVITE to a Request-URI. */
  invite(uri: string, user: string, options: CallOptions = {}): SimCall {
    const from = options.from ?? '"Bob" <sip:bob@' + DOMAIN + ">";
    const call = new SimCall(this, this.link, this.address + ":5060", {
      uri,
      from,
      to: `<sip:${user}@${DOMAIN}>`,
      ...options,
    });
    this.calls.push(call);
    return call;
  }

  /** A request that is no INVITE, to a Request-URI. */
  request(method: string, uri: string, user: string): Exchange {
    const { prng } = this.world;
    const text = requestText({
      method,
      uri,
      link: this.link,
      sentBy: this.address + ":5060",
      branch: "z9hG4bK" + prng.token(12),
      from: `<sip:bob@${DOMAIN}>;tag=${prng.token(8)}`,
      to: `<sip:${user}@${DOMAIN}>`,
      callId: prng.token(16) + "@caller",
      cseq: 1,
    });
    return new Exchange(this, this.link, method, text);
  }

  protected onRequest(incoming: Incoming): void {
    incoming.respond(incoming.request.method === "INVITE" ? 486 : 200);
  }
}

export interface CallOptions {
  from?: string;
  callId?: string;
  lines?: string;
  body?: string;
}

interface PbxContact {
  uri: string;
  expiresAtMs: number;
}

export class SimPbx extends Caller {
  /** Contacts by user. */
  readonly contacts = new Map<string, PbxContact[]>();
  /** REGISTERs it accepted, by user, with the time of its 2xx. */
  readonly accepted: { atMs: number; user: string; callId: string; cseq: number }[] = [];
  /** What it told of waiting messages. */
  readonly notified: Exchange[] = [];
  /** Answers every REGISTER with this; 0: as it should. */
  refusesWith = 0;
  /** When it was last (re)started; what began before is not known to it. */
  startedAtMs = 0;
  /** Calls of phones are answered after this, ms; null: 486. */
  answersMs: number | null = null;
  /** Does not answer REGISTERs at all. */
  isMute = false;
  private readonly nonces = new Set<string>();

  constructor(world: World, readonly options: PbxOptions = {}) {
    super(world, "pbx", PBX_ADDRESS, options.transport ?? "udp");
  }

  /** Up again, and nothing of before is known: calls, contacts, its connection. */
  restart(): void {
    this.startedAtMs = this.world.nowMs;
    this.forgetAll();
    this.contacts.clear();
    this.nonces.clear();
    if (this.transport === "tcp") this.world.net.close(this.link);
  }

  /** Calls a user at every contact it has; in mode `aor` that is one. */
  callAll(user: string, options: CallOptions = {}): SimCall[] {
    const contacts = this.contacts.get(user) ?? [];
    const callId = options.callId ?? this.world.prng.token(16) + "@pbx";
    return contacts.map((contact) => this.invite(contact.uri, user, { ...options, callId }));
  }

  /** Calls a user at the one contact it has, or at latefork if it has none. */
  call(user: string, options: CallOptions = {}): SimCall {
    const uri = this.contacts.get(user)?.[0]?.uri ?? `sip:${user}@${LISTENERS.udp.advertised}`;
    return this.invite(uri, user, options);
  }

  override onMessage(link: Link, text: string): void {
    super.onMessage(link, this.options.isRewriting ? rewritten(link, text) : text);
  }

  /** Everything a phone registered, as a registrar without a database after a restart; its calls go on. */
  forgetContacts(): void {
    this.contacts.clear();
  }

  protected override onRequest(incoming: Incoming): void {
    const { request } = incoming;
    if (request.method === "INVITE" && this.answersMs !== null) return this.answer(incoming, this.answersMs);
    if (request.method !== "REGISTER") return incoming.respond(request.method === "INVITE" ? 486 : 200);
    if (this.isMute) return;
    const { answerMs = 0 } = this.options;
    if (answerMs === 0) this.register(incoming);
    else this.world.in(answerMs, () => this.register(incoming));
  }

  /** A phone calls somebody here, who answers. */
  private answer(incoming: Incoming, afterMs: number): void {
    const contact = `Contact: <sip:bob@${this.address}:5060>\r\n`;
    const { startedAtMs } = this;
    incoming.respond(180, contact);
    this.world.in(afterMs, () => {
      if (this.startedAtMs === startedAtMs) incoming.respond(200, contact);
    });
  }

  private register(incoming: Incoming): void {
    const { request } = incoming;
    if (this.refusesWith !== 0) return incoming.respond(this.refusesWith);
    const user = request.to.uri!.user;
    if (this.options.isChallenging && !this.isAuthentic(incoming, user)) {
      const nonce = this.world.prng.token(20);
      this.nonces.add(nonce);
      return incoming.respond(
        401,
        `WWW-Authenticate: Digest realm="${DOMAIN}", nonce="${nonce}", qop="auth", algorithm=MD5\r\n`,
      );
    }
    const header = Number(request.valueOf("expires") ?? "3600");
    const contacts = (this.contacts.get(user) ?? []).filter((contact) => contact.expiresAtMs > this.world.nowMs);
    for (const element of request.list(6) ?? []) {
      if (element === "*") {
        contacts.length = 0;
        continue;
      }
      const uri = /<([^>]*)>/.exec(element)![1]!;
      const asked = Number(/>.*;expires=(\d+)/.exec(element)?.[1] ?? header);
      const granted = asked === 0 ? 0 : this.options.grant?.(asked) ?? asked;
      const at = contacts.findIndex((contact) => contact.uri === uri);
      if (at >= 0) contacts.splice(at, 1);
      if (granted > 0) contacts.push({ uri, expiresAtMs: this.world.nowMs + granted * 1000 });
    }
    this.contacts.set(user, contacts);
    if (this.options.isNotifying) {
      for (const { uri } of contacts) this.notified.push(this.request("NOTIFY", uri, user));
    }
    this.accepted.push({ atMs: this.world.nowMs, user, callId: request.callId, cseq: request.cseq });
    const lines = contacts.map((contact) =>
      `Contact: <${contact.uri}>;expires=${Math.round((contact.expiresAtMs - this.world.nowMs) / 1000)}\r\n`
    );
    incoming.respond(200, lines.join(""));
  }

  private isAuthentic(incoming: Incoming, user: string): boolean {
    const value = incoming.request.valueOf("authorization");
    const credentials = value === undefined ? "other" : parseCredentials(value);
    if (typeof credentials === "string" || !this.nonces.has(credentials.nonce)) return false;
    const expected = digestResponse(ha1("MD5", user, DOMAIN, passwordOf(user)), "REGISTER", credentials);
    return expected === credentials.response;
  }
}

/**
 * `nat_on_rx_message` of res_pjsip_nat.c: the Record-Route next to it gets host and port of the source, the transport with
 * them; without Record-Route the Contact does.
 */
function rewritten(link: Link, text: string): string {
  const lines = text.slice(0, text.indexOf("\r\n\r\n")).split("\r\n");
  const isResponse = text.startsWith("SIP/2.0 ");
  const named = (name: string) => lines.flatMap((line, at) => line.toLowerCase().startsWith(name) ? [at] : []);
  const routes = named("record-route:");
  const at = routes.length > 0 ? routes.at(isResponse ? -1 : 0) : named("contact:")[0];
  if (at === undefined) return text;
  const source = `${link.listener.address}:${link.localPort}`;
  const transport = link.isReliable ? `;transport=${link.transport.toUpperCase()}` : "";
  lines[at] = lines[at]!.replace(
    /<sip:([^@>]*@)?[^;>]*([^>]*)>/,
    (_, user: string | undefined, params: string) =>
      `<sip:${user ?? ""}${source}${transport}${params.replace(/;transport=[^;]*/i, "")}>`,
  );
  return lines.join("\r\n") + text.slice(text.indexOf("\r\n\r\n"));
}
