/**
 * A small PBX for the demo. It knows users and passwords, registers a phone that proves its password, and calls the
 * Contact it was given. It knows neither push nor latefork.
 */
import { digestResponse, formatChallenge, ha1, parseCredentials } from "../core/sip/digest.ts";
import { ackForFailure, cancelFor } from "../core/sip/forward.ts";
import { AUTHORIZATION, CONTACT, EXPIRES, FROM, RECORD_ROUTE, TO } from "../core/sip/header.ts";
import { type Message, parseMessage } from "../core/sip/message.ts";
import { parseNameAddr } from "../core/sip/name_addr.ts";
import { paramOf } from "../core/sip/scan.ts";
import { type Line, openUdp } from "./line.ts";
import type { Stage } from "./stage.ts";
import { answerTo, fresh, SDP } from "./ua.ts";

export interface PbxOptions {
  stage: Stage;
  domain: string;
  /** Passwords by user. */
  users: ReadonlyMap<string, string>;
  /** latefork's SIP port. */
  proxyPort: number;
}

export class DemoPbx {
  /** Contact URI by user: one each, as in mode `aor`. */
  readonly contacts = new Map<string, string>();
  private readonly nonces = new Set<string>();
  private readonly calls = new Map<string, PbxCall>();
  private readonly tag = fresh("pbx");
  private line!: Line;
  /** REGISTERs whose password was right. */
  accepted = 0;

  private constructor(readonly options: PbxOptions) {}

  static async start(options: PbxOptions): Promise<DemoPbx> {
    const pbx = new DemoPbx(options);
    pbx.line = await openUdp(options.proxyPort, (text) => pbx.receive(text));
    return pbx;
  }

  get port(): number {
    return this.line.port;
  }

  stop(): void {
    this.line.close();
  }

  /** Calls a user at the registered Contact. @throws Error if the user is not registered. */
  call(user: string, caller: string): PbxCall {
    const contact = this.contacts.get(user);
    if (contact === undefined) throw new Error(`The PBX has no Contact for ${user}`);
    const call = new PbxCall(this.options, this.line, user, contact, caller);
    this.calls.set(call.callId, call);
    return call;
  }

  private receive(text: string): void {
    const message = parseMessage(text);
    if (message.problem !== null) return;
    if (!message.isRequest) this.calls.get(message.callId)?.onResponse(message);
    else if (message.method === "REGISTER") this.line.send(this.registered(message));
    else if (message.method !== "ACK") {
      this.line.send(answerTo(message, message.method === "OPTIONS" ? 200 : 501, this.tag));
    }
    this.options.stage.changed();
  }

  /** The answer to a REGISTER: a challenge, a refusal, or a 200 with the binding. */
  private registered(request: Message): string {
    const user = request.to.uri!.user;
    const verdict = this.judge(request, user);
    if (verdict === "unknown") {
      const nonce = fresh("n");
      this.nonces.add(nonce);
      const challenge = { realm: this.options.domain, nonce, opaque: null, qop: "auth", isStale: false } as const;
      const value = formatChallenge({ ...challenge, algorithm: "MD5" });
      return answerTo(request, 401, this.tag, `WWW-Authenticate: ${value}\r\n`);
    }
    if (verdict === "wrong") return answerTo(request, 403, this.tag);
    this.accepted++;
    const contact = parseNameAddr(request.value(CONTACT) ?? "");
    if (contact === null) return answerTo(request, 200, this.tag);
    const expires = paramOf(contact.params, "expires") ?? request.value(EXPIRES) ?? "3600";
    if (expires === "0") this.contacts.delete(user);
    else this.contacts.set(user, contact.uriText);
    const line = expires === "0" ? "" : `Contact: <${contact.uriText}>;expires=${expires}\r\n`;
    return answerTo(request, 200, this.tag, line);
  }

  private judge(request: Message, user: string): "right" | "wrong" | "unknown" {
    const given = parseCredentials(request.value(AUTHORIZATION) ?? "");
    if (typeof given === "string" || !this.nonces.has(given.nonce)) return "unknown";
    const password = this.options.users.get(user);
    if (password === undefined || given.username !== user || given.uri !== request.uri!.text) return "wrong";
    const key = ha1("MD5", user, this.options.domain, password);
    return digestResponse(key, "REGISTER", given) === given.response ? "right" : "wrong";
  }
}

/** One outgoing call: INVITE, and what came back. It acknowledges by itself. */
export class PbxCall {
  readonly callId = fresh("call");
  readonly startedAtMs = performance.now();
  /** Statuses of the INVITE in order of arrival, repeats left out. */
  readonly statuses: number[] = [];
  isCancelAnswered = false;
  isByeAnswered = false;
  private readonly invite: Message;
  private answer: Message | null = null;

  constructor(
    options: PbxOptions,
    private readonly line: Line,
    readonly user: string,
    contact: string,
    readonly caller: string,
  ) {
    const { domain } = options;
    const from = `"${caller}" <sip:${caller.toLowerCase()}@${domain}>`;
    this.invite = parseMessage(
      `INVITE ${contact} SIP/2.0\r\nVia: ${this.via()}\r\nMax-Forwards: 70\r\n` +
        `From: ${from};tag=${fresh("t")}\r\nTo: <sip:${user}@${domain}>\r\nCall-ID: ${this.callId}\r\n` +
        `CSeq: 1 INVITE\r\nContact: <sip:${caller.toLowerCase()}@127.0.0.1:${line.port}>\r\n${SDP.type}` +
        `Content-Length: ${SDP.body.length}\r\n\r\n${SDP.body}`,
    );
    line.send(this.invite.raw);
  }

  /** Final status, 0 while it is open. */
  get final(): number {
    return this.statuses.find((status) => status >= 200) ?? 0;
  }

  /** The caller hangs up before the call is answered. */
  cancel(): void {
    this.line.send(cancelFor(this.invite, ""));
  }

  /** The caller hangs up. */
  hangUp(): void {
    if (this.answer !== null) this.line.send(this.inDialog(this.answer, "BYE"));
  }

  onResponse(response: Message): void {
    if (response.cseqMethod === "CANCEL") this.isCancelAnswered = response.status === 200;
    if (response.cseqMethod === "BYE") this.isByeAnswered = response.status === 200;
    if (response.cseqMethod !== "INVITE") return;
    const { status } = response;
    if (!this.statuses.includes(status)) this.statuses.push(status);
    if (status >= 300) return this.line.send(ackForFailure(this.invite, response));
    if (status < 200) return;
    this.answer = response;
    this.line.send(this.inDialog(response, "ACK"));
  }

  /** RFC 3261 §12.2.1.1: to the Contact of the 2xx, over its Record-Route in reverse. */
  private inDialog(answer: Message, method: "ACK" | "BYE"): string {
    const target = parseNameAddr(answer.value(CONTACT) ?? "")?.uriText ?? this.invite.uri!.text;
    const routes = (answer.list(RECORD_ROUTE) ?? []).reverse().join(", ");
    return `${method} ${target} SIP/2.0\r\nVia: ${this.via()}\r\nMax-Forwards: 70\r\n` +
      (routes === "" ? "" : `Route: ${routes}\r\n`) +
      `From: ${this.invite.value(FROM)}\r\nTo: ${answer.value(TO)}\r\nCall-ID: ${this.callId}\r\n` +
      `CSeq: ${method === "ACK" ? 1 : 2} ${method}\r\nContent-Length: 0\r\n\r\n`;
  }

  private via(): string {
    return `SIP/2.0/UDP 127.0.0.1:${this.line.port};branch=${fresh("z9hG4bK")};rport`;
  }
}
