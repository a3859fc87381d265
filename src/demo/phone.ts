/**
 * A phone of the demo: registers with its password, rings, answers when told, and falls asleep by closing its
 * connection. Knows its own line alone: it cannot tell that latefork stands between it and the PBX.
 */
import { answerChallenge, parseChallenges } from "../core/sip/digest.ts";
import { REASON, WWW_AUTHENTICATE } from "../core/sip/header.ts";
import { type Message, parseMessage } from "../core/sip/message.ts";
import { connectStream, type Line, type LineTransport, LOOPBACK, openUdp, openWeb } from "./line.ts";
import type { Stage } from "./stage.ts";
import { answerTo, fresh, SDP } from "./ua.ts";

export interface PhoneOptions {
  stage: Stage;
  /** For people: `alice's mobile`. */
  name: string;
  user: string;
  domain: string;
  password: string;
  transport: LineTransport;
  /** latefork's port of that transport. */
  proxyPort: number;
  /** PEM of the CA that latefork's certificate must be of; of TLS and WSS. */
  ca?: string;
  /** Its push token; null: it cannot be woken. */
  token: string | null;
  /** Push parameters of its Contact. Absent: those of the demo's own receiver. */
  service?: string;
}

export type IncomingState = "ringing" | "answered" | "declined" | "cancelled" | "ended";

/** An INVITE that came in, and what became of it. */
export interface Incoming {
  readonly invite: Message;
  readonly atMs: number;
  readonly tag: string;
  state: IncomingState;
  isAcked: boolean;
  /** Reason headers of the CANCEL. */
  cancelReason: string;
  lastResponse: string;
}

/** One try to register, as the phone saw it. */
export interface Registration {
  /** Final status, 0 while under way. */
  status: number;
  /** How often it was asked for its password. */
  challenges: number;
  sentAtMs: number;
}

const EXPIRES = 3600;

export class Phone {
  readonly calls: Incoming[] = [];
  private readonly callId = fresh("reg");
  private readonly tag = fresh("t");
  private readonly instance = crypto.randomUUID();
  private cseq = 0;
  private line: Line | null = null;
  private lines = 0;
  private registration: Registration | null = null;
  /** Set from the moment it wakes until it sleeps. */
  private waking: Promise<Registration> | null = null;

  constructor(readonly options: PhoneOptions) {}

  /** True if its line is open and the PBX took its password. */
  get isRegistered(): boolean {
    return this.line !== null && this.registration?.status === 200;
  }

  /** Opens its line and registers; a phone that is waking already is not woken twice. */
  wake(): Promise<Registration> {
    return this.waking ??= this.wakeUp();
  }

  private async wakeUp(): Promise<Registration> {
    const { transport, proxyPort, ca = "" } = this.options;
    const lineNumber = ++this.lines;
    // The end of an earlier line may be reported when the next is open already.
    const onClose = () => {
      if (lineNumber === this.lines) this.closed();
    };
    const onMessage = (text: string) => this.receive(text);
    if (transport === "udp") this.line = await openUdp(proxyPort, onMessage);
    else if (transport === "wss") {
      this.line = await openWeb(`wss://${LOOPBACK}:${proxyPort}/sip`, ca, onMessage, onClose);
    } else this.line = await connectStream(proxyPort, transport === "tls" ? ca : "", onMessage, onClose);
    const registration = this.registration = { status: 0, challenges: 0, sentAtMs: performance.now() };
    this.register("");
    const { stage, name } = this.options;
    await stage.until(`the answer to the REGISTER of ${name}`, 5000, () => registration.status > 0);
    return registration;
  }

  /** Falls asleep as an operating system puts an app to sleep: the connection closes without a word of SIP. */
  sleep(): void {
    this.line?.close();
    this.closed();
  }

  answer(call: Incoming): void {
    call.state = "answered";
    const contact = `Contact: <${this.contactUri()}>\r\n`;
    this.respond(call, 200, contact + SDP.type, SDP.body);
  }

  decline(call: Incoming): void {
    call.state = "declined";
    this.respond(call, 486);
  }

  private receive(text: string): void {
    const message = parseMessage(text);
    if (message.problem !== null) return;
    if (message.isRequest) this.onRequest(message);
    else if (message.cseqMethod === "REGISTER") this.onRegisterAnswer(message);
    this.options.stage.changed();
  }

  private onRequest(request: Message): void {
    const call = this.calls.find(({ invite }) => invite.callId === request.callId);
    switch (request.method) {
      case "INVITE":
        if (call === undefined) this.ring(request);
        else if (call.invite.via!.branch === request.via!.branch) this.line?.send(call.lastResponse);
        else this.line?.send(answerTo(request, 482, fresh("t")));
        return;
      case "ACK":
        if (call !== undefined) call.isAcked = true;
        return;
      case "CANCEL":
        this.line?.send(answerTo(request, call === undefined ? 481 : 200, this.tag));
        if (call === undefined || call.state !== "ringing") return;
        call.state = "cancelled";
        call.cancelReason = request.values(REASON).join(", ");
        return this.respond(call, 487);
      case "BYE":
        if (call !== undefined) call.state = "ended";
        return this.line?.send(answerTo(request, call === undefined ? 481 : 200, ""));
      default:
        this.line?.send(answerTo(request, request.method === "OPTIONS" ? 200 : 501, this.tag));
    }
  }

  private ring(invite: Message): void {
    const call: Incoming = {
      invite,
      atMs: performance.now(),
      tag: fresh("t"),
      state: "ringing",
      isAcked: false,
      cancelReason: "",
      lastResponse: "",
    };
    this.calls.push(call);
    this.respond(call, 180, `Contact: <${this.contactUri()}>\r\n`);
  }

  private respond(call: Incoming, status: number, lines = "", body = ""): void {
    call.lastResponse = answerTo(call.invite, status, call.tag, lines, body);
    this.line?.send(call.lastResponse);
  }

  private register(authorization: string): void {
    const { user, domain } = this.options;
    const line = this.line!;
    const aor = `<sip:${user}@${domain}>`;
    line.send(
      `REGISTER sip:${domain} SIP/2.0\r\n` +
        `Via: SIP/2.0/${line.transport.toUpperCase()} ${line.sentBy};branch=${fresh("z9hG4bK")};rport\r\n` +
        `Max-Forwards: 70\r\nFrom: ${aor};tag=${this.tag}\r\nTo: ${aor}\r\nCall-ID: ${this.callId}\r\n` +
        `CSeq: ${++this.cseq} REGISTER\r\n` +
        `Contact: <${this.contactUri()}${this.pushParams()}>;+sip.instance="<urn:uuid:${this.instance}>"\r\n` +
        `${authorization}Expires: ${EXPIRES}\r\nUser-Agent: demo ${this.options.transport} phone\r\n` +
        "Content-Length: 0\r\n\r\n",
    );
  }

  private contactUri(): string {
    const { user, transport } = this.options;
    // RFC 7118 §5: of WSS it is `ws`, too.
    const param = transport === "udp" ? "" : `;transport=${transport === "wss" ? "ws" : transport}`;
    return `sip:${user}@${this.line?.sentBy ?? LOOPBACK}${param}`;
  }

  /** RFC 8599 §4.1: how to wake it stands in the Contact URI of its REGISTER. */
  private pushParams(): string {
    const { token, service = "pn-provider=acme;pn-param=org.example.phone" } = this.options;
    return token === null ? "" : `;${service};pn-prid=${encodeURIComponent(token)}`;
  }

  private onRegisterAnswer(response: Message): void {
    const registration = this.registration;
    if (registration === null || response.cseq !== this.cseq || response.status < 200) return;
    if (response.status !== 401 || registration.challenges > 0) {
      registration.status = response.status;
      return;
    }
    registration.challenges++;
    const { user, domain, password } = this.options;
    const value = answerChallenge(
      parseChallenges(response.values(WWW_AUTHENTICATE)),
      { username: user, password, ha1s: [] },
      { method: "REGISTER", uri: `sip:${domain}`, cnonce: fresh("c"), nc: 1 },
    );
    registration.sentAtMs = performance.now();
    this.register(`Authorization: ${value}\r\n`);
  }

  private closed(): void {
    this.line = null;
    this.waking = null;
    this.options.stage.changed();
  }
}
