/** A scripted phone: registers, sleeps, is woken by push, rings, answers, declines, is cancelled. */
import type { PushOrder } from "../../src/core/usrloc/push_order.ts";
import { answerChallenge, type DigestSecret, parseChallenges } from "../../src/core/sip/digest.ts";
import type { Message } from "../../src/core/sip/message.ts";
import { SimCall } from "./call.ts";
import type { Link } from "./net.ts";
import { DOMAIN, passwordOf } from "./pbx.ts";
import { type Incoming, Ua } from "./ua.ts";
import { contactOf, requestText, responseText, routeLines } from "./wire.ts";
import type { World } from "./world.ts";

/** What it does with an INVITE. Times in ms from the INVITE's arrival; null: never. */
export interface Habits {
  /** 100 at once. */
  tries: boolean;
  ringMs: number | null;
  answerMs: number | null;
  decline: { afterMs: number; status: number } | null;
  /** What is no new call (a re-INVITE, INFO, MESSAGE) is answered after this. Default 0. */
  reactMs: number;
  /** Says more than there is to say: 180 behind its final response, and another final. */
  stutters: boolean;
  /** Cold start: awake after a push this late; null: sleeps on. */
  wakeMs: number | null;
}

export interface PhoneOptions extends Partial<Habits> {
  transport?: "udp" | "tcp";
  /** null: a desk phone. Default: provider `acme`, a token of its own. */
  push?: { provider: string; param?: string; prid?: string } | null;
  /** Default: made of name and number. Empty: none. */
  instance?: string;
  /** RFC 5626: one of several flows of its instance; a phone with two flows is two of these. */
  regId?: number;
  password?: string;
  /** Seconds it asks for. */
  expires?: number;
}

/** One INVITE that reached the phone. */
export class PhoneCall {
  state: "offered" | "ringing" | "answered" | "declined" | "cancelled" | "confirmed" | "ended" = "offered";
  readonly atMs: number;
  /** The CANCEL that came. */
  cancel: Message | null = null;
  /** The BYE that came. */
  bye: Message | null = null;
  acks = 0;
  byes = 0;
  /** True once it said more than its final response. */
  hasStuttered = false;

  constructor(readonly phone: Phone, readonly incoming: Incoming) {
    this.atMs = phone.world.nowMs;
  }

  get invite(): Message {
    return this.incoming.request;
  }

  get isPending(): boolean {
    return this.state === "offered" || this.state === "ringing";
  }

  ring(): void {
    if (!this.isPending || this.phone.isAsleep) return;
    this.state = "ringing";
    this.incoming.respond(180, this.phone.contactLine(this.incoming.link));
  }

  answer(): void {
    if (!this.isPending || this.phone.isAsleep) return;
    this.state = "answered";
    this.incoming.respond(200, this.phone.contactLine(this.incoming.link) + "Content-Type: text/plain\r\n", "v=0");
  }

  decline(status = 486, lines = ""): void {
    if (!this.isPending || this.phone.isAsleep) return;
    this.state = "declined";
    this.incoming.respond(status, lines);
  }

  /** BYE along the route set. */
  hangUp(): void {
    if (this.state !== "answered" && this.state !== "confirmed") return;
    this.state = "ended";
    const { invite, phone, incoming } = this;
    const text = requestText({
      method: "BYE",
      uri: contactOf(invite),
      link: phone.link!,
      sentBy: phone.sentBy(phone.link!),
      branch: "z9hG4bK" + phone.world.prng.token(12),
      from: `${invite.valueOf("to")};tag=${incoming.toTag}`,
      to: invite.valueOf("from")!,
      callId: invite.callId,
      cseq: 1,
      lines: routeLines(invite, false),
    });
    phone.transact(phone.link!, text, { onResponse() {} });
  }
}

export class Phone extends Ua {
  habits: Habits;
  link: Link | null = null;
  readonly calls: PhoneCall[] = [];
  readonly outgoingCalls: SimCall[] = [];
  readonly pushes: PushOrder[] = [];
  /** Final answers to REGISTER: `[status, at ms]`. */
  readonly registrations: [number, number][] = [];
  /** Where it registered last. */
  registeredLink: Link | null = null;
  readonly prid: string;
  /** A phone keeps it, but some make a new one with each start: {@link restart}. */
  contactUser: string;
  onRegistered: () => void = () => {};
  /** It has forgotten what it got before. */
  hasRestarted = false;
  /** CANCELs of what it never got, or of what is no INVITE. */
  strayCancels = 0;
  private cseq = 0;
  private readonly callId: string;
  private readonly secret: DigestSecret;

  constructor(
    world: World,
    readonly user: string,
    readonly number: number,
    readonly address: string,
    readonly options: PhoneOptions,
  ) {
    super(world, `${user}#${number}`, { ...world.internet });
    this.prid = options.push === null ? "" : options.push?.prid ?? `tok-${user}-${number}`;
    this.contactUser = user;
    this.callId = `reg-${user}-${number}`;
    this.secret = { username: user, password: options.password ?? passwordOf(user), ha1s: [] };
    this.habits = {
      tries: options.tries ?? false,
      ringMs: options.ringMs === undefined ? 20 : options.ringMs,
      answerMs: options.answerMs ?? null,
      decline: options.decline ?? null,
      reactMs: options.reactMs ?? 0,
      stutters: options.stutters ?? false,
      wakeMs: options.wakeMs === undefined ? 1000 : options.wakeMs,
    };
    if (this.prid !== "") world.push.subscribe(this.prid, this);
  }

  /** The newest INVITE. */
  get call(): PhoneCall {
    const call = this.calls.at(-1);
    if (call === undefined) throw new Error(`${this.name} never got an INVITE`);
    return call;
  }

  /** Calls that may still be answered here. */
  get pending(): PhoneCall[] {
    return this.calls.filter((call) => call.isPending);
  }

  get isRegistered(): boolean {
    return this.registrations.at(-1)?.[0] === 200;
  }

  private get transport(): "udp" | "tcp" {
    return this.options.transport ?? "tcp";
  }

  /** Opens a new flow: another port of its NAT, a new connection. */
  connect(): Link {
    const port = this.world.freshPort();
    const { net } = this.world;
    this.link = this.transport === "udp" ? net.udp(this, this.address, port) : net.connect(this, this.address, port);
    return this.link;
  }

  sentBy(_link: Link): string {
    return `192.168.1.${this.number}:${this.transport === "udp" ? 5060 : 49152}`;
  }

  /** The Contact URI is the private address: it says nothing of the flow, and stays when the flow changes. */
  contactUri(link: Link): string {
    const { push } = this.options;
    const pn = this.prid === ""
      ? ""
      : `;pn-provider=${push?.provider ?? "acme"};pn-param=${push?.param ?? "app"};pn-prid=${this.prid}`;
    return `sip:${this.contactUser}@${this.sentBy(link)};transport=${this.transport}${pn}`;
  }

  contactLine(link: Link): string {
    return `Contact: <${this.contactUri(link)}>\r\n`;
  }

  get instance(): string {
    return this.options.instance ?? `urn:uuid:${this.user}-${this.number}`;
  }

  /**
   * REGISTER over the link it has, or a new one. `callId`: phones that begin anew with each start. `alsoRemoves`: another
   * Contact, in angle brackets, that it takes out by the way.
   */
  register(options: { expires?: number; callId?: string; alsoRemoves?: string } = {}): void {
    const expires = options.expires ?? this.options.expires ?? 600;
    const { instance } = this;
    const { regId } = this.options;
    const suffix = (instance === "" ? "" : `;+sip.instance="<${instance}>"`) +
      (regId === undefined ? "" : `;reg-id=${regId}`);
    this.sendRegister(
      options.callId ?? this.callId,
      (options.alsoRemoves === undefined ? "" : `Contact: ${options.alsoRemoves};expires=0\r\n`) +
        `Contact: <${this.contactUri(this.linkNow())}>${suffix};expires=${expires}\r\n`,
      null,
    );
  }

  /** Calls somebody at the PBX. */
  callOut(): SimCall {
    const link = this.linkNow();
    const address = `<sip:${this.user}@${DOMAIN}>`;
    const call = new SimCall(this, link, this.sentBy(link), {
      uri: `sip:bob@${DOMAIN}`,
      from: address,
      to: `<sip:bob@${DOMAIN}>`,
    });
    this.outgoingCalls.push(call);
    return call;
  }

  deregister(): void {
    this.register({ expires: 0 });
  }

  private linkNow(): Link {
    if (this.link === null || this.link.state === "closed" || this.link.isClosedByPeer) return this.connect();
    return this.link;
  }

  private sendRegister(callId: string, contactLine: string, authorization: string | null): void {
    const link = this.linkNow();
    const address = `<sip:${this.user}@${DOMAIN}>`;
    const cseq = ++this.cseq;
    const text = requestText({
      method: "REGISTER",
      uri: `sip:${DOMAIN}`,
      link,
      sentBy: this.sentBy(link),
      branch: "z9hG4bK" + this.world.prng.token(12),
      from: `${address};tag=r${cseq}`,
      to: address,
      callId,
      cseq,
      lines: contactLine + (authorization === null ? "" : `Authorization: ${authorization}\r\n`),
    });
    this.transact(link, text, {
      onResponse: (response) => {
        if (response.status < 200) return;
        if (response.status === 401 && authorization === null) {
          const challenges = parseChallenges([response.valueOf("www-authenticate") ?? ""]);
          const cnonce = this.world.prng.token(8);
          const value = answerChallenge(challenges, this.secret, {
            method: "REGISTER",
            uri: `sip:${DOMAIN}`,
            cnonce,
            nc: 1,
          });
          if (value !== null) return this.sendRegister(callId, contactLine, value);
        }
        this.registrations.push([response.status, this.world.nowMs]);
        if (response.status === 200) this.registeredLink = link;
        if (response.status === 200) this.onRegistered();
      },
      onFailure: () => this.registrations.push([408, this.world.nowMs]),
    });
  }

  /** `close`: the connection ends and latefork hears of it. `silent`: the phone is just gone. */
  sleep(how: "close" | "silent" = this.transport === "tcp" ? "close" : "silent"): void {
    const { link } = this;
    this.isAsleep = true;
    if (link === null) return;
    if (how === "close") this.world.net.close(link);
    else link.isUp = false;
  }

  /** The app starts: a new flow, a REGISTER. */
  wake(): void {
    this.isAsleep = false;
    this.connect();
    this.register();
  }

  /** The app thaws and finds its old flow in order (UDP behind a patient NAT). */
  thaw(): void {
    this.isAsleep = false;
    this.link!.isUp = true;
    this.register();
  }

  /** The app starts on its old port if it has one, as another Contact: what was for the old one is nobody's (baresip). */
  restart(): void {
    this.isAsleep = false;
    if (this.link !== null && this.transport === "udp") this.link.isUp = true;
    else this.connect();
    for (const call of this.calls) call.state = "ended";
    this.outgoingCalls.length = 0;
    this.forgetAll();
    this.hasRestarted = true;
    this.contactUser = `${this.user}-${this.world.prng.token(6)}`;
    this.register();
  }

  onPush(order: PushOrder): void {
    this.pushes.push(order);
    if ((order.event !== "call" && order.event !== "message") || !this.isAsleep || this.habits.wakeMs === null) return;
    this.world.in(this.habits.wakeMs, () => {
      if (this.isAsleep) this.wake();
    });
  }

  protected onRequest(incoming: Incoming): void {
    const { request } = incoming;
    switch (request.method) {
      case "INVITE":
        return this.onInvite(incoming);
      case "CANCEL": {
        const cancelled = this.incoming.get(request.via!.branch + "INVITE");
        incoming.respond(cancelled === undefined ? 481 : 200);
        if (cancelled === undefined) {
          if (!this.hasRestarted) this.strayCancels++;
          return;
        }
        const call = this.calls.find((call) => call.incoming === cancelled);
        if (call === undefined) return cancelled.respond(487);
        call.cancel = request;
        if (!call.isPending) return;
        call.state = "cancelled";
        call.incoming.respond(487);
        return;
      }
      case "BYE": {
        const call = this.calls.find((call) => call.incoming.toTag === request.to.tag);
        incoming.respond(call === undefined ? 481 : 200);
        if (call === undefined) return;
        call.bye = request;
        call.byes++;
        call.state = "ended";
        return;
      }
      default:
        this.react(incoming);
    }
  }

  /** To what is no new call. */
  private react(incoming: Incoming): void {
    const { request } = incoming;
    const { tag } = request.to;
    const call = this.calls.find((call) => call.incoming.toTag === tag);
    const isOver = tag !== "" && (call === undefined || call.state === "ended");
    const { reactMs } = this.habits;
    if (this.habits.tries) incoming.respond(100);
    const answer = () => {
      if (!this.isAsleep) incoming.respond(isOver ? 481 : 200, isOver ? "" : this.contactLine(incoming.link));
    };
    if (reactMs === 0) answer();
    else this.world.in(reactMs, answer);
  }

  private onInvite(incoming: Incoming): void {
    if (incoming.request.to.tag !== "") return this.react(incoming);
    if (incoming.request.uri!.user !== this.contactUser) return incoming.respond(404);
    const call = new PhoneCall(this, incoming);
    this.calls.push(call);
    const { tries, ringMs, answerMs, decline } = this.habits;
    const { world } = this;
    if (tries) incoming.respond(100);
    if (ringMs === 0) call.ring();
    else if (ringMs !== null) world.in(ringMs, () => call.ring());
    if (answerMs !== null) world.in(answerMs, () => call.answer());
    if (decline !== null) world.in(decline.afterMs, () => call.decline(decline.status));
    if (this.habits.stutters) { for (const ms of [100, 1000, 3000]) world.in(ms, () => this.stutter(call)); }
  }

  private stutter(call: PhoneCall): void {
    const { incoming } = call;
    if (this.isAsleep || incoming.status < 200) return;
    call.hasStuttered = true;
    for (const status of [180, incoming.status === 200 ? 486 : 200]) {
      const text = responseText(incoming.request, status, incoming.toTag, this.contactLine(incoming.link));
      this.transmit(incoming.link, text);
    }
  }

  protected override onAck(ack: Message): void {
    const call = this.calls.find((call) => call.incoming.toTag === ack.to.tag);
    if (call === undefined) return;
    call.acks++;
    if (call.state === "answered") call.state = "confirmed";
  }
}
